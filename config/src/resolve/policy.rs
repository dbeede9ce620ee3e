//! Policies: what names stand for, in their place.

use crate::file::{self, AsPathKey, CommunityKey, Few, PrefixItem};
use crate::model::{
    AsPathMatch, Changes, CommunityChange, CommunityMatch, Length, Match, PrefixMatch, Prepend,
    Rule,
};
use crate::read::{At, Items, List};
use crate::scalar::{CommunityWord, Name};
use bgp_words::CommunityPattern;
use mainstay_prefix::Prefix;

pub(super) fn rules(bgp: &file::Bgp, policy: &file::Policy) -> Vec<Rule> {
    let rule = |rule: &At<file::Rule>| Rule {
        name: rule.name.as_ref().map(|name| name.0.clone()),
        matches: rule.r#match.as_ref().map_or_else(Match::default, |m| matches(bgp, m)),
        set: rule.set.as_ref().map_or_else(Changes::default, |set| changes(bgp, set)),
        action: rule.action.value,
    };
    policy.rules.iter().map(rule).collect()
}

fn matches(bgp: &file::Bgp, given: &file::Match) -> Match {
    Match {
        prefix: given.prefix.as_ref().map(|list| prefixes(bgp, list)),
        family: given.family.as_ref().map(|family| family.value),
        community: given.community.as_ref().map(|key| community(bgp, key)),
        as_path: given.as_path.as_ref().map(|key| as_path(key)),
        origin: few(&given.origin, |origin| *origin),
        next_hop: few(&given.next_hop, |prefix| *prefix),
        peer: few(&given.peer, |name| name.0.clone()),
        role: few(&given.role, |role| *role),
        rpki: few(&given.rpki, |state| *state),
        source: few(&given.source, |source| *source),
        interface: few(&given.interface, |interface| interface.0.clone()),
    }
}

fn few<T, U>(given: &Few<T>, value: impl Fn(&T) -> U) -> Option<Vec<U>> {
    given.as_ref().map(|few| few.0.iter().map(|at| value(&at.value)).collect())
}

/// What a set lists; the check has seen that it is there.
fn set<'f>(bgp: &'f file::Bgp, name: &Name) -> Option<&'f file::PolicySet> {
    bgp.sets.items().iter().find(|set| set.name.value == *name).map(|set| &set.value)
}

fn prefixes(bgp: &file::Bgp, list: &[At<PrefixItem>]) -> Vec<PrefixMatch> {
    let item = |item: &At<PrefixItem>| match &item.value {
        PrefixItem::Match(prefix) => vec![lengths(prefix)],
        PrefixItem::Set(name) => {
            let items = set(bgp, name).map_or(&[][..], |set| set.prefix.items());
            items.iter().filter_map(|item| listed(item)).collect()
        }
    };
    list.iter().flat_map(item).collect()
}

fn listed(item: &PrefixItem) -> Option<PrefixMatch> {
    match item {
        PrefixItem::Match(prefix) => Some(lengths(prefix)),
        PrefixItem::Set(_) => None,
    }
}

/// `in` alone is that prefix exactly; `ge` opens it downward, `le` from its own length.
fn lengths(prefix: &file::PrefixMatch) -> PrefixMatch {
    let within: Prefix = prefix.r#in.value;
    let longest = if within.is_ipv4() { 32 } else { 128 };
    let length = |n: u32| u8::try_from(n).unwrap_or(longest);
    let ge = prefix.ge.as_ref().map(|n| length(n.0));
    let le = prefix.le.as_ref().map(|n| length(n.0));
    let open = if ge.is_some() { longest } else { within.len() };
    PrefixMatch { within, ge: ge.unwrap_or(within.len()), le: le.unwrap_or(open) }
}

fn community(bgp: &file::Bgp, key: &CommunityKey) -> CommunityMatch {
    match key {
        CommunityKey::Any(any) => {
            CommunityMatch { any: words(bgp, any), ..CommunityMatch::default() }
        }
        CommunityKey::Table(table) => CommunityMatch {
            any: words(bgp, table.any.items()),
            all: words(bgp, table.all.items()),
            none: words(bgp, table.none.items()),
        },
    }
}

fn words(bgp: &file::Bgp, list: &[At<CommunityWord>]) -> Vec<CommunityPattern> {
    let word = |word: &At<CommunityWord>| match &word.value {
        CommunityWord::Pattern(pattern) => vec![*pattern],
        CommunityWord::Set(name) => {
            let items = set(bgp, name).map_or(&[][..], |set| set.community.items());
            items.iter().filter_map(|item| pattern(item)).collect()
        }
    };
    list.iter().flat_map(word).collect()
}

const fn pattern(word: &CommunityWord) -> Option<CommunityPattern> {
    match word {
        CommunityWord::Pattern(pattern) => Some(*pattern),
        CommunityWord::Set(_) => None,
    }
}

fn as_path(key: &AsPathKey) -> AsPathMatch {
    let table = match key {
        AsPathKey::Table(table) => table,
        AsPathKey::Patterns(all) => {
            let pattern = all.iter().map(|p| p.value.clone()).collect();
            return AsPathMatch { pattern, ..AsPathMatch::default() };
        }
    };
    let asns = |given| few(given, |asn: &crate::scalar::Asn| asn.0).unwrap_or_default();
    let bound = |given: &Option<At<crate::scalar::Int<0, 65535>>>, default| {
        given.as_ref().map_or(default, |bound| bound.0)
    };
    AsPathMatch {
        pattern: few(&table.pattern, Clone::clone).unwrap_or_default(),
        contains: asns(&table.contains),
        origin: asns(&table.origin),
        neighbor: asns(&table.neighbor),
        length: table
            .length
            .as_ref()
            .map(|length| Length { ge: bound(&length.ge, 0), le: bound(&length.le, 65535) }),
    }
}

fn changes(bgp: &file::Bgp, given: &file::Changes) -> Changes {
    Changes {
        local_pref: given.local_pref.as_ref().map(|amount| amount.0),
        med: given.med.as_ref().map(|med| med.0),
        community: given.community.as_ref().map(|change| communities(bgp, change)),
        prepend: given.prepend.as_ref().map(|prepend| Prepend {
            count: u8::try_from(prepend.0.count.0).unwrap_or(u8::MAX),
            asn: prepend.0.asn.as_ref().map(|asn| asn.0),
        }),
        next_hop: given.next_hop.as_ref().map(|hop| hop.0),
        weight: given.weight.as_ref().map(|weight| weight.0),
        origin: given.origin.as_ref().map(|origin| origin.value),
        link_bandwidth: given.link_bandwidth.as_ref().map(|rate| rate.0),
    }
}

fn communities(bgp: &file::Bgp, change: &file::CommunityChange) -> CommunityChange {
    let values = |list: &List<_>| list.items().iter().map(|c: &At<_>| c.value).collect();
    CommunityChange {
        replace: change.replace.as_ref().map(|list| list.iter().map(|c| c.value).collect()),
        remove: words(bgp, change.remove.items()),
        add: values(&change.add),
    }
}
