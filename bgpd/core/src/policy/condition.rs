//! Whether a rule is about a path.

use super::model::{AsPathMatch, Ask, CommunityMatch, Provenance};
use super::prefixes::PrefixList;
use super::{Origins, Validity};
use crate::rib::{Kind, Source};
use crate::types::{Asn, Family, Prefix, Protocol, Role};
use crate::wire::{AsPath, Attributes, Segment, SegmentKind};
use bgp_words::{Community, CommunityPattern};
use std::fmt::{self, Display};
use std::slice;

/// All that is known of paths from one source and of one family, but their attributes and prefixes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) family: Family,
    pub(crate) source: &'a Source,
    pub(crate) origins: &'a dyn Origins,
    /// What `prepend` puts in front; `None`: the path's own first AS.
    pub(crate) own_asn: Option<Asn>,
}

/// What can be told from the attributes, and holds for all the prefixes they have.
#[derive(Debug)]
pub(super) struct OfAttributes(Ask);

/// What must be asked of each prefix.
#[derive(Debug)]
pub(super) enum OfPrefix {
    In(PrefixList),
    Rpki(Vec<Validity>),
}

/// What a rule asks, sorted.
pub(super) fn sort(asks: &[Ask]) -> (Vec<OfAttributes>, Vec<OfPrefix>) {
    let (mut of_attributes, mut of_prefix) = (Vec::new(), Vec::new());
    for ask in asks {
        match ask {
            Ask::Prefix(list) => of_prefix.push(OfPrefix::In(PrefixList::new(list))),
            Ask::Rpki(states) => of_prefix.push(OfPrefix::Rpki(states.clone())),
            other => of_attributes.push(OfAttributes(other.clone())),
        }
    }
    (of_attributes, of_prefix)
}

impl OfPrefix {
    pub(super) fn holds(&self, prefix: &Prefix, attrs: &Attributes, context: &Context<'_>) -> bool {
        match self {
            Self::In(list) => list.has(prefix),
            Self::Rpki(states) => states.contains(&validity(prefix, attrs, context)),
        }
    }

    pub(super) const fn asks_rpki(&self) -> bool {
        matches!(self, Self::Rpki(_))
    }

    pub(super) fn why_not(
        &self,
        prefix: &Prefix,
        attrs: &Attributes,
        context: &Context<'_>,
    ) -> String {
        match self {
            Self::In(list) => match list.len() {
                1 => "its prefix is another".into(),
                n => format!("its prefix is none of {n}"),
            },
            Self::Rpki(states) => {
                let state = validity(prefix, attrs, context);
                format!("RPKI says {state}, not {}", or(states))
            }
        }
    }
}

fn validity(prefix: &Prefix, attrs: &Attributes, context: &Context<'_>) -> Validity {
    let own = context.origins.own_asn().filter(|_| attrs.as_path.0.is_empty());
    context.origins.validity(prefix, attrs.as_path.origin_as().or(own))
}

impl OfAttributes {
    pub(super) fn holds(&self, attrs: &Attributes, context: &Context<'_>) -> bool {
        let source = context.source;
        match &self.0 {
            Ask::Family(family) => context.family == *family,
            Ask::Community(wanted) => wanted.holds(attrs),
            Ask::AsPath(wanted) => wanted.holds(&attrs.as_path),
            Ask::Origin(origins) => origins.contains(&attrs.origin),
            Ask::NextHop(within) => within.iter().any(|p| p.contains(attrs.next_hop.addr())),
            Ask::Peer(names) => names.iter().any(|name| source.is_called(name)),
            Ask::Role(roles) => source.role.is_some_and(|role| roles.contains(&role)),
            Ask::Source(wanted) => wanted.iter().any(|from| from.is(source)),
            Ask::Interface(names) => {
                source.interface.as_deref().is_some_and(|own| names.iter().any(|n| n == own))
            }
            // Sorted elsewhere.
            Ask::Prefix(_) | Ask::Rpki(_) => false,
        }
    }

    pub(super) fn why_not(&self, attrs: &Attributes, context: &Context<'_>) -> String {
        let source = context.source;
        match &self.0 {
            Ask::Family(family) => format!("it is not of {family}"),
            Ask::Community(wanted) => wanted.why_not(attrs),
            Ask::AsPath(wanted) => wanted.why_not(&attrs.as_path),
            Ask::Origin(origins) => format!("its origin is {}, not {}", attrs.origin, or(origins)),
            Ask::NextHop(within) => {
                format!("its next hop {} is not in {}", attrs.next_hop, or(within))
            }
            Ask::Peer(names) => match &*source.name {
                "" => format!("it is not from peer {}, but from this node", or(names)),
                name => format!("it is not from peer {}, but from {name}", or(names)),
            },
            Ask::Role(roles) => match source.role {
                Some(role) => format!("its peer is a {role}, not a {}", or(roles)),
                None => format!("its peer has no role, so it is no {}", or(roles)),
            },
            Ask::Source(wanted) => format!("its source is {}, not {}", said(source), or(wanted)),
            Ask::Interface(names) => match &source.interface {
                Some(own) => format!("its interface is {own}, not {}", or(names)),
                None => format!("it has no interface, so not {}", or(names)),
            },
            Ask::Prefix(_) | Ask::Rpki(_) => String::new(),
        }
    }
}

