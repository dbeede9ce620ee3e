//! What a multicast message of the kernel means to us.

use super::message::{Message, PROTOCOL_BGP, PROTOCOL_IPAM, Route, TABLE_MAIN};
use super::nexthop::{RTM_DELNEXTHOP, RTM_NEWNEXTHOP, read_nexthop};
use bgp_core::types::Prefix;

pub(super) const GROUPS: [u32; 5] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
];
/// linux/rtnetlink.h; older kernels do not have it.
pub(super) const GROUP_NEXTHOP: u32 = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    BlockAdded(Prefix),
    BlockRemoved(Prefix),
    /// Somebody else has changed this route, or removed it.
    Route {
        route: Route,
        there: bool,
    },
    /// An interface or address has come up: what failed may work now.
    Gained,
    /// An interface or address has gone, and routes with it, in silence.
    Lost,
}

/// Whether a route is the mark of an address block that ipamd holds on this node.
pub(super) fn is_block(route: &Route) -> bool {
    route.protocol == PROTOCOL_IPAM && route.table == TABLE_MAIN && route.is_reject()
}

pub(super) fn read(message: &Message<'_>) -> Option<Note> {
    match message.kind {
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            let route = message.route()?;
            Some(match (is_block(&route), message.kind) {
                (true, libc::RTM_NEWROUTE) => Note::BlockAdded(route.prefix),
                (true, _) => Note::BlockRemoved(route.prefix),
                (_, kind) => Note::Route { route, there: kind == libc::RTM_NEWROUTE },
            })
        }
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => {
            // A deletion names no protocol on some kernels.
            let strange = |protocol| protocol != PROTOCOL_BGP && protocol != 0;
            read_nexthop(message).filter(|n| !strange(n.protocol)).map(|_| Note::Lost)
        }
        libc::RTM_NEWADDR => Some(Note::Gained),
        libc::RTM_DELADDR | libc::RTM_DELLINK => Some(Note::Lost),
        libc::RTM_NEWLINK => Some(if is_up(message.body) { Note::Gained } else { Note::Lost }),
        _ => None,
    }
}

/// ifinfomsg: family, pad, type (2), index (4), flags (4), change (4). Without a carrier nexthop
/// objects are gone, as they are when the interface is down.
fn is_up(body: &[u8]) -> bool {
    let flags = body.get(8..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b));
    let carrier = libc::IFF_RUNNING as u32 | libc::IFF_LOWER_UP as u32;
    flags & libc::IFF_UP as u32 != 0 && flags & carrier != 0
}
