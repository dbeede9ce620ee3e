//! What a named policy does, rule by rule. Only what simulations use is known here.

use super::Told;
use bgp_core::config::{Policy, PolicyName, PrefixMatch, Rule};
use bgp_core::policy::{Amount, Ask, Decision, Set};
use bgp_core::types::{Family, Prefix};
use bgp_words::Community;
use std::collections::BTreeMap;

/// What a policy has made of a path, and whether it has set the MED.
pub(super) struct Passed {
    pub(super) told: Told,
    pub(super) med: bool,
}

/// `own_asn`: in front of the path where a rule says no other.
pub(super) fn apply(
    policies: &BTreeMap<String, Policy>,
    name: &PolicyName,
    prefix: &Prefix,
    told: &Told,
    own_asn: Option<u32>,
) -> Option<Passed> {
    let mut passed = Passed { told: told.clone(), med: false };
    let PolicyName::Named(name) = name else { return Some(passed) };
    for rule in &policies.get(name)?.rules {
        if !rule.asks.iter().all(|ask| holds(ask, prefix, &passed.told)) {
            continue;
        }
        if rule.decision == Decision::Reject {
            return None;
        }
        change(rule, &mut passed, own_asn);
        if rule.decision == Decision::Accept {
            return Some(passed);
        }
    }
    None
}

fn holds(ask: &Ask, prefix: &Prefix, told: &Told) -> bool {
    match ask {
        Ask::Prefix(list) => list.iter().any(|PrefixMatch { within, ge, le }| {
            within.is_ipv4() == prefix.is_ipv4()
                && within.contains(prefix.addr())
                && prefix.len() >= within.len()
                && (*ge..=*le).contains(&prefix.len())
        }),
        Ask::Family(family) => (*family == Family::Ipv4Unicast) == prefix.is_ipv4(),
        Ask::Community(wanted) => {
            let has = |pattern: &bgp_words::CommunityPattern| {
                let single = pattern.single().expect("simulations name whole communities");
                told.communities.iter().any(|c| Community::Standard(*c) == single)
            };
            wanted.any.is_empty() || wanted.any.iter().any(has)
        }
        other => panic!("the model does not know {other:?}"),
    }
}

fn change(rule: &Rule, passed: &mut Passed, own_asn: Option<u32>) {
    let told = &mut passed.told;
    for set in &rule.sets {
        match set {
            Set::LocalPref(Amount::To(value)) => told.local_pref = Some(*value),
            Set::Med(Amount::To(value)) => (told.med, passed.med) = (Some(*value), true),
            Set::Weight(value) => told.weight = *value,
            Set::AddCommunities(all) => {
                for community in all {
                    let Community::Standard(value) = community else { panic!("{community:?}") };
                    if !told.communities.contains(value) {
                        told.communities.push(*value);
                    }
                }
            }
            Set::Prepend { count, asn: None } => {
                if let Some(asn) = own_asn.or_else(|| told.as_path.first().copied()) {
                    told.as_path.splice(0..0, std::iter::repeat_n(asn, (*count).into()));
                }
            }
            other => panic!("the model does not know {other:?}"),
        }
    }
}
