//! The files we show to people are files we read.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mainstay_config::{Mode, parse, read};
use std::path::Path;

/// The example of the design, word for word.
const DESIGN: &str = r#"
nodes:                       # optional when Kubernetes is the source
  - {name: node-a, address: 192.0.2.11, labels: {rack: r1, zone: z1}}
network:
  mode: bgp                  # none | simple | bgp
  families: [ipv4, ipv6]
bgp:
  asn: 64512
  router_id: auto
  listen: {port: 179}        # or `listen: false`: connect only
  hold_time: 90s
  graceful_restart: {restart_time: 120s, notification: true, long_lived: 24h}
  mesh: {enabled: false}     # full iBGP mesh among nodes; with route reflectors: {reflectors: {select: {role: rr}}}
  peers:
    - {name: tor-a, select: {rack: r1}, address: 192.0.2.1, asn: 65001, password_file: /etc/mainstay/tor.key, bfd: true}
    - {name: pods, listen_range: 192.0.2.0/24, asn: 64512, passive: true}
  policies:                  # named rule lists; eBGP without one is RFC 8212's default deny but for the built-in `node`
    - {name: no-bogons, rules: [{match: {prefix: [{in: 0.0.0.0/8, ge: 8}]}, action: reject}, {action: accept}]}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 26}
  claims: {source: static}   # static | etcd | kubernetes
  stickiness: {ttl: 24h}
  cooldown: 130s
netmon:
  listen: 127.0.0.1:9474
"#;

#[test]
fn the_design_s_example_is_read_and_says_what_is_not_there_yet() {
    let cluster = parse("mainstay.yaml", DESIGN).unwrap();
    let warnings: Vec<_> = cluster.warnings().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"));
    let node = cluster.resolve("node-a").unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&node).unwrap());
}

#[test]
fn the_shipped_example_has_neither_faults_nor_warnings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/mainstay.yaml");
    let cluster = read(&path).unwrap();
    assert_eq!(cluster.warnings(), []);
    for name in ["node-a", "node-b", "node-c"] {
        assert_eq!(cluster.resolve(name).unwrap().network.mode, Mode::Bgp);
    }
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&cluster.resolve("node-c").unwrap()).unwrap()
    );
}

#[test]
fn the_schema_is_what_editors_were_given() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&mainstay_config::schema()).unwrap());
}
