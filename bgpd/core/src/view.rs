//! What a speaker looks like from outside: plain data for the API, read at one moment.

use crate::hop_weight::HopWeight;
use crate::types::{Asn, Family, Gateway, Prefix, RouterId};
use crate::wire::Attributes;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The speaker in one glance.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    pub asn: Asn,
    pub router_id: RouterId,
    /// Static and dynamic ones.
    pub peers: usize,
    pub established: usize,
    /// Routes in the Loc-RIB, both families, IPv4 first.
    pub loc_rib: [(Family, usize); 2],
    /// Sorted.
    pub originated: Vec<Prefix>,
    pub fib: FibView,
    /// An earlier process ran here, and not every peer has told all it knows yet.
    pub restarting: bool,
    /// `None`: in service.
    pub drain: Option<DrainView>,
    /// What this run has shown to be worth a change of the configuration.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainView {
    /// When what is announced as the last resort will be withdrawn; `None`: it has been.
    pub until: Option<Instant>,
    pub leaving: bool,
    /// Peers that are up and have not been told all of it.
    pub behind: usize,
    /// Prefixes that peers hold of us, all peers together.
    pub advertised: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct FibView {
    pub install: bool,
    /// Routes in the kernel, as far as we know.
    pub installed: usize,
    /// Found there at start.
    pub adopted: usize,
    /// Found there at start and not confirmed by a peer yet.
    pub stale: usize,
    /// Wanted and refused.
    pub failed: usize,
    pub last_error: Option<String>,
}

