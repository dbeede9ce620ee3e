//! What a link has to say of its routers.

use bgp_core::discovery::message::{Heard, advertisement, read};
use std::net::Ipv6Addr;

/// The first octet is what is left of the hop limit, the second says from whom it is.
pub(crate) fn messages(bytes: &[u8]) {
    let [hops, from, message @ ..] = bytes else { return };
    let from = match from % 3 {
        0 => Ipv6Addr::UNSPECIFIED,
        1 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    };
    let heard = read(from, *hops, message);
    assert!(heard.is_none() || *hops == 255, "it has come from beyond the link");
    if let Some(Heard::Advertisement { .. }) = heard {
        assert!(from.is_unicast_link_local() && message.len() >= advertisement().len());
    }
}
