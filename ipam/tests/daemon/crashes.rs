//! SIGKILL at any moment: what was acknowledged is there, and nothing is given twice.

use crate::client::{Api, Cni, Pod};
use crate::node;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::proc::{Proc, bin};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// So long that no address may ever have a second owner.
const COOLDOWN: &str = "  cooldown: 1h";
/// More addresses than any test here can use.
const MANY: &str = "10.244.0.0/16, 10.245.0.0/16, 10.246.0.0/16, 'fd00:244::/112'";

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

/// What callers know: acknowledged and neither deleted nor about to be.
#[derive(Default)]
struct Acknowledged {
    live: HashMap<String, Vec<String>>,
    /// Every address ever given, and the only container that may ever have it.
    owner: HashMap<String, String>,
}

#[test]
fn a_hundred_kills_under_load_lose_no_lease_and_give_none_twice() {
    let node = node(MANY, COOLDOWN);
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    let mut ipamd = node.start(Daemon::Ipamd);
    for round in 0..110u64 {
        let stop = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (cni, known, stop) = (Cni::of(&node), Arc::clone(&known), Arc::clone(&stop));
                thread::spawn(move || call(&cni, &known, &stop, round, caller))
            })
            .collect();
        // Uneven, so that the kill falls into every stage of a commit.
        thread::sleep(Duration::from_micros(3_000 + round * 7_919 % 40_000));
        ipamd.kill();
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        if round % 3 == 0 {
            kill_while_starting(&node, Duration::from_micros(round * 6_389 % 50_000));
        }
        ipamd = node.start(Daemon::Ipamd);
        compare(&mut Api::of(&node), &known.lock().unwrap());
    }
    let given = known.lock().unwrap().owner.len();
    assert!(given > 2_000, "only {given} addresses were given: no load");
    eprintln!("{given} addresses given over 110 kills");
}

/// Opening recovers, and writes while it does.
fn kill_while_starting(node: &Node, after: Duration) {
    let mut command = node.host.command(bin("mainstay-ipamd"));
    command
        .args(["--config".as_ref(), node.config().as_os_str()])
        .args(["--node", "n1"])
        .args(["--run-dir".as_ref(), node.run_dir().as_os_str()])
        .args(["--state-dir".as_ref(), node.dir.path().join("state").as_os_str()]);
    let log = node.dir.path().join("short-lived.log");
    let mut ipamd = Proc::start("short-lived ipamd", command, &log);
    thread::sleep(after);
    ipamd.kill();
}

fn call(cni: &Cni, known: &Mutex<Acknowledged>, stop: &AtomicBool, round: u64, caller: u64) {
    let mut mine: Vec<Pod> = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let pod = Pod::new("", &format!("c{round}-{caller}-{n}"));
        // The daemon was killed: nothing is known of this one.
        let Ok(reply) = cni.try_add(&pod) else { return };
        assert_eq!(reply.error, None);
        let addresses: Vec<_> = reply.addresses.into_iter().map(|a| a.address).collect();
        assert_eq!(addresses.len(), 2);
        let mut known = known.lock().unwrap();
        for address in &addresses {
            let before = known.owner.insert(address.clone(), pod.container.clone());
            assert_eq!(before, None, "{address} was given before, to another");
        }
        known.live.insert(pod.container.clone(), addresses);
        mine.push(pod);
        if n % 3 == 2 {
            let pod = mine.remove(0);
            known.live.remove(&pod.container);
            drop(known);
            if cni.try_del(&pod).is_err() {
                return;
            }
        }
    }
}

fn compare(api: &mut Api, known: &Acknowledged) {
    let leases = api.leases("assigned", "").unwrap();
    let mut has: HashMap<&str, Vec<String>> = HashMap::new();
    for lease in &leases {
        let length = lease.block.split('/').nth(1).unwrap();
        let address = format!("{}/{length}", lease.address);
        has.entry(&lease.container_id).or_default().push(address);
    }
    for (container, addresses) in &known.live {
        assert_eq!(has.get(container.as_str()), Some(addresses), "{container}");
    }
    for (container, addresses) in has {
        assert_eq!(addresses.len(), 2, "{container} has half an answer");
    }
}
