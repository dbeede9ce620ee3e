//! Whether a received path may become a route: the checks of RFC 4271 §9.1.2 and RFC 4456 §8,
//! then the import policy.

use super::Kind;
use super::policy::Filter;
use crate::types::{Asn, NextHop, Prefix, RouterId};
use crate::wire::Attributes;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What became of a received path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// Refused by the import policy.
    Policy,
    /// RFC 4271 §9.1.2: our AS is in the path.
    OwnAs,
    /// RFC 4271 §6.3: an external peer's path must start with its AS.
    FirstAs,
    /// RFC 4456 §8: we have originated it.
    OwnOriginator,
    /// RFC 4456 §8: it has been through our cluster.
    OwnCluster,
    /// RFC 4271 §5.1.3 a: packets would come back to us.
    OwnNextHop,
    /// RFC 4271 §9.1.2: an IPv4 address as next hop of an IPv6 route, which no kernel can follow.
    /// Routers send it over IPv4 sessions when their link has no IPv6 address.
    MappedNextHop,
}

impl Verdict {
    pub(crate) const fn accepted(self) -> bool {
        matches!(self, Self::Accepted)
    }

    pub(crate) const fn reason(self) -> Option<&'static str> {
        Some(match self {
            Self::Accepted => return None,
            Self::Policy => "refused by the import policy",
            Self::OwnAs => "own AS in the path",
            Self::FirstAs => "path does not start with the peer's AS",
            Self::OwnOriginator => "own originator ID",
            Self::OwnCluster => "own cluster ID in the cluster list",
            Self::OwnNextHop => "next hop is this node",
            Self::MappedNextHop => "next hop is an IPv4 address; give the peer's link an IPv6 one",
        })
    }
}

/// What a path from one peer is held against.
#[derive(Debug, Clone)]
pub(crate) struct Importer<'a> {
    pub(crate) kind: Kind,
    pub(crate) peer_asn: Asn,
    pub(crate) own_asn: Asn,
    pub(crate) own_id: RouterId,
    pub(crate) own_addresses: &'a BTreeSet<IpAddr>,
    pub(crate) filter: &'a Filter,
}

impl Importer<'_> {
    pub(crate) fn judge(&self, prefix: &Prefix, attrs: &Attributes) -> Verdict {
        match self.check(attrs) {
            Verdict::Accepted => self.admit(prefix),
            refused => refused,
        }
    }

    /// What holds for every prefix with these attributes.
    pub(crate) fn check(&self, attrs: &Attributes) -> Verdict {
        if attrs.as_path.contains(self.own_asn) {
            return Verdict::OwnAs;
        }
        if self.kind == Kind::External && attrs.as_path.first() != Some(self.peer_asn) {
            return Verdict::FirstAs;
        }
        if self.kind.is_internal() {
            if attrs.originator_id == Some(self.own_id) {
                return Verdict::OwnOriginator;
            }
            if attrs.cluster_list.contains(&self.own_id) {
                return Verdict::OwnCluster;
            }
        }
        match attrs.next_hop {
            hop if self.is_own(&hop) => Verdict::OwnNextHop,
            NextHop::V6 { global, .. } if global.to_ipv4_mapped().is_some() => {
                Verdict::MappedNextHop
            }
            _ => Verdict::Accepted,
        }
    }

    /// What is left to ask of one prefix.
    pub(crate) fn admit(&self, prefix: &Prefix) -> Verdict {
        if self.filter.imports(prefix) { Verdict::Accepted } else { Verdict::Policy }
    }

    fn is_own(&self, next_hop: &NextHop) -> bool {
        self.own_addresses.contains(&next_hop.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{attributes, prefix, router_id};

    fn judge(kind: Kind, attrs: &Attributes) -> Verdict {
        let own = BTreeSet::from(["192.0.2.99".parse().unwrap()]);
        let importer = Importer {
            kind,
            peer_asn: Asn(65001),
            own_asn: Asn(64512),
            own_id: router_id(1),
            own_addresses: &own,
            filter: &Filter::Node,
        };
        importer.judge(&prefix("0.0.0.0/0"), attrs)
    }

    #[test]
    fn a_path_that_has_been_here_is_refused() {
        assert_eq!(judge(Kind::External, &attributes(&[65001, 64512])), Verdict::OwnAs);
        let inside = Kind::Internal { client: false };
        let mut reflected = attributes(&[]);
        reflected.originator_id = Some(router_id(1));
        assert_eq!(judge(inside, &reflected), Verdict::OwnOriginator);
        reflected.originator_id = Some(router_id(2));
        reflected.cluster_list = vec![router_id(3), router_id(1)];
        assert_eq!(judge(inside, &reflected), Verdict::OwnCluster);
    }

    #[test]
    fn an_external_path_starts_with_the_peers_as() {
        assert_eq!(judge(Kind::External, &attributes(&[65001])), Verdict::Accepted);
        assert_eq!(judge(Kind::External, &attributes(&[65002])), Verdict::FirstAs);
        assert_eq!(judge(Kind::External, &attributes(&[])), Verdict::FirstAs);
        assert_eq!(judge(Kind::Internal { client: true }, &attributes(&[])), Verdict::Accepted);
    }

    #[test]
    fn an_ipv4_address_in_an_ipv6_one_is_no_next_hop() {
        let through = |global: &str| {
            let global = global.parse().unwrap();
            let mut attrs = attributes(&[65001]);
            attrs.next_hop = NextHop::V6 { global, link_local: None };
            judge(Kind::External, &attrs)
        };
        assert_eq!(through("::ffff:192.0.2.1"), Verdict::MappedNextHop);
        assert_eq!(through("2001:db8::1"), Verdict::Accepted);
    }

    #[test]
    fn a_path_through_ourselves_is_refused() {
        let mut attrs = attributes(&[65001]);
        attrs.next_hop = NextHop::V4("192.0.2.99".parse().unwrap());
        assert_eq!(judge(Kind::External, &attrs), Verdict::OwnNextHop);
    }
}
