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
use bgp_core::wire::{
    self, AsPath, Attributes, Capability, Context, Origin, SegmentKind, announce, decode, withdraw,
};
use bgp_rs::{
    AFI, ASPath, Message, NLRIEncoding, OpenCapability, OpenParameter, PathAttribute, Reader,
    Segment, Update,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use wire_support::captured;
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
    for attribute in seen {
        assert!(is_of(attribute, sent), "{attribute:?}\nof {sent:?}");
    }
    let optional = [
        sent.med.is_some(),
        sent.local_pref.is_some(),
        !sent.communities.is_empty(),
        !sent.extended_communities.is_empty(),
        !sent.large_communities.is_empty(),
        sent.originator_id.is_some(),
        !sent.cluster_list.is_empty(),
    ];
    // ORIGIN, AS_PATH, and NEXT_HOP or MP_REACH_NLRI.
    assert_eq!(seen.len(), 3 + optional.into_iter().filter(|there| *there).count());
}

fn is_of(attribute: &PathAttribute, sent: &Attributes) -> bool {
    match attribute {
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
        PathAttribute::LARGE_COMMUNITY(list) => {
            sent.large_communities.iter().map(|[a, b, c]| (*a, *b, *c)).eq(list.iter().copied())
        }
        PathAttribute::ORIGINATOR_ID(id) => {
            sent.originator_id.is_some_and(|o| o.0.to_bits() == *id)
        }
        PathAttribute::CLUSTER_LIST(list) => {
            sent.cluster_list.iter().map(|c| c.0.to_bits()).eq(list.iter().copied())
        }
        PathAttribute::AS_PATH(path) => segments(path) == of_ours(&sent.as_path),
        PathAttribute::MP_REACH_NLRI(_) => true,
        other => panic!("nobody has sent {other:?}"),
    }
}

type Segments = Vec<(bool, Vec<u32>)>;

fn segments(path: &ASPath) -> Segments {
    let one = |segment: &Segment| match segment {
        Segment::AS_SEQUENCE(asns) => (true, asns.clone()),
        Segment::AS_SET(asns) => (false, asns.clone()),
    };
    path.segments.iter().map(one).collect()
}

fn of_ours(path: &AsPath) -> Segments {
    let asns = |s: &wire::Segment| s.asns.iter().map(|asn| asn.0).collect();
    path.0.iter().map(|s| (s.kind == SegmentKind::Sequence, asns(s))).collect()
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

/// It has no way to be told of path identifiers in a session, so where there are some it guesses.
#[test]
fn what_five_speakers_have_sent_bgp_rs_reads_as_we_do_where_it_does_not_guess() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in captured().iter().filter(|s| !s.context.paths_in.any()) {
        let ours = decode(&sample.bytes, &sample.context).unwrap();
        let (_, theirs) = Reader::new(sample.bytes.as_slice()).read().unwrap();
        let kind = match (&ours, &theirs) {
            (wire::Message::Keepalive, Message::KeepAlive) => "KEEPALIVE",
            (wire::Message::Open(ours), Message::Open(theirs)) => {
                same_open(ours, theirs);
                "OPEN"
            }
            (wire::Message::Notification(ours), Message::Notification(theirs)) => {
                assert_eq!(
                    (ours.code, ours.subcode),
                    (theirs.major_err_code, theirs.minor_err_code)
                );
                assert_eq!(ours.data, theirs.data);
                "NOTIFICATION"
            }
            (wire::Message::RouteRefresh(ours), Message::RouteRefresh(theirs)) => {
                let family = (theirs.afi as u16, theirs.safi as u8, theirs.subtype);
                assert_eq!((ours.afi, ours.safi, 0), family);
                "ROUTE-REFRESH"
            }
            (wire::Message::Update(ours), Message::Update(theirs)) => same_update(ours, theirs),
            other => panic!("{}: {other:?}", sample.title),
        };
        *counts.entry(kind).or_default() += 1;
    }
    println!("{counts:?}");
    for (kind, least) in
        [("KEEPALIVE", 10), ("OPEN", 20), ("NOTIFICATION", 5), ("ROUTE-REFRESH", 3), ("UPDATE", 60)]
    {
        assert!(counts.get(kind) >= Some(&least), "{kind}: {counts:?}");
    }
}

fn same_open(ours: &wire::Open, theirs: &bgp_rs::Open) {
    let short = u16::try_from(ours.asn.0).unwrap_or(23456);
    let id = ours.router_id.0.to_bits();
    assert_eq!(
        (short, ours.hold_time, id),
        (theirs.peer_asn, theirs.hold_timer, theirs.identifier)
    );
    let all = theirs.parameters.iter().flat_map(|parameter| match parameter {
        OpenParameter::Capabilities(all) => all.as_slice(),
        OpenParameter::Unknown { .. } => &[],
    });
    let known = |c: &Capability| match c {
        Capability::Multiprotocol(f) => Some((1, u32::from(f.afi) << 8 | u32::from(f.safi))),
        Capability::RouteRefresh => Some((2, 0)),
        Capability::FourOctetAs(asn) => Some((65, asn.0)),
        _ => None,
    };
    let read = |c: &OpenCapability| match c {
        OpenCapability::MultiProtocol((afi, safi)) => {
            Some((1, u32::from(*afi as u16) << 8 | u32::from(*safi as u8)))
        }
        OpenCapability::RouteRefresh => Some((2, 0)),
        OpenCapability::FourByteASN(asn) => Some((65, *asn)),
        _ => None,
    };
    let (known, read): (Vec<_>, Vec<_>) =
        (ours.capabilities.iter().filter_map(known).collect(), all.filter_map(read).collect());
    assert_eq!(known, read);
}

/// "UPDATE" if it has read it, "guessed" if it took the width of AS numbers or a prefix for another.
fn same_update(ours: &wire::Update<'_>, theirs: &Update) -> &'static str {
    let (come, gone) = (prefixes(announced(theirs)), prefixes(withdrawn(theirs)));
    let (Some(come), Some(gone)) = (come, gone) else { return "guessed" };
    let ours_come = ours.announced.iter().flatten().flat_map(|s| s.nlri);
    let ours_gone = ours.withdrawn.iter().flatten().flat_map(|s| s.nlri);
    assert_eq!(come, ours_come.collect::<Vec<_>>());
    assert_eq!(gone, ours_gone.collect::<Vec<_>>());
    let mut kind = "UPDATE";
    for (attribute, sent) in theirs.attributes.iter().zip(std::iter::repeat(&ours.attributes)) {
        match (attribute, sent) {
            (PathAttribute::MP_UNREACH_NLRI(_), _) => {}
            (PathAttribute::AS_PATH(path), Some(sent))
                if segments(path) != of_ours(&sent.as_path) =>
            {
                kind = "guessed";
            }
            (_, Some(sent)) => assert!(is_of(attribute, sent), "{attribute:?} of {sent:?}"),
            (_, None) => panic!("nobody has sent {attribute:?}"),
        }
    }
    kind
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
