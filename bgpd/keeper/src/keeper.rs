//! Who may write to which session: the keeper's state, told what happened, answering what to do.
//!
//! A session belongs to the speaker that is attached, and to the keeper from the moment that
//! speaker's *process* has ended: a closed control connection proves nothing, a process that is
//! gone writes no more. A speaker with a newer generation gets the sessions once the older one's
//! process has ended, and it is ended if need be. So two writers never exist.

use crate::orphan::{Orphan, Seen, Step, Why};
use crate::rings::{KEEPER, Moment};
use crate::snapshot::Timing;
use std::collections::BTreeMap;
use std::time::Duration;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/** One control connection. */ ConnId);
id!(/** One process, never two: not its pid. */ ProcessId);
id!(/** One held session. */ SessionId);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_orphan: Duration,
    pub max_sessions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_orphan: Duration::from_secs(600), max_sessions: 4096 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A speaker wants to have the sessions.
    Attach {
        conn: ConnId,
        process: ProcessId,
        generation: u64,
        /// What it wants [`Limits::max_orphan`] to be, if it says so.
        max_orphan: Option<Duration>,
    },
    /// A speaker hands over a session to be held; the shell has found it sound.
    Hold {
        conn: ConnId,
        token: u32,
        timing: Timing,
    },
    Release {
        conn: ConnId,
        session: SessionId,
        how: Release,
    },
    Disconnected {
        conn: ConnId,
    },
    Exited {
        process: ProcessId,
    },
    /// The answer to [`Action::Look`], and to [`Action::Send`] and [`Action::Keepalive`].
    Seen {
        session: SessionId,
        seen: Seen,
    },
    /// The kernel takes more, or there is something to see.
    Ready {
        session: SessionId,
    },
    Lost {
        session: SessionId,
        why: Why,
    },
    /// A session that an earlier keeper held. `speaker` is its owner, if that process still runs.
    Restored {
        session: SessionId,
        timing: Timing,
        owner: u64,
        since: Moment,
        speaker: Option<ProcessId>,
    },
    Due,
    /// The last event. `stored`: the service manager keeps the sessions for the next keeper.
    Stop {
        stored: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell the speaker that it is attached, and pass it every session.
    Attached {
        conn: ConnId,
        process: ProcessId,
        generation: u64,
    },
    /// Tell it that another has taken its place.
    Revoked {
        conn: ConnId,
        by: u64,
    },
    Refused {
        conn: ConnId,
        why: Refusal,
    },
    /// End a speaker that has lost its sessions; answer with [`Event::Exited`].
    Kill {
        process: ProcessId,
    },
    /// Keep what was handed over under this number.
    Held {
        conn: ConnId,
        token: u32,
        session: SessionId,
    },
    Released {
        conn: ConnId,
        session: SessionId,
        how: Release,
    },
    /// Write into the rings who may write from now on.
    Own {
        session: SessionId,
        owner: u64,
        since: Moment,
    },
    Look {
        session: SessionId,
    },
    Send {
        session: SessionId,
    },
    Keepalive {
        session: SessionId,
    },
    /// Close it without a word of BGP.
    LetGo {
        session: SessionId,
        why: Why,
    },
}

/// What becomes of a session that the speaker takes back for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The keeper forgets it; the speaker goes on with it, or closes it itself.
    Forget,
    /// Both directions are shut down: the peer sees an end of stream.
    Shutdown,
    /// Reset: what was not sent yet never will be.
    Abort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("generation {newest} has been here already")]
    Stale { newest: u64 },
    #[error("generation zero is the keeper's own")]
    Zero,
    #[error("attach first")]
    NotAttached { token: u32 },
    #[error("{max} sessions are held already")]
    Full { token: u32, max: usize },
    #[error("no such session")]
    UnknownSession { session: SessionId },
}

#[derive(Debug, Clone)]
pub struct Keeper {
    limits: Limits,
    speaker: Option<Speaker>,
    /// Granted once the speaker's process has ended.
    waiting: Option<Waiting>,
    newest: u64,
    next_session: u64,
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Speaker {
    generation: u64,
    process: ProcessId,
    /// It may be without a connection for a while, e.g. after the keeper's own restart.
    conn: Option<ConnId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    conn: ConnId,
    process: ProcessId,
    generation: u64,
    max_orphan: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Session {
    timing: Timing,
    /// `None`: the speaker has it.
    orphan: Option<Orphan>,
}

impl Keeper {
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            speaker: None,
            waiting: None,
            newest: 0,
            next_session: 1,
            sessions: BTreeMap::new(),
        }
    }

