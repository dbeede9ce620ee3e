//! What is written is read back; and how the bytes were cut does not matter.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "only the bytes are of use here")]
mod wire_support;

use bgp_core::types::{Asn, Family, NextHop, Prefix, RouterId};
use bgp_core::wire::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1u32..=65535, 65536u32.., Just(Asn::TRANS.0)].prop_map(Asn)
}

fn narrow_asn() -> impl Strategy<Value = Asn> {
    (1u32..=65535).prop_map(Asn)
}

fn router_id() -> impl Strategy<Value = RouterId> {
    (1u32..).prop_map(|bits| RouterId(Ipv4Addr::from(bits)))
}

/// Paths with numbers beyond two octets, and paths without any.
fn as_path() -> impl Strategy<Value = AsPath> {
    prop_oneof![segments(asn()), segments(narrow_asn())]
}

fn segments(asn: impl Strategy<Value = Asn>) -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![3 => Just(SegmentKind::Sequence), 1 => Just(SegmentKind::Set)];
    let asns = prop_oneof![9 => 1usize..8, 1 => 200usize..=255];
    let asns = asns.prop_flat_map(move |n| vec(any::<u32>(), n));
    let segment = (kind, asns);
    (vec(segment, 0..4), vec(asn, 16)).prop_map(|(segments, pool)| {
        let pick = |n: u32| pool[n as usize % pool.len()];
        let segment = |(kind, picks): (_, Vec<u32>)| Segment {
            kind,
            asns: picks.into_iter().map(pick).collect(),
        };
        AsPath(segments.into_iter().map(segment).collect())
    })
}

fn aggregator() -> impl Strategy<Value = Aggregator> {
    (asn(), router_id()).prop_map(|(asn, router_id)| Aggregator { asn, router_id })
}

fn next_hop(family: Family) -> BoxedStrategy<NextHop> {
    let link_local = any::<u64>().prop_map(|n| Ipv6Addr::from(0xfe80 << 112 | u128::from(n)));
    let global = any::<u64>().prop_map(|n| Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(n)));
    match family {
        Family::Ipv4Unicast => (1u8..=126, any::<[u8; 3]>()).prop_map(v4_next_hop).boxed(),
        Family::Ipv6Unicast => prop_oneof![
            (global, option::of(link_local.clone()))
                .prop_map(|(global, link_local)| NextHop::V6 { global, link_local }),
            link_local.prop_map(|a| NextHop::V6 { global: a, link_local: Some(a) }),
        ]
        .boxed(),
    }
}

fn v4_next_hop((first, [b, c, d]): (u8, [u8; 3])) -> NextHop {
    NextHop::V4(Ipv4Addr::new(first, b, c, d))
}

fn unknown() -> impl Strategy<Value = Vec<RawAttribute>> {
    let code = prop_oneof![Just(11u8), Just(25), Just(35), 40u8..];
    btree_map(code, vec(any::<u8>(), 0..300), 0..3).prop_map(|all| {
        all.into_iter().map(|(code, value)| RawAttribute { flags: 0xe0, code, value }).collect()
    })
}

fn attributes(family: Family, internal: bool) -> impl Strategy<Value = Attributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let plain = (next_hop(family), origin, as_path(), any::<Option<u32>>(), any::<bool>());
    let lists = (
        vec(any::<u32>(), 0..80),
        vec(any::<u64>(), 0..40),
        btree_set(any::<[u32; 3]>(), 0..30),
        unknown(),
    );
    let inside = (any::<Option<u32>>(), option::of(router_id()), vec(router_id(), 0..5));
    let all = (plain, option::of(aggregator()), lists, inside);
    all.prop_map(move |(plain, aggregator, lists, inside)| {
        let (next_hop, origin, as_path, med, atomic_aggregate) = plain;
        let (communities, extended_communities, large, unknown) = lists;
        let (local_pref, originator_id, cluster_list) =
            if internal { inside } else { (None, None, Vec::new()) };
        let large_communities = large.into_iter().collect();
        Attributes {
            next_hop,
            origin,
            as_path,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            communities,
            extended_communities,
            large_communities,
            originator_id,
            cluster_list,
            unknown,
        }
    })
}

fn prefix(family: Family) -> BoxedStrategy<Prefix> {
    match family {
        Family::Ipv4Unicast => (any::<u32>(), 0u8..=32)
            .prop_map(|(bits, len)| Prefix::containing(IpAddr::V4(bits.into()), len).unwrap())
            .boxed(),
        Family::Ipv6Unicast => (any::<u128>(), 0u8..=128)
            .prop_map(|(bits, len)| Prefix::containing(IpAddr::V6(bits.into()), len).unwrap())
            .boxed(),
    }
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4Unicast), Just(Family::Ipv6Unicast)]
}

