//! What an address costs a runtime: ADD and DEL by process, beside host-local.

use mainstay_tests::add_latency::{AddLatency, CALLERS, Ipam, LIVE, add_latency};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;

pub const PODS: usize = 400;

pub struct Rows {
    pub nothing: AddLatency,
    pub host_local: AddLatency,
    pub mainstay: AddLatency,
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
    }
}

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4, ipv6]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 20}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 112}
";
