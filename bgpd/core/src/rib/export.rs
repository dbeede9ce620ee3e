//! What a peer may be told, and with which attributes (RFC 4271 §9.1.3, §5).
//!
//! The next hop is this node whenever the path was originated here or came from outside: hosts run
//! no interior routing, so a peer inside the AS could not resolve the address of our neighbour
//! (RFC 4271 §5.1.3). A reflector is no hop and leaves it alone (RFC 4456 §10).

use super::decision::DEFAULT_LOCAL_PREF;
use super::policy::Filter;
use super::{Kind, Path, PerFamily, rewrite};
use crate::options::{NextHopRule, Options};
use crate::policy::{Context, Draft, NextHopChange, Origins};
use crate::role;
use crate::types::{Asn, Family, NextHop, PeerId, Prefix, RouterId};
use crate::wire::{Attributes, Community, is_non_transitive};
use bgp_words::LinkBandwidth;
use std::sync::Arc;

/// RFC 1997: not to be passed to external peers; the second, not outside a confederation member.
const NO_EXPORT: u32 = 0xffff_ff01;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
/// RFC 1997: not to be passed to anybody.
const NO_ADVERTISE: u32 = 0xffff_ff02;

/// How far well-known communities let a path go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    Anybody,
    Inside,
    Nobody,
}

impl Reach {
    pub(crate) fn of(attributes: &Attributes) -> Self {
        let reach = |community: &u32| match *community {
            NO_ADVERTISE => Self::Nobody,
            NO_EXPORT | NO_EXPORT_SUBCONFED => Self::Inside,
            _ => Self::Anybody,
        };
        attributes.communities.iter().map(reach).max().unwrap_or(Self::Anybody)
    }
}

/// The rules towards one peer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exporter {
    pub(crate) peer: PeerId,
    pub(crate) kind: Kind,
    pub(crate) own_asn: Asn,
    pub(crate) own_id: RouterId,
    /// Ourselves as the peer may reach us; `None`: it cannot, or the family was not agreed on.
    pub(crate) next_hops: PerFamily<Option<NextHop>>,
    pub(crate) families: PerFamily<bool>,
    pub(crate) filter: Filter,
    /// The peer knows what long-lived stale paths are.
    pub(crate) long_lived: bool,
    pub(crate) presence: Presence,
    pub(crate) peer_asn: Asn,
    /// IPv4 prefixes may have IPv6 next hops (RFC 8950).
    pub(crate) extended_next_hop: bool,
    pub(crate) options: Options,
}

/// Why a peer is not told of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The session does not carry its family.
    Family,
    Drained,
    /// It came from this very peer.
    SplitHorizon,
    /// RFC 4271 §9.2, RFC 4456 §6.
    NotReflected,
    NoAdvertise,
    NoExport,
    LongLivedStale,
    /// We have no address that the peer could reach.
    NoNextHop,
    /// RFC 8950 §4.
    NextHopFamily,
    /// RFC 9234 §5.
    OnlyToCustomer,
    Policy,
}

impl Withheld {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Family => "the session does not carry this family",
            Self::Drained => "this node is drained",
            Self::SplitHorizon => "it came from this peer",
            Self::NotReflected => "from an internal peer to another; neither is a reflector client",
            Self::NoAdvertise => "community NO_ADVERTISE",
            Self::NoExport => "community NO_EXPORT",
            Self::LongLivedStale => "stale for long, and the peer does not know what that is",
            Self::NoNextHop => "no address of this family on the peer's link",
            Self::NextHopFamily => "its next hop is IPv6, which the peer does not take for IPv4",
            Self::OnlyToCustomer => "only for customers, by the attribute OTC and the peer's role",
            Self::Policy => "refused by the export policy",
        }
    }
}

const fn withheld_if(condition: bool, why: Withheld) -> Result<(), Withheld> {
    if condition { Err(why) } else { Ok(()) }
}

/// How this node stands in its peers' ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Full,
    /// About to go: taken only where there is no other way (RFC 8326 §4).
    LastResort,
    /// Told of nothing.
    None,
}

impl Exporter {
    /// Whether the peer may have this path, as far as its attributes and the rules of a policy are not
    /// asked: those stand in the memo of what paths become.
    pub(crate) fn allows(&self, prefix: &Prefix, path: &Path) -> bool {
        self.judge(prefix, path).is_ok()
    }

