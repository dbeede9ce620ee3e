//! Drain, undrain, leave; and the peers' own GRACEFUL_SHUTDOWN (RFC 8326).

use super::*;
use crate::wire::Community;

const OWN: &str = "10.244.0.0/26";

/// An external and an internal peer that have been told our prefix, and a route of the former.
fn serving() -> (Lab, ConnId, ConnId) {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 64512)]));
    lab.tell(Event::Blocks([prefix(OWN)].into()));
    let (outside, inside) = (lab.establish(1, 65001), lab.establish(2, 64512));
    lab.announce(outside, &[65001], 1, &["10.1.0.0/16"]);
    for conn in [outside, inside] {
        lab.sent(conn);
    }
    lab.fib();
    (lab, outside, inside)
}

fn drain(lab: &mut Lab, wait: u64) {
    lab.tell(Event::Drain { wait: seconds(wait) });
}

/// What the shell does before it sleeps.
fn due_now(lab: &mut Lab) {
    while lab.speaker.deadline().is_some_and(|at| at <= lab.now) {
        lab.tell(Event::Due);
    }
}

#[test]
fn draining_tells_everything_again_as_the_last_resort_and_then_withdraws_it() {
    let (mut lab, outside, inside) = serving();
    drain(&mut lab, 10);
    assert_eq!(lab.speaker.intent(), "draining");
    assert_eq!(lab.sent(outside), ["+10.244.0.0/26 [64512] graceful-shutdown"]);
    let told = lab.sent_inside(inside);
    assert!(told.contains(&"+10.244.0.0/26 [] graceful-shutdown pref 0".into()), "{told:?}");
    assert!(told.contains(&"+10.1.0.0/16 [65001] graceful-shutdown pref 0".into()), "{told:?}");
    lab.pass(seconds(9));
    assert_eq!(lab.sent(outside), Vec::<String>::new());
    lab.pass(seconds(1));
    assert_eq!(lab.speaker.intent(), "draining", "the peers have not heard of it yet");
    assert_eq!(lab.speaker.overview().drain.unwrap().behind, 2);
    assert_eq!(lab.sent(outside), ["-10.244.0.0/26"]);
    assert_eq!(lab.sent(inside).len(), 1);
    due_now(&mut lab);
    assert_eq!(lab.speaker.intent(), "drained");
    assert!(lab.reports().contains(&Report::Drained));
    let view = lab.speaker.overview().drain.unwrap();
    assert_eq!((view.advertised, view.behind, view.until), (0, 0, None));
    assert_eq!(lab.fib(), Vec::<String>::new(), "packets out of the node go on");
    assert_eq!(lab.speaker.deadline().filter(|at| *at <= lab.now), None);
}

#[test]
fn a_drain_is_taken_back_at_any_time() {
    for pass in [1, 11] {
        let (mut lab, outside, _) = serving();
        drain(&mut lab, 10);
        lab.pass(seconds(pass));
        lab.sent(outside);
        lab.tell(Event::Undrain);
        assert_eq!(lab.speaker.intent(), "serving");
        assert_eq!(lab.sent(outside), ["+10.244.0.0/26 [64512]"]);
        assert_eq!(lab.speaker.overview().drain, None);
    }
}

#[test]
fn a_session_that_comes_up_in_a_drained_node_is_told_nothing_but_the_end_of_it() {
    let mut lab =
        Lab::starting(config(&[(1, 65001)]), Start { drained: true, ..Start::again(true) });
    lab.tell(Event::Blocks([prefix(OWN)].into()));
    let conn = lab.establish(1, 65001);
    assert_eq!(lab.sent(conn), ["OPEN", "KEEPALIVE", "EoR ipv4-unicast", "EoR ipv6-unicast"]);
    due_now(&mut lab);
    assert_eq!(lab.speaker.intent(), "drained");
    lab.tell(Event::Undrain);
    assert_eq!(lab.sent(conn), ["+10.244.0.0/26 [64512]"]);
}

#[test]
fn a_session_that_comes_up_while_draining_hears_of_it_at_once() {
    let (mut lab, outside, _) = serving();
    drain(&mut lab, 30);
    lab.tell(Event::Closed { conn: outside, why: "reset".into() });
    let outside = lab.establish(1, 65001);
    assert_eq!(lab.sent(outside)[2], "+10.244.0.0/26 [64512] graceful-shutdown");
}

#[test]
fn leaving_drains_and_ends_with_hard_resets_and_the_kernel_last() {
    let (mut lab, outside, inside) = serving();
    let mut knows = offer(1, 65001);
    knows.restart.iter_mut().for_each(|r| r.notification = true);
    lab.tell(Event::Closed { conn: outside, why: "reset".into() });
    let outside = {
        let conn = lab.establish_as(1, &knows.message());
        lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
        lab.sent(conn);
        conn
    };
    lab.fib();
    lab.tell(Event::Leave { wait: seconds(10) });
    assert_eq!(lab.speaker.intent(), "leaving");
    lab.sent(outside);
    lab.sent(inside);
    lab.pass(seconds(10));
    assert_eq!(lab.sent(outside), ["-10.244.0.0/26"]);
    lab.sent(inside);
    lab.actions.clear();
    due_now(&mut lab);
    assert_eq!(lab.sent(outside), ["NOTIFICATION 6/9: 6/2"]);
    assert_eq!(lab.sent(inside), ["NOTIFICATION 6/2"], "no N bit there");
    let fib = lab.actions.iter().position(|a| matches!(a, Action::Fib { .. })).unwrap();
    let close = lab.actions.iter().rposition(|a| matches!(a, Action::Close { .. })).unwrap();
    assert!(close < fib, "{:?}", lab.actions);
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    assert!(lab.reports().contains(&Report::Left));
    assert_eq!(lab.speaker.deadline(), None);
}

#[test]
fn a_peer_that_does_not_read_delays_leaving_by_seconds_only() {
    let (mut lab, ..) = serving();
    lab.tell(Event::Leave { wait: seconds(0) });
    lab.pass(seconds(4));
    assert!(!lab.reports().contains(&Report::Left));
    assert_eq!(lab.speaker.deadline(), Some(lab.now + seconds(1)));
    lab.pass(seconds(1));
    assert!(lab.reports().contains(&Report::Left));
}

#[test]
fn a_drained_node_leaves_at_once() {
    let (mut lab, outside, inside) = serving();
    drain(&mut lab, 0);
    lab.sent(outside);
    lab.sent(inside);
    due_now(&mut lab);
    lab.tell(Event::Leave { wait: seconds(60) });
    assert!(lab.reports().contains(&Report::Left));
}

#[test]
fn a_path_that_its_sender_is_about_to_withdraw_is_the_last_resort() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002), (3, 64512)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    let inside = lab.establish(3, 64512);
    lab.announce(one, &[65001], 1, &["0.0.0.0/0"]);
    lab.sent(inside);
    let mut attrs = attributes(&[65001], 1);
    attrs.communities = vec![Community::GRACEFUL_SHUTDOWN.0];
    lab.receive(one, |out| {
        wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &[prefix("0.0.0.0/0")], out);
    });
    assert_eq!(lab.sent_inside(inside), ["+0.0.0.0/0 [65001] graceful-shutdown pref 0"]);
    lab.fib();
    lab.announce(two, &[65002, 65009, 65010], 2, &["0.0.0.0/0"]);
    assert_eq!(lab.fib(), ["0.0.0.0/0 via 192.0.2.2"], "a longer way that stays");
    assert_eq!(lab.paths("0.0.0.0/0")[1].reason, Some("lower local preference"));
}
