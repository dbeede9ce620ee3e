//! When something is wrong from the start, or becomes so.

use crate::client::{Cni, Pod};
use crate::node;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::proc::bin;
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
    assert!(text.contains("drain this node, move the store away (mv "), "{text}");
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

#[test]
fn a_full_disk_stops_the_daemon_and_what_was_acknowledged_is_there_afterwards() {
    let node = node("10.244.0.0/16", "");
    let disk = SmallDisk::mount(&node.dir.path().join("state"), 2 << 20);
    let mut ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    let mut acknowledged = Vec::new();
    let pods = (0..20_000).map(|n| Pod::new(&"x".repeat(200), &format!("c{n}")));
    for pod in pods {
        match cni.try_add(&pod) {
            Ok(reply) if reply.error.is_none() => {
                acknowledged.push((pod, reply.addresses[0].address.clone()));
            }
            Ok(reply) => {
                assert_eq!(reply.error.unwrap().code, 5);
                break;
            }
            Err(_) => break,
        }
    }
    let status = ipamd.wait(Duration::from_secs(5));
    let log = ipamd.log();
    assert!(!status.success() && log.contains("writing leases failed"), "{status}: {log}");

    let disk_path = disk.0.clone();
    let grow = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&disk_path).status();
    assert!(grow.unwrap().success());
    let _ipamd = node.start(Daemon::Ipamd);
    for (pod, address) in &acknowledged {
        assert_eq!(cni.add(pod).unwrap(), std::slice::from_ref(address));
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
}
