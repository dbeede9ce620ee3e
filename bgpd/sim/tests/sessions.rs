//! Sessions come up, collide, and come back.

use bgp_core::report::{Cause, Report};
use bgp_sim::{Net, NodeId};
use std::time::Duration;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn pair(seed: u64) -> (Net, NodeId, NodeId) {
    let mut net = Net::new(seed);
    let (tor, node) = (net.node("tor", 65001), net.node("node", 64512));
    net.own(tor, "0.0.0.0/0");
    net.own(node, "10.244.1.0/26");
    net.own(node, "fd00:244::/64");
    net.link(tor, node);
    (net, tor, node)
}

#[test]
fn two_speakers_tell_each_other_their_routes() {
    let (mut net, tor, node) = pair(1);
    net.check_always();
    net.start_all();
    net.run(seconds(10));
    assert!(net.has_route(tor, "10.244.1.0/26"));
    assert!(net.has_route(tor, "fd00:244::/64"));
    assert!(net.has_route(node, "0.0.0.0/0"));
    net.check_quiet();
}

#[test]
fn both_dial_at_once_and_one_connection_stays() {
    for seed in 0..300 {
        let (mut net, tor, node) = pair(seed);
        net.start_all();
        net.run_until(seconds(120), Net::all_established);
        net.run(seconds(60));
        assert_eq!(net.state(tor, "node"), "Established", "seed {seed}");
        assert_eq!(net.state(node, "tor"), "Established", "seed {seed}");
        net.check_quiet();
    }
}

#[test]
fn a_change_of_blocks_reaches_the_peer_at_once() {
    let (mut net, tor, node) = pair(2);
    net.start_all();
    net.run(seconds(10));
    net.own(node, "10.244.9.0/26");
    net.disown(node, "10.244.1.0/26");
    net.run(Duration::from_millis(50));
    assert!(net.has_route(tor, "10.244.9.0/26"));
    assert!(!net.has_route(tor, "10.244.1.0/26"));
}

#[test]
fn a_silent_peer_is_given_up_when_the_hold_time_is_over_and_taken_back() {
    let mut net = Net::new(3);
    let (tor, node) = (net.node("tor", 65001), net.node("node", 64512));
    net.own(node, "10.244.1.0/26");
    let link = net.link_with(tor, node, |_, session| {
        session.graceful_restart.iter_mut().for_each(|own| own.notification = false);
    });
    net.start_all();
    net.run(seconds(10));
    net.cut(link);
    net.run(seconds(59));
    assert!(net.has_route(tor, "10.244.1.0/26"));
    net.run(seconds(40));
    assert!(!net.has_route(tor, "10.244.1.0/26"));
    let down = net.reports(tor).iter().find_map(|(_, r)| match r {
        Report::PeerDown { cause, .. } => Some(cause.clone()),
        _ => None,
    });
    assert_eq!(down, Some(Cause::HoldTimerExpired));
    net.restore(link);
    net.run(seconds(30));
    assert!(net.has_route(tor, "10.244.1.0/26"));
    net.check_quiet();
}

#[test]
fn a_wrong_as_number_is_told_and_not_tried_in_a_hurry() {
    let mut net = Net::new(4);
    let (tor, node) = (net.node("tor", 65001), net.node("node", 64512));
    net.link_with(tor, node, |side, session| {
        if side == bgp_sim::Side::A {
            session.asn = bgp_core::types::Asn(64999).into();
        }
    });
    net.start_all();
    net.run(seconds(300));
    let tries = net.reports(node).iter().filter(|(_, r)| {
        matches!(r, Report::SessionFailed { cause: Cause::Received(n), .. } if n.code == 2)
    });
    let tries = tries.count();
    assert!((3..40).contains(&tries), "{tries}");
    let peer = net.speaker(node).peers(std::time::Instant::now()).remove(0);
    assert_eq!(peer.last_error.as_deref(), Some("received NOTIFICATION 2/2 (bad peer AS)"));
}

#[test]
fn a_triangle_inside_one_as_knows_every_prefix_once() {
    let mut net = Net::new(5);
    net.check_always();
    let nodes: Vec<NodeId> = (0..3).map(|n| net.node(&format!("n{n}"), 64512)).collect();
    for (n, node) in nodes.iter().enumerate() {
        net.own(*node, &format!("10.244.{n}.0/24"));
    }
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        net.link(nodes[a], nodes[b]);
    }
    net.start_all();
    net.run(seconds(20));
    net.assert_all_reach_each_other();
    assert_eq!(net.paths(nodes[0], "10.244.1.0/24").len(), 1);
    net.check_quiet();
}

#[test]
fn clients_of_a_reflector_reach_each_other_directly_named_and_without_loops() {
    let mut net = Net::new(6);
    net.check_always();
    let reflectors = [net.node("rr0", 64512), net.node("rr1", 64512)];
    let clients: Vec<NodeId> = (0..4).map(|n| net.node(&format!("c{n}"), 64512)).collect();
    for (n, client) in clients.iter().enumerate() {
        net.own(*client, &format!("10.244.{n}.0/24"));
        for rr in reflectors {
            net.link_with(rr, *client, |side, session| {
                session.route_reflector_client = side == bgp_sim::Side::A;
            });
        }
    }
    net.link(reflectors[0], reflectors[1]);
    net.start_all();
    net.run(seconds(30));
    for (n, client) in clients.iter().enumerate() {
        for other in (0..4).filter(|o| *o != n) {
            let paths = net.paths(*client, &format!("10.244.{other}.0/24"));
            assert_eq!(paths.len(), 2, "one from each reflector");
            assert_eq!(paths[0].attributes.cluster_list.len(), 1);
            assert!(paths[0].attributes.originator_id.is_some());
        }
    }
    net.check_quiet();
}
