//! GoBGP as the switch's speaker; the switch forwards by a static route.

use super::{Gr, Options, Peer, Session};
use crate::gobgp::GoBgp;
use crate::netns::Netns;
use rustix::process::Signal;

const NODE: &str = "192.0.2.2";

pub(super) struct Switch {
    gobgp: GoBgp,
}

impl Switch {
    pub(super) fn start(host: &Netns, options: &Options) -> Self {
        assert_eq!(options.sessions, 1, "GoBGP has one session with one address");
        Self { gobgp: GoBgp::start(host, &config(options)) }
    }
}

impl Peer for Switch {
    fn sessions(&self) -> Result<Vec<Session>, String> {
        let text = self.gobgp.ask(&format!("neighbor {NODE} -j"))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        let log = self.log();
        let ups = log.lines().filter(|l| l.contains(NODE) && l.contains("\"Peer Up\""));
        Ok(vec![Session {
            // "ESTABLISHED", by number.
            up: json["state"]["session_state"] == 6,
            since: json["timers"]["state"]["uptime"]["seconds"].as_i64().unwrap_or(0) * 1000,
            ups: ups.count() as u64,
        }])
    }

    fn has_route(&self, prefix: &str) -> bool {
        self.gobgp.has_route(prefix)
    }

    fn route_count(&self) -> usize {
        // "Destination: 1001, Path: 1001"
        let text = self.gobgp.ask("global rib summary").unwrap_or_default();
        let after = text.split("Destination: ").nth(1).unwrap_or_default();
        after.split(',').next().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    fn log(&self) -> String {
        self.gobgp.log()
    }

    fn is_about_node(&self, line: &str) -> bool {
        line.contains(NODE)
    }

    fn pause(&self, paused: bool) {
        self.gobgp.signal(if paused { Signal::STOP } else { Signal::CONT });
    }

    fn reset(&self) {
        self.gobgp.ask(&format!("neighbor {NODE} reset")).expect("neighbor reset");
    }
}

fn config(options: &Options) -> String {
    let on = options.gr != Gr::Off;
    let notification = matches!(options.gr, Gr::Notification | Gr::LongLived);
    let long_lived = options.gr == Gr::LongLived;
    let family = |name: &str| {
        let long_lived = if long_lived {
            "    [neighbors.afi-safis.long-lived-graceful-restart.config]
      enabled = true
      restart-time = 300
"
        } else {
            ""
        };
        format!(
            "  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"{name}\"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = {on}
{long_lived}"
        )
    };
    let password = options.password.as_ref().map(|p| format!("    auth-password = \"{p}\"\n"));
    let hold = options.hold_time;
    format!(
        "[global.config]
  as = 65001
  router-id = \"192.0.2.1\"
[[neighbors]]
  [neighbors.config]
    neighbor-address = \"192.0.2.3\"
    peer-as = 65001
  [neighbors.timers.config]
    connect-retry = 1
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv4-unicast\"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv6-unicast\"
[[neighbors]]
  [neighbors.config]
    neighbor-address = \"{NODE}\"
    peer-as = 64512
{password}  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
    hold-time = {hold}
    keepalive-interval = {keepalive}
  [neighbors.graceful-restart.config]
    enabled = {on}
    restart-time = 120
    notification-enabled = {notification}
    long-lived-enabled = {long_lived}
{v4}{v6}",
        keepalive = (hold / 3).max(1),
        password = password.unwrap_or_default(),
        v4 = family("ipv4-unicast"),
        v6 = family("ipv6-unicast"),
    )
}
