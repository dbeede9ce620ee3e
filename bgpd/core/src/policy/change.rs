//! What a rule makes of a path's attributes.

use super::Context;
use super::condition::communities;
use super::model::{Amount, NextHopChange, Set};
use crate::types::{Asn, Family, NextHop};
use crate::wire::Attributes;
use bgp_words::{Community, CommunityPattern};
use std::net::IpAddr;
use std::sync::Arc;

/// MED and LOCAL_PREF of a path that has none, to count from.
const NO_MED: u32 = 0;
const DEFAULT_LOCAL_PREF: u32 = crate::rib::decision::DEFAULT_LOCAL_PREF;

/// A path's attributes while rules change them: shared until the first change.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) attrs: Arc<Attributes>,
    pub(crate) touched: Touched,
}

/// What was set on purpose, and is not to be set by the rules of export again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) med: bool,
    pub(crate) next_hop: Option<NextHopChange>,
    pub(crate) link_bandwidth: bool,
}

impl Draft {
    pub(crate) fn new(attrs: &Arc<Attributes>) -> Self {
        Self { attrs: Arc::clone(attrs), touched: Touched::default() }
    }

    pub(super) fn apply(&mut self, sets: &[Set], context: &Context<'_>) {
        if sets.is_empty() {
            return;
        }
        let attrs = Arc::make_mut(&mut self.attrs);
        for set in sets {
            change(attrs, &mut self.touched, set, context);
        }
    }
}

fn change(attrs: &mut Attributes, touched: &mut Touched, set: &Set, context: &Context<'_>) {
    match set {
        Set::LocalPref(amount) => {
            attrs.local_pref = Some(amount.of(attrs.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)));
        }
        Set::Med(amount) => {
            attrs.med = Some(amount.of(attrs.med.unwrap_or(NO_MED)));
            touched.med = true;
        }
        Set::NoMed => {
            attrs.med = None;
            touched.med = true;
        }
        Set::ClearCommunities => clear_communities(attrs),
        Set::RemoveCommunities(patterns) => remove_communities(attrs, patterns),
        Set::AddCommunities(all) => all.iter().for_each(|c| add_community(attrs, *c)),
        Set::Prepend { count, asn } => prepend(attrs, *count, asn.or(context.own_asn)),
        Set::NextHop(to) => set_next_hop(attrs, touched, *to, context.family),
        Set::Weight(weight) => attrs.weight = *weight,
        Set::Origin(origin) => attrs.origin = *origin,
        Set::LinkBandwidth(community) => {
            attrs.forget_link_bandwidth();
            touched.link_bandwidth = true;
            attrs.extended_communities.extend(community);
        }
    }
}

impl Amount {
    const fn of(self, before: u32) -> u32 {
        match self {
            Self::To(value) => value,
            Self::More(value) => before.saturating_add(value),
            Self::Less(value) => before.saturating_sub(value),
        }
    }
}

fn prepend(attrs: &mut Attributes, count: u8, asn: Option<Asn>) {
    if let Some(asn) = asn.or_else(|| attrs.as_path.first()) {
        attrs.as_path.prepend(asn, count.into());
    }
}

/// An address of the other family is meant for other paths.
fn set_next_hop(attrs: &mut Attributes, touched: &mut Touched, to: NextHopChange, family: Family) {
    match (to, family) {
        (NextHopChange::OurSelf, _) => {}
        (NextHopChange::To(IpAddr::V4(addr)), Family::Ipv4Unicast) => {
            attrs.next_hop = NextHop::V4(addr);
        }
        (NextHopChange::To(IpAddr::V6(global)), Family::Ipv6Unicast) => {
            attrs.next_hop = NextHop::V6 { global, link_local: None };
        }
        (NextHopChange::To(_), _) => return,
    }
    touched.next_hop = Some(to);
}

fn clear_communities(attrs: &mut Attributes) {
    attrs.communities.clear();
    attrs.extended_communities.clear();
    attrs.large_communities.clear();
    no_bits_of_nothing(attrs);
}

fn remove_communities(attrs: &mut Attributes, patterns: &[CommunityPattern]) {
    let kept: Vec<Community> =
        communities(attrs).filter(|c| !patterns.iter().any(|p| p.matches(*c))).collect();
    attrs.communities.clear();
    attrs.extended_communities.clear();
    attrs.large_communities.clear();
    kept.into_iter().for_each(|community| push(attrs, community));
    no_bits_of_nothing(attrs);
}

fn add_community(attrs: &mut Attributes, community: Community) {
    if !communities(attrs).any(|c| c == community) {
        push(attrs, community);
    }
}

fn push(attrs: &mut Attributes, community: Community) {
    match community {
        Community::Standard(value) => attrs.communities.push(value),
        Community::Extended(value) => attrs.extended_communities.push(value),
        Community::Large(value) => attrs.large_communities.push(value),
    }
}

/// An attribute that is gone has passed nobody.
fn no_bits_of_nothing(attrs: &mut Attributes) {
    attrs.partial.communities &= !attrs.communities.is_empty();
    attrs.partial.extended_communities &= !attrs.extended_communities.is_empty();
    attrs.partial.large_communities &= !attrs.large_communities.is_empty();
}
