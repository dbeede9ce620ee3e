//! The daemon beside BIRD 2, each in a host of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures_util::StreamExt;
use mainstay_proto::bgp::v1::bgp_client::BgpClient;
use mainstay_proto::bgp::v1::{
    ListPeersRequest, ListRoutesRequest, Peer, ReloadRequest, Rib, Route, StatusReply,
    StatusRequest,
};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::{eventually, until};
use rustix::process::Signal;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::time::Duration;
use tonic::transport::Channel;

/// A node and a switch on one link.
struct Pair {
    node: Node,
    tor: Netns,
}

fn pair(config: &str) -> Pair {
    let (host, tor) = (Netns::new("node"), Netns::new("tor"));
    veth((&host, "eth0"), (&tor, "eth0"));
    host.ip("addr add 192.0.2.11/24 dev eth0");
    host.ip("addr add 2001:db8::11/64 dev eth0 nodad");
    tor.ip("addr add 192.0.2.1/24 dev eth0");
    tor.ip("addr add 2001:db8::1/64 dev eth0 nodad");
    // The node's blocks, as ipamd marks them.
    host.ip("route add blackhole 10.244.0.0/26 proto 97");
    host.ip("-6 route add blackhole fd00:244::/122 proto 97");
    Pair { node: Node::new("node-a", host, config), tor }
}

const TOR: &str = "{name: tor, address: 192.0.2.1, asn: 65001, import: all}";

fn config(peers: &str) -> String {
    config_with(peers, "")
}

fn config_with(peers: &str, more: &str) -> String {
    format!(
        "nodes: [{{name: node-a, address: 192.0.2.11}}]
network: {{mode: bgp, families: [ipv4, ipv6]}}
bgp:
  asn: 64512
  connect_retry: 1s
  hold_time: 9s
  peers:
    - {peers}
{more}"
    )
}

fn bird(tor: &Netns, options: &str, routes: &str) -> Bird {
    let config = format!(
        "router id 192.0.2.1;
protocol device {{}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route 10.9.0.0/16 blackhole; {routes} }}
protocol static {{ ipv6; route fd00:9::/48 blackhole; }}
protocol bgp node {{
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.11 as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  {options}
  ipv4 {{ import all; export where source = RTS_STATIC; }};
  ipv6 {{ import all; export where source = RTS_STATIC; }};
}}
"
    );
    Bird::start(tor, &config)
}

impl Pair {
    /// Everybody has everybody's routes, in RIB and kernel.
    #[track_caller]
    fn converged(&self, bird: &Bird) {
        bird.established("node", 10);
        for prefix in ["10.244.0.0/26", "fd00:244::/122"] {
            until(10, &format!("BIRD has {prefix}"), || bird.has_route(prefix));
        }
        for (family, words) in [("-4", "10.9.0.0/16 via 192.0.2.1"), ("-6", "fd00:9::/48 via ")] {
            eventually(10, &format!("the node's kernel has {words}"), || {
                let text = self.node.host.ip(&format!("{family} route show proto 96"));
                if text.contains(words) { Ok(()) } else { Err(text) }
            });
        }
    }

    fn client(&self) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = self.node.run_dir().join("bgpd.sock");
        let to = tonic::transport::Endpoint::try_from(format!("unix://{}", socket.display()));
        let channel = runtime.block_on(to.unwrap().connect()).unwrap();
        Client { runtime, grpc: BgpClient::new(channel) }
    }
}

struct Client {
    runtime: tokio::runtime::Runtime,
    grpc: BgpClient<Channel>,
}

impl Client {
    fn status(&mut self) -> StatusReply {
        self.runtime.block_on(self.grpc.status(StatusRequest {})).unwrap().into_inner()
    }

    fn peer(&mut self) -> Peer {
        let reply = self.runtime.block_on(self.grpc.list_peers(ListPeersRequest {}));
        reply.unwrap().into_inner().peers.remove(0)
    }

    fn routes(&mut self, request: ListRoutesRequest) -> Result<Vec<Route>, tonic::Status> {
        self.runtime.block_on(async {
            let stream = self.grpc.list_routes(request).await?.into_inner();
            stream.collect::<Vec<_>>().await.into_iter().collect()
        })
    }

