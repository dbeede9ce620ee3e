//! A new configuration changes what it says and nothing else.

use super::*;
use crate::config::{Policy, PolicyName, PrefixMatch, Rule};

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
        let prefixes = vec![PrefixMatch { within, ge: 8, le: 32 }];
        let rules = vec![Rule { prefixes, accept }, Rule { prefixes: vec![], accept: true }];
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
