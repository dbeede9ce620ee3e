//! Bidirectional Forwarding Detection (RFC 5880, asynchronous mode; RFC 5881 single hop; RFC 5883
//! multihop), here because it must outlive the speaker: what we send says that the *node* lives.
//!
//! [`packet`] bytes · [`session`] one session's state machine · [`table`] all of them, and which
//! one a packet is for · [`record`] what a speaker asks for and the next keeper must know. None of
//! it knows a clock or a socket.

pub mod packet;
pub mod record;
pub mod session;
#[cfg(test)]
mod sim;
pub mod table;

use std::net::IpAddr;
use std::time::Duration;

/// `SetBfd` with more is refused.
pub const MAX_SESSIONS: usize = 4096;
/// What a keeper on a busy node keeps up with, and no less.
pub const MIN_INTERVAL: Duration = Duration::from_millis(50);
pub const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// One session as the speaker wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub key: Key,
    pub settings: Settings,
}

/// What makes it the same session: with these unchanged it goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub peer: IpAddr,
    /// `None`: the kernel chooses.
    pub local: Option<IpAddr>,
    /// Needed for link-local addresses; else empty.
    pub interface: String,
    pub hops: Hops,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hops {
    /// RFC 5881: packets with a TTL of 255 and no other.
    Single,
    /// RFC 5883: packets with at least this TTL.
    Multi { min_ttl: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub min_tx: Duration,
    pub min_rx: Duration,
    pub multiplier: u8,
    /// Tell the peer that we mean to be down (RFC 5880 §6.8.16).
    pub admin_down: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let interval = Duration::from_millis(300);
        Self { min_tx: interval, min_rx: interval, multiplier: 3, admin_down: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    #[error("a bfd interval of {0:?} is not within {MIN_INTERVAL:?} to {MAX_INTERVAL:?}")]
    Interval(Duration),
    #[error("a bfd multiplier of zero")]
    Multiplier,
    #[error("bfd with a link-local address needs its interface")]
    Interface,
    #[error("bfd peer and local address are of different families")]
    Families,
}

impl Spec {
    pub fn check(&self) -> Result<(), BadSpec> {
        let Settings { min_tx, min_rx, multiplier, .. } = self.settings;
        for interval in [min_tx, min_rx] {
            if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
                return Err(BadSpec::Interval(interval));
            }
        }
        let link_local = matches!(self.key.peer, IpAddr::V6(a) if a.is_unicast_link_local());
        let same_family = self.key.local.is_none_or(|l| l.is_ipv4() == self.key.peer.is_ipv4());
        match () {
            () if multiplier == 0 => Err(BadSpec::Multiplier),
            () if link_local && self.key.interface.is_empty() => Err(BadSpec::Interface),
            () if !same_family => Err(BadSpec::Families),
            () => Ok(()),
        }
    }
}

/// RFC 5880 §4.1, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    AdminDown = 0,
    #[default]
    Down = 1,
    Init = 2,
    Up = 3,
}

impl State {
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

/// Why a session was last not up (RFC 5880 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    pub const NONE: Self = Self(0);
    pub const TIME_EXPIRED: Self = Self(1);
    pub const NEIGHBOR_DOWN: Self = Self(3);
    pub const ADMIN_DOWN: Self = Self(7);
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            0 => "none",
            1 => "control detection time expired",
            2 => "echo failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}

/// How a session stands, as the speaker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub key: Key,
    pub state: State,
    pub diagnostic: Diagnostic,
    pub remote_state: State,
    pub remote_diagnostic: Diagnostic,
    /// The peer's BFD does not share the fate of its control plane (RFC 5882 §4.3).
    pub remote_c_bit: bool,
    /// It was up, and the peer did not mean it to go down: the peer is dead, or the way to it.
    pub failed: bool,
    /// The peer is taken for dead after so long a silence.
    pub detect: Duration,
    pub interval: Duration,
    pub ups: u32,
    /// Why nothing can be sent or heard, if so.
    pub fault: String,
}
