//! BFD, done by the keeper for the speaker, against BIRD's and FRR's.

use crate::pair::{BIRD, FRR, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::{eventually, until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const THEIRS: &str = "198.51.100.0/24";
const BIRD_BFD: &str = "protocol bfd { interface \"eth0\" { interval 300 ms; multiplier 3; };
  neighbor 192.0.2.2 dev \"eth0\" local 192.0.2.1; }";
const FRR_BFD: &str = "bfd
 peer 192.0.2.2 interface eth0
 !
";

fn bfd(pair: &Pair) -> serde_json::Value {
    pair.tor().unwrap()["bfd"].clone()
}

/// Keeper, speaker and BIRD, with BFD up and BIRD's route in our kernel.
fn with_bird(keys: &str) -> (Pair, Bird, [Proc; 2]) {
    let pair = Pair::with_peer(keys);
    let keeper = pair.node.start(Daemon::Keeper);
    let graceful = BIRD.replace("connect delay", "graceful restart on; connect delay");
    let bird = Bird::start(&pair.peer, &format!("{graceful}{BIRD_BFD}\n"));
    let bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    eventually(10, "BFD is up", || {
        let tor = pair.tor()?;
        if tor["bfd"]["state"] == "Up" { Ok(()) } else { Err(tor.to_string()) }
    });
    until(10, "its route is in our kernel", || pair.kernel().contains(THEIRS));
    (pair, bird, [keeper, bgpd])
}

/// BIRD stands still: its kernel goes on acknowledging what we send. What our session is a second
/// and a half later, and what our kernel has.
fn a_dead_bird(keys: &str) -> (serde_json::Value, String) {
    let (pair, mut bird, _daemons) = with_bird(keys);
    bird.proc().signal(Signal::STOP);
    let since = Instant::now();
    until(5, "the session is dropped", || pair.tor().unwrap()["state"] != "Established");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let (tor, kernel) = (pair.tor().unwrap(), pair.kernel());
    bird.proc().signal(Signal::CONT);
    (tor, kernel)
}

#[test]
fn a_peer_that_bfd_finds_dead_is_dropped_at_once_with_its_routes() {
    let (tor, kernel) = a_dead_bird("import: all, bfd: true, graceful_restart: {enabled: false}");
    assert_eq!(tor["last_error"], "BFD down: control detection time expired", "{tor}");
    assert!(!kernel.contains(THEIRS), "{kernel}");
}

#[test]
fn a_peer_that_may_be_restarting_keeps_its_routes_for_a_while() {
    // BIRD's BFD is part of BIRD and says so by its C bit; graceful restart has its turn.
    let (tor, kernel) = a_dead_bird("import: all, bfd: true");
    assert!(!tor["bfd"]["remote_c_bit"].as_bool().unwrap_or(false), "{tor}");
    assert!(kernel.contains(THEIRS), "{kernel}");
}

#[test]
fn frrs_bfd_and_bgp_see_nothing_of_a_speaker_that_is_killed() {
    let pair = Pair::with_peer("import: all, bfd: {min_tx: 100ms, min_rx: 100ms}");
    let _keeper = pair.node.start(Daemon::Keeper);
    let config = FRR.replace(
        " neighbor 192.0.2.2 timers connect 1\n",
        " neighbor 192.0.2.2 timers connect 1\n neighbor 192.0.2.2 bfd\n",
    );
    let frr = Frr::start_with_bfd(&pair.peer, &config, FRR_BFD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    frr.established("192.0.2.2", 20);
    until(10, "BFD is up here", || bfd(&pair)["state"] == "Up");
    let up = || frr.bfd("192.0.2.2").is_ok_and(|p| p["status"] == "up");
    until(10, "and at FRR", up);
    let uptime = || frr.bfd("192.0.2.2").unwrap()["uptime"].as_u64().unwrap();
    let dropped = || {
        let json = frr.json("show bgp neighbors 192.0.2.2").unwrap();
        json["192.0.2.2"]["connectionsDropped"].as_u64().unwrap()
    };
    let (before, drops, start) = (uptime(), dropped(), Instant::now());
    let ups = bfd(&pair)["up_count"].clone();
    for _ in 0..3 {
        bgpd.kill();
        std::thread::sleep(Duration::from_millis(700));
        bgpd = pair.node.start(Daemon::Bgpd);
        pair.established(10);
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(up() && uptime() + 1 >= before + start.elapsed().as_secs(), "FRR's BFD blinked");
    assert_eq!(dropped(), drops, "FRR's BGP session");
    assert_eq!(bfd(&pair)["up_count"], ups, "{}", bfd(&pair));
}

#[test]
fn bfd_that_is_switched_off_by_a_reload_is_meant_and_harms_no_session() {
    let (pair, bird, _daemons) = with_bird("import: all, bfd: true");
    let since = bird.since("peer");
    pair.node.configure(&crate::pair::config(&crate::pair::tor("import: all")));
    let told = pair.node.json(&["reload"]).unwrap();
    until(5, "BIRD hears of it", || {
        bird.ask("show bfd sessions").is_ok_and(|text| text.contains("Down"))
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(bird.since("peer"), since, "{told}");
    assert!(bfd(&pair).is_null());
}

#[test]
fn without_a_keeper_bfd_is_said_to_do_nothing() {
    let pair = Pair::with_peer("bfd: true");
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let status = pair.node.json(&["status"]).unwrap().to_string();
    assert!(status.contains("bfd of 1 peers or ranges does nothing"), "{status}");
    assert_eq!(bfd(&pair)["state"], "Unwatched");
}

#[test]
fn a_strict_peer_has_no_session_before_bfd_is_up() {
    let pair = Pair::with_peer("import: all, bfd: {strict: true}");
    let _keeper = pair.node.start(Daemon::Keeper);
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    std::thread::sleep(Duration::from_secs(6));
    assert_ne!(pair.tor().unwrap()["state"], "Established");
    drop(bird);
    let bird = Bird::start(&pair.peer, &format!("{BIRD}{BIRD_BFD}\n"));
    bird.established("peer", 20);
}
