//! Spines and leaves under cuts.

use bgp_sim::{Fabric, Net};
use std::time::Duration;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn leaves_survive_the_loss_of_a_spine() {
    let mut net = Net::new(7);
    let fabric = net.fabric(2, 100, |_, session| {
        session.hold_time = seconds(9);
        // With the N bit an expired hold timer could still be a restart (RFC 8538 §4).
        session.graceful_restart.iter_mut().for_each(|own| own.notification = false);
    });
    net.start_all();
    net.run(seconds(20));
    net.assert_all_reach_each_other();
    assert_eq!(net.next_hops(fabric.leaves[0], "10.0.7.0/24").len(), 2);
    net.power_off(fabric.spines[0]);
    net.run(seconds(20));
    assert_eq!(net.next_hops(fabric.leaves[0], "10.0.7.0/24").len(), 1);
    net.assert_all_reach_each_other();
    net.start(fabric.spines[0], bgp_core::event::Start::default());
    net.run(seconds(20));
    assert_eq!(net.next_hops(fabric.leaves[0], "10.0.7.0/24").len(), 2);
    net.check_quiet();
}

#[test]
fn a_cut_link_is_gone_round() {
    let mut net = Net::new(8);
    let Fabric { leaves, links, .. } = net.fabric(2, 6, |_, session| {
        session.hold_time = seconds(9);
        session.graceful_restart = None;
    });
    net.start_all();
    net.run(seconds(20));
    net.cut(links[0][0]);
    net.run(seconds(20));
    assert_eq!(net.next_hops(leaves[1], "10.0.0.0/24").len(), 1);
    net.assert_all_reach_each_other();
    net.restore(links[0][0]);
    net.run(seconds(20));
    assert_eq!(net.next_hops(leaves[1], "10.0.0.0/24").len(), 2);
    net.check_quiet();
}

#[test]
fn a_spine_is_drained_and_no_leaf_is_without_a_way_for_a_moment() {
    let mut net = Net::new(9);
    let Fabric { spines, leaves, .. } = net.fabric(2, 6, |_, _| {});
    net.start_all();
    net.run(seconds(20));
    net.drain(spines[0], seconds(5));
    for _ in 0..100 {
        net.run(Duration::from_millis(200));
        net.assert_all_reach_each_other();
    }
    assert_eq!(net.speaker(spines[0]).intent(), "drained");
    assert_eq!(net.next_hops(leaves[0], "10.0.1.0/24").len(), 1);
    assert_eq!(net.state(leaves[0], "spine0"), "Established");
    net.power_off(spines[0]);
    net.run(seconds(5));
    net.assert_all_reach_each_other();
}
