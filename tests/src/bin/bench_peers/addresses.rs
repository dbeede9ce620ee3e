//! What an address costs a runtime: ADD and DEL by process, beside host-local.

use mainstay_proto::ipam::v1::{CniReply, CniRequest, cni_request::Command};
use mainstay_tests::add_latency::{AddLatency, CALLERS, Ipam, LIVE, add_latency};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use prost::Message;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub const PODS: usize = 400;

pub struct Rows {
    pub nothing: AddLatency,
    pub host_local: AddLatency,
    pub mainstay: AddLatency,
    pub socket: Vec<Socket>,
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
        "\nCNI ADD and DEL, {PODS} pods one after the other and {PODS} by {CALLERS} callers, {LIVE} others live"
    );
    let node = Node::new("node-a", Netns::new("node"), CONFIG);
    let _ipamd = node.start(Daemon::Ipamd);
    let run_dir = node.run_dir();
    let row = |name: &str, ipam| {
        let row = add_latency(PODS, ipam);
        println!("  {name:<14} {:?}", row.serial.add);
        row
    };
    Rows {
        nothing: row("/bin/true", Ipam::Nothing),
        host_local: row("host-local", Ipam::HostLocal),
        mainstay: row("mainstay-ipam", Ipam::Mainstay { run_dir: &run_dir }),
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

/// One ADD, framed as the plugin does it; how long until its answer.
fn add(path: &Path, container: &str) -> Duration {
    let request = CniRequest {
        command: Command::Add.into(),
        network: "mainstay".into(),
        container_id: container.into(),
        ifname: "eth0".into(),
        netns: "/run/netns/none".into(),
        ..CniRequest::default()
    };
    let body = request.encode_to_vec();
    let start = Instant::now();
    let mut stream = UnixStream::connect(path).expect("ipamd serves");
    let length = u32::try_from(body.len()).expect("small").to_be_bytes();
    stream.write_all(&[&length[..], &body].concat()).expect("ipamd reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("ipamd answers");
    let took = start.elapsed();
    let reply = CniReply::decode(answer.get(4..).unwrap_or_default()).expect("a reply");
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
