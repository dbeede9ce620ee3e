//! Everything that `make demo` shows: three nodes, a switch, a client, pods.

use mainstay_tests::client::tcp_echo;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::lab::{CLIENT_V4, CLIENT_V6, Lab, Names, cluster_config};
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::pods::Pods;
use mainstay_tests::stream::Stream;
use mainstay_tests::wait::until;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[test]
fn pods_reach_each_other_and_keep_their_addresses_and_a_killed_speaker_loses_no_packet() {
    let lab = Lab::new(&cluster_config(), Names::default());
    let bird = lab.start_bird();
    let mut daemons = lab.start_daemons();
    for node in ["node_a", "node_b", "node_c"] {
        bird.established(node, 30);
    }
    let runtimes: Vec<_> = lab.nodes.iter().map(|n| Pods::new(n, Names::default())).collect();
    let a = runtimes[0].create("a").unwrap();
    let b = runtimes[1].create("b").unwrap();
    let c = runtimes[2].create("c").unwrap();
    for (from, to) in [(&a, &b), (&b, &c), (&c, &a)] {
        for address in [Some(to.v4), to.v6].into_iter().flatten() {
            until(20, "pod to pod", || from.host.pings(&address.to_string()));
            tcp_echo(&from.host, &to.host, SocketAddr::new(address, 8080)).unwrap();
        }
    }
    for address in [Some(a.v4), a.v6].into_iter().flatten() {
        tcp_echo(&lab.client, &a.host, SocketAddr::new(address, 8080)).unwrap();
    }
    assert!(b.host.pings(CLIENT_V4) && b.host.pings(CLIENT_V6));

    let old = b.v4;
    runtimes[1].delete(b).unwrap();
    let other = runtimes[1].create("other").unwrap();
    assert_ne!(other.v4, old);
    let b = runtimes[1].create("b").unwrap();
    assert_eq!(b.v4, old);

    let client: IpAddr = CLIENT_V4.parse().unwrap();
    let (here, there) = (RouteMonitor::start(&lab.nodes[0].host), RouteMonitor::start(&lab.tor));
    let out = Stream::start(&a.host, &lab.client, SocketAddr::new(client, 9001));
    let back = Stream::start(&lab.client, &a.host, SocketAddr::new(a.v4, 9002));
    daemons[0].bgpd.kill();
    std::thread::sleep(Duration::from_millis(500));
    daemons[0].bgpd = lab.nodes[0].start(Daemon::Bgpd);
    bird.established("node_a", 20);
    std::thread::sleep(Duration::from_secs(3));
    let (out, back) = (out.stop(), back.stop());
    assert_eq!((out.lost(), back.lost()), (0, 0), "out: {out}; back: {back}");
    assert_eq!(here.events(), Vec::<String>::new(), "the node's kernel saw the restart");
    let blocks: Vec<_> = there
        .events()
        .into_iter()
        .filter(|e| e.contains("10.244.") || e.contains("fd00:"))
        .collect();
    assert_eq!(blocks, Vec::<String>::new(), "the switch's kernel saw the restart");
}
