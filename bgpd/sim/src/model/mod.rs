//! The rules of BGP once more, written plainly and slowly: what a node makes of what it has been
//! told, what it tells whom, and where a whole net comes to rest.
//!
//! Nothing here calls the speaker's own code; it reads the same configurations. Where the two differ
//! one of them is wrong.

mod decide;
mod exchange;
mod oracle;
mod rules;

pub(crate) use decide::{Ranking, rank};
pub(crate) use exchange::{admit, told_to};
pub(crate) use oracle::Rest;

use bgp_core::config::{PolicyName, SpeakerConfig};
use bgp_core::options::Options;
use bgp_core::types::Prefix;
use bgp_core::wire::{Attributes, Origin};
use std::net::IpAddr;

/// What is said of a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) next_hop: Option<IpAddr>,
    pub(crate) origin: u8,
    /// There are no sets in a simulation.
    pub(crate) as_path: Vec<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) local_pref: Option<u32>,
    pub(crate) communities: Vec<u32>,
    pub(crate) originator: Option<u32>,
    pub(crate) clusters: Vec<u32>,
    pub(crate) only_to_customer: Option<u32>,
    pub(crate) weight: u32,
}

impl Told {
    /// A prefix of one's own.
    pub(crate) const fn own() -> Self {
        Self {
            next_hop: None,
            origin: 0,
            as_path: Vec::new(),
            med: None,
            local_pref: None,
            communities: Vec::new(),
            originator: None,
            clusters: Vec::new(),
            only_to_customer: None,
            weight: 0,
        }
    }
}

impl From<&Attributes> for Told {
    fn from(attrs: &Attributes) -> Self {
        let id = |id: &bgp_core::types::RouterId| id.0.to_bits();
        Self {
            next_hop: Some(attrs.next_hop.addr()).filter(|a| !a.is_unspecified()),
            origin: match attrs.origin {
                Origin::Igp => 0,
                Origin::Egp => 1,
                Origin::Incomplete => 2,
            },
            as_path: attrs.as_path.asns().map(|a| a.0).collect(),
            med: attrs.med,
            local_pref: attrs.local_pref,
            communities: attrs.communities.clone(),
            originator: attrs.originator_id.as_ref().map(id),
            clusters: attrs.cluster_list.iter().map(id).collect(),
            only_to_customer: attrs.only_to_customer.map(|a| a.0),
            weight: attrs.weight,
        }
    }
}

/// A path that a node may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Which of the node's neighbours has told it; `None`: its own.
    pub(crate) from: Option<usize>,
    /// RFC 7911.
    pub(crate) id: u32,
    pub(crate) told: Told,
}

/// How a node stands in the ways of others (RFC 8326).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Serving,
    /// Taken only where there is no other way.
    LastResort,
    Gone,
}

/// RFC 8326 §5, RFC 9494 §4.6.
const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
const LLGR_STALE: u32 = 0xffff_0006;

/// A node as its configuration and its links have it.
pub(crate) struct Plain<'a> {
    pub(crate) config: &'a SpeakerConfig,
    /// In the order of the configuration.
    pub(crate) neighbours: Vec<Neighbour<'a>>,
    pub(crate) presence: Presence,
}

impl Plain<'_> {
    pub(crate) const fn asn(&self) -> u32 {
        self.config.asn.0
    }

    pub(crate) const fn id(&self) -> u32 {
        self.config.router_id.0.to_bits()
    }

    /// The neighbour that a path is from.
    pub(crate) fn source(&self, candidate: &Candidate) -> Option<&Neighbour<'_>> {
        self.neighbours.get(candidate.from?)
    }
}

/// The other end of one of a node's links.
pub(crate) struct Neighbour<'a> {
    /// Index of the node.
    pub(crate) node: usize,
    /// Which neighbour of that one this node is.
    pub(crate) back: usize,
    pub(crate) name: &'a str,
    pub(crate) asn: u32,
    pub(crate) id: u32,
    pub(crate) address: IpAddr,
    /// Our addresses on the link, IPv4 first.
    pub(crate) own: [IpAddr; 2],
    pub(crate) internal: bool,
    pub(crate) client: bool,
    pub(crate) import: &'a PolicyName,
    pub(crate) export: &'a PolicyName,
    pub(crate) options: &'a Options,
    /// How many paths of a prefix it is told; `None`: the best, without an identifier.
    pub(crate) several: Option<usize>,
    /// It knows what is stale for long (RFC 9494).
    pub(crate) long_lived: bool,
}

/// Ourselves on a link, for a prefix of this family.
fn own_address(to: &Neighbour<'_>, prefix: &Prefix) -> IpAddr {
    let [v4, v6] = to.own;
    if prefix.is_ipv4() { v4 } else { v6 }
}
