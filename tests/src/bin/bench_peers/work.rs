//! Speed and memory: the same work by each speaker, and whether what came out was right.

use crate::crowd::{Member, Right, SPEAKER, SPEAKER_ASN, Table, address};
use crate::kernel::kernel;
use crate::speakers::{Part, Peer, Running, Speaker, start};
use bgp_core::types::{Asn, NextHop};
use bgp_core::wire::Attributes;
use mainstay_tests::netns::{Netns, veth};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const TITLE: &str = "Speed and memory";

/// A speaker that needs longer is stopped.
const LIMIT: Duration = Duration::from_secs(60);
/// How often each piece of work is done.
const RUNS: usize = 3;
/// What takes a speaker this long is done once.
const LONG: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Million,
    Ten,
    Reflector,
    Flap,
    Kernel,
}

impl Row {
    pub const ALL: [Self; 5] =
        [Self::Million, Self::Ten, Self::Reflector, Self::Flap, Self::Kernel];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Million => "million",
            Self::Ten => "ten",
            Self::Reflector => "reflector",
            Self::Flap => "flap",
            Self::Kernel => "kernel",
        }
    }
}

/// What one piece of work has cost one speaker.
pub struct Outcome {
    speaker: String,
    work: &'static str,
    cost: Result<Cost, String>,
}

#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak: u64,
}

impl Outcome {
    pub const fn has_failed(&self) -> bool {
        self.cost.is_err()
    }
}

pub fn run(row: Option<Row>, speaker: Option<Speaker>) -> Vec<Outcome> {
    let mut all = Vec::new();
    for row in Row::ALL.into_iter().filter(|r| row.is_none_or(|only| only == *r)) {
        let speakers = match row {
            Row::Kernel => Speaker::WITH_KERNEL.as_slice(),
            _ => Speaker::ALL.as_slice(),
        };
        for speaker in speakers.iter().filter(|s| speaker.is_none_or(|only| only == **s)) {
            for outcome in repeat(row, *speaker) {
                println!("  {outcome}");
                all.push(outcome);
            }
        }
    }
    all
}

/// Medians, for memory the largest. Work that fails or takes long is not done again.
fn repeat(row: Row, speaker: Speaker) -> Vec<Outcome> {
    let mut runs = vec![measure(row, speaker)];
    let again = |o: &Outcome| o.cost.as_ref().is_ok_and(|c| c.wall < LONG);
    while runs.len() < RUNS && runs.iter().flatten().all(again) {
        runs.push(measure(row, speaker));
    }
    let mut runs = runs.into_iter();
    let mut first = runs.next().unwrap_or_default();
    let rest: Vec<_> = runs.collect();
    for (n, outcome) in first.iter_mut().enumerate() {
        let others = rest.iter().map(|run| run.get(n).map(|o| o.cost.clone()));
        let all: Result<Vec<Cost>, String> = std::iter::once(outcome.cost.clone())
            .chain(others.map(|cost| cost.unwrap_or_else(|| Err("not come to".into()))))
            .collect();
        outcome.cost = all.map(|all| Cost {
            wall: median(all.iter().map(|c| c.wall).collect()),
            cpu: median(all.iter().map(|c| c.cpu).collect()),
            peak: all.iter().map(|c| c.peak).max().unwrap_or_default(),
        });
    }
    first
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:<16} ", self.work, self.speaker)?;
        match &self.cost {
            Ok(Cost { wall, cpu, peak }) => {
                let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
                write!(f, "{wall:.2} s wall, {cpu:.2} s CPU, peak {} MB", peak / 1_000_000)
            }
            Err(why) => write!(f, "stopped: {why}"),
        }
    }
}

fn measure(row: Row, speaker: Speaker) -> Vec<Outcome> {
    match row {
        Row::Million => million(speaker),
        Row::Ten => ten(speaker),
        Row::Reflector => reflector(speaker),
        Row::Flap => flap(speaker),
        Row::Kernel => kernel(speaker),
    }
}

/// A speaker among its peers.
pub struct Lab {
    pub running: Running,
    pub members: Vec<Member>,
    _host: Netns,
}

impl Lab {
    fn new(speaker: Speaker, peers: &[Peer], right: impl Fn(&Peer) -> Right) -> Self {
        Self::start(speaker, peers, false, right)
    }

    /// With the routes in the kernel, as far as the speaker can.
    pub fn with_kernel(speaker: Speaker, peers: &[Peer], right: impl Fn(&Peer) -> Right) -> Self {
        Self::start(speaker, peers, true, right)
    }

