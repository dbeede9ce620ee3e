//! What stands in for the session keeper: sessions whose process is away, what is written down of
//! them, and how the next process takes them up.

use crate::Net;
use crate::node::{NodeId, Side};
use crate::tcp::{End, StreamId, Waiting};
use bgp_core::event::{Event, Resumed, Survivor};
use bgp_core::told::Record;
use bgp_core::types::ConnId;
use std::time::{Duration, Instant};

/// Of one connection, by the side whose keeper it is.
pub(crate) struct Kept {
    began: Instant,
    heard_at: [Instant; 2],
    /// UPDATEs and marks that were sent, and that have taken effect.
    sent: [Vec<u8>; 2],
    heard: [Vec<u8>; 2],
    /// Somebody has asked for everything again: the raw log would have to say so.
    refreshed: bool,
    estate: [Option<Estate>; 2],
}

/// What an ended process has left of a session.
struct Estate {
    survivor: Survivor,
    log: Vec<Record>,
}

impl Kept {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            began: now,
            heard_at: [now; 2],
            sent: [Vec::new(), Vec::new()],
            heard: [Vec::new(), Vec::new()],
            refreshed: false,
            estate: [None, None],
        }
    }

    /// The session is up and its process is not.
    pub(crate) const fn is_away(&self, side: Side) -> bool {
        side.of(&self.estate).is_some()
    }

    pub(crate) fn note_sent(&mut self, side: Side, messages: &[u8]) {
        side.of_mut(&mut self.sent).extend_from_slice(messages);
    }

    pub(crate) fn note_heard(&mut self, side: Side, messages: &[u8], asked: bool, now: Instant) {
        *side.of_mut(&mut self.heard_at) = now;
        self.refreshed |= asked;
        side.of_mut(&mut self.heard).extend_from_slice(messages);
    }
}

impl Net {
    /// SIGKILL under a keeper, and a new process after `away`.
    pub fn crash_and_resume(&mut self, node: NodeId, away: Duration) {
        self.crash(node);
        self.run(away);
        self.revive(node, bgp_core::event::Start::again(true));
    }

    /// SIGKILL under a keeper: what is up stays up, and waits for the next process.
    pub fn crash(&mut self, node: NodeId) {
        for n in 0..self.streams.len() {
            for side in [Side::A, Side::B] {
                let end = side.of(&self.streams[n].ends).filter(|end| end.node == node);
                if let Some(End { conn, .. }) = end {
                    self.keep(StreamId(n), side, conn);
                }
            }
        }
        self.nodes[node.0].speaker = None;
        self.note_deadline(node);
        self.hang_up(node, true);
    }

    fn keep(&mut self, stream: StreamId, side: Side, conn: ConnId) {
        let node = side.of(&self.streams[stream.0].ends).map(|end| end.node);
        let speaker = node.and_then(|n| self.nodes[n.0].speaker.as_ref());
        let Some(Ok(survivor)) = speaker.map(|s| s.survivor(conn)) else { return };
        let written = speaker.map(|s| s.log(conn)).unwrap_or_default();
        let raw = self.random.between(0, 1) == 1;
        let it = &mut self.streams[stream.0];
        let log = if raw && !it.kept.refreshed {
            let sent = Record::Sent(side.of(&it.kept.sent).clone());
            vec![sent, Record::Heard(side.of(&it.kept.heard).clone())]
        } else {
            written
        };
        let tail = side.of_mut(&mut it.shadows).take_tail();
        if !tail.is_empty() {
            side.of_mut(&mut it.held).insert(0, Waiting::Bytes(tail));
        }
        *side.of_mut(&mut it.kept.estate) = Some(Estate { survivor, log });
    }

    /// The new process takes up what the old one has left.
    pub(crate) fn resume_kept(&mut self, node: NodeId) {
        for n in 0..self.streams.len() {
            for side in [Side::A, Side::B] {
                let it = &mut self.streams[n];
                if side.of(&it.ends).is_none_or(|end| end.node != node) {
                    continue;
                }
                let Some(Estate { survivor, log }) = side.of_mut(&mut it.kept.estate).take() else {
                    continue;
                };
                let conn = ConnId(n as u64);
                *side.of_mut(&mut it.ends) = Some(End { node, conn });
                let session = Resumed {
                    link: self.link_of(StreamId(n), side),
                    open_sent: survivor.open_sent,
                    open_received: survivor.open_received,
                    age: self.now - self.streams[n].kept.began,
                    silent: self.now - *side.of(&self.streams[n].kept.heard_at),
                    log,
                };
                self.ends.insert((node, conn), (StreamId(n), side));
                self.nodes[node.0].has_resumed = true;
                self.handle(node, Event::Resumed { conn, session: Box::new(session) });
                if self.links[self.streams[n].link.0].up {
                    self.release_side(StreamId(n), side);
                }
            }
        }
    }

    /// The whole host is gone, its keeper too.
    pub(crate) fn drop_kept(&mut self, node: NodeId) {
        for stream in &mut self.streams {
            for side in [Side::A, Side::B] {
                if side.of(&stream.ends).is_some_and(|end| end.node == node) {
                    *side.of_mut(&mut stream.kept.estate) = None;
                }
            }
        }
    }
}
