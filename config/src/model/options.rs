//! What a session does differently from others.

use super::Role;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionOptions {
    /// Messages of up to 65535 octets are offered (RFC 8654).
    pub extended_messages: bool,
    /// IPv6 next hops of IPv4 prefixes are offered (RFC 8950).
    pub extended_next_hop: bool,
    /// What we are to the peer (RFC 9234).
    pub role: Option<Role>,
    /// The peer has to say its own.
    pub role_strict: bool,
    /// How often our own AS may stand in a path that is taken.
    pub allow_as_in: u8,
    pub enforce_first_as: bool,
    pub as_override: bool,
    pub local_as: Option<LocalAs>,
    pub remove_private: Option<RemovePrivate>,
    pub default_local_pref: u32,
    pub next_hop: NextHopRule,
    pub send_communities: bool,
    /// The peer is no more than so many hops away, and that is checked (RFC 5082).
    pub ttl_security: Option<u8>,
    pub max_prefixes: MaxPrefixes,
    /// How long the peer may leave unread what it is sent (RFC 9687), zero for ever; `None`: the
    /// greater of 8 minutes and twice the agreed hold time.
    #[serde(serialize_with = "super::seconds_or_auto")]
    pub send_hold_time: Option<Duration>,
}

/// How many prefixes of a family a peer may tell, and is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MaxPrefixes {
    /// `None`: any number.
    #[serde(rename = "in")]
    pub most: Option<u32>,
    /// How many it is told at most; `None`: all.
    pub out: Option<u32>,
    /// Percent.
    pub warn: u8,
    pub action: OverLimit,
    /// How long the session is away where it is to come back.
    #[serde(serialize_with = "super::seconds")]
    pub restart: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverLimit {
    Warn,
    Discard,
    Restart,
    Stop,
}

/// Another AS number than the node's (RFC 7705).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LocalAs {
    pub asn: u32,
    pub no_prepend: bool,
    pub replace_as: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovePrivate {
    /// Where there are no others.
    #[serde(rename = "true")]
    Alone,
    All,
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NextHopRule {
    Auto,
    #[serde(rename = "self")]
    OurSelf,
    Unchanged,
}

/// Which paths a route may use beside its best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Multipath {
    /// So many external ones at most; `None`: as many as the kernel is given.
    pub ebgp: Option<u32>,
    pub ibgp: Option<u32>,
    /// Also those by another neighbour AS, or inside the AS with another path of the same length.
    pub relax: bool,
    pub weights: HopWeights,
}

/// How traffic is spread over the paths of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HopWeights {
    /// Evenly.
    None,
    /// By the bandwidths of their links, where each path tells one (RFC 10005).
    LinkBandwidth,
}

/// How MEDs are compared (RFC 4271 §9.1.2.2 c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MedRules {
    /// Also between neighbours of different ASes.
    pub always_compare: bool,
    /// A path without one counts as the worst, and not as the best.
    pub missing_as_worst: bool,
}

/// A TCP-AO key (RFC 5925 §3.1): where it is. Read by bgpd, not by `config check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AoKey {
    pub send_id: u8,
    pub receive_id: u8,
    pub file: PathBuf,
    pub algorithm: AoAlgorithm,
}

/// RFC 5926 §3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum AoAlgorithm {
    #[serde(rename = "hmac-sha-1-96")]
    HmacSha1,
    #[serde(rename = "aes-128-cmac-96")]
    Aes128Cmac,
}
