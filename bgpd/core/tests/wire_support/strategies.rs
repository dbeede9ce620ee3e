//! Any message there can be.

use bgp_core::types::{Asn, Family, NextHop, Prefix, RouterId};
use bgp_core::wire::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1u32..=65535, 65536u32.., Just(Asn::TRANS.0)].prop_map(Asn)
}

pub(crate) fn narrow_asn() -> impl Strategy<Value = Asn> {
    (1u32..=65535).prop_map(Asn)
}

fn router_id() -> impl Strategy<Value = RouterId> {
    (1u32..).prop_map(|bits| RouterId(Ipv4Addr::from(bits)))
}

/// Paths with numbers beyond two octets, and paths without any.
fn as_path() -> impl Strategy<Value = AsPath> {
    prop_oneof![segments(asn()), segments(narrow_asn())]
}

pub(crate) fn segments(asn: impl Strategy<Value = Asn>) -> impl Strategy<Value = AsPath> {
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

fn next_hop(family: Family, extended: bool) -> BoxedStrategy<NextHop> {
    if extended && family == Family::Ipv4Unicast {
        let ways = [next_hop(family, false), next_hop(Family::Ipv6Unicast, false)];
        return proptest::strategy::Union::new(ways).boxed();
    }
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
    let code = prop_oneof![Just(11u8), Just(25), Just(34), 40u8..];
    btree_map(code, vec(any::<u8>(), 0..300), 0..3).prop_map(|all| {
        all.into_iter().map(|(code, value)| RawAttribute { flags: 0xe0, code, value }).collect()
    })
}

pub(crate) fn attributes(family: Family, context: Context) -> impl Strategy<Value = Attributes> {
    let internal = context.internal;
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let plain = (
        next_hop(family, context.extended_next_hop),
        origin,
        as_path(),
        any::<Option<u32>>(),
        any::<bool>(),
    );
    let lists = (
        vec(any::<u32>(), 0..80),
        vec(any::<u64>(), 0..40),
        btree_set(any::<[u32; 3]>(), 0..30),
        unknown(),
    );
    let inside = (any::<Option<u32>>(), option::of(router_id()), vec(router_id(), 0..5));
    let all =
        (plain, (option::of(aggregator()), option::of(asn())), lists, inside, any::<[bool; 5]>());
    all.prop_map(move |(plain, (aggregator, only_to_customer), lists, inside, partial)| {
        let (next_hop, origin, as_path, med, atomic_aggregate) = plain;
        let (communities, extended_communities, large, unknown) = lists;
        let (local_pref, originator_id, cluster_list) =
            if internal { inside } else { (None, None, Vec::new()) };
        let large_communities: Vec<_> = large.into_iter().collect();
        let partial = Partial {
            aggregator: partial[0] && aggregator.is_some(),
            communities: partial[1] && !communities.is_empty(),
            extended_communities: partial[2] && !extended_communities.is_empty(),
            large_communities: partial[3] && !large_communities.is_empty(),
            only_to_customer: partial[4] && only_to_customer.is_some(),
        };
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
            only_to_customer,
            weight: 0,
            partial,
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
    any::<(bool, bool)>().prop_map(|(four_octet_as, internal)| Context {
        four_octet_as,
        internal,
        ..Context::BARE
    })
}

/// What every implementation reads.
pub(crate) fn table() -> impl Strategy<Value = (Context, Attributes, Vec<Prefix>)> {
    table_of(context()).prop_map(|(context, attributes, prefixes)| {
        let partial = Partial { only_to_customer: false, ..attributes.partial };
        (context, Attributes { only_to_customer: None, partial, ..attributes }, prefixes)
    })
}

/// With long messages, IPv6 next hops for IPv4 prefixes, and OTC.
pub(crate) fn wide_table() -> impl Strategy<Value = (Context, Attributes, Vec<Prefix>)> {
    table_of((context(), any::<(bool, bool)>()).prop_map(
        |(context, (extended_messages, extended_next_hop))| Context {
            extended_messages,
            extended_next_hop,
            ..context
        },
    ))
}

fn table_of(
    context: impl Strategy<Value = Context>,
) -> impl Strategy<Value = (Context, Attributes, Vec<Prefix>)> {
    let counts = prop_oneof![8 => 1usize..50, 1 => 1000usize..2500];
    (context, family(), counts).prop_flat_map(|(context, family, count)| {
        let prefixes = vec(prefix(family), count);
        (Just(context), attributes(family, context), prefixes)
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
    let long_lived =
        (afi_safi(), any::<bool>(), 0u32..1 << 24).prop_map(|(family, forwarding, stale_time)| {
            LongLivedFamily { family, forwarding, stale_time }
        });
    prop_oneof![
        (prop_oneof![72u8..=255, 10u8..=63], vec(any::<u8>(), 0..=255))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
        afi_safi().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::EnhancedRouteRefresh),
        Just(Capability::ExtendedMessage),
        graceful,
        vec(long_lived, 0..37).prop_map(Capability::LongLived),
    ]
}

pub(crate) fn any_open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0u16), 3u16..];
    (asn(), hold_time, router_id(), vec(capability(), 0..12)).prop_map(
        |(asn, hold_time, router_id, mut capabilities)| {
            capabilities.push(Capability::FourOctetAs(asn));
            Open { asn, hold_time, router_id, capabilities }
        },
    )
}

/// Capabilities that other implementations know as little of as we did.
pub(crate) fn newer_capability() -> impl Strategy<Value = Capability> {
    let extended = any::<(u16, u16, u16)>().prop_map(|(afi, safi, next_hop_afi)| ExtendedNextHop {
        afi,
        safi,
        next_hop_afi,
    });
    prop_oneof![
        vec(extended, 0..42).prop_map(Capability::ExtendedNextHop),
        any::<u8>().prop_map(Capability::Role),
    ]
}