    fn reload(&mut self) -> Result<Vec<String>, tonic::Status> {
        let reply = self.runtime.block_on(self.grpc.reload(ReloadRequest {}))?;
        Ok(reply.into_inner().changes)
    }
}

#[test]
fn routes_of_both_families_travel_both_ways_and_the_api_shows_them() {
    let pair = pair(&config(TOR));
    let bird = bird(&pair.tor, "", "");
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.converged(&bird);
    let mut client = pair.client();
    let status = client.status();
    assert_eq!((status.asn, status.peers_established), (64512, 1));
    assert_eq!(status.originated, ["10.244.0.0/26", "fd00:244::/122"]);
    assert_eq!(status.survival, "graceful-restart");
    assert_eq!(status.listen, ["0.0.0.0:179", "[::]:179"]);
    assert_eq!(status.fib.unwrap().table, 254);
    let peer = client.peer();
    assert_eq!((peer.name.as_str(), peer.state.as_str()), ("tor", "Established"));
    assert_eq!(peer.local_address, "192.0.2.11");
    let routes = client.routes(ListRoutesRequest::default()).unwrap();
    let prefixes: Vec<_> = routes.iter().map(|r| r.prefix.as_str()).collect();
    assert_eq!(prefixes, ["10.9.0.0/16", "10.244.0.0/26", "fd00:9::/48", "fd00:244::/122"]);
    assert_eq!(routes[0].paths[0].as_path, "65001");
    assert_eq!(
        (routes[0].paths[0].next_hop.as_str(), routes[0].paths[0].best),
        ("192.0.2.1", true)
    );
    // A block that ipamd claims or gives back is announced and withdrawn at once.
    pair.node.host.ip("route add blackhole 10.244.0.64/26 proto 97");
    until(3, "BIRD has the new block", || bird.has_route("10.244.0.64/26"));
    pair.node.host.ip("route del blackhole 10.244.0.64/26 proto 97");
    until(3, "BIRD has lost it", || !bird.has_route("10.244.0.64/26"));
}

#[test]
fn neither_sigkill_nor_sigterm_costs_a_route_on_either_side() {
    let pair = pair(&config(TOR));
    let bird = bird(&pair.tor, "", "");
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    pair.converged(&bird);
    let (at_tor, at_node) = (RouteMonitor::start(&pair.tor), RouteMonitor::start(&pair.node.host));
    for end in ["SIGKILL", "SIGTERM"] {
        let since = bird.since("node");
        if end == "SIGKILL" {
            bgpd.kill();
        } else {
            assert!(bgpd.terminate().success());
        }
        std::thread::sleep(Duration::from_millis(1500));
        bgpd = pair.node.start(Daemon::Bgpd);
        until(10, "a new session", || bird.since("node") != since);
        pair.converged(&bird);
        let mut client = pair.client();
        until(10, "the restart is over", || !client.status().restarting);
        let fib = client.status().fib.unwrap();
        assert_eq!((fib.adopted, fib.stale, fib.failed), (2, 0, 0), "{end}");
    }
    assert_eq!(at_tor.events(), [""; 0], "the switch's kernel saw nothing");
    assert_eq!(at_node.events(), [""; 0], "the node's kernel saw nothing");
}

#[test]
fn a_restart_in_another_network_namespace_is_a_first_start() {
    let mut pair = pair(&config(TOR));
    pair.node.start(Daemon::Bgpd).kill();
    let mut again = pair.node.start(Daemon::Bgpd);
    assert!(pair.client().status().restarting);
    again.kill();
    // As the container of a whole node that was started again: the state is kept, the kernel's
    // routes are not.
    pair.node.host = Netns::new("node");
    let _first = pair.node.start(Daemon::Bgpd);
    assert!(!pair.client().status().restarting);
}

