//! The three RIBs of RFC 4271 §3.2 and the rules between them.
//!
//! Paths come in by peer ([`adj_in`]), unfiltered, so that a new import policy needs nothing from
//! the peer. What the checks and the policy let through are the candidates of the [`loc_rib`],
//! where [`decision`] orders them. A prefix whose best path has changed is written to a journal;
//! each peer's [`adj_out`] reads the journal at its own speed and makes UPDATEs of the difference
//! between what [`export`] allows and what the peer holds. The tables are arrays by the [`numbers`]
//! of prefixes, which they share.

pub(crate) mod adj_in;
pub(crate) mod adj_out;
pub(crate) mod attrs;
pub(crate) mod by_path;
pub(crate) mod decision;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod loc_rib;
pub(crate) mod numbers;
pub(crate) mod policy;
pub(crate) mod prefix_map;
pub(crate) mod rewrite;
pub(crate) mod sparse;
pub mod told;

use crate::config::MedRules;
use crate::types::{Asn, Family, Gateway, PeerId, Protocol, Role, RouterId};
use attrs::Attrs;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Where paths come from: one value a session, shared by all its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// `None`: originated here.
    pub(crate) peer: Option<PeerId>,
    pub(crate) kind: Kind,
    pub(crate) asn: Asn,
    pub(crate) router_id: RouterId,
    pub(crate) address: IpAddr,
    /// The peer's; empty: originated here.
    pub(crate) name: Arc<str>,
    pub(crate) role: Option<Role>,
    /// Over which the peer is reached.
    pub(crate) interface: Option<Arc<str>>,
    /// Its number: where link-local next hops from here are; 0: not known.
    pub(crate) scope: u32,
    pub(crate) protocol: Protocol,
    /// The same of all sources, for the decision process.
    pub(crate) med: MedRules,
}

/// What a neighbour is to us; also what we are ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Local,
    External,
    /// `client`: of our route reflector (RFC 4456 §6).
    Internal {
        client: bool,
    },
}

impl Kind {
    pub(crate) const fn is_internal(self) -> bool {
        matches!(self, Self::Internal { .. })
    }
}

/// One candidate for a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) source: Rc<Source>,
    pub(crate) attrs: Attrs,
    /// Which of its source's paths (RFC 7911); 0 where that has one a prefix.
    pub(crate) id: u32,
}

impl Path {
    /// What the kernel is told of it.
    pub(crate) fn gateway(&self) -> Gateway {
        Gateway::on(self.attrs.next_hop(), self.source.scope)
    }

    /// Own prefixes are none of the FIB's business: whoever owns them has put them there. One that a
    /// client wants there has a next hop.
    pub(crate) fn is_installable(&self) -> bool {
        self.source.kind != Kind::Local || !self.attrs.next_hop().addr().is_unspecified()
    }
}

impl Path {
    /// Whether it takes the place of the other one.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        self.source.peer == other.source.peer && self.id == other.id
    }
}

impl PartialEq for Path {
    /// Whether nobody would see a difference.
    fn eq(&self, other: &Self) -> bool {
        self.attrs == other.attrs
            && self.id == other.id
            && (Rc::ptr_eq(&self.source, &other.source) || self.source == other.source)
    }
}

/// A value for each family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PerFamily<T>([T; 2]);

impl<T> PerFamily<T> {
    pub(crate) fn new(make: impl FnMut(Family) -> T) -> Self {
        Self(Family::ALL.map(make))
    }

    pub(crate) fn get(&self, family: Family) -> &T {
        let [v4, v6] = &self.0;
        match family {
            Family::Ipv4Unicast => v4,
            Family::Ipv6Unicast => v6,
        }
    }

    pub(crate) fn get_mut(&mut self, family: Family) -> &mut T {
        let [v4, v6] = &mut self.0;
        match family {
            Family::Ipv4Unicast => v4,
            Family::Ipv6Unicast => v6,
        }
    }
}