    pub fn handle(&mut self, event: Event, now: Moment, out: &mut Vec<Action>) {
        match event {
            Event::Attach { conn, process, generation, max_orphan } => {
                self.attach(Waiting { conn, process, generation, max_orphan }, out);
            }
            Event::Hold { conn, token, timing } => self.hold(conn, token, timing, out),
            Event::Release { conn, session, how } => self.release(conn, session, how, out),
            Event::Disconnected { conn } => self.disconnected(conn),
            Event::Exited { process } => self.exited(process, now, out),
            Event::Seen { session, seen } => self.seen(session, &seen, now, out),
            Event::Ready { session } => {
                if self.is_orphan(session) {
                    out.push(Action::Look { session });
                }
            }
            Event::Lost { session, why } => self.let_go(session, why, out),
            Event::Restored { session, timing, owner, since, speaker } => {
                let restored = Restored { timing, owner, since, speaker };
                self.restore(session, restored, now, out);
            }
            Event::Due => self.due(now, out),
            Event::Stop { stored } => self.stop(stored, out),
        }
    }

    /// When [`Event::Due`] is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.sessions.values().filter_map(|s| s.orphan.as_ref()).map(Orphan::due).min()
    }

    #[must_use]
    pub fn is_orphan(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|s| s.orphan.is_some())
    }

    /// (held, of those without a speaker)
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.sessions.len(), self.sessions.values().filter(|s| s.orphan.is_some()).count())
    }

    /// The process that may write now.
    #[must_use]
    pub fn speaker(&self) -> Option<(ProcessId, u64)> {
        self.speaker.map(|s| (s.process, s.generation))
    }

    /// For how long the first of the sessions has been without a speaker.
    #[must_use]
    pub fn orphaned_for(&self, now: Moment) -> Duration {
        let orphans = self.sessions.values().filter_map(|s| s.orphan.as_ref());
        orphans.map(|o| now.saturating_sub(o.since())).max().unwrap_or_default()
    }

    /// How long a session is held without a speaker.
    #[must_use]
    pub const fn max_orphan(&self) -> Duration {
        self.limits.max_orphan
    }

    fn attach(&mut self, wants: Waiting, out: &mut Vec<Action>) {
        let Waiting { conn, process, generation, .. } = wants;
        let again =
            self.speaker.is_some_and(|s| s.process == process && s.generation == generation);
        if generation == KEEPER {
            return out.push(Action::Refused { conn, why: Refusal::Zero });
        }
        if generation <= self.newest && !again {
            let why = Refusal::Stale { newest: self.newest };
            return out.push(Action::Refused { conn, why });
        }
        self.newest = generation.max(self.newest);
        if let Some(older) = self.waiting.take().filter(|w| w.conn != conn) {
            out.push(Action::Revoked { conn: older.conn, by: generation });
        }
        match self.speaker {
            Some(older) if older.process != process => {
                self.waiting = Some(wants);
                if let Some(conn) = older.conn {
                    out.push(Action::Revoked { conn, by: generation });
                }
                out.push(Action::Kill { process: older.process });
            }
            Some(older) => {
                if let Some(conn) = older.conn.filter(|c| *c != conn) {
                    out.push(Action::Revoked { conn, by: generation });
                }
                self.grant(wants, out);
            }
            None => self.grant(wants, out),
        }
    }

    fn grant(&mut self, to: Waiting, out: &mut Vec<Action>) {
        let Waiting { conn, process, generation, max_orphan } = to;
        self.limits.max_orphan = max_orphan.unwrap_or(self.limits.max_orphan);
        self.speaker = Some(Speaker { generation, process, conn: Some(conn) });
        for (id, session) in &mut self.sessions {
            session.orphan = None;
            out.push(Action::Own { session: *id, owner: generation, since: Moment::ZERO });
        }
        out.push(Action::Attached { conn, process, generation });
    }

    #[must_use]
    pub fn is_attached(&self, conn: ConnId) -> bool {
        self.attached() == Some(conn)
    }

    /// The speaker's connection. Once a newer generation waits, the older one counts no more.
    #[must_use]
    pub fn attached(&self) -> Option<ConnId> {
        self.speaker.filter(|_| self.waiting.is_none())?.conn
    }

    fn hold(&mut self, conn: ConnId, token: u32, timing: Timing, out: &mut Vec<Action>) {
        let max = self.limits.max_sessions;
        if !self.is_attached(conn) {
            return out.push(Action::Refused { conn, why: Refusal::NotAttached { token } });
        }
        if self.sessions.len() >= max {
            return out.push(Action::Refused { conn, why: Refusal::Full { token, max } });
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(session, Session { timing, orphan: None });
        out.push(Action::Held { conn, token, session });
    }

    fn release(&mut self, conn: ConnId, session: SessionId, how: Release, out: &mut Vec<Action>) {
        let why = if !self.is_attached(conn) {
            Refusal::NotAttached { token: 0 }
        } else if self.sessions.remove(&session).is_some() {
            return out.push(Action::Released { conn, session, how });
        } else {
            Refusal::UnknownSession { session }
        };
        out.push(Action::Refused { conn, why });
    }

    fn disconnected(&mut self, conn: ConnId) {
        self.waiting = self.waiting.filter(|w| w.conn != conn);
        if let Some(speaker) = self.speaker.as_mut().filter(|s| s.conn == Some(conn)) {
            speaker.conn = None;
        }
    }

    fn exited(&mut self, process: ProcessId, now: Moment, out: &mut Vec<Action>) {
        self.waiting = self.waiting.filter(|w| w.process != process);
        if self.speaker.is_none_or(|s| s.process != process) {
            return;
        }
        self.speaker = None;
        match self.waiting.take() {
            Some(next) => self.grant(next, out),
            None => self.sessions.iter_mut().for_each(|(id, s)| adopt(*id, s, now, out)),
        }
    }

    fn seen(&mut self, id: SessionId, seen: &Seen, now: Moment, out: &mut Vec<Action>) {
        let max = self.limits.max_orphan;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(orphan) = &mut session.orphan else { return };
        match orphan.step(seen, session.timing, max, now) {
            Step::Rest => {}
            Step::Send => out.push(Action::Send { session: id }),
            Step::Keepalive => out.push(Action::Keepalive { session: id }),
            Step::LetGo(why) => self.let_go(id, why, out),
        }
    }

    fn let_go(&mut self, session: SessionId, why: Why, out: &mut Vec<Action>) {
        if self.sessions.remove(&session).is_some() {
            out.push(Action::LetGo { session, why });
        }
    }

    fn restore(&mut self, id: SessionId, from: Restored, now: Moment, out: &mut Vec<Action>) {
        let Restored { timing, owner, since, speaker } = from;
        self.newest = self.newest.max(owner);
        self.next_session = self.next_session.max(id.0 + 1);
        let mut session = Session { timing, orphan: None };
        match speaker {
            Some(process) => {
                self.speaker = Some(Speaker { generation: owner, process, conn: None });
            }
            None if owner == KEEPER => adopt(id, &mut session, since.min(now), out),
            None => adopt(id, &mut session, now, out),
        }
        self.sessions.insert(id, session);
    }

    fn due(&self, now: Moment, out: &mut Vec<Action>) {
        for (id, session) in &self.sessions {
            if session.orphan.as_ref().is_some_and(|o| o.due() <= now) {
                out.push(Action::Look { session: *id });
            }
        }
    }

    fn stop(&mut self, stored: bool, out: &mut Vec<Action>) {
        if stored {
            return;
        }
        for (session, held) in std::mem::take(&mut self.sessions) {
            // One that a speaker has goes on without us.
            if held.orphan.is_some() {
                out.push(Action::LetGo { session, why: Why::Stopping });
            }
        }
    }
}

struct Restored {
    timing: Timing,
    owner: u64,
    since: Moment,
    speaker: Option<ProcessId>,
}

/// From now on the keeper is the one that writes.
fn adopt(id: SessionId, session: &mut Session, since: Moment, out: &mut Vec<Action>) {
    session.orphan = Some(Orphan::new(since));
    out.push(Action::Own { session: id, owner: KEEPER, since });
    out.push(Action::Look { session: id });
}
