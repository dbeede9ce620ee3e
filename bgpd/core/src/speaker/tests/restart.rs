//! Graceful restart beyond RFC 4724: the N bit (RFC 8538), bounds, long-lived (RFC 9494).

use super::*;
use crate::config::RestartConfig;
use crate::wire::{Community, Notification, cease};

const ROUTE: &str = "10.1.0.0/16";

type Own = fn(&mut RestartConfig);
type Edit = fn(&mut RestartOffer);

/// A peer that says of its restarts what `edit` likes, up, with one route.
fn told(own: impl Fn(&mut RestartConfig), edit: Edit) -> (Lab, ConnId) {
    let mut config = config(&[(1, 65001), (2, 65002), (3, 65003)]);
    for peer in &mut config.peers {
        peer.session.graceful_restart.iter_mut().for_each(&own);
    }
    let mut lab = Lab::new(config);
    let conn = again(&mut lab, edit);
    lab.announce(conn, &[65001], 1, &[ROUTE]);
    lab.receive(conn, |out| wire::end_of_rib(Family::Ipv4Unicast, out));
    lab.fib();
    (lab, conn)
}

/// The peer comes up, once more.
fn again(lab: &mut Lab, edit: Edit) -> ConnId {
    let mut offer = offer(1, 65001);
    offer.restart.iter_mut().for_each(edit);
    let conn = lab.establish_as(1, &offer.message());
    lab.sent(conn);
    conn
}

fn close(lab: &mut Lab, conn: ConnId) {
    lab.tell(Event::Closed { conn, why: "reset".into() });
}

fn notify(lab: &mut Lab, conn: ConnId, notification: &Notification) {
    lab.receive(conn, |out| wire::notification(notification, out));
}

fn with_n_bit(restart: &mut RestartOffer) {
    restart.notification = true;
}

fn long_lived(restart: &mut RestartOffer) {
    restart.long_lived = seconds(1000);
}

fn an_hour(own: &mut RestartConfig) {
    own.long_lived = seconds(3600);
}

fn nothing<T>(_: &mut T) {}

fn stale(lab: &Lab) -> usize {
    lab.peer(1).families[0].stale
}

#[test]
fn a_notification_keeps_routes_where_both_sides_have_the_n_bit() {
    for (edit, kept) in [(with_n_bit as Edit, 1), (nothing, 0)] {
        let (mut lab, conn) = told(nothing, edit);
        assert_eq!(lab.peer(1).graceful_restart.notification, kept == 1);
        notify(&mut lab, conn, &Notification::cease(cease::ADMINISTRATIVE_RESET));
        assert_eq!(stale(&lab), kept);
        let (mut lab, conn) = told(|own| own.notification = false, edit);
        assert!(!lab.peer(1).graceful_restart.notification);
        notify(&mut lab, conn, &Notification::cease(cease::ADMINISTRATIVE_RESET));
        assert_eq!(stale(&lab), 0, "we did not offer it");
    }
}

#[test]
fn an_expired_hold_timer_and_an_error_of_ours_keep_routes_too() {
    for (edit, kept) in [(with_n_bit as Edit, 1), (nothing, 0)] {
        let (mut lab, _) = told(nothing, edit);
        lab.pass(seconds(91));
        assert_eq!(stale(&lab), kept);
        let (mut lab, conn) = told(nothing, edit);
        lab.receive(conn, |out| out.extend([0; 19]));
        assert_eq!(lab.sent(conn), ["NOTIFICATION 1/1"]);
        assert_eq!(stale(&lab), kept);
    }
}

#[test]
fn a_hard_reset_keeps_nothing_and_says_what_it_was_for() {
    let (mut lab, conn) = told(nothing, with_n_bit);
    let shutdown = Notification::shutdown(cease::ADMINISTRATIVE_SHUTDOWN, "back at noon");
    notify(&mut lab, conn, &shutdown.hard());
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    let said = lab.peer(1).last_error.unwrap();
    assert!(
        said.contains("6/9") && said.contains("6/2") && said.contains("back at noon"),
        "{said}"
    );
}

