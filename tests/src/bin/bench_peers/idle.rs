//! What it costs to have nothing to do.

use crate::crowd::Table;
use crate::kernel::prefixes;
use crate::speakers::{Part, Peer, Speaker};
use crate::work::{Lab, any};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

const INTERFACES: usize = 1000;
const ROUTES: usize = 10_000;
const PEERS: usize = 20;
const IDLE: Duration = Duration::from_secs(60);

pub struct Idle {
    speaker: String,
    /// Percent of a core.
    share: f64,
}

pub fn run(only: Option<Speaker>) -> Vec<Idle> {
    println!("  idle with {INTERFACES} interfaces, {ROUTES} routes, {PEERS} peers, for {IDLE:?}");
    let speakers = Speaker::WITH_KERNEL.into_iter().filter(|s| only.is_none_or(|o| o == *s));
    speakers.map(measure).inspect(|i| println!("    {}: {:.3} %", i.speaker, i.share)).collect()
}

fn measure(speaker: Speaker) -> Idle {
    let asn = |n: usize| 65001 + u32::try_from(n).expect("few");
    let peers: Vec<Peer> =
        (0..PEERS).map(|n| Peer { n, asn: asn(n), part: Part::Source }).collect();
    let lab = Lab::with_kernel(speaker, &peers, any);
    for n in 0..INTERFACES / 2 {
        lab.host().ip(&format!("link add idle{n} up type veth peer name eldi{n}"));
        lab.host().ip(&format!("link set eldi{n} up"));
    }
    let base = prefixes(lab.host());
    let table = Table { first: 0, count: ROUTES, of: 0, asn: asn(0), longer: 0 };
    lab.members[0].send(Arc::clone(&table.updates().0));
    let end = Instant::now() + Duration::from_secs(60);
    while prefixes(lab.host()) < base + ROUTES {
        assert!(Instant::now() < end, "the routes are not in the kernel");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(10));
    let before = lab.running.cpu();
    std::thread::sleep(IDLE);
    let used = lab.running.cpu() - before;
    let share = used.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    Idle { speaker: lab.running.name.clone(), share }
}

/// The section of docs/benchmarks.md.
pub fn section(all: &[Idle]) -> String {
    let mut text = format!(
        "## Nothing to do

{INTERFACES} interfaces besides, {ROUTES} routes in the kernel, {PEERS} sessions that stay as they are: CPU time of all
processes that have a part in it (FRR: `bgpd` and `zebra`) in {} s, as a share of one core.

| speaker | of a core |
|---|---|
",
        IDLE.as_secs()
    );
    for idle in all {
        writeln!(text, "| {} | {:.3} % |", idle.speaker, idle.share).expect("a string");
    }
    text
}
