//! The daemon as a process: in a host of its own, over its real sockets, on a real store.
//!
//! Needs root, for the hosts are network namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod crashes;
mod evidence;
mod faults;
mod kernel;
mod serving;

use mainstay_tests::daemons::Node;
use mainstay_tests::netns::Netns;

/// One node's cluster: its blocks, and further keys of `ipam` as YAML.
fn config(blocks: &str, ipam: &str) -> String {
    let sizes = blocks.split([',', ' ', '\'']).filter(|block| !block.is_empty());
    let size = |v6: bool, or: &str| {
        let block = sizes.clone().find(|block| block.contains(':') == v6);
        block.and_then(|block| block.split('/').nth(1)).unwrap_or(or).to_owned()
    };
    let (four, six) = (size(false, "26"), size(true, "122"));
    format!(
        "nodes:
  - {{name: n1, address: 192.0.2.11, blocks: [{blocks}]}}
network: {{mode: bgp}}
bgp: {{asn: 64512}}
ipam:
  pools:
    - {{name: default, cidr: 10.244.0.0/14, block_size: {four}}}
    - {{name: six, cidr: 'fd00:244::/64', block_size: {six}}}
{ipam}
"
    )
}

fn node(blocks: &str, ipam: &str) -> Node {
    Node::new("n1", Netns::new("ipamd"), &config(blocks, ipam))
}
