//! What a session does differently from others: what may be negotiated and what becomes of
//! attributes on the way in and out. With the default each is as RFC 4271 has it.

use crate::types::Asn;
use crate::types::Role;
use std::fmt;
use std::time::Duration;

/// Of one peer or range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Offer messages of up to 65535 octets (RFC 8654).
    pub extended_messages: bool,
    /// Offer IPv6 next hops for IPv4 prefixes (RFC 8950).
    pub extended_next_hop: bool,
    /// What we are to the peer (RFC 9234).
    pub role: Option<Role>,
    /// No session with a peer that does not say its role (RFC 9234 §4.2).
    pub role_strict: bool,
    /// How often our own AS may stand in a path that we take.
    pub allow_as_in: u8,
    /// An external peer's path starts with its AS (RFC 4271 §6.3).
    pub enforce_first_as: bool,
    /// The peer's AS becomes ours in what it is told.
    pub as_override: bool,
    /// What we call ourselves towards the peer (RFC 7705).
    pub local_as: Option<LocalAs>,
    pub remove_private: Option<RemovePrivate>,
    /// The preference of the peer's paths that come without one.
    pub default_local_pref: u32,
    pub next_hop: NextHopRule,
    /// Communities of all kinds go along.
    pub send_communities: bool,
    pub max_prefixes: MaxPrefixes,
    /// How long the peer may leave unread what it is sent (RFC 9687); zero: for ever. `None`: the
    /// greater of 8 minutes and twice the agreed hold time.
    pub send_hold_time: Option<Duration>,
}

/// How many prefixes of a family a peer may tell, and is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPrefixes {
    /// `None`: any number.
    pub most: Option<u32>,
    /// From this percentage of it on there is a warning.
    pub warn: u8,
    pub action: OverLimit,
    /// How many it is told at most; `None`: all.
    pub out: Option<u32>,
}

/// What happens when there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLimit {
    Warn,
    /// Those beyond are not kept.
    Discard,
    /// The session ends and comes back after this time.
    Restart(Duration),
    /// The session ends until somebody changes the configuration.
    Stop,
}

/// Another AS number than the node's (RFC 7705 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAs {
    pub asn: Asn,
    /// Not put in front of what the peer tells.
    pub no_prepend: bool,
    /// The peer sees this one alone, and not the node's own behind it.
    pub replace_as: bool,
}

/// What becomes of private AS numbers (RFC 6996 §5) in what an external peer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovePrivate {
    /// They go where there are no others.
    Alone,
    /// All of them go.
    All,
    /// Each becomes our own.
    Replace,
}

/// Which next hop a peer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NextHopRule {
    /// Ours, but for what a reflector passes on inside.
    #[default]
    Auto,
    OurSelf,
    /// The one we have, but for our own prefixes.
    Unchanged,
}

/// RFC 4271 §5.1.5 leaves it to us.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

impl Default for Options {
    fn default() -> Self {
        Self {
            extended_messages: true,
            extended_next_hop: false,
            role: None,
            role_strict: false,
            allow_as_in: 0,
            enforce_first_as: true,
            as_override: false,
            local_as: None,
            remove_private: None,
            default_local_pref: DEFAULT_LOCAL_PREF,
            next_hop: NextHopRule::Auto,
            send_communities: true,
            max_prefixes: MaxPrefixes { most: None, warn: 80, action: OverLimit::Warn, out: None },
            send_hold_time: None,
        }
    }
}

impl fmt::Display for MaxPrefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            None => f.write_str("none")?,
            Some(most) => write!(f, "{most} (warn {}%, {})", self.warn, self.action)?,
        }
        match self.out {
            None => Ok(()),
            Some(out) => write!(f, ", out {out}"),
        }
    }
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warn => f.write_str("warn"),
            Self::Discard => f.write_str("discard"),
            Self::Restart(after) => write!(f, "restart {}s", after.as_secs_f64()),
            Self::Stop => f.write_str("stop"),
        }
    }
}

impl Options {
    /// What the peer knows us by.
    #[must_use]
    pub fn own_asn(&self, node: Asn) -> Asn {
        self.local_as.map_or(node, |local| local.asn)
    }
}
