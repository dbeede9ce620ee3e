//! What an address costs, in a /16 block that is empty, half full and nearly full, without the
//! store. Divan shows the time of one operation; for `open`, records a second as well.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ipam_core::*;
use std::time::Duration;

/// Leases that others have all the while.
const LIVE: [usize; 3] = [0, 30_000, 60_000];
/// Each operation of a run has an owner of its own. All of them have to fit beside the live
/// leases, for no time passes and so nobody gets what another has released.
const SAMPLES: u32 = 100;
const PER_SAMPLE: u32 = 40;
const OWNERS: usize = (SAMPLES * PER_SAMPLE) as usize;
const RECORDS: usize = 65_000;
const NOW: Now = Now {
    boot: BootId(1),
    boottime: Duration::from_secs(1000),
    wall: Duration::from_secs(1_800_000_000),
};

fn main() {
    divan::main();
}

/// A pod nobody has seen before comes and goes.
#[divan::bench(args = LIVE, sample_count = SAMPLES, sample_size = PER_SAMPLE)]
fn add_and_del(bencher: Bencher<'_, '_>, live: usize) {
    let (mut ipam, _) = with_leases(live);
    let mut fresh = (live..).map(|n| pod(n, "first"));
    bencher.with_inputs(|| fresh.next().unwrap()).bench_local_refs(|add| {
        let mut out = Effects::default();
        ipam.add(black_box(add), NOW, &mut out).unwrap();
        ipam.del(&add.attachment, NOW, &mut out);
        out
    });
}

/// A pod that was here before gets its address back, in another container.
#[divan::bench(args = LIVE, sample_count = SAMPLES, sample_size = PER_SAMPLE)]
fn sticky_return(bencher: Bencher<'_, '_>, live: usize) {
    let (mut ipam, _) = with_leases(live);
    let gone = live..live + OWNERS;
    for n in gone.clone() {
        let mut out = Effects::default();
        let add = pod(n, "first");
        ipam.add(&add, NOW, &mut out).unwrap();
        ipam.del(&add.attachment, NOW, &mut out);
    }
    let mut returning = gone.map(|n| pod(n, "second"));
    bencher.with_inputs(|| returning.next().unwrap()).bench_local_refs(|add| {
        let mut out = Effects::default();
        ipam.add(black_box(add), NOW, &mut out).unwrap();
        assert!(matches!(out.reports[..], [Report::Assigned { how: How::Returned, .. }]));
        out
    });
}

/// The daemon starts with the records of a full block, every second one of a pod that is gone.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn open(bencher: Bencher<'_, '_>) {
    let (mut ipam, mut slots) = with_leases(RECORDS);
    for n in (0..RECORDS).step_by(2) {
        let mut out = Effects::default();
        ipam.del(&pod(n, "first").attachment, NOW, &mut out);
        slots[n] = slot(out);
    }
    let slots: Slots = slots.into_iter().collect();
    bencher.counter(ItemsCount::new(RECORDS)).with_inputs(|| slots.clone()).bench_local_values(
        |slots| Ipam::open(settings(), Kept { slots: black_box(slots), ..Kept::default() }, NOW),
    );
}

/// A table with so many addresses assigned, and their records in the order of the pods.
fn with_leases(count: usize) -> (Ipam, Vec<Slot>) {
    let (mut ipam, _) = Ipam::open(settings(), Kept::default(), NOW);
    let mut assign = |n| {
        let mut out = Effects::default();
        ipam.add(&pod(n, "first"), NOW, &mut out).unwrap();
        slot(out)
    };
    let slots = (0..count).map(&mut assign).collect();
    (ipam, slots)
}

/// The one record of one change.
fn slot(out: Effects) -> Slot {
    let mut slots = out.records.into_iter().filter_map(|record| match record {
        Record::Slot(slot) => Some(*slot),
        _ => None,
    });
    slots.next().unwrap()
}

fn settings() -> Settings {
    let cidr = "10.0.0.0/16".parse().unwrap();
    Settings {
        pools: vec![PoolSettings::new("default", cidr, vec![cidr])],
        cooldown: Duration::from_secs(130),
        stickiness: Policy::Ttl(Duration::from_secs(3600)),
    }
}

/// The `n`th pod of a StatefulSet, so that its name outlives its container and its uid, with
/// texts as long as Kubernetes makes them.
fn pod(n: usize, life: &str) -> Add {
    Add {
        attachment: Attachment {
            network: "pods".into(),
            container_id: format!("{life:0<32}{n:032x}"),
            ifname: "eth0".into(),
        },
        owner: Owner {
            namespace: "default".into(),
            name: format!("web-{n}"),
            uid: format!("{life:0<16}-4d1c-9a52-{n:012x}"),
            workload: Workload::guess(&format!("web-{n}")),
            ..Owner::default()
        },
        netns: format!("/var/run/netns/cni-{n:036x}"),
        ..Add::default()
    }
}
