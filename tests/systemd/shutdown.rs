//! The node goes down: traffic is led away first, and nothing holds it up for longer than allowed.

use crate::site::{OURS, Site};
use mainstay_tests::wait::{eventually, until};
use std::time::{Duration, Instant};

const GUARD: &str = "mainstay-shutdown";

/// With the guard running under a real logind. `options` are its own.
fn guarded(options: &str) -> Site {
    let site = Site::started("graceful restart off;");
    let m = &site.machine;
    m.write(
        "/run/systemd/system/mainstay-shutdown.service.d/test.conf",
        &format!(
            "[Service]
ExecStart=
ExecStart=/usr/local/bin/mainstay shutdown-guard {options}
WatchdogSec=4s
"
        ),
    );
    m.systemctl("daemon-reload");
    m.systemctl("start systemd-logind");
    m.systemctl(&format!("enable --now {GUARD}"));
    site
}

#[test]
fn a_guard_that_hangs_or_is_gone_holds_up_a_shutdown_no_longer_than_its_watchdog() {
    let mut site = guarded("");
    let m = &mut site.machine;
    let locks = m.must(&["systemd-inhibit", "--list", "--no-legend"]);
    assert!(locks.contains("Mainstay") && locks.contains("delay"), "{locks}");
    let longest = m.must(&[
        "busctl",
        "get-property",
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
        "InhibitDelayMaxUSec",
    ]);
    assert_eq!(longest, "t 45000000\n");
    assert_eq!(m.property(GUARD, "NRestarts"), "0", "{}", m.log_of(GUARD));

    // Killed, it comes back with a new lock.
    m.systemctl(&format!("kill --signal=KILL {GUARD}"));
    until(10, "the guard is back", || {
        m.run(&["systemd-inhibit", "--list", "--no-legend"]).is_ok_and(|l| l.contains("Mainstay"))
    });
    m.systemctl(&format!("kill --signal=STOP {GUARD}"));
    let begun = Instant::now();
    m.systemctl("poweroff");
    m.ended(Duration::from_secs(20));
    assert!(begun.elapsed() > Duration::from_secs(1), "it was waited for");
    assert!(!site.bird.has_route(OURS));
}

#[test]
fn before_a_reboot_the_switch_hears_gshut_then_a_withdrawal_and_only_then_the_session_ends() {
    let site = guarded("--wait 2s --limit 10s");
    let since = site.bird.since("node");
    let begun = Instant::now();
    site.machine.systemctl("reboot");
    let route = || site.bird.ask(&format!("show route all {OURS}")).unwrap_or_default();
    until(3, "the path is told with GRACEFUL_SHUTDOWN", || route().contains("(65535,0)"));
    assert!(site.switch.ip(&format!("route show {OURS}")).contains("via 192.0.2.2"));
    eventually(5, "the path is withdrawn", || match route() {
        text if text.contains(OURS) => Err(text),
        _ => Ok(()),
    });
    assert!(begun.elapsed() > Duration::from_millis(1900), "the time to find other ways");
    assert_eq!(site.bird.since("node"), since, "the session is up");
    until(20, "the session ends", || site.bird.since("node") != since);
}

#[test]
fn a_shutdown_that_does_not_go_by_logind_is_drained_in_the_course_of_it() {
    let site = guarded("--wait 3s --limit 10s");
    // Also where the disk has no room for the intent.
    site.fill_disk();
    site.machine.systemctl("restart mainstay-bgpd");
    site.machine.systemctl("start --no-block poweroff.target");
    let route = || site.bird.ask(&format!("show route all {OURS}")).unwrap_or_default();
    until(5, "the path is told with GRACEFUL_SHUTDOWN", || route().contains("(65535,0)"));
    until(5, "the path is withdrawn", || !route().contains(OURS));
    until(20, "the session ends", || {
        site.bird.ask("show protocols node").is_ok_and(|text| !text.contains("Established"))
    });
}
