//! What netmon looks at, one file a source: a pure reader of bytes or replies, and a few lines
//! that fetch them.

pub(crate) mod bgp;
pub(crate) mod conntrack;
pub(crate) mod daemon;
pub(crate) mod feed;
pub(crate) mod flows;
pub(crate) mod ipam;
pub(crate) mod links;
pub(crate) mod process;
pub(crate) mod refresh;
pub(crate) mod routes;

use crate::netlink::socket::NetlinkError;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Why a source did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot {what}")]
    Netlink { what: &'static str, source: NetlinkError },
    #[error("cannot use {path}")]
    Proc { path: &'static str, source: io::Error },
    #[error("{path} has no number but {text:?}")]
    Text { path: &'static str, text: String },
    #[error(
        "connection tracking is not loaded; it is as soon as an nft or iptables rule uses it (ct state …), or by modprobe nf_conntrack"
    )]
    NoConntrack,
    #[error("{daemon} does not answer on {socket}: {why}", socket = socket.display())]
    Daemon { daemon: &'static str, socket: PathBuf, why: String },
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("its reader failed: {0}")]
    Reader(String),
}

impl SourceError {
    pub(crate) fn netlink(what: &'static str, source: NetlinkError) -> Self {
        Self::Netlink { what, source }
    }
}

/// How a source did when it was last asked.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) name: &'static str,
    /// Empty: it answered.
    pub(crate) error: String,
    pub(crate) last_success: Option<Moment>,
}

impl Health {
    pub(crate) const fn ok(&self) -> bool {
        self.error.is_empty()
    }
}

/// A time to compute with and the same time to show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), wall: SystemTime::now() }
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn unix(&self) -> f64 {
        self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}
