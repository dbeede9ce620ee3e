//! Short ways to say what unit tests talk about.

use crate::rib::attrs::Attrs;
use crate::rib::{Kind, Path, Source};
use crate::types::{Asn, NextHop, PeerId, Prefix, Protocol, RouterId};
use crate::wire::{AsPath, Attributes, Origin, Segment, SegmentKind};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

pub(crate) fn attributes(as_path: &[u32]) -> Attributes {
    let asns: Vec<Asn> = as_path.iter().map(|a| Asn(*a)).collect();
    let segment = (!asns.is_empty()).then_some(Segment { kind: SegmentKind::Sequence, asns });
    Attributes {
        as_path: AsPath(segment.into_iter().collect()),
        ..Attributes::bare(NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)), Origin::Igp)
    }
}

/// A path from 192.0.2.`peer`, whose router ID ends in the same number unless said otherwise.
#[derive(Debug, Clone)]
pub(crate) struct PathSpec {
    pub(crate) peer: u8,
    pub(crate) as_path: Vec<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) local_pref: Option<u32>,
    pub(crate) internal: bool,
    pub(crate) origin: Origin,
    pub(crate) router_id: Option<u8>,
    pub(crate) originator: Option<u8>,
    pub(crate) clusters: u8,
}

impl Default for PathSpec {
    fn default() -> Self {
        Self {
            peer: 1,
            as_path: vec![65001],
            med: None,
            local_pref: None,
            internal: false,
            origin: Origin::Igp,
            router_id: None,
            originator: None,
            clusters: 0,
        }
    }
}

pub(crate) fn router_id(n: u8) -> RouterId {
    RouterId(Ipv4Addr::new(10, 255, 0, n))
}

pub(crate) fn source(peer: u8, kind: Kind) -> Source {
    Source {
        peer: (kind != Kind::Local).then_some(PeerId(peer.into())),
        kind,
        asn: Asn(65000),
        router_id: router_id(peer),
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, peer)),
        med: crate::config::MedRules::default(),
        name: if kind == Kind::Local { "".into() } else { format!("p{peer}").into() },
        role: None,
        interface: None,
        scope: 0,
        protocol: if kind == Kind::Local { Protocol::Local } else { Protocol::Bgp },
    }
}

pub(crate) fn path(spec: &PathSpec) -> Path {
    let kind = if spec.internal { Kind::Internal { client: false } } else { Kind::External };
    let mut from = source(spec.peer, kind);
    from.router_id = router_id(spec.router_id.unwrap_or(spec.peer));
    let attrs = Attributes {
        next_hop: NextHop::V4(Ipv4Addr::new(192, 0, 2, spec.peer)),
        origin: spec.origin,
        med: spec.med,
        local_pref: spec.local_pref,
        originator_id: spec.originator.map(router_id),
        cluster_list: (0..spec.clusters).map(router_id).collect(),
        ..attributes(&spec.as_path)
    };
    Path { source: Rc::new(from), attrs: Attrs::lone(&attrs), id: 0 }
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

/// A moment to count from: the core may not ask for one, its tests may.
#[allow(clippy::disallowed_methods, reason = "tests need some moment to start from")]
pub(crate) fn start() -> std::time::Instant {
    std::time::Instant::now()
}

pub(crate) fn session_config(asn: u32) -> crate::config::SessionConfig {
    crate::config::SessionConfig {
        asn: Asn(asn).into(),
        passive: false,
        hold_time: std::time::Duration::from_secs(90),
        families: crate::types::Family::ALL.to_vec(),
        graceful_restart: Some(crate::config::RestartConfig::new(std::time::Duration::from_secs(
            120,
        ))),
        route_reflector_client: false,
        import: crate::config::PolicyName::All,
        export: crate::config::PolicyName::All,
        local_address: None,
        waits_for_bfd: false,
        options: crate::options::Options::default(),
        add_paths: crate::config::AddPaths::default(),
    }
}
