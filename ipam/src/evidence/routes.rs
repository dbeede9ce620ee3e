//! Host routes: what the main plugins put up for a pod, and the host's own addresses.

use super::Seen;
use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Error, Handle};
use std::net::IpAddr;

/// Who puts up routes of pods: the kernel, `ip route` and the CNI plugins, an administrator, Felix.
/// The kernel filters by it, so that a full table of BGP's costs nothing here.
const PROTOCOLS: [RouteProtocol; 4] =
    [RouteProtocol::Kernel, RouteProtocol::Boot, RouteProtocol::Static, RouteProtocol::Other(80)];

/// The addresses that `wanted` picks and that have a route of their own to somewhere, in whichever
/// table. Our blackholes lead nowhere, and a bridge's route is for its whole block.
pub(super) async fn host_routes(
    handle: &Handle,
    wanted: impl Fn(IpAddr) -> bool,
) -> Result<Seen, Error> {
    let mut seen = Seen::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for protocol in PROTOCOLS {
            let mut ask = RouteMessage::default();
            ask.header.address_family = family;
            ask.header.protocol = protocol;
            let mut routes = handle.route().get(ask).execute();
            while let Some(route) = routes.try_next().await? {
                if let Some((address, what)) = host_route(&route).filter(|(a, _)| wanted(*a)) {
                    seen.insert(address, what);
                }
            }
        }
    }
    Ok(seen)
}

fn host_route(route: &RouteMessage) -> Option<(IpAddr, String)> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    if route.header.destination_prefix_length != width {
        return None;
    }
    match route.header.kind {
        RouteType::Unicast => Some((address, "a host route leads to it".into())),
        RouteType::Local => Some((address, "the host itself has it".into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::RouteMessageBuilder;
    use std::net::Ipv4Addr;

    #[test]
    fn only_a_route_of_one_address_to_somewhere_says_that_it_is_used() {
        let route = |length, kind| {
            let to = RouteMessageBuilder::<Ipv4Addr>::new();
            let mut route = to.destination_prefix(Ipv4Addr::new(10, 0, 0, 5), length).build();
            route.header.kind = kind;
            host_route(&route).map(|(address, what)| format!("{address}: {what}"))
        };
        let said = |what: &str| Some(format!("10.0.0.5: {what}"));
        assert_eq!(route(32, RouteType::Unicast), said("a host route leads to it"));
        assert_eq!(route(32, RouteType::Local), said("the host itself has it"));
        for (length, kind) in [
            (26, RouteType::Unicast),
            (26, RouteType::BlackHole),
            (32, RouteType::BlackHole),
            (32, RouteType::Broadcast),
            (32, RouteType::Unreachable),
        ] {
            assert_eq!(route(length, kind), None, "{kind:?}");
        }
    }
}
