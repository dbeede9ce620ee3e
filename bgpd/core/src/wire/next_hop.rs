//! Next hops in NEXT_HOP and MP_REACH_NLRI: their lengths, and which of them can be one.

use crate::types::{Family, NextHop};
use std::net::{Ipv4Addr, Ipv6Addr};

/// By family (RFC 4760 §3, RFC 2545 §3); `None`: the length is none of the family's.
pub(super) fn read(family: Family, bytes: &[u8]) -> Option<NextHop> {
    match family {
        Family::Ipv4Unicast => {
            let octets: [u8; 4] = bytes.try_into().ok()?;
            Some(NextHop::V4(octets.into()))
        }
        Family::Ipv6Unicast => {
            let (global, rest) = bytes.split_first_chunk::<16>()?;
            let second: Option<Ipv6Addr> = match rest {
                [] => None,
                _ => Some(<[u8; 16]>::try_from(rest).ok()?.into()),
            };
            Some(v6((*global).into(), second))
        }
    }
}

/// Peers on a link without global addresses send their link-local one alone, twice, or after `::`;
/// all three mean the same. A second address that is not link-local means nothing.
fn v6(first: Ipv6Addr, second: Option<Ipv6Addr>) -> NextHop {
    let second = second.filter(Ipv6Addr::is_unicast_link_local);
    if first.is_unicast_link_local() {
        return NextHop::V6 { global: first, link_local: second.or(Some(first)) };
    }
    match second {
        Some(link_local) if first.is_unspecified() => {
            NextHop::V6 { global: link_local, link_local: second }
        }
        _ => NextHop::V6 { global: first, link_local: second },
    }
}

/// RFC 4271 §6.3: it must be the address of a host.
pub(super) fn is_valid(next_hop: &NextHop) -> bool {
    match next_hop {
        NextHop::V4(a) => is_host_v4(*a),
        NextHop::V6 { global, .. } => {
            !global.is_unspecified() && !global.is_multicast() && !global.is_loopback()
        }
    }
}

fn is_host_v4(addr: Ipv4Addr) -> bool {
    let [first, ..] = addr.octets();
    first != 0 && !addr.is_loopback() && !addr.is_multicast() && !addr.is_broadcast()
}

pub(super) fn put(next_hop: &NextHop, out: &mut Vec<u8>) {
    match next_hop {
        NextHop::V4(a) => out.extend(a.octets()),
        NextHop::V6 { global, link_local } => {
            out.extend(global.octets());
            if let Some(link_local) = link_local {
                out.extend(link_local.octets());
            }
        }
    }
}
