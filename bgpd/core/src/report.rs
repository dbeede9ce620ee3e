//! What happened, as data. `bgpd::observe` turns each into a log line and a number.

use crate::types::{Family, PeerId, Prefix};
use crate::wire::Notification;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    PeerUp {
        peer: PeerId,
        name: String,
    },
    /// A session that an earlier process had goes on; it has been up for `age`.
    PeerResumed {
        peer: PeerId,
        name: String,
        age: Duration,
    },
    /// It does not.
    NotResumed {
        remote: std::net::SocketAddr,
        why: String,
    },
    /// `stale`: routes kept because the peer is restarting (RFC 4724 §4.2).
    PeerDown {
        peer: PeerId,
        name: String,
        cause: Cause,
        stale: usize,
    },
    /// An attempt ended before the session was up.
    SessionFailed {
        peer: PeerId,
        name: String,
        cause: Cause,
    },
    StateChanged {
        peer: PeerId,
        name: String,
        from: &'static str,
        to: &'static str,
    },
    ConnectionRefused {
        remote: std::net::SocketAddr,
        why: &'static str,
    },
    EndOfRib {
        peer: PeerId,
        name: String,
        family: Family,
    },
    /// Stale routes removed: by EoR, by timer, or because the peer did not keep forwarding.
    StaleSwept {
        peer: PeerId,
        name: String,
        family: Family,
        routes: usize,
    },
    /// The restart time is over; these routes are kept for longer, those not (RFC 9494 §4.2).
    LongLivedStale {
        peer: PeerId,
        name: String,
        family: Family,
        kept: usize,
        refused: usize,
        time: Duration,
    },
    /// An UPDATE was malformed, and RFC 7606 let the session live.
    UpdateError {
        peer: PeerId,
        name: String,
        error: String,
        withdrawn: usize,
    },
    /// Our side of the link has no address of this family, so nothing of it is announced there.
    NoNextHop {
        peer: PeerId,
        name: String,
        family: Family,
    },
    /// The peer tells nearly as many prefixes as it may, or more.
    PrefixLimit {
        peer: PeerId,
        name: String,
        family: Family,
        most: u32,
        exceeded: bool,
    },
    /// The peer is told nearly as many prefixes as it may be, or would be told more.
    PrefixLimitOut {
        peer: PeerId,
        name: String,
        family: Family,
        most: u32,
        left_out: usize,
    },
    /// The peer has asked for everything again (RFC 2918).
    RouteRefreshed {
        peer: PeerId,
        name: String,
        family: Family,
    },
    /// The peer has begun to tell everything again and did not come to an end (RFC 7313 §4): what
    /// it had not told by now is removed.
    RefreshUnfinished {
        peer: PeerId,
        name: String,
        family: Family,
    },
    /// A restart took so long that peers may lose patience the next time.
    RestartTimeShort {
        peer: PeerId,
        name: String,
        took: Duration,
        restart_time: Duration,
    },
    /// Adopted kernel routes that nobody announced again.
    FibSwept {
        family: Family,
        routes: usize,
    },
    FibFailed {
        prefix: Prefix,
        why: String,
    },
    /// Our own restart is over: every peer's EoR has come, or the timer.
    Restarted,
    /// Peers hear that this node is the last resort.
    Draining {
        wait: Duration,
        leaving: bool,
    },
    /// Nobody who is up holds a route of ours.
    Drained,
    Undrained,
    /// Every session has ended for good; it is the last report.
    Left,
    Reconfigured {
        changes: Vec<String>,
    },
    /// A client has begun to inject routes.
    LeaseBegun {
        client: String,
        ttl: Duration,
    },
    /// Its routes are withdrawn.
    LeaseEnded {
        client: String,
        routes: usize,
        why: LeaseEnd,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Nobody renewed it.
    Expired,
    Released,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    Sent(Notification),
    Received(Notification),
    HoldTimerExpired,
    /// `restarting`: BFD shares the fate of the peer's BGP, so that may be all that happened, and
    /// graceful restart has its turn (RFC 5882 §4.3).
    BfdDown {
        restarting: bool,
        why: String,
    },
    Closed(String),
    ConnectFailed(String),
    Collision,
    Deconfigured,
    Stopped,
}

impl Cause {
    /// As `last_error` shows it; `None`: nothing went wrong.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::Sent(n) => format!("sent NOTIFICATION {}", n.describe()),
            Self::Received(n) => format!("received NOTIFICATION {}", n.describe()),
            Self::HoldTimerExpired => "hold timer expired".into(),
            Self::BfdDown { why, .. } => format!("BFD down: {why}"),
            Self::Closed(why) => format!("connection closed: {why}"),
            Self::ConnectFailed(why) => format!("cannot connect: {why}"),
            Self::Collision | Self::Deconfigured | Self::Stopped => return None,
        })
    }

    /// A short word for a metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Sent(_) => "notification_sent",
            Self::Received(_) => "notification_received",
            Self::HoldTimerExpired => "hold_timer_expired",
            Self::BfdDown { .. } => "bfd_down",
            Self::Closed(_) => "closed",
            Self::ConnectFailed(_) => "connect_failed",
            Self::Collision => "collision",
            Self::Deconfigured => "deconfigured",
            Self::Stopped => "stopped",
        }
    }

    /// What the shell has said, as far as it has.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Closed(why) | Self::ConnectFailed(why) => why,
            other => other.text().unwrap_or_default(),
        }
    }

    /// Nobody has said a word: what graceful restart is for (RFC 4724 §4.2).
    pub(crate) const fn is_silent(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Stopped | Self::BfdDown { restarting: true, .. })
    }

    /// Whether the peer's routes outlive this end. With `notification`, the N bit on both sides,
    /// they outlive any NOTIFICATION but a hard reset, and an expired hold timer (RFC 8538 §4).
    pub(crate) const fn keeps_routes(&self, notification: bool) -> bool {
        match self {
            Self::Closed(_) | Self::Stopped => true,
            Self::BfdDown { restarting, .. } => *restarting,
            Self::HoldTimerExpired => notification,
            Self::Sent(n) | Self::Received(n) => notification && !n.is_hard_reset(),
            Self::ConnectFailed(_) | Self::Collision | Self::Deconfigured => false,
        }
    }
}
