//! Route refresh with end markers (RFC 7313), asked for by either side.

use crate::pair::{BIRD, FRR, NODE, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::wait::until;
use std::time::Duration;

fn refreshes(pair: &Pair) -> (u64, u64) {
    let tor = pair.tor().unwrap();
    let count = |way: &str| tor[way]["route_refresh"].as_u64().unwrap();
    (count("received"), count("sent"))
}

#[test]
fn bird_asks_and_is_told_everything_between_the_marks() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "BIRD has ours", || bird.has_route("198.18.7.0/24"));
    assert_eq!(pair.tor().unwrap()["enhanced_refresh"], true);
    let there = RouteMonitor::start(&pair.peer);
    bird.ask("reload in peer").unwrap();
    // One request of each family; for each a BoRR and an EoRR.
    until(10, "the marks are sent", || refreshes(&pair) == (2, 4));
    std::thread::sleep(Duration::from_millis(500));
    assert!(bird.has_route("198.18.7.0/24") && bird.has_route("2001:db8:7::/48"));
    assert_eq!(there.of("198.18.7.0/24"), Vec::<String>::new());
}

#[test]
fn bird_tells_everything_again_unasked_and_no_route_moves() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let theirs = ["198.51.100.0/24", "2001:db8:51::/48", "default"];
    until(10, "the routes stand", || theirs.iter().all(|r| pair.kernel().contains(r)));
    let here = RouteMonitor::start(&pair.node.host);
    bird.ask("reload out peer").unwrap();
    until(10, "BoRR and EoRR of both families have come", || refreshes(&pair).0 >= 4);
    std::thread::sleep(Duration::from_millis(500));
    let events: Vec<_> = theirs.iter().flat_map(|r| here.of(r)).collect();
    assert_eq!(events, Vec::<String>::new());
    let tor = pair.tor().unwrap();
    assert!(tor["families"].as_array().unwrap().iter().all(|f| f["stale"] == 0), "{tor}");
    assert_eq!(tor["established_count"], 1);
}

#[test]
fn frr_marks_its_refreshes_too() {
    let pair = Pair::with_peer("import: all");
    let frr = Frr::start(&pair.peer, FRR);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(10, "FRR has our route", || frr.has_route("198.18.7.0/24"));
    assert_eq!(pair.tor().unwrap()["enhanced_refresh"], true);
    frr.ask(&format!("clear bgp ipv4 unicast {NODE} in")).unwrap();
    until(10, "one request is answered between two marks", || refreshes(&pair) == (1, 2));
    assert!(frr.has_route("198.18.7.0/24"));
}
