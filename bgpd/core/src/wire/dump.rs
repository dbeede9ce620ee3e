//! Attributes as an MRT table dump has them (RFC 6396 §4.3.4).

use super::types::{Attributes, Context};
use super::{attribute as code, next_hop, write};
use crate::types::{Family, NextHop};

/// Appends all attributes of a route with AS numbers of four octets; where the next hop stands in
/// MP_REACH_NLRI, that has nothing else in it.
pub fn dump_attributes(attributes: &Attributes, family: Family, out: &mut Vec<u8>) {
    let context = Context { four_octet_as: true, internal: true, ..Context::BARE };
    write::attributes(&context, attributes, family, out);
    if (family, matches!(attributes.next_hop, NextHop::V4(_))) == (Family::Ipv4Unicast, true) {
        return;
    }
    let mut hop = Vec::new();
    next_hop::put(&attributes.next_hop, &mut hop);
    let length = u8::try_from(hop.len()).unwrap_or_default();
    out.extend([code::OPTIONAL, code::MP_REACH_NLRI, length + 1, length]);
    out.extend(hop);
}
