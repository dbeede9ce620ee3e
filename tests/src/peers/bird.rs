//! BIRD 2 as the switch.

use super::{Gr, Options, Peer, Session, session};
use crate::bird::Bird;
use crate::netns::Netns;
use rustix::process::Signal;

pub(super) struct Switch {
    bird: Bird,
    sessions: u16,
}

impl Switch {
    pub(super) fn start(host: &Netns, options: &Options) -> Self {
        Self { bird: Bird::start(host, &config(options)), sessions: options.sessions }
    }
}

impl Peer for Switch {
    fn sessions(&self) -> Result<Vec<Session>, String> {
        let text = self.bird.ask("show protocols")?;
        let log = self.log();
        let session = |n: u16| {
            let name = format!("node_{n}");
            let line = text.lines().find(|l| l.split_whitespace().next() == Some(&name));
            let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
            let state = format!("{name}: State changed to up");
            Session {
                up: words.contains(&"Established"),
                // "2026-11-23 07:16:15.123", and no session stands over midnight.
                since: words.get(5).map_or(0, |time| millis(time)),
                ups: log.lines().filter(|l| l.ends_with(&state)).count() as u64,
            }
        };
        Ok((0..self.sessions).map(session).collect())
    }

    fn has_route(&self, prefix: &str) -> bool {
        self.bird.has_route(prefix)
    }

    fn route_count(&self) -> usize {
        // "1001 of 1001 routes for 1001 networks in table master4"
        let text = self.bird.ask("show route table master4 count").unwrap_or_default();
        let line = text.lines().find(|l| l.contains("networks in table")).unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        words
            .iter()
            .position(|w| *w == "networks")
            .and_then(|i| words.get(i - 1)?.parse().ok())
            .unwrap_or(0)
    }

    fn log(&self) -> String {
        self.bird.log()
    }

    fn is_about_node(&self, line: &str) -> bool {
        line.contains("node_")
    }

    fn pause(&self, paused: bool) {
        self.bird.signal(if paused { Signal::STOP } else { Signal::CONT });
    }

    fn reset(&self) {
        self.bird.ask("restart \"node_*\"").expect("birdc restart");
    }
}

/// 07:16:15.123
fn millis(time: &str) -> i64 {
    let digits = |part: &str| part.parse::<i64>().unwrap_or(0);
    let clock = time.replace('.', ":");
    clock.split(':').map(digits).zip([3_600_000, 60_000, 1000, 1]).map(|(n, unit)| n * unit).sum()
}

fn config(options: &Options) -> String {
    let gr = match options.gr {
        Gr::Off => "graceful restart off; long lived graceful restart off;",
        Gr::On | Gr::Notification => "graceful restart aware; long lived graceful restart off;",
        Gr::LongLived => "graceful restart aware; long lived graceful restart aware;",
    };
    let password = options.password.as_ref().map(|p| format!("password \"{p}\";"));
    let nodes: String = (0..options.sessions)
        .map(|n| {
            let (local, node) = session(n);
            format!("protocol bgp node_{n} from node {{ local {local} as 65001; neighbor {node} as 64512; }}\n")
        })
        .collect();
    format!(
        "router id 192.0.2.1;
timeformat protocol iso long ms;
protocol device {{}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
protocol bgp behind {{
  local 192.0.2.1 as 65001; neighbor 192.0.2.3 as 65001; direct;
  connect delay time 0; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export all; next hop self; }};
  ipv6 {{ import all; export all; next hop self; }};
}}
template bgp node {{
  debug {{ states }};
  hold time {hold};
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  {gr}
  {password}
  ipv4 {{ import all; export all; next hop self; }};
  ipv6 {{ import all; export all; next hop self; }};
}}
{nodes}",
        hold = options.hold_time,
        password = password.unwrap_or_default(),
    )
}
