//! Two files, and what the difference does to one node.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bgp_plan::{Change, Effect, changes};
use mainstay_config::{NodeConfig, parse};

const FILE: &str = "
nodes:
  - {name: node-a, address: 192.0.2.11, labels: {rack: r1}}
  - {name: node-b, address: 192.0.2.12, labels: {rack: r2}}
network: {mode: bgp, families: [ipv4]}
bgp:
  asn: 64512
  listen: {port: 179}
  fib: {metric: 32}
  peers:
    - {name: tor, select: {rack: r1}, address: 192.0.2.1, asn: 65001, hold_time: 90s}
    - {name: pods, listen_range: 192.0.2.0/24, asn: 65003, passive: true}
ipam:
  pools: [{name: default, cidr: 10.244.0.0/16, block_size: 26}]
  cooldown: 130s
netmon: {listen: '127.0.0.1:9474'}
";

fn node(text: &str) -> NodeConfig {
    parse("mainstay.yaml", text).unwrap().resolve("node-a").unwrap()
}

fn after(from: &str, to: &str) -> Vec<(String, Effect)> {
    assert!(FILE.contains(from), "{from}");
    let told = |c: Change| (c.to_string(), c.effect);
    changes(&node(FILE), &node(&FILE.replace(from, to))).into_iter().map(told).collect()
}

#[test]
fn each_change_of_the_file_is_told_with_what_it_does() {
    for (from, to, line, effect) in [
        ("asn: 65001", "asn: 65002", "bgp.peers tor: asn 65001 -> 65002", Effect::Resets),
        ("asn: 64512", "asn: 64513", "bgp.asn 64512 -> 64513", Effect::ResetsAll),
        (
            "hold_time: 90s",
            "hold_time: 30s",
            "bgp.peers tor: hold_time 90s -> 30s",
            Effect::NextSession,
        ),
        (
            "hold_time: 90s",
            "graceful_restart: {restart_time: 300s}",
            "bgp.peers tor: graceful_restart 120s -> 300s",
            Effect::NextSession,
        ),
        (
            "hold_time: 90s",
            "password_file: /etc/mainstay/tor.key",
            "bgp.peers tor: password_file none -> /etc/mainstay/tor.key",
            Effect::AtOnce,
        ),
        ("hold_time: 90s", "multihop: 3", "bgp.peers tor: multihop 1 -> 3", Effect::AtOnce),
        ("hold_time: 90s", "import: all", "bgp.peers tor: import node -> all", Effect::AtOnce),
        ("{rack: r1}, address", "{rack: r2}, address", "bgp.peers tor: removed", Effect::Ends),
        (
            "192.0.2.0/24",
            "192.0.2.0/25",
            "bgp.peers pods: listen_range 192.0.2.0/24 -> 192.0.2.0/25",
            Effect::Ends,
        ),
        (
            "{port: 179}",
            "{port: 1179}",
            "bgp.listen 0.0.0.0:179, [::]:179 -> 0.0.0.0:1179, [::]:1179",
            Effect::AtOnce,
        ),
        ("metric: 32", "metric: 64", "bgp.fib.metric 32 -> 64", Effect::Restart("bgpd")),
        ("metric: 32", "install: false", "bgp.fib.install true -> false", Effect::Restart("bgpd")),
        ("130s", "60s", "ipam.cooldown 130s -> 60s", Effect::AtOnce),
        (
            "block_size: 26",
            "block_size: 27",
            "ipam.pools default: blocks 10.244.0.0/26 -> 10.244.0.0/27",
            Effect::AtOnce,
        ),
        (
            "netmon:",
            "keeper: {max_orphan: 5m}\nnetmon:",
            "keeper.max_orphan 600s -> 300s",
            Effect::AtOnce,
        ),
        ("9474", "9475", "netmon.listen 127.0.0.1:9474 -> 127.0.0.1:9475", Effect::AtOnce),
    ] {
        assert_eq!(after(from, to), [(line.to_owned(), effect)], "{to}");
    }
}

#[test]
fn options_of_a_session_are_told_with_what_they_do() {
    for (from, to, line, effect) in [
        (
            "hold_time: 90s",
            "extended_messages: false",
            "bgp.peers tor: extended_messages true -> false",
            Effect::NextSession,
        ),
        (
            "hold_time: 90s",
            "local_as: {asn: 65100}",
            "bgp.peers tor: local_as none -> 65100",
            Effect::Resets,
        ),
        (
            "hold_time: 90s",
            "role: customer",
            "bgp.peers tor: role none -> customer",
            Effect::AtOnce,
        ),
        (
            "hold_time: 90s",
            "remove_private: all",
            "bgp.peers tor: remove_private none -> all",
            Effect::AtOnce,
        ),
        (
            "hold_time: 90s",
            "max_prefixes: {in: 1000}",
            "bgp.peers tor: max_prefixes none -> 1000 (warn 80%, restart 300s)",
            Effect::AtOnce,
        ),
        (
            "hold_time: 90s",
            "max_prefixes: {out: 1000}",
            "bgp.peers tor: max_prefixes none -> none, out 1000",
            Effect::AtOnce,
        ),
        (
            "hold_time: 90s",
            "tcp_ao: [{send_id: 1, receive_id: 2, file: /k}]",
            "bgp.peers tor: tcp_ao none -> 1/2 /k",
            Effect::Resets,
        ),
        (
            "hold_time: 90s",
            "ttl_security: true",
            "bgp.peers tor: ttl_security off -> 1",
            Effect::AtOnce,
        ),
        (
            "metric: 32}",
            "metric: 32}\n  multipath: {ebgp: 4}",
            "bgp.multipath.ebgp any -> 4",
            Effect::AtOnce,
        ),
    ] {
        assert_eq!(after(from, to), [(line.to_owned(), effect)], "{to}");
    }
}

#[test]
fn the_same_file_has_no_difference_and_another_node_s_peers_are_not_ours() {
    assert_eq!(changes(&node(FILE), &node(FILE)), []);
    let other = "    - {name: far, select: {rack: r2}, address: 192.0.2.9, asn: 65009}\nipam:";
    assert_eq!(after("ipam:", other), []);
}

#[test]
fn a_node_that_is_to_have_no_network_is_told_what_to_do_instead() {
    let told = changes(&node(FILE), &node(&FILE.replace("mode: bgp", "mode: none")));
    assert_eq!(told[0].to_string(), "network.mode bgp -> none");
    assert_eq!(told[0].effect, Effect::Refused);
    assert!(told[0].hint.unwrap().contains("stop mainstay-bgpd"), "{told:?}");
    assert!(told.iter().all(|c| !c.what.starts_with("bgp.")), "{told:?}");
}
