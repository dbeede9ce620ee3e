//! The kernel's routes: ours are kept as the speaker wants them, ipamd's blocks are watched.
//!
//! ```text
//! speaker ── set ──▶ wanted ─┐                                 ┌─▶ batches of route messages
//!                            ├─ table: difference ─ worker ────┤
//! events, dumps ──▶ present ─┘   (a thread of its own)         └─▶ Notice: blocks, refusals
//! ```
//!
//! Wanted and present are compared whenever either changes; the kernel's own silences (IPv4 routes
//! and nexthop objects vanish with their link, unannounced) are made up for by looking again after
//! link events.

pub(crate) mod interfaces;
mod links;
mod message;
mod nexthop;
mod notes;
mod objects;
mod socket;
mod table;
#[cfg(test)]
mod table_with_objects;
mod worker;

pub use message::{Hop, PROTOCOL_BGP, PROTOCOL_IPAM, TABLE_MAIN};
pub use worker::{Handle, Notice};

use bgp_core::event::InstalledRoute;
use bgp_core::types::{NextHop, Prefix};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// Where our routes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// False: the table is neither read nor written.
    pub install: bool,
    pub table: u32,
    pub metric: u32,
    /// Protocols of an earlier speaker, not ours, whose routes become ours when we start.
    pub adopt: Vec<u8>,
    /// Routes refer to nexthop objects, where the kernel has them.
    pub objects: bool,
}

/// What stood in the kernel when we came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub installed: Vec<InstalledRoute>,
    /// Routes that a speaker named in [`Target::adopt`] has left, also those that lead nowhere.
    pub inherited: usize,
    pub blocks: BTreeSet<Prefix>,
}

/// The interface of each link-local address that a peer is configured by.
pub type Scopes = HashMap<Ipv6Addr, u32>;

#[derive(Debug, thiserror::Error)]
#[error("cannot {what} over netlink")]
pub struct OpenError {
    what: &'static str,
    source: std::io::Error,
}

/// Looks at the kernel, then starts to keep it; `notify` is called on the worker's thread.
pub fn open(
    target: Target,
    notify: impl FnMut(Notice) + Send + 'static,
) -> Result<(Handle, Found), OpenError> {
    worker::start(target, Box::new(notify))
}

/// How the kernel is told to reach a next hop. A global address is on a link the kernel knows; the
/// link-local one is taken where there is no other, with the interface of the peer who has it.
fn hop(next_hop: &NextHop, scopes: &Scopes) -> Hop {
    match next_hop {
        NextHop::V4(a) => Hop { via: (*a).into(), dev: None },
        NextHop::V6 { global, link_local } => {
            if global.is_unicast_link_local() || global.is_unspecified() {
                let via = link_local.unwrap_or(*global);
                Hop { via: via.into(), dev: scopes.get(&via).copied() }
            } else {
                Hop { via: (*global).into(), dev: None }
            }
        }
    }
}

fn next_hop(hop: &Hop) -> NextHop {
    match hop.via {
        IpAddr::V4(a) => NextHop::V4(a),
        IpAddr::V6(a) => {
            NextHop::V6 { global: a, link_local: a.is_unicast_link_local().then_some(a) }
        }
    }
}

fn installed((prefix, hops): (Prefix, Vec<Hop>)) -> InstalledRoute {
    let mut next_hops: Vec<_> = hops.iter().map(next_hop).collect();
    next_hops.sort_unstable();
    InstalledRoute { prefix, next_hops }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_global_next_hop_needs_no_interface_and_a_link_local_one_gets_its_peers() {
        let ll: Ipv6Addr = "fe80::1".parse().unwrap();
        let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let scopes = HashMap::from([(ll, 7)]);
        let both = NextHop::V6 { global, link_local: Some(ll) };
        assert_eq!(hop(&both, &scopes), Hop { via: global.into(), dev: None });
        let only = NextHop::V6 { global: ll, link_local: Some(ll) };
        assert_eq!(hop(&only, &scopes), Hop { via: ll.into(), dev: Some(7) });
        assert_eq!(next_hop(&hop(&only, &scopes)), only);
    }
}
