//! One peer in, one peer out: load a table, pass it on, take it back. Nothing goes to the kernel.

use crate::feeder::{End, table};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::frr::Frr;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::proc::usage;
use mainstay_tests::wait::until;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub const PREFIXES: usize = 100_000;
pub const RUNS: usize = 3;

/// One speaker's figures, medians of [`RUNS`].
#[derive(Debug, Clone)]
pub struct Row {
    pub speaker: String,
    pub load: Cost,
    pub withdraw: Cost,
    pub peak: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

pub fn run() -> Vec<Row> {
    let (up, down) = table(PREFIXES, 65001, FEEDER);
    println!("\n{PREFIXES} prefixes from one peer to another, {RUNS} runs each");
    let rows: Vec<Row> = [Speaker::Mainstay, Speaker::Bird, Speaker::Frr]
        .into_iter()
        .map(|speaker| {
            let runs: Vec<Row> = (0..RUNS).map(|_| measure(speaker, &up, &down)).collect();
            let row = median(&runs);
            println!("  {row}");
            row
        })
        .collect();
    rows
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let s = Duration::as_secs_f64;
        write!(
            f,
            "{:<16} load {:.2} s wall, {:.2} s CPU; withdraw {:.2} s wall, {:.2} s CPU; peak {} MB",
            self.speaker,
            s(&self.load.wall),
            s(&self.load.cpu),
            s(&self.withdraw.wall),
            s(&self.withdraw.cpu),
            self.peak / 1_000_000
        )
    }
}

const FEEDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SINK: Ipv4Addr = Ipv4Addr::new(192, 0, 3, 1);

#[derive(Debug, Clone, Copy)]
enum Speaker {
    Mainstay,
    Bird,
    Frr,
}

/// What runs, and the pid whose cost counts.
struct Running {
    name: String,
    pid: u32,
    _alive: Box<dyn std::any::Any>,
}

fn measure(speaker: Speaker, up: &[u8], down: &[u8]) -> Row {
    let (feeder, sink, middle) = (Netns::new("feeder"), Netns::new("sink"), Netns::new("speaker"));
    for (end, n) in [(&feeder, 0), (&sink, 1)] {
        veth((end, "eth0"), (&middle, &format!("eth{n}")));
        end.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        middle.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let middle = Node::new("speaker", middle, &config());
    let running = start(speaker, &middle);
    let counter = End::dial(&sink, SINK, Ipv4Addr::new(192, 0, 3, 2), 65002);
    let mut source = End::dial(&feeder, FEEDER, Ipv4Addr::new(192, 0, 2, 2), 65001);
    // Whatever a speaker does right after a session is up is not the work that is measured.
    std::thread::sleep(Duration::from_secs(3));
    let mut cost = |bytes: &[u8], count: usize| {
        let (before, _) = usage(running.pid);
        let start = Instant::now();
        source.send(bytes);
        let at = counter
            .when(count, Duration::from_secs(120))
            .unwrap_or_else(|e| panic!("{}: {e}", running.name));
        // CPU time after the last prefix (a delayed walk, a free) is part of the work.
        std::thread::sleep(Duration::from_millis(500));
        Cost { wall: at - start, cpu: usage(running.pid).0 - before }
    };
    let load = cost(up, PREFIXES);
    let peak = usage(running.pid).1;
    let withdraw = cost(down, 0);
    Row { speaker: running.name.clone(), load, withdraw, peak }
}

fn median(runs: &[Row]) -> Row {
    let pick = |of: fn(&Row) -> Duration| {
        let mut all: Vec<_> = runs.iter().map(of).collect();
        all.sort();
        all[all.len() / 2]
    };
    Row {
        speaker: runs[0].speaker.clone(),
        load: Cost { wall: pick(|r| r.load.wall), cpu: pick(|r| r.load.cpu) },
        withdraw: Cost { wall: pick(|r| r.withdraw.wall), cpu: pick(|r| r.withdraw.cpu) },
        peak: runs.iter().map(|r| r.peak).max().unwrap_or(0),
    }
}

fn start(speaker: Speaker, node: &Node) -> Running {
    match speaker {
        Speaker::Mainstay => {
            let proc = node.start(Daemon::Bgpd);
            let name = format!("Mainstay {}", env!("CARGO_PKG_VERSION"));
            Running { name, pid: proc.pid(), _alive: Box::new(proc) }
        }
        Speaker::Bird => {
            let mut bird = Bird::start(&node.host, &bird());
            let said = bird.ask("show status").unwrap_or_default();
            let name = said.lines().next().unwrap_or("BIRD").trim_end_matches(" ready.").to_owned();
            Running { name, pid: bird.proc().pid(), _alive: Box::new(bird) }
        }
        Speaker::Frr => {
            let mut frr = Frr::start(&node.host, &frr());
            let said = frr.ask("show version").unwrap_or_default();
            let name = said.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            until(10, "FRR listens", || {
                node.host.output("ss", &["-ltn"]).is_ok_and(|t| t.contains(":179"))
            });
            Running { name, pid: frr.proc().pid(), _alive: Box::new(frr) }
        }
    }
}

fn config() -> String {
    "nodes: [{name: speaker, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp:
  asn: 64512
  fib: {install: false}
  peers:
    - {name: feeder, address: 192.0.2.1, asn: 65001, passive: true, import: all, export: none}
    - {name: sink, address: 192.0.3.1, asn: 65002, passive: true, import: none, export: all}
ipam:
  pools: [{name: default, cidr: 10.244.0.0/16}]
"
    .to_owned()
}

fn bird() -> String {
    "router id 192.0.2.2;
protocol device {}
protocol bgp feeder { local 192.0.2.2 as 64512; neighbor 192.0.2.1 as 65001; passive; ipv4 { import all; export none; }; }
protocol bgp sink { local 192.0.3.2 as 64512; neighbor 192.0.3.1 as 65002; passive; ipv4 { import none; export all; }; }
"
    .to_owned()
}

/// Without the pauses that FRR makes by default between UPDATEs of an external peer, and without
/// zebra's routes in the kernel.
fn frr() -> String {
    "route-map NOTHING deny 10
ip protocol bgp route-map NOTHING
router bgp 64512
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 passive
 neighbor 192.0.3.1 remote-as 65002
 neighbor 192.0.3.1 passive
 neighbor 192.0.3.1 advertisement-interval 0
"
    .to_owned()
}
