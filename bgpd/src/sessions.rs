//! Connections under the loop: bytes from and to their buffers, and what lets a session outlive
//! this process.
//!
//! At Established what was agreed goes into the session's memory and the keeper is asked to hold
//! it. From then on everything that is sent is in the ring before the kernel gets it, and in the
//! log behind. So at any moment this process may end, and the next one goes on ([`resume`]).
//!
//! [`resume`]: Run::resume

use crate::buffers::Buffers;
use crate::conn::{Conn, Kept};
use crate::keep::Told;
use crate::leave::leave;
use crate::log::{Log, LogError};
use crate::plan::Remote;
use crate::poller::Ready;
use crate::run::Run;
use crate::tcp;
use bgp_core::event::{Action, Event, Link, Resumed};
use bgp_core::report::Report;
use bgp_core::told::Record;
use bgp_core::types::ConnId;
use keeper::client::{Attached, HeldSession, LostSession};
use keeper::os::clock;
use keeper::snapshot::{Snapshot, Timing};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What a connection that is being closed may still send.
const LAST_WORDS: usize = 1024 * 1024;

/// Connections that end at the same time and may take their time; further strangers may not.
const LEAVING: usize = 256;

/// What is made for a peer in one go.
const CHUNK: usize = 64 * 1024;

/// So many processes have died of the same messages before they are given up.
const DEADLY: u64 = 3;

/// So many in a row have not come through what was said before. More than are killed one after the
/// other for no fault of it: reading a large log takes a while.
const IMPASSABLE: u64 = 20;

/// Of what only we know of a session; later versions append.
const AGE_VERSION: u8 = 1;

impl Run {
    /// A connection of which nothing has been read or written yet.
    pub(crate) fn open(
        &mut self,
        id: ConnId,
        socket: OwnedFd,
        link: &Link,
    ) -> io::Result<&mut Conn> {
        let shared = self.keeper.is_wanted();
        let buffers = match shared.then(|| Buffers::shared(&socket, self.keeper.generation())) {
            Some(Ok(buffers)) => buffers,
            Some(Err(error)) => {
                let error = mainstay_daemon::chain(&error);
                tracing::warn!(remote = %link.remote, error, "no memory that the keeper could hold");
                self.tables.unshared += 1;
                Buffers::private()
            }
            None => Buffers::private(),
        };
        let conn = Conn::new(id, socket, link, buffers, &self.poller)?;
        Ok(self.tables.conns.entry(id).insert_entry(conn).into_mut())
    }

    /// What the kernel says of connections. All are read before anything is made for others: what
    /// many have said together is told to each peer in one go.
    pub(crate) fn ready(&mut self, ready: &[Ready]) {
        for Ready { conn, .. } in ready.iter().filter(|r| r.read) {
            self.read(*conn);
        }
        for Ready { conn, .. } in ready.iter().filter(|r| r.write) {
            self.pump(*conn);
        }
        self.pump_woken();
    }

    /// Whoever has got something to send.
    pub(crate) fn pump_woken(&mut self) {
        while !self.tables.woken.is_empty() {
            for conn in std::mem::take(&mut self.tables.woken) {
                self.pump(conn);
            }
        }
    }

    fn read(&mut self, id: ConnId) {
        let Some(conn) = self.tables.conns.get_mut(&id) else { return };
        let over = match conn.read() {
            Ok(0) => "closed by the peer".to_owned(),
            Ok(_) => return self.feed(id),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(e) => tcp::words(&e),
        };
        self.lost(id, over);
    }

    /// The peer, or the network, has ended it.
    pub(crate) fn lost(&mut self, id: ConnId, why: String) {
        let Some(conn) = self.tables.conns.remove(&id) else { return };
        if let Some((_socket, _, kept)) = conn.take_apart() {
            self.forget(&kept);
        }
        self.tell(Event::Closed { conn: id, why });
    }

    /// Hands the core whole messages; what is left of one waits in the buffer.
    fn feed(&mut self, id: ConnId) {
        while self.feed_some(id) {}
    }