#[test]
fn a_session_with_an_md5_key_comes_up_and_one_with_the_wrong_key_does_not() {
    let pair = pair("");
    let key = pair.node.dir.write("tor.key", "rosebud\n").display().to_string();
    let peer = |passive: bool| {
        format!(
            "{{name: tor, address: 192.0.2.1, asn: 65001, import: all, passive: {passive}, \
             password_file: {key}}}"
        )
    };
    // Who dials signs the SYN, who listens demands it: each way once.
    for (passive, options) in
        [(false, "passive; password \"rosebud\";"), (true, "password \"rosebud\";")]
    {
        pair.node.configure(&config(&peer(passive)));
        let bird = bird(&pair.tor, options, "");
        let mut bgpd = pair.node.start(Daemon::Bgpd);
        pair.converged(&bird);
        assert!(bgpd.terminate().success());
    }
    let bird = bird(&pair.tor, "password \"sled\";", "");
    let bgpd = pair.node.start(Daemon::Bgpd);
    std::thread::sleep(Duration::from_secs(2));
    assert!(!bird.ask("show protocols node").unwrap().contains("Established"));
    assert!(bgpd.log().contains("may be read by others"), "{}", bgpd.log());
}

#[test]
fn peers_of_a_range_dial_in() {
    let range = "{name: rack, listen_range: 192.0.2.0/24, asn: 65001, passive: true, import: all}";
    let pair = pair(&config(range));
    let bird = bird(&pair.tor, "", "");
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.converged(&bird);
    let peer = pair.client().peer();
    assert_eq!((peer.name.as_str(), peer.dynamic), ("rack/192.0.2.1", true));
}

#[test]
fn a_reload_applies_the_difference_and_a_bad_file_changes_nothing() {
    let pair = pair(&config(TOR));
    let bird = bird(&pair.tor, "", "");
    let bgpd = pair.node.start(Daemon::Bgpd);
    pair.converged(&bird);
    let since = bird.since("node");
    let mut client = pair.client();
    assert_eq!(client.reload().unwrap(), [""; 0]);

    pair.node
        .configure(&config_with(TOR, "  originate: [198.18.0.0/15]\n  listen: {port: 1790}\n"));
    let changes = client.reload().unwrap();
    assert_eq!(changes[0], "bgp.listen: 0.0.0.0:179, [::]:179 -> 0.0.0.0:1790, [::]:1790");
    assert!(changes[1].contains("198.18.0.0/15"), "{changes:?}");
    assert_eq!(client.status().listen[0], "0.0.0.0:1790");
    until(5, "BIRD has the new prefix", || bird.has_route("198.18.0.0/15"));

    pair.node.configure(&config_with(TOR, "  hold_tim: 3s\n"));
    let refused = client.reload().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("hold_tim"), "{refused}");
    pair.node.configure(&config(&TOR.replace("import", "password_file: /no/such/key, import")));
    let refused = client.reload().unwrap_err();
    assert!(refused.message().contains("/no/such/key"), "{refused}");
    assert_eq!(client.status().listen[0], "0.0.0.0:1790", "the old one is in force");

    pair.node.configure(&config(TOR));
    bgpd.signal(Signal::HUP);
    until(5, "BIRD has lost the prefix", || !bird.has_route("198.18.0.0/15"));
    assert_eq!(bird.since("node"), since, "the session has lived through it all");
}

#[test]
fn listening_moves_between_all_addresses_and_one_of_them_on_the_same_port() {
    let pair = pair(&config(TOR));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let mut client = pair.client();
    pair.node.configure(&config_with(TOR, "  listen: {addresses: [192.0.2.11]}\n"));
    let changes = client.reload().unwrap();
    assert_eq!(changes, ["bgp.listen: 0.0.0.0:179, [::]:179 -> 192.0.2.11:179"]);
    assert_eq!(client.status().listen, ["192.0.2.11:179"]);
    // An address of nobody: the old one is listened on again.
    pair.node.configure(&config_with(TOR, "  listen: {addresses: [192.0.2.99]}\n"));
    let refused = client.reload().unwrap_err();
    assert!(refused.message().contains("192.0.2.99"), "{refused}");
    assert_eq!(client.status().listen, ["192.0.2.11:179"]);
    pair.node.configure(&config(TOR));
    client.reload().unwrap();
    assert_eq!(client.status().listen, ["0.0.0.0:179", "[::]:179"]);
}

/// OPEN of AS 65001 with that identifier, and KEEPALIVE.
fn hello(id: u8) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend([0, 29, 1, 4, 0xfd, 0xe9, 0, 3, 198, 51, 100, id, 0]);
    bytes.extend(KEEPALIVE);
    bytes
}

const KEEPALIVE: [u8; 19] = {
    let mut bytes = [0xff; 19];
    (bytes[16], bytes[17], bytes[18]) = (0, 19, 4);
    bytes
};

