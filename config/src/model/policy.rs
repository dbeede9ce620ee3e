//! Policies of one node: lists that rules name are in their place.

use super::Family;
use bgp_words::{AsPathPattern, Community, CommunityPattern, Rate};
use mainstay_prefix::Prefix;
use serde::{Serialize, Serializer};
use std::fmt::{self, Display};
use std::net::IpAddr;

/// The first rule that matches and does not pass on decides; a policy that ends without one rejects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "match", skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    #[serde(skip_serializing_if = "Changes::is_empty")]
    pub set: Changes,
    pub action: Verdict,
}

/// What a policy's rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Accept,
    Reject,
    Next,
}

/// All that is there must hold; of lists, one item.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Match {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Vec<PrefixMatch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community: Option<CommunityMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path: Option<AsPathMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Vec<Origin>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Vec<Prefix>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Vec<Role>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpki: Option<Vec<Validity>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Vec<Provenance>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Vec<String>>,
}

impl Match {
    /// It is about every route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A prefix of length `ge..=le` inside `within`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrefixMatch {
    #[serde(rename = "in")]
    pub within: Prefix,
    pub ge: u8,
    pub le: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CommunityMatch {
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub any: Vec<CommunityPattern>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub all: Vec<CommunityPattern>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub none: Vec<CommunityPattern>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AsPathMatch {
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub pattern: Vec<AsPathPattern>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origin: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbor: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<Length>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Length {
    pub ge: u32,
    pub le: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Igp,
    Egp,
    Incomplete,
}

/// What a peer is to us (RFC 9234).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Provider,
    Customer,
    Peer,
    Rs,
    RsClient,
}

/// RFC 6811 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validity {
    Valid,
    Invalid,
    NotFound,
}

/// Where a route comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    Local,
    Block,
    Injected,
    Bgp,
    Ebgp,
    Ibgp,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<Med>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community: Option<CommunityChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepend: Option<Prepend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHopChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_bandwidth: Option<LinkBandwidth>,
}

impl Changes {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    To(u32),
    More(u32),
    Less(u32),
}

impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(value) => write!(f, "{value}"),
            Self::More(value) => write!(f, "+{value}"),
            Self::Less(value) => write!(f, "-{value}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkBandwidth {
    Is(Rate),
    /// Taken away.
    None,
}

impl Display for LinkBandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(rate) => rate.fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Med {
    Amount(Amount),
    /// Taken away.
    None,
}

impl Display for Med {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => amount.fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CommunityChange {
    /// Empty: all are taken away.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_texts")]
    pub replace: Option<Vec<Community>>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub remove: Vec<CommunityPattern>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "texts")]
    pub add: Vec<Community>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Prepend {
    pub count: u8,
    /// None: our own towards eBGP peers, else the first of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHopChange {
    OurSelf,
    To(IpAddr),
}

impl Display for NextHopChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OurSelf => f.write_str("self"),
            Self::To(address) => address.fmt(f),
        }
    }
}

/// As they are written.
macro_rules! shown {
    ($($type:ty)+) => { $(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    )+ };
}
shown! { Amount LinkBandwidth Med NextHopChange }

fn texts<T: Display, S: Serializer>(items: &[T], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(items.iter().map(ToString::to_string))
}

#[allow(clippy::ref_option, reason = "serde hands it over so")]
fn maybe_texts<T: Display, S: Serializer>(items: &Option<Vec<T>>, s: S) -> Result<S::Ok, S::Error> {
    texts(items.as_deref().unwrap_or_default(), s)
}
