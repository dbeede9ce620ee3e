//! One node: a speaker that comes and goes, and a kernel that stays.

use bgp_core::config::{AddPaths, PolicyName, RestartConfig, SessionConfig, SpeakerConfig};
use bgp_core::report::Report;
use bgp_core::speaker::Speaker;
use bgp_core::types::{Asn, Family, NextHop, Prefix, RouterId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

/// One end of a link, or of a connection: `A` is the first named, or who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    A,
    B,
}

impl Side {
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) const fn of<T>(self, both: &[T; 2]) -> &T {
        let [a, b] = both;
        match self {
            Self::A => a,
            Self::B => b,
        }
    }

    pub(crate) const fn of_mut<T>(self, both: &mut [T; 2]) -> &mut T {
        let [a, b] = both;
        match self {
            Self::A => a,
            Self::B => b,
        }
    }
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) config: SpeakerConfig,
    pub(crate) speaker: Option<Speaker>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) blocks: BTreeSet<Prefix>,
    pub(crate) kernel: BTreeMap<Prefix, Vec<NextHop>>,
    pub(crate) fib_changes: u64,
    pub(crate) reports: Vec<(Duration, Report)>,
    /// In the order of the configuration's peers.
    pub(crate) links: Vec<Attached>,
    /// Its processes have taken over sessions from earlier ones.
    pub(crate) has_resumed: bool,
    /// It was told to drain, and withdraws everything then.
    pub(crate) going: Option<Instant>,
}

/// Where a link is attached to a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attached {
    pub(crate) link: crate::LinkId,
    pub(crate) side: Side,
    /// Which of the other node's links it is.
    pub(crate) back: usize,
}

impl Node {
    pub(crate) fn new(name: &str, asn: Asn, id: NodeId) -> Self {
        let number = u32::try_from(id.0).expect("few nodes") + 1;
        Self {
            name: name.into(),
            config: SpeakerConfig {
                asn,
                router_id: RouterId(Ipv4Addr::from(0x0aff_0000 | number)),
                connect_retry: Duration::from_secs(5),
                peers: Vec::new(),
                ranges: Vec::new(),
                policies: BTreeMap::new(),
                originate: Vec::new(),
                install: true,
                max_paths: 8,
                multipath: bgp_core::config::Multipath::default(),
                med: bgp_core::config::MedRules::default(),
            },
            speaker: None,
            deadline: None,
            blocks: BTreeSet::new(),
            kernel: BTreeMap::new(),
            fib_changes: 0,
            reports: Vec::new(),
            links: Vec::new(),
            has_resumed: false,
            going: None,
        }
    }
}

pub(crate) fn session(asn: Asn) -> SessionConfig {
    SessionConfig {
        asn: asn.into(),
        passive: false,
        hold_time: Duration::from_secs(90),
        families: Family::ALL.to_vec(),
        graceful_restart: Some(RestartConfig::new(Duration::from_secs(120))),
        route_reflector_client: false,
        import: PolicyName::All,
        export: PolicyName::All,
        local_address: None,
        waits_for_bfd: false,
        options: bgp_core::options::Options::default(),
        add_paths: AddPaths::default(),
    }
}
