//! What a speaker is told to be. The shell makes it of the cluster's file.

use crate::options::Options;
pub use crate::types::PeerAs;
use crate::types::{Asn, Family, Prefix, RouterId};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

pub use crate::policy::{Policy, PrefixMatch, Rule};

#[derive(Debug, Clone, PartialEq)]
pub struct SpeakerConfig {
    pub asn: Asn,
    pub router_id: RouterId,
    pub connect_retry: Duration,
    pub peers: Vec<PeerConfig>,
    pub ranges: Vec<RangeConfig>,
    pub policies: BTreeMap<String, Policy>,
    /// Announced besides what the kernel's blocks say.
    pub originate: Vec<Prefix>,
    /// Whether the Loc-RIB goes to the kernel.
    pub install: bool,
    /// How many equal paths a route may use.
    pub max_paths: usize,
    pub multipath: Multipath,
    pub med: MedRules,
}

/// Which paths a route may use beside its best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multipath {
    /// So many at most, where the best one is an external peer's.
    pub external: usize,
    /// The same of internal ones.
    pub internal: usize,
    /// Also those by another neighbour AS, or inside the AS with another path of the same length.
    pub relax: bool,
    /// Where all of them tell the bandwidth of their link, traffic is spread by it (RFC 10005).
    pub weighted: bool,
}

impl Default for Multipath {
    fn default() -> Self {
        Self { external: usize::MAX, internal: usize::MAX, relax: true, weighted: true }
    }
}

/// How MEDs are compared (RFC 4271 §9.1.2.2 c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MedRules {
    /// Also between neighbours of different ASes.
    pub always_compare: bool,
    /// A path without one counts as the worst, and not as the best.
    pub missing_as_worst: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PeerConfig {
    pub name: String,
    /// `::`: whoever is found on the interface, an unnumbered peer.
    pub address: IpAddr,
    /// Of a link-local address, or of an unnumbered peer.
    pub interface: Option<String>,
    pub port: u16,
    pub session: SessionConfig,
}

/// Peers may dial in from a range; each becomes a dynamic peer named `NAME/ADDRESS`.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeConfig {
    pub name: String,
    pub range: Prefix,
    pub limit: usize,
    pub session: SessionConfig,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SessionConfig {
    pub asn: PeerAs,
    pub passive: bool,
    /// Zero (no keepalives) or at least 3 s.
    pub hold_time: Duration,
    pub families: Vec<Family>,
    /// `None`: the capability is not sent, and the peer's is ignored.
    pub graceful_restart: Option<RestartConfig>,
    pub route_reflector_client: bool,
    pub import: PolicyName,
    pub export: PolicyName,
    pub local_address: Option<IpAddr>,
    /// No session before BFD says that the path is up.
    pub waits_for_bfd: bool,
    pub options: Options,
    pub add_paths: AddPaths,
}

/// Several paths a prefix (RFC 7911).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddPaths {
    pub receive: bool,
    /// How many paths of a prefix are sent at most; 0: the capability does not say that we send.
    pub send: u8,
}

/// What we ask of a peer for our restarts, and grant it for its own (RFC 4724).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartConfig {
    pub time: Duration,
    /// Routes outlive NOTIFICATIONs and an expired hold timer too (RFC 8538).
    pub notification: bool,
    /// For how long stale routes are kept after the restart time, ours by the peer and the peer's by
    /// us; zero: not at all (RFC 9494).
    pub long_lived: Duration,
    /// The peer's own restart time is held between these.
    pub min_peer_time: Duration,
    pub max_peer_time: Duration,
    /// How long a peer that is back may take to tell its routes again.
    pub stale_time: Duration,
}

impl RestartConfig {
    /// With defaults for all but the time.
    #[must_use]
    pub const fn new(time: Duration) -> Self {
        Self {
            time,
            notification: true,
            long_lived: Duration::ZERO,
            min_peer_time: Duration::ZERO,
            max_peer_time: Duration::from_secs(4095),
            stale_time: Duration::from_secs(360),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyName {
    All,
    None,
    Node,
    Named(String),
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::None => "none",
            Self::Node => "node",
            Self::Named(name) => name,
        })
    }
}