    /// The same, with the rule that keeps it from the peer.
    pub(crate) fn judge(&self, prefix: &Prefix, path: &Path) -> Result<(), Withheld> {
        let family = Family::of(prefix);
        withheld_if(!*self.families.get(family), Withheld::Family)?;
        withheld_if(self.presence == Presence::None, Withheld::Drained)?;
        withheld_if(path.source.peer == Some(self.peer), Withheld::SplitHorizon)?;
        withheld_if(!self.crosses(path.source.kind), Withheld::NotReflected)?;
        self.communities_allow(path)?;
        // RFC 9494 §4.3: others would take it for as good as any.
        let for_long = !self.long_lived && path.attrs.is_long_lived_stale();
        withheld_if(for_long, Withheld::LongLivedStale)?;
        let unreachable = self.next_hop_self(path) && self.next_hops.get(family).is_none();
        withheld_if(unreachable, Withheld::NoNextHop)?;
        withheld_if(!self.carries(family, path), Withheld::NextHopFamily)?;
        withheld_if(!self.role_allows(path), Withheld::OnlyToCustomer)?;
        withheld_if(!self.filter.exports(path.source.kind), Withheld::Policy)
    }

    /// The same, with the rules of its policy.
    pub(crate) fn judge_fully(
        &self,
        prefix: &Prefix,
        path: &Path,
        origins: &dyn Origins,
    ) -> Result<(), Withheld> {
        self.judge(prefix, path)?;
        let Some(program) = self.filter.program() else { return Ok(()) };
        let context = self.context(Family::of(prefix), path, origins);
        let mut prepared = program.prepare(&path.attrs.unpack().into(), &context);
        prepared.decide(program, prefix, &context, &mut drop).ok_or(Withheld::Policy)
    }

    /// RFC 4271 §9.2: what came from inside stays inside and is not passed on there, but by a
    /// route reflector, from and to its clients (RFC 4456 §6).
    pub(crate) fn crosses(&self, from: Kind) -> bool {
        match (from, self.kind) {
            (Kind::Internal { client: from }, Kind::Internal { client: to }) => from || to,
            _ => true,
        }
    }

    /// What the rules of a policy are told besides attributes and prefix.
    pub(crate) fn context<'a>(
        &'a self,
        family: Family,
        path: &'a Path,
        origins: &'a dyn Origins,
    ) -> Context<'a> {
        let own_asn = (self.kind == Kind::External).then_some(self.own_asn);
        Context { family, source: &path.source, origins, own_asn }
    }

    /// What the peer is told of an allowed path.
    pub(crate) fn attributes(&self, family: Family, path: &Path) -> Attributes {
        self.dress(family, path, Draft::new(&Arc::new(path.attrs.unpack())))
    }

    /// The same of what a policy has made of it.
    pub(crate) fn dress(&self, family: Family, path: &Path, draft: Draft) -> Attributes {
        let touched = draft.touched;
        let mut attrs = Arc::unwrap_or_clone(draft.attrs);
        attrs.weight = 0;
        let own_hop = match touched.next_hop {
            None => self.next_hop_self(path),
            Some(set) => set == NextHopChange::OurSelf,
        };
        if let (true, Some(own)) = (own_hop, *self.next_hops.get(family)) {
            attrs.next_hop = own;
        }
        if self.kind == Kind::External {
            // RFC 4271 §5.1.4: a MED is for the neighbour it was made for.
            if path.source.kind != Kind::Local && !touched.med {
                attrs.med = None;
            }
            if attrs.extended_communities.iter().any(|c| is_non_transitive(*c)) {
                keep_inside(&mut attrs, path, touched.link_bandwidth);
            }
            self.leave(&mut attrs);
        } else {
            self.stay(&mut attrs, path);
        }
        if !self.options.send_communities {
            attrs.communities.clear();
            attrs.extended_communities.clear();
            attrs.large_communities.clear();
        }
        if self.presence == Presence::LastResort {
            self.step_back(&mut attrs);
        }
        attrs
    }

    fn carries(&self, family: Family, path: &Path) -> bool {
        let own = self.next_hops.get(family).filter(|_| self.next_hop_self(path));
        match (family, own.unwrap_or_else(|| path.attrs.next_hop())) {
            (Family::Ipv4Unicast, NextHop::V6 { .. }) => self.extended_next_hop,
            (Family::Ipv6Unicast, NextHop::V4(_)) => false,
            _ => true,
        }
    }

    fn role_allows(&self, path: &Path) -> bool {
        let role = self.options.role.filter(|_| self.kind == Kind::External);
        role.is_none_or(|role| role::may_leave(role, path.attrs.is_only_to_customer()))
    }

    /// RFC 8326 §4: who is inside goes by LOCAL_PREF, who is outside by the community.
    fn step_back(&self, attrs: &mut Attributes) {
        if !attrs.has_community(Community::GRACEFUL_SHUTDOWN) {
            attrs.communities.push(Community::GRACEFUL_SHUTDOWN.0);
        }
        if self.kind.is_internal() {
            attrs.local_pref = Some(0);
        }
    }

    fn leave(&self, attrs: &mut Attributes) {
        rewrite::outward(&self.options, self.own_asn, self.peer_asn, &mut attrs.as_path);
        if let Some(role) = self.options.role {
            role::mark_out(role, self.options.own_asn(self.own_asn), attrs);
        }
        attrs.local_pref = None;
        attrs.originator_id = None;
        attrs.cluster_list.clear();
    }

    fn stay(&self, attrs: &mut Attributes, path: &Path) {
        if path.source.kind == Kind::External && attrs.has_community(Community::GRACEFUL_SHUTDOWN) {
            attrs.local_pref = Some(0);
        }
        attrs.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
        if path.source.kind.is_internal() {
            // RFC 4456 §8.
            attrs.originator_id.get_or_insert(path.source.router_id);
            attrs.cluster_list.insert(0, self.own_id);
        }
    }

    fn next_hop_self(&self, path: &Path) -> bool {
        let by_rule = match self.options.next_hop {
            NextHopRule::Auto => self.kind == Kind::External || !path.source.kind.is_internal(),
            NextHopRule::OurSelf => true,
            NextHopRule::Unchanged => path.source.kind == Kind::Local,
        };
        // A link-local one says nothing to whoever is not on that link.
        by_rule || path.attrs.next_hop().is_link_local()
    }

    fn communities_allow(&self, path: &Path) -> Result<(), Withheld> {
        match path.attrs.reach() {
            Reach::Nobody => Err(Withheld::NoAdvertise),
            Reach::Inside => withheld_if(self.kind == Kind::External, Withheld::NoExport),
            Reach::Anybody => Ok(()),
        }
    }
}

