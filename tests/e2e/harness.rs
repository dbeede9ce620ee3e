//! The harness itself, on peers alone: what it says of a network must be true before anything of
//! ours is measured with it.

use mainstay_tests::bird::Bird;
use mainstay_tests::client::tcp_echo;
use mainstay_tests::frr::Frr;
use mainstay_tests::gobgp::GoBgp;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::stream::Stream;
use mainstay_tests::wait::until;
use std::time::Duration;

/// Two hosts on one segment, .1 and .2.
fn pair() -> (Netns, Netns) {
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    veth((&a, "eth0"), (&b, "eth0"));
    a.ip("addr add 192.0.2.1/24 dev eth0");
    b.ip("addr add 192.0.2.2/24 dev eth0");
    (a, b)
}

const BIRD: &str = "router id 192.0.2.1;
protocol device {}
protocol kernel { ipv4 { export all; }; }
protocol static { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp peer {
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.2 as 65002;
  connect delay time 1; error wait time 1, 2;
  ipv4 { import all; export all; };
}
";

#[test]
fn bird_and_frr_exchange_routes() {
    let (a, b) = pair();
    let bird = Bird::start(&a, BIRD);
    let frr = Frr::start(
        &b,
        "router bgp 65002
 no bgp ebgp-requires-policy
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 203.0.113.0/24
 exit-address-family
ip route 203.0.113.0/24 blackhole
no bgp network import-check
",
    );
    bird.established("peer", 20);
    frr.established("192.0.2.1", 20);
    until(10, "FRR has BIRD's route", || frr.has_route("198.51.100.0/24"));
    assert!(!frr.has_route("198.51.101.0/24"));
}

#[test]
fn bird_and_gobgp_exchange_routes() {
    let (a, b) = pair();
    let bird = Bird::start(&a, BIRD);
    let gobgp = GoBgp::start(
        &b,
        "[global.config]
  as = 65002
  router-id = \"192.0.2.2\"
[[neighbors]]
  [neighbors.config]
    neighbor-address = \"192.0.2.1\"
    peer-as = 65001
  [neighbors.timers.config]
    connect-retry = 1
",
    );
    gobgp.ask("global rib add 203.0.113.0/24").unwrap();
    bird.established("peer", 20);
    gobgp.established("192.0.2.1", 20);
    until(10, "each has the other's route", || {
        bird.has_route("203.0.113.0/24") && gobgp.has_route("198.51.100.0/24")
    });
}

#[test]
fn a_stream_counts_what_a_cut_cable_swallows() {
    let (a, b) = pair();
    tcp_echo(&a, &b, "192.0.2.2:7000".parse().unwrap()).unwrap();
    let monitor = RouteMonitor::start(&a);
    let stream = Stream::start(&a, &b, "192.0.2.2:9".parse().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    a.ip("link set eth0 down");
    std::thread::sleep(Duration::from_millis(300));
    a.ip("link set eth0 up");
    until(10, "the way is open again", || a.pings("192.0.2.2"));
    std::thread::sleep(Duration::from_millis(300));
    let loss = stream.stop();
    assert!(loss.received > 100 && loss.lost() > 100, "{loss}");
    assert!(loss.longest_gap >= Duration::from_millis(250), "{loss}");
    assert!(!monitor.of("192.0.2.0/24").is_empty(), "{:?}", monitor.events());
}

#[test]
fn hosts_and_processes_are_gone_after_a_panic() {
    let name = std::thread::spawn(|| {
        let (a, _b) = pair();
        let name = a.name().to_owned();
        let mut bird = Bird::start(&a, BIRD);
        let pid = bird.proc().pid();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _bird = bird;
            let _a = a;
            panic!("as a failing test does");
        }));
        assert!(outcome.is_err());
        (name, pid)
    });
    let (name, pid) = name.join().unwrap();
    assert!(!std::path::Path::new("/run/netns").join(name).exists());
    assert!(!std::path::Path::new("/proc").join(pid.to_string()).exists());
}