#[test]
fn a_peer_that_is_removed_gets_a_hard_reset_where_a_plain_cease_would_keep_our_routes() {
    for (edit, said) in
        [(with_n_bit as Edit, "NOTIFICATION 6/9: 6/3"), (nothing, "NOTIFICATION 6/3")]
    {
        let (mut lab, conn) = told(nothing, edit);
        lab.tell(Event::Configure(Box::new(config(&[]))));
        assert_eq!(lab.sent(conn), [said]);
        assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    }
}

#[test]
fn with_the_n_bit_routes_outlive_a_second_end_but_not_for_ever() {
    let (mut lab, mut conn) = told(nothing, with_n_bit);
    for _ in 0..8 {
        close(&mut lab, conn);
        assert_eq!(stale(&lab), 1);
        lab.pass(seconds(50));
        conn = again(&mut lab, with_n_bit);
    }
    assert_eq!(lab.fib(), Vec::<String>::new());
    close(&mut lab, conn);
    lab.pass(seconds(81));
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"], "120 s to be back, 360 s to tell, and no more");
}

#[test]
fn the_time_a_peer_asks_for_is_held_within_bounds() {
    for (least, most, gone_after) in [(0, 30, 30), (300, 4095, 300), (0, 4095, 120)] {
        let bounds = move |own: &mut RestartConfig| {
            (own.min_peer_time, own.max_peer_time) = (seconds(least), seconds(most));
        };
        let (mut lab, conn) = told(bounds, nothing);
        close(&mut lab, conn);
        lab.pass(seconds(gone_after - 1));
        assert_eq!(lab.fib(), Vec::<String>::new());
        lab.pass(seconds(2));
        assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    }
}

#[test]
fn a_peer_that_is_back_and_tells_nothing_is_believed_for_the_stale_time() {
    let (mut lab, conn) = told(|own| own.stale_time = seconds(20), nothing);
    close(&mut lab, conn);
    again(&mut lab, nothing);
    lab.pass(seconds(19));
    assert_eq!(lab.fib(), Vec::<String>::new());
    lab.pass(seconds(2));
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
}

#[test]
fn a_restart_that_takes_more_than_half_of_its_time_is_told_of() {
    let slow = Start { elapsed: seconds(50), ..Start::again(true) };
    for (start, warned) in [(slow, true), (Start::again(true), false), (Start::default(), false)] {
        let mut lab = Lab::starting(config(&[(1, 65001)]), start);
        lab.pass(seconds(15));
        lab.establish(1, 65001);
        let warnings = lab.speaker.overview().warnings;
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:?}");
        assert!(warnings.iter().all(|w| w.contains("took 65.0s")), "{warnings:?}");
        let short = |r: &Report| matches!(r, Report::RestartTimeShort { .. });
        assert_eq!(lab.reports().iter().any(short), warned);
    }
}

#[test]
fn after_the_restart_time_a_route_lives_on_as_the_worst_there_is() {
    let (mut lab, conn) = told(an_hour, long_lived);
    close(&mut lab, conn);
    lab.pass(seconds(119));
    assert!(!lab.paths(ROUTE)[0].attributes.is_long_lived_stale());
    lab.pass(seconds(2));
    let path = lab.paths(ROUTE).remove(0);
    assert!(path.best && path.stale && path.attributes.is_long_lived_stale());
    assert_eq!(lab.fib(), Vec::<String>::new(), "packets go on where they went");
    let two = lab.establish(2, 65002);
    lab.announce(two, &[65002, 65009, 65010], 2, &[ROUTE]);
    assert_eq!(lab.fib(), ["10.1.0.0/16 via 192.0.2.2"], "a longer way, but a live one");
    assert_eq!(lab.paths(ROUTE)[1].reason, Some("stale for long"));
}

#[test]
fn long_lived_stale_routes_go_when_their_time_is_over() {
    let (mut lab, conn) = told(|own| own.long_lived = seconds(500), long_lived);
    close(&mut lab, conn);
    lab.pass(seconds(121));
    let view = lab.peer(1).graceful_restart.long_lived[0].clone();
    assert_eq!((view.stale_time, view.granted), (seconds(1000), seconds(500)));
    assert_eq!(view.left, Some(seconds(500)));
    lab.pass(seconds(498));
    assert_eq!(lab.fib(), Vec::<String>::new());
    lab.pass(seconds(3));
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    assert!(!lab.peer(1).graceful_restart.peer_restarting);
}