/// One prefix of the FIB. No next hops: no route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FibRouteView {
    /// What the kernel has been told, or had when we came.
    pub present: Vec<Gateway>,
    pub wanted: Vec<Gateway>,
    /// Of `present`: kept until the peers behind them have told their routes again.
    pub awaited: Vec<Gateway>,
    /// Of `present`: what the kernel's route has to do without for now, and why.
    pub left_out: Vec<(Gateway, String)>,
    /// What the kernel said last, and how often it has refused.
    pub refused: Option<(String, u32)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PeerView {
    pub id: crate::types::PeerId,
    pub name: String,
    /// `::`: an unnumbered peer that nobody has been found for.
    pub address: IpAddr,
    /// Of a link-local address, or of an unnumbered peer.
    pub interface: Option<String>,
    pub local_address: Option<IpAddr>,
    pub local_asn: Asn,
    pub remote_asn: Asn,
    /// `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm`, `Established`.
    pub state: &'static str,
    pub in_state: Duration,
    pub dynamic: bool,
    pub passive: bool,
    pub remote_router_id: Option<RouterId>,
    /// As agreed, or as configured while there is no session.
    pub hold_time: Duration,
    pub keepalive: Duration,
    /// How long it may leave unread what it is sent (RFC 9687); zero: for ever.
    pub send_hold_time: Duration,
    /// How often a session has come up.
    pub established_count: u64,
    pub last_error: Option<String>,
    /// The families of the session, or those configured while there is none.
    pub families: Vec<PeerFamilyView>,
    pub graceful_restart: GracefulRestartView,
    pub received: Counters,
    pub sent: Counters,
    /// The peer answers ROUTE-REFRESH, and marks where the answer ends (RFC 2918, RFC 7313).
    pub route_refresh: bool,
    pub enhanced_refresh: bool,
    /// What the peer's OPEN offered, by name.
    pub capabilities: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PeerFamilyView {
    pub family: Family,
    /// Prefixes in the Adj-RIB-In.
    pub received: usize,
    /// Of these, let in.
    pub accepted: usize,
    /// Prefixes in the Adj-RIB-Out.
    pub advertised: usize,
    pub stale: usize,
    pub eor_received: bool,
    pub eor_sent: bool,
    pub limits: LimitsView,
}

/// How many prefixes of a family may be told, each way (`max_prefixes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsView {
    /// `None`: any number.
    pub most: Option<u32>,
    /// `below`, `near` (worth a warning) or `over`.
    pub level: &'static str,
    /// Told beyond it, and not kept.
    pub discarded: u64,
    pub most_out: Option<u32>,
    pub level_out: &'static str,
    /// What the peer may have and is not told.
    pub left_out: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct GracefulRestartView {
    pub negotiated: bool,
    /// Both sides have the N bit: NOTIFICATIONs and an expired hold timer keep routes (RFC 8538).
    pub notification: bool,
    /// The peer's last OPEN had the capability, whatever ours has; the three below are of it.
    pub peer_capable: bool,
    pub peer_notification: bool,
    /// The R bit.
    pub peer_restarted: bool,
    pub peer_restart_time: Duration,
    /// Its routes are kept as stale.
    pub peer_restarting: bool,
    /// Family and F bit, as its last OPEN had them.
    pub families: Vec<(Family, bool)>,
    pub long_lived: Vec<LongLivedView>,
}

/// What the peer's last OPEN says of long-lived graceful restart (RFC 9494 §3.1).
#[derive(Debug, Clone, PartialEq)]
pub struct LongLivedView {
    pub family: Family,
    pub forwarding: bool,
    /// As the peer asks.
    pub stale_time: Duration,
    /// What it gets; zero: nothing, its routes go when the restart time is over.
    pub granted: Duration,
    /// While its routes are kept this way: for how long still.
    pub left: Option<Duration>,
}

/// Messages by type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    pub open: u64,
    pub update: u64,
    pub notification: u64,
    pub keepalive: u64,
    pub route_refresh: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RibKind {
    #[default]
    Loc,
    /// Before policy; rejected paths are marked.
    AdjIn,
    /// What the peer has been told.
    AdjOut,
    /// What of ours is, or should be, in the kernel.
    Fib,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteQuery {
    pub rib: RibKind,
    /// Name or address; needed for the two Adj-RIBs. See [`Speaker::find_peer`].
    ///
    /// [`Speaker::find_peer`]: crate::speaker::Speaker::find_peer
    pub peer: Option<String>,
    pub family: Option<Family>,
    pub prefix: Option<(Prefix, Match)>,
    /// Adj-RIB-In: what import has let in, as it left it; else all, as the peer sent it.
    pub post_policy: bool,
    pub filter: PathFilter,
}

/// Which paths are wanted: those of which all of this is true.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PathFilter {
    /// The name of the peer it is from.
    pub from: Option<String>,
    pub community: Option<u32>,
    pub large_community: Option<[u32; 3]>,
    /// In the AS_PATH.
    pub asn: Option<Asn>,
    pub state: Option<PathState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    Stale,
    Rejected,
    /// The best, not of this node, and not in the kernel.
    NotInstalled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Exact,
    /// The route that an address of the prefix would take.
    Longest,
    /// The prefix and everything inside it.
    Covered,
    /// The prefix and everything that holds it.
    Covering,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RouteView {
    pub prefix: Prefix,
    /// The best first.
    pub paths: Vec<PathView>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PathView {
    /// `None`: originated here.
    pub peer: Option<String>,
    /// The client that announces it.
    pub injected_by: Option<String>,
    pub best: bool,
    /// Used beside the best one.
    pub multipath: bool,
    pub stale: bool,
    /// The import rules refused it (Adj-RIB-In only).
    pub rejected: bool,
    /// In the kernel.
    pub installed: bool,
    /// Of a path as good as the best: why packets do not take it.
    pub left_out: Option<String>,
    /// Of a path in use: its part of the traffic, beside the others in use.
    pub hop_weight: Option<HopWeight>,
    /// The next hop of an originated path is unspecified.
    pub attributes: Arc<Attributes>,
    /// RFC 7911; 0 where a prefix has one path.
    pub path_id: u32,
    /// Why it is not the best, or why it was refused.
    pub reason: Option<&'static str>,
    /// What the kernel said when it refused (FIB), or which rule did (explained).
    pub said: Option<String>,
    pub age: Duration,
}

/// Everything that decides about one prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    pub asked: Prefix,
    /// What packets to it take, with all candidates, the best first.
    pub route: Option<RouteView>,
    /// What import has refused, from `asked` up to the prefix of `route`.
    pub refused: Vec<RouteView>,
    /// Every peer, by name.
    pub exports: Vec<ExportView>,
    pub kernel: KernelView,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExportView {
    pub peer: String,
    pub state: ExportState,
    /// `None` only where it is told.
    pub why: Option<&'static str>,
    /// The rule that decided, where a policy did.
    pub rule: Option<String>,
    /// What the peer holds of it, with the identifiers under which it was told (RFC 7911).
    pub told: Vec<(u32, Arc<Attributes>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportState {
    Told,
    /// It may have it, and will.
    Pending,
    Withheld,
    /// It holds what it may have no longer: it will be told, or was told by an earlier process and
    /// somebody may still want it.
    Withdrawing,
    Down,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelView {
    pub state: KernelState,
    pub fib: FibRouteView,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelState {
    Installed,
    /// Left by an earlier process, until the peers behind it have told their routes again.
    Awaited,
    /// Asked for, and not there.
    Refused,
    /// A prefix of this node: its owner routes it.
    Own,
    /// This speaker installs nothing.
    Off,
    /// Its next hops are this node.
    ThroughUs,
    NoRoute,
}

/// What has become of watched routes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteChanges {
    pub changes: Vec<RouteChange>,
    /// Changes that were too many to be kept.
    pub lost: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RouteChange {
    pub prefix: Prefix,
    pub cause: Arc<str>,
    /// Whose doing it was.
    pub peer: Option<Arc<str>>,
    /// As it is now; `None`: there is no route any more.
    pub best: Option<PathView>,
}
