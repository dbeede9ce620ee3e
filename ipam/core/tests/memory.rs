//! What a full /16 of leases takes in memory, and what a lease costs in it: counted at the
//! allocator, not timed.

#![allow(clippy::unwrap_used)]

use ipam_core::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

/// Every address that a /16 hands out.
const LEASES: usize = 65_533;
/// Bytes a lease with texts as long as containerd and Kubernetes make them, 220 bytes of text.
const ASSIGNED: isize = 320;
/// Held, and known by two more keys and in the order of their release.
const HELD: isize = 480;
const NOW: Now = Now {
    boot: BootId(1),
    boottime: Duration::from_secs(1000),
    wall: Duration::from_secs(1_800_000_000),
};

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static MADE: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize) {
    LIVE.set(LIVE.get() + change);
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        MADE.set(MADE.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn settings() -> Settings {
    let cidr = "10.0.0.0/16".parse().unwrap();
    Settings {
        pools: vec![PoolSettings::new("default", cidr, vec![cidr])],
        cooldown: Duration::from_secs(130),
        stickiness: Policy::Ttl(Duration::from_secs(3600)),
    }
}

/// One of many pods of one Deployment.
fn pod(n: usize) -> Add {
    let name = format!("web-7d4b9c6f5d-{n:05}");
    Add {
        attachment: Attachment {
            network: "mainstay".into(),
            container_id: format!("{n:064x}"),
            ifname: "eth0".into(),
        },
        owner: Owner {
            namespace: "default".into(),
            uid: format!("d290f1ee-6c54-4b01-90e6-{n:012x}"),
            workload: Workload::proven("deployment/web"),
            name,
            ..Owner::default()
        },
        netns: format!("/var/run/netns/cni-5c2e4f0a-93d1-4b7e-8a66-{n:012x}"),
        ..Add::default()
    }
}

/// What `made` takes of the heap, a lease.
fn each<T>(make: impl FnOnce() -> T) -> (T, isize) {
    let before = LIVE.get();
    let made = make();
    let each = (LIVE.get() - before) / LEASES as isize;
    (made, each)
}

#[test]
fn a_full_16_takes_no_more_memory_than_it_may() {
    let (mut ipam, assigned) = each(|| {
        let (mut ipam, _) = Ipam::open(settings(), Kept::default(), NOW);
        for n in 0..LEASES {
            ipam.add(&pod(n), NOW, &mut Effects::default()).unwrap();
        }
        ipam
    });
    assert!(assigned < ASSIGNED, "{assigned} bytes a lease");
    let ((), more) = each(|| {
        for n in 0..LEASES {
            ipam.del(&pod(n).attachment, NOW, &mut Effects::default());
        }
    });
    assert!(assigned + more < HELD, "{} bytes a held one", assigned + more);
}

/// Whatever looks at a slot unpacks it, and allocates for each of its texts: the allocations say how
/// many slots were looked at.
#[test]
fn a_lease_costs_as_much_in_a_nearly_full_block_as_in_an_empty_one() {
    const MOST: usize = 16_000;
    const SOME: usize = 256;
    let (mut ipam, _) = Ipam::open(settings(), Kept::default(), NOW);
    let mut add = |n| ipam.add(&pod(n), NOW, &mut Effects::default()).unwrap();
    let cost = |what: &mut dyn FnMut(usize), from: usize| {
        let before = MADE.get();
        (from..from + SOME).for_each(what);
        (MADE.get() - before) / SOME
    };
    let first = cost(&mut |n| drop(add(n)), 0);
    (SOME..MOST).for_each(|n| drop(add(n)));
    let last = cost(&mut |n| drop(add(n)), MOST);
    assert!(last <= first + 2, "{first} allocations an ADD at first, {last} at last");

    let mut del = |n| ipam.del(&pod(n).attachment, NOW, &mut Effects::default());
    let first = cost(&mut del, 0);
    (SOME..MOST).for_each(&mut del);
    let last = cost(&mut del, MOST);
    assert!(last <= first + 2, "{first} allocations a DEL at first, {last} at last");

    // Every one of them is held for an owner of the same workload, and comes back as itself.
    let mut back = |n| drop(ipam.add(&again(n), NOW, &mut Effects::default()).unwrap());
    let first = cost(&mut back, 0);
    (SOME..MOST).for_each(&mut back);
    let last = cost(&mut back, MOST);
    assert!(last <= first + 2, "{first} allocations a return at first, {last} at last");
}

/// The same pod in another container.
fn again(n: usize) -> Add {
    let mut add = pod(n);
    add.attachment.container_id = format!("{:064x}", n + 1_000_000);
    add
}
