//! The two messages of router discovery (RFC 4861 §4.1, §4.2), as far as they matter here.
//!
//! Total: any bytes may be given to [`read`], and what does not pass the checks of §6.1 is nothing.

use std::net::Ipv6Addr;
use std::time::Duration;

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// So far it has come from, if no router has passed it on.
const FULL_HOPS: u8 = 255;
/// Before the options (RFC 4861 §4.1, §4.2).
const SOLICITATION_HEAD: usize = 8;
const ADVERTISEMENT_HEAD: usize = 16;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// A message from the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks for routers.
    Solicitation,
    /// A router, and for how long it may be a default router; zero: it is none.
    Advertisement { lifetime: Duration },
}

/// An ICMPv6 message whose checksum the kernel has seen to; `hops`: what is left of its hop limit.
#[must_use]
pub fn read(from: Ipv6Addr, hops: u8, message: &[u8]) -> Option<Heard> {
    let (&[kind, code], _) = message.split_first_chunk::<2>()?;
    if hops != FULL_HOPS || code != 0 {
        return None;
    }
    match kind {
        SOLICITATION => {
            let named = options(message.get(SOLICITATION_HEAD..)?)?;
            // Who has no address yet cannot be answered at its link-layer address.
            let odd = from.is_unspecified() && named;
            (!odd).then_some(Heard::Solicitation)
        }
        ADVERTISEMENT if from.is_unicast_link_local() => {
            options(message.get(ADVERTISEMENT_HEAD..)?)?;
            let lifetime: [u8; 2] = message.get(6..8)?.try_into().ok()?;
            let lifetime = Duration::from_secs(u16::from_be_bytes(lifetime).into());
            Some(Heard::Advertisement { lifetime })
        }
        _ => None,
    }
}

/// Whether they name the sender's link-layer address; `None`: they are not whole.
fn options(mut rest: &[u8]) -> Option<bool> {
    let mut named = false;
    while let Some((kind, _)) = rest.split_first() {
        let eights = usize::from(*rest.get(1)?);
        if eights == 0 {
            return None;
        }
        named |= *kind == SOURCE_LINK_LAYER_ADDRESS;
        rest = rest.get(eights * 8..)?;
    }
    Some(named)
}

/// The kernel fills in the checksum.
#[must_use]
pub fn solicitation() -> Vec<u8> {
    let mut message = vec![0; SOLICITATION_HEAD];
    message.splice(..1, [SOLICITATION]);
    message
}

/// A router that is nobody's default router (RFC 4861 §4.2: a lifetime of zero): it is to be known
/// as a neighbour, and no host of the link is to send it what it has no route for. Everything else
/// is left unspecified, which is zero as well.
#[must_use]
pub fn advertisement() -> Vec<u8> {
    let mut message = vec![0; ADVERTISEMENT_HEAD];
    message.splice(..1, [ADVERTISEMENT]);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn with(mut message: Vec<u8>, options: &[u8]) -> Vec<u8> {
        message.extend(options);
        message
    }

    #[test]
    fn what_we_send_is_understood() {
        assert_eq!(read(ROUTER, 255, &solicitation()), Some(Heard::Solicitation));
        let ours = Heard::Advertisement { lifetime: Duration::ZERO };
        assert_eq!(read(ROUTER, 255, &advertisement()), Some(ours));
    }

    #[test]
    fn a_router_s_lifetime_is_read_whatever_options_follow() {
        let mut message = advertisement();
        message[6..8].copy_from_slice(&1800u16.to_be_bytes());
        let mac = [1, 1, 2, 0, 0, 0, 0, 1];
        let mtu = [5, 1, 0, 0, 0, 0, 5, 0xdc];
        let heard = read(ROUTER, 255, &with(with(message, &mac), &mtu));
        assert_eq!(heard, Some(Heard::Advertisement { lifetime: Duration::from_secs(1800) }));
    }

    #[test]
    fn what_a_router_may_not_have_sent_is_nothing() {
        let good = advertisement();
        assert_eq!(read(ROUTER, 254, &good), None, "from beyond the link");
        assert_eq!(read("2001:db8::1".parse().unwrap(), 255, &good), None);
        assert_eq!(read(ROUTER, 255, &good[..15]), None, "cut");
        assert_eq!(read(ROUTER, 255, &with(good.clone(), &[1, 0, 0, 0])), None, "endless options");
        assert_eq!(read(ROUTER, 255, &with(good.clone(), &[1, 2, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(read(ROUTER, 255, &with(good.clone(), &[1])), None);
        let mut coded = good;
        coded[1] = 1;
        assert_eq!(read(ROUTER, 255, &coded), None);
        let nobody = Ipv6Addr::UNSPECIFIED;
        assert_eq!(read(nobody, 255, &solicitation()), Some(Heard::Solicitation));
        assert_eq!(read(nobody, 255, &with(solicitation(), &[1, 1, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(read(ROUTER, 255, &[136, 0, 0, 0, 0, 0, 0, 0]), None, "another message");
        assert_eq!(read(ROUTER, 255, &[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_are_nothing(
            kind in prop_oneof![Just(133u8), Just(134), any::<u8>()],
            code in 0u8..2,
            rest in prop::collection::vec(any::<u8>(), 0..200),
            hops in prop_oneof![Just(255u8), any::<u8>()],
        ) {
            let message = [&[kind, code][..], &rest].concat();
            if let Some(Heard::Advertisement { lifetime }) = read(ROUTER, hops, &message) {
                prop_assert!(hops == 255 && message.len() >= 16);
                prop_assert!(lifetime <= Duration::from_secs(u16::MAX.into()));
            }
        }

        #[test]
        fn whole_options_are_always_read(sizes in prop::collection::vec(1u8..4, 0..6), lifetime: u16) {
            let mut message = advertisement();
            message[6..8].copy_from_slice(&lifetime.to_be_bytes());
            for size in sizes {
                message.extend([200, size]);
                message.extend(vec![7; usize::from(size) * 8 - 2]);
            }
            let expected = Heard::Advertisement { lifetime: Duration::from_secs(lifetime.into()) };
            prop_assert_eq!(read(ROUTER, 255, &message), Some(expected));
        }
    }
}
