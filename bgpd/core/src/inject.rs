//! Routes that other programs of this node announce, as they ask for them and as they stand.
//!
//! Each client has one lease. Its routes stay as long as the lease does; a prefix belongs to one
//! client at a time.

use crate::types::{NextHop, Prefix};
use std::time::Duration;

/// What a client asks for: all of it comes true, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Injection {
    pub client: String,
    /// `None`: as before; [`DEFAULT_TTL`] for a new lease.
    pub ttl: Option<Duration>,
    pub announce: Vec<InjectedRoute>,
    pub withdraw: Vec<Prefix>,
    /// `announce` is all the client has.
    pub replace: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedRoute {
    pub prefix: Prefix,
    /// Where this node sends packets to it; `None`: the kernel is not told.
    pub next_hop: Option<NextHop>,
    pub communities: Vec<u32>,
    pub large_communities: Vec<[u32; 3]>,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
}

pub const DEFAULT_TTL: Duration = Duration::from_secs(30);
pub const SHORTEST_TTL: Duration = Duration::from_secs(1);
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);
pub const MAX_LEASES: usize = 256;
/// Of all leases together.
pub const MAX_ROUTES: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    #[error("{prefix} is announced by {owner}, whose lease has to end or withdraw it first")]
    Taken { prefix: Prefix, owner: String },
    #[error("{prefix} is a prefix of this node itself")]
    Own { prefix: Prefix },
    #[error("there are {MAX_LEASES} leases, which is as many as there may be")]
    TooManyLeases,
    #[error("more than {MAX_ROUTES} injected routes are too many")]
    TooManyRoutes,
}

/// A lease as an earlier process of this speaker had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLease {
    pub client: String,
    pub ttl: Duration,
    /// Until it ends, unless it is renewed.
    pub left: Duration,
    pub routes: Vec<InjectedRoute>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    pub client: String,
    pub ttl: Duration,
    /// `None`: it is held, and does not run.
    pub left: Option<Duration>,
    pub age: Duration,
    pub routes: usize,
}
