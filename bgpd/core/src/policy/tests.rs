use super::*;
use crate::rib::{Kind, Source};
use crate::testing::{attributes, prefix, source};
use crate::types::{Asn, Family, Prefix, Protocol, Role};
use crate::wire::{Attributes, Origin};
use proptest::prelude::*;
use std::sync::Arc;

fn context<'a>(source: &'a Source, origins: &'a dyn Origins) -> Context<'a> {
    Context { family: Family::Ipv4Unicast, source, origins, own_asn: Some(Asn(64512)) }
}

/// What passes, by the program that the speaker runs.
fn run(policy: &Policy, p: &str, attrs: &Attributes) -> Option<Attributes> {
    let from = source(1, Kind::External);
    let (program, attrs) = (Program::new(policy), Arc::new(attrs.clone()));
    let context = context(&from, &NoOrigins);
    let mut prepared = program.prepare(&attrs, &context);
    prepared
        .decide(&program, &prefix(p), &context, &mut |draft| draft.attrs)
        .map(Arc::unwrap_or_clone)
}

fn within(p: &str, ge: u8, le: u8) -> Ask {
    Ask::Prefix(vec![PrefixMatch { within: prefix(p), ge, le }])
}

fn pattern(text: &str) -> Ask {
    Ask::AsPath(AsPathMatch { patterns: vec![text.parse().unwrap()], ..AsPathMatch::default() })
}

fn any_community(text: &str) -> Ask {
    Ask::Community(CommunityMatch { any: vec![text.parse().unwrap()], ..CommunityMatch::default() })
}

fn setting(asks: Vec<Ask>, sets: Vec<Set>, decision: Decision) -> Rule {
    Rule { sets, ..Rule::new(asks, decision) }
}

#[test]
fn the_first_rule_that_matches_decides_and_none_rejects() {
    let policy = Policy {
        rules: vec![
            Rule::new(vec![within("10.0.0.0/8", 9, 24)], Decision::Reject),
            Rule::new(vec![within("0.0.0.0/0", 0, 24)], Decision::Accept),
        ],
    };
    let passes = |p| run(&policy, p, &attributes(&[65001])).is_some();
    assert!(!passes("10.1.0.0/16") && passes("10.0.0.0/8") && passes("192.0.2.0/24"));
    assert!(!passes("192.0.2.0/25"), "no rule is about it");
    assert!(run(&Policy::default(), "192.0.2.0/24", &attributes(&[])).is_none());
}

#[test]
fn rules_below_see_what_a_rule_that_passes_on_has_changed() {
    let tag = Set::AddCommunities(vec!["64512:7".parse().unwrap()]);
    let policy = Policy {
        rules: vec![
            setting(vec![within("10.0.0.0/8", 8, 32)], vec![tag], Decision::Next),
            setting(
                vec![any_community("64512:*")],
                vec![Set::LocalPref(Amount::More(50)), Set::Weight(9)],
                Decision::Accept,
            ),
            Rule::new(vec![], Decision::Accept),
        ],
    };
    let inside = run(&policy, "10.1.0.0/16", &attributes(&[65001])).unwrap();
    assert_eq!((inside.local_pref, inside.weight), (Some(150), 9));
    assert_eq!(inside.communities, [64512 << 16 | 7]);
    let outside = run(&policy, "192.0.2.0/24", &attributes(&[65001])).unwrap();
    assert_eq!((outside.local_pref, outside.weight), (None, 0));
}

fn run_one(set: &Set, attrs: &Attributes) -> Attributes {
    let policy = Policy { rules: vec![setting(vec![], vec![set.clone()], Decision::Accept)] };
    run(&policy, "192.0.2.0/24", attrs).unwrap()
}

#[test]
fn each_change_does_what_it_says() {
    let mut attrs = attributes(&[65001, 65002]);
    attrs.med = Some(20);
    attrs.communities = vec![65001 << 16 | 1, 0xffff_ff01];
    attrs.large_communities = vec![[65001, 1, 1]];
    let after = |sets: Vec<Set>| {
        let policy = Policy { rules: vec![setting(vec![], sets, Decision::Accept)] };
        run(&policy, "192.0.2.0/24", &attrs).unwrap()
    };
    assert_eq!(after(vec![Set::Med(Amount::Less(30))]).med, Some(0));
    assert_eq!(after(vec![Set::Med(Amount::More(u32::MAX))]).med, Some(u32::MAX));
    assert_eq!(after(vec![Set::NoMed]).med, None);
    let prepended = after(vec![Set::Prepend { count: 2, asn: None }]);
    assert_eq!(prepended.as_path.to_string(), "64512 64512 65001 65002");
    let other = after(vec![Set::Prepend { count: 1, asn: Some(Asn(7)) }]);
    assert_eq!(other.as_path.to_string(), "7 65001 65002");
    assert_eq!(after(vec![Set::Origin(Origin::Egp)]).origin, Origin::Egp);
    let hop = |to: &str| after(vec![Set::NextHop(NextHopChange::To(to.parse().unwrap()))]).next_hop;
    assert_eq!(hop("192.0.2.77").to_string(), "192.0.2.77");
    assert_eq!(hop("2001:db8::1"), attrs.next_hop, "an address of the other family is for others");
    let bandwidth = |said| after(vec![Set::LinkBandwidth(said)]);
    let slow = Attributes { extended_communities: vec![0x0004_fde9_4e95_02f9], ..attrs.clone() };
    let fast = run_one(&Set::LinkBandwidth(Some(0x4004_fc00_5015_02f9)), &slow);
    assert_eq!(fast.extended_communities, [0x4004_fc00_5015_02f9], "in the other's place");
    assert_eq!(run_one(&Set::LinkBandwidth(None), &slow).extended_communities, [0; 0]);
    assert_eq!(bandwidth(None), attrs);
    let left = after(vec![Set::RemoveCommunities(vec!["65001:*".parse().unwrap()])]);
    assert_eq!(
        (left.communities, left.large_communities),
        (vec![0xffff_ff01], vec![[65001, 1, 1]])
    );
    let new = vec!["rt:1:2".parse().unwrap(), "rt:1:2".parse().unwrap()];
    let replaced = after(vec![Set::ClearCommunities, Set::AddCommunities(new)]);
    assert_eq!((replaced.communities.len(), replaced.extended_communities.len()), (0, 1));
    assert!(replaced.large_communities.is_empty());
}

