//! A new configuration changes what it says and nothing else.

use super::*;
use crate::config::RestartConfig;
use crate::config::{Policy, PolicyName, PrefixMatch, Rule};
use crate::policy::{Ask, Decision};

fn changes(lab: &mut Lab) -> Vec<String> {
    let reports = lab.reports();
    let changes = reports.into_iter().find_map(|r| match r {
        Report::Reconfigured { changes } => Some(changes),
        _ => None,
    });
    changes.expect("a report of the reload")
}

fn two_up() -> (Lab, ConnId, ConnId) {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(one, &[65001], 1, &["10.1.0.0/16", "0.0.0.0/0"]);
    lab.sent(one);
    lab.sent(two);
    lab.actions.clear();
    (lab, one, two)
}

fn apply(lab: &mut Lab, new: SpeakerConfig) {
    lab.tell(Event::Configure(Box::new(new)));
}

#[test]
fn the_same_configuration_changes_nothing() {
    let (mut lab, ..) = two_up();
    apply(&mut lab, config(&[(1, 65001), (2, 65002)]));
    assert_eq!(changes(&mut lab), Vec::<String>::new());
    assert!(lab.actions.is_empty(), "{:?}", lab.actions);
}

#[test]
fn a_hold_time_waits_for_the_next_session() {
    let (mut lab, ..) = two_up();
    let mut new = config(&[(1, 65001), (2, 65002)]);
    new.peers[0].session.hold_time = seconds(30);
    apply(&mut lab, new);
    assert_eq!(
        changes(&mut lab),
        ["bgp.peers p1: hold_time 90s -> 30s (from the next session on)"]
    );
    assert_eq!(lab.peer(1).state, "Established");
    assert_eq!(lab.peer(1).hold_time, seconds(90));
}

#[test]
fn what_the_opens_agreed_on_resets_that_peer_alone() {
    let (mut lab, one, _) = two_up();
    let mut new = config(&[(1, 65001), (2, 65002)]);
    new.peers[0].session.families = vec![Family::Ipv4Unicast];
    apply(&mut lab, new);
    assert_eq!(
        changes(&mut lab),
        ["bgp.peers p1: families ipv4-unicast,ipv6-unicast -> ipv4-unicast (resets the session)"]
    );
    assert_eq!(lab.sent(one), ["NOTIFICATION 6/6"]);
    assert_eq!((lab.peer(1).state, lab.peer(2).state), ("Active", "Established"));
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone", "0.0.0.0/0 gone"]);
}

/// A session with a peer that has the N bit, as we have, and one route.
fn lasting() -> (Lab, ConnId, wire::Open) {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let mut said = offer(1, 65001);
    said.restart.as_mut().unwrap().notification = true;
    let open = said.message();
    let conn = lab.establish_as(1, &open);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    lab.sent(conn);
    lab.actions.clear();
    (lab, conn, open)
}

#[test]
fn with_the_n_bit_on_both_sides_a_reset_costs_no_route() {
    let (mut lab, conn, open) = lasting();
    let mut new = config(&[(1, 65001)]);
    new.peers[0].session.families = vec![Family::Ipv4Unicast];
    apply(&mut lab, new);
    assert_eq!(lab.sent(conn), ["NOTIFICATION 6/6"]);
    assert!(lab.paths("10.1.0.0/16")[0].stale);
    let conn = lab.establish_as(1, &open);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    lab.receive(conn, |out| wire::end_of_rib(Family::Ipv4Unicast, out));
    assert!(!lab.paths("10.1.0.0/16")[0].stale);
    assert_eq!(lab.fib(), [""; 0], "the kernel has heard nothing of it");
}

#[test]
fn a_family_that_is_wanted_no_more_is_not_kept() {
    let (mut lab, ..) = lasting();
    let mut new = config(&[(1, 65001)]);
    new.peers[0].session.families = vec![Family::Ipv6Unicast];
    apply(&mut lab, new);
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
}

#[test]
fn a_reset_to_be_somebody_else_is_hard_and_keeps_nothing() {
    let edits: [Edit<SpeakerConfig>; 3] = [
        ("our AS", |c| c.asn = Asn(64513)),
        ("its AS", |c| c.peers[0].session.asn = Asn(65009).into()),
        ("its address", |c| c.peers[0].address = [192, 0, 2, 99].into()),
    ];
    for (what, edit) in edits {
        let (mut lab, conn, _) = lasting();
        let mut new = config(&[(1, 65001)]);
        edit(&mut new);
        apply(&mut lab, new);
        assert_eq!(lab.sent(conn), ["NOTIFICATION 6/9: 6/6"], "{what}");
        assert_eq!(lab.fib(), ["10.1.0.0/16 gone"], "{what}");
    }
}

