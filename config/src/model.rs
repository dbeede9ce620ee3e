//! What one node ends up with: checked values, defaults filled in. The daemons see only this.

mod collect;
mod options;
mod policy;

pub use collect::{BmpStation, HostPort, Mrt, MrtFile, RpkiServer};
pub use options::{
    AoAlgorithm, AoKey, HopWeights, LocalAs, MaxPrefixes, MedRules, Multipath, NextHopRule,
    OverLimit, RemovePrivate, SessionOptions,
};
pub use policy::*;

use mainstay_prefix::Prefix;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// One node's share of the cluster's file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeConfig {
    pub name: String,
    /// The node's own address as the file has it.
    pub address: Option<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub network: Network,
    pub bgp: Bgp,
    pub ipam: Ipam,
    pub netmon: Netmon,
    pub keeper: Keeper,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    pub mode: Mode,
    /// Without repetition, in the order IPv4, IPv6; never empty.
    pub families: Vec<Family>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    None,
    Simple,
    Bgp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Ipv4,
    Ipv6,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bgp {
    pub asn: u32,
    pub router_id: Ipv4Addr,
    /// `None`: connect only.
    pub listen: Option<Listen>,
    pub graceful_restart: GracefulRestart,
    /// How often a lost or refused connection is tried again (RFC 4271 §8.2.1.1, ConnectRetryTime).
    #[serde(serialize_with = "seconds")]
    pub connect_retry: Duration,
    /// Peers selected for this node, mesh peers included, ordered by name; names are unique.
    pub peers: Vec<Peer>,
    /// Ranges from which peers may dial in, ordered by name.
    pub ranges: Vec<Range>,
    pub policies: BTreeMap<String, Vec<Rule>>,
    /// Announced without an ipamd.
    pub originate: Vec<Prefix>,
    pub fib: Fib,
    pub multipath: Multipath,
    pub med: MedRules,
    /// Caches of validated route origins, the best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rpki: Vec<RpkiServer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bmp: Vec<BmpStation>,
    #[serde(skip_serializing_if = "Mrt::is_off")]
    pub mrt: Mrt,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listen {
    pub port: u16,
    /// Empty: every address.
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GracefulRestart {
    pub enabled: bool,
    /// What we ask of peers, whole seconds, at most 4095 s (RFC 4724 §3).
    #[serde(serialize_with = "seconds")]
    pub restart_time: Duration,
    /// Routes outlive NOTIFICATIONs too (RFC 8538).
    pub notification: bool,
    /// For how long stale routes are kept after `restart_time`, ours by peers and theirs by us;
    /// zero: not at all (RFC 9494).
    #[serde(serialize_with = "seconds")]
    pub long_lived: Duration,
    /// A peer's restart time is held between these two.
    #[serde(serialize_with = "seconds")]
    pub min_peer_restart_time: Duration,
    #[serde(serialize_with = "seconds")]
    pub max_peer_restart_time: Duration,
    /// How long a peer that is back may take to tell its routes again.
    #[serde(serialize_with = "seconds")]
    pub stale_time: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peer {
    pub name: String,
    /// `None`: whoever is found on the interface.
    pub address: Option<IpAddr>,
    /// Interface of a link-local `address`, or of an unnumbered peer.
    pub interface: Option<String>,
    pub port: u16,
    #[serde(flatten)]
    pub session: PeerSession,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Range {
    pub name: String,
    pub range: Prefix,
    /// How many peers of this range there may be at once.
    pub limit: usize,
    #[serde(flatten)]
    pub session: PeerSession,
}

/// Of which AS a peer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerAs {
    /// Any but ours.
    External,
    #[serde(untagged)]
    Number(u32),
}

impl PeerAs {
    /// `None`: it says so itself.
    #[must_use]
    pub const fn number(self) -> Option<u32> {
        match self {
            Self::Number(asn) => Some(asn),
            Self::External => None,
        }
    }

    /// Whether such a peer is one inside the AS `own`.
    #[must_use]
    pub const fn is_internal(self, own: u32) -> bool {
        matches!(self, Self::Number(asn) if asn == own)
    }
}

impl fmt::Display for PeerAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External => f.write_str("external"),
            Self::Number(asn) => asn.fmt(f),
        }
    }
}