#[test]
fn a_daemon_that_was_held_up_hears_every_peer_before_it_takes_one_for_dead() {
    const PEERS: u8 = 120;
    let range = "{name: many, listen_range: 127.0.0.0/8, asn: 65001, passive: true, limit: 200}";
    let pair = pair(&config(range));
    let bgpd = pair.node.start(Daemon::Bgpd);
    let mut streams: Vec<_> = (1..=PEERS)
        .map(|n| {
            pair.node.host.run(move || {
                let socket = rustix::net::socket(
                    rustix::net::AddressFamily::INET,
                    rustix::net::SocketType::STREAM,
                    None,
                )
                .unwrap();
                let local = std::net::SocketAddr::from(([127, 0, 1, n], 0));
                rustix::net::bind(&socket, &local).unwrap();
                let to = std::net::SocketAddr::from(([127, 0, 0, 1], 179));
                rustix::net::connect(&socket, &to).unwrap();
                let mut stream = std::net::TcpStream::from(socket);
                stream.write_all(&hello(n)).unwrap();
                stream
            })
        })
        .collect();
    let mut client = pair.client();
    until(5, "all are up", || client.status().peers_established == u32::from(PEERS));
    bgpd.signal(Signal::STOP);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        streams.iter_mut().for_each(|s| s.write_all(&KEEPALIVE).unwrap());
    }
    bgpd.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(client.status().peers_established, u32::from(PEERS), "{}", bgpd.log());
}

#[test]
fn strangers_that_stay_use_up_no_descriptors() {
    let pair = pair(&config(TOR));
    let bgpd = pair.node.start(Daemon::Bgpd);
    let connect = |_| std::net::TcpStream::connect("127.0.0.1:179").unwrap();
    let strangers: Vec<_> = pair.node.host.run(move || (0..700).map(connect).collect());
    let open = || std::fs::read_dir(format!("/proc/{}/fd", bgpd.pid())).unwrap().count();
    let most = (0..50).map(|_| (open(), std::thread::sleep(Duration::from_millis(10))).0).max();
    assert!(most.unwrap() < 400, "{most:?} descriptors");
    drop(strangers);
}

#[test]
fn long_lists_are_streamed_and_questions_checked() {
    let pair = pair(&config(TOR));
    let routes = (0..10_000).fold(String::new(), |mut text, n| {
        let _ = write!(text, "route 100.64.{}.{}/32 blackhole;", n / 250, n % 250);
        text
    });
    let bird = bird(&pair.tor, "", &routes);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("node", 10);
    let mut client = pair.client();
    until(10, "all are here", || client.status().fib.unwrap().installed == 10_002);
    let ask = |rib: Rib, peer: &str, prefix: &str| ListRoutesRequest {
        rib: rib.into(),
        peer: peer.into(),
        prefix: prefix.into(),
        ..ListRoutesRequest::default()
    };
    let all = client.routes(ask(Rib::AdjIn, "tor", "")).unwrap();
    assert_eq!(all.len(), 10_002);
    let one = client.routes(ask(Rib::Loc, "", "100.64.3.7/32")).unwrap();
    assert_eq!(one.len(), 1);
    let nobody = client.routes(ask(Rib::AdjOut, "nobody", "")).unwrap_err();
    assert_eq!(nobody.message(), "there is no peer \"nobody\"");
    let bad = client.routes(ask(Rib::Loc, "", "10.0.0.0/33")).unwrap_err();
    assert_eq!(bad.code(), tonic::Code::InvalidArgument);
    until(5, "the kernel has them", || {
        pair.node.host.ip("route show proto 96").lines().count() == 10_001
    });
}

#[test]
fn a_daemon_that_cannot_serve_says_why() {
    let pair = pair(&config(TOR));
    let bgpd = pair.node.start(Daemon::Bgpd);
    let log = pair.node.start_failing(Daemon::Bgpd);
    let who = format!("another bgpd is running here (pid {}", bgpd.pid());
    assert!(log.contains(&who), "{log}");
    // One with directories of its own meets the port.
    let other = Netns::new("other");
    let second = Node::new("node-a", other, &config(TOR));
    let taken = second.host.run(|| std::net::TcpListener::bind("0.0.0.0:179")).unwrap();
    let log = second.start_failing(Daemon::Bgpd);
    assert!(log.contains("port 179 of 0.0.0.0 is taken by another program"), "{log}");
    assert!(log.contains("ss -lntp") && log.contains("bgp.listen: false"), "{log}");
    second.configure(&config_with(TOR, "  listen: false\n"));
    drop(second.start(Daemon::Bgpd));
    drop(taken);
    second.configure(&config(&TOR.replace("import", "password_file: /no/such/key, import")));
    let log = second.start_failing(Daemon::Bgpd);
    assert!(log.contains("peer tor: cannot read the key in password_file /no/such/key"), "{log}");
}

