//! What an address costs a runtime: ADD and DEL by process, beside Debian's plugins.

use mainstay_proto::ipam::v1::cni_request::Command;
use mainstay_tests::add_latency::{
    AddLatency, CALLERS, Ipam, LIVE, Quantiles, add_latency, start_latency,
};
use mainstay_tests::crash::callers::ask;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::proc::bin;
use std::path::Path;
use std::time::{Duration, Instant};

pub const PODS: usize = 400;

pub struct Rows {
    pub nothing: AddLatency,
    pub fixed: AddLatency,
    pub host_local: AddLatency,
    pub mainstay: AddLatency,
    pub start: Start,
    pub socket: Vec<Socket>,
}

/// The plugin that only says which versions it speaks, and a program that does nothing.
pub struct Start {
    /// Of the plugin's file, as installed.
    pub size: u64,
    pub plugin: Quantiles,
    pub nothing: Quantiles,
}

/// Durable ADDs by the plugins' socket alone: no process is started.
pub struct Socket {
    pub callers: usize,
    pub per_second: f64,
    pub median: Duration,
    pub p99: Duration,
}

pub fn run() -> Rows {
    println!(
        "\nCNI ADD and DEL, {PODS} pods one after the other and {PODS} by {CALLERS:?} callers, {LIVE} others live"
    );
    let node = Node::new("node-a", Netns::new("node"), CONFIG);
    let _ipamd = node.start(Daemon::Ipamd);
    let run_dir = node.run_dir();
    let row = |name: &str, ipam| {
        let row = add_latency(PODS, ipam);
        println!("  {name:<14} {:?} {:.0} ADD/s", row.serial.add, row.adds_per_second);
        row
    };
    let ours = Ipam::Mainstay { run_dir: &run_dir };
    Rows {
        nothing: row("nothing", Ipam::Nothing),
        fixed: row("static", Ipam::Static),
        host_local: row("host-local", Ipam::HostLocal),
        mainstay: row("mainstay-ipam", ours),
        start: Start {
            size: std::fs::metadata(bin("mainstay-ipam")).expect("the plugin").len(),
            plugin: start_latency(PODS, ours),
            nothing: start_latency(PODS, Ipam::Nothing),
        },
        socket: [1, 8, 32].map(|callers| socket(&run_dir.join("cni.sock"), callers)).into(),
    }
}

/// How many ADDs each run of [`socket`] makes.
pub const ADDS: usize = 3000;

fn socket(path: &Path, callers: usize) -> Socket {
    let start = Instant::now();
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|caller| {
                scope.spawn(move || {
                    let ids = (0..ADDS / callers).map(|n| format!("bench-{callers}-{caller}-{n}"));
                    ids.map(|id| add(path, &id)).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("a caller")).collect()
    });
    let per_second = took.len() as f64 / start.elapsed().as_secs_f64();
    took.sort();
    let at = |percent: usize| took[took.len() * percent / 100];
    println!("  socket, {callers} callers: {per_second:.0} ADD/s");
    Socket { callers, per_second, median: at(50), p99: at(99) }
}

/// One ADD; how long until its answer.
fn add(path: &Path, container: &str) -> Duration {
    let start = Instant::now();
    let reply = ask(path, Command::Add, container).expect("ipamd answers");
    let took = start.elapsed();
    assert_eq!(reply.error, None);
    took
}

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4, ipv6]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 16}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 112}
";
