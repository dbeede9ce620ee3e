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