#[test]
fn where_no_network_is_wanted_the_daemon_is_not_needed() {
    let node =
        Node::new("node-a", Netns::new("none"), "nodes: [{name: node-a}]\nnetwork: {mode: none}\n");
    let mut bgpd = node.start(Daemon::Bgpd);
    assert!(bgpd.wait(Duration::from_secs(5)).success());
    assert!(bgpd.log().contains("network.mode is none"), "{}", bgpd.log());
}

#[test]
fn a_peer_known_by_its_link_local_address_alone_gets_and_gives_routes() {
    let pair = pair("");
    for host in [&pair.node.host, &pair.tor] {
        host.ip("addr flush dev eth0");
    }
    pair.node.host.ip("addr add fe80::11/64 dev eth0 nodad");
    pair.node.host.ip("addr add 192.0.2.11/32 dev lo");
    pair.tor.ip("addr add fe80::1/64 dev eth0 nodad");
    pair.node.configure(&config(
        "{name: tor, address: 'fe80::1', interface: eth0, asn: 65001, import: all, families: [ipv6]}",
    ));
    let bird = Bird::start(
        &pair.tor,
        "router id 192.0.2.1;
protocol device {}
protocol kernel { ipv6 { export where source = RTS_BGP; }; }
protocol static { ipv6; route fd00:9::/48 blackhole; }
protocol bgp node {
  local fe80::1 as 65001;
  neighbor fe80::11%eth0 as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv6 { import all; export where source = RTS_STATIC; };
}
",
    );
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("node", 10);
    until(10, "BIRD has the block", || bird.has_route("fd00:244::/122"));
    eventually(10, "the route goes through the peer's interface", || {
        let text = pair.node.host.ip("-6 route show proto 96");
        if text.contains("fd00:9::/48 via fe80::1 dev eth0") { Ok(()) } else { Err(text) }
    });
    eventually(5, "and back", || {
        let text = pair.tor.ip("-6 route show proto bird");
        if text.contains("via fe80::11 dev eth0") { Ok(()) } else { Err(text) }
    });
}

#[test]
fn garbage_is_answered_with_the_right_notification_and_strangers_are_let_go() {
    let pair = pair(&config(&TOR.replace("import", "passive: true, import")));
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    let answer = |from: &Netns, to: &'static str, bytes: Vec<u8>| {
        from.run(move || {
            let mut stream = std::net::TcpStream::connect(to).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            let mut answer = Vec::new();
            // What is refused at once may be reset at once.
            let _ =
                stream.write_all(&bytes).and_then(|()| stream.read_to_end(&mut answer).map(drop));
            answer
        })
    };
    // Our OPEN, then NOTIFICATION 1/1, connection not synchronized.
    let got = answer(&pair.tor, "192.0.2.11:179", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    assert_eq!(got[18], 1, "{got:?}");
    assert_eq!(got[got.len() - 3..], [3, 1, 1], "{got:?}");
    // NOTIFICATION 1/2, bad message length, with the length: once the peer is no longer held off.
    let mut long = vec![0xff; 16];
    long.extend([0xff, 0xff, 2]);
    eventually(10, "the second fault is told", || {
        let got = answer(&pair.tor, "192.0.2.11:179", long.clone());
        if got.ends_with(&[3, 1, 2, 0xff, 0xff]) { Ok(()) } else { Err(format!("{got:?}")) }
    });
    // A stranger (the node to itself) learns nothing.
    let got = answer(&pair.node.host, "127.0.0.1:179", vec![0; 4096]);
    assert!(got.len() <= 21, "{got:?}");
    assert!(bgpd.running());
    assert_eq!(pair.client().peer().established_count, 0);
}
