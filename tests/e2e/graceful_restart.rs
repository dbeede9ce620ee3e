//! Restarts of either side, watched by the kernel and by the peer (RFC 4724).

use crate::pair::{BIRD, FRR, NODE, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::wait::until;
use std::time::Duration;

/// Route events of the prefixes that the test is about.
fn events(monitor: &RouteMonitor, prefixes: &[&str]) -> Vec<String> {
    prefixes.iter().flat_map(|p| monitor.of(p)).collect()
}

const THEIRS: [&str; 3] = ["198.51.100.0/24", "2001:db8:51::/48", "default"];
const OURS: [&str; 2] = ["198.18.7.0/24", "2001:db8:7::/48"];

/// Stops bgpd by `stop`, starts it again after a moment, and says which routes moved on either side.
fn restart_against_bird(stop: impl Fn(&mut mainstay_tests::proc::Proc)) {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "routes stand on both sides", || {
        bird.has_route(OURS[0])
            && bird.has_route(OURS[1])
            && THEIRS.iter().all(|r| pair.kernel().contains(r))
    });
    // What the switch forwards is what its kernel has.
    until(10, "BIRD's kernel has ours", || {
        pair.peer.ip("route show").contains(OURS[0])
            && pair.peer.ip("-6 route show").contains(OURS[1])
    });
    let (here, there) = (RouteMonitor::start(&pair.node.host), RouteMonitor::start(&pair.peer));
    stop(&mut bgpd);
    std::thread::sleep(Duration::from_millis(700));
    assert!(bird.has_route(OURS[0]), "BIRD dropped our route while we were away");
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(20);
    // Past both End-of-RIB markers and every sweep that follows them.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(events(&here, &THEIRS), Vec::<String>::new(), "the node's kernel saw the restart");
    assert_eq!(events(&there, &OURS), Vec::<String>::new(), "the switch's kernel saw the restart");
    assert!(THEIRS.iter().all(|r| pair.kernel().contains(r)));
    let gr = pair.tor().unwrap()["graceful_restart"].clone();
    assert_eq!(gr["negotiated"], true, "{gr}");
}

#[test]
fn bird_and_both_kernels_see_nothing_of_a_sigkill() {
    restart_against_bird(mainstay_tests::proc::Proc::kill);
}

#[test]
fn bird_and_both_kernels_see_nothing_of_a_sigterm() {
    restart_against_bird(|bgpd| assert!(bgpd.terminate().success()));
}

#[test]
fn frr_keeps_our_routes_over_a_sigkill() {
    let pair = Pair::with_peer("import: all");
    let frr = Frr::start(&pair.peer, FRR);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    let kernel_of_peer = || pair.peer.ip("route show") + &pair.peer.ip("-6 route show");
    until(15, "routes stand on both sides", || {
        OURS.iter().all(|r| kernel_of_peer().contains(r))
            && THEIRS.iter().all(|r| pair.kernel().contains(r))
    });
    let (here, there) = (RouteMonitor::start(&pair.node.host), RouteMonitor::start(&pair.peer));
    bgpd.kill();
    std::thread::sleep(Duration::from_millis(700));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(events(&here, &THEIRS), Vec::<String>::new(), "the node's kernel saw the restart");
    let lost: Vec<_> =
        events(&there, &OURS).into_iter().filter(|e| e.starts_with("Deleted")).collect();
    assert_eq!(lost, Vec::<String>::new(), "the switch's kernel lost our routes");
}

#[test]
fn a_route_that_vanished_while_we_were_away_is_swept_after_the_end_of_rib() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "routes stand", || THEIRS.iter().all(|r| pair.kernel().contains(r)));
    bgpd.kill();
    bird.ask("disable static1").unwrap();
    assert!(pair.kernel().contains(THEIRS[0]), "the kernel keeps routes while nobody runs");
    let _bgpd = pair.node.start(Daemon::Bgpd);
    until(15, "the route that is no more is swept", || !pair.kernel().contains(THEIRS[0]));
    assert!(pair.kernel().contains(THEIRS[1]), "the other stays");
}