    /// An OPEN may change what comes behind it: once more, then. False: nothing is left.
    fn feed_some(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.tables.conns.get_mut(&id) else { return false };
        let mut actions = std::mem::take(&mut self.tables.actions);
        let bytes = conn.buffers.messages(&self.speaker.context(id));
        let n = bytes.len();
        if n > 0 {
            conn.buffers.applying();
            self.speaker.handle(Event::Received { conn: id, bytes }, Instant::now(), &mut actions);
            // In the log before it counts as applied: what is read twice does no harm.
            let mut grown = conn.log_heard(n);
            for record in owed(&actions) {
                grown |= conn.log_sent(&record.encode());
            }
            if grown {
                self.shorten(id);
            }
            if let Some(conn) = self.tables.conns.get_mut(&id) {
                conn.buffers.applied(n);
                conn.heard();
            }
        }
        self.carry_out(actions);
        n > 0
    }

    /// Sends what there is to be sent, a chunk; the kernel's room for more brings us back.
    pub(crate) fn pump(&mut self, id: ConnId) {
        self.pump_some(id);
        if let Some(since) = self.tables.conns.get(&id).and_then(Conn::stalled) {
            self.speaker.stalled(id, since);
        }
    }

    fn pump_some(&mut self, id: ConnId) {
        let Some(conn) = self.tables.conns.get_mut(&id) else { return };
        conn.flush(false);
        let longest = self.speaker.context(id).longest();
        let Some(room) = conn.room(longest) else { return conn.flush(true) };
        let mut record = std::mem::take(&mut self.tables.record);
        record.clear();
        record.push(Record::SENT);
        let more = self.speaker.pull(id, Instant::now(), room.min(CHUNK), &mut record);
        let appended = conn.buffers.append(record.get(1..).unwrap_or_default());
        let mut grown = appended.is_ok() && conn.log_sent(&record);
        for family in self.speaker.refreshed(id) {
            grown |= conn.log_sent(&Record::refresh_answered(family).encode());
        }
        conn.flush(more);
        if !more {
            conn.rest();
        }
        self.tables.record = record;
        if grown {
            self.shorten(id);
        }
        if let Err(error) = appended {
            self.lost(id, error.to_string());
        }
    }

    /// Ends a connection from our side, with whatever the core still has to say.
    pub(crate) fn close(&mut self, id: ConnId) {
        let Some(conn) = self.tables.conns.remove(&id) else { return };
        let silent = conn.is_silent();
        let Some((socket, mut last, kept)) = conn.take_apart() else { return };
        self.forget(&kept);
        while self.speaker.pull(id, Instant::now(), CHUNK, &mut last) && last.len() < LAST_WORDS {}
        self.tables.closing.retain(|task| !task.is_finished());
        if silent && self.tables.closing.len() >= LEAVING {
            return;
        }
        self.tables.closing.extend(leave(socket, last));
    }

    fn forget(&mut self, kept: &Kept) {
        if let Kept::Held { session, .. } = kept {
            self.keeper.forget(*session);
        }
    }

    /// A session is up: from now on it is to outlive this process.
    pub(crate) fn keep(&mut self, id: ConnId) {
        let Some(conn) = self.tables.conns.get(&id) else { return };
        if matches!(conn.kept, Kept::Held { .. } | Kept::Asked { .. }) {
            return;
        }
        let kept = self.ask_to_hold(id).unwrap_or_else(|why| {
            let remote = self.tables.conns.get(&id).map(|c| c.remote);
            if self.keeper.is_there() {
                tracing::warn!(?remote, why, "the session is not held: graceful restart only");
            }
            Kept::Not(why)
        });
        if let Some(conn) = self.tables.conns.get_mut(&id) {
            conn.kept = kept;
        }
    }

