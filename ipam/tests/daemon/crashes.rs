//! Whatever ends it: what was acknowledged is there, and nothing is given twice. At length by
//! `make crash-suite`.

use crate::client::{Api, Cni, Pod};
use crate::node;
use mainstay_tests::crash::{errors, kills, power};
use mainstay_tests::daemons::Daemon;
use std::time::Duration;

/// So long that no address may ever have a second owner.
const COOLDOWN: &str = "  cooldown: 1h";

#[test]
fn every_acknowledged_lease_survives_a_kill() {
    let node = node("10.244.0.0/22, 'fd00:244::/118'", COOLDOWN);
    let cni = Cni::of(&node);
    let mut given = Vec::new();
    for n in 0..5 {
        let mut ipamd = node.start(Daemon::Ipamd);
        for m in 0..20 {
            let pod = Pod::new(&format!("p{n}-{m}"), &format!("c{n}-{m}"));
            given.push((cni.add(&pod).unwrap(), pod));
        }
        ipamd.kill();
    }
    let _ipamd = node.start(Daemon::Ipamd);
    assert_eq!(Api::of(&node).leases("assigned", "").unwrap().len(), 200);
    for (addresses, pod) in &given {
        assert_eq!(cni.add(pod).as_ref(), Ok(addresses));
    }
}

/// Another one in each run; a failure names it.
fn seed() -> u64 {
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    seed
}

#[test]
fn a_hundred_kills_under_load_lose_no_lease_and_give_none_twice() {
    let plan = kills::Plan { seed: seed(), kills: 100, nodes: 1, epoch: 100 };
    let outcome = kills::run(&plan, |_| ());
    assert!(outcome.faults.is_empty(), "{}", outcome.faults.describe());
    assert!(outcome.answers > 100, "only {} ADDs were answered: no load", outcome.answers);
}

const PLAN: power::Plan = power::Plan {
    seed: 0,
    lives: 1,
    starts: 3,
    load: Duration::from_millis(100),
    moments: 10,
    without: "",
};

#[test]
fn power_lost_at_any_moment_loses_no_lease() {
    // The second life begins on a disk that has lost its power before.
    let plan = power::Plan { seed: seed(), lives: 2, moments: 5, ..PLAN };
    let outcome = power::run(&plan, |_| ());
    assert!(outcome.faults.is_empty(), "{}", outcome.faults.describe());
    assert_eq!(outcome.images.values().sum::<usize>(), 40);
    assert!(outcome.answers > 20, "only {} ADDs were answered: no load", outcome.answers);
}

#[test]
fn the_suite_sees_a_store_without_its_syncs() {
    let plan = power::Plan { seed: seed(), moments: 9, without: "fdatasync", ..PLAN };
    let outcome = power::run(&plan, |_| ());
    assert!(!outcome.faults.is_empty(), "{outcome:?}");
}

#[test]
fn a_call_that_fails_on_the_disk_leaves_no_half_state() {
    let outcome = errors::run(seed(), 12, |_| ());
    assert!(outcome.faults.is_empty(), "{}", outcome.faults.describe());
    assert!(outcome.refused + outcome.ended > 0, "{outcome:?}");
}