fn context() -> impl Strategy<Value = Context> {
    any::<(bool, bool)>().prop_map(|(four_octet_as, internal)| Context { four_octet_as, internal })
}

fn table() -> impl Strategy<Value = (Context, Attributes, Vec<Prefix>)> {
    let counts = prop_oneof![8 => 1usize..50, 1 => 1000usize..2500];
    (context(), family(), counts).prop_flat_map(|(context, family, count)| {
        let prefixes = vec(prefix(family), count);
        (Just(context), attributes(family, context.internal), prefixes)
    })
}

fn capability() -> impl Strategy<Value = Capability> {
    let afi_safi = || (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| AfiSafi { afi, safi });
    let graceful = (afi_safi(), any::<bool>())
        .prop_map(|(family, forwarding)| GracefulFamily { family, forwarding });
    let graceful = (any::<(bool, bool)>(), 0u16..4096, vec(graceful, 0..64)).prop_map(
        |((restarting, notification), time, families)| {
            Capability::GracefulRestart(GracefulRestart {
                restarting,
                notification,
                time,
                families,
            })
        },
    );
    prop_oneof![
        (prop_oneof![72u8..=255, 7u8..=63], vec(any::<u8>(), 0..=255))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
        afi_safi().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::EnhancedRouteRefresh),
        Just(Capability::ExtendedMessage),
        graceful,
    ]
}

fn any_open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0u16), 3u16..];
    (asn(), hold_time, router_id(), vec(capability(), 0..12)).prop_map(
        |(asn, hold_time, router_id, mut capabilities)| {
            capabilities.push(Capability::FourOctetAs(asn));
            Open { asn, hold_time, router_id, capabilities }
        },
    )
}

fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut framer = Framer::new();
    framer.push(bytes);
    drain(&mut framer).0
}