#[test]
fn without_the_capability_on_both_sides_nothing_lives_long() {
    let cases: [(Own, Edit); 2] = [(nothing, long_lived), (an_hour, nothing)];
    for (own, edit) in cases {
        let (mut lab, conn) = told(own, edit);
        close(&mut lab, conn);
        lab.pass(seconds(121));
        assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    }
}

#[test]
fn a_restart_time_of_zero_makes_routes_live_long_at_once() {
    let (mut lab, conn) = told(an_hour, |restart| {
        long_lived(restart);
        restart.time = seconds(0);
    });
    close(&mut lab, conn);
    lab.pass(seconds(0));
    assert!(lab.paths(ROUTE)[0].attributes.is_long_lived_stale());
}

#[test]
fn routes_that_do_not_want_it_are_not_kept_long() {
    let (mut lab, conn) = told(an_hour, long_lived);
    let mut attrs = attributes(&[65001], 1);
    attrs.communities = vec![Community::NO_LLGR.0];
    lab.receive(conn, |out| {
        wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &[prefix("10.2.0.0/16")], out);
    });
    close(&mut lab, conn);
    lab.pass(seconds(121));
    assert_eq!(lab.fib()[1..], ["10.2.0.0/16 gone"]);
    let kept = |r: &Report| matches!(r, Report::LongLivedStale { kept: 1, refused: 1, .. });
    assert!(lab.reports().iter().any(kept));
}

#[test]
fn only_peers_that_know_what_it_means_are_told_of_long_lived_stale_routes() {
    let (mut lab, conn) = told(an_hour, long_lived);
    let mut knows = offer(2, 65002);
    knows.restart.iter_mut().for_each(long_lived);
    let knowing = lab.establish_as(2, &knows.message());
    let plain = lab.establish(3, 65003);
    for conn in [knowing, plain] {
        assert!(lab.sent(conn).contains(&"+10.1.0.0/16 [64512 65001]".into()));
    }
    close(&mut lab, conn);
    for _ in 0..5 {
        lab.pass(seconds(25));
        for conn in [knowing, plain] {
            lab.receive(conn, wire::keepalive);
        }
    }
    assert_eq!(lab.sent(knowing).last().unwrap(), "+10.1.0.0/16 [64512 65001] llgr-stale");
    assert_eq!(lab.sent(plain).last().unwrap(), "-10.1.0.0/16");
}

#[test]
fn a_peer_that_is_back_takes_its_long_lived_routes_over_and_sweeps_the_rest() {
    let (mut lab, conn) = told(an_hour, long_lived);
    lab.announce(conn, &[65001], 1, &["10.2.0.0/16"]);
    close(&mut lab, conn);
    lab.pass(seconds(500));
    lab.fib();
    let conn = again(&mut lab, long_lived);
    lab.announce(conn, &[65001], 1, &[ROUTE]);
    assert!(!lab.paths(ROUTE)[0].attributes.is_long_lived_stale());
    assert_eq!(lab.fib(), Vec::<String>::new());
    lab.receive(conn, |out| wire::end_of_rib(Family::Ipv4Unicast, out));
    assert_eq!(lab.fib(), ["10.2.0.0/16 gone"]);
}

#[test]
fn a_peer_that_did_not_keep_forwarding_loses_its_long_lived_routes_when_it_is_back() {
    let (mut lab, conn) = told(an_hour, long_lived);
    close(&mut lab, conn);
    lab.pass(seconds(500));
    again(&mut lab, |restart| {
        long_lived(restart);
        restart.forwarding = false;
    });
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
}

