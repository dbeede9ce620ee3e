//! The real binary in network namespaces of its own, beside the kernel it tells of. Needs root.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used)]

use mainstay_proto::netmon::v1 as pb;
use mainstay_proto::netmon::v1::netmon_client::NetmonClient;
use mainstay_tests::client::http_get;
use mainstay_tests::daemons::{Daemon, Node, sample};
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::proc::{Proc, tool};
use mainstay_tests::wait::{eventually, until};
use rustix::process::Signal;
use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

const LISTEN: &str = "127.0.0.1:9474";

fn config(mode: &str, listen: &str) -> String {
    let bgp = if mode == "bgp" { "bgp: {asn: 64512}\n" } else { "" };
    format!(
        "nodes:\n  - {{name: n1, address: 10.9.0.1}}\nnetwork: {{mode: {mode}}}\n{bgp}\
         netmon: {{listen: \"{listen}\"}}\n"
    )
}

/// A node and a neighbour on one cable, connections tracked on the node.
fn pair() -> (Node, Netns) {
    let (a, b) = (Netns::new("node"), Netns::new("peer"));
    veth((&a, "up0"), (&b, "up0"));
    for (host, n) in [(&a, 1), (&b, 2)] {
        host.ip(&format!("addr add 10.9.0.{n}/24 dev up0"));
        host.ip(&format!("addr add fd09::{n}/64 dev up0 nodad"));
    }
    track(&a);
    (Node::new("n1", a, &config("none", LISTEN)), b)
}

fn track(host: &Netns) {
    for rule in [
        "add table inet track",
        "add chain inet track c { type filter hook prerouting priority 0; }",
        "add rule inet track c ct state new counter",
    ] {
        host.output("nft", &[rule]).unwrap();
    }
}

fn metrics(node: &Node) -> String {
    node.metrics(LISTEN).unwrap()
}

/// Waits until each series has its value.
#[track_caller]
fn reach(node: &Node, series: &[(&str, f64)]) {
    eventually(5, "metrics", || {
        let page = node.metrics(LISTEN)?;
        for (name, want) in series {
            let have = sample(&page, &format!("{name} "));
            if have != Some(*want) {
                return Err(format!("{name} is {have:?}, not {want}; the page:\n{page}"));
            }
        }
        Ok(())
    });
}

fn grpc<T>(node: &Node, call: impl AsyncFnOnce(NetmonClient<tonic::transport::Channel>) -> T) -> T {
    let path = node.run_dir().join("netmon.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = NetmonClient::connect(format!("unix:{}", path.display())).await.unwrap();
        call(client).await
    })
}

fn status(node: &Node) -> pb::StatusReply {
    grpc(node, async |mut client| client.status(pb::StatusRequest {}).await.unwrap().into_inner())
}