/// What a framer gives, and the error that ends it.
fn drain(framer: &mut Framer) -> (Vec<Vec<u8>>, Option<DecodeError>) {
    let mut frames = Vec::new();
    loop {
        match framer.next() {
            Ok(Some(frame)) => frames.push(frame.to_vec()),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn announced_routes_are_read_as_they_were((context, attributes, prefixes) in table()) {
        let family = Family::of(&prefixes[0]);
        let mut bytes = Vec::new();
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let count = announce(&context, family, &attributes, rest, &mut bytes);
            if count == 0 {
                // The attributes alone fill a message.
                prop_assert!(bytes.is_empty());
                return Ok(());
            }
            rest = &rest[count..];
        }
        let mut read = Vec::new();
        for frame in frames(&bytes) {
            prop_assert!(frame.len() <= MAX_LEN);
            let Message::Update(update) = decode(&frame, &context).unwrap() else { panic!() };
            prop_assert_eq!(&update.fault, &None);
            prop_assert_eq!(update.attributes.as_ref(), Some(&attributes));
            prop_assert_eq!(update.withdrawn.iter().flatten().count(), 0);
            let announced: Vec<_> = update.announced.iter().flatten().collect();
            prop_assert_eq!(announced.len(), 1);
            prop_assert_eq!((announced[0].family, announced[0].next_hop), (family, attributes.next_hop));
            prop_assert_eq!(announced[0].nlri.len(), announced[0].nlri.into_iter().count());
            read.extend(announced[0].nlri);
            // The message was full, or the last one.
            let next = prefixes.get(read.len());
            let need = next.map_or(MAX_LEN, |p| 1 + usize::from(p.len()).div_ceil(8));
            prop_assert!(frame.len() + need > MAX_LEN);
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn withdrawn_routes_are_read_as_they_were((context, _, prefixes) in table()) {
        let family = Family::of(&prefixes[0]);
        let mut bytes = Vec::new();
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let count = withdraw(&context, family, rest, &mut bytes);
            prop_assert!(count > 0);
            rest = &rest[count..];
        }
        let mut read = Vec::new();
        for frame in frames(&bytes) {
            let Message::Update(update) = decode(&frame, &context).unwrap() else { panic!() };
            prop_assert_eq!((&update.fault, &update.attributes), (&None, &None));
            prop_assert_eq!(update.end_of_rib, None);
            read.extend(update.withdrawn.iter().flatten().flat_map(|w| w.nlri));
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn an_open_is_read_as_it_was(sent in any_open()) {
        let mut bytes = Vec::new();
        open(&sent, &mut bytes);
        prop_assert_eq!(frames(&bytes).len(), 1);
        prop_assert_eq!(decode(&bytes, &Context::default()), Ok(Message::Open(sent)));
    }

    #[test]
    fn a_notification_is_read_as_it_was(code: u8, subcode: u8, data in vec(any::<u8>(), 0..4075)) {
        let sent = Notification { code, subcode, data };
        let mut bytes = Vec::new();
        notification(&sent, &mut bytes);
        prop_assert!(!sent.describe().contains(char::is_control));
        prop_assert_eq!(decode(&bytes, &Context::default()), Ok(Message::Notification(sent)));
    }

    #[test]
    fn a_route_refresh_is_read_as_it_was(afi: u16, safi: u8) {
        let family = AfiSafi { afi, safi };
        let mut bytes = Vec::new();
        route_refresh(family, &mut bytes);
        prop_assert_eq!(decode(&bytes, &Context::default()), Ok(Message::RouteRefresh(family)));
    }

    #[test]
    fn merging_keeps_the_length_of_the_path(
        old in segments(narrow_asn()),
        new in segments(asn()),
    ) {
        let bytes = two_octet_update(&old, &new);
        let context = Context { four_octet_as: false, internal: false };
        let Ok(Message::Update(update)) = decode(&bytes, &context) else { panic!() };
        let merged = update.attributes.unwrap().as_path;
        prop_assert_eq!(merged.length(), old.length());
        let covered = old.length() >= new.length() && !new.0.is_empty();
        let tail: Vec<_> = if covered { new.asns().collect() } else { old.asns().collect() };
        let all: Vec<_> = merged.asns().collect();
        prop_assert!(all.ends_with(&tail), "{merged} of {old} and {new}");
    }
}

/// An UPDATE whose AS_PATH and AS4_PATH have nothing to do with each other.
fn two_octet_update(as_path: &AsPath, as4_path: &AsPath) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 3, 4, 192, 0, 2, 1];
    for (flags, code, path, four) in [(0x50, 2, as_path, false), (0xd0, 17, as4_path, true)] {
        let value = path_octets(path, four);
        attributes.extend([flags, code]);
        attributes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        attributes.extend(value);
    }
    let mut bytes = vec![0xff; 16];
    bytes.extend(u16::try_from(25 + attributes.len()).unwrap().to_be_bytes());
    bytes.extend([2, 0, 0]);
    bytes.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    bytes.extend(attributes);
    bytes.extend([8, 10]);
    bytes
}

fn path_octets(path: &AsPath, four: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    for segment in &path.0 {
        octets.push(if segment.kind == SegmentKind::Set { 1 } else { 2 });
        octets.push(u8::try_from(segment.asns.len()).unwrap());
        for asn in &segment.asns {
            octets.extend(&asn.0.to_be_bytes()[if four { 0 } else { 2 }..]);
        }
    }
    octets
}

/// All good messages in a row, and something else after them.
fn stream() -> Vec<u8> {
    let good = wire_support::samples().into_iter().filter(|s| frames(&s.bytes).len() == 1);
    let mut stream: Vec<u8> = good.flat_map(|s| s.bytes).collect();
    stream.extend([0xff; 15]);
    stream.extend([0xfe; 9]);
    stream
}

#[test]
fn a_stream_gives_the_same_messages_however_it_is_cut() {
    let stream = stream();
    let mut framer = Framer::new();
    framer.push(&stream);
    let whole = drain(&mut framer);
    assert!(whole.0.len() > 70 && whole.1.is_some());
    for cut in 0..stream.len() {
        let mut framer = Framer::new();
        framer.push(&stream[..cut]);
        let (mut frames, _) = drain(&mut framer);
        framer.push(&stream[cut..]);
        let (more, error) = drain(&mut framer);
        frames.extend(more);
        assert_eq!((&frames, &error), (&whole.0, &whole.1), "cut at {cut}");
    }
}

#[test]
fn a_stream_may_come_in_pieces_of_any_size() {
    let stream = stream();
    let mut framer = Framer::new();
    framer.push(&stream);
    let whole = drain(&mut framer);
    for size in [1, 2, 3, 18, 19, 20, 37, 4096] {
        let mut framer = Framer::new();
        let mut frames = Vec::new();
        let mut last = None;
        for piece in stream.chunks(size) {
            framer.push(piece);
            let (more, error) = drain(&mut framer);
            frames.extend(more);
            assert!(framer.pending() < MAX_LEN);
            last = error;
        }
        assert_eq!((frames, last), whole, "pieces of {size}");
    }
}
