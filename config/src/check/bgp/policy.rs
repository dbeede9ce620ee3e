//! Policies: what they name, and what never decides.

use super::super::unique;
use super::{MOST_NAMED, reference};
use crate::fault::{Log, one_of};
use crate::file::{
    AsPathKey, AsPathMatch, Bgp, CommunityKey, Few, Match, Peer, Policy, PolicySet, PrefixItem,
    PrefixMatch, Rule,
};
use crate::model::{NextHopChange, Verdict};
use crate::read::{At, Items, List};
use crate::resolve::is_built_in;
use crate::scalar::{CommunityWord, Name};
use std::collections::HashSet;

const EMPTY: &str = "an empty list matches nothing; leave match out to match all";

pub(super) fn check(bgp: &Bgp, log: &mut Log) {
    let sets = bgp.sets.items();
    unique(log, sets.iter().map(|s| &s.name), |name| name.0.clone());
    sets.iter().for_each(|set| lists(set, log));
    let policies = bgp.policies.items();
    unique(log, policies.iter().map(|p| &p.name), |name| name.0.clone());
    for policy in policies {
        if is_built_in(&policy.name.0) {
            let text = format!("{} is built in; take another name", policy.name.0);
            log.error(&policy.name.place, text);
        }
        rules(bgp, policy, log);
    }
    let known: HashSet<_> = policies.iter().map(|p| p.name.0.as_str()).collect();
    for peer in bgp.peers.items() {
        for policy in [&peer.import, &peer.export].into_iter().flatten() {
            reference(policy, &known, log);
        }
        directions(policies, peer, log);
    }
}

fn lists(set: &PolicySet, log: &mut Log) {
    for item in set.prefix.items() {
        match &item.value {
            PrefixItem::Match(prefix) => lengths(prefix, log),
            PrefixItem::Set(_) => log.error(&item.place, "a set lists prefixes, not other sets"),
        }
    }
    for word in set.community.items().iter().filter(|w| matches!(w.value, CommunityWord::Set(_))) {
        log.error(&word.place, "a set lists communities, not other sets");
    }
}

fn rules(bgp: &Bgp, policy: &Policy, log: &mut Log) {
    if policy.rules.is_empty() {
        log.error(&policy.rules.place, "no rules; for a policy that rejects all, write none");
    }
    unique(log, policy.rules.iter().filter_map(|r| r.name.as_ref()), |name| name.0.clone());
    let mut all = None;
    for rule in policy.rules.iter() {
        if let Some(line) = all.take() {
            log.warn(&rule.place, format!("never reached: the rule on line {line} matches all"));
        }
        if rule.action.value != Verdict::Next
            && rule.r#match.as_ref().is_none_or(|m| asks_nothing(m))
        {
            all = Some(rule.place.line);
        }
        if let Some(matches) = &rule.r#match {
            asked(bgp, matches, log);
        }
        changed(bgp, rule, log);
    }
}

fn asks_nothing(m: &Match) -> bool {
    let values =
        [m.prefix.is_none(), m.family.is_none(), m.community.is_none(), m.as_path.is_none()];
    let few = [m.origin.is_none(), m.next_hop.is_none(), m.peer.is_none(), m.role.is_none()];
    let more = [m.rpki.is_none(), m.source.is_none(), m.interface.is_none()];
    values.iter().chain(&few).chain(&more).all(|none| *none)
}

fn asked(bgp: &Bgp, m: &Match, log: &mut Log) {
    if let Some(list) = m.prefix.as_ref().filter(|list| list.is_empty()) {
        log.error(&list.place, EMPTY);
    }
    for item in m.prefix.items() {
        match &item.value {
            PrefixItem::Match(prefix) => lengths(prefix, log),
            PrefixItem::Set(name) => {
                refers(bgp, item, name, |set| set.prefix.items().is_empty(), log);
            }
        }
    }
    some(&m.origin, log);
    some(&m.next_hop, log);
    some(&m.peer, log);
    some(&m.role, log);
    some(&m.rpki, log);
    some(&m.source, log);
    some(&m.interface, log);
    peers(bgp, &m.peer, log);
    if let Some(community) = &m.community {
        communities(bgp, community, log);
    }
    match m.as_path.as_ref().map(|path| (&path.place, &path.value)) {
        Some((place, AsPathKey::Patterns(all))) if all.is_empty() => log.error(place, EMPTY),
        Some((_, AsPathKey::Table(table))) => as_path(table, log),
        _ => {}
    }
}

fn some<T>(few: &Few<T>, log: &mut Log) {
    if let Some(empty) = few.as_ref().filter(|few| few.0.is_empty()) {
        log.error(&empty.place, EMPTY);
    }
}

