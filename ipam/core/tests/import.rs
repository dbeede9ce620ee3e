//! Leases of another allocator, taken over.

#![allow(clippy::unwrap_used)]

use ipam_core::*;
use std::net::IpAddr;
use std::time::Duration;

fn settings() -> Settings {
    let block = "10.0.0.0/28".parse().unwrap();
    Settings {
        pools: vec![PoolSettings::new("default", block, vec![block])],
        cooldown: Duration::from_secs(130),
        stickiness: Policy::Ttl(Duration::from_secs(3600)),
    }
}

fn at(seconds: u64) -> Now {
    let boottime = Duration::from_secs(seconds);
    Now { boot: BootId(1), boottime, wall: boottime }
}

fn node() -> Ipam {
    Ipam::open(settings(), Kept::default(), at(0)).0
}

fn pod(name: &str, container: &str) -> Add {
    let attachment = Attachment {
        network: "pods".into(),
        container_id: container.into(),
        ifname: "eth0".into(),
    };
    let owner = Owner { namespace: "default".into(), name: name.into(), ..Owner::default() };
    Add { attachment, owner, ..Add::default() }
}

fn lease(address: &str, name: &str, container: &str) -> (IpAddr, Adopted) {
    let Add { attachment, owner, netns, .. } = pod(name, container);
    (address.parse().unwrap(), Adopted { attachment, netns, owner })
}

fn of(leases: Vec<(IpAddr, Adopted)>) -> Import {
    Import { leases, holds: Vec::new() }
}

fn import(ipam: &mut Ipam, import: &Import, seconds: u64) -> Result<Imported, Vec<String>> {
    let mut out = Effects::default();
    let before = ipam.records();
    let done = ipam.import(import, at(seconds), &mut out);
    if done.is_err() {
        assert_eq!((out, ipam.records()), (Effects::default(), before), "nothing has changed");
    }
    done.map_err(|conflicts| conflicts.iter().map(ToString::to_string).collect())
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|a| a.parse().unwrap()).collect()
}

#[test]
fn what_another_allocator_gave_is_its_owners_and_nobody_elses_from_then_on() {
    let mut ipam = node();
    let leases = of(vec![lease("10.0.0.2", "a", "c1"), lease("10.0.0.9", "b", "c2")]);
    let done = import(&mut ipam, &leases, 1).unwrap();
    assert_eq!(done.adopted, addresses(&["10.0.0.2", "10.0.0.9"]));
    let mut out = Effects::default();
    let grants = ipam.add(&pod("a", "c1"), at(2), &mut out).unwrap();
    assert_eq!(grants[0].address, addresses(&["10.0.0.2"])[0], "a repeated ADD has its answer");
    for n in 0..11 {
        let other = ipam.add(&pod(&format!("o{n}"), &format!("o{n}")), at(3), &mut out).unwrap();
        assert!(!done.adopted.contains(&other[0].address));
    }
    assert!(ipam.add(&pod("late", "o99"), at(3), &mut out).is_err(), "the block is full");
    ipam.del(&pod("b", "c2").attachment, at(4), &mut out);
    let back = ipam.add(&pod("b", "c3"), at(5), &mut out).unwrap();
    assert_eq!(back[0].address, addresses(&["10.0.0.9"])[0], "b is recognised by its name");
}

#[test]
fn a_lease_that_was_taken_over_learns_its_namespace_from_the_next_add() {
    let mut ipam = node();
    import(&mut ipam, &of(vec![lease("10.0.0.2", "a", "c1")]), 1).unwrap();
    let netns = |ipam: &mut Ipam| {
        let first = addresses(&["10.0.0.0"])[0];
        ipam.leases(first, at(9)).next().map(|lease| lease.slot.netns.to_string())
    };
    assert_eq!(netns(&mut ipam).as_deref(), Some(""), "host-local does not know it");
    let mut out = Effects::default();
    let told = |path: &str| Add { netns: path.into(), ..pod("a", "c1") };
    ipam.add(&told(""), at(2), &mut out).unwrap();
    assert_eq!(out, Effects::default(), "nothing was learnt");
    ipam.add(&told("/run/netns/a"), at(3), &mut out).unwrap();
    assert_eq!((out.records.len(), out.reports.len()), (1, 0), "it is written down");
    assert_eq!(netns(&mut ipam).as_deref(), Some("/run/netns/a"));
    let mut out = Effects::default();
    ipam.add(&told("/run/netns/other"), at(4), &mut out).unwrap();
    assert_eq!(out, Effects::default(), "what is known stays: a repeated ADD changes nothing");
}

