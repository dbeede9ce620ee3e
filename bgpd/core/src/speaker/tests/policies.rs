//! What policies make of routes on their way in and out, and what a change of them changes.

use super::*;
use crate::config::{Policy, PolicyName, PrefixMatch, Rule};
use crate::policy::{Amount, Ask, Decision, Set};
use crate::types::Protocol;

fn tens(sets: Vec<Set>) -> Policy {
    let within = prefix("10.0.0.0/8");
    let asks = vec![Ask::Prefix(vec![PrefixMatch { within, ge: 8, le: 32 }])];
    let changed = Rule { sets, ..Rule::new(asks, Decision::Accept) };
    Policy { rules: vec![changed, Rule::new(vec![], Decision::Accept)] }
}

fn with(policy: Policy, edit: impl Fn(&mut SessionConfig, PolicyName)) -> SpeakerConfig {
    let mut config = config(&[(1, 65001), (2, 65002), (3, 64512)]);
    config.policies = BTreeMap::from([("p".to_owned(), policy)]);
    edit(&mut config.peers[0].session, PolicyName::Named("p".into()));
    config
}

fn importing(sets: Vec<Set>) -> SpeakerConfig {
    with(tens(sets), |session, name| session.import = name)
}

fn tag(text: &str) -> Set {
    Set::AddCommunities(vec![text.parse().unwrap()])
}

fn up(config: SpeakerConfig) -> (Lab, [ConnId; 3]) {
    let mut lab = Lab::new(config);
    let conns = [lab.establish(1, 65001), lab.establish(2, 65002), lab.establish(3, 64512)];
    for conn in conns {
        lab.sent(conn);
    }
    lab.actions.clear();
    (lab, conns)
}

#[test]
fn what_comes_in_is_changed_on_its_way_and_kept_as_it_came() {
    let sets = vec![Set::LocalPref(Amount::To(200)), tag("64512:7")];
    let (mut lab, [one, two, three]) = up(importing(sets));
    lab.announce(one, &[65001], 1, &["10.1.0.0/16", "192.0.2.0/24"]);
    let path = lab.paths("10.1.0.0/16").remove(0).attributes;
    assert_eq!((path.local_pref, path.communities.len()), (Some(200), 1));
    assert_eq!(lab.paths("192.0.2.0/24")[0].attributes.local_pref, None);
    let came = lab.table(RibKind::AdjIn, Some("p1"), None);
    assert!(came.iter().all(|r| r.paths[0].attributes.communities.is_empty()), "{came:?}");
    let mut inside = lab.sent_inside(three);
    inside.sort();
    assert_eq!(inside, ["+10.1.0.0/16 [65001] 64512:7 pref 200", "+192.0.2.0/24 [65001]"]);
    let mut outside = lab.sent(two);
    outside.sort();
    assert_eq!(outside, ["+10.1.0.0/16 [64512 65001] 64512:7", "+192.0.2.0/24 [64512 65001]"]);
}

#[test]
fn a_policy_decides_between_peers_before_the_length_of_paths_does() {
    let (mut lab, [one, two, _]) = up(importing(vec![Set::Weight(1)]));
    lab.announce(one, &[65001, 7, 8], 1, &["10.1.0.0/16"]);
    lab.announce(two, &[65002], 2, &["10.1.0.0/16"]);
    assert_eq!(lab.fib(), ["10.1.0.0/16 via 192.0.2.1"]);
    let paths = lab.paths("10.1.0.0/16");
    assert_eq!(paths[1].reason, Some("lower weight"));
}

