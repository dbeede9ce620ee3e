//! `mainstay drill` where systemd brings the speaker back, and whether its verdict is the switch's.

use crate::sessions::{NO_GR, Watched};
use crate::site::Site;
use mainstay_tests::machine::Machine;
use mainstay_tests::proc::bin;
use mainstay_tests::state_file;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

const OURS: &str = env!("CARGO_PKG_VERSION");
/// As long as ours.
const OTHERS: &str = "9.9.9";
const OTHER: &str = "/root/other-release";

/// What it found, and its exit code.
fn drill(m: &Machine, words: &[&str]) -> (Value, Option<i32>) {
    let words = [&["mainstay", "-o", "json", "drill"], words].concat();
    let out = m.command(&words).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let json = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{words:?}: {e}: {said}\n{}", m.journal()));
    (json, out.status.code())
}

#[track_caller]
fn loses_nothing(m: &Machine, words: &[&str], by: &str) {
    let before = m.main_pid("mainstay-bgpd");
    let (json, code) = drill(m, words);
    assert_eq!((&json["nothing_lost"], code), (&Value::from(true), Some(0)), "{json}");
    assert_eq!((&json["sessions"][0]["kept"], &json["sessions_lost"]), (&true.into(), &0.into()));
    assert!(json["by"].as_str().is_some_and(|said| said.contains(by)), "{json}");
    assert_eq!(json["pid_before"].to_string(), before);
    assert_eq!(json["pid_after"].to_string(), m.main_pid("mainstay-bgpd"));
}

/// Another program than the one installed: it calls itself another release.
fn install_other_release(m: &Machine) {
    assert_eq!(OURS.len(), OTHERS.len());
    let mut program = std::fs::read(bin("mainstay-bgpd")).unwrap();
    let (ours, others) = (OURS.as_bytes(), OTHERS.as_bytes());
    let mut at = 0;
    while let Some(found) = program[at..].windows(ours.len()).position(|bytes| bytes == ours) {
        at += found;
        program[at..at + ours.len()].copy_from_slice(others);
    }
    let path = m.path(OTHER);
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(m.must(&[OTHER, "--version"]), release(OTHERS));
}

/// What the program says that the unit's process was started from.
fn running(m: &Machine) -> String {
    m.must(&[&format!("/proc/{}/exe", m.main_pid("mainstay-bgpd")), "--version"])
}

fn release(version: &str) -> String {
    format!("mainstay-bgpd {version}\n")
}

/// As if the running release wrote this version of the state, for readers from `readable_from` on.
fn write_state_version(m: &Machine, version: u32, readable_from: u32) {
    let files = state_file::write_version(&m.fds("mainstay-keeper"), version, readable_from);
    assert_eq!(files, 1, "one session, one file");
}

#[test]
fn what_a_drill_under_systemd_says_of_restart_kill_and_upgrade_is_what_the_switch_has_seen() {
    let watched = Watched::new(Site::started(NO_GR));
    let m = &watched.site.machine;
    let unit = "systemd (mainstay-bgpd.service)";
    loses_nothing(m, &["restart"], unit);
    loses_nothing(m, &["kill"], unit);
    let command = "systemctl restart mainstay-bgpd";
    loses_nothing(m, &["restart", "--exec", command], command);

    install_other_release(m);
    write_state_version(m, 2, 1);
    loses_nothing(m, &["upgrade", "--binary", OTHER], unit);
    assert_eq!(running(m), release(OTHERS));
    watched.nobody_has_seen_a_thing();

    // Back to the one that the drill has kept, which cannot read what the other one wrote.
    let kept = "/usr/local/bin/mainstay-bgpd.before-drill";
    write_state_version(m, 1000, 1000);
    let (json, code) = drill(m, &["upgrade", "--binary", kept]);
    assert_eq!((&json["sessions_lost"], code), (&Value::from(1), Some(2)), "{json}");
    assert_eq!(running(m), release(OURS));
    assert_ne!(watched.site.bird.since("node"), watched.since, "{json}");
}
