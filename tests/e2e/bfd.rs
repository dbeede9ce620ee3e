//! BFD, done by the keeper for the speaker, against BIRD's and FRR's.

use crate::pair::{BIRD, FRR, NODE, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::{eventually, until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const THEIRS: &str = "198.51.100.0/24";
const OURS: &str = "198.18.7.0/24";
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

/// BIRD stands still: its kernel goes on acknowledging what we send. What our session is when it is
/// dropped, long before the hold time.
fn a_dead_bird(keys: &str) -> (Pair, serde_json::Value, (Bird, [Proc; 2])) {
    let (pair, mut bird, daemons) = with_bird(keys);
    bird.proc().signal(Signal::STOP);
    let tor = eventually(30, "the session is dropped", || {
        let tor = pair.tor()?;
        if tor["state"] == "Established" { Err(tor.to_string()) } else { Ok(tor) }
    });
    (pair, tor, (bird, daemons))
}

#[test]
fn a_peer_that_bfd_finds_dead_is_dropped_at_once_with_its_routes() {
    let keys = "import: all, bfd: true, graceful_restart: {enabled: false}";
    let (pair, tor, _kept) = a_dead_bird(keys);
    assert_eq!(tor["last_error"], "BFD down: control detection time expired", "{tor}");
    until(10, "its routes are gone", || !pair.kernel().contains(THEIRS));
}

#[test]
fn a_peer_that_may_be_restarting_keeps_its_routes_for_a_while() {
    // BIRD's BFD is part of BIRD and says so by its C bit; graceful restart has its turn.
    let (pair, tor, _kept) = a_dead_bird("import: all, bfd: true");
    assert_eq!(tor["bfd"]["remote_c_bit"], false, "{tor}");
    std::thread::sleep(Duration::from_secs(1));
    assert!(pair.kernel().contains(THEIRS), "{}", pair.kernel());
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
    let passed = start.elapsed().as_secs();
    assert!(up() && uptime() + 1 >= before + passed, "FRR's BFD blinked");
    assert_eq!(dropped(), drops, "FRR's BGP session");
    assert_eq!(bfd(&pair)["up_count"], ups, "{}", bfd(&pair));
}

const HEEDS_THE_C_BIT: &str = " neighbor 192.0.2.2 bfd check-control-plane-failure\n";

/// FRR as a helper, its BFD with or without that option, and all of us.
fn with_frr(option: &str) -> (Pair, Frr, [Proc; 2]) {
    let pair = Pair::with_peer("import: all, bfd: {min_tx: 100ms, min_rx: 100ms}");
    let keeper = pair.node.start(Daemon::Keeper);
    let config = FRR.replace(
        " neighbor 192.0.2.2 timers connect 1\n",
        &format!(" neighbor 192.0.2.2 timers connect 1\n neighbor 192.0.2.2 bfd\n{option}"),
    );
    let frr = Frr::start_with_bfd(&pair.peer, &config, "");
    let bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(20, "BFD is up here", || bfd(&pair)["state"] == "Up");
    until(20, "and at FRR", || up_at(&frr));
    until(20, "FRR has what we originate", || frr.has_route(OURS));
    (pair, frr, [keeper, bgpd])
}

fn up_at(frr: &Frr) -> bool {
    frr.bfd(NODE).is_ok_and(|p| p["status"] == "up")
}

#[test]
fn frr_that_heeds_the_c_bit_sees_nothing_of_a_speaker_that_is_killed() {
    let (pair, frr, [_keeper, mut bgpd]) = with_frr(HEEDS_THE_C_BIT);
    assert_eq!(bfd(&pair)["remote_c_bit"], true, "{}", bfd(&pair));
    let (since, ups) = (frr.since(NODE), bfd(&pair)["up_count"].clone());
    bgpd.kill();
    std::thread::sleep(Duration::from_secs(2));
    assert!(up_at(&frr), "the keeper's BFD");
    assert!(frr.has_route(OURS));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(20);
    assert_eq!(frr.since(NODE), since, "FRR's BGP session");
    assert_eq!(bfd(&pair)["up_count"], ups, "{}", bfd(&pair));
}

/// Nobody is left to hold anything: FRR's graceful restart has begun when its BFD notices.
fn keeps_our_routes_when_speaker_and_keeper_are_killed(option: &str) {
    let (pair, frr, [mut keeper, mut bgpd]) = with_frr(option);
    bgpd.kill();
    keeper.kill();
    until(20, "FRR's BFD is down", || !up_at(&frr));
    std::thread::sleep(Duration::from_secs(1));
    assert!(frr.has_route(OURS), "kept for our restart time");
    let _keeper = pair.node.start(Daemon::Keeper);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 30);
    until(30, "BFD is up again", || up_at(&frr));
    assert!(frr.has_route(OURS));
}

#[test]
fn frr_that_heeds_the_c_bit_keeps_our_routes_when_speaker_and_keeper_are_killed() {
    keeps_our_routes_when_speaker_and_keeper_are_killed(HEEDS_THE_C_BIT);
}

#[test]
fn so_does_frr_as_peer_config_has_it() {
    keeps_our_routes_when_speaker_and_keeper_are_killed("");
}

#[test]
fn a_node_that_hangs_as_a_whole_is_dropped_by_frr_long_before_the_hold_time() {
    let (_pair, frr, [keeper, bgpd]) = with_frr("");
    bgpd.signal(Signal::STOP);
    keeper.signal(Signal::STOP);
    // BFD of ours that is gone means a dead node, as our C bit says; the hold time is 90 s.
    until(30, "our routes are gone", || !frr.has_route(OURS));
}

#[test]
fn a_node_that_leaves_tells_the_peers_bfd_that_it_is_meant() {
    let (pair, frr, [_keeper, mut bgpd]) = with_frr("");
    let out = pair.node.cli(&["leave", "--wait", "0s"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(bgpd.wait(Duration::from_secs(10)).success());
    eventually(10, "FRR's BFD hears AdminDown", || {
        let seen = frr.bfd(NODE)?;
        let said = &seen["remote-diagnostic"];
        let meant = seen["status"] == "down" && said == "administratively down";
        if meant { Ok(()) } else { Err(seen.to_string()) }
    });
    until(10, "and FRR has let our routes go", || !frr.has_route(OURS));
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
