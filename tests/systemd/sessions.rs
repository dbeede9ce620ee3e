//! Sessions outlive what systemd and the kernel do to the daemons. The switch does no graceful
//! restart: whatever it would notice, it would act upon.

use crate::site::{OURS, Site};
use mainstay_tests::bird::Since;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::wait::{eventually, until};
use std::fmt::Write;
use std::time::Duration;

pub const NO_GR: &str = "graceful restart off; long lived graceful restart off;";
/// What the switch announces.
const THEIRS: &str = "198.51.100.0/24";

/// A site, and what its switch and its kernels have seen since.
pub struct Watched {
    pub site: Site,
    pub since: Since,
    switch: RouteMonitor,
    node: RouteMonitor,
}

impl Watched {
    pub fn new(site: Site) -> Self {
        let m = &site.machine;
        until(10, "their route is in our kernel", || m.host.ip("route").contains(THEIRS));
        site.forwards_to_us();
        let (switch, node) = (RouteMonitor::start(&site.switch), RouteMonitor::start(&m.host));
        let watched = Self { since: site.bird.since("node"), site, switch, node };
        watched.held();
        watched
    }

    fn held(&self) {
        until(10, "the keeper holds the session", || {
            self.site.machine.json(&["status"]).is_ok_and(|s| s["bgpd"]["survival"] == "tier0")
        });
    }

    fn systemctl(&self, words: &str) {
        self.site.machine.systemctl(words);
    }

    /// Waits until a speaker serves that is another process than `before`.
    fn speaker_after(&self, before: &str) {
        let m = &self.site.machine;
        eventually(20, "a new speaker serves", || {
            let pid = m.main_pid("mainstay-bgpd");
            let serves = m.json(&["bgp", "peers"])?["peers"][0]["state"] == "Established";
            if pid != before && pid != "0" && serves { Ok(()) } else { Err(m.journal()) }
        });
    }

    fn speaker(&self) -> String {
        self.site.machine.main_pid("mainstay-bgpd")
    }

