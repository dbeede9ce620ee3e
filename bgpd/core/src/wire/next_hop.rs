//! Next hops in NEXT_HOP and MP_REACH_NLRI: their lengths, and which of them can be one.

use crate::types::{Family, NextHop};
use std::net::{Ipv4Addr, Ipv6Addr};

/// By family (RFC 4760 §3, RFC 2545 §3), or by length where that was agreed on (`extended`, RFC 8950
/// §3); `None`: the length is none of the family's.
pub(super) fn read(family: Family, bytes: &[u8], extended: bool) -> Option<NextHop> {
    match (family, <[u8; 4]>::try_from(bytes)) {
        (Family::Ipv4Unicast, Ok(octets)) => Some(NextHop::V4(octets.into())),
        (Family::Ipv4Unicast, Err(_)) if !extended => None,
        _ => {
            let (global, rest) = bytes.split_first_chunk::<16>()?;
            let second: Option<Ipv6Addr> = match rest {
                [] => None,
                _ => Some(<[u8; 16]>::try_from(rest).ok()?.into()),
            };
            Some(v6((*global).into(), second))
        }
    }
}

/// Peers on a link without global addresses send their link-local one alone, twice, or after `::`;
/// all three mean the same. A second address that is not link-local means nothing.
fn v6(first: Ipv6Addr, second: Option<Ipv6Addr>) -> NextHop {
    let second = second.filter(Ipv6Addr::is_unicast_link_local);
    if first.is_unicast_link_local() {
        return NextHop::V6 { global: first, link_local: second.or(Some(first)) };
    }
    match second {
        Some(link_local) if first.is_unspecified() => {
            NextHop::V6 { global: link_local, link_local: second }
        }
        _ => NextHop::V6 { global: first, link_local: second },
    }
}

/// RFC 4271 §6.3: it must be the address of a host.
pub(super) fn is_valid(next_hop: &NextHop) -> bool {
    match next_hop {
        NextHop::V4(a) => is_host_v4(*a),
        NextHop::V6 { global, .. } => {
            !global.is_unspecified() && !global.is_multicast() && !global.is_loopback()
        }
    }
}

fn is_host_v4(addr: Ipv4Addr) -> bool {
    let [first, ..] = addr.octets();
    first != 0 && !addr.is_loopback() && !addr.is_multicast() && !addr.is_broadcast()
}

pub(super) fn put(next_hop: &NextHop, out: &mut Vec<u8>) {
    match next_hop {
        NextHop::V4(a) => out.extend(a.octets()),
        NextHop::V6 { global, link_local } => {
            out.extend(global.octets());
            if let Some(link_local) = link_local {
                out.extend(link_local.octets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(addrs: &[&str]) -> Vec<u8> {
        addrs.iter().flat_map(|a| a.parse::<Ipv6Addr>().unwrap().octets()).collect()
    }

    fn seen(addrs: &[&str]) -> String {
        format!("{:?}", read(Family::Ipv6Unicast, &octets(addrs), false).unwrap())
    }

    #[test]
    fn a_link_local_address_is_found_wherever_peers_put_it() {
        assert_eq!(seen(&["2001:db8::1"]), "2001:db8::1");
        assert_eq!(seen(&["2001:db8::1", "fe80::1"]), "2001:db8::1+fe80::1");
        for form in
            [&["fe80::1"][..], &["fe80::1", "fe80::1"], &["::", "fe80::1"], &["fe80::1", "::"]]
        {
            assert_eq!(seen(form), "fe80::1+fe80::1", "{form:?}");
        }
        assert_eq!(seen(&["2001:db8::1", "2001:db8::2"]), "2001:db8::1");
    }

    #[test]
    fn other_lengths_are_refused() {
        for length in [0, 4, 12, 15, 17, 24, 31, 33, 48] {
            assert_eq!(read(Family::Ipv6Unicast, &vec![0x20; length], true), None, "{length}");
        }
        assert_eq!(read(Family::Ipv4Unicast, &[0; 16], false), None);
    }

    #[test]
    fn an_ipv4_prefix_may_have_an_ipv6_next_hop_once_that_is_agreed_on() {
        let seen =
            |bytes: &[u8]| read(Family::Ipv4Unicast, bytes, true).map(|hop| format!("{hop:?}"));
        assert_eq!(seen(&[192, 0, 2, 1]).as_deref(), Some("192.0.2.1"));
        assert_eq!(seen(&octets(&["2001:db8::1"])).as_deref(), Some("2001:db8::1"));
        let both = octets(&["2001:db8::1", "fe80::1"]);
        assert_eq!(seen(&both).as_deref(), Some("2001:db8::1+fe80::1"));
        assert_eq!(seen(&both[..24]), None);
    }

    #[test]
    fn only_hosts_can_be_next_hops() {
        let is_valid = |text: &str| match text.parse().unwrap() {
            std::net::IpAddr::V4(a) => is_valid(&NextHop::V4(a)),
            std::net::IpAddr::V6(global) => is_valid(&NextHop::V6 { global, link_local: None }),
        };
        for good in
            ["192.0.2.1", "10.0.0.0", "240.0.0.1", "2001:db8::1", "fe80::1", "::ffff:192.0.2.1"]
        {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.2",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
