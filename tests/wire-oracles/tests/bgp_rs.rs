//! What we write, bgp-rs reads as we meant it, as far as it can.
//!
//! It is GPL-3.0 and misreads much (docs/adr/0001-own-wire-codec.md), so it is asked here alone and
//! only for what it gets right: it guesses the width of AS numbers, takes some runs of IPv4 prefixes
//! for prefixes with path identifiers, and panics on attributes it does not know.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "not all of it is of use here")]
#[path = "../../../bgpd/core/tests/wire_support/mod.rs"]
mod wire_support;

use bgp_core::types::{Family, Prefix};
use bgp_core::wire::{Attributes, Context, Origin, announce, withdraw};
use bgp_rs::{AFI, Message, NLRIEncoding, PathAttribute, Reader, Update};
use proptest::prelude::*;
use std::net::IpAddr;
use wire_support::strategies::table;

fn read(bytes: &[u8]) -> Update {
    let (_, message) = Reader::new(bytes).read().unwrap();
    let Message::Update(update) = message else { panic!("no UPDATE: {message:?}") };
    update
}

/// `None`: it has guessed wrongly.
fn prefixes(routes: &[NLRIEncoding]) -> Option<Vec<Prefix>> {
    let one = |route: &NLRIEncoding| {
        let NLRIEncoding::IP(p) = route else { return None };
        let octet = |i: usize| p.prefix.get(i).copied().unwrap_or_default();
        let address: IpAddr = match p.protocol {
            AFI::IPV4 => std::array::from_fn::<u8, 4, _>(octet).into(),
            _ => std::array::from_fn::<u8, 16, _>(octet).into(),
        };
        Prefix::containing(address, p.length).ok()
    };
    routes.iter().map(one).collect()
}

/// Without what makes it panic, and without what it cannot know the width of.
fn tame(mut attributes: Attributes) -> Attributes {
    attributes.atomic_aggregate = false;
    attributes.aggregator = None;
    attributes.large_communities.clear();
    attributes.unknown.clear();
    attributes.as_path.0.clear();
    attributes
}

fn same_attributes(sent: &Attributes, seen: &[PathAttribute]) {
    let expected = |attribute: &PathAttribute| match attribute {
        PathAttribute::ORIGIN(origin) => matches!(
            (origin, sent.origin),
            (bgp_rs::Origin::IGP, Origin::Igp)
                | (bgp_rs::Origin::EGP, Origin::Egp)
                | (bgp_rs::Origin::INCOMPLETE, Origin::Incomplete)
        ),
        PathAttribute::NEXT_HOP(address) => *address == sent.next_hop.addr(),
        PathAttribute::MULTI_EXIT_DISC(med) => Some(*med) == sent.med,
        PathAttribute::LOCAL_PREF(preference) => Some(*preference) == sent.local_pref,
        PathAttribute::COMMUNITY(list) => *list == sent.communities,
        PathAttribute::EXTENDED_COMMUNITIES(list) => *list == sent.extended_communities,
        PathAttribute::ORIGINATOR_ID(id) => {
            sent.originator_id.is_some_and(|o| o.0.to_bits() == *id)
        }
        PathAttribute::CLUSTER_LIST(list) => {
            sent.cluster_list.iter().map(|c| c.0.to_bits()).eq(list.iter().copied())
        }
        PathAttribute::AS_PATH(path) => path.segments.is_empty(),
        PathAttribute::MP_REACH_NLRI(_) => true,
        other => panic!("nobody has sent {other:?}"),
    };
    for attribute in seen {
        assert!(expected(attribute), "{attribute:?}\nof {sent:?}");
    }
    let optional = [
        sent.med.is_some(),
        sent.local_pref.is_some(),
        !sent.communities.is_empty(),
        !sent.extended_communities.is_empty(),
        sent.originator_id.is_some(),
        !sent.cluster_list.is_empty(),
    ];
    // ORIGIN, AS_PATH, and NEXT_HOP or MP_REACH_NLRI.
    assert_eq!(seen.len(), 3 + optional.into_iter().filter(|there| *there).count());
}

fn announced(update: &Update) -> &[NLRIEncoding] {
    let mp = update.attributes.iter().find_map(|a| match a {
        PathAttribute::MP_REACH_NLRI(reach) => Some(&reach.announced_routes),
        _ => None,
    });
    mp.unwrap_or(&update.announced_routes)
}

fn withdrawn(update: &Update) -> &[NLRIEncoding] {
    let mp = update.attributes.iter().find_map(|a| match a {
        PathAttribute::MP_UNREACH_NLRI(unreach) => Some(&unreach.withdrawn_routes),
        _ => None,
    });
    mp.unwrap_or(&update.withdrawn_routes)
}

/// One message's worth, and few enough for its square.
fn sample() -> impl Strategy<Value = (Context, Attributes, Vec<Prefix>)> {
    table().prop_map(|(context, attributes, mut prefixes)| {
        prefixes.retain(|p| p.len() > 0);
        prefixes.truncate(50);
        (context, tame(attributes), prefixes)
    })
}

proptest! {
    #[test]
    fn bgp_rs_reads_announcements_as_they_were_meant((context, attributes, all) in sample()) {
        prop_assume!(!all.is_empty());
        let mut bytes = Vec::new();
        let written = announce(&context, Family::of(&all[0]), &attributes, &all, &mut bytes);
        prop_assume!(written == all.len());
        let update = read(&bytes);
        same_attributes(&attributes, &update.attributes);
        let seen = prefixes(announced(&update));
        prop_assume!(seen.is_some());
        prop_assert_eq!(seen.unwrap(), all);
    }

    #[test]
    fn bgp_rs_reads_withdrawals_as_they_were_meant((context, _, all) in sample()) {
        prop_assume!(!all.is_empty());
        let mut bytes = Vec::new();
        withdraw(&context, Family::of(&all[0]), &all, &mut bytes);
        let seen = prefixes(withdrawn(&read(&bytes)));
        prop_assume!(seen.is_some());
        prop_assert_eq!(seen.unwrap(), all);
    }
}
