//! FRR as the switch.

use super::{Gr, Options, Peer, Session, session};
use crate::frr::Frr;
use crate::netns::Netns;
use rustix::process::Signal;

const NODE: &str = "192.0.2.2";

pub(super) struct Switch {
    frr: Frr,
    sessions: u16,
}

impl Switch {
    pub(super) fn start(host: &Netns, options: &Options) -> Self {
        Self { frr: Frr::start(host, &config(options)), sessions: options.sessions }
    }
}

impl Peer for Switch {
    fn sessions(&self) -> Result<Vec<Session>, String> {
        let all = self.frr.json("show bgp neighbors")?;
        let session = |n| {
            let node = &all[session(n).1];
            Session {
                up: node["bgpState"] == "Established",
                since: node["bgpTimerUpEstablishedEpoch"].as_i64().unwrap_or(0) * 1000,
                ups: node["connectionsEstablished"].as_u64().unwrap_or(0),
            }
        };
        Ok((0..self.sessions).map(session).collect())
    }

    fn has_route(&self, prefix: &str) -> bool {
        self.frr.has_route(prefix)
    }

    fn route_count(&self) -> usize {
        let summary = self.frr.json("show bgp ipv4 unicast summary").unwrap_or_default();
        summary["ribCount"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    fn log(&self) -> String {
        self.frr.log()
    }

    fn is_about_node(&self, line: &str) -> bool {
        line.contains(NODE) || line.contains("198.19.1.")
    }

    fn pause(&self, paused: bool) {
        self.frr.signal(if paused { Signal::STOP } else { Signal::CONT });
    }

    fn reset(&self) {
        self.frr.ask(&format!("clear bgp {NODE}")).expect("clear bgp");
    }
}

fn config(options: &Options) -> String {
    let gr = match options.gr {
        // A group's members do not inherit it: it stands at each of them, below.
        Gr::Off => "",
        Gr::On => " no bgp graceful-restart notification\n",
        Gr::Notification | Gr::LongLived => " bgp graceful-restart notification\n",
    };
    let off = options.gr == Gr::Off;
    let password = options.password.as_ref().map(|p| format!(" neighbor NODES password {p}\n"));
    let hold = options.hold_time;
    let members: String = (0..options.sessions)
        .map(|n| {
            let (here, node) = session(n);
            let off = if off {
                format!(" neighbor {node} graceful-restart-disable\n")
            } else {
                String::new()
            };
            format!(
                " neighbor {node} peer-group NODES\n neighbor {node} update-source {here}\n{off}"
            )
        })
        .collect();
    format!(
        "router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp log-neighbor-changes
 neighbor 192.0.2.3 remote-as 65001
 neighbor 192.0.2.3 timers connect 1
 neighbor 192.0.2.3 advertisement-interval 0
 neighbor NODES peer-group
 neighbor NODES remote-as 64512
 neighbor NODES timers {keepalive} {hold}
 neighbor NODES timers connect 1
 neighbor NODES advertisement-interval 0
{gr}{password}{members} address-family ipv4 unicast
  neighbor 192.0.2.3 next-hop-self
  neighbor NODES next-hop-self
 exit-address-family
 address-family ipv6 unicast
  neighbor 192.0.2.3 activate
  neighbor 192.0.2.3 next-hop-self
  neighbor NODES activate
  neighbor NODES next-hop-self
 exit-address-family
",
        keepalive = (hold / 3).max(1),
        password = password.unwrap_or_default(),
    )
}
