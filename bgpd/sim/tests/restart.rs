//! Graceful restart, seen from both sides (RFC 4724).

use bgp_core::config::{PolicyName, SessionConfig};
use bgp_core::event::Start;
use bgp_core::report::{Cause, Report};
use bgp_core::types::Family;
use bgp_sim::{Fabric, LinkId, Net, NodeId, Side};
use std::time::Duration;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A switch and two nodes behind it, up and told.
fn rack(seed: u64) -> (Net, NodeId, [NodeId; 2], [LinkId; 2]) {
    rack_with(seed, |_| {})
}

/// The same with every session changed as `edit` likes.
fn rack_with(
    seed: u64,
    edit: impl Fn(&mut SessionConfig),
) -> (Net, NodeId, [NodeId; 2], [LinkId; 2]) {
    let mut net = Net::new(seed);
    net.check_always();
    let tor = net.node("tor", 65001);
    let nodes = [net.node("n0", 64512), net.node("n1", 64513)];
    net.own(tor, "0.0.0.0/0");
    let links = nodes.map(|n| net.link_with(tor, n, |_, session| edit(session)));
    for (n, node) in nodes.iter().enumerate() {
        net.own(*node, &format!("10.244.{n}.0/26"));
        net.own(*node, &format!("fd00:244:{n}::/64"));
    }
    net.start_all();
    net.run(seconds(20));
    net.check_quiet();
    (net, tor, nodes, links)
}

fn without_n_bit(session: &mut SessionConfig) {
    session.graceful_restart.iter_mut().for_each(|own| own.notification = false);
}

fn swept(net: &Net, node: NodeId) -> usize {
    let swept = |r: &Report| match r {
        Report::StaleSwept { routes, .. } => *routes,
        _ => 0,
    };
    net.reports(node).iter().map(|(_, r)| swept(r)).sum()
}

#[test]
fn a_restart_changes_no_route_on_either_side() {
    for seed in 0..20 {
        let (mut net, tor, [node, other], _) = rack(seed);
        let before = [tor, node, other].map(|n| net.fib_changes(n));
        net.restart(node, seconds(4));
        net.run(seconds(200));
        assert_eq!([tor, node, other].map(|n| net.fib_changes(n)), before, "seed {seed}");
        assert_eq!(swept(&net, tor), 0);
        assert!(net.reports(node).iter().any(|(_, r)| *r == Report::Restarted));
        net.check_quiet();
    }
}

#[test]
fn a_planned_stop_says_nothing_and_keeps_the_routes() {
    let (mut net, tor, [node, _], _) = rack(1);
    let before = net.fib_changes(tor);
    net.stop(node);
    net.run(seconds(10));
    assert!(net.has_route(tor, "10.244.0.0/26"));
    assert_eq!(net.paths(tor, "10.244.0.0/26").len(), 1);
    assert!(net.paths(tor, "10.244.0.0/26")[0].stale);
    net.start(node, Start::again(true));
    net.run(seconds(20));
    assert_eq!(net.fib_changes(tor), before);
    net.check_quiet();
}

#[test]
fn a_peer_that_does_not_help_is_told_that_we_stop() {
    let mut net = Net::new(2);
    let (tor, node) = (net.node("tor", 65001), net.node("node", 64512));
    net.own(node, "10.244.0.0/26");
    net.link_with(tor, node, |side, session| {
        if side == Side::A {
            session.graceful_restart = None;
        }
    });
    net.start_all();
    net.run(seconds(10));
    net.stop(node);
    net.run(seconds(1));
    assert!(!net.has_route(tor, "10.244.0.0/26"));
    assert!(net.reports(tor).iter().any(|(_, r)| matches!(
        r,
        Report::PeerDown { cause: Cause::Received(n), stale: 0, .. } if (n.code, n.subcode) == (6, 2)
    )));
}

#[test]
fn a_prefix_given_up_during_the_restart_goes_at_end_of_rib() {
    let (mut net, tor, [node, _], _) = rack(3);
    net.kill(node);
    net.run(seconds(2));
    net.disown(node, "10.244.0.0/26");
    assert!(net.has_route(tor, "10.244.0.0/26"));
    net.start(node, Start::again(true));
    net.run(seconds(10));
    assert!(!net.has_route(tor, "10.244.0.0/26"));
    assert!(net.has_route(tor, "fd00:244:0::/64"));
    assert_eq!(swept(&net, tor), 1);
    net.check_quiet();
}

