//! Attributes as tables keep them: the octets of an UPDATE with four-octet AS numbers.
//!
//! An IPv6 next hop stands in front, in an MP_REACH_NLRI without prefixes.

use super::attribute::{self as code, Attribute};
use super::attributes::AttributeList;
use super::reader::Reader;
use super::types::{AfiSafi, Attributes, Context, Listed, Origin};
use super::{encode, next_hop, write};
use crate::types::{Family, NextHop};
use std::net::Ipv4Addr;

/// Everything is written, and everything is read.
const CONTEXT: Context = Context { four_octet_as: true, internal: true, ..Context::BARE };

pub(crate) fn pack(attributes: &Attributes, out: &mut Vec<u8>) {
    let family = match attributes.next_hop {
        NextHop::V4(_) => Family::Ipv4Unicast,
        NextHop::V6 { .. } => Family::Ipv6Unicast,
    };
    if family == Family::Ipv6Unicast {
        put_next_hop(&attributes.next_hop, out);
    }
    write::attributes(&CONTEXT, attributes, family, out);
}

fn put_next_hop(hop: &NextHop, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([code::OPTIONAL, code::MP_REACH_NLRI, 0]);
    let AfiSafi { afi, safi } = Family::Ipv6Unicast.into();
    out.extend(afi.to_be_bytes());
    out.extend([safi, 0]);
    next_hop::put(hop, out);
    let length = u8::try_from(out.len() - start - 7).unwrap_or(u8::MAX);
    out.push(0);
    for (at, value) in [(start + 2, length + 5), (start + 6, length)] {
        if let Some(octet) = out.get_mut(at) {
            *octet = value;
        }
    }
}

pub(crate) fn unpack(packed: &[u8]) -> Attributes {
    match AttributeList::read(packed, CONTEXT) {
        Ok(list) => {
            let next_hop = list.reach.map_or(list.attributes.next_hop, |reach| reach.next_hop);
            Attributes { next_hop, ..list.attributes }
        }
        // `pack` writes nothing of which that would be true.
        Err(_) => Attributes::bare(NextHop::V4(Ipv4Addr::UNSPECIFIED), Origin::Incomplete),
    }
}

pub(crate) fn packed_next_hop(packed: &[u8]) -> NextHop {
    let mut reader = Reader::new(packed);
    while let Ok(attribute) = Attribute::cut(&mut reader) {
        match (attribute.code, attribute.value) {
            (code::NEXT_HOP, [a, b, c, d]) => return NextHop::V4([*a, *b, *c, *d].into()),
            (code::MP_REACH_NLRI, [_, _, _, _, hop @ .., _]) => {
                if let Some(hop) = next_hop::read(Family::Ipv6Unicast, hop, false) {
                    return hop;
                }
            }
            _ => {}
        }
    }
    NextHop::V4(Ipv4Addr::UNSPECIFIED)
}

/// Whether packed attributes are, octet for octet, what an UPDATE of this family has in this
/// session.
pub(super) fn is_as_sent(context: &Context, family: Family, packed: &[u8]) -> bool {
    let in_front = packed.get(1).is_some_and(|c| *c == code::MP_REACH_NLRI);
    context.four_octet_as && family == Family::Ipv4Unicast && !in_front
}

/// As [`announce`](super::announce), of packed attributes.
pub(crate) fn announce_packed<L: Listed>(
    context: &Context,
    family: Family,
    packed: &[u8],
    prefixes: &[L],
    out: &mut Vec<u8>,
) -> usize {
    if is_as_sent(context, family, packed) {
        encode::announce_octets(context, packed, prefixes, out)
    } else {
        encode::announce(context, family, &unpack(packed), prefixes, out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Aggregator, AsPath, Partial, RawAttribute, Segment, SegmentKind};
    use super::super::{Message, decode};
    use super::*;
    use crate::types::{Asn, RouterId};
    use proptest::prelude::*;

    fn next_hop() -> impl Strategy<Value = NextHop> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|a| NextHop::V4(a.into())),
            any::<u64>().prop_map(|low| NextHop::V6 {
                global: (0x2001_0db8 << 96 | u128::from(low)).into(),
                link_local: None,
            }),
            any::<u64>().prop_map(|low| {
                let local = (0xfe80 << 112 | u128::from(low)).into();
                NextHop::V6 { global: local, link_local: Some(local) }
            }),
        ]
    }

    fn as_path() -> impl Strategy<Value = AsPath> {
        let kind = prop_oneof![Just(SegmentKind::Set), Just(SegmentKind::Sequence)];
        let asns = prop::collection::vec((1..=u32::MAX).prop_map(Asn), 1..200);
        let segment = (kind, asns).prop_map(|(kind, asns)| Segment { kind, asns });
        prop::collection::vec(segment, 0..4).prop_map(AsPath)
    }

    fn attributes() -> impl Strategy<Value = Attributes> {
        let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
        let aggregator = (1..=u32::MAX, any::<[u8; 4]>())
            .prop_map(|(asn, id)| Aggregator { asn: Asn(asn), router_id: RouterId(id.into()) });
        let ids = prop::collection::vec(any::<[u8; 4]>().prop_map(|a| RouterId(a.into())), 0..4);
        let numbers = (any::<Option<u32>>(), any::<Option<u32>>(), any::<bool>());
        let lists = (
            prop::collection::vec(any::<u32>(), 0..80),
            prop::collection::vec(any::<u64>(), 0..4),
            prop::collection::btree_set(any::<[u32; 3]>(), 0..4),
            prop::collection::vec(any::<u8>(), 0..400),
        );
        let rest = (prop::option::of(aggregator), ids, any::<Option<[u8; 4]>>(), any::<bool>());
        (next_hop(), origin, as_path(), numbers, lists, rest).prop_map(
            |(next_hop, origin, as_path, numbers, lists, rest)| Attributes {
                as_path,
                med: numbers.0,
                local_pref: numbers.1,
                atomic_aggregate: numbers.2,
                partial: Partial {
                    communities: rest.3 && !lists.0.is_empty(),
                    ..Partial::default()
                },
                communities: lists.0,
                extended_communities: lists.1,
                large_communities: lists.2.into_iter().collect(),
                unknown: vec![RawAttribute { flags: 0xe0, code: 99, value: lists.3 }],
                aggregator: rest.0,
                cluster_list: rest.1,
                originator_id: rest.2.map(|id| RouterId(id.into())),
                ..Attributes::bare(next_hop, origin)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_and_announced_as_ever(attributes in attributes()) {
            let mut packed = Vec::new();
            pack(&attributes, &mut packed);
            prop_assert_eq!(unpack(&packed), attributes.clone());
            prop_assert_eq!(packed_next_hop(&packed), attributes.next_hop);
            let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"].map(|p| p.parse::<crate::types::Prefix>().unwrap());
            for (family, of) in [(Family::Ipv4Unicast, &prefixes[..2]), (Family::Ipv6Unicast, &prefixes[2..])] {
                for four_octet_as in [true, false] {
                    let context = Context { four_octet_as, ..CONTEXT };
                    let (mut one, mut two) = (Vec::new(), Vec::new());
                    let sent = encode::announce(&context, family, &attributes, of, &mut one);
                    prop_assert_eq!(sent, announce_packed(&context, family, &packed, of, &mut two));
                    prop_assert_eq!(&one, &two);
                    prop_assert!(one.is_empty() || matches!(decode(&one, &context), Ok(Message::Update(_))));
                }
            }
        }
    }
}
