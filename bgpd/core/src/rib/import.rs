//! Whether a received path may become a route: the checks of RFC 4271 §9.1.2 and RFC 4456 §8,
//! then the import policy.

use super::attrs::{Attrs, Interner};
use super::policy::Filter;
use super::{Kind, Source, rewrite};
use crate::options::Options;
use crate::policy::{Context, Draft, Origins, Prepared};
use crate::speaker::OwnAddresses;
use crate::types::{Asn, Family, NextHop, Prefix, RouterId};
use crate::wire::{Attributes, Community};
use hashbrown::HashMap;
use std::sync::Arc;

/// What became of a received path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// Refused by the import policy.
    Policy,
    /// RFC 4271 §9.1.2: our AS is in the path.
    OwnAs,
    /// RFC 9234 §5.
    RouteLeak,
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
            Self::RouteLeak => "route leak: it is only for customers, by the attribute OTC",
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
    pub(crate) own: &'a OwnAddresses,
    pub(crate) filter: &'a Filter,
    pub(crate) source: &'a Source,
    pub(crate) origins: &'a dyn Origins,
    pub(crate) options: &'a Options,
}

impl Importer<'_> {
    /// What prefixes with these attributes have to pass; `attributes` are the same, unpacked, but
    /// maybe for the next hop.
    pub(crate) fn gate(
        &self,
        came: &Attrs,
        attributes: &Attributes,
        family: Family,
        interner: &mut Interner,
    ) -> Gate {
        let attrs = self.take(came, attributes, interner);
        let checked = self.check(attributes, came.next_hop());
        let way = match (checked, self.filter.program()) {
            (Verdict::Accepted, None) => Way::Plain,
            (Verdict::Accepted, Some(program)) => {
                let came = Arc::new(attrs.unpack());
                let prepared = program.prepare(&came, &self.context(family));
                Way::Policy { came, prepared }
            }
            (refused, _) => Way::Closed(refused),
        };
        Gate { _came: came.clone(), attrs, family, way }
    }

    fn context(&self, family: Family) -> Context<'_> {
        Context { family, source: self.source, origins: self.origins, own_asn: None }
    }

    /// What holds for every prefix with these attributes and that next hop.
    pub(crate) fn check(&self, attrs: &Attributes, next_hop: NextHop) -> Verdict {
        if rewrite::has_been_here(self.options, self.own_asn, &attrs.as_path) {
            return Verdict::OwnAs;
        }
        let starts_with_peer = attrs.as_path.first() == Some(self.peer_asn);
        if self.kind == Kind::External && self.options.enforce_first_as && !starts_with_peer {
            return Verdict::FirstAs;
        }
        if rewrite::is_leak(self.options, self.kind, self.peer_asn, attrs) {
            return Verdict::RouteLeak;
        }
        if self.kind.is_internal() {
            if attrs.originator_id == Some(self.own_id) {
                return Verdict::OwnOriginator;
            }
            if attrs.cluster_list.contains(&self.own_id) {
                return Verdict::OwnCluster;
            }
        }
        match next_hop {
            hop if self.is_own(&hop) => Verdict::OwnNextHop,
            NextHop::V6 { global, .. } if global.to_ipv4_mapped().is_some() => {
                Verdict::MappedNextHop
            }
            _ => Verdict::Accepted,
        }
    }

    /// As what a path with these attributes counts here.
    fn take(&self, came: &Attrs, attributes: &Attributes, interner: &mut Interner) -> Attrs {
        let taken = rewrite::inward(self.options, self.kind, self.peer_asn, attributes);
        taken.map_or_else(|| came.clone(), |attrs| interner.intern_with(&attrs, came.next_hop()))
    }

    fn is_own(&self, next_hop: &NextHop) -> bool {
        self.own.contains(next_hop.addr(), self.source.scope)
    }
}

/// What prefixes with one set of attributes have to pass, and as what they do.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Kept, so that its address cannot come to mean others.
    _came: Attrs,
    /// As they count here.
    attrs: Attrs,
    family: Family,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Closed(Verdict),
    /// Each passes as it is, or not.
    Plain,
    Policy {
        came: Arc<Attributes>,
        prepared: Prepared<Attrs>,
    },
}

impl Gate {
    /// The attributes by which the prefix may become a route.
    pub(crate) fn admit(
        &mut self,
        prefix: &Prefix,
        importer: &Importer<'_>,
        interner: &mut Interner,
    ) -> Result<Attrs, Verdict> {
        match (&mut self.way, importer.filter.program()) {
            (Way::Closed(verdict), _) => Err(*verdict),
            (Way::Policy { came, prepared }, Some(program)) => {
                let context = importer.context(self.family);
                let mut finish = |draft: Draft| match Arc::ptr_eq(came, &draft.attrs) {
                    true => self.attrs.clone(),
                    false => finish(came, draft, interner),
                };
                let passed = prepared.decide(program, prefix, &context, &mut finish);
                passed.ok_or(Verdict::Policy)
            }
            _ if importer.filter.imports(prefix) => Ok(self.attrs.clone()),
            _ => Err(Verdict::Policy),
        }
    }
}

/// No policy takes back that a path is stale for long (RFC 9494 §4.2).
fn finish(came: &Attributes, draft: Draft, interner: &mut Interner) -> Attrs {
    let mut attrs = Arc::unwrap_or_clone(draft.attrs);
    if came.is_long_lived_stale() && !attrs.is_long_lived_stale() {
        attrs.communities.push(Community::LLGR_STALE.0);
    }
    interner.intern(&attrs)
}

/// Judges paths that come in any order, each set of attributes once.
pub(crate) struct Judge<'a> {
    importer: Importer<'a>,
    gates: HashMap<(Family, *const u8), Gate>,
}

/// Where every path has attributes of its own, nothing is gained from remembering them.
const GATES_MAX: usize = 8192;

impl<'a> Judge<'a> {
    pub(crate) fn new(importer: Importer<'a>) -> Self {
        Self { importer, gates: HashMap::new() }
    }

    pub(crate) fn admit(
        &mut self,
        prefix: &Prefix,
        attrs: &Attrs,
        interner: &mut Interner,
    ) -> Result<Attrs, Verdict> {
        if self.gates.len() >= GATES_MAX {
            self.gates.clear();
        }
        let family = Family::of(prefix);
        let gate = self.gates.entry((family, attrs.packed().as_ptr()));
        let gate =
            gate.or_insert_with(|| self.importer.gate(attrs, &attrs.unpack(), family, interner));
        gate.admit(prefix, &self.importer, interner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::NoOrigins;
    use crate::testing::{attributes, prefix, router_id, source};

    fn judge(kind: Kind, attrs: &Attributes) -> Verdict {
        let mut own = OwnAddresses::default();
        own.insert("192.0.2.99".parse().unwrap(), 0);
        let importer = Importer {
            kind,
            peer_asn: Asn(65001),
            own_asn: Asn(64512),
            own_id: router_id(1),
            own: &own,
            filter: &Filter::Node,
            source: &source(1, kind),
            origins: &NoOrigins,
            options: &Options::default(),
        };
        let mut judge = Judge::new(importer);
        let attrs = Attrs::lone(attrs);
        let admitted = judge.admit(&prefix("0.0.0.0/0"), &attrs, &mut Interner::default());
        admitted.map_or_else(|verdict| verdict, |_| Verdict::Accepted)
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
