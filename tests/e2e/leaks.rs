//! Leases whose container is gone and whose DEL never came, without a runtime that tells anything.

use mainstay_tests::cni::{Attachment, Runtime};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::pods::addresses;
use mainstay_tests::scratch::Scratch;
use mainstay_tests::wait::until;
use serde_json::{Value, json};

/// A pod of ptp, left by its runtime.
struct Left {
    host: Option<Netns>,
    address: String,
}

fn attach(node: &Node, name: &str) -> Left {
    let runtime = Runtime::delegating("ptp", &node.run_dir(), "1.0.0");
    let host = Netns::new(name);
    let at = Attachment::pod(&format!("sandbox-{name}"), &host.path(), "default", name, name);
    let result = runtime.add(&node.host, &at).expect("ADD");
    Left { host: Some(host), address: addresses(&result)[0].to_string() }
}

fn state(node: &Node, pod: &Left) -> Value {
    let shown = node.json(&["ipam", "show", &pod.address]).expect("ipamd answers");
    shown["leases"][0]["state"].clone()
}

fn counted(node: &Node, what: &str) -> u64 {
    let status = node.json(&["status"]).expect("ipamd answers");
    status["ipamd"][what].as_u64().unwrap_or_else(|| panic!("no {what} in {status}"))
}

#[test]
fn a_leaked_lease_is_released_and_none_with_a_sign_of_life() {
    let results = Scratch::new("results");
    let config = format!(
        "nodes: [{{name: node-a, address: 192.0.2.2}}]
network: {{mode: bgp, families: [ipv4]}}
bgp: {{asn: 64512}}
ipam:
  pools: [{{name: default, cidr: 10.244.0.0/16, block_size: 26}}]
  gc: {{interval: 200ms, grace: 1s, results: '{}', runtime: /nobody}}
",
        results.path().display()
    );
    let node = Node::new("node-a", Netns::new("node"), &config);
    let mut ipamd = node.start(Daemon::Ipamd);
    let (lives, mut remembered, mut routed, mut leaked) = (
        attach(&node, "lives"),
        attach(&node, "remembered"),
        attach(&node, "routed"),
        attach(&node, "leaked"),
    );
    let of_remembered = results.write("mainstay-sandbox-remembered-eth0", "{}");
    for pod in [&mut remembered, &mut routed, &mut leaked] {
        drop(pod.host.take());
    }
    // As a datapath would that still sends packets there.
    node.host.ip("link add still0 type veth peer name still1");
    node.host.ip("link set still0 up");
    node.host.ip(&format!("route replace {}/32 dev still0", routed.address));

    until(60, "what has leaked is released", || state(&node, &leaked) == "cooling");
    // Far more looks than it took.
    let enough = counted(&node, "gc_scans") + 15;
    until(60, "more looks", || counted(&node, "gc_scans") >= enough);
    for pod in [&lives, &remembered, &routed] {
        assert_eq!(state(&node, pod), "assigned");
    }
    assert_eq!((counted(&node, "gc_released"), counted(&node, "gc_suspects")), (1, 0));
    assert!(ipamd.log().contains("the container is gone; released"), "{}", ipamd.log());

    node.host.ip(&format!("route del {}/32 dev still0", routed.address));
    std::fs::remove_file(of_remembered).expect("it was there");
    ipamd.kill();
    let _ipamd = node.start(Daemon::Ipamd);
    until(60, "without a sign of life they go", || {
        [&remembered, &routed].iter().all(|pod| state(&node, pod) == "cooling")
    });
    assert_eq!(state(&node, &lives), "assigned");
}

#[test]
fn a_gc_of_a_runtime_frees_what_is_gone_and_keeps_what_lives_until_it_is_gone() {
    let config = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp: {asn: 64512}
ipam:
  pools: [{name: default, cidr: 10.244.0.0/16, block_size: 26}]
  gc: {enabled: false}
";
    let node = Node::new("node-a", Netns::new("node"), config);
    let ipamd = node.start(Daemon::Ipamd);
    let (mut routed, mut gone, bare) =
        (attach(&node, "routed"), attach(&node, "gone"), attach(&node, "bare"));
    drop(gone.host.take());
    bare.host.as_ref().expect("it stands").ip("addr flush dev eth0");
    node.host.ip(&format!("route del {}", bare.address));
    // The kernel takes a namespace down after its name is gone, and the host's end of a pair with it.
    let to_gone = format!("{} ", gone.address);
    until(60, "its route is gone", || !node.host.ip("route show").contains(&to_gone));
    // On macvlan the host has no route to the pod.
    node.host.ip("link add low0 type veth peer name low1");
    let section = json!({"type": "mainstay-ipam", "socket": node.run_dir().join("cni.sock")});
    let network = |version: &str, main: Value| {
        let plugins = [main];
        Runtime::new(json!({"cniVersion": version, "name": "mainstay", "plugins": plugins}))
    };
    let macvlan = network("1.0.0", json!({"type": "macvlan", "master": "low0", "ipam": section}));
    let alone = network("1.1.0", json!({"type": "mainstay-ipam", "ipam": section}));
    let host = Netns::new("configured");
    let at = Attachment::pod("sandbox-configured", &host.path(), "default", "configured", "u");
    let result = macvlan.add(&node.host, &at).expect("ADD");
    let mut configured = Left { address: addresses(&result)[0].to_string(), host: Some(host) };

    // Another runtime's: it knows none of them.
    alone.gc(&node.host, &[]).expect("GC");
    assert_eq!([&routed, &configured].map(|pod| state(&node, pod)), ["assigned", "assigned"]);
    assert_eq!([&gone, &bare].map(|pod| state(&node, pod)), ["cooling", "cooling"]);
    assert_eq!(counted(&node, "gc_outlived"), 2);
    until(20, "it is in the log", || ipamd.log().contains("and it lives; kept"));
    let past = node.json(&["ipam", "history", &routed.address]).expect("ipamd answers").to_string();
    assert!(past.contains("outlived-gc") && past.contains("a host route leads to it"), "{past}");

    for pod in [&mut routed, &mut configured] {
        drop(pod.host.take());
    }
    until(60, "the next GC frees what is gone by then", || {
        alone.gc(&node.host, &[]).expect("GC");
        [&routed, &configured].iter().all(|pod| state(&node, pod) == "cooling")
    });
    assert_eq!(counted(&node, "gc_outlived"), 2, "told once");
}