#[test]
fn each_question_is_about_what_it_says() {
    let from = Source {
        role: Some(Role::Provider),
        interface: Some("eth7".into()),
        ..source(1, Kind::External)
    };
    let mut attrs = attributes(&[65001, 65002]);
    attrs.communities = vec![65001 << 16 | 1];
    let attrs = Arc::new(attrs);
    let holds = |ask: Ask| {
        let policy = Policy { rules: vec![Rule::new(vec![ask], Decision::Accept)] };
        let context = context(&from, &Validity::Invalid);
        let traced =
            trace::trace(&Program::new(&policy), &prefix("192.0.2.0/24"), &attrs, &context);
        let why = match &traced.rules[0].outcome {
            Outcome::PassedOver { why } => why.clone(),
            Outcome::Matched(_) => String::new(),
        };
        (traced.accepted, why)
    };
    let length =
        |ge, le| Ask::AsPath(AsPathMatch { length: Some((ge, le)), ..AsPathMatch::default() });
    for ask in [
        within("192.0.2.0/24", 24, 24),
        Ask::Family(Family::Ipv4Unicast),
        any_community("65001:*"),
        pattern("^65001 .*$"),
        length(2, 2),
        Ask::Origin(vec![Origin::Egp, Origin::Igp]),
        Ask::NextHop(vec![prefix("192.0.2.0/24")]),
        Ask::Peer(vec!["p1".into()]),
        Ask::Role(vec![Role::Provider]),
        Ask::Rpki(vec![Validity::Invalid]),
        Ask::Source(vec![Provenance::Ebgp]),
        Ask::Interface(vec!["eth7".into()]),
    ] {
        assert_eq!(holds(ask.clone()), (true, String::new()), "{ask:?}");
    }
    for (ask, why) in [
        (within("192.0.2.0/24", 25, 32), "its prefix is another"),
        (Ask::Family(Family::Ipv6Unicast), "it is not of ipv6-unicast"),
        (any_community("no-export"), "it has no community no-export"),
        (pattern("65003"), "its AS path, 65001 65002, is not like 65003"),
        (length(3, 9), "its AS path, 65001 65002, has the length 2"),
        (Ask::Origin(vec![Origin::Egp]), "its origin is IGP, not EGP"),
        (Ask::NextHop(vec![prefix("10.0.0.0/8")]), "its next hop 192.0.2.1 is not in 10.0.0.0/8"),
        (Ask::Peer(vec!["tor".into(), "p".into()]), "it is not from peer tor or p, but from p1"),
        (Ask::Role(vec![Role::Peer]), "its peer is a provider, not a peer"),
        (Ask::Rpki(vec![Validity::Valid]), "RPKI says invalid, not valid"),
        (Ask::Source(vec![Provenance::Ibgp]), "its source is ebgp, not ibgp"),
        (Ask::Interface(vec!["eth0".into()]), "its interface is eth7, not eth0"),
    ] {
        assert_eq!(holds(ask), (false, why.to_owned()));
    }
}

#[test]
fn a_policy_that_asks_nothing_of_prefixes_makes_its_attributes_once() {
    let policy = Policy {
        rules: vec![setting(
            vec![pattern("65001")],
            vec![Set::LocalPref(Amount::To(7))],
            Decision::Accept,
        )],
    };
    let (program, from) = (Program::new(&policy), source(1, Kind::External));
    let context = context(&from, &NoOrigins);
    let mut made = 0;
    let mut prepared = program.prepare(&Arc::new(attributes(&[65001])), &context);
    for n in 0..100 {
        let p = prefix(&format!("10.{n}.0.0/16"));
        let passed = prepared.decide(&program, &p, &context, &mut |draft| {
            made += 1;
            draft.attrs
        });
        assert_eq!(passed.unwrap().local_pref, Some(7));
    }
    assert_eq!(made, 1);
}