/// RFC 4360 §6: what is not transitive stays in the AS, but for what this node itself says to the
/// neighbour, as RFC 10005 has it: by its policy towards it, or of a prefix of its own.
fn keep_inside(attrs: &mut Attributes, path: &Path, bandwidth_set: bool) {
    if path.source.kind == Kind::Local {
        return;
    }
    let came = path.attrs.unpack().extended_communities;
    let said = |c: u64| bandwidth_set && LinkBandwidth::of(c).is_some();
    attrs.extended_communities.retain(|c| !is_non_transitive(*c) || said(*c) || !came.contains(c));
    attrs.partial.extended_communities &= !attrs.extended_communities.is_empty();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::attrs::Attrs;
    use crate::testing::{attributes, prefix, router_id, source};
    use std::rc::Rc;

    const INSIDE: Kind = Kind::Internal { client: false };
    const CLIENT: Kind = Kind::Internal { client: true };

    fn to(kind: Kind) -> Exporter {
        let own = NextHop::V4("192.0.2.100".parse().unwrap());
        Exporter {
            peer: PeerId(9),
            kind,
            own_asn: Asn(64512),
            own_id: router_id(100),
            next_hops: PerFamily::new(|f| (f == Family::Ipv4Unicast).then_some(own)),
            families: PerFamily::new(|_| true),
            filter: Filter::All,
            long_lived: false,
            presence: Presence::Full,
            peer_asn: Asn(65009),
            extended_next_hop: false,
            options: Options::default(),
        }
    }

    fn from(kind: Kind) -> Path {
        let mut attrs = attributes(if kind == Kind::External { &[65001] } else { &[] });
        attrs.local_pref = kind.is_internal().then_some(250);
        attrs.med = Some(7);
        Path { source: Rc::new(source(1, kind)), attrs: Attrs::lone(&attrs), id: 0 }
    }

    #[test]
    fn an_external_peer_sees_our_as_our_address_and_no_preferences() {
        let path = from(INSIDE);
        let attrs = to(Kind::External).attributes(Family::Ipv4Unicast, &path);
        assert_eq!(attrs.as_path.to_string(), "64512");
        assert_eq!(attrs.next_hop.to_string(), "192.0.2.100");
        assert_eq!((attrs.local_pref, attrs.med), (None, None));
    }

    #[test]
    fn the_next_hop_is_ours_or_left_alone_as_asked() {
        let told = |next_hop, to_kind, from_kind| {
            let options = Options { next_hop, ..Options::default() };
            let exporter = Exporter { options, ..to(to_kind) };
            let attrs = exporter.attributes(Family::Ipv4Unicast, &from(from_kind));
            attrs.next_hop.to_string()
        };
        let (own, theirs) = ("192.0.2.100", "192.0.2.1");
        assert_eq!(told(NextHopRule::Unchanged, Kind::External, INSIDE), theirs);
        assert_eq!(told(NextHopRule::Unchanged, Kind::External, Kind::Local), own);
        assert_eq!(told(NextHopRule::OurSelf, CLIENT, INSIDE), own);
        assert_eq!(told(NextHopRule::Auto, CLIENT, INSIDE), theirs);
    }

    #[test]
    fn what_came_from_outside_goes_inside_with_our_address_as_next_hop() {
        let attrs = to(INSIDE).attributes(Family::Ipv4Unicast, &from(Kind::External));
        assert_eq!(attrs.next_hop.to_string(), "192.0.2.100");
        assert_eq!(attrs.as_path.to_string(), "65001");
        assert_eq!((attrs.local_pref, attrs.med), (Some(100), Some(7)));
    }

    #[test]
    fn only_a_reflector_passes_on_inside_what_came_from_inside() {
        let p = prefix("10.0.0.0/8");
        assert!(!to(INSIDE).allows(&p, &from(INSIDE)));
        assert!(to(CLIENT).allows(&p, &from(INSIDE)));
        assert!(to(INSIDE).allows(&p, &from(CLIENT)));
        let attrs = to(CLIENT).attributes(Family::Ipv4Unicast, &from(INSIDE));
        assert_eq!(attrs.next_hop.to_string(), "192.0.2.1");
        assert_eq!(attrs.originator_id, Some(router_id(1)));
        assert_eq!(attrs.cluster_list, [router_id(100)]);
        assert_eq!(attrs.local_pref, Some(250));
    }

    #[test]
    fn well_known_communities_are_obeyed() {
        let p = prefix("10.0.0.0/8");
        let tagged = |community| {
            let mut attrs = attributes(&[65001]);
            attrs.communities = vec![community];
            Path { attrs: Attrs::lone(&attrs), ..from(Kind::External) }
        };
        assert!(!to(Kind::External).allows(&p, &tagged(NO_EXPORT)));
        assert!(to(INSIDE).allows(&p, &tagged(NO_EXPORT)));
        assert!(!to(INSIDE).allows(&p, &tagged(NO_ADVERTISE)));
    }

    #[test]
    fn what_is_not_transitive_stays_inside_but_for_what_our_policy_says() {
        let (bandwidth, target) = (0x4004_fde9_4e95_02f9, 0x0002_fde9_0000_0064);
        let mut attrs = attributes(&[65001]);
        attrs.extended_communities = vec![target, bandwidth];
        let path = Path { attrs: Attrs::lone(&attrs), ..from(Kind::External) };
        let told = |kind| to(kind).attributes(Family::Ipv4Unicast, &path).extended_communities;
        assert_eq!(told(INSIDE), [target, bandwidth]);
        assert_eq!(told(Kind::External), [target]);
        let mut draft = Draft::new(&Arc::new(attrs.clone()));
        draft.touched.link_bandwidth = true;
        let said = to(Kind::External).dress(Family::Ipv4Unicast, &path, draft);
        assert_eq!(said.extended_communities, [target, bandwidth]);
        let own = Path { source: from(Kind::Local).source, ..path };
        let told = to(Kind::External).attributes(Family::Ipv4Unicast, &own).extended_communities;
        assert_eq!(told, [target, bandwidth]);
    }

    #[test]
    fn nothing_goes_back_to_where_it_came_from_or_where_we_have_no_address() {
        let mut back = from(Kind::External);
        Rc::make_mut(&mut back.source).peer = Some(PeerId(9));
        assert!(!to(Kind::External).allows(&prefix("10.0.0.0/8"), &back));
        assert!(to(Kind::External).allows(&prefix("10.0.0.0/8"), &from(Kind::Local)));
        assert!(!to(Kind::External).allows(&prefix("fd00::/64"), &from(Kind::Local)));
    }
}
