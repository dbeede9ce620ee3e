//! Policies as the configuration says them.

use super::Validity;
use crate::types::{Asn, Family, Prefix, Protocol, Role};
use crate::wire::Origin;
use bgp_words::{AsPathPattern, Community, CommunityPattern};
use std::net::IpAddr;

/// The first rule that matches and does not pass on decides; none: rejected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub name: Option<String>,
    /// All of them must hold; empty: every path.
    pub asks: Vec<Ask>,
    /// In this order.
    pub sets: Vec<Set>,
    pub decision: Decision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Accept,
    Reject,
    /// The rules below see what this one has changed.
    Next,
}

impl Rule {
    /// Without name or changes.
    #[must_use]
    pub const fn new(asks: Vec<Ask>, decision: Decision) -> Self {
        Self { name: None, asks, sets: Vec::new(), decision }
    }
}

/// What a rule asks of a path. Of lists one item must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Prefix(Vec<PrefixMatch>),
    Family(Family),
    Community(CommunityMatch),
    AsPath(AsPathMatch),
    Origin(Vec<Origin>),
    /// Inside one of them.
    NextHop(Vec<Prefix>),
    /// By name: of the peer that the path came from; a dynamic peer also by its range's.
    Peer(Vec<String>),
    /// What the peer that the path came from is to us (RFC 9234).
    Role(Vec<Role>),
    Rpki(Vec<Validity>),
    Source(Vec<Provenance>),
    /// Over which the peer that the path came from is reached.
    Interface(Vec<String>),
}

/// A prefix of length `ge..=le` inside `within`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixMatch {
    pub within: Prefix,
    pub ge: u8,
    pub le: u8,
}

/// Empty lists ask nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommunityMatch {
    pub any: Vec<CommunityPattern>,
    pub all: Vec<CommunityPattern>,
    pub none: Vec<CommunityPattern>,
}

/// Empty lists ask nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AsPathMatch {
    pub patterns: Vec<AsPathPattern>,
    /// One of these is somewhere in it.
    pub contains: Vec<Asn>,
    /// One of these has originated it.
    pub origin: Vec<Asn>,
    /// One of these is the first.
    pub neighbor: Vec<Asn>,
    /// Least and greatest, as route selection counts (RFC 4271 §9.1.2.2 a).
    pub length: Option<(u32, u32)>,
}

/// Where a path comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// Not from a peer.
    Own(Protocol),
    /// Provenance any peer.
    Bgp,
    Ebgp,
    Ibgp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Set {
    LocalPref(Amount),
    Med(Amount),
    NoMed,
    /// All of them, of all kinds, before others are set.
    ClearCommunities,
    RemoveCommunities(Vec<CommunityPattern>),
    AddCommunities(Vec<Community>),
    /// In front of the path. Without an AS: our own towards an external peer, else the first one
    /// of the path.
    Prepend {
        count: u8,
        asn: Option<Asn>,
    },
    NextHop(NextHopChange),
    Weight(u32),
    Origin(Origin),
    /// The one community that says it, in the place of any that did; `None`: none (RFC 10005).
    LinkBandwidth(Option<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    To(u32),
    More(u32),
    Less(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHopChange {
    /// Ourselves, as the peer that is told may reach us.
    OurSelf,
    /// For paths of its family.
    To(IpAddr),
}