#[test]
fn an_import_policy_is_applied_to_what_the_peer_has_told_before() {
    let (mut lab, one, two) = two_up();
    let mut new = config(&[(1, 65001), (2, 65002)]);
    new.peers[0].session.import = PolicyName::Node;
    apply(&mut lab, new);
    assert_eq!(changes(&mut lab), ["bgp.peers p1: import all -> node"]);
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    assert_eq!(lab.sent(two), ["-10.1.0.0/16"]);
    apply(&mut lab, config(&[(1, 65001), (2, 65002)]));
    assert_eq!(lab.fib(), ["10.1.0.0/16 via 192.0.2.1"]);
    assert_eq!(lab.sent(two), ["+10.1.0.0/16 [64512 65001]"]);
    assert_eq!(lab.sent(one), Vec::<String>::new(), "the peer was asked nothing");
}

#[test]
fn a_changed_rule_list_is_applied_where_its_name_is_used() {
    let rules = |accept| {
        let within = prefix("10.0.0.0/8");
        let tens = Ask::Prefix(vec![PrefixMatch { within, ge: 8, le: 32 }]);
        let decision = if accept { Decision::Accept } else { Decision::Reject };
        let rules = vec![Rule::new(vec![tens], decision), Rule::new(vec![], Decision::Accept)];
        BTreeMap::from([("tens".to_owned(), Policy { rules })])
    };
    let with = |accept| {
        let mut new = config(&[(1, 65001), (2, 65002)]);
        new.policies = rules(accept);
        new.peers[1].session.export = PolicyName::Named("tens".into());
        new
    };
    let (mut lab, _, two) = two_up();
    apply(&mut lab, with(true));
    assert_eq!(lab.sent(two), Vec::<String>::new());
    lab.reports();
    apply(&mut lab, with(false));
    assert_eq!(changes(&mut lab), ["bgp.policies tens: changed"]);
    assert_eq!(lab.sent(two), ["-10.1.0.0/16"]);
    assert_eq!(lab.fib(), Vec::<String>::new());
}

#[test]
fn a_removed_peer_is_told_and_forgotten_and_a_new_one_comes() {
    let (mut lab, one, two) = two_up();
    apply(&mut lab, config(&[(2, 65002), (3, 65003)]));
    assert_eq!(changes(&mut lab), ["bgp.peers p1: removed", "bgp.peers p3: added"]);
    assert_eq!(lab.sent(one), ["NOTIFICATION 6/3"]);
    assert_eq!(lab.sent(two), ["-10.1.0.0/16 -0.0.0.0/0"]);
    assert_eq!(lab.fib().len(), 2);
    lab.establish(3, 65003);
    let refused = lab.accept(1);
    assert_eq!(lab.sent(refused), ["NOTIFICATION 6/5"]);
}

#[test]
fn originated_prefixes_come_and_go() {
    let (mut lab, _, two) = two_up();
    let mut new = config(&[(1, 65001), (2, 65002)]);
    new.originate = vec![prefix("203.0.113.7/32")];
    apply(&mut lab, new);
    assert_eq!(changes(&mut lab), ["bgp.originate: +203.0.113.7/32"]);
    assert_eq!(lab.sent(two), ["+203.0.113.7/32 [64512]"]);
    apply(&mut lab, config(&[(1, 65001), (2, 65002)]));
    assert_eq!(lab.sent(two), ["-203.0.113.7/32"]);
}

#[test]
fn installing_is_switched_off_and_on() {
    let (mut lab, ..) = two_up();
    let mut new = config(&[(1, 65001), (2, 65002)]);
    new.install = false;
    apply(&mut lab, new);
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone", "0.0.0.0/0 gone"]);
    apply(&mut lab, config(&[(1, 65001), (2, 65002)]));
    assert_eq!(lab.fib(), ["10.1.0.0/16 via 192.0.2.1", "0.0.0.0/0 via 192.0.2.1"]);
}

#[test]
fn another_as_of_ours_resets_everybody() {
    let (mut lab, one, two) = two_up();
    let mut new = config(&[(1, 65001), (2, 65002)]);
    new.asn = Asn(64513);
    apply(&mut lab, new);
    assert_eq!(changes(&mut lab), ["bgp.asn 64512 -> 64513 (resets every session)"]);
    assert_eq!(
        (lab.sent(one), lab.sent(two)),
        (vec!["NOTIFICATION 6/6".into()], vec!["NOTIFICATION 6/6".into()])
    );
}

#[test]
fn peers_that_swap_their_addresses_are_both_known_by_their_new_ones() {
    let (mut lab, ..) = two_up();
    let mut new = config(&[(1, 65001), (2, 65002)]);
    let (first, second) = (new.peers[0].address, new.peers[1].address);
    (new.peers[0].address, new.peers[1].address) = (second, first);
    apply(&mut lab, new);
    lab.establish(1, 65002);
    lab.establish(2, 65001);
    assert_eq!((lab.peer(1).name.as_str(), lab.peer(2).name.as_str()), ("p2", "p1"));
}