#[test]
fn bird_restarts_and_our_kernel_keeps_its_routes() {
    let pair = Pair::with_peer("import: all");
    let text = BIRD.replace(
        "connect delay time 1;",
        "connect delay time 1;\n  graceful restart on;\n  graceful restart time 60;",
    );
    let mut bird = Bird::start(&pair.peer, &text);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "routes stand", || THEIRS.iter().all(|r| pair.kernel().contains(r)));
    let here = RouteMonitor::start(&pair.node.host);
    bird.proc().kill();
    until(10, "we hold its routes as stale", || {
        pair.tor().is_ok_and(|tor| tor["graceful_restart"]["peer_restarting"] == true)
    });
    drop(bird);
    let bird = Bird::restart(&pair.peer, &text);
    bird.established("peer", 20);
    until(10, "nothing is stale any more", || {
        pair.tor().is_ok_and(|tor| tor["graceful_restart"]["peer_restarting"] == false)
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(events(&here, &THEIRS), Vec::<String>::new());
    assert!(THEIRS.iter().all(|r| pair.kernel().contains(r)));
}

#[test]
fn a_peer_that_does_not_come_back_is_forgotten_when_its_restart_time_is_over() {
    let pair = Pair::with_peer("import: all");
    let text = BIRD.replace(
        "connect delay time 1;",
        "connect delay time 1;\n  graceful restart on;\n  graceful restart time 3;",
    );
    let mut bird = Bird::start(&pair.peer, &text);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "routes stand", || THEIRS.iter().all(|r| pair.kernel().contains(r)));
    bird.proc().kill();
    std::thread::sleep(Duration::from_secs(1));
    assert!(THEIRS.iter().all(|r| pair.kernel().contains(r)), "{}", pair.kernel());
    until(10, "its routes are gone", || pair.kernel().is_empty());
}

#[test]
fn without_graceful_restart_a_lost_peer_is_lost_at_once() {
    let pair = Pair::with_peer("import: all, graceful_restart: {enabled: false}");
    let mut bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "routes stand", || THEIRS.iter().all(|r| pair.kernel().contains(r)));
    bird.proc().kill();
    until(5, "its routes are gone", || pair.kernel().is_empty());
}

/// Our session with an FRR whose administrative resets are hard ones or not, reset by it.
fn reset_by_frr(hard: &str) -> Vec<String> {
    let pair = Pair::with_peer("import: all");
    let more = format!(
        " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n {hard}bgp hard-administrative-reset\n"
    );
    let text = FRR.replace(" no bgp ebgp", &format!("{more} no bgp ebgp"));
    let frr = Frr::start(&pair.peer, &text);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(15, "routes stand", || THEIRS.iter().all(|r| pair.kernel().contains(r)));
    let gr = pair.tor().unwrap()["graceful_restart"].clone();
    assert_eq!(
        (&gr["notification"], &gr["peer_notification"]),
        (&true.into(), &true.into()),
        "{gr}"
    );
    let here = RouteMonitor::start(&pair.node.host);
    frr.ask(&format!("clear bgp ipv4 unicast {NODE}")).unwrap();
    until(10, "the session has ended", || {
        pair.tor().is_ok_and(|tor| tor["established_count"] == 2 || tor["state"] != "Established")
    });
    frr.established(NODE, 20);
    until(10, "all is told again", || {
        pair.tor().is_ok_and(|tor| {
            tor["graceful_restart"]["peer_restarting"] == false
                && tor["families"]
                    .as_array()
                    .is_some_and(|f| f.iter().all(|f| f["eor_received"] == true))
        })
    });
    events(&here, &THEIRS)
}

#[test]
fn a_reset_by_frr_moves_no_route_because_both_have_the_n_bit() {
    assert_eq!(reset_by_frr("no "), Vec::<String>::new());
}

#[test]
fn a_hard_reset_by_frr_is_obeyed() {
    let events = reset_by_frr("");
    assert!(events.iter().any(|e| e.starts_with("Deleted")), "{events:?}");
}

#[test]
fn frr_drops_our_routes_at_once_when_we_no_longer_have_it_as_a_peer() {
    let pair = Pair::with_peer("import: all");
    let text = FRR.replace(" no bgp ebgp", " bgp graceful-restart\n no bgp ebgp");
    let frr = Frr::start(&pair.peer, &text);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(15, "FRR has ours", || frr.has_route(OURS[0]));
    pair.node.configure(&crate::pair::config("  originate: [198.18.7.0/24]\n"));
    pair.node.json(&["reload"]).unwrap();
    until(5, "a hard reset was understood", || !frr.has_route(OURS[0]));
}
