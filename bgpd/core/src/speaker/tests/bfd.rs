//! What follows from what BFD finds (RFC 5882).

use super::*;
use crate::event::{InstalledRoute, Path};

fn found(lab: &mut Lab, n: u8, path: Path) {
    let peer = link(n).remote.ip();
    lab.tell(Event::Path { peer, interface: None, path });
}

fn dead(independent: bool) -> Path {
    Path::Down { independent, why: "control detection time expired".into() }
}

/// Up with one route; whether graceful restart is agreed is the peer's offer to say.
fn lab(graceful: bool) -> (Lab, ConnId) {
    let mut config = config(&[(1, 65001)]);
    if !graceful {
        config.peers[0].session.graceful_restart = None;
    }
    let mut lab = Lab::new(config);
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    lab.sent(conn);
    lab.reports();
    (lab, conn)
}

fn closes(lab: &Lab, conn: ConnId) -> bool {
    lab.actions.iter().any(|a| matches!(a, Action::Close { conn: c } if *c == conn))
}

#[test]
fn a_peer_that_is_dead_is_dropped_at_once_with_its_routes() {
    let (mut lab, conn) = lab(false);
    found(&mut lab, 1, dead(false));
    assert!(closes(&lab, conn));
    assert_eq!(lab.sent(conn), ["NOTIFICATION 6/10"]);
    let (cause, stale) = down(&lab.reports()).unwrap();
    assert_eq!((cause.label(), stale), ("bfd_down", 0));
    assert_eq!(cause.text().unwrap(), "BFD down: control detection time expired");
    assert_eq!(lab.speaker.overview().loc_rib[0].1, 0);
}

#[test]
fn with_graceful_restart_and_no_c_bit_it_may_be_a_restart() {
    let (mut lab, conn) = lab(true);
    found(&mut lab, 1, dead(false));
    assert!(closes(&lab, conn));
    assert_eq!(lab.sent(conn), [""; 0], "nothing is said to a peer that restarts");
    assert_eq!(down(&lab.reports()).unwrap().1, 1, "its route is kept as stale");
    assert!(lab.paths("10.1.0.0/16")[0].stale);
}

#[test]
fn with_the_c_bit_the_path_is_dead_and_graceful_restart_has_no_say() {
    let (mut lab, _) = lab(true);
    found(&mut lab, 1, dead(true));
    assert_eq!(down(&lab.reports()).unwrap().1, 0);
    assert_eq!(lab.speaker.overview().loc_rib[0].1, 0);
}

#[test]
fn a_path_that_dies_while_the_peer_restarts_ends_the_restart_only_with_the_c_bit() {
    for (independent, routes) in [(false, 1), (true, 0)] {
        let (mut lab, conn) = lab(true);
        lab.tell(Event::Closed { conn, why: "eof".into() });
        assert_eq!(lab.speaker.overview().loc_rib[0].1, 1);
        found(&mut lab, 1, dead(independent));
        assert_eq!(lab.speaker.overview().loc_rib[0].1, routes, "C bit {independent}");
    }
}

#[test]
fn what_the_kernel_has_kept_over_our_restart_goes_with_a_path_that_is_dead() {
    for with_session in [false, true] {
        let mut lab = Lab::starting(config(&[(1, 65001)]), Start::again(true));
        let hop = NextHop::V4([192, 0, 2, 1].into());
        let kept = InstalledRoute { prefix: prefix("10.1.0.0/16"), next_hops: vec![hop.into()] };
        lab.tell(Event::Adopted(vec![kept]));
        found(&mut lab, 1, Path::Up);
        if with_session {
            let conn = lab.establish(1, 65001);
            lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
        } else {
            found(&mut lab, 1, dead(false));
            found(&mut lab, 1, Path::Up);
        }
        assert_eq!(lab.fib(), [""; 0], "it may be the peer's own restart");
        found(&mut lab, 1, dead(true));
        assert_eq!(lab.fib(), ["10.1.0.0/16 gone"], "with a session: {with_session}");
    }
}

#[test]
fn an_admin_down_or_a_bfd_that_never_came_up_harms_no_session() {
    let (mut lab, conn) = lab(true);
    for path in [Path::Unknown, Path::Up, Path::AdminDown, Path::Up, Path::Unknown] {
        found(&mut lab, 1, path);
        assert!(!closes(&lab, conn));
        assert_eq!(lab.peer(1).state, "Established");
    }
}

#[test]
fn a_strict_peer_gets_a_session_once_bfd_is_up_and_not_before() {
    let mut config = config(&[(1, 65001)]);
    config.peers[0].session.waits_for_bfd = true;
    let mut lab = Lab::new(config);
    let refused = |lab: &mut Lab| {
        let reports = lab.reports();
        reports.iter().any(|r| matches!(r, Report::ConnectionRefused { .. }))
    };
    lab.accept(1);
    assert!(refused(&mut lab));
    found(&mut lab, 1, Path::Up);
    let conn = lab.establish(1, 65001);
    found(&mut lab, 1, Path::Unknown);
    assert!(!closes(&lab, conn), "one that is up stays");
    found(&mut lab, 1, dead(true));
    lab.reports();
    lab.accept(1);
    assert!(refused(&mut lab));
    found(&mut lab, 1, Path::AdminDown);
    lab.accept(1);
    assert!(!refused(&mut lab), "switched off at the peer, it has no say");
}

#[test]
fn a_strict_peer_is_dialled_as_soon_as_bfd_is_up() {
    let mut config = config(&[(1, 65001)]);
    config.peers[0].session.passive = false;
    config.peers[0].session.waits_for_bfd = true;
    let mut lab = Lab::new(config);
    lab.pass(seconds(60));
    assert_eq!(lab.dialled(), None);
    found(&mut lab, 1, Path::Up);
    lab.pass(seconds(0));
    assert!(lab.dialled().is_some());
}