type Edit<T> = (&'static str, fn(&mut T));

fn restart(session: &mut SessionConfig) -> &mut RestartConfig {
    session.graceful_restart.as_mut().unwrap()
}

/// One change of every field there is, of a peer and of the speaker.
fn every_change() -> Vec<(&'static str, SpeakerConfig)> {
    let session: [Edit<SessionConfig>; 14] = [
        ("asn", |s| s.asn = Asn(65009).into()),
        ("passive", |s| s.passive = false),
        ("hold_time", |s| s.hold_time = seconds(30)),
        ("send_hold_time", |s| s.options.send_hold_time = Some(seconds(30))),
        ("families", |s| s.families = vec![Family::Ipv4Unicast]),
        ("graceful_restart", |s| s.graceful_restart = None),
        ("graceful_restart", |s| s.graceful_restart = Some(RestartConfig::new(seconds(300)))),
        ("notification", |s| restart(s).notification ^= true),
        ("long_lived", |s| restart(s).long_lived = seconds(600)),
        ("max_peer_restart_time", |s| restart(s).max_peer_time = seconds(60)),
        ("stale_time", |s| restart(s).stale_time = seconds(60)),
        ("import", |s| s.import = PolicyName::None),
        ("export", |s| s.export = PolicyName::None),
        ("local_address", |s| s.local_address = Some([192, 0, 2, 101].into())),
    ];
    let mut all = Vec::new();
    for (what, change) in session {
        let mut new = config(&[(1, 65001), (2, 65002)]);
        change(&mut new.peers[0].session);
        all.push((what, new));
    }
    let whole: [Edit<SpeakerConfig>; 9] = [
        ("bgp.asn", |c| c.asn = Asn(64513)),
        ("bgp.router_id", |c| c.router_id = router_id(101)),
        ("bgp.connect_retry", |c| c.connect_retry = seconds(9)),
        ("bgp.originate", |c| c.originate = vec![prefix("203.0.113.7/32")]),
        ("bgp.fib.install", |c| c.install = false),
        ("bgp.max_paths", |c| c.max_paths = 1),
        ("address", |c| c.peers[0].address = [192, 0, 2, 99].into()),
        ("port", |c| c.peers[0].port = 1179),
        ("removed", |c| drop(c.peers.remove(0))),
    ];
    for (what, change) in whole {
        let mut new = config(&[(1, 65001), (2, 65002)]);
        change(&mut new);
        all.push((what, new));
    }
    all
}

#[test]
fn a_session_ends_exactly_when_the_difference_has_said_so() {
    use crate::difference::{Effect, between};
    let old = config(&[(1, 65001), (2, 65002)]);
    for (what, new) in every_change() {
        let said = between(&old, &new);
        let line = said.first().map(ToString::to_string).unwrap_or_default();
        assert!(said.len() == 1 && line.contains(what), "{what}: {said:?}");
        let effect = said[0].effect;
        let (mut lab, one, two) = two_up();
        apply(&mut lab, new);
        let ended = [one, two].map(|conn| lab.sent(conn).iter().any(|m| m.contains("NOTIF")));
        let want = [effect.ends_a_session(), effect == Effect::ResetsAll];
        assert_eq!(ended, want, "{what}: {line}");
    }
}

#[test]
fn an_internal_peer_becomes_a_client_without_reset() {
    use crate::difference::between;
    let mut new = config(&[(1, 64512), (2, 65002)]);
    let mut lab = Lab::new(new.clone());
    let one = lab.accept(1);
    lab.receive(one, |out| {
        wire::open(&offer(1, 64512).message(), out);
        wire::keepalive(out);
    });
    new.peers[0].session.route_reflector_client = true;
    let said = between(&config(&[(1, 64512), (2, 65002)]), &new);
    assert_eq!(said[0].to_string(), "bgp.peers p1: route_reflector_client false -> true");
    apply(&mut lab, new);
    assert_eq!(lab.peer(1).state, "Established");
}

#[test]
fn members_outside_of_a_narrower_range_end_and_the_others_stay() {
    use crate::config::RangeConfig;
    use crate::difference::{Effect, between};
    let with = |range: &str| {
        let session = session_config(65001);
        let range = RangeConfig { name: "r".into(), range: prefix(range), limit: 9, session };
        SpeakerConfig { ranges: vec![range], ..config(&[]) }
    };
    let said = between(&with("192.0.2.0/24"), &with("192.0.2.0/30"));
    assert_eq!((said.len(), said[0].effect), (1, Effect::Ends));
    assert_eq!(between(&with("192.0.2.0/30"), &with("192.0.2.0/24"))[0].effect, Effect::AtOnce);
    let mut lab = Lab::new(with("192.0.2.0/24"));
    let (inside, outside) = (lab.establish(1, 65001), lab.establish(9, 65001));
    lab.sent(inside);
    lab.sent(outside);
    apply(&mut lab, with("192.0.2.0/30"));
    assert_eq!(lab.sent(outside), ["NOTIFICATION 6/3"]);
    assert_eq!(lab.peer(1).state, "Established");
}