impl Source {
    /// A dynamic peer is called `RANGE/ADDRESS`.
    fn is_called(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        self.protocol == Protocol::Bgp && rest.is_some_and(|r| r.is_empty() || r.starts_with('/'))
    }
}

impl Provenance {
    fn is(self, source: &Source) -> bool {
        match self {
            Self::Own(protocol) => source.protocol == protocol,
            Self::Bgp => source.protocol == Protocol::Bgp,
            Self::Ebgp => source.kind == Kind::External,
            Self::Ibgp => source.kind.is_internal(),
        }
    }
}

fn said(source: &Source) -> Provenance {
    match (source.protocol, source.kind) {
        (Protocol::Bgp, Kind::External) => Provenance::Ebgp,
        (Protocol::Bgp, _) => Provenance::Ibgp,
        (own, _) => Provenance::Own(own),
    }
}

impl CommunityMatch {
    fn holds(&self, attrs: &Attributes) -> bool {
        let has = |pattern: &CommunityPattern| communities(attrs).any(|c| pattern.matches(c));
        (self.any.is_empty() || self.any.iter().any(has))
            && self.all.iter().all(has)
            && !self.none.iter().any(has)
    }

    fn why_not(&self, attrs: &Attributes) -> String {
        let has = |pattern: &CommunityPattern| communities(attrs).any(|c| pattern.matches(c));
        if let Some(there) = self.none.iter().find(|p| has(p)) {
            return format!("it has community {there}");
        }
        match self.all.iter().find(|p| !has(p)) {
            Some(missing) => format!("it has no community {missing}"),
            None => format!("it has no community {}", or(&self.any)),
        }
    }
}

/// All that a path has, of each kind.
pub(super) fn communities(attrs: &Attributes) -> impl Iterator<Item = Community> + '_ {
    let standard = attrs.communities.iter().map(|c| Community::Standard(*c));
    let extended = attrs.extended_communities.iter().map(|c| Community::Extended(*c));
    let large = attrs.large_communities.iter().map(|c| Community::Large(*c));
    standard.chain(extended).chain(large)
}

impl AsPathMatch {
    fn holds(&self, path: &AsPath) -> bool {
        (self.patterns.is_empty() || self.patterns.iter().any(|p| p.matches(elements(path))))
            && (self.contains.is_empty() || self.contains.iter().any(|a| path.contains(*a)))
            && (self.origin.is_empty()
                || path.origin_as().is_some_and(|a| self.origin.contains(&a)))
            && (self.neighbor.is_empty()
                || path.first().is_some_and(|a| self.neighbor.contains(&a)))
            && self.length.is_none_or(|(ge, le)| (ge..=le).contains(&count(path)))
    }

    fn why_not(&self, path: &AsPath) -> String {
        let shown = if path.0.is_empty() { "empty".to_owned() } else { path.to_string() };
        let whole = Self { patterns: Vec::new(), ..self.clone() };
        if whole.holds(path) {
            return format!("its AS path, {shown}, is not like {}", or(&self.patterns));
        }
        if self.length.is_some_and(|(ge, le)| !(ge..=le).contains(&count(path))) {
            return format!("its AS path, {shown}, has the length {}", count(path));
        }
        format!("its AS path is {shown}")
    }
}

fn count(path: &AsPath) -> u32 {
    u32::try_from(path.length()).unwrap_or(u32::MAX)
}

/// As patterns see a path: each AS by itself, a set as one.
fn elements(path: &AsPath) -> impl Iterator<Item = impl Iterator<Item = u32> + Clone> {
    path.0.iter().flat_map(|segment: &Segment| {
        let size = match segment.kind {
            SegmentKind::Sequence => 1,
            SegmentKind::Set => segment.asns.len().max(1),
        };
        segment.asns.chunks(size).map(numbers)
    })
}

fn numbers(asns: &[Asn]) -> std::iter::Map<slice::Iter<'_, Asn>, fn(&Asn) -> u32> {
    asns.iter().map(|asn| asn.0)
}

/// `a, b or c`
fn or<T: Display>(items: &[T]) -> String {
    let mut text = String::new();
    for (i, item) in items.iter().enumerate() {
        text += match i {
            0 => "",
            _ if i + 1 == items.len() => " or ",
            _ => ", ",
        };
        text += &item.to_string();
    }
    text
}

impl Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(protocol) => write!(f, "{protocol}"),
            Self::Bgp => f.write_str("bgp"),
            Self::Ebgp => f.write_str("ebgp"),
            Self::Ibgp => f.write_str("ibgp"),
        }
    }
}

impl Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
        })
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::Customer => "customer",
            Self::Peer => "peer",
            Self::RouteServer => "rs",
            Self::RouteServerClient => "rs-client",
        })
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bgp => "bgp",
            Self::Local => "local",
            Self::Block => "block",
            Self::Injected => "injected",
        })
    }
}