#[test]
fn what_lives_long_is_not_prolonged_by_another_restart() {
    let (mut lab, conn) = told(an_hour, long_lived);
    close(&mut lab, conn);
    lab.pass(seconds(121));
    lab.pass(seconds(479));
    let conn = again(&mut lab, long_lived);
    close(&mut lab, conn);
    assert_eq!(stale(&lab), 1, "stale twice is not too often here");
    lab.pass(seconds(519));
    assert_eq!(lab.fib(), Vec::<String>::new());
    lab.pass(seconds(3));
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"], "1000 s after the restart time was over");
}

/// What we say of our restarts to a peer that dials in now: R, F bits, families.
fn says(lab: &mut Lab, n: u8) -> (bool, Vec<(Option<Family>, bool)>) {
    let conn = lab.accept(n);
    let mut bytes = Vec::new();
    lab.speaker.pull(conn, lab.now, 4096, &mut bytes);
    lab.tell(Event::Closed { conn, why: "enough".into() });
    let Ok(Message::Open(open)) = wire::decode(&bytes, &Context::default()) else {
        panic!("no OPEN");
    };
    let said = open.graceful_restart().cloned().unwrap_or_default();
    let family = |f: &wire::GracefulFamily| (f.family.family(), f.forwarding);
    (said.restarting, said.families.iter().map(family).collect())
}

fn all(forwarding: bool) -> Vec<(Option<Family>, bool)> {
    Family::ALL.map(|f| (Some(f), forwarding)).to_vec()
}

fn end_ribs(lab: &mut Lab, conn: ConnId) {
    lab.receive(conn, |out| Family::ALL.iter().for_each(|f| wire::end_of_rib(*f, out)));
}

#[test]
fn the_r_bit_is_said_to_each_peer_until_that_peer_has_told_all() {
    let mut lab = Lab::starting(config(&[(1, 65001), (2, 65002)]), Start::again(true));
    assert!(says(&mut lab, 1).0 && says(&mut lab, 2).0, "to those who dial in first too");
    let one = lab.establish(1, 65001);
    end_ribs(&mut lab, one);
    close(&mut lab, one);
    lab.pass(seconds(2));
    assert!(!says(&mut lab, 1).0, "for this one our restart is over");
    assert!(says(&mut lab, 2).0);
    lab.pass(seconds(120));
    assert!(!says(&mut lab, 2).0, "it did not come in time");
    let mut lab = Lab::new(config(&[(1, 65001)]));
    assert!(!says(&mut lab, 1).0, "a first start is no restart");
}

#[test]
fn the_f_bits_say_whether_the_kernel_has_kept_the_routes() {
    for (start, kept) in
        [(Start::again(true), true), (Start::again(false), false), (Start::default(), false)]
    {
        let mut lab = Lab::starting(config(&[(1, 65001)]), start);
        assert_eq!(says(&mut lab, 1).1, all(kept), "{start:?}");
        let conn = lab.establish(1, 65001);
        close(&mut lab, conn);
        lab.pass(seconds(2));
        assert_eq!(says(&mut lab, 1).1, all(true), "this process has kept them since");
    }
    let reflector = SpeakerConfig { install: false, ..config(&[(1, 65001)]) };
    assert_eq!(says(&mut Lab::new(reflector), 1).1, all(true), "there is nothing to lose");
}

#[test]
fn only_families_of_the_session_are_offered_and_waited_for() {
    let mut config = config(&[(1, 65001)]);
    config.peers[0].session.families = vec![Family::Ipv4Unicast];
    let mut lab = Lab::starting(config.clone(), Start::again(true));
    assert_eq!(says(&mut lab, 1).1, [(Some(Family::Ipv4Unicast), true)]);
    config.peers[0].session.families = Family::ALL.to_vec();
    let mut lab = Lab::starting(config, Start::again(true));
    let mut open = offer(1, 65001).message();
    let v6 = wire::Capability::Multiprotocol(Family::Ipv6Unicast.into());
    open.capabilities.retain(|c| *c != v6);
    let conn = lab.establish_as(1, &open);
    assert!(lab.speaker.overview().restarting);
    lab.receive(conn, |out| wire::end_of_rib(Family::Ipv4Unicast, out));
    assert!(!lab.speaker.overview().restarting, "IPv6 is not waited for");
}