    fn start(
        speaker: Speaker,
        peers: &[Peer],
        kernel: bool,
        right: impl Fn(&Peer) -> Right,
    ) -> Self {
        let (host, middle) = (Netns::new("peers"), Netns::new("speaker"));
        veth((&host, "eth0"), (&middle, "eth0"));
        middle.ip(&format!("addr add {SPEAKER}/16 dev eth0"));
        for peer in peers {
            host.ip(&format!("addr add {}/16 dev eth0", address(peer.n)));
        }
        let running = start(speaker, middle, peers, kernel);
        let dial = |p: &Peer| Member::dial(&host, address(p.n), p.asn, right(p));
        let members = peers.iter().map(dial).collect();
        Self { running, members, _host: host }
    }

    /// Where the speaker runs.
    pub fn host(&self) -> &Netns {
        &self.running.node.host
    }

    /// From the first octet until `done` says when it was over.
    pub fn cost(
        &self,
        work: &'static str,
        begin: impl FnOnce(&[Member]),
        done: impl FnOnce(&[Member], Instant) -> Result<Instant, String>,
    ) -> Outcome {
        let (before, _) = self.running.usage();
        let start = Instant::now();
        begin(&self.members);
        let end = done(&self.members, start + LIMIT);
        // CPU time after the last prefix (a delayed walk, a free) is part of the work.
        std::thread::sleep(Duration::from_millis(500));
        let (cpu, peak) = self.running.usage();
        let cost = end.map(|end| Cost { wall: end - start, cpu: cpu - before, peak });
        Outcome { speaker: self.running.name.clone(), work, cost }
    }
}

/// Whatever a speaker does right after its sessions are up is not the work that is measured.
pub fn settle() {
    std::thread::sleep(Duration::from_secs(3));
}

pub fn any(_: &Peer) -> Right {
    Box::new(|_| true)
}

fn one_in_one_out() -> [Peer; 2] {
    [Peer { n: 0, asn: 65001, part: Part::Source }, Peer { n: 1, asn: 65002, part: Part::Sink }]
}

fn million(speaker: Speaker) -> Vec<Outcome> {
    const COUNT: usize = 1_000_000;
    let table = Table { first: 0, count: COUNT, of: 0, asn: 65001, longer: 0 };
    let (up, down) = table.updates();
    let lab = Lab::new(speaker, &one_in_one_out(), any);
    settle();
    let load = lab.cost(
        "1,000,000 prefixes, one peer in, one out",
        |m| m[0].send(up),
        |m, end| {
            let at = m[1].when(COUNT, false, end)?;
            m[1].check(|p| table.told(p)).map(|()| at)
        },
    );
    if load.cost.is_err() {
        return vec![load];
    }
    let gone =
        lab.cost("withdraw them all", |m| m[0].send(down), |m, end| m[1].when(0, false, end));
    vec![load, gone]
}

/// The peer with the shortest paths is one in the middle, so that others come before and after.
fn ten(speaker: Speaker) -> Vec<Outcome> {
    const COUNT: usize = 100_000;
    const BEST: usize = 4;
    let asn = |n: usize| 65001 + u32::try_from(n).expect("few");
    let part = |n| if n < 10 { Part::Source } else { Part::Sink };
    let peers: Vec<Peer> = (0..20).map(|n| Peer { n, asn: asn(n), part: part(n) }).collect();
    let table = |of: usize| Table {
        first: 0,
        count: COUNT,
        of,
        asn: asn(of),
        longer: usize::from(of != BEST),
    };
    let updates: Vec<_> = (0..10).map(|n| table(n).updates().0).collect();
    let best = Asn(asn(BEST));
    let lab = Lab::new(speaker, &peers, |_| {
        Box::new(move |a: &Attributes| a.as_path.asns().nth(1) == Some(best))
    });
    settle();
    vec![lab.cost(
        "10 peers × the same 100,000, best path, to 10 peers",
        |m| m.iter().zip(&updates).for_each(|(m, bytes)| m.send(Arc::clone(bytes))),
        |m, end| {
            let sinks = &m[10..];
            let mut last = Instant::now();
            for (n, sink) in sinks.iter().enumerate() {
                let at = sink.when(COUNT, false, end)?;
                last = if n == 0 { at } else { last.max(at) };
            }
            sinks.iter().try_for_each(|s| s.check(|p| table(BEST).told(p)))?;
            Ok(last)
        },
    )]
}

