//! Route refresh, plain and enhanced (RFC 2918, RFC 7313).

use super::*;
use crate::wire::{Capability, RefreshMark};

const V4: Family = Family::Ipv4Unicast;

/// A session with 192.0.2.`n` that does not mark where a refresh begins and ends.
fn establish_plain(lab: &mut Lab, n: u8, asn: u32) -> ConnId {
    let conn = lab.accept(n);
    let mut open = offer(n, asn).message();
    open.capabilities.retain(|c| *c != Capability::EnhancedRouteRefresh);
    lab.receive(conn, |out| {
        wire::open(&open, out);
        wire::keepalive(out);
    });
    conn
}

fn ask(lab: &mut Lab, conn: ConnId, family: Family) {
    lab.receive(conn, |out| wire::route_refresh(family.into(), out));
}

fn mark(lab: &mut Lab, conn: ConnId, mark: RefreshMark) {
    lab.receive(conn, |out| wire::refresh_mark(V4.into(), mark, out));
}

/// One peer that has told two prefixes and its EoR.
fn told() -> (Lab, ConnId) {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16", "10.2.0.0/16"]);
    lab.receive(conn, |out| wire::end_of_rib(V4, out));
    lab.sent(conn);
    lab.fib();
    (lab, conn)
}

#[test]
fn a_refresh_is_answered_between_its_marks() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    lab.tell(Event::Blocks([prefix("10.244.0.0/26")].into()));
    let conn = lab.establish(1, 65001);
    lab.sent(conn);
    ask(&mut lab, conn, V4);
    let begin = "BoRR ipv4-unicast";
    assert_eq!(lab.sent(conn), [begin, "+10.244.0.0/26 [64512]", "EoRR ipv4-unicast"]);
    ask(&mut lab, conn, Family::Ipv6Unicast);
    assert_eq!(lab.sent(conn), ["BoRR ipv6-unicast", "EoRR ipv6-unicast"]);
    assert_eq!(lab.sent(conn), Vec::<String>::new());
}

#[test]
fn a_refresh_of_a_peer_that_marks_nothing_is_the_routes_alone() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    lab.tell(Event::Blocks([prefix("10.244.0.0/26")].into()));
    let conn = establish_plain(&mut lab, 1, 65001);
    lab.sent(conn);
    ask(&mut lab, conn, V4);
    assert_eq!(lab.sent(conn), ["+10.244.0.0/26 [64512]"]);
    mark(&mut lab, conn, RefreshMark::Begin);
    assert_eq!(lab.peer(1).families[0].stale, 0);
}

#[test]
fn no_refresh_begins_before_the_end_of_rib_is_sent() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    lab.speaker = Speaker::new(config(&[(1, 65001)]), Start::default(), lab.now);
    let conn = lab.establish(1, 65001);
    ask(&mut lab, conn, V4);
    assert_eq!(lab.sent(conn), ["OPEN", "KEEPALIVE"]);
    lab.tell(Event::Blocks([prefix("10.244.0.0/26")].into()));
    let route = "+10.244.0.0/26 [64512]";
    let first = [route, "EoR ipv4-unicast", "EoR ipv6-unicast"];
    let again = ["BoRR ipv4-unicast", route, "EoRR ipv4-unicast"];
    assert_eq!(lab.sent(conn), [first, again].concat());
}

#[test]
fn what_a_refresh_does_not_tell_again_goes_at_its_end_and_not_before() {
    let (mut lab, conn) = told();
    mark(&mut lab, conn, RefreshMark::Begin);
    assert_eq!(lab.peer(1).families[0].stale, 2);
    assert!(!lab.peer(1).graceful_restart.peer_restarting);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    assert_eq!(lab.fib(), Vec::<String>::new());
    mark(&mut lab, conn, RefreshMark::End);
    assert_eq!(lab.fib(), ["10.2.0.0/16 gone"]);
    assert_eq!(lab.peer(1).families[0].stale, 0);
}

#[test]
fn an_end_without_a_beginning_says_nothing() {
    let (mut lab, conn) = told();
    mark(&mut lab, conn, RefreshMark::End);
    mark(&mut lab, conn, RefreshMark::Unknown(7));
    assert_eq!(lab.fib(), Vec::<String>::new());
    assert_eq!(lab.peer(1).state, "Established");
}

#[test]
fn a_second_beginning_begins_anew() {
    let (mut lab, conn) = told();
    mark(&mut lab, conn, RefreshMark::Begin);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    mark(&mut lab, conn, RefreshMark::Begin);
    lab.announce(conn, &[65001], 1, &["10.2.0.0/16"]);
    mark(&mut lab, conn, RefreshMark::End);
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
}

#[test]
fn a_beginning_before_the_end_of_rib_is_not_heard() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    mark(&mut lab, conn, RefreshMark::Begin);
    mark(&mut lab, conn, RefreshMark::End);
    assert_eq!(lab.peer(1).families[0].received, 1);
}

#[test]
fn a_refresh_that_never_ends_is_ended() {
    let (mut lab, conn) = told();
    mark(&mut lab, conn, RefreshMark::Begin);
    for _ in 0..14 {
        lab.pass(seconds(25));
        lab.receive(conn, wire::keepalive);
    }
    assert_eq!(lab.peer(1).families[0].stale, 2);
    lab.reports();
    lab.pass(seconds(10));
    assert_eq!(lab.fib().len(), 2);
    let unfinished = |r: &Report| matches!(r, Report::RefreshUnfinished { .. });
    assert!(lab.reports().iter().any(unfinished));
    assert_eq!(lab.peer(1).state, "Established");
}

#[test]
fn a_peer_that_dies_in_mid_refresh_keeps_all_its_routes_as_any_that_restarts() {
    let (mut lab, conn) = told();
    mark(&mut lab, conn, RefreshMark::Begin);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    lab.tell(Event::Closed { conn, why: "reset".into() });
    assert_eq!(lab.fib(), Vec::<String>::new());
    assert_eq!(lab.peer(1).families[0].stale, 2);
}
