//! Messages into bytes, each appended to what the caller is about to send.

use super::attribute as code;
use super::frame::{self, MARKER};
use super::types::{
    AfiSafi, Attributes, Context, HEADER_LEN, Listed, MAX_LEN, Notification, RefreshMark,
};
use super::{next_hop, nlri, write};
use crate::types::{Family, NextHop};

/// Where in `out` a message began.
pub(super) struct Begun(usize);

pub(super) fn begin(kind: u8, out: &mut Vec<u8>) -> Begun {
    let begun = Begun(out.len());
    out.extend(MARKER);
    out.extend([0, 0, kind]);
    begun
}

pub(super) fn end(Begun(start): Begun, out: &mut [u8]) {
    let length = out.len() - start;
    set_u16(start + MARKER.len(), length, out);
}

pub fn keepalive(out: &mut Vec<u8>) {
    let message = begin(frame::KEEPALIVE, out);
    end(message, out);
}

/// Data that do not fit are cut.
pub fn notification(notification: &Notification, out: &mut Vec<u8>) {
    let message = begin(frame::NOTIFICATION, out);
    out.extend([notification.code, notification.subcode]);
    out.extend(notification.data.iter().take(MAX_LEN - HEADER_LEN - 2));
    end(message, out);
}

pub fn route_refresh(family: AfiSafi, out: &mut Vec<u8>) {
    put_refresh(family, 0, out);
}

/// RFC 7313 §3.2.
pub fn refresh_mark(family: AfiSafi, mark: RefreshMark, out: &mut Vec<u8>) {
    let subtype = match mark {
        RefreshMark::Begin => 1,
        RefreshMark::End => 2,
        RefreshMark::Unknown(other) => other,
    };
    put_refresh(family, subtype, out);
}

fn put_refresh(family: AfiSafi, subtype: u8, out: &mut Vec<u8>) {
    let message = begin(frame::ROUTE_REFRESH, out);
    out.extend(family.afi.to_be_bytes());
    out.extend([subtype, family.safi]);
    end(message, out);
}

/// RFC 4724 §2.
pub fn end_of_rib(family: Family, out: &mut Vec<u8>) {
    let message = begin(frame::UPDATE, out);
    out.extend([0; 4]);
    if family != Family::Ipv4Unicast {
        let attributes = out.len();
        out.extend([code::OPTIONAL, code::MP_UNREACH_NLRI, 3]);
        put_family(family, out);
        set_length(attributes - 2, out);
    }
    end(message, out);
}

/// One UPDATE that announces as many of `prefixes`, from the first on, as fit; how many that is.
///
/// It is 0, and nothing is written, if `prefixes` is empty, the attributes leave no room, or the
/// next hop or the first prefix is none that `family` has in this session.
pub fn announce<L: Listed>(
    context: &Context,
    family: Family,
    attributes: &Attributes,
    prefixes: &[L],
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    let count = match (family, attributes.next_hop) {
        (Family::Ipv4Unicast, NextHop::V4(_)) => announce_v4(context, attributes, prefixes, out),
        (Family::Ipv6Unicast, NextHop::V6 { .. }) => {
            announce_reach(context, family, attributes, prefixes, out)
        }
        // RFC 8950 §4.
        (Family::Ipv4Unicast, NextHop::V6 { .. }) if context.extended_next_hop => {
            announce_reach(context, family, attributes, prefixes, out)
        }
        _ => 0,
    };
    if count == 0 {
        out.truncate(start);
    }
    count
}

fn announce_v4<L: Listed>(
    context: &Context,
    attributes: &Attributes,
    prefixes: &[L],
    out: &mut Vec<u8>,
) -> usize {
    let write =
        |out: &mut Vec<u8>| write::attributes(context, attributes, Family::Ipv4Unicast, out);
    put_announcement(context, write, prefixes, out)
}

/// The same, where the octets of the attributes are there already.
pub(super) fn announce_octets<L: Listed>(
    context: &Context,
    attributes: &[u8],
    prefixes: &[L],
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    let count = put_announcement(context, |out| out.extend(attributes), prefixes, out);
    if count == 0 {
        out.truncate(start);
    }
    count
}

fn put_announcement<L: Listed>(
    context: &Context,
    attributes: impl FnOnce(&mut Vec<u8>),
    prefixes: &[L],
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    let message = begin(frame::UPDATE, out);
    out.extend([0; 4]);
    let list = out.len();
    attributes(out);
    set_length(list - 2, out);
    let count =
        put_prefixes(context, Family::Ipv4Unicast, prefixes, start + context.longest(), out);
    end(message, out);
    count
}

