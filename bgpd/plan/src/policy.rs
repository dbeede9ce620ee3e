//! Policies, as the core has them.

use crate::family;
use bgp_core::policy::{
    Amount, AsPathMatch, Ask, CommunityMatch, Decision, NextHopChange, Policy, PrefixMatch,
    Provenance, Rule, Set, Validity,
};
use bgp_core::types::{Asn, Protocol, Role};
use bgp_core::wire::Origin;
use mainstay_config as config;

/// Rules of the file, ready to be compiled, for a node of this AS.
#[must_use]
pub fn policy(asn: u32, rules: &[config::Rule]) -> Policy {
    Policy { rules: rules.iter().map(|one| rule(asn, one)).collect() }
}

fn rule(asn: u32, rule: &config::Rule) -> Rule {
    Rule {
        name: rule.name.clone(),
        asks: asks(&rule.matches),
        sets: sets(asn, &rule.set),
        decision: match rule.action {
            config::Verdict::Accept => Decision::Accept,
            config::Verdict::Reject => Decision::Reject,
            config::Verdict::Next => Decision::Next,
        },
    }
}

/// Those that are read fastest first.
fn asks(m: &config::Match) -> Vec<Ask> {
    let all = [
        m.family.as_ref().map(|f| Ask::Family(family(f))),
        each(&m.source, |s| provenance(*s)).map(Ask::Source),
        m.peer.clone().map(Ask::Peer),
        each(&m.role, |r| role(*r)).map(Ask::Role),
        m.interface.clone().map(Ask::Interface),
        each(&m.origin, |o| origin(*o)).map(Ask::Origin),
        m.next_hop.clone().map(Ask::NextHop),
        m.community.as_ref().map(|c| Ask::Community(community(c))),
        m.as_path.as_ref().map(|p| Ask::AsPath(as_path(p))),
        each(&m.prefix, prefix).map(Ask::Prefix),
        each(&m.rpki, |v| validity(*v)).map(Ask::Rpki),
    ];
    all.into_iter().flatten().collect()
}

fn each<T, U>(given: &Option<Vec<T>>, value: impl Fn(&T) -> U) -> Option<Vec<U>> {
    given.as_ref().map(|all| all.iter().map(value).collect())
}

const fn prefix(m: &config::PrefixMatch) -> PrefixMatch {
    PrefixMatch { within: m.within, ge: m.ge, le: m.le }
}

fn community(m: &config::CommunityMatch) -> CommunityMatch {
    CommunityMatch { any: m.any.clone(), all: m.all.clone(), none: m.none.clone() }
}

fn as_path(m: &config::AsPathMatch) -> AsPathMatch {
    let asns = |all: &[u32]| all.iter().map(|asn| Asn(*asn)).collect();
    AsPathMatch {
        patterns: m.pattern.clone(),
        contains: asns(&m.contains),
        origin: asns(&m.origin),
        neighbor: asns(&m.neighbor),
        length: m.length.map(|length| (length.ge, length.le)),
    }
}

const fn origin(origin: config::Origin) -> Origin {
    match origin {
        config::Origin::Igp => Origin::Igp,
        config::Origin::Egp => Origin::Egp,
        config::Origin::Incomplete => Origin::Incomplete,
    }
}

/// What the core calls it.
#[must_use]
pub const fn role(role: config::Role) -> Role {
    match role {
        config::Role::Provider => Role::Provider,
        config::Role::Customer => Role::Customer,
        config::Role::Peer => Role::Peer,
        config::Role::Rs => Role::RouteServer,
        config::Role::RsClient => Role::RouteServerClient,
    }
}

/// What the core calls it.
#[must_use]
pub const fn validity(validity: config::Validity) -> Validity {
    match validity {
        config::Validity::Valid => Validity::Valid,
        config::Validity::Invalid => Validity::Invalid,
        config::Validity::NotFound => Validity::NotFound,
    }
}

/// What the core calls it.
#[must_use]
pub const fn provenance(source: config::Provenance) -> Provenance {
    match source {
        config::Provenance::Local => Provenance::Own(Protocol::Local),
        config::Provenance::Block => Provenance::Own(Protocol::Block),
        config::Provenance::Injected => Provenance::Own(Protocol::Injected),
        config::Provenance::Bgp => Provenance::Bgp,
        config::Provenance::Ebgp => Provenance::Ebgp,
        config::Provenance::Ibgp => Provenance::Ibgp,
    }
}

fn sets(asn: u32, changes: &config::Changes) -> Vec<Set> {
    let simple = [
        changes.local_pref.map(|a| Set::LocalPref(amount(a))),
        changes.med.map(|med| match med {
            config::Med::Amount(a) => Set::Med(amount(a)),
            config::Med::None => Set::NoMed,
        }),
        changes.prepend.map(|p| Set::Prepend { count: p.count, asn: p.asn.map(Asn) }),
        changes.next_hop.map(|hop| Set::NextHop(next_hop(hop))),
        changes.weight.map(Set::Weight),
        changes.origin.map(|o| Set::Origin(origin(o))),
    ];
    let communities = changes.community.iter().flat_map(communities);
    // Whatever becomes of the communities, this is what is said of the bandwidth.
    let bandwidth = changes.link_bandwidth.map(|said| {
        Set::LinkBandwidth(match said {
            config::LinkBandwidth::Is(rate) => Some(rate.community(asn)),
            config::LinkBandwidth::None => None,
        })
    });
    simple.into_iter().flatten().chain(communities).chain(bandwidth).collect()
}

fn communities(change: &config::CommunityChange) -> Vec<Set> {
    let mut sets = Vec::new();
    if let Some(new) = &change.replace {
        sets.push(Set::ClearCommunities);
        sets.push(Set::AddCommunities(new.clone()));
    }
    if !change.remove.is_empty() {
        sets.push(Set::RemoveCommunities(change.remove.clone()));
    }
    if !change.add.is_empty() {
        sets.push(Set::AddCommunities(change.add.clone()));
    }
    sets
}

const fn amount(amount: config::Amount) -> Amount {
    match amount {
        config::Amount::To(value) => Amount::To(value),
        config::Amount::More(value) => Amount::More(value),
        config::Amount::Less(value) => Amount::Less(value),
    }
}

const fn next_hop(hop: config::NextHopChange) -> NextHopChange {
    match hop {
        config::NextHopChange::OurSelf => NextHopChange::OurSelf,
        config::NextHopChange::To(address) => NextHopChange::To(address),
    }
}