/// What a fixed peer and a range have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerSession {
    pub asn: PeerAs,
    /// Never dial.
    pub passive: bool,
    #[serde(serialize_with = "seconds")]
    pub hold_time: Duration,
    /// TCP MD5 (RFC 2385): where the key is. Read by bgpd, not by `config check`.
    pub password_file: Option<PathBuf>,
    /// TCP-AO (RFC 5925) instead of it, if there are any; the first one signs.
    pub tcp_ao: Vec<AoKey>,
    pub families: Vec<Family>,
    pub graceful_restart: GracefulRestart,
    pub route_reflector_client: bool,
    pub add_paths: AddPaths,
    pub import: PolicyRef,
    pub export: PolicyRef,
    /// Source address of our connections.
    pub local_address: Option<IpAddr>,
    /// eBGP only: TTL of our packets; 1 unless the peer is not on a shared link.
    pub multihop: Option<u8>,
    /// How the path to the peer is watched by BFD (RFC 5880), if it is.
    pub bfd: Option<Bfd>,
    #[serde(flatten)]
    pub options: SessionOptions,
}

/// Several paths for a prefix (RFC 7911).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct AddPaths {
    pub receive: bool,
    /// How many paths of a prefix are sent at most; 0: sending is not offered.
    pub send: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bfd {
    /// Of our packets, while the session is up and the peer agrees.
    #[serde(serialize_with = "seconds")]
    pub min_tx: Duration,
    #[serde(serialize_with = "seconds")]
    pub min_rx: Duration,
    pub multiplier: u8,
    /// No BGP session before BFD is up.
    pub strict: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyRef {
    All,
    None,
    /// Own blocks out, at most a default route in: the default for eBGP.
    Node,
    #[serde(untagged)]
    Named(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fib {
    pub install: bool,
    /// Kernel table; `main` is 254.
    pub table: u32,
    /// Metric of our routes. Not 0, where the kernel's own and static routes stand.
    pub metric: u32,
    /// Whose routes are taken over at start.
    pub adopt: Vec<Speaker>,
    /// Whether routes refer to nexthop objects.
    pub nexthop_objects: bool,
}

/// A speaker of somebody else, by the name iproute2 has for its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    Bird,
    /// FRR's zebra for routes of no protocol.
    Zebra,
    /// FRR's zebra for routes of its bgpd.
    Bgp,
}

impl Speaker {
    /// Its protocol in `/etc/iproute2/rt_protos`.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Zebra => 11,
            Self::Bird => 12,
            Self::Bgp => 186,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ipam {
    pub pools: Vec<Pool>,
    pub stickiness: Stickiness,
    #[serde(serialize_with = "seconds")]
    pub cooldown: Duration,
    /// Of the log of what happened to addresses, in bytes; 0: none is kept.
    pub history_max_size: u64,
    pub gc: Gc,
}

/// How leases whose container is gone without a DEL are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gc {
    pub enabled: bool,
    #[serde(serialize_with = "seconds")]
    pub interval: Duration,
    #[serde(serialize_with = "seconds")]
    pub grace: Duration,
    /// Where libcni keeps the results of ADD.
    pub results: PathBuf,
    /// The runtime's CRI socket.
    pub runtime: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pool {
    pub name: String,
    pub cidr: Prefix,
    /// The blocks this node holds, in order.
    pub blocks: Vec<Prefix>,
    /// The namespaces it is for; none: for all that have no pool of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Unless it is as everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Stickiness>,
    /// From first to last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<(IpAddr, IpAddr)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Reserved>,
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whose {
            Whose::Pod { namespace, name } => write!(f, "{}={namespace}/{name}", self.address),
            Whose::StickyKey { namespace, key } => {
                write!(f, "{}=sticky key {namespace}/{key}", self.address)
            }
        }
    }
}

/// For how long a released address is kept for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stickiness {
    Ttl(Duration),
    Never,
    WhileOwnerExists,
}

impl fmt::Display for Stickiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ttl(ttl) => write!(f, "{}s", ttl.as_secs_f64()),
            Self::Never => f.write_str("never"),
            Self::WhileOwnerExists => f.write_str("while-owner-exists"),
        }
    }
}

impl Serialize for Stickiness {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// An address for one pod or sticky key only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reserved {
    pub address: IpAddr,
    #[serde(flatten)]
    pub whose: Whose,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    Pod { namespace: String, name: String },
    StickyKey { namespace: String, key: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keeper {
    /// How long sessions are held while no speaker runs; zero: never.
    #[serde(serialize_with = "seconds")]
    pub max_orphan: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Netmon {
    /// Where /metrics is served.
    pub listen: std::net::SocketAddr,
}

fn seconds_or_auto<S: serde::Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match d {
        Some(d) => seconds(d, s),
        None => s.serialize_str("auto"),
    }
}

fn seconds<S: serde::Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{}s", d.as_secs_f64()))
}
