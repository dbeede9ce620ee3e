//! The speakers that are compared, each told of the same peers.

use crate::crowd::{SPEAKER, SPEAKER_ASN, address};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::frr::Frr;
use mainstay_tests::gobgp::GoBgp;
use mainstay_tests::netns::Netns;
use mainstay_tests::openbgpd::OpenBgpd;
use mainstay_tests::proc::{cpu, usage};
use mainstay_tests::wait::until;
use std::fmt::Write;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    Mainstay,
    /// With its keeper beside it, by which its sessions outlive it.
    Kept,
    Bird,
    Frr,
    OpenBgpd,
    GoBgp,
}

impl Speaker {
    pub const ALL: [Self; 6] =
        [Self::Mainstay, Self::Kept, Self::Bird, Self::Frr, Self::OpenBgpd, Self::GoBgp];

    /// Those that bring routes into this kernel by themselves.
    pub const WITH_KERNEL: [Self; 3] = [Self::Mainstay, Self::Bird, Self::Frr];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Mainstay => "mainstay",
            Self::Kept => "kept",
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::OpenBgpd => "openbgpd",
            Self::GoBgp => "gobgp",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Announces, and is told nothing where the speaker can be asked for that.
    Source,
    /// Is told everything.
    Sink,
    /// A client of the route reflector, which does both.
    Client,
}

/// A peer as the speaker sees it.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub n: usize,
    pub asn: u32,
    pub part: Part,
}

/// A running speaker, and the processes whose cost counts.
pub struct Running {
    pub name: String,
    pids: Vec<u32>,
    pub node: Node,
    _alive: Box<dyn std::any::Any>,
}