/// The first UPDATE leaves as soon as the sessions are up.
fn reflector(speaker: Speaker) -> Vec<Outcome> {
    const CLIENTS: usize = 200;
    const EACH: usize = 50;
    let peers: Vec<Peer> =
        (0..CLIENTS).map(|n| Peer { n, asn: SPEAKER_ASN, part: Part::Client }).collect();
    let table =
        |of: usize| Table { first: of * EACH, count: EACH, of, asn: SPEAKER_ASN, longer: 0 };
    let updates: Vec<_> = (0..CLIENTS).map(|n| table(n).updates().0).collect();
    // A speaker may tell a client its own routes too; they do not count.
    let lab = Lab::new(speaker, &peers, |peer| {
        let own = NextHop::V4(address(peer.n));
        Box::new(move |a: &Attributes| a.next_hop != own)
    });
    vec![lab.cost(
        "reflector, 200 clients × 50 prefixes, all to all",
        |m| m.iter().zip(&updates).for_each(|(m, bytes)| m.send(Arc::clone(bytes))),
        |m, end| {
            let mut last = None;
            for member in m {
                last = last.max(Some(member.when((CLIENTS - 1) * EACH, true, end)?));
            }
            for member in m {
                member.check(|p| (0..CLIENTS).find_map(|of| table(of).told(p)))?;
            }
            last.ok_or_else(|| "no clients".into())
        },
    )]
}

fn flap(speaker: Speaker) -> Vec<Outcome> {
    const COUNT: usize = 100_000;
    let table = Table { first: 0, count: COUNT, of: 0, asn: 65001, longer: 0 };
    let (up, down) = table.updates();
    let lab = Lab::new(speaker, &one_in_one_out(), any);
    settle();
    vec![lab.cost(
        "5 × flap of 100,000",
        |_| {},
        |m, end| {
            let mut at = Instant::now();
            for _ in 0..5 {
                m[0].send(Arc::clone(&up));
                m[1].when(COUNT, false, end)?;
                m[1].check(|p| table.told(p))?;
                m[0].send(Arc::clone(&down));
                at = m[1].when(0, false, end)?;
            }
            Ok(at)
        },
    )]
}

/// The section of docs/benchmarks.md.
pub fn section(all: &[Outcome]) -> String {
    let mut text = format!(
        "## {TITLE}

Each piece of work by each speaker with a process of its own, fed as fast as it takes it; time runs until the last peer
holds the last route, and every route is then compared with what it should be: prefix, path, next hop, communities. CPU
time and peak memory of the BGP processes alone; nothing goes to the kernel but in the last rows, where FRR's zebra is
counted too. *With its keeper* is Mainstay as it is deployed: beside the speaker runs what holds its sessions when it
is killed, counted too, and all that is said in a session is kept for the next process. Medians of {RUNS} runs (what
takes longer than {} s is done once), for memory the largest. A speaker that needs more than {} s, or tells something
wrong, is stopped. × is the ratio to us.

| work | speaker | wall | CPU | peak memory |
|---|---|---|---|---|
",
        LONG.as_secs(),
        LIMIT.as_secs()
    );
    for outcome in all {
        let ours = all.iter().find(|o| o.speaker.starts_with("Mainstay") && o.work == outcome.work);
        let base = ours.and_then(|o| o.cost.as_ref().ok().copied());
        let line = match (&outcome.cost, base) {
            (Ok(cost), Some(base)) => format!(
                "{} | {} | {}",
                seconds(cost.wall, base.wall),
                seconds(cost.cpu, base.cpu),
                megabytes(cost.peak, base.peak)
            ),
            (Ok(cost), None) => format!(
                "{:.2} s | {:.2} s | {} MB",
                cost.wall.as_secs_f64(),
                cost.cpu.as_secs_f64(),
                cost.peak / 1_000_000
            ),
            (Err(why), _) => format!("stopped: {why} | – | –"),
        };
        writeln!(text, "| {} | {} | {line} |", outcome.work, outcome.speaker).expect("a string");
    }
    text
}

fn seconds(theirs: Duration, ours: Duration) -> String {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64().max(0.01);
    format!("{:.2} s (×{ratio:.1})", theirs.as_secs_f64())
}

fn megabytes(theirs: u64, ours: u64) -> String {
    format!("{} MB (×{:.1})", theirs / 1_000_000, theirs as f64 / ours.max(1) as f64)
}
