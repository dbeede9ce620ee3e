//! FRR as the switch, with BFD on both sides: the keeper does ours, in the sandbox of its unit.

use crate::site::{OURS, wired};
use mainstay_tests::bird::Since;
use mainstay_tests::frr::Frr;
use mainstay_tests::machine::Machine;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::Netns;
use mainstay_tests::wait::{eventually, until};
use serde_json::Value;
use std::time::{Duration, Instant};

const NODE: &str = "192.0.2.2";
/// What the switch announces.
const THEIRS: &str = "198.51.100.0/24";

const FRR: &str = "ip route 198.51.100.0/24 blackhole
router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.2.2 remote-as 64512
 neighbor 192.0.2.2 timers connect 1
 neighbor 192.0.2.2 graceful-restart-disable
 neighbor 192.0.2.2 bfd
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
";
/// Either side is given five seconds of silence.
const BFD: &str = "bfd
 peer 192.0.2.2 interface eth0
  detect-multiplier 10
  receive-interval 500
  transmit-interval 500
 !
";
const OUR_BFD: &str = "import: all, bfd: {min_tx: 500ms, min_rx: 500ms, multiplier: 10}";

struct Site {
    machine: Machine,
    frr: Frr,
    switch: Netns,
}

impl Site {
    fn started() -> Self {
        let (machine, switch) = wired(OUR_BFD);
        let frr = Frr::start_with_bfd(&switch, FRR, BFD);
        let site = Self { machine, frr, switch };
        site.machine.systemctl("enable --now mainstay-keeper mainstay-bgpd");
        site.frr.established(NODE, 30);
        until(20, "BFD is up at FRR", || site.their_bfd()["status"] == "up");
        eventually(20, "BFD is up here and the keeper holds the session", || {
            let peer = site.peer()?;
            let up = peer["bfd"]["state"] == "Up" && peer["survival"] == "tier0";
            if up { Ok(()) } else { Err(peer.to_string()) }
        });
        eventually(10, "routes stand on both sides", || {
            let (theirs, ours) = (site.switch.ip("route"), site.machine.host.ip("route"));
            let stand = theirs.contains(OURS) && ours.contains(THEIRS);
            if stand { Ok(()) } else { Err(theirs + &ours) }
        });
        site
    }

    fn peer(&self) -> Result<Value, String> {
        Ok(self.machine.json(&["bgp", "peers"])?["peers"][0].clone())
    }

    fn their_bfd(&self) -> Value {
        self.frr.bfd(NODE).unwrap_or_default()
    }

    /// Ends the speaker and waits for another one that serves.
    fn replace_speaker(&self, end: &str, start: &str) {
        let m = &self.machine;
        let before = m.main_pid("mainstay-bgpd");
        m.systemctl(end);
        if !start.is_empty() {
            // For longer than either side's BFD has patience.
            std::thread::sleep(Duration::from_secs(7));
            m.systemctl(start);
        }
        eventually(20, "a new speaker serves", || {
            let pid = m.main_pid("mainstay-bgpd");
            let serves = self.peer()?["state"] == "Established";
            if pid != before && pid != "0" && serves { Ok(()) } else { Err(m.journal()) }
        });
    }

    /// What FRR has seen of the session, and how often BFD has come up here.
    fn seen(&self) -> (Since, Value) {
        (self.frr.since(NODE), self.peer().unwrap()["bfd"]["up_count"].clone())
    }
}

#[test]
fn an_frr_switch_and_its_bfd_see_nothing_of_a_speaker_that_is_restarted_killed_or_away() {
    let site = Site::started();
    let up_for = site.their_bfd()["uptime"].as_u64().unwrap();
    let start = Instant::now();
    let before = site.seen();
    let (switch, node) =
        (RouteMonitor::start(&site.switch), RouteMonitor::start(&site.machine.host));
    site.replace_speaker("restart mainstay-bgpd", "");
    site.replace_speaker("kill --signal=KILL mainstay-bgpd", "");
    site.replace_speaker("stop mainstay-bgpd", "start mainstay-bgpd");
    // The last hold time that began before.
    std::thread::sleep(Duration::from_secs(9));
    let least = up_for + start.elapsed().as_secs() - 1;
    let now = site.their_bfd();
    assert!(now["status"] == "up" && now["uptime"].as_u64() >= Some(least), "{least}: {now}");
    assert_eq!(site.seen(), before, "{}", site.machine.journal());
    assert_eq!(switch.events(), Vec::<String>::new(), "at the switch");
    assert_eq!(node.of(THEIRS), Vec::<String>::new(), "at the node");
}