fn communities(bgp: &Bgp, key: &At<CommunityKey>, log: &mut Log) {
    let words: Vec<&At<CommunityWord>> = match &key.value {
        CommunityKey::Any(any) => any.iter().collect(),
        CommunityKey::Table(table) => {
            [&table.any, &table.all, &table.none].into_iter().flat_map(Items::items).collect()
        }
    };
    if words.is_empty() {
        log.error(&key.place, EMPTY);
    }
    words.into_iter().for_each(|word| known_set(bgp, word, log));
}

fn known_set(bgp: &Bgp, word: &At<CommunityWord>, log: &mut Log) {
    if let CommunityWord::Set(name) = &word.value {
        refers(bgp, word, name, |set| set.community.items().is_empty(), log);
    }
}

fn refers<T>(
    bgp: &Bgp,
    at: &At<T>,
    name: &Name,
    lacks: impl Fn(&PolicySet) -> bool,
    log: &mut Log,
) {
    let sets = bgp.sets.items();
    match sets.iter().find(|set| set.name.value == *name) {
        Some(set) if lacks(set) => {
            log.error(&at.place, format!("the set {} has none of these", name.0));
        }
        Some(_) => {}
        None => {
            let known = sets.iter().map(|s| s.name.0.as_str()).take(MOST_NAMED);
            let text = match sets.is_empty() {
                true => format!("there is no set {}, and no other in bgp.sets", name.0),
                false => format!("there is no set {}; it is one of {}", name.0, one_of(known)),
            };
            log.error(&at.place, text);
        }
    }
}

/// A name that nobody has is mostly a slip; and a node may have other peers than its neighbour.
fn peers(bgp: &Bgp, names: &Few<Name>, log: &mut Log) {
    let known: HashSet<_> = bgp.peers.items().iter().map(|p| p.name.0.as_str()).collect();
    for name in names.as_ref().map_or(&[][..], |few| &few.0) {
        if !known.contains(name.0.as_str()) && !name.0.starts_with("mesh-") {
            log.warn(&name.place, format!("no peer is called {}", name.0));
        }
    }
}

fn as_path(table: &AsPathMatch, log: &mut Log) {
    some(&table.pattern, log);
    some(&table.contains, log);
    some(&table.origin, log);
    some(&table.neighbor, log);
    let Some(length) = &table.length else { return };
    if let (Some(ge), Some(le)) = (&length.ge, &length.le)
        && ge.0 > le.0
    {
        log.error(&le.place, format!("{} is less than ge, {}", le.0, ge.0));
    }
}

fn changed(bgp: &Bgp, rule: &Rule, log: &mut Log) {
    let Some(set) = &rule.set else { return };
    if rule.action.value == Verdict::Reject {
        log.error(&set.place, "of no use: a rejected route is not changed");
    }
    if let Some(change) = &set.community {
        change.remove.items().iter().for_each(|word| known_set(bgp, word, log));
        no_words(&change.add, log);
        no_words(&change.remove, log);
    }
}

fn no_words<T>(list: &List<T>, log: &mut Log) {
    if let Some(empty) = list.as_ref().filter(|list| list.is_empty()) {
        log.error(&empty.place, "an empty list changes nothing");
    }
}

/// What means something only in one direction.
fn directions(policies: &[At<Policy>], peer: &Peer, log: &mut Log) {
    let used = |name: &Option<At<Name>>| {
        let name = name.as_ref()?;
        let policy = policies.iter().find(|p| p.name.value == name.value)?;
        Some((name.place.clone(), policy))
    };
    if let Some((place, policy)) = used(&peer.import)
        && let Some(rule) = policy.rules.iter().find(|rule| sets_self(rule))
    {
        let (name, line) = (&policy.name.0, rule.place.line);
        log.error(
            &place,
            format!("{name} sets next_hop: self (line {line}), which only export can do"),
        );
    }
    if let Some((place, policy)) = used(&peer.export)
        && let Some(rule) =
            policy.rules.iter().find(|r| r.set.as_ref().is_some_and(|s| s.weight.is_some()))
    {
        let (name, line) = (&policy.name.0, rule.place.line);
        log.warn(&place, format!("{name} sets a weight (line {line}), which no peer is told"));
    }
}

fn sets_self(rule: &Rule) -> bool {
    let next_hop = rule.set.as_ref().and_then(|set| set.next_hop.as_ref());
    next_hop.is_some_and(|hop| hop.0 == NextHopChange::OurSelf)
}

fn lengths(item: &PrefixMatch, log: &mut Log) {
    let within = &item.r#in.value;
    let longest: u32 = if within.is_ipv4() { 32 } else { 128 };
    let least = u32::from(within.len());
    for length in [&item.ge, &item.le].into_iter().flatten() {
        if !(least..=longest).contains(&length.0) {
            let text = format!("{} is not within {least} to {longest}, for {within}", length.0);
            log.error(&length.place, text);
        }
    }
    if let (Some(ge), Some(le)) = (&item.ge, &item.le)
        && ge.0 > le.0
    {
        log.error(&le.place, format!("{} is less than ge, {}", le.0, ge.0));
    }
}
