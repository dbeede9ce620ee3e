//! When something is wrong from the start, or becomes so.

use crate::client::{Api, Cni, Pod};
use crate::node;
use mainstay_proto::ipam::v1::CniError;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::proc::bin;
use mainstay_tests::wait::until;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[test]
fn a_second_daemon_is_refused_and_told_who_runs() {
    let node = node("10.244.0.0/26", "");
    let ipamd = node.start(Daemon::Ipamd);
    let who = format!("another ipamd is running here (pid {}", ipamd.pid());
    let text = node.start_failing(Daemon::Ipamd);
    assert!(text.contains(&who), "{text}");

    // With sockets of its own it would still share the store.
    let own_run_dir = Command::new(bin("mainstay-ipamd"))
        .args(["--config".as_ref(), node.config().as_os_str()])
        .args(["--node", "n1"])
        .args(["--run-dir".as_ref(), node.dir.path().join("run2").as_os_str()])
        .args(["--state-dir".as_ref(), node.dir.path().join("state").as_os_str()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&own_run_dir.stderr);
    assert!(!own_run_dir.status.success() && text.contains(&who), "{text}");
    assert_eq!(Cni::of(&node).addresses(&Pod::new("a", "c1")), ["10.244.0.2"]);
}

#[test]
fn a_store_that_cannot_be_read_is_refused_and_the_text_says_how_to_go_on() {
    let node = node("10.244.0.0/26", "");
    let mut ipamd = node.start(Daemon::Ipamd);
    Cni::of(&node).add(&Pod::new("a", "c1")).unwrap();
    assert!(ipamd.terminate().success());
    let log = node.dir.path().join("state/ipam/leases/db");
    let mut damaged = std::fs::read(&log).unwrap();
    let used = damaged.iter().rposition(|byte| *byte != 0).unwrap();
    damaged.truncate(used / 2);
    std::fs::write(&log, &damaged).unwrap();
    let text = node.start_failing(Daemon::Ipamd);
    assert!(text.contains("cannot be read"), "{text}");
    assert!(text.contains("To go on: `mainstay-ipamd --set-aside`"), "{text}");
}

/// Runs to its end and says what it said.
fn set_aside(node: &Node) -> String {
    let mut command = node.host.command(bin("mainstay-ipamd"));
    command.args(["--set-aside", "--config"]).arg(node.config()).args(["--node", "n1"]);
    command.arg("--state-dir").arg(node.dir.path().join("state"));
    let out = command.output().unwrap();
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

#[test]
fn a_store_that_was_set_aside_is_kept_and_every_address_cools_before_it_is_given_again() {
    let node = node("10.244.0.0/26", "  cooldown: 3s");
    let mut ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    cni.add(&Pod::new("a", "c1")).unwrap();
    assert!(set_aside(&node).contains("another ipamd is running here"));
    assert!(ipamd.terminate().success());
    assert!(set_aside(&node).contains("can be read: nothing was moved"));

    let state = node.dir.path().join("state/ipam");
    let log = state.join("leases/db");
    let damaged = std::fs::read(&log).unwrap().split_off(8 << 10);
    std::fs::write(&log, &damaged).unwrap();
    node.start_failing(Daemon::Ipamd);
    assert_eq!(std::fs::read(&log).unwrap(), damaged, "not overwritten");
    let said = set_aside(&node);
    let moved = said.split(" was moved to ").nth(1).expect("where").split(';').next().unwrap();
    assert_eq!(std::fs::read(Path::new(moved).join("db")).unwrap(), damaged, "whole: {said}");

    // A kill right after its first start changes nothing.
    node.start(Daemon::Ipamd).kill();
    let _ipamd = node.start(Daemon::Ipamd);
    let refusal = cni.add(&Pod::new("b", "c2")).unwrap_err();
    assert_eq!(refusal.code, 11, "{refusal:?}");
    until(20, "the cooldown is over", || cni.add(&Pod::new("b", "c2")).is_ok());
}

#[test]
fn a_bad_configuration_keeps_the_daemon_from_starting_and_names_the_place() {
    let node = node("10.244.0.0/26", "  cooldown: soon");
    let text = node.start_failing(Daemon::Ipamd);
    assert!(text.contains("mainstay.yaml:9:13: ipam.cooldown"), "{text}");
    assert!(!node.dir.path().join("state/ipam").exists(), "nothing is made before");
}

#[test]
fn in_mode_none_the_daemon_says_that_it_is_not_needed_and_ends_well() {
    let node = node("", "");
    node.configure("nodes: [{name: n1}]\nnetwork: {mode: none}\n");
    let (status, log) = node.run_to_end(Daemon::Ipamd);
    assert!(status.success(), "{log}");
    assert!(log.contains("mainstay-ipamd is not needed on this node"), "{log}");
    assert!(!node.run_dir().exists());
}

/// A small file system of its own, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: u32) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "ipamd"]).arg(at);
        assert!(mount.status().unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl SmallDisk {
    /// Somebody else's bytes, to the last one.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        path
    }
}

/// ADDs until one fails; those that were answered, and why it did.
fn add_until_refused(cni: &Cni, round: &str) -> (Vec<(Pod, String)>, Option<CniError>) {
    let mut acknowledged = Vec::new();
    let pods = (0..20_000).map(|n| Pod::new(&"x".repeat(200), &format!("{round}-{n}")));
    for pod in pods {
        match cni.try_add(&pod) {
            Ok(reply) if reply.error.is_some() => return (acknowledged, reply.error),
            Ok(reply) => acknowledged.push((pod, reply.addresses[0].address.clone())),
            Err(_) => break,
        }
    }
    (acknowledged, None)
}

#[test]
fn a_full_disk_lets_leases_go_and_takes_no_new_ones_until_there_is_room() {
    let node = node("10.244.0.0/16", "");
    let disk = SmallDisk::mount(&node.dir.path().join("state"), 16 << 20);
    let mut ipamd = node.start(Daemon::Ipamd);
    let (cni, mut given) = (Cni::of(&node), Vec::new());
    for n in 0..50 {
        let pod = Pod::new("", &format!("early-{n}"));
        given.push((pod.clone(), cni.add(&pod).unwrap()[0].clone()));
    }
    let ballast = disk.fill();
    let (late, refusal) = add_until_refused(&cni, "late");
    given.extend(late);
    assert!(refusal.is_none_or(|error| error.code == 5), "an error of the disk, or nothing at all");
    let status = ipamd.wait(Duration::from_secs(10));
    assert!(!status.success(), "it ends, for what is not durable must not be promised: {status}");

    // Whoever supervises it starts it again; twice, for it may be killed meanwhile. That may undo a
    // DEL, which can be asked again.
    let mut released = Vec::new();
    for n in [0, 1] {
        let mut ipamd = node.start(Daemon::Ipamd);
        let (none, refusal) = add_until_refused(&cni, "never");
        let refusal = refusal.unwrap();
        assert!(none.is_empty() && refusal.code == 11, "{refusal:?}");
        assert!(refusal.msg.contains("is full: leases are kept and released"), "{}", refusal.msg);
        assert_eq!(cni.status(), Ok(vec![]), "running pods are not to be evicted");
        released.push(given.remove(0).0);
        released.iter().for_each(|pod| cni.del(pod));
        let mut api = Api::of(&node);
        assert_eq!(api.leases("assigned", "").unwrap().len(), given.len());
        let status = api.status();
        assert!(status.disk_full && status.warnings.iter().any(|text| text.contains("is full")));
        if n == 0 {
            ipamd.kill();
        } else {
            assert!(ipamd.log().contains("none is handed out until 8 MiB are free"));
            assert!(ipamd.terminate().success());
        }
    }
    let _ipamd = node.start(Daemon::Ipamd);
    std::fs::remove_file(ballast).unwrap();
    until(20, "there is room again", || cni.add(&Pod::new("", "again")).is_ok());
    assert!(!Api::of(&node).status().disk_full);
    for (pod, address) in &given {
        assert_eq!(cni.add(pod).unwrap(), std::slice::from_ref(address));
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_or_at_the_stop_costs_no_lease() {
    let node = node("10.244.0.0/16", "");
    let disk = SmallDisk::mount(&node.dir.path().join("state"), 16 << 20);
    let ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    let pods: Vec<_> = (0..50).map(|n| Pod::new("", &format!("c{n}"))).collect();
    let given: Vec<_> = pods.iter().map(|pod| cni.add(pod).unwrap()).collect();
    let ballast = disk.fill();
    ipamd.signal(rustix::process::Signal::TERM);
    drop(ipamd);
    let _ipamd = node.start(Daemon::Ipamd);
    assert_eq!(Api::of(&node).leases("assigned", "").unwrap().len(), 50);
    std::fs::remove_file(ballast).unwrap();
    until(20, "there is room again", || cni.add(&pods[0]).is_ok());
    for (pod, addresses) in pods.iter().zip(&given) {
        assert_eq!(cni.add(pod).as_ref(), Ok(addresses));
    }
}