impl Running {
    /// CPU time and peak of memory, its children's included.
    pub fn usage(&self) -> (Duration, u64) {
        self.processes().map(usage).fold((Duration::ZERO, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    /// CPU time to the nanosecond.
    pub fn cpu(&self) -> Duration {
        self.processes().map(cpu).sum()
    }

    fn processes(&self) -> impl Iterator<Item = u32> {
        self.pids.iter().flat_map(|pid| std::iter::once(*pid).chain(children(*pid)))
    }
}

fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// `kernel`: the routes go there too.
pub fn start(speaker: Speaker, host: Netns, peers: &[Peer], kernel: bool) -> Running {
    let node = Node::new("speaker", host, &mainstay(peers, kernel));
    let (name, pids, alive): (_, _, Box<dyn std::any::Any>) = match speaker {
        Speaker::Mainstay => {
            let proc = node.start(Daemon::Bgpd);
            (format!("Mainstay {}", env!("CARGO_PKG_VERSION")), vec![proc.pid()], Box::new(proc))
        }
        Speaker::Kept => {
            let both = (node.start(Daemon::Keeper), node.start(Daemon::Bgpd));
            ("… with its keeper".into(), vec![both.0.pid(), both.1.pid()], Box::new(both))
        }
        Speaker::Bird => {
            let mut bird = Bird::start(&node.host, &bird(peers, kernel));
            let said = bird.ask("show status").unwrap_or_default();
            let name = said.lines().next().unwrap_or("BIRD").trim_end_matches(" ready.").to_owned();
            (name, vec![bird.proc().pid()], Box::new(bird))
        }
        Speaker::Frr => {
            let mut frr = Frr::start(&node.host, &frr(peers, kernel));
            let said = frr.ask("show version").unwrap_or_default();
            let name = said.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            listens(&node.host);
            let zebra = kernel.then(|| frr.zebra().pid());
            let pids = std::iter::once(frr.proc().pid()).chain(zebra).collect();
            (name, pids, Box::new(frr))
        }
        Speaker::OpenBgpd => {
            let bgpd = OpenBgpd::start(&node.host, &openbgpd(peers));
            listens(&node.host);
            ("OpenBGPD".into(), vec![bgpd.proc().pid()], Box::new(bgpd))
        }
        Speaker::GoBgp => {
            let mut gobgp = GoBgp::start(&node.host, &gobgp(peers));
            ("GoBGP".into(), vec![gobgp.proc().pid()], Box::new(gobgp))
        }
    };
    Running { name, pids, node, _alive: alive }
}

fn listens(host: &Netns) {
    until(20, "the speaker listens", || {
        host.output("ss", &["-ltn"]).is_ok_and(|t| t.contains(":179"))
    });
}

/// One text for each peer, behind a head.
fn each(
    head: String,
    peers: &[Peer],
    one: impl Fn(&mut String, &Peer) -> std::fmt::Result,
) -> String {
    let mut text = head;
    for peer in peers {
        one(&mut text, peer).expect("a string takes all");
    }
    text
}

fn mainstay(peers: &[Peer], kernel: bool) -> String {
    let head = format!(
        "nodes: [{{name: speaker, address: {SPEAKER}}}]
network: {{mode: bgp, families: [ipv4]}}
ipam: {{pools: [{{name: default, cidr: 10.244.0.0/16}}]}}
bgp:
  asn: {SPEAKER_ASN}
  fib: {{install: {kernel}}}
  peers:
"
    );
    each(head, peers, |text, peer| {
        let rules = match peer.part {
            Part::Source => "import: all, export: none",
            Part::Sink => "import: none, export: all",
            Part::Client => "import: all, export: all, route_reflector_client: true",
        };
        let (n, at, asn) = (peer.n, address(peer.n), peer.asn);
        writeln!(text, "    - {{name: p{n}, address: {at}, asn: {asn}, passive: true, {rules}}}")
    })
}

fn bird(peers: &[Peer], kernel: bool) -> String {
    let kernel = match kernel {
        true => "protocol kernel { merge paths on; ipv4 { import none; export all; }; }\n",
        false => "",
    };
    let head = format!("router id {SPEAKER};\nprotocol device {{}}\n{kernel}");
    each(head, peers, |text, peer| {
        let (rules, client) = match peer.part {
            Part::Source => ("import all; export none;", ""),
            Part::Sink => ("import none; export all;", ""),
            Part::Client => ("import all; export all;", "rr client;"),
        };
        let (n, at, asn) = (peer.n, address(peer.n), peer.asn);
        writeln!(
            text,
            "protocol bgp p{n} {{ local {SPEAKER} as {SPEAKER_ASN}; neighbor {at} as {asn}; passive; \
             {client} ipv4 {{ {rules} }}; }}"
        )
    })
}

/// Without the pauses that FRR makes by default between UPDATEs of an external peer.
fn frr(peers: &[Peer], kernel: bool) -> String {
    let rule = if kernel { "" } else { "ip protocol bgp route-map NOTHING\n" };
    let head = format!(
        "route-map NOTHING deny 10
{rule}router bgp {SPEAKER_ASN}
 bgp router-id {SPEAKER}
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
"
    );
    each(head, peers, |text, peer| {
        let at = address(peer.n);
        writeln!(text, " neighbor {at} remote-as {}\n neighbor {at} passive", peer.asn)?;
        writeln!(text, " neighbor {at} advertisement-interval 0")?;
        match peer.part {
            Part::Source => writeln!(text, " neighbor {at} route-map NOTHING out"),
            Part::Sink => writeln!(text, " neighbor {at} route-map NOTHING in"),
            Part::Client => writeln!(text, " neighbor {at} route-reflector-client"),
        }
    })
}

fn openbgpd(peers: &[Peer]) -> String {
    let head = format!(
        "AS {SPEAKER_ASN}\nrouter-id {SPEAKER}\nlisten on {SPEAKER}\nfib-update no\n\
         allow from any\nallow to any\n"
    );
    each(head, peers, |text, peer| {
        let rules = match peer.part {
            Part::Source => "export none",
            Part::Sink => "",
            Part::Client => "route-reflector",
        };
        let (at, asn) = (address(peer.n), peer.asn);
        writeln!(text, "neighbor {at} {{\n remote-as {asn}\n passive\n {rules}\n}}")
    })
}

fn gobgp(peers: &[Peer]) -> String {
    let head = format!(
        "[global.config]\n as = {SPEAKER_ASN}\n router-id = \"{SPEAKER}\"\n\
         local-address-list = [\"{SPEAKER}\"]\n"
    );
    each(head, peers, |text, peer| {
        let (at, asn) = (address(peer.n), peer.asn);
        writeln!(text, "[[neighbors]]\n [neighbors.config]\n  neighbor-address = \"{at}\"")?;
        writeln!(text, "  peer-as = {asn}\n [neighbors.transport.config]\n  passive-mode = true")?;
        if peer.part == Part::Client {
            writeln!(text, " [neighbors.route-reflector.config]")?;
            writeln!(text, "  route-reflector-client = true")?;
            writeln!(text, "  route-reflector-cluster-id = \"{SPEAKER}\"")?;
        }
        writeln!(text, " [[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]")?;
        writeln!(text, "   afi-safi-name = \"ipv4-unicast\"")
    })
}
