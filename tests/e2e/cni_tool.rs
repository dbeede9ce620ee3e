//! The CNI project's own client with the standard main plugins: what libcni asks, in each version of
//! the specification, and what comes of it.

use mainstay_tests::cni::{Attachment, Runtime};
use mainstay_tests::cnitool::Cnitool;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::pods::addresses;
use mainstay_tests::wait::until;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4, ipv6]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 26}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 122}
";
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn node() -> Node {
    let node = Node::new("node-a", Netns::new("node"), CONFIG);
    node.host.ip("link add up0 type veth peer name cable");
    node.host.ip("link set up0 up");
    node.host.ip("link set cable up");
    node
}

fn network(node: &Node, version: &str, main: &Value) -> Value {
    let mut main = main.clone();
    main["ipam"] = json!({"type": "mainstay-ipam", "run_dir": node.run_dir(), "timeout": "5s"});
    json!({"cniVersion": version, "name": "pods", "plugins": [main]})
}

fn mains() -> [Value; 3] {
    [
        json!({"type": "ptp"}),
        json!({"type": "bridge", "bridge": "cni0", "isGateway": true}),
        json!({"type": "macvlan", "master": "up0"}),
    ]
}

fn assigned(node: &Node) -> usize {
    let shown = node.json(&["ipam", "show", "--state", "assigned"]).expect("ipamd answers");
    shown["leases"].as_array().map_or(0, Vec::len)
}

/// Each family's address of a result, whatever its version.
fn all_addresses(result: &Value) -> Vec<IpAddr> {
    let old = ["ip4", "ip6"]
        .into_iter()
        .filter_map(|key| result[key]["ip"].as_str()?.split('/').next()?.parse().ok());
    old.chain(addresses(result)).collect()
}

#[test]
fn cnitool_adds_checks_and_deletes_by_ptp_bridge_and_macvlan_in_every_version() {
    let node = node();
    let _ipamd = node.start(Daemon::Ipamd);
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    for main in mains() {
        for version in VERSIONS {
            let what = format!("{} {version}", main["type"]);
            let tool = Cnitool::new(&node, &network(&node, version, &main));
            let result = tool.add(&a, "").unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(result["cniVersion"], version, "{what}: {result}");
            assert_eq!(all_addresses(&result).len(), 2, "{what}: {result}");
            if version >= "0.4.0" {
                tool.check(&a).unwrap_or_else(|e| panic!("{what}: {e}"));
            }
            if version >= "1.0.0" {
                let other = tool.add(&b, "").unwrap_or_else(|e| panic!("{what}: {e}"));
                for address in all_addresses(&other) {
                    until(10, &what, || a.pings(&address.to_string()));
                }
                tool.del(&b).unwrap_or_else(|e| panic!("{what}: {e}"));
            }
            tool.del(&a).unwrap_or_else(|e| panic!("{what}: {e}"));
            tool.del(&a).unwrap_or_else(|e| panic!("{what}, repeated: {e}"));
            assert_eq!(assigned(&node), 0, "{what}");
        }
    }
}

#[test]
fn cnitool_check_fails_once_the_lease_is_gone() {
    let node = node();
    let _ipamd = node.start(Daemon::Ipamd);
    let pod = Netns::new("pod");
    let conflist = network(&node, "1.0.0", &json!({"type": "ptp"}));
    let tool = Cnitool::new(&node, &conflist);
    tool.add(&pod, "").expect("ADD");
    // Released behind the runtime's back: its DEL, by another client.
    let shown = node.json(&["ipam", "show"]).expect("ipamd answers");
    let container = shown["leases"][0]["container_id"].as_str().expect("a lease").to_owned();
    let section = conflist["plugins"][0]["ipam"].clone();
    let alone = Runtime::new(json!({"cniVersion": "1.0.0", "name": "pods",
        "plugins": [{"type": "mainstay-ipam", "ipam": section}]}));
    alone.del(&node.host, &Attachment::pod(&container, &pod.path(), "", "", "")).expect("DEL");
    let failure = tool.check(&pod).unwrap_err();
    assert!(failure.contains("has no address on eth0"), "{failure}");
}

#[test]
fn cnitool_status_tells_of_a_daemon_that_is_away_and_gc_frees_what_libcni_remembers() {
    let node = node();
    let ipamd = node.start(Daemon::Ipamd);
    let (pod, leaked) = (Netns::new("pod"), Netns::new("leaked"));
    let conflist = network(&node, "1.1.0", &json!({"type": "ptp"}));
    let tool = Cnitool::new(&node, &conflist);
    tool.status().expect("ipamd serves");
    tool.add(&pod, "").expect("ADD");
    tool.gc().expect("GC");
    assert_eq!(assigned(&node), 0, "what libcni remembers is deleted");

    // Called without a list of the valid, as cnitool does: nothing is known to be invalid.
    let section = conflist["plugins"][0]["ipam"].clone();
    let alone = json!({"cniVersion": "1.1.0", "name": "pods",
        "plugins": [{"type": "mainstay-ipam", "ipam": section}]});
    let forgotten = Attachment::pod("forgotten", &leaked.path(), "default", "web", "u1");
    let runtime = Runtime::new(alone.clone());
    runtime.add(&node.host, &forgotten).expect("ADD");
    Cnitool::new(&node, &alone).gc().expect("GC");
    assert_eq!(assigned(&node), 2, "what nobody has called invalid stays");
    runtime.gc(&node.host, &[]).expect("GC");
    assert_eq!(assigned(&node), 0, "an empty list calls everything invalid");

    drop(ipamd);
    let failure = tool.status().unwrap_err();
    assert!(failure.contains("mainstay-ipamd does not answer"), "{failure}");
}

#[test]
fn a_port_of_the_node_leads_to_the_pod_by_portmap() {
    let node = node();
    let _ipamd = node.start(Daemon::Ipamd);
    let (pod, client) = (Netns::new("pod"), Netns::new("client"));
    veth((&node.host, "client0"), (&client, "eth0"));
    node.host.ip("addr add 192.0.2.2/24 dev client0");
    client.ip("addr add 192.0.2.9/24 dev eth0");
    let mut conflist = network(&node, "1.1.0", &json!({"type": "ptp"}));
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    conflist["plugins"].as_array_mut().expect("a list").push(portmap);
    let tool = Cnitool::new(&node, &conflist);
    let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let capabilities = Map::from_iter([("portMappings".to_owned(), mapping)]);
    tool.add_with(&pod, "", &capabilities).expect("ADD");
    tool.check(&pod).expect("CHECK");

    let listener = pod.run(|| TcpListener::bind("[::]:80").expect("port 80 is free"));
    let greeter = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.write_all(b"hello").expect("it listens");
    });
    let heard = client.run(|| {
        let node: SocketAddr = "192.0.2.2:8080".parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&node, Duration::from_secs(10))?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).map(|_| heard)
    });
    assert_eq!(heard.expect("the node's port leads to the pod"), "hello");
    greeter.join().expect("it was heard");
    tool.del(&pod).expect("DEL");
    assert_eq!(assigned(&node), 0);
}