    /// For longer than the hold time, and once more with something to say.
    #[track_caller]
    pub fn nobody_has_seen_a_thing(&self) {
        std::thread::sleep(Duration::from_secs(10));
        let m = &self.site.machine;
        assert_eq!(
            self.site.bird.since("node"),
            self.since,
            "the session's uptime\n{}",
            m.journal()
        );
        assert!(self.site.bird.has_route(OURS));
        assert_eq!(self.switch.events(), Vec::<String>::new(), "at the switch");
        assert_eq!(self.node.of(THEIRS), Vec::<String>::new(), "at the node");
        let config = m.path("/etc/mainstay/mainstay.yaml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace(OURS, &format!("{OURS}, 198.18.8.0/24"))).unwrap();
        m.must(&["mainstay", "reload"]);
        until(5, "a new route reaches the switch", || self.site.bird.has_route("198.18.8.0/24"));
        assert_eq!(self.site.bird.since("node"), self.since, "{}", m.journal());
    }
}

#[test]
fn the_switch_sees_nothing_of_a_speaker_that_systemd_restarts_or_that_is_killed() {
    let watched = Watched::new(Site::started(NO_GR));
    let before = watched.speaker();
    watched.systemctl("restart mainstay-bgpd");
    watched.speaker_after(&before);
    for _ in 0..5 {
        let before = watched.speaker();
        watched.systemctl("kill --signal=KILL mainstay-bgpd");
        watched.speaker_after(&before);
    }
    watched.systemctl("daemon-reexec");
    watched.systemctl("stop mainstay-bgpd");
    std::thread::sleep(Duration::from_secs(4));
    watched.systemctl("start mainstay-bgpd");
    watched.speaker_after("0");
    watched.site.fill_disk();
    for words in ["restart mainstay-bgpd", "kill --signal=KILL mainstay-bgpd"] {
        let before = watched.speaker();
        watched.systemctl(words);
        watched.speaker_after(&before);
    }
    let log = watched.site.machine.log_of("mainstay-bgpd");
    assert!(log.contains("No space left on device"), "{log}");
    watched.nobody_has_seen_a_thing();
}

#[test]
fn the_switch_sees_nothing_of_a_keeper_that_systemd_restarts_or_that_is_killed() {
    let watched = Watched::new(Site::started(NO_GR));
    let m = &watched.site.machine;
    let stored = m.property("mainstay-keeper", "NFileDescriptorStore");
    assert!(stored.parse::<u32>().is_ok_and(|n| n >= 3), "socket, memory, speaker: {stored}");
    let restarts = |n: &str| m.property("mainstay-keeper", "NRestarts") == n;
    watched.systemctl("restart mainstay-keeper");
    watched.systemctl("kill --signal=KILL mainstay-keeper");
    until(10, "the keeper is back", || restarts("1"));
    assert_eq!(m.property("mainstay-keeper", "NFileDescriptorStore"), stored);

    // With nobody but the keeper to have the session, and systemd itself executed anew.
    watched.systemctl("stop mainstay-bgpd");
    watched.systemctl("restart mainstay-keeper");
    watched.systemctl("daemon-reexec");
    watched.systemctl("kill --signal=KILL mainstay-keeper");
    until(10, "the keeper is back again", || restarts("1"));
    std::thread::sleep(Duration::from_secs(4));
    watched.systemctl("start mainstay-bgpd");
    watched.speaker_after("0");
    // The keeper away for a while, and the next one given the session again.
    watched.systemctl("stop mainstay-keeper");
    std::thread::sleep(Duration::from_secs(2));
    watched.systemctl("start mainstay-keeper");
    watched.held();
    let before = watched.speaker();
    watched.systemctl("kill --signal=KILL mainstay-bgpd");
    watched.speaker_after(&before);
    // Both at once.
    watched.held();
    let before = watched.speaker();
    watched.systemctl("restart mainstay-keeper mainstay-bgpd");
    watched.speaker_after(&before);
    watched.nobody_has_seen_a_thing();
}

#[test]
fn the_switch_sees_nothing_of_a_speaker_that_hangs_until_the_watchdog_bites() {
    let site = Site::started(NO_GR);
    // So that it bites within the hold time of 9 s that these tests have.
    let less = "[Service]\nWatchdogSec=3s\n";
    site.machine.write("/run/systemd/system/mainstay-bgpd.service.d/test.conf", less);
    site.machine.systemctl("daemon-reload");
    site.machine.systemctl("restart mainstay-bgpd");
    let watched = Watched::new(site);
    let before = watched.speaker();
    watched.systemctl("kill --signal=STOP mainstay-bgpd");
    watched.speaker_after(&before);
    watched.nobody_has_seen_a_thing();
}

#[test]
fn the_switch_sees_nothing_of_a_keeper_that_hangs_until_the_watchdog_bites() {
    let watched = Watched::new(Site::started(NO_GR));
    let m = &watched.site.machine;
    let before = m.main_pid("mainstay-keeper");
    watched.systemctl("kill --signal=STOP mainstay-keeper");
    until(60, "another keeper serves", || {
        let pid = m.main_pid("mainstay-keeper");
        pid != before && pid != "0"
    });
    assert_eq!(m.property("mainstay-keeper", "NRestarts"), "1");
    watched.held();
    // It has the session for good: also nobody else may have it for a while.
    let before = watched.speaker();
    watched.systemctl("kill --signal=KILL mainstay-bgpd");
    watched.speaker_after(&before);
    watched.nobody_has_seen_a_thing();
}

#[test]
fn the_switch_sees_nothing_of_a_speaker_that_outgrows_its_memory_limit() {
    let mut many = "protocol static many { ipv4; disabled;\n".to_owned();
    for n in 0..50_000u32 {
        let _ = writeln!(many, "route 10.{}.{}.0/28 blackhole;", n >> 8, n & 255);
    }
    many.push_str("}\n");
    let watched = Watched::new(Site::started_beside(NO_GR, &many));
    let m = &watched.site.machine;
    let before = watched.speaker();
    let used: u64 = m.property("mainstay-bgpd", "MemoryCurrent").parse().unwrap();
    let limit = used + (4 << 20);
    watched.systemctl(&format!("set-property --runtime mainstay-bgpd MemoryMax={limit}"));
    watched.site.bird.ask("enable many").unwrap();
    until(20, "the kernel has killed it", || {
        m.property("mainstay-bgpd", "NRestarts").parse::<u32>().is_ok_and(|n| n > 0)
    });
    watched.systemctl("set-property --runtime mainstay-bgpd MemoryMax=infinity");
    watched.speaker_after(&before);
    until(30, "all of their routes are in our kernel", || {
        m.host.ip("route").contains("10.195.79.0/28")
    });
    watched.nobody_has_seen_a_thing();
}
