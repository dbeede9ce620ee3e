//! What somebody beside the peers is told of: messages as they came, sessions that came and went,
//! routes that are others now. Nobody watches, nothing is kept.
//!
//! It is told in portions: after each event the shell takes what was seen. What it tells is the key
//! (a prefix) rather than the value wherever the value is in a RIB: read when it is passed on, it is
//! never older than what was passed on before.

use crate::report::Cause;
use crate::types::{Asn, Family, PeerId, Prefix, RouterId};
use crate::wire::{Attributes, PathIds};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

/// What is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    /// UPDATEs as they came.
    pub updates: bool,
    /// What became of them behind the import policy.
    pub accepted: bool,
    /// Routes whose best path is another one.
    pub chosen: bool,
}

impl Watch {
    /// Whether anybody watches at all: who does, sees sessions come and go.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.updates || self.accepted || self.chosen
    }
}

/// In the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Up(Box<SessionView>),
    Down {
        session: Box<SessionView>,
        cause: Cause,
    },
    /// An UPDATE as it came, in [`Batch::bytes`]. `effect`: where it was malformed, the withdrawal
    /// that was made of it (RFC 7606 §2).
    Update {
        peer: PeerId,
        message: Range<usize>,
        effect: Option<Range<usize>>,
    },
    /// Its routes for these are gone without a message of the peer: they were stale.
    Gone {
        peer: PeerId,
        prefix: Prefix,
        /// RFC 7911 §3; 0 where prefixes have one path.
        path: u32,
    },
    /// The path of this peer may be another one behind the import policy.
    Judged {
        peer: PeerId,
        prefix: Prefix,
        /// RFC 7911 §3; 0 where prefixes have one path.
        path: u32,
    },
    /// The best path is another one, or there is none any more.
    Chosen(Prefix),
}

/// What was seen since it was last taken.
#[derive(Debug, Default)]
pub struct Batch {
    pub seen: Vec<Seen>,
    pub bytes: Vec<u8>,
}

impl Batch {
    pub fn clear(&mut self) {
        self.seen.clear();
        self.bytes.clear();
        // A burst is not paid for afterwards.
        self.seen.shrink_to(4096);
        self.bytes.shrink_to(1 << 18);
    }
}

/// A session that is up, or was until now.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    pub peer: PeerId,
    pub name: String,
    pub asn: Asn,
    pub own_asn: Asn,
    pub router_id: RouterId,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// As messages.
    pub open_sent: Vec<u8>,
    pub open_received: Vec<u8>,
    /// AS_PATHs in its messages have four octets a number (RFC 6793 §4.1).
    pub four_octet_as: bool,
    /// The families whose prefixes stand behind path identifiers in them (RFC 7911 §3).
    pub path_ids: PathIds,
    pub families: Vec<Family>,
    pub since: Instant,
}

/// One path of a walk through the routes.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// `None`: originated here.
    pub peer: Option<PeerId>,
    /// Which of its paths (RFC 7911 §3); 0 where it has one a prefix.
    pub id: u32,
    pub attributes: Attributes,
    pub since: Instant,
}

/// Inside of the speaker.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    pub(crate) watch: Watch,
    pub(crate) batch: Batch,
    /// How far the journal of the Loc-RIB has been read.
    pub(crate) read: u64,
}