    fn ask_to_hold(&mut self, id: ConnId) -> Result<Kept, String> {
        if let Some(problem) = self.keeper.problem() {
            return Err(format!("no keeper: {problem}"));
        }
        let survivor = self.speaker.survivor(id)?;
        let conn = self.tables.conns.get(&id).ok_or("it is gone")?;
        let rings = conn.buffers.rings().ok_or("there was no memory that could be shared")?;
        let whole = |d: Duration| u16::try_from(d.as_secs()).unwrap_or(u16::MAX);
        let timing = Timing::new(whole(survivor.hold_time), whole(survivor.keepalive));
        let snapshot = Snapshot {
            peer: survivor.peer,
            local: conn.local,
            remote: conn.remote,
            timing: timing.map_err(|e| format!("{e:?}"))?,
            open_sent: survivor.open_sent,
            open_received: survivor.open_received,
            negotiated: since(clock::now()),
        };
        rings.write_snapshot(&snapshot).map_err(|e| e.to_string())?;
        let log = Log::begin(rings, &self.speaker.log(id), self.speaker.said(id));
        let log = log.map_err(|e| e.to_string())?;
        self.keeper.hold(id, conn.socket().map_err(|e| e.to_string())?, rings)?;
        Ok(Kept::Asked { log })
    }

    /// The log has grown long, or full.
    fn shorten(&mut self, id: ConnId) {
        let said = self.speaker.said(id);
        let Some(conn) = self.tables.conns.get_mut(&id) else { return };
        if !conn.log_is_outdated(said) {
            return;
        }
        let Err(error) = conn.rewrite_log(&self.speaker.log(id), said) else { return };
        let (remote, session) = (conn.remote, conn.kept.session());
        tracing::warn!(%remote, %error, "the session is no longer held: its log has no room");
        conn.kept = Kept::Not(error.to_string());
        if let Some(session) = session {
            self.keeper.forget(session);
        }
    }

    /// Something from the keeper.
    pub(crate) fn keeper_told(&mut self, told: Told) -> Result<(), u64> {
        match told {
            Told::Held { conn, session } => {
                let open = self.tables.conns.get_mut(&conn);
                if !open.is_some_and(|open| open.kept.held(session)) {
                    self.keeper.forget(session);
                }
            }
            Told::NotHeld { conn, why } => {
                let Some(open) = self.tables.conns.get_mut(&conn) else { return Ok(()) };
                tracing::warn!(remote = %open.remote, why, "the keeper does not hold the session");
                open.kept = Kept::Not(why);
            }
            Told::Bfd(report) => self.bfd_found(report),
            Told::BfdRefused { why } => self.bfd_refused(why),
            Told::Revoked { by } => return Err(by),
        }
        Ok(())
    }

    /// The keeper is back: sessions are ours already; those it does not list are handed over again.
    pub(crate) fn keeper_back(&mut self, attached: Attached) {
        self.bfd_attached(attached.bfd);
        let mut listed = Vec::new();
        for held in attached.sessions {
            let ends = (held.snapshot.local, held.snapshot.remote);
            let ours = self.tables.conns.iter_mut().find(|(_, c)| (c.local, c.remote) == ends);
            match ours.map(|(id, conn)| (*id, conn.kept.held(held.id))) {
                Some((id, true)) => {
                    self.keeper.know(held.id, id);
                    listed.push(id);
                }
                // It goes on, and is handed over anew below.
                Some((_, false)) => self.keeper.forget(held.id),
                None => self.keeper.abort(held.id),
            }
        }
        let up: Vec<ConnId> =
            self.tables.conns.keys().copied().filter(|c| !listed.contains(c)).collect();
        for id in up {
            if self.speaker.survivor(id).is_ok() {
                self.set_kept(id, Kept::Not("the keeper was away".into()));
                self.keep(id);
            }
        }
        tracing::info!(
            held = self.keeper.held(),
            "the keeper is there: sessions outlive this process"
        );
    }

    /// With `keeper.max_orphan: 0` a session ends with this process, whoever holds it now.
    pub(crate) fn hold_nothing_unless_wanted(&mut self) {
        if self.keeper.is_wanted() || !self.keeper.is_there() {
            return;
        }
        let why = self.keeper.problem().unwrap_or_default().to_owned();
        for conn in self.tables.conns.values_mut().filter(|c| c.kept.is_logged()) {
            if let Some(session) = conn.kept.session() {
                self.keeper.forget(session);
            }
            conn.kept = Kept::Not(why.clone());
        }
        self.keeper.leave();
    }

