//! How a next hop is reached: by the link that it is on, or else by the gateway of the route that
//! leads to it (RFC 4271 §9.1.2.1). Pure.
//!
//! What counts are the routes of the main table that are not ours: our own must not hold themselves
//! up. Their gateways are on links, the kernel has seen to that, so one step is enough.

use super::message::{Hop, PROTOCOL_BGP, Route};
use super::nexthop::Gate;
use bgp_core::types::Prefix;
use std::collections::HashMap;
use std::net::IpAddr;

/// To each prefix the routes there, best first.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<Prefix, Vec<Way>>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    metric: u32,
    out: Out,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Out {
    /// Whoever has an address there is on this interface.
    Link(u32),
    Gates(Vec<Gate>),
    /// Packets end here.
    Nowhere,
}

impl Links {
    /// A route of the main table is there, or no longer.
    pub(super) fn note(&mut self, route: &Route, there: bool) {
        let Some(out) = out(route) else { return };
        let way = Way { metric: route.metric, out };
        let ways = self.0.entry(route.prefix).or_default();
        // A link is one of several; what leads further takes the place of what did.
        let same = |known: &Way| match (&known.out, &way.out) {
            (Out::Link(known), Out::Link(new)) => known == new,
            (Out::Link(_), _) | (_, Out::Link(_)) => false,
            _ => true,
        };
        ways.retain(|known| known.metric != way.metric || !same(known));
        if there {
            ways.push(way);
            ways.sort_unstable();
        } else if ways.is_empty() {
            self.0.remove(&route.prefix);
        }
    }

    /// The ways out to a next hop; none: it cannot be reached.
    pub(super) fn gates(&self, hop: &Hop) -> Vec<Gate> {
        if let Some(dev) = hop.dev {
            return vec![Gate { via: hop.via, dev }];
        }
        match self.way(hop.via).map(|way| &way.out) {
            Some(Out::Link(dev)) => vec![Gate { via: hop.via, dev: *dev }],
            Some(Out::Gates(gates)) => gates.clone(),
            Some(Out::Nowhere) | None => Vec::new(),
        }
    }

    /// By the longest prefix that holds it.
    fn way(&self, via: IpAddr) -> Option<&Way> {
        let longest = if via.is_ipv4() { 32 } else { 128 };
        let at = |len| self.0.get(&Prefix::containing(via, len).ok()?)?.first();
        (0..=longest).rev().find_map(at)
    }
}

/// `None`: it leads no packet of the kind that is asked for, or is one of ours.
fn out(route: &Route) -> Option<Out> {
    if route.protocol == PROTOCOL_BGP {
        return None;
    }
    if route.is_reject() {
        return Some(Out::Nowhere);
    }
    if route.kind != libc::RTN_UNICAST {
        return None;
    }
    let gate = |hop: &Hop| Some(Gate { via: hop.via, dev: hop.dev? });
    let gates: Vec<Gate> = route.hops.iter().filter_map(gate).collect();
    match route.dev {
        _ if !gates.is_empty() => Some(Out::Gates(gates)),
        // Whoever is behind a link that leads everywhere is not on that link.
        Some(dev) if route.prefix.len() > 0 => Some(Out::Link(dev)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, metric: u32, dev: u32) -> Route {
        Route {
            prefix: prefix.parse().unwrap(),
            table: 254,
            protocol: 2,
            kind: libc::RTN_UNICAST,
            metric,
            onlink: false,
            hops: Vec::new(),
            object: None,
            dev: Some(dev),
        }
    }

    fn through(prefix: &str, metric: u32, gateways: &[&str]) -> Route {
        let hop = |via: &&str| Hop::new(via.parse().unwrap(), Some(2));
        let hops = gateways.iter().map(hop).collect();
        Route { hops, dev: None, protocol: 4, ..route(prefix, metric, 2) }
    }

    fn ways(links: &Links, via: &str) -> Vec<String> {
        let gates = links.gates(&Hop::new(via.parse().unwrap(), None));
        gates.iter().map(|gate| format!("{} {}", gate.via, gate.dev)).collect()
    }

    #[test]
    fn a_gateway_is_on_the_link_with_the_longest_prefix_and_the_least_metric() {
        let mut links = Links::default();
        for (prefix, metric, dev) in [
            ("192.0.2.0/24", 0, 2),
            ("192.0.2.7/32", 0, 3),
            ("2001:db8::/64", 1024, 4),
            ("2001:db8::/64", 256, 5),
        ] {
            links.note(&route(prefix, metric, dev), true);
        }
        assert_eq!(ways(&links, "192.0.2.1"), ["192.0.2.1 2"]);
        assert_eq!(ways(&links, "192.0.2.7"), ["192.0.2.7 3"]);
        assert_eq!(ways(&links, "2001:db8::1"), ["2001:db8::1 5"]);
        assert_eq!(ways(&links, "198.51.100.1"), [""; 0]);
        links.note(&route("192.0.2.7/32", 0, 3), false);
        links.note(&route("2001:db8::/64", 256, 5), false);
        assert_eq!(ways(&links, "192.0.2.7"), ["192.0.2.7 2"]);
        assert_eq!(ways(&links, "2001:db8::1"), ["2001:db8::1 4"]);
    }

    #[test]
    fn a_link_local_gateway_is_where_its_next_hop_says() {
        let hop = Hop::new("fe80::1".parse().unwrap(), Some(9));
        assert_eq!(Links::default().gates(&hop), [Gate { via: hop.via, dev: 9 }]);
    }

    #[test]
    fn a_next_hop_behind_a_gateway_is_reached_by_the_gateway() {
        let mut links = Links::default();
        links.note(&through("0.0.0.0/0", 0, &["192.0.2.254"]), true);
        links.note(&through("10.0.0.0/8", 20, &["192.0.2.1", "192.0.2.2"]), true);
        assert_eq!(ways(&links, "10.1.1.1"), ["192.0.2.1 2", "192.0.2.2 2"]);
        assert_eq!(ways(&links, "203.0.113.1"), ["192.0.2.254 2"]);
        links.note(&through("10.0.0.0/8", 20, &["192.0.2.3"]), true);
        assert_eq!(ways(&links, "10.1.1.1"), ["192.0.2.3 2"], "in place of the other");
        links.note(&through("10.0.0.0/8", 20, &["192.0.2.1"]), false);
        assert_eq!(ways(&links, "10.1.1.1"), ["192.0.2.254 2"]);
    }

    #[test]
    fn our_own_routes_lead_no_next_hop_and_a_blackhole_ends_the_way() {
        let mut links = Links::default();
        links.note(&through("0.0.0.0/0", 0, &["192.0.2.254"]), true);
        let own = Route { protocol: PROTOCOL_BGP, ..through("10.0.0.0/8", 20, &["192.0.2.1"]) };
        links.note(&own, true);
        assert_eq!(ways(&links, "10.1.1.1"), ["192.0.2.254 2"]);
        let hole = Route { kind: libc::RTN_BLACKHOLE, dev: None, ..route("10.0.0.0/8", 0, 2) };
        links.note(&hole, true);
        assert_eq!(ways(&links, "10.1.1.1"), [""; 0]);
    }
}
