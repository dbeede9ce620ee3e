//! Questions about whole tables.

use super::*;
use crate::view::{PathFilter, PathState};

fn lab() -> (Lab, ConnId, ConnId) {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(one, &[65001], 1, &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "11.0.0.0/8"]);
    lab.announce(two, &[65002, 65009], 2, &["10.0.0.0/8", "12.0.0.0/8"]);
    lab.announce(two, &[65002, 64512], 2, &["13.0.0.0/8"]);
    (lab, one, two)
}

fn asked(lab: &Lab, query: &RouteQuery) -> Vec<String> {
    let routes = lab.speaker.routes(query, None, 1000, lab.now);
    routes.iter().map(|r| format!("{} {}", r.prefix, r.paths.len())).collect()
}

#[test]
fn prefixes_are_found_by_what_they_hold_and_what_holds_them() {
    let (lab, ..) = lab();
    let of = |p: &str, how| RouteQuery { prefix: Some((prefix(p), how)), ..Default::default() };
    let covered = asked(&lab, &of("10.1.0.0/16", Match::Covered));
    assert_eq!(covered, ["10.1.0.0/16 1", "10.1.2.0/24 1"]);
    let covering = asked(&lab, &of("10.1.0.0/16", Match::Covering));
    assert_eq!(covering, ["10.0.0.0/8 2", "10.1.0.0/16 1"]);
    assert_eq!(asked(&lab, &of("10.1.9.1/32", Match::Longest)), ["10.1.0.0/16 1"]);
    assert_eq!(asked(&lab, &of("10.1.9.1/32", Match::Exact)), [""; 0]);
}

#[test]
fn paths_are_found_by_peer_as_and_state() {
    let (mut lab, ..) = lab();
    let with = |filter| RouteQuery { filter, ..Default::default() };
    let two = PathFilter { from: Some("p2".into()), ..Default::default() };
    assert_eq!(asked(&lab, &with(two)), ["10.0.0.0/8 1", "12.0.0.0/8 1"]);
    let through = PathFilter { asn: Some(Asn(65009)), ..Default::default() };
    assert_eq!(asked(&lab, &with(through)), ["10.0.0.0/8 1", "12.0.0.0/8 1"]);
    let missing = PathFilter { state: Some(PathState::NotInstalled), ..Default::default() };
    assert_eq!(asked(&lab, &with(missing.clone())), [""; 0]);
    lab.tell(Event::FibFailed { prefix: prefix("11.0.0.0/8"), why: "busy".into() });
    assert_eq!(asked(&lab, &with(missing.clone())), ["11.0.0.0/8 1"]);
    let fib = RouteQuery { rib: RibKind::Fib, filter: missing, ..Default::default() };
    assert_eq!(asked(&lab, &fib), ["11.0.0.0/8 1"]);
}

#[test]
fn what_import_refused_is_in_the_adj_rib_in_before_policy_alone() {
    let (lab, ..) = lab();
    let of = |post_policy, state| RouteQuery {
        rib: RibKind::AdjIn,
        peer: Some("192.0.2.2".into()),
        post_policy,
        filter: PathFilter { state, ..Default::default() },
        ..Default::default()
    };
    let all = asked(&lab, &of(false, None));
    assert_eq!(all, ["10.0.0.0/8 1", "12.0.0.0/8 1", "13.0.0.0/8 1"]);
    assert_eq!(asked(&lab, &of(true, None)), ["10.0.0.0/8 1", "12.0.0.0/8 1"]);
    assert_eq!(asked(&lab, &of(false, Some(PathState::Rejected))), ["13.0.0.0/8 1"]);
}

#[test]
fn a_walk_in_portions_meets_everything_that_stays_though_the_table_changes() {
    let (mut lab, one, _) = lab();
    let query = RouteQuery::default();
    let mut scan = Scan::default();
    let mut met = lab.speaker.scan(&query, &mut scan, 2);
    assert!(met.len() <= 2 && !scan.is_over(), "{met:?}");
    lab.withdraw(one, &["10.1.2.0/24"]);
    while !scan.is_over() {
        met.extend(lab.speaker.scan(&query, &mut scan, 1));
    }
    for stays in ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "12.0.0.0/8"] {
        assert!(met.contains(&prefix(stays)), "{stays}");
    }
    assert!(!asked(&lab, &query).iter().any(|r| r.starts_with("10.1.2.0/24")));
}

#[test]
fn a_peer_may_be_asked_for_by_address_and_one_that_is_not_there_is_named() {
    let (lab, ..) = lab();
    let filter = PathFilter { from: Some("192.0.2.1".into()), ..Default::default() };
    let mut query = RouteQuery { filter, ..Default::default() };
    lab.speaker.resolve(&mut query).unwrap();
    assert_eq!(query.filter.from.as_deref(), Some("p1"));
    query.peer = Some("p9".into());
    assert_eq!(lab.speaker.resolve(&mut query), Err("p9".into()));
}
