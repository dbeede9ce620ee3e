//! Doing what [`crate::keeper`] answers.

use super::{Held, Shell, log};
use crate::keeper::{Action, ConnId, Event, Refusal, Release, SessionId};
use crate::orphan::{Seen, Why};
use crate::os::{clock, process};
use crate::protocol::Reply;
use crate::rings::{KEEPER, Moment};
use crate::shell::store::Name;
use crate::state::State;
use std::collections::VecDeque;
use std::os::fd::AsFd;

/// How many sessions that were let go the next speaker hears of.
const MAX_GONE: usize = 1024;

impl Shell {
    /// Tells the state machine, does what it answers, and tells what came of it, until all is done.
    pub(super) fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            self.keeper.handle(event, clock::now(), &mut actions);
            for action in actions.drain(..) {
                events.extend(self.act(action));
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Attached { conn, generation, .. } => self.attached(conn, generation),
            Action::Revoked { conn, by } => self.say(conn, &Reply::Revoked { by }),
            Action::Refused { conn, why } => self.refused(conn, why),
            Action::Kill { process } => self.kill(process),
            Action::Held { conn, token, session } => self.held(conn, token, session),
            Action::Released { conn, session, how } => self.released(conn, session, how),
            Action::Own { session, owner, since } => return self.own(session, owner, since),
            Action::Look { session } => return self.on(session, |held, _| held.look()),
            Action::Send { session } => return self.on(session, Held::send),
            Action::Keepalive { session } => {
                self.counts.keepalives_total += 1;
                return self.on(session, Held::keepalive);
            }
            Action::LetGo { session, why } => self.let_go(session, why),
        }
        None
    }

    fn on(
        &mut self,
        session: SessionId,
        f: impl FnOnce(&mut Held, Moment) -> Result<Seen, Why>,
    ) -> Option<Event> {
        let held = self.sessions.get_mut(&session)?;
        Some(match f(held, clock::now()) {
            Ok(seen) => Event::Seen { session, seen },
            Err(why) => Event::Lost { session, why },
        })
    }

    fn attached(&mut self, id: ConnId, generation: u64) {
        self.counts.attached_total += 1;
        self.store_speaker(generation);
        self.store_state();
        for older in std::mem::replace(&mut self.stored, vec![generation]) {
            if older != generation {
                self.store.remove(Name::Speaker { generation: older });
            }
        }
        log::info(&format!(
            "speaker {generation} is attached; it gets {} sessions, {} were lost without it",
            self.sessions.len(),
            self.gone.len()
        ));
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.say(&Reply::Attached { generation });
        for (session, held) in &self.sessions {
            match (held.socket.try_clone(), held.file.try_clone()) {
                (Ok(socket), Ok(file)) => {
                    conn.say_with(&Reply::Session { session: *session }, vec![socket, file]);
                }
                (Err(e), _) | (_, Err(e)) => {
                    let why = format!("cannot be passed on: {e}");
                    conn.say(&Reply::Gone { peer: held.peer.clone(), why });
                }
            }
        }
        for (peer, why) in self.gone.drain(..) {
            conn.say(&Reply::Gone { peer, why });
        }
        for report in self.bfd.reports() {
            conn.say(&Reply::Bfd(report));
        }
        conn.say(&Reply::End);
    }

    /// Before the first ring says that this speaker may write: a keeper that comes after us must
    /// be able to tell whether it lives.
    fn store_speaker(&mut self, generation: u64) {
        if self.stored.contains(&generation) {
            return;
        }
        let Some((process, _)) = self.keeper.speaker() else { return };
        let Some(process) = self.processes.get(&process) else { return };
        match self.store.add(Name::Speaker { generation }, process.pidfd.as_fd()) {
            Ok(()) => self.stored.push(generation),
            Err(e) => log::warn(&format!("the speaker's process cannot be stored: {e}")),
        }
    }

    /// What the next keeper must know beside the sessions.
    pub(super) fn store_state(&mut self) {
        let state = State { max_orphan: self.keeper.max_orphan(), bfd: self.bfd.saved() };
        if let Err(e) = self.state.write(&state, &mut self.store) {
            log::warn(&format!("what the speaker wants cannot be stored: {e}"));
        }
    }

    fn refused(&mut self, id: ConnId, why: Refusal) {
        let token = match why {
            Refusal::NotAttached { token } | Refusal::Full { token, .. } => token,
            _ => 0,
        };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.offered = None;
        }
        self.refuse(id, token, &why);
    }

    fn kill(&self, id: crate::keeper::ProcessId) {
        let Some(process) = self.processes.get(&id) else { return };
        if process::exited(&process.pidfd) {
            return;
        }
        log::warn("a newer speaker has come while the older one runs: the older one is killed");
        if let Err(e) = process::kill(&process.pidfd) {
            log::error(&format!("the older speaker cannot be killed, the newer one waits: {e}"));
        }
    }

    fn held(&mut self, id: ConnId, token: u32, session: SessionId) {
        let Some(held) = self.conns.get_mut(&id).and_then(|c| c.offered.take()) else { return };
        let stored = self
            .store
            .add(Name::Memory(session), held.file.as_fd())
            .and_then(|()| self.store.add(Name::Socket(session), held.socket.as_fd()));
        if let Err(e) = stored {
            log::warn(&format!("the session with {} cannot be stored: {e}", held.peer));
        }
        log::info(&format!("session {session} with {} is held", held.peer));
        self.sessions.insert(session, held);
        self.say(id, &Reply::Held { token, session });
    }

    fn released(&mut self, id: ConnId, session: SessionId, how: Release) {
        if let Some(held) = self.take(session) {
            log::info(&format!("session {session} with {} is released", held.peer));
            match how {
                Release::Forget => drop(held),
                Release::Shutdown => held.shut_down(),
                Release::Abort => held.abort(),
            }
        }
        self.say(id, &Reply::Released { session });
    }

    fn own(&mut self, session: SessionId, owner: u64, since: Moment) -> Option<Event> {
        if owner != KEEPER {
            self.store_speaker(owner);
        }
        let held = self.sessions.get_mut(&session)?;
        if owner == KEEPER {
            log::info(&format!("session {session} with {} has no speaker: kept alive", held.peer));
        }
        let dead = self.bfd.dead_since(held.local, held.remote);
        if owner == KEEPER && dead.is_some_and(|at| at > held.since) {
            // The speaker died before it could do it.
            return Some(Event::Lost { session, why: Why::PeerDead });
        }
        held.own(owner, since).err().map(|why| Event::Lost { session, why })
    }

    fn let_go(&mut self, session: SessionId, why: Why) {
        let Some(held) = self.take(session) else { return };
        if self.keeper.speaker().is_some() {
            // It has seen for itself.
            return log::info(&format!("session {session} with {} has ended: {why}", held.peer));
        }
        self.counts.let_go_total += 1;
        log::warn(&format!("session {session} with {} is let go: {why}", held.peer));
        if self.gone.len() >= MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back((held.peer.clone(), why.to_string()));
        match why {
            Why::PeerDead => held.abort(),
            _ => held.let_go(),
        }
    }

    /// Out of the store first: what still lies there would keep the connection open.
    fn take(&mut self, session: SessionId) -> Option<Held> {
        let held = self.sessions.remove(&session)?;
        self.store.remove(Name::Socket(session));
        self.store.remove(Name::Memory(session));
        Some(held)
    }
}
