//! Bytes in, messages, what they mean; bytes out.

use super::Speaker;
use crate::event::Action;
use crate::peer::Peer;
use crate::rib::PerFamily;
use crate::rib::adj_out::Sending;
use crate::session::{Input, Session, Step};
use crate::types::{ConnId, Family, PeerId};
use crate::wire::{self, Context, DecodeError, Message};
use std::time::Instant;

impl Speaker {
    pub(super) fn received(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(id) = self.peer_of(conn) else { return };
        let Some(session) = self.session_mut(conn) else { return };
        let mut framer = std::mem::take(&mut session.framer);
        framer.push(bytes);
        // A message may end the session; then the rest of its bytes means nothing.
        while let Some(context) = self.session_mut(conn).map(|s| s.context()) {
            framer.follow(&context);
            match framer.next() {
                Ok(Some(frame)) => match wire::decode(frame, &context) {
                    Ok(message) => {
                        self.see_message(id, conn, (frame, &message));
                        self.message(id, conn, &message, now, out);
                    }
                    Err(error) => self.broken(id, conn, &error, now, out),
                },
                Ok(None) => break,
                Err(error) => self.broken(id, conn, &error, now, out),
            }
        }
        if let Some(session) = self.session_mut(conn) {
            session.framer = framer;
        }
    }

    fn broken(
        &mut self,
        id: PeerId,
        conn: ConnId,
        error: &DecodeError,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(Step::Down(cause)) =
            self.session_mut(conn).map(|s| s.step(Input::Broken(error), now))
        else {
            return;
        };
        self.lose(id, conn, cause, now, out);
        if let Some(peer) = self.peers.get_mut(&id) {
            let said = peer.history.last_error.take().unwrap_or_default();
            peer.history.last_error = Some(format!("{said}: {}", error.text));
        }
    }

    fn message(
        &mut self,
        id: PeerId,
        conn: ConnId,
        message: &Message<'_>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.history.received.count(message);
        if let Message::Open(open) = message {
            peer.history.capabilities.clone_from(&open.capabilities);
        }
        let Some(session) = peer.session_mut(conn) else { return };
        match (session.step(Input::Message(message), now), message) {
            (Step::Opened, _) => self.opened(id, conn, now, out),
            (Step::Up, _) => self.went_up(id, conn, now, out),
            (Step::Update, Message::Update(update)) => self.update(id, update, now, out),
            (Step::Refresh(family), _) => self.refresh(id, family, out),
            (Step::Mark(family, mark), _) => self.refresh_mark(id, family, mark, now, out),
            (Step::Down(cause), _) => self.lose(id, conn, cause, now, out),
            (Step::Stay | Step::Update, _) => {}
        }
    }

    pub(super) fn has_news(&self, peer: &Peer, session: &Session) -> bool {
        !session.outbox.is_empty()
            || session.is_established()
                && self.blocks.is_some()
                && peer.adj_out.has_news(&self.rib, self.complete(peer))
    }

    /// Appends what is to be sent next on this connection: whole messages, at least one if there
    /// is one, about `room` bytes at most (a message more than that: see
    /// [`context`](Self::context)). True: there is more; false: nothing is left until the next
    /// [`Action::Wake`].
    pub fn pull(&mut self, conn: ConnId, now: Instant, room: usize, out: &mut Vec<u8>) -> bool {
        if let Some(farewell) = self.closing.remove(&conn) {
            out.extend(farewell);
            return false;
        }
        let Some(id) = self.peer_of(conn) else { return false };
        let limit = out.len() + room.max(1);
        let before = out.len();
        let Some(session) = self.session_mut(conn) else { return false };
        out.append(&mut session.outbox);
        self.pull_updates(id, conn, limit, out);
        let more = self
            .peers
            .get(&id)
            .and_then(|p| Some((p, p.session(conn)?)))
            .is_some_and(|(peer, session)| self.has_news(peer, session));
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.history.sent.count_sent(out.get(before..).unwrap_or_default());
            if let Some(session) = peer.session_mut(conn) {
                session.sending(more, now);
            }
        }
        more
    }

    /// The kernel has taken nothing since then of what was pulled and still waits (RFC 9687 §3).
    pub fn stalled(&mut self, conn: ConnId, since: Instant) {
        if let Some(session) = self.session_mut(conn) {
            session.stalled(since);
        }
    }

    /// What this connection's messages are read and written by, as far as it is agreed on.
    #[must_use]
    pub fn context(&self, conn: ConnId) -> Context {
        let peer = self.peer_of(conn).and_then(|id| self.peers.get(&id));
        peer.and_then(|p| p.session(conn)).map_or(Context::BARE, Session::context)
    }

    /// The families of which everything has been told again on this connection since this was last
    /// asked, as the peer had wanted it, and without marks (RFC 2918): nobody else says when.
    pub fn refreshed(&mut self, conn: ConnId) -> Vec<Family> {
        let peer = self.peer_of(conn).and_then(|id| self.peers.get_mut(&id));
        peer.map(|p| p.adj_out.take_refreshed()).unwrap_or_default()
    }

    fn pull_updates(&mut self, id: PeerId, conn: ConnId, limit: usize, out: &mut Vec<u8>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let complete = self.complete(peer);
        let Self { peers, rib, interner, memos, origins, blocks: Some(_), .. } = self else {
            return;
        };
        let Some(Peer { up: Some(up), adj_out, sessions, settings, .. }) = peers.get_mut(&id)
        else {
            return;
        };
        let Some(session) = sessions.iter().find(|s| s.conn == conn && up.conn == conn) else {
            return;
        };
        let context = session.context();
        let exporter = &up.exporter;
        let Some(memo) = memos.of(exporter) else { return };
        // A session outlives a setting.
        let most_paths = settings.add_paths.send.max(1).into();
        let mut with =
            Sending { rib, interner, exporter, origins, memo, context, most_paths, complete };
        adj_out.pull(&mut with, limit, out);
    }

    /// The families whose EoR would be true towards this peer now.
    fn complete(&self, peer: &Peer) -> PerFamily<bool> {
        PerFamily::new(|family: Family| self.is_complete(peer, family))
    }
}
