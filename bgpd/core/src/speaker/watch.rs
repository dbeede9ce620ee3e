//! Which routes have changed, for those who watch: read from the Loc-RIB's journal after each event,
//! which is its cause. Costs nothing while nobody watches.

use super::Speaker;
use crate::event::Event;
use crate::types::{ConnId, Prefix};
use crate::view::{RouteChange, RouteChanges};
use std::sync::Arc;
use std::time::Instant;

/// More changes than these between two looks are counted only.
const KEPT: usize = 1 << 14;

#[derive(Debug, Default)]
pub(super) struct RouteWatch {
    on: bool,
    changes: Vec<(Prefix, Cause)>,
    lost: u64,
}

/// What an event means to the routes it changes.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    text: Arc<str>,
    /// Whose doing it was.
    peer: Option<Arc<str>>,
}

/// Where the journal stood before an event.
pub(super) struct Mark {
    journal: u64,
    cause: Cause,
}

impl Speaker {
    /// From now on changes are kept for [`take_route_changes`](Self::take_route_changes), or no
    /// longer.
    pub fn watch_routes(&mut self, on: bool) {
        self.watch = RouteWatch { on, ..RouteWatch::default() };
    }

    /// The prefixes whose best path has changed since the last call, each with its best path now.
    pub fn take_route_changes(&mut self, now: Instant) -> RouteChanges {
        let changes = std::mem::take(&mut self.watch.changes);
        let change = |(prefix, cause): (Prefix, Cause)| RouteChange {
            prefix,
            cause: cause.text,
            peer: cause.peer,
            best: self.loc_view(&prefix, now).and_then(|route| route.paths.into_iter().next()),
        };
        let changes = changes.into_iter().map(change).collect();
        RouteChanges { changes, lost: std::mem::take(&mut self.watch.lost) }
    }

    pub(super) fn mark_event(&self, event: &Event<'_>) -> Option<Mark> {
        self.watch.on.then(|| self.mark(self.cause_of(event)))
    }

    /// The same for what is no event.
    pub(super) fn mark_cause(&self, text: &str) -> Option<Mark> {
        self.watch.on.then(|| self.mark(Cause { text: text.into(), peer: None }))
    }

    fn mark(&self, cause: Cause) -> Mark {
        Mark { journal: self.rib.journal().end(), cause }
    }

    pub(super) fn note_routes(&mut self, since: Option<Mark>) {
        let Some(Mark { journal, cause }) = since else { return };
        for number in journal..self.rib.journal().end() {
            let id = self.rib.journal().get(number);
            let Some(prefix) = id.and_then(|id| self.rib.prefix(id)) else { continue };
            if self.watch.changes.len() < KEPT {
                self.watch.changes.push((prefix, cause.clone()));
            } else {
                self.watch.lost += 1;
            }
        }
    }

    fn cause_of(&self, event: &Event<'_>) -> Cause {
        let by = |conn: ConnId, what: &str| {
            let peer = self.peer_of(conn).and_then(|id| self.peers.get(&id));
            let peer: Option<Arc<str>> = peer.map(|p| p.name.as_str().into());
            let name = peer.as_deref().unwrap_or("a peer");
            Cause { text: what.replace('%', name).into(), peer }
        };
        match event {
            Event::Received { conn, .. } => by(*conn, "received from %"),
            Event::Closed { conn, .. } | Event::ConnectFailed { conn, .. } => {
                by(*conn, "session with % ended")
            }
            Event::Resumed { conn, .. } => by(*conn, "session with % goes on"),
            other => Cause { text: word(other).into(), peer: None },
        }
    }
}

const fn word(event: &Event<'_>) -> &'static str {
    match event {
        Event::Due => "a timer",
        Event::Path { .. } => "BFD",
        Event::Blocks(_) => "address blocks of this node",
        Event::Configure(_) => "configuration",
        Event::Drain { .. } | Event::Undrain | Event::Leave { .. } => "drain",
        _ => "session",
    }
}
