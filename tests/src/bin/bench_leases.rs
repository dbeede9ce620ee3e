//! `make bench-leases`: durable ADDs at the socket of mainstay-ipamd, a /16 filled to the last
//! address, and what it takes to hold and to open it; rewrites its part of `docs/benchmarks.md`.
//! With `DRY=1` it only prints, with `FULL=1` of the /16 alone.

use mainstay_proto::ipam::v1::CniRequest;
use mainstay_proto::ipam::v1::cni_request::Command;
use mainstay_tests::crash::callers::{addresses, call};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::proc::{Proc, usage};
use mainstay_tests::sections;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TITLE: &str = "Leases: the daemon alone";
/// What a /16 hands out: not its first two addresses and not its last.
const ALL: usize = 65_533;
const STEPS: usize = 8;
const STARTS: usize = 5;

fn main() {
    assert!(
        rustix::process::geteuid().is_root(),
        "bench-leases makes network namespaces: run it as root"
    );
    if std::env::var_os("FULL").is_some() {
        return println!("{}", full());
    }
    let mut text = format!(
        "## {TITLE}

Written by `make bench-leases`. Durable ADDs by the daemon's socket alone, a connection each, IPv4 and IPv6; each answer
waits for its commit. The callers run on the same cores; the first figure of CPU is that of ipamd alone, its store's threads included.

| callers | ADD a second | p50 | p99 | CPU an ADD | the callers' own |
|---|---|---|---|---|---|
"
    );
    // Who names a number of callers wants to see that row alone, and nothing written.
    let callers: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    if !callers.is_empty() {
        callers.into_iter().for_each(|callers| print!("{}", many(callers)));
        return;
    }
    for callers in [1, 8, 32, 128] {
        text += &many(callers);
    }
    text += &full();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
    let page = std::fs::read_to_string(path).unwrap_or_default();
    if std::env::var_os("DRY").is_none() {
        std::fs::write(path, sections::replace(&page, TITLE, &text)).expect("docs/benchmarks.md");
    }
    println!("{text}");
}

/// A row: so many callers on a fresh store.
fn many(callers: usize) -> String {
    let node = Node::new("node-a", Netns::new("node"), BOTH);
    let ipamd = start(&node);
    let n = if callers == 1 { 4_000 } else { 20_000 };
    let cpu = || (ipamd.usage().0, usage(std::process::id()).0);
    let (began, before) = (Instant::now(), cpu());
    let took = adds(&node, callers, 0..n);
    let (wall, after) = (began.elapsed(), cpu());
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / n as f64;
    format!(
        "| {callers} | {:.0} | {} | {} | {:.0} µs | {:.0} µs |\n",
        n as f64 / wall.as_secs_f64(),
        millis(quantile(&took, 50)),
        millis(quantile(&took, 99)),
        each(after.0 - before.0),
        each(after.1 - before.1)
    )
}

/// A /16 by 32 callers, in steps; then what it costs.
fn full() -> String {
    let node = Node::new("node-a", Netns::new("node"), V4);
    let mut ipamd = start(&node);
    let mut text = format!(
        "
A /16 filled by 32 callers, IPv4 alone: {ALL} leases.

| leases before | ADD a second | p50 | p99 |
|---|---|---|---|
"
    );
    for step in 0..STEPS {
        let (from, to) = (ALL * step / STEPS, ALL * (step + 1) / STEPS);
        let began = Instant::now();
        let took = adds(&node, 32, from..to);
        let rate = (to - from) as f64 / began.elapsed().as_secs_f64();
        let (p50, p99) = (millis(quantile(&took, 50)), millis(quantile(&took, 99)));
        let _ = writeln!(text, "| {from} | {rate:.0} | {p50} | {p99} |");
    }
    let filled = memory(ipamd.pid());
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    let mut opened = 0;
    for _ in 0..STARTS {
        ipamd.kill();
        (ipamd, _) = timed(&node, &mut killed);
        ipamd.terminate();
        (ipamd, opened) = timed(&node, &mut clean);
    }
    let disk = std::fs::metadata(node.dir.path().join("state/ipam/leases/db")).map_or(0, |m| {
        use std::os::unix::fs::MetadataExt;
        m.blocks() * 512
    });
    drop(ipamd);
    let _ = writeln!(
        text,
        "
With all {ALL} leases: {} MB resident after they were made, {} MB after a restart; {} MB on disk. From exec until it
serves: {} after a clean stop, {} after SIGKILL (medians of {STARTS}).",
        filled / 1_000_000,
        opened / 1_000_000,
        disk / 1_000_000,
        millis(quantile(&clean, 50)),
        millis(quantile(&killed, 50))
    );
    text
}

/// A start, how long it took (kept in order), and what is resident then.
fn timed(node: &Node, took: &mut Vec<Duration>) -> (Proc, u64) {
    let began = Instant::now();
    let ipamd = start(node);
    took.push(began.elapsed());
    took.sort_unstable();
    let resident = memory(ipamd.pid());
    (ipamd, resident)
}

fn start(node: &Node) -> Proc {
    node.start_with(Daemon::Ipamd, &[], |command| {
        command.env("MAINSTAY_LOG", "info");
    })
}

/// One ADD for each number, by so many callers; how long each took, in order of size.
fn adds(node: &Node, callers: usize, numbers: std::ops::Range<usize>) -> Vec<Duration> {
    let (socket, next) = (node.run_dir().join("cni.sock"), AtomicUsize::new(numbers.start));
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let caller = || {
            let numbers_on = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let mine = numbers_on.take_while(|n| *n < numbers.end);
            mine.map(|n| add(&socket, n)).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a caller")).collect()
    });
    took.sort_unstable();
    took
}

fn add(socket: &Path, n: usize) -> Duration {
    let start = Instant::now();
    let reply = call(socket, &pod(n)).expect("ipamd answers");
    let took = start.elapsed();
    addresses(reply).expect("an address");
    took
}

/// With texts as long as containerd and Kubernetes make them.
fn pod(n: usize) -> CniRequest {
    CniRequest {
        command: Command::Add.into(),
        network: "mainstay".into(),
        container_id: format!("{:064x}", (n as u128 + 1) << 64),
        ifname: "eth0".into(),
        netns: format!("/var/run/netns/cni-5c2e4f0a-93d1-4b7e-8a66-{n:012x}"),
        pod_namespace: "default".into(),
        pod_name: format!("web-{n:05}-7d4b9c6f5d-x2x4z"),
        pod_uid: format!("d290f1ee-6c54-4b01-90e6-{n:012x}"),
        ..CniRequest::default()
    }
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Resident now, not at most.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    resident.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn millis(value: Duration) -> String {
    format!("{:.2} ms", value.as_secs_f64() * 1000.0)
}

const BOTH: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4, ipv6]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 16}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 112}
";

const V4: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 16}
";
