//! What it costs that the buffers are the keeper's: the same load with it and without.

use crate::feeder::{End, table};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::proc::{Proc, cpu, faults};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub const SIZES: [(usize, usize); 2] = [(100_000, 15), (1_000_000, 5)];

pub struct Row {
    pub routes: usize,
    pub runs: usize,
    /// Medians, without and with the keeper.
    pub plain: Cost,
    pub kept: Cost,
}

/// Of bgpd and keeper together.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub cpu: Duration,
    pub wall: Duration,
    /// Pages that the kernel had to find, and to clear.
    pub faults: u64,
}

pub fn run() -> Vec<Row> {
    println!("\nload with and without the keeper");
    let rows = SIZES.map(|(routes, runs)| {
        let (up, _) = table(routes, 65001, FEEDER);
        // In turn, so that whatever drifts on this machine drifts for both.
        let pairs: Vec<_> =
            (0..runs).map(|_| (measure(&up, routes, false), measure(&up, routes, true))).collect();
        let plain = median(pairs.iter().map(|(plain, _)| *plain));
        let kept = median(pairs.iter().map(|(_, kept)| *kept));
        if std::env::var_os("MAINSTAY_BENCH_RUNS").is_some() {
            println!("{pairs:.0?}");
        }
        println!("{routes:>8} routes: CPU {:.0?} plain, {:.0?} kept", plain.cpu, kept.cpu);
        Row { routes, runs, plain, kept }
    });
    rows.into()
}

const FEEDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn measure(up: &[u8], routes: usize, keeper: bool) -> Cost {
    let (feeder, sink, host) = (Netns::new("feeder"), Netns::new("sink"), Netns::new("speaker"));
    for (end, n) in [(&feeder, 0), (&sink, 1)] {
        veth((end, "eth0"), (&host, &format!("eth{n}")));
        end.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        host.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let node = Node::new("speaker", host, CONFIG);
    let keeper = keeper.then(|| node.start(Daemon::Keeper));
    let bgpd = node.start(Daemon::Bgpd);
    let counter = End::dial(&sink, Ipv4Addr::new(192, 0, 3, 1), Ipv4Addr::new(192, 0, 3, 2), 65002);
    let mut source = End::dial(&feeder, FEEDER, Ipv4Addr::new(192, 0, 2, 2), 65001);
    std::thread::sleep(Duration::from_millis(1500));
    let pids: Vec<_> =
        [Some(&bgpd), keeper.as_ref()].into_iter().flatten().map(Proc::pid).collect();
    let cpu = || pids.iter().map(|pid| cpu(*pid)).sum::<Duration>();
    let faults = || pids.iter().map(|pid| faults(*pid)).sum::<u64>();
    let (cpu_before, faults_before, start) = (cpu(), faults(), Instant::now());
    source.send(up);
    let at = counter.when(routes, Duration::from_secs(120)).unwrap_or_else(|e| panic!("{e}"));
    std::thread::sleep(Duration::from_millis(500));
    Cost { cpu: cpu() - cpu_before, wall: at - start, faults: faults() - faults_before }
}

/// Each for itself.
fn median(runs: impl Iterator<Item = Cost> + Clone) -> Cost {
    fn middle<T: Ord>(values: impl Iterator<Item = T>) -> T {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        values.swap_remove(values.len() / 2)
    }
    Cost {
        cpu: middle(runs.clone().map(|run| run.cpu)),
        wall: middle(runs.clone().map(|run| run.wall)),
        faults: middle(runs.map(|run| run.faults)),
    }
}

const CONFIG: &str = "nodes: [{name: speaker, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp:
  asn: 64512
  fib: {install: false}
  peers:
    - {name: feeder, address: 192.0.2.1, asn: 65001, passive: true, import: all, export: none}
    - {name: sink, address: 192.0.3.1, asn: 65002, passive: true, import: none, export: all}
ipam:
  pools: [{name: default, cidr: 10.244.0.0/16}]
";
