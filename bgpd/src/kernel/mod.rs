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
mod members;
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
use bgp_core::types::{Gateway, NextHop, Prefix};
use std::collections::BTreeSet;
use std::net::IpAddr;

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
/// link-local one is taken where there is no other, on the interface that it came by.
fn hop(gateway: &Gateway) -> Hop {
    let via = match gateway.next_hop {
        NextHop::V4(a) => a.into(),
        NextHop::V6 { global, link_local } if gateway.next_hop.is_link_local() => {
            link_local.unwrap_or(global).into()
        }
        NextHop::V6 { global, .. } => global.into(),
    };
    let dev = (gateway.scope != 0).then_some(gateway.scope);
    Hop { weight: gateway.weight, ..Hop::new(via, dev) }
}

fn gateway(hop: &Hop) -> Gateway {
    let next_hop = match hop.via {
        IpAddr::V4(a) => NextHop::V4(a),
        IpAddr::V6(a) => {
            NextHop::V6 { global: a, link_local: a.is_unicast_link_local().then_some(a) }
        }
    };
    Gateway { weight: hop.weight, ..Gateway::on(next_hop, hop.dev.unwrap_or(0)) }
}

fn installed((prefix, hops): (Prefix, Vec<Hop>)) -> InstalledRoute {
    let mut next_hops: Vec<_> = hops.iter().map(gateway).collect();
    next_hops.sort_unstable();
    InstalledRoute { prefix, next_hops }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn a_global_next_hop_needs_no_interface_and_a_link_local_one_has_its_own() {
        let ll: Ipv6Addr = "fe80::1".parse().unwrap();
        let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let both = NextHop::V6 { global, link_local: Some(ll) };
        assert_eq!(hop(&Gateway::on(both, 7)), Hop::new(global.into(), None));
        let only = NextHop::V6 { global: ll, link_local: Some(ll) };
        let there = Gateway::on(only, 7);
        assert_eq!(hop(&there), Hop::new(ll.into(), Some(7)));
        assert_eq!(gateway(&hop(&there)), there);
    }
}