#[test]
fn a_peer_that_does_not_come_back_is_forgotten_when_its_time_is_over() {
    // Powered off, it says nothing: the hold time goes first, and with the N bit that may be a
    // restart too (RFC 8538 §4).
    let n_bit = rack(4);
    let plain = rack_with(4, without_n_bit);
    for ((mut net, tor, [node, _], _), kept) in [(n_bit, true), (plain, false)] {
        net.power_off(node);
        net.run(seconds(59));
        assert!(net.has_route(tor, "10.244.0.0/26"), "the hold time is not over");
        net.run(seconds(32));
        assert_eq!(net.state(tor, "n0"), "Active");
        assert_eq!(net.has_route(tor, "10.244.0.0/26"), kept);
        net.run(seconds(120));
        assert!(!net.has_route(tor, "10.244.0.0/26"));
    }
    let (mut net, tor, [node, _], _) = rack(5);
    net.kill(node);
    net.run(seconds(119));
    assert!(net.has_route(tor, "10.244.0.0/26"));
    net.run(seconds(3));
    assert!(!net.has_route(tor, "10.244.0.0/26"));
    net.check_quiet();
}

/// The node crashes, is up again for a moment without its blocks, and crashes once more.
fn dies_twice((mut net, tor, [node, _], _): (Net, NodeId, [NodeId; 2], [LinkId; 2])) -> bool {
    net.kill(node);
    net.run(seconds(2));
    let blocks = ["10.244.0.0/26", "fd00:244:0::/64"];
    for block in blocks {
        net.disown(node, block);
    }
    net.start(node, Start::again(true));
    net.run_until(seconds(30), |net| net.state(tor, "n0") == "Established");
    net.kill(node);
    net.run(seconds(1));
    net.has_route(tor, blocks[0])
}

#[test]
fn a_second_crash_within_the_window_is_covered_by_the_n_bit_alone() {
    assert!(dies_twice(rack(6)), "RFC 8538 §4.1");
    assert!(!dies_twice(rack_with(6, without_n_bit)), "RFC 4724 §4.2: stale twice is too often");
}

#[test]
fn a_peer_whose_kernel_lost_the_routes_has_them_flushed_at_once() {
    let (mut net, tor, [node, _], _) = rack(7);
    let before = net.fib_changes(tor);
    net.kill(node);
    net.run(seconds(2));
    net.start(node, Start::again(false));
    net.run(seconds(10));
    assert!(net.fib_changes(tor) > before);
    assert_eq!(swept(&net, tor), 2);
    net.check_quiet();
}

#[test]
fn a_reset_connection_of_two_running_speakers_moves_no_route() {
    let (mut net, tor, [node, other], [link, _]) = rack(8);
    let before = [tor, node, other].map(|n| net.fib_changes(n));
    net.reset(link);
    net.run(seconds(30));
    assert_eq!([tor, node, other].map(|n| net.fib_changes(n)), before);
    assert_eq!(net.state(tor, "n0"), "Established");
    net.check_quiet();
}

#[test]
fn a_restarted_peer_is_taken_back_though_its_old_connection_never_ended() {
    for seed in 0..20 {
        let (mut net, tor, [node, _], [link, _]) = rack(seed);
        let before = net.fib_changes(tor);
        // The FIN of the killed process is lost on the way.
        net.cut(link);
        net.kill(node);
        net.run(seconds(2));
        net.forget(link);
        net.restore(link);
        net.start(node, Start::again(true));
        net.run(seconds(15));
        assert_eq!(net.state(tor, "n0"), "Established", "seed {seed}");
        assert_eq!(net.state(node, "tor"), "Established", "seed {seed}");
        assert_eq!(net.fib_changes(tor), before, "seed {seed}");
        net.check_quiet();
    }
}

#[test]
fn one_dead_peer_delays_nothing_but_its_own_routes() {
    let (mut net, tor, [node, dead], _) = rack(9);
    net.own(dead, "10.1.0.0/16");
    net.run(seconds(1));
    net.kill(dead);
    net.kill(tor);
    net.run(seconds(2));
    net.start(tor, Start::again(true));
    net.run_until(seconds(20), |net| net.state(node, "tor") == "Established");
    net.own(node, "10.77.0.0/24");
    net.run(Duration::from_millis(100));
    assert!(net.has_route(tor, "10.77.0.0/24"));
    assert!(net.has_route(node, "0.0.0.0/0"));
    assert!(net.has_route(tor, "10.1.0.0/16"), "adopted, and its peer may yet come");
    net.run(seconds(121));
    assert!(!net.has_route(tor, "10.1.0.0/16"), "it did not");
    assert!(
        net.reports(tor)
            .iter()
            .any(|(_, r)| matches!(r, Report::FibSwept { family: Family::Ipv4Unicast, routes: 2 }))
    );
}