    fn set_kept(&mut self, id: ConnId, kept: Kept) {
        if let Some(conn) = self.tables.conns.get_mut(&id) {
            conn.kept = kept;
        }
    }

    /// Goes on with what an earlier process had.
    pub(crate) async fn resume(&mut self, attached: Attached) {
        self.bfd_attached(attached.bfd);
        for LostSession { peer, why } in attached.lost {
            tracing::warn!(peer, why, "a session was lost while nobody was here: graceful restart");
            self.tables.unresumed += 1;
        }
        for held in attached.sessions {
            let (session, peer) = (held.id, held.snapshot.peer.clone());
            if let Err(why) = self.resume_one(held).await {
                tracing::warn!(peer, why, "a session does not go on: graceful restart");
                self.tables.unresumed += 1;
                self.keeper.abort(session);
            }
        }
    }

    async fn resume_one(&mut self, held: HeldSession) -> Result<(), String> {
        let id = self.new_conn();
        let Snapshot { local, remote, negotiated, .. } = held.snapshot.clone();
        let link = tcp::reach(local, remote, &self.interfaces).await;
        self.keeper.know(held.id, id);
        if held.rings.died_applying() >= DEADLY {
            return Err("what it sent last has ended every process that read it".into());
        }
        if held.rings.replaying() > IMPASSABLE {
            return Err("what was said in it has ended every process that read it".into());
        }
        let (log, records) = Log::go_on(&held.rings).map_err(|e: LogError| e.to_string())?;
        let now = clock::now();
        let silent = now.saturating_sub(held.rings.positions().last_rx);
        if let Err(error) = tcp::go_on(&held.socket, &Remote::from(&link), &self.plan.transport) {
            return Err(format!("its socket cannot be set as the configuration says: {error}"));
        }
        let buffers = Buffers::Shared(Box::new(held.rings));
        let conn = Conn::new(id, held.socket, &link, buffers, &self.poller);
        let mut conn = conn.map_err(|e| e.to_string())?;
        conn.kept = Kept::Held { session: held.id, log };
        self.tables.conns.insert(id, conn);
        self.tables.resumed += 1;
        let session = Resumed {
            link,
            open_sent: held.snapshot.open_sent,
            open_received: held.snapshot.open_received,
            age: now.saturating_sub(began(&negotiated).unwrap_or(now)),
            silent,
            log: records,
        };
        self.tell(Event::Resumed { conn: id, session: Box::new(session) });
        if let Some(conn) = self.tables.conns.get(&id) {
            conn.buffers.replayed();
        }
        // Whole messages that were read by the last process, and that it did not come to.
        self.feed(id);
        self.pump(id);
        Ok(())
    }
}

/// What the peer has asked to be told again: if this process does not come to it, the next one has
/// to.
fn owed(actions: &[Action]) -> impl Iterator<Item = Record> + '_ {
    actions.iter().filter_map(|action| match action {
        Action::Report(Report::RouteRefreshed { family, .. }) => {
            Some(Record::refresh_owed(*family))
        }
        _ => None,
    })
}

/// Since when a session is up, as the snapshot has it.
fn since(at: Duration) -> Vec<u8> {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    [&[AGE_VERSION], nanos.to_be_bytes().as_slice()].concat()
}

fn began(bytes: &[u8]) -> Option<Duration> {
    let nanos = bytes.split_first().filter(|(v, _)| **v == AGE_VERSION)?.1.first_chunk()?;
    Some(Duration::from_nanos(u64::from_be_bytes(*nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_a_session_is_up_is_read_as_it_was_written() {
        let at = Duration::new(86_400, 17);
        assert_eq!(began(&since(at)), Some(at));
        let longer = [since(at), vec![1, 2, 3]].concat();
        assert_eq!(began(&longer), Some(at), "a later version says more");
        assert_eq!(began(&[]), None);
        assert_eq!(began(&[2; 9]), None);
    }
}