/// MP_REACH_NLRI comes first, so that a receiver finds the prefixes even if something is wrong
/// after them (RFC 7606 §5.1). It is written last, into the room the others leave.
fn announce_reach<L: Listed>(
    context: &Context,
    family: Family,
    attributes: &Attributes,
    prefixes: &[L],
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    let message = begin(frame::UPDATE, out);
    out.extend([0; 4]);
    let list = out.len();
    write::attributes(context, attributes, family, out);
    let reach = out.len();
    out.extend([code::OPTIONAL | code::EXTENDED_LENGTH, code::MP_REACH_NLRI, 0, 0]);
    let value = out.len();
    put_family(family, out);
    out.push(0);
    next_hop::put(&attributes.next_hop, out);
    let next_hop_length = out.len() - value - 4;
    if let Some(octet) = out.get_mut(value + 3) {
        *octet = u8::try_from(next_hop_length).unwrap_or(u8::MAX);
    }
    out.push(0);
    let count = put_prefixes(context, family, prefixes, start + context.longest(), out);
    set_length(value - 2, out);
    set_length(list - 2, out);
    if let Some(both) = out.get_mut(list..) {
        both.rotate_left(reach - list);
    }
    end(message, out);
    count
}

/// One UPDATE that withdraws as many of `prefixes`, from the first on, as fit; how many that is.
/// It is 0, and nothing is written, if there are none or the first is not of `family`.
pub fn withdraw<L: Listed>(
    context: &Context,
    family: Family,
    prefixes: &[L],
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    let message = begin(frame::UPDATE, out);
    let count = match family {
        Family::Ipv4Unicast => {
            out.extend([0; 2]);
            let list = out.len();
            // Two octets stay for the length of the attributes, of which there are none.
            let count = put_prefixes(context, family, prefixes, start + context.longest() - 2, out);
            set_length(list - 2, out);
            out.extend([0; 2]);
            count
        }
        Family::Ipv6Unicast => {
            out.extend([0; 4]);
            let list = out.len();
            put_unreach_head(family, out);
            let count = put_prefixes(context, family, prefixes, start + context.longest(), out);
            set_length(list + 2, out);
            set_length(list - 2, out);
            count
        }
    };
    end(message, out);
    if count == 0 {
        out.truncate(start);
    }
    count
}

fn put_unreach_head(family: Family, out: &mut Vec<u8>) {
    out.extend([code::OPTIONAL | code::EXTENDED_LENGTH, code::MP_UNREACH_NLRI, 0, 0]);
    put_family(family, out);
}

fn put_family(family: Family, out: &mut Vec<u8>) {
    let AfiSafi { afi, safi } = family.into();
    out.extend(afi.to_be_bytes());
    out.push(safi);
}

/// Stops before `out` would grow beyond `limit`, or at a prefix of another family.
fn put_prefixes<L: Listed>(
    context: &Context,
    family: Family,
    prefixes: &[L],
    limit: usize,
    out: &mut Vec<u8>,
) -> usize {
    let ids = context.paths_out.of(family);
    let id_len = if ids { size_of::<u32>() } else { 0 };
    let mut count = 0;
    for listed in prefixes {
        let prefix = listed.prefix();
        let fits = out.len() + id_len + 1 + nlri::octets(prefix.len()) <= limit;
        if !fits || Family::of(prefix) != family {
            break;
        }
        if ids {
            out.extend(listed.path().to_be_bytes());
        }
        nlri::put(prefix, out);
        count += 1;
    }
    count
}

/// Writes at `at` how many octets follow the two of the length itself.
pub(super) fn set_length(at: usize, out: &mut [u8]) {
    set_u16(at, out.len() - at - 2, out);
}