/// The same by the letter of the model, one path at a time.
fn by_hand(
    policy: &Policy,
    p: &Prefix,
    attrs: &Attributes,
    from: &Source,
    rpki: Validity,
) -> Option<Attributes> {
    let mut attrs = attrs.clone();
    for rule in &policy.rules {
        let holds = |ask: &Ask| match ask {
            Ask::Prefix(list) => {
                list.iter().any(|m| m.within.covers(p) && m.ge <= p.len() && p.len() <= m.le)
            }
            Ask::Community(m) => attrs
                .communities
                .iter()
                .any(|c| m.any.iter().any(|w| w.to_string() == format!("0:{c}"))),
            Ask::AsPath(m) => attrs.as_path.asns().any(|a| m.contains.contains(&a)),
            Ask::Rpki(states) => states.contains(&rpki),
            Ask::Source(all) => {
                all.contains(&Provenance::Own(from.protocol))
                    || all.contains(&Provenance::Ebgp) && from.kind == Kind::External
            }
            other => unreachable!("{other:?}"),
        };
        if !rule.asks.iter().all(holds) {
            continue;
        }
        for set in &rule.sets {
            match set {
                Set::LocalPref(Amount::More(n)) => {
                    attrs.local_pref = Some(attrs.local_pref.unwrap_or(100) + n);
                }
                Set::AddCommunities(all) => {
                    for community in all {
                        let Ok(value) = community.to_string()[2..].parse() else { continue };
                        if !attrs.communities.contains(&value) {
                            attrs.communities.push(value);
                        }
                    }
                }
                Set::Prepend { count: 1, asn: Some(asn) } => attrs.as_path.prepend(*asn, 1),
                other => unreachable!("{other:?}"),
            }
        }
        match rule.decision {
            Decision::Accept => return Some(attrs),
            Decision::Reject => return None,
            Decision::Next => {}
        }
    }
    None
}

fn a_prefix() -> impl Strategy<Value = Prefix> {
    (0u32..4, 8u8..12).prop_map(|(bits, len)| {
        Prefix::containing(std::net::IpAddr::V4((bits << 28 | bits << 22).into()), len).unwrap()
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let one = |(within, more): (Prefix, u8)| {
        Ask::Prefix(vec![PrefixMatch { within, ge: within.len(), le: within.len() + more }])
    };
    let contains =
        |n: u32| Ask::AsPath(AsPathMatch { contains: vec![Asn(n)], ..AsPathMatch::default() });
    let from = [Provenance::Ebgp, Provenance::Own(Protocol::Local)];
    prop_oneof![
        (a_prefix(), 0u8..4).prop_map(one),
        (0u32..4).prop_map(|n| any_community(&format!("0:{n}"))),
        (1u32..4).prop_map(contains),
        prop::sample::select(vec![Validity::Valid, Validity::Invalid])
            .prop_map(|v| Ask::Rpki(vec![v])),
        prop::sample::select(from.to_vec()).prop_map(|from| Ask::Source(vec![from])),
    ]
}

fn set() -> impl Strategy<Value = Set> {
    prop_oneof![
        (1u32..3).prop_map(|n| Set::LocalPref(Amount::More(n))),
        (0u32..4).prop_map(|n| Set::AddCommunities(vec![format!("0:{n}").parse().unwrap()])),
        (1u32..4).prop_map(|n| Set::Prepend { count: 1, asn: Some(Asn(n)) }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let decision = prop::sample::select(vec![
        Decision::Accept,
        Decision::Reject,
        Decision::Next,
        Decision::Next,
    ]);
    let asks = prop::collection::vec(ask(), 0..3);
    let rule = (asks, prop::collection::vec(set(), 0..3), decision)
        .prop_map(|(asks, sets, decision)| setting(asks, sets, decision));
    prop::collection::vec(rule, 0..8).prop_map(|rules| Policy { rules })
}

proptest! {
    #[test]
    fn a_program_does_what_its_rules_say_and_tells_so(
        policy in policy(),
        prefixes in prop::collection::vec(a_prefix(), 1..12),
        as_path in prop::collection::vec(1u32..5, 0..3),
        communities in prop::collection::btree_set(0u32..4, 0..3),
        external in any::<bool>(),
        rpki in prop::sample::select(vec![Validity::Valid, Validity::Invalid]),
    ) {
        let from = source(1, if external { Kind::External } else { Kind::Local });
        let attrs = Attributes {
            communities: communities.into_iter().collect(),
            ..attributes(&as_path)
        };
        let (program, shared) = (Program::new(&policy), Arc::new(attrs.clone()));
        let context = context(&from, &rpki);
        let mut prepared = program.prepare(&shared, &context);
        for p in prefixes {
            let wanted = by_hand(&policy, &p, &attrs, &from, rpki);
            let passed = prepared.decide(&program, &p, &context, &mut |draft| draft.attrs);
            prop_assert_eq!(passed.map(Arc::unwrap_or_clone), wanted.clone());
            let told = trace::trace(&program, &p, &shared, &context);
            prop_assert_eq!(told.accepted.then_some(told.after), wanted);
        }
    }
}
