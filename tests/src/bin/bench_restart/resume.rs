//! From the start of the new process to the first route it passes on, by the size of the table.

use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::until;
use std::fmt::Write;
use std::time::{Duration, Instant};

pub const SIZES: [u32; 3] = [1000, 10_000, 1_000_000];

pub struct Row {
    pub routes: u32,
    /// Exec until it serves.
    pub ready: Duration,
    /// Exec until a route that the one peer announced meanwhile is at the other.
    pub first: Duration,
}

pub fn run() -> Vec<Row> {
    println!("\nfrom exec to the first route passed on");
    let rows = SIZES.map(measure);
    for Row { routes, ready, first } in &rows {
        println!("{routes:>8} routes: ready {ready:.0?}, first route {first:.0?}");
    }
    rows.into()
}

fn measure(routes: u32) -> Row {
    let (feeder, sink, host) = (Netns::new("feeder"), Netns::new("sink"), Netns::new("node"));
    for (end, n) in [(&feeder, 0), (&sink, 1)] {
        veth((end, "eth0"), (&host, &format!("eth{n}")));
        end.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        host.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let node = Node::new("node-a", host, CONFIG);
    let feeder = Bird::start(&feeder, &bird(2, routes));
    let sink = Bird::start(&sink, &bird(3, 0));
    let _keeper = node.start(Daemon::Keeper);
    let mut bgpd = node.start(Daemon::Bgpd);
    let last = prefix(routes - 1);
    until(300, "the table has passed", || sink.has_route(&last));
    std::thread::sleep(Duration::from_secs(2));
    bgpd.kill();
    feeder.ask("enable more").expect("birdc enable");
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    let _bgpd = node.start(Daemon::Bgpd);
    let ready = began.elapsed();
    until(300, "the new route has passed", || sink.has_route("203.0.113.0/24"));
    let first = began.elapsed();
    sink.established("peer", 1);
    Row { routes, ready, first }
}

fn prefix(n: u32) -> String {
    let [_, a, b, c] = n.to_be_bytes();
    format!("{}.{b}.{c}.0/24", 20 + u32::from(a))
}

fn bird(third: u8, routes: u32) -> String {
    let table = (0..routes).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "  route {} blackhole;", prefix(n));
        text
    });
    format!(
        "router id 192.0.{third}.1;
protocol device {{}}
protocol static {{ ipv4;
{table}}}
protocol static more {{ disabled; ipv4; route 203.0.113.0/24 blackhole; }}
protocol bgp peer {{
  local 192.0.{third}.1 as 6500{third}; neighbor 192.0.{third}.2 as 64512;
  connect delay time 0; connect retry time 1;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
"
    )
}

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp:
  asn: 64512
  connect_retry: 1s
  fib: {install: false}
  peers:
    - {name: feeder, address: 192.0.2.1, asn: 65002, import: all, export: none}
    - {name: sink, address: 192.0.3.1, asn: 65003, import: none, export: all}
ipam:
  pools: [{name: default, cidr: 10.244.0.0/16}]
";