#[test]
fn another_policy_is_applied_to_what_has_come_and_says_only_what_differs() {
    let (mut lab, [one, two, three]) = up(importing(vec![tag("64512:7")]));
    lab.announce(one, &[65001], 1, &["10.1.0.0/16", "192.0.2.0/24"]);
    lab.sent(two);
    lab.sent(three);
    lab.actions.clear();
    let apply = |lab: &mut Lab, config| lab.tell(Event::Configure(Box::new(config)));
    apply(&mut lab, importing(vec![tag("64512:8")]));
    assert_eq!(lab.sent(two), ["+10.1.0.0/16 [64512 65001] 64512:8"]);
    assert_eq!(lab.sent(one), [""; 0], "the peer is asked nothing");
    assert_eq!(lab.fib(), [""; 0], "the kernel has nothing to learn");
    apply(&mut lab, importing(vec![tag("64512:8"), Set::LocalPref(Amount::To(300))]));
    assert_eq!(lab.sent(two), [""; 0], "an external peer is told of no preference");
    assert_eq!(lab.sent_inside(three), ["+10.1.0.0/16 [65001] 64512:8 pref 300"]);
    apply(&mut lab, config(&[(1, 65001), (2, 65002), (3, 64512)]));
    assert_eq!(lab.sent(two), ["+10.1.0.0/16 [64512 65001]"]);
    assert_eq!(lab.peer(1).established_count, 1);
    assert_eq!(lab.fib(), [""; 0]);
}

#[test]
fn what_goes_out_is_prepended_marked_and_given_a_med() {
    let sets = vec![
        Set::Prepend { count: 2, asn: None },
        Set::Med(Amount::To(50)),
        tag("no-export"),
        Set::Weight(5),
    ];
    let (mut lab, [one, two, _]) = up(with(tens(sets), |session, name| session.export = name));
    lab.announce(two, &[65002], 2, &["10.1.0.0/16", "192.0.2.0/24"]);
    let mut told = lab.sent(one);
    told.sort();
    assert_eq!(
        told,
        ["+10.1.0.0/16 [64512 64512 64512 65002] no-export", "+192.0.2.0/24 [64512 65002]"]
    );
    let held = lab.table(RibKind::AdjOut, Some("p1"), Some((prefix("10.1.0.0/16"), Match::Exact)));
    assert_eq!(held[0].paths[0].attributes.med, Some(50));
    assert_eq!(held[0].paths[0].attributes.weight, 0, "which is ours alone");
}

#[test]
fn policies_tell_own_blocks_from_what_the_file_says() {
    let of = |protocol| {
        let asks = vec![Ask::Source(vec![crate::policy::Provenance::Own(protocol)])];
        Policy { rules: vec![Rule::new(asks, Decision::Accept)] }
    };
    let mut config = with(of(Protocol::Block), |session, name| session.export = name);
    config.originate = vec![prefix("198.51.100.0/24")];
    let mut lab = Lab::new(config.clone());
    let blocks = BTreeSet::from([prefix("10.244.1.0/26"), prefix("198.51.100.0/24")]);
    lab.tell(Event::Blocks(blocks));
    let one = lab.establish(1, 65001);
    let told: Vec<_> = lab.sent(one).into_iter().filter(|m| m.starts_with('+')).collect();
    assert_eq!(told, ["+10.244.1.0/26 [64512]"]);
    config.originate.clear();
    lab.tell(Event::Configure(Box::new(config)));
    assert_eq!(lab.sent(one), ["+198.51.100.0/24 [64512]"], "it is a block only, now");
}

#[test]
fn what_is_stale_for_long_stays_so_whatever_a_policy_removes() {
    let mut config = importing(vec![Set::ClearCommunities]);
    let keeps = config.peers[0].session.graceful_restart.as_mut().unwrap();
    keeps.long_lived = seconds(3600);
    let mut lab = Lab::new(config);
    let mut said = offer(1, 65001);
    said.restart.as_mut().unwrap().long_lived = seconds(3600);
    let one = lab.establish_as(1, &said.message());
    lab.announce(one, &[65001], 1, &["10.1.0.0/16"]);
    lab.tell(Event::Closed { conn: one, why: "gone".into() });
    lab.pass(seconds(130));
    assert!(lab.paths("10.1.0.0/16")[0].attributes.is_long_lived_stale());
}