fn set_u16(at: usize, value: usize, out: &mut [u8]) {
    if let Some(octets) = out.get_mut(at..at + 2) {
        octets.copy_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Message, Origin, PathIds, RawAttribute};
    use super::*;
    use crate::types::Prefix;
    use proptest::prelude::*;

    const CONTEXT: Context = Context { four_octet_as: true, internal: false, ..Context::BARE };

    fn attributes(next_hop: NextHop) -> Attributes {
        Attributes::bare(next_hop, Origin::Igp)
    }

    fn prefixes(text: &[&str]) -> Vec<Prefix> {
        text.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn what_cannot_be_announced_leaves_no_trace() {
        let v4 = attributes(NextHop::V4([192, 0, 2, 1].into()));
        let mut too_big = v4.clone();
        too_big.unknown = vec![RawAttribute { flags: 0xe0, code: 99, value: vec![0; 4060] }];
        let some = prefixes(&["10.0.0.0/8"]);
        let mut out = vec![1, 2, 3];
        for (family, attributes, prefixes) in [
            (Family::Ipv4Unicast, &too_big, &some[..]),
            (Family::Ipv6Unicast, &v4, &some[..]),
            (Family::Ipv4Unicast, &v4, &[]),
            (Family::Ipv4Unicast, &v4, &prefixes(&["fd00::/8"])[..]),
        ] {
            assert_eq!(announce(&CONTEXT, family, attributes, prefixes, &mut out), 0);
            assert_eq!(out, [1, 2, 3]);
        }
        assert_eq!(withdraw(&CONTEXT, Family::Ipv6Unicast, &some, &mut out), 0);
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn a_message_ends_at_the_first_prefix_of_another_family() {
        let v4 = attributes(NextHop::V4([192, 0, 2, 1].into()));
        let mixed = prefixes(&["10.0.0.0/8", "11.0.0.0/8", "fd00::/8", "12.0.0.0/8"]);
        let mut out = Vec::new();
        assert_eq!(announce(&CONTEXT, Family::Ipv4Unicast, &v4, &mixed, &mut out), 2);
        assert_eq!(withdraw(&CONTEXT, Family::Ipv4Unicast, &mixed, &mut out), 2);
    }

    #[test]
    fn mp_reach_comes_first_and_the_others_by_code() {
        let next_hop = NextHop::V6 { global: [32; 16].into(), link_local: None };
        let mut all = attributes(next_hop);
        all.med = Some(1);
        all.communities = vec![1];
        all.large_communities = vec![[1, 2, 3]];
        all.unknown =
            [25u8, 99].map(|code| RawAttribute { flags: 0xe0, code, value: vec![] }).into();
        let mut out = Vec::new();
        announce(&CONTEXT, Family::Ipv6Unicast, &all, &prefixes(&["fd00::/8"]), &mut out);
        let mut reader = super::super::reader::Reader::new(&out[HEADER_LEN + 4..]);
        let mut codes = Vec::new();
        while !reader.is_empty() {
            codes.push(code::Attribute::cut(&mut reader).unwrap().code);
        }
        assert_eq!(codes, [14, 1, 2, 4, 8, 25, 32, 99]);
    }

    proptest! {
        /// RFC 7911 §3.
        #[test]
        fn paths_are_read_with_the_identifiers_they_were_written_with(
            ids in prop::collection::vec((any::<u32>(), 0u8..=32), 1..900),
            ipv6 in any::<bool>(),
        ) {
            let context = Context { paths_out: PathIds { ipv4: true, ipv6: true }, ..CONTEXT };
            let (family, hop) = match ipv6 {
                true => {
                    let global = "2001:db8::1".parse().unwrap();
                    (Family::Ipv6Unicast, NextHop::V6 { global, link_local: None })
                }
                false => (Family::Ipv4Unicast, NextHop::V4([192, 0, 2, 1].into())),
            };
            let base = if ipv6 { "2001:db8::" } else { "10.1.2.3" }.parse().unwrap();
            let paths: Vec<(Prefix, u32)> =
                ids.iter().map(|(id, len)| (Prefix::containing(base, *len).unwrap(), *id)).collect();
            let mut out = Vec::new();
            let sent = announce(&context, family, &attributes(hop), &paths, &mut out);
            prop_assert!(sent > 0 && out.len() <= MAX_LEN);
            let decoded = super::super::decode(&out, &context.mirrored()).unwrap();
            let Message::Update(update) = decoded else { panic!("not an UPDATE") };
            let read: Vec<_> = update.announced.iter().flatten().flat_map(|a| a.nlri.paths()).collect();
            prop_assert_eq!(&read, &paths[..sent]);
            out.clear();
            let sent = withdraw(&context, family, &paths, &mut out);
            let decoded = super::super::decode(&out, &context.mirrored()).unwrap();
            let Message::Update(update) = decoded else { panic!("not an UPDATE") };
            let read: Vec<_> = update.withdrawn.iter().flatten().flat_map(|a| a.nlri.paths()).collect();
            prop_assert_eq!(&read, &paths[..sent]);
        }
    }
}