#[test]
fn routes_and_their_changes_are_those_of_the_kernel() {
    let (node, _peer) = pair();
    let _netmon = node.start(Daemon::Netmon);
    let ip = |words: &str| node.host.ip(words);
    ip("route add 203.0.113.0/24 via 10.9.0.2 proto 96");
    ip("route replace 203.0.113.0/24 via 10.9.0.2 proto 96 mtu 1400");
    ip("route add blackhole 10.244.0.0/26 proto 97 table 1234");
    ip("route add 2001:db8::/32 via fd09::2 proto 96");
    ip("route replace 2001:db8::/32 via fd09::2 proto 96 mtu 1400");
    ip("route add 2001:db8:1::/48 via fd09::2 proto bird");
    ip("route del 2001:db8:1::/48");
    let route = "mainstay_fib_routes";
    let change = "mainstay_fib_route_changes_total";
    reach(
        &node,
        &[
            (&format!(r#"{route}{{family="ipv4",protocol="mainstay-bgp",table="main"}}"#), 1.0),
            (&format!(r#"{route}{{family="ipv4",protocol="mainstay-ipam",table="1234"}}"#), 1.0),
            (&format!(r#"{route}{{family="ipv6",protocol="mainstay-bgp",table="main"}}"#), 1.0),
            (&format!(r#"{route}{{family="ipv4",protocol="kernel",table="main"}}"#), 1.0),
            (&format!(r#"{change}{{op="add",family="ipv4",protocol="mainstay-bgp"}}"#), 1.0),
            (&format!(r#"{change}{{op="replace",family="ipv4",protocol="mainstay-bgp"}}"#), 1.0),
            (&format!(r#"{change}{{op="replace",family="ipv6",protocol="mainstay-bgp"}}"#), 1.0),
            (&format!(r#"{change}{{op="delete",family="ipv6",protocol="bird"}}"#), 1.0),
            (&format!(r#"{change}{{op="delete",family="ipv4",protocol="mainstay-bgp"}}"#), 0.0),
            (r#"mainstay_netlink_overruns_total{source="route_events"}"#, 0.0),
            (r#"mainstay_netlink_malformed_total{source="route_events"}"#, 0.0),
        ],
    );
    // A link that goes down takes the route without a word; the count knows.
    node.host.ip("link set up0 down");
    let gone = format!(r#"{route}{{family="ipv4",protocol="mainstay-bgp",table="main"}}"#);
    until(5, "the route is not counted", || sample(&metrics(&node), &gone).is_none());
}

#[test]
fn links_are_told_by_name_until_there_are_many() {
    let (node, peer) = pair();
    node.host.ip("link add br0 type bridge");
    let _netmon = node.start(Daemon::Netmon);
    assert!(peer.pings("10.9.0.1"));
    let page = metrics(&node);
    let bytes = sample(&page, r#"mainstay_link_receive_bytes_total{interface="up0"}"#).unwrap();
    assert!(bytes >= 98.0, "{page}");
    reach(
        &node,
        &[
            (r#"mainstay_link_up{interface="up0"}"#, 1.0),
            (r#"mainstay_link_up{interface="br0"}"#, 0.0),
            (r#"mainstay_links{kind="bridge",state="down"}"#, 1.0),
        ],
    );
    for i in 0..10 {
        node.host.ip(&format!("link add p{i} type veth peer name c{i}"));
        node.host.ip(&format!("link set c{i} up"));
        node.host.ip(&format!("link set p{i} up"));
        // A pod's end leaves for the pod's namespace.
        node.host.ip(&format!("link set c{i} netns {}", peer.name()));
        metrics(&node);
    }
    let named = |page: &str| page.lines().filter(|l| l.starts_with("mainstay_link_up{")).count();
    until(5, "8 veths, lo and br0 have series", || named(&metrics(&node)) == 10);
    let page = metrics(&node);
    let shared = r#"mainstay_link_transmit_bytes_total{interface="~veth"}"#;
    let before = sample(&page, shared).unwrap();
    for i in 0..10 {
        node.host.ip(&format!("link del p{i}"));
    }
    reach(&node, &[(r#"mainstay_links{kind="veth",state="up"}"#, 1.0)]);
    let page = metrics(&node);
    assert!(sample(&page, shared).unwrap() >= before, "{page}");
}

#[test]
fn ended_connections_are_counted_to_the_byte() {
    let (node, peer) = pair();
    let _netmon = node.start(Daemon::Netmon);
    let server = node.host.run(|| UdpSocket::bind("10.9.0.1:5300").unwrap());
    let client = peer.run(|| UdpSocket::bind("10.9.0.2:5301").unwrap());
    client.connect("10.9.0.1:5300").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut buffer = [0; 1000];
    for _ in 0..5 {
        client.send(&[1; 100]).unwrap();
        let (n, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(n, 100);
        server.send_to(&[2; 1000], from).unwrap();
    }
    assert!(peer.pings("fd09::1"));
    assert!(sample(&metrics(&node), "mainstay_conntrack_entries ").unwrap() >= 2.0);
    node.host.output("conntrack", &["-F"]).unwrap();
    let udp = r#"family="ipv4",protocol="udp""#;
    reach(
        &node,
        &[
            (&format!("mainstay_flows_total{{{udp}}}"), 1.0),
            // The payload, 8 bytes of UDP and 20 of IPv4.
            (&format!(r#"mainstay_flow_bytes_total{{{udp},direction="original"}}"#), 5.0 * 128.0),
            (&format!(r#"mainstay_flow_bytes_total{{{udp},direction="reply"}}"#), 5.0 * 1028.0),
            (&format!(r#"mainstay_flow_packets_total{{{udp},direction="reply"}}"#), 5.0),
            (r#"mainstay_flows_total{family="ipv6",protocol="icmpv6"}"#, 1.0),
        ],
    );
    let status = status(&node);
    assert!(status.flows_total >= 2 && status.flow_bytes_total >= 5780, "{status:?}");
    assert_eq!(status.warnings, Vec::<String>::new());
}

#[test]
fn of_a_burst_of_ended_connections_none_is_lost() {
    const FLOWS: u16 = 20_000;
    let (node, peer) = pair();
    let _netmon = node.start(Daemon::Netmon);
    let client = peer.run(|| UdpSocket::bind("10.9.0.2:0").unwrap());
    for port in 1..=FLOWS {
        // An ICMP error of an earlier one is reported here and means nothing.
        if client.send_to(&[0; 10], ("10.9.0.1", port)).is_err() {
            client.send_to(&[0; 10], ("10.9.0.1", port)).unwrap();
        }
    }
    let tracked = sample(&metrics(&node), "mainstay_conntrack_entries ").unwrap();
    assert!(tracked >= f64::from(FLOWS), "{tracked}");
    node.host.output("conntrack", &["-F"]).unwrap();
    reach(
        &node,
        &[
            (r#"mainstay_flows_total{family="ipv4",protocol="udp"}"#, f64::from(FLOWS)),
            ("mainstay_flow_events_reliable", 1.0),
        ],
    );
}

#[test]
fn prometheus_accepts_the_page() {
    let (node, _peer) = pair();
    let _netmon = node.start(Daemon::Netmon);
    let page = metrics(&node);
    let mut promtool = std::process::Command::new(tool("promtool", "prometheus"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let out = promtool.wait_with_output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    for (path, has) in [("/healthz", "ok"), ("/", "href=\"/metrics\"")] {
        assert!(http_get(&node.host, LISTEN, path).unwrap().contains(has));
    }
    assert!(http_get(&node.host, LISTEN, "/nothing").unwrap_err().contains("404"));
}

#[test]
fn a_daemon_that_hangs_costs_a_scrape_half_a_second_and_its_own_series() {
    let host = Netns::new("node");
    let node = Node::new("n1", host, &config("bgp", LISTEN));
    std::fs::create_dir_all(node.run_dir()).unwrap();
    let _hangs = std::os::unix::net::UnixListener::bind(node.run_dir().join("bgpd.sock")).unwrap();
    let _netmon = node.start(Daemon::Netmon);
    let begun = Instant::now();
    let page = metrics(&node);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    for (source, up) in [("bgp", 0.0), ("ipam", 0.0), ("routes", 1.0), ("links", 1.0)] {
        let series = format!(r#"mainstay_netmon_source_up{{source="{source}"}}"#);
        assert_eq!(sample(&page, &series), Some(up), "{page}");
    }
    let status = status(&node);
    let error = |name: &str| status.sources.iter().find(|s| s.name == name).unwrap().error.clone();
    assert!(error("bgp").contains("no reply within 450 ms"), "{status:?}");
    assert!(error("ipam").contains("No such file or directory"), "{status:?}");
    assert_eq!(error("routes"), "");
}

#[test]
fn without_a_network_nothing_is_missed() {
    let node = Node::new("n1", Netns::new("bare"), &config("none", LISTEN));
    let _netmon = node.start(Daemon::Netmon);
    let page = metrics(&node);
    assert!(!page.contains(r#"source="bgp""#) && !page.contains(r#"source="ipam""#), "{page}");
    assert!(page.contains("mainstay_fib_routes{"), "{page}");
    let warnings = status(&node).warnings;
    assert!(warnings.iter().any(|w| w.contains("ct state")), "{warnings:?}");
}

#[test]
fn a_second_netmon_refuses_to_start_and_says_why() {
    let node = Node::new("n1", Netns::new("node"), &config("none", LISTEN));
    let first = node.start(Daemon::Netmon);
    let said = node.start_failing(Daemon::Netmon);
    assert!(said.contains(&format!("pid {}", first.pid())), "{said}");
    // In a directory of its own it still meets the first one on the port.
    let host = Netns::existing(&node.host.path());
    let other = Node::new("n1", host, &config("none", LISTEN));
    let said = other.start_failing(Daemon::Netmon);
    assert!(said.contains("netmon.listen: 127.0.0.1:9474 is in use"), "{said}");
    metrics(&node);
}

#[test]
fn a_reload_moves_the_page_and_a_bad_file_changes_nothing() {
    let node = Node::new("n1", Netns::new("node"), &config("none", LISTEN));
    let netmon = node.start(Daemon::Netmon);
    node.configure(&config("bgp", "127.0.0.1:9999"));
    let reply =
        grpc(&node, async |mut c| c.reload(pb::ReloadRequest {}).await.unwrap().into_inner());
    let changes = ["netmon.listen: 127.0.0.1:9474 -> 127.0.0.1:9999", "network.mode: none -> bgp"];
    assert_eq!(reply.changes, changes);
    let page = node.metrics("127.0.0.1:9999").unwrap();
    assert!(page.contains(r#"mainstay_netmon_source_up{source="bgp"} 0"#), "{page}");
    assert!(node.metrics(LISTEN).is_err());
    assert_eq!(status(&node).listen, "127.0.0.1:9999");

    node.configure("netmon: {listen: nowhere}\n");
    let error = grpc(&node, async |mut c| c.reload(pb::ReloadRequest {}).await.unwrap_err());
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    assert!(error.message().contains("mainstay.yaml:1:"), "{error:?}");
    node.metrics("127.0.0.1:9999").unwrap();

    node.configure(&config("bgp", LISTEN));
    netmon.signal(Signal::HUP);
    eventually(5, "the page is back", || node.metrics(LISTEN));
}

#[test]
fn a_port_that_is_taken_keeps_the_old_one() {
    let node = Node::new("n1", Netns::new("node"), &config("none", LISTEN));
    let _netmon = node.start(Daemon::Netmon);
    let _taken = node.host.run(|| std::net::TcpListener::bind("127.0.0.1:9475").unwrap());
    node.configure(&config("none", "127.0.0.1:9475"));
    let error = grpc(&node, async |mut c| c.reload(pb::ReloadRequest {}).await.unwrap_err());
    assert!(error.message().contains("127.0.0.1:9475 is in use"), "{error:?}");
    metrics(&node);
}

#[test]
fn idle_it_costs_nothing_and_it_stops_when_told() {
    let (node, _peer) = pair();
    let mut netmon: Proc = node.start(Daemon::Netmon);
    metrics(&node);
    let (before, _) = netmon.usage();
    std::thread::sleep(Duration::from_secs(2));
    let (after, resident) = netmon.usage();
    assert!(after - before <= Duration::from_millis(10), "{:?}", after - before);
    assert!(resident < 64 << 20, "{resident} bytes");
    assert!(netmon.terminate().success());
}
