//! Traffic spread by the bandwidths of links (RFC 10005), and next hops that the kernel leaves out.

use super::*;
use crate::config::Multipath;
use crate::event::InstalledRoute;
use crate::hop_weight::HopWeight;
use crate::types::{Gateway, NextHop};
use bgp_words::LinkBandwidth;

const P: &str = "10.1.0.0/16";

fn lab() -> (Lab, [ConnId; 3]) {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002), (3, 65003)]));
    let peers = [1, 2, 3].map(|n| lab.establish(n, 65000 + u32::from(n)));
    (lab, peers)
}

/// Tells the prefix, and the bandwidth of the link in octets a second.
fn tell(lab: &mut Lab, (n, conn): (u8, ConnId), octets: Option<f32>) {
    let mut attrs = attributes(&[65000 + u32::from(n)], n);
    let said = |octets| LinkBandwidth { transitive: n == 2, asn: 65001, octets }.community();
    attrs.extended_communities.extend(octets.map(said));
    let prefixes = [prefix(P)];
    lab.receive(conn, |out| {
        wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &prefixes, out);
    });
}

/// What the kernel was told last: the last octet of each next hop, and its weight.
fn told(lab: &mut Lab) -> Vec<(u8, u8)> {
    let is_fib = |a: &&Action| matches!(a, Action::Fib { .. });
    let last = lab.actions.iter().rfind(is_fib).cloned();
    lab.actions.clear();
    let Some(Action::Fib { next_hops: Some(hops), .. }) = last else { return Vec::new() };
    let hop = |hop: &Gateway| match hop.next_hop {
        NextHop::V4(address) => (address.octets()[3], hop.weight.number()),
        NextHop::V6 { .. } => unreachable!(),
    };
    hops.iter().map(hop).collect()
}

#[test]
fn equal_paths_have_their_part_by_the_bandwidths_that_they_tell() {
    let (mut lab, [one, two, three]) = lab();
    tell(&mut lab, (1, one), Some(1.25e9));
    assert_eq!(told(&mut lab), [(1, 1)]);
    tell(&mut lab, (2, two), Some(3.125e9));
    assert_eq!(told(&mut lab), [(1, 2), (2, 5)]);
    let weights: Vec<_> = lab.paths(P).iter().map(|p| p.hop_weight.unwrap().number()).collect();
    assert_eq!(weights, [2, 5]);
    tell(&mut lab, (3, three), None);
    assert_eq!(told(&mut lab), [(1, 1), (2, 1), (3, 1)], "one does not say");
    tell(&mut lab, (3, three), Some(0.0));
    assert_eq!(told(&mut lab), [], "nor now");
    lab.withdraw(three, &[P]);
    assert_eq!(told(&mut lab), [(1, 2), (2, 5)]);
    tell(&mut lab, (1, one), Some(1e9));
    tell(&mut lab, (2, two), Some(1e9));
    assert_eq!(told(&mut lab), [(1, 1), (2, 1)]);
}

#[test]
fn bandwidths_that_say_the_same_in_other_numbers_change_nothing() {
    let (mut lab, [one, two, _]) = lab();
    tell(&mut lab, (1, one), Some(1e9));
    tell(&mut lab, (2, two), Some(2e9));
    assert_eq!(told(&mut lab), [(1, 1), (2, 2)]);
    tell(&mut lab, (1, one), Some(2e9));
    assert_eq!(told(&mut lab), [(1, 1), (2, 1)]);
    tell(&mut lab, (2, two), Some(4e9));
    assert_eq!(told(&mut lab), [(1, 1), (2, 2)]);
}

#[test]
fn a_speaker_that_is_told_not_to_weigh_does_not_from_then_on() {
    let (mut lab, [one, two, _]) = lab();
    tell(&mut lab, (1, one), Some(1e9));
    tell(&mut lab, (2, two), Some(3e9));
    assert_eq!(told(&mut lab), [(1, 1), (2, 3)]);
    let mut plain = config(&[(1, 65001), (2, 65002), (3, 65003)]);
    plain.multipath = Multipath { weighted: false, ..Multipath::default() };
    lab.tell(Event::Configure(Box::new(plain)));
    assert_eq!(told(&mut lab), [(1, 1), (2, 1)]);
}

#[test]
fn what_the_kernel_has_by_the_same_weights_is_not_touched_after_a_restart() {
    let hop = |n: u8, weight| Gateway {
        weight: HopWeight::new(weight),
        ..NextHop::V4([192, 0, 2, n].into()).into()
    };
    for (present, changes) in [([1, 3], 0), ([1, 1], 1), ([3, 1], 1)] {
        let next_hops = vec![hop(1, present[0]), hop(2, present[1])];
        let config = config(&[(1, 65001), (2, 65002)]);
        let mut lab = Lab::starting(config, Start::again(true));
        lab.tell(Event::Adopted(vec![InstalledRoute { prefix: prefix(P), next_hops }]));
        let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
        for (n, conn, octets) in [(1, one, 1e9), (2, two, 3e9)] {
            tell(&mut lab, (n, conn), Some(octets));
            lab.receive(conn, |out| wire::end_of_rib(Family::Ipv4Unicast, out));
        }
        let count = lab.actions.iter().filter(|a| matches!(a, Action::Fib { .. })).count();
        assert_eq!(count, changes, "{present:?}");
    }
}

#[test]
fn why_the_kernel_leaves_a_next_hop_out_is_told_with_the_path_and_with_the_route() {
    let (mut lab, [one, two, _]) = lab();
    tell(&mut lab, (1, one), None);
    tell(&mut lab, (2, two), None);
    let dead = Gateway::from(NextHop::V4([192, 0, 2, 2].into()));
    lab.tell(Event::FibLeftOut([(dead, "Network is down".into())].into()));
    let paths = lab.paths(P);
    assert!(paths[0].installed && paths[0].left_out.is_none());
    assert!(paths[1].multipath && !paths[1].installed);
    assert_eq!(paths[1].left_out.as_deref(), Some("Network is down"));
    let kernel = lab.speaker.explain(prefix(P), lab.now).kernel;
    assert_eq!(kernel.fib.left_out, [(dead, "Network is down".to_owned())]);
    let there = &lab.table(RibKind::Fib, None, None)[0].paths;
    assert_eq!(there.iter().map(|p| p.installed).collect::<Vec<_>>(), [true, false]);
    lab.tell(Event::FibLeftOut(BTreeMap::new()));
    assert!(lab.paths(P).iter().all(|p| p.installed && p.left_out.is_none()));
}

#[test]
fn why_a_path_as_good_as_the_best_is_not_used_beside_it_is_told() {
    let why = |multipath| {
        let (mut lab, [one, two, _]) = lab();
        let mut other = config(&[(1, 65001), (2, 65002), (3, 65003)]);
        other.multipath = multipath;
        lab.tell(Event::Configure(Box::new(other)));
        tell(&mut lab, (1, one), None);
        tell(&mut lab, (2, two), None);
        lab.paths(P)[1].left_out.clone().unwrap()
    };
    let fewer = why(Multipath { external: 1, ..Multipath::default() });
    assert_eq!(fewer, "there are as many as bgp.multipath.ebgp allows");
    let alike = why(Multipath { relax: false, ..Multipath::default() });
    assert!(alike.contains("bgp.multipath.relax"), "{alike}");
}