#[test]
fn learned_routes_are_passed_on_at_once_but_end_of_rib_waits_for_those_who_tell_them() {
    let (mut net, tor, [node, late], _) = rack(10);
    net.kill(tor);
    net.kill(late);
    net.run(seconds(2));
    let before = net.fib_changes(node);
    net.start(tor, Start::again(true));
    net.run(seconds(60));
    assert!(net.has_route(node, "10.244.1.0/26"), "the switch may still hear it from n1");
    net.start(late, Start::again(true));
    net.run(seconds(30));
    assert_eq!(net.fib_changes(node), before);
    net.check_quiet();
}

#[test]
fn a_node_that_passes_nothing_on_ends_its_rib_at_once_whoever_is_dead() {
    let mut net = Net::new(11);
    let tors = [net.node("tor0", 65001), net.node("tor1", 65002)];
    let node = net.node("node", 64512);
    net.own(node, "10.244.0.0/26");
    for tor in tors {
        net.own(tor, "0.0.0.0/0");
        net.link_with(tor, node, |side, session| {
            if side == Side::B {
                session.import = PolicyName::Node;
                session.export = PolicyName::Node;
            }
        });
    }
    net.start_all();
    net.run(seconds(10));
    assert_eq!(net.next_hops(node, "0.0.0.0/0").len(), 2);
    let before = net.fib_changes(node);
    net.kill(tors[1]);
    net.kill(node);
    net.run(seconds(2));
    net.start(node, Start::again(true));
    net.run(seconds(15));
    let ended = |r: &Report| matches!(r, Report::EndOfRib { .. });
    assert_eq!(net.reports(tors[0]).iter().filter(|(_, r)| ended(r)).count(), 4);
    assert_eq!(net.next_hops(node, "0.0.0.0/0").len(), 2, "the other switch may yet come");
    assert_eq!(net.fib_changes(node), before);
    net.run(seconds(120));
    assert_eq!(net.next_hops(node, "0.0.0.0/0").len(), 1);
    assert_eq!(net.fib_changes(node), before + 1);
}

#[test]
fn a_first_start_with_no_peer_up_leaves_the_kernel_alone_until_the_time_is_over() {
    let (mut net, tor, [node, _], _) = rack(12);
    net.kill(tor);
    net.kill(node);
    net.start(node, Start::default());
    net.run(seconds(119));
    assert!(net.has_route(node, "0.0.0.0/0"));
    net.run(seconds(2));
    assert!(!net.has_route(node, "0.0.0.0/0"));
}

#[test]
fn a_leaf_restarts_in_a_fabric_and_no_spine_notices() {
    let mut net = Net::new(13);
    let Fabric { spines, leaves, .. } = net.fabric(2, 12, |_, _| {});
    net.start_all();
    net.run(seconds(30));
    net.assert_all_reach_each_other();
    let all: Vec<NodeId> = spines.iter().chain(&leaves).copied().collect();
    let before: Vec<u64> = all.iter().map(|n| net.fib_changes(*n)).collect();
    net.restart(leaves[3], seconds(5));
    net.run(seconds(60));
    let after: Vec<u64> = all.iter().map(|n| net.fib_changes(*n)).collect();
    assert_eq!(after, before);
    net.assert_all_reach_each_other();
    net.check_quiet();
}

#[test]
fn spines_restart_one_by_one_and_all_at_once() {
    let mut net = Net::new(14);
    let Fabric { spines, leaves, .. } = net.fabric(2, 8, |_, _| {});
    net.start_all();
    net.run(seconds(30));
    let all: Vec<NodeId> = spines.iter().chain(&leaves).copied().collect();
    let before: Vec<u64> = all.iter().map(|n| net.fib_changes(*n)).collect();
    for spine in &spines {
        net.restart(*spine, seconds(3));
        net.run(seconds(60));
    }
    for node in &all {
        net.kill(*node);
    }
    net.run(seconds(3));
    for node in &all {
        net.start(*node, Start::again(true));
    }
    net.run(seconds(200));
    let after: Vec<u64> = all.iter().map(|n| net.fib_changes(*n)).collect();
    assert_eq!(after, before);
    net.assert_all_reach_each_other();
    net.check_quiet();
}

#[test]
fn both_sides_of_a_session_restart_at_once_and_no_route_moves() {
    for seed in 0..20 {
        let (mut net, tor, [node, _], _) = rack(seed);
        let before = [tor, node].map(|n| net.fib_changes(n));
        net.kill(tor);
        net.kill(node);
        net.run(seconds(3));
        net.start(tor, Start::again(true));
        net.start(node, Start::again(true));
        net.run(seconds(200));
        assert_eq!([tor, node].map(|n| net.fib_changes(n)), before, "seed {seed}");
        net.check_quiet();
    }
}
