//! The speakers that are restarted, each with the best its manual offers for a restart.

use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::frr::Frr;
use mainstay_tests::gobgp::GoBgp;
use mainstay_tests::openbgpd::OpenBgpd;
use mainstay_tests::proc::Proc;
use rustix::process::Signal;
use std::fmt::Write;

pub const EXPORTED: u32 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Mainstay,
    Bird,
    Frr,
    OpenBgpd,
    GoBgp,
}

/// What runs. Its owner is the thread that started it.
pub enum Running {
    Mainstay { bgpd: Proc, _keeper: Proc },
    Bird(Bird),
    Frr(Frr),
    OpenBgpd(OpenBgpd),
    GoBgp(GoBgp),
}

impl Who {
    pub const ALL: [Self; 5] = [Self::Mainstay, Self::Bird, Self::Frr, Self::OpenBgpd, Self::GoBgp];

    pub fn name(self) -> String {
        use mainstay_tests::peers::Kind;
        let other = |kind: Kind| format!("{} {}", kind.name(), kind.version());
        match self {
            Self::Mainstay => format!("Mainstay {}", env!("CARGO_PKG_VERSION")),
            Self::Bird => other(Kind::Bird),
            Self::Frr => other(Kind::Frr),
            Self::OpenBgpd => other(Kind::OpenBgpd),
            Self::GoBgp => other(Kind::GoBgp),
        }
    }

    /// How it is started to get the most out of a restart.
    pub const fn settings(self) -> &'static str {
        match self {
            Self::Mainstay => "as it comes, with its keeper",
            Self::Bird => "`-R`, `graceful restart` on, kernel `persist` and `graceful restart`",
            Self::Frr => "zebra `-K 60`, `bgp graceful-restart`, `preserve-fw-state`",
            Self::OpenBgpd => "`announce restart yes`; no kernel routes on Linux",
            Self::GoBgp => "`-r`, graceful restart with notification; no kernel routes alone",
        }
    }

    /// Whether it puts what it learns into the kernel of its host.
    pub const fn installs(self) -> bool {
        matches!(self, Self::Mainstay | Self::Bird | Self::Frr)
    }

    pub fn start(self, node: &Node, again: bool) -> Running {
        let host = &node.host;
        match self {
            Self::Mainstay => {
                node.configure(&mainstay());
                let keeper = node.start(Daemon::Keeper);
                Running::Mainstay { bgpd: node.start(Daemon::Bgpd), _keeper: keeper }
            }
            Self::Bird if again => Running::Bird(Bird::restart(host, &bird())),
            Self::Bird => Running::Bird(Bird::start(host, &bird())),
            Self::Frr => Running::Frr(Frr::start_with_zebra(host, &frr(), &["-K", "60"])),
            Self::OpenBgpd => Running::OpenBgpd(OpenBgpd::start(host, &openbgpd())),
            Self::GoBgp => {
                let more: &[&str] = if again { &["-r"] } else { &[] };
                let gobgp = GoBgp::start_with(host, &gobgp(), more);
                for prefix in exported() {
                    gobgp.ask(&format!("global rib add {prefix}")).expect("rib add");
                }
                Running::GoBgp(gobgp)
            }
        }
    }
}

impl Running {
    /// Ends it by this signal and starts it again at once.
    pub fn restart(self, who: Who, node: &Node, signal: Signal) -> Self {
        match self {
            Self::Mainstay { mut bgpd, _keeper } => {
                end(&mut bgpd, signal);
                return Self::Mainstay { bgpd: node.start(Daemon::Bgpd), _keeper };
            }
            Self::Bird(mut bird) => end(bird.proc(), signal),
            Self::Frr(mut frr) => {
                end(frr.proc(), signal);
                end(frr.zebra(), signal);
            }
            Self::OpenBgpd(mut bgpd) => end(bgpd.proc_mut(), signal),
            Self::GoBgp(mut gobgp) => end(gobgp.proc(), signal),
        }
        who.start(node, true)
    }
}

fn end(proc: &mut Proc, signal: Signal) {
    if signal == Signal::KILL {
        proc.kill();
    } else {
        let _ = proc.terminate();
    }
}

/// What each of them announces: 198.18.7.0/24, where the traffic goes, and more.
pub fn exported() -> impl Iterator<Item = String> {
    (0..EXPORTED).map(|n| format!("198.18.{}.0/24", 7 + n))
}

fn lines(line: impl Fn(String) -> String) -> String {
    exported().fold(String::new(), |mut text, prefix| {
        let _ = writeln!(text, "{}", line(prefix));
        text
    })
}

fn mainstay() -> String {
    format!(
        "nodes: [{{name: node-a, address: 192.0.2.2}}]
network: {{mode: bgp, families: [ipv4]}}
bgp:
  asn: 64512
  connect_retry: 1s
  originate:
{}  peers:
    - {{name: tor, address: 192.0.2.1, asn: 65001, import: all}}
ipam:
  pools: [{{name: default, cidr: 10.244.0.0/16}}]
",
        lines(|prefix| format!("    - {prefix}"))
    )
}

fn bird() -> String {
    format!(
        "router id 192.0.2.2;
protocol device {{}}
protocol kernel {{
  persist; graceful restart;
  ipv4 {{ export where source = RTS_BGP; }};
}}
protocol static {{ ipv4;
{}}}
protocol bgp tor {{
  local 192.0.2.2 as 64512; neighbor 192.0.2.1 as 65001;
  graceful restart on;
  connect delay time 0; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
",
        lines(|prefix| format!("  route {prefix} blackhole;"))
    )
}

fn frr() -> String {
    format!(
        "router bgp 64512
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 timers connect 1
 neighbor 192.0.2.1 advertisement-interval 0
 address-family ipv4 unicast
{} exit-address-family
",
        lines(|prefix| format!("  network {prefix}"))
    )
}

fn openbgpd() -> String {
    format!(
        "AS 64512
router-id 192.0.2.2
listen on 192.0.2.2
fib-update no
{}neighbor 192.0.2.1 {{
  remote-as 65001
  announce restart yes
}}
allow from any
allow to any
",
        lines(|prefix| format!("network {prefix}"))
    )
}

fn gobgp() -> String {
    "[global.config]
  as = 64512
  router-id = \"192.0.2.2\"
[[neighbors]]
  [neighbors.config]
    neighbor-address = \"192.0.2.1\"
    peer-as = 65001
  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 120
    notification-enabled = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv4-unicast\"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
"
    .to_owned()
}