#[test]
fn what_is_never_handed_out_here_is_held_all_the_same_and_counts_for_nothing() {
    let mut ipam = node();
    let free = |ipam: &mut Ipam| ipam.pool_views(at(9))[0].counts.free;
    let before = free(&mut ipam);
    let [first, last, outside] =
        ["10.0.0.0", "10.0.0.15", "10.0.0.16"].map(|a| a.parse::<IpAddr>().unwrap());
    let holds = |all: &[IpAddr]| Import {
        holds: all.iter().map(|a| (*a, "a tunnel".to_owned())).collect(),
        ..Import::default()
    };
    assert!(import(&mut ipam, &holds(&[first, outside]), 1).is_err());
    let done = import(&mut ipam, &holds(&[first, last]), 1).unwrap();
    assert_eq!(done.held, [first, last]);
    assert_eq!(import(&mut ipam, &holds(&[first, last]), 2).unwrap().known, [first, last]);
    assert_eq!(ipam.withheld_views(at(3)).len(), 2);
    assert_eq!(free(&mut ipam), before);
    let mut out = Effects::default();
    ipam.unhold(first, &mut out).unwrap();
    assert_eq!(free(&mut ipam), before, "and nothing becomes free by its end");
}

#[test]
fn importing_again_changes_nothing_and_brings_back_nothing_that_was_released() {
    let mut ipam = node();
    let leases = of(vec![lease("10.0.0.2", "a", "c1"), lease("10.0.0.9", "b", "c2")]);
    import(&mut ipam, &leases, 1).unwrap();
    ipam.del(&pod("b", "c2").attachment, at(2), &mut Effects::default());
    let again = import(&mut ipam, &leases, 3).unwrap();
    assert_eq!((again.known, again.released), (addresses(&["10.0.0.2"]), addresses(&["10.0.0.9"])));
    assert!(again.adopted.is_empty());
    assert_eq!(ipam.check(&pod("a", "c1").attachment, &[]), Ok(()));
    assert!(ipam.check(&pod("b", "c2").attachment, &[]).is_err());
}

#[test]
fn every_conflict_is_told_and_none_is_half_taken_over() {
    let mut ipam = node();
    let mut out = Effects::default();
    ipam.add(&pod("here", "h1"), at(1), &mut out).unwrap();
    ipam.add(&pod("gone", "g1"), at(1), &mut out).unwrap();
    ipam.del(&pod("gone", "g1").attachment, at(2), &mut out);
    ipam.hold("10.0.0.7".parse().unwrap(), "broken switch", at(2), &mut out).unwrap();
    let mut asked = of(vec![
        lease("10.0.0.2", "a", "c1"),
        lease("10.0.0.3", "b", "c2"),
        lease("10.0.0.7", "c", "c3"),
        lease("10.9.0.1", "d", "c4"),
        lease("10.0.0.1", "e", "c5"),
        lease("10.0.0.8", "here", "h1"),
        lease("10.0.0.10", "f", "c6"),
        lease("10.0.0.10", "g", "c7"),
        lease("10.0.0.11", "g", "c7"),
        lease("10.0.0.12", "fine", "c8"),
    ]);
    asked.holds = vec![(addresses(&["10.0.0.12"])[0], "a tunnel".into())];
    let mut conflicts = import(&mut ipam, &asked, 12).unwrap_err();
    conflicts.sort();
    assert_eq!(
        conflicts,
        [
            "10.0.0.1 is not an address of this node's blocks that can be handed out",
            "10.0.0.10 has two owners in what is to be imported",
            "10.0.0.11: its container has 10.0.0.10 already",
            "10.0.0.12 has two owners in what is to be imported",
            "10.0.0.2 belongs to pod default/here here",
            "10.0.0.3 was released lately by pod default/gone; free in 120 s",
            "10.0.0.7 is on hold: broken switch",
            "10.0.0.8: its container has 10.0.0.2 already",
            "10.9.0.1 is not an address of this node's blocks that can be handed out",
        ]
    );
}

#[test]
fn an_address_cooling_for_its_own_pod_or_cold_for_anybody_is_taken_over() {
    let mut ipam = node();
    let mut out = Effects::default();
    for (name, container) in [("a", "a1"), ("b", "b1")] {
        ipam.add(&pod(name, container), at(1), &mut out).unwrap();
        ipam.del(&pod(name, container).attachment, at(2), &mut out);
    }
    import(&mut ipam, &of(vec![lease("10.0.0.2", "a", "a2")]), 3).unwrap();
    let other = of(vec![lease("10.0.0.3", "x", "x1")]);
    import(&mut ipam, &other, 100).unwrap_err();
    import(&mut ipam, &other, 140).unwrap();
}

#[test]
fn what_is_no_container_is_put_on_hold_and_what_was_seen_in_use_is_explained_by_its_owner() {
    let mut ipam = node();
    let mut out = Effects::default();
    let [tunnel, seen] = ["10.0.0.5", "10.0.0.6"].map(|a| a.parse().unwrap());
    ipam.seen(seen, "host route via veth1", at(1), &mut out);
    let mut asked = of(vec![lease("10.0.0.6", "a", "c1")]);
    asked.holds = vec![(tunnel, "the node's tunnel".into())];
    let done = import(&mut ipam, &asked, 2).unwrap();
    assert_eq!((done.adopted, done.held), (vec![seen], vec![tunnel]));
    let withheld: Vec<_> = ipam.withheld_views(at(3)).iter().map(|(a, _)| *a).collect();
    assert_eq!(withheld, [tunnel]);
    assert_eq!(import(&mut ipam, &asked, 4).unwrap().known, [seen, tunnel]);
}
