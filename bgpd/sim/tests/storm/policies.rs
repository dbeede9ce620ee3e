//! Policies of which one takes the place of another while it storms.

#![allow(clippy::unwrap_used, reason = "a word that cannot be read is a failed test")]

use bgp_core::config::{Policy, PolicyName, PrefixMatch, Rule};
use bgp_core::policy::{Amount, Ask, CommunityMatch, Decision, Set};
use std::collections::BTreeMap;

/// For paths that come in.
pub(crate) const IMPORT: [&str; 5] = ["prefer", "weigh", "refuse", "inside", "tagged"];
/// For paths that go out.
pub(crate) const EXPORT: [&str; 4] = ["med", "longer", "mark", "refuse"];

pub(crate) fn named(name: &str) -> PolicyName {
    PolicyName::Named(name.into())
}

fn within(prefix: &str) -> Ask {
    let within: bgp_core::types::Prefix = prefix.parse().unwrap();
    let le = if within.is_ipv4() { 32 } else { 128 };
    Ask::Prefix(vec![PrefixMatch { within, ge: within.len(), le }])
}

fn tagged(community: &str) -> Ask {
    let any = vec![community.parse().unwrap()];
    Ask::Community(CommunityMatch { any, ..CommunityMatch::default() })
}

fn rule(asks: Vec<Ask>, sets: Vec<Set>, decision: Decision) -> Rule {
    Rule { sets, ..Rule::new(asks, decision) }
}

fn add(community: &str) -> Set {
    Set::AddCommunities(vec![community.parse().unwrap()])
}

pub(crate) fn all() -> BTreeMap<String, Policy> {
    let accept = || rule(vec![], vec![], Decision::Accept);
    let one = |asks, sets, decision| vec![rule(asks, sets, decision), accept()];
    let low = || within("10.0.0.0/9");
    let rules = [
        ("prefer", one(vec![low()], vec![Set::LocalPref(Amount::To(200))], Decision::Next)),
        ("weigh", one(vec![within("10.99.0.0/16")], vec![Set::Weight(7)], Decision::Accept)),
        ("refuse", one(vec![within("10.99.0.0/17")], vec![], Decision::Reject)),
        ("inside", one(vec![low()], vec![add("no-export")], Decision::Next)),
        ("tagged", one(vec![tagged("65000:1")], vec![], Decision::Reject)),
        ("med", one(vec![low()], vec![Set::Med(Amount::To(5))], Decision::Next)),
        ("longer", one(vec![low()], vec![Set::Prepend { count: 2, asn: None }], Decision::Accept)),
        ("mark", one(vec![within("10.99.0.0/16")], vec![add("65000:1")], Decision::Accept)),
    ];
    rules.into_iter().map(|(name, rules)| (name.to_owned(), Policy { rules })).collect()
}
