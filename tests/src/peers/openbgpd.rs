//! OpenBGPD as the switch's speaker; the switch forwards by a static route.

use super::{Gr, Options, Peer, Session};
use crate::netns::Netns;
use crate::openbgpd::OpenBgpd;
use rustix::process::Signal;
use std::time::{SystemTime, UNIX_EPOCH};

const NODE: &str = "192.0.2.2";

pub(super) struct Switch {
    bgpd: OpenBgpd,
}

impl Switch {
    pub(super) fn start(host: &Netns, options: &Options) -> Self {
        assert_eq!(options.sessions, 1, "OpenBGPD has one session with one address");
        Self { bgpd: OpenBgpd::start(host, &config(options)) }
    }
}

impl Peer for Switch {
    fn sessions(&self) -> Result<Vec<Session>, String> {
        let json = self.bgpd.json(&format!("show neighbor {NODE}"))?;
        let up = json["neighbors"][0]["state"] == "Established";
        let changes = |l: &&str| l.contains(NODE) && l.contains("state change");
        let log = self.log();
        let ups = log.lines().filter(changes).filter(|l| l.contains("-> Established")).count();
        let age = json["neighbors"][0]["last_updown_sec"].as_i64().unwrap_or(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let since = (i64::try_from(now).unwrap_or(0) - age) * 1000;
        Ok(vec![Session { up, since, ups: ups as u64 }])
    }

    fn has_route(&self, prefix: &str) -> bool {
        self.bgpd.has_route(prefix)
    }

    fn route_count(&self) -> usize {
        // "RDE memory statistics\n  1001 IPv4 unicast network entries using 36K of memory"
        let text = self.bgpd.ask("show rib memory").unwrap_or_default();
        let line = text.lines().find(|l| l.contains("IPv4 unicast network entries"));
        let first = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
        first.unwrap_or(0)
    }

    fn log(&self) -> String {
        self.bgpd.proc().log()
    }

    fn is_about_node(&self, line: &str) -> bool {
        line.contains(NODE)
    }

    fn pause(&self, paused: bool) {
        self.bgpd.proc().signal_all(if paused { Signal::STOP } else { Signal::CONT });
    }

    fn reset(&self) {
        self.bgpd.ask(&format!("neighbor {NODE} clear")).expect("neighbor clear");
    }
}

fn config(options: &Options) -> String {
    let restart = if options.gr == Gr::Off { "no" } else { "yes" };
    let password = options.password.as_ref().map(|p| format!("  tcp md5sig password \"{p}\"\n"));
    format!(
        "AS 65001
router-id 192.0.2.1
listen on 192.0.2.1
fib-update no
neighbor 192.0.2.3 {{
  remote-as 65001
  announce IPv6 unicast
}}
neighbor {NODE} {{
  remote-as 64512
  holdtime {hold}
  announce IPv6 unicast
  announce restart {restart}
{password}}}
allow from any
allow to any
",
        hold = options.hold_time,
        password = password.unwrap_or_default(),
    )
}
