//! The keeper's process: sockets, memory files, the poll loop around [`crate::keeper`].
//!
//! One thread; no call in it waits but `poll`.

mod act;
mod bfd;
mod conn;
mod held;
pub mod log;
mod restore;
mod signals;
mod start;
mod state;
mod store;
mod watchdog;

pub use start::{Args, ArgsError, StartError, USAGE, run};

use crate::keeper::{ConnId, Event, Keeper, ProcessId, SessionId};
use crate::orphan::Why;
use crate::os::packet::Packet;
use crate::os::{clock, process};
use crate::protocol::{Reply, Request, Status, Version};
use bfd::{Bfd, Kind};
use conn::Conn;
use held::Held;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::Pid;
use state::StateFile;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use store::Store;
use watchdog::Watchdog;

const MAX_CONNS: usize = 16;
/// Requests of one connection before the others have their turn.
const BATCH: usize = 64;
/// After an accept that failed, and while the service manager has no room.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Shell {
    keeper: Keeper,
    listener: OwnedFd,
    signals: OwnedFd,
    store: Store,
    watchdog: Watchdog,
    state: StateFile,
    bfd: Bfd,
    conns: BTreeMap<ConnId, Conn>,
    processes: BTreeMap<ProcessId, Process>,
    sessions: BTreeMap<SessionId, Held>,
    /// (peer, why) of sessions let go, for the next speaker to hear.
    gone: VecDeque<(String, String)>,
    counts: Status,
    /// Generations whose pidfd lies in the store.
    stored: Vec<u64>,
    next_id: u64,
    pause: bool,
}

#[derive(Debug)]
struct Process {
    pid: Option<Pid>,
    pidfd: OwnedFd,
    exited: bool,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Conn(ConnId),
    Process(ProcessId),
    Session(SessionId),
    Bfd(Kind),
}

impl Shell {
    /// Until it is told to stop.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            for (source, flags) in ready {
                match source {
                    Source::Conn(conn) => self.conn_ready(conn, flags),
                    Source::Process(process) => self.exited(process),
                    Source::Session(session) => self.session_ready(session, flags),
                    Source::Listener => self.accept(),
                    Source::Bfd(kind) => self.bfd_ready(kind),
                    Source::Signals => {
                        if signals::stop_wanted(&self.signals) {
                            self.stop();
                            return Ok(());
                        }
                    }
                }
            }
            self.bfd_due();
            self.tell(Event::Due);
            self.close_broken();
            self.forget_processes();
            if self.watchdog.due(clock::now()) {
                self.store.alive();
            }
        }
    }

    /// What is ready, connections before processes: what a speaker said before it died counts.
    fn wait(&mut self) -> io::Result<Vec<(Source, PollFlags)>> {
        let next = [self.keeper.deadline(), self.bfd.deadline(), self.watchdog.deadline()];
        let next = next.into_iter().flatten().min();
        let mut limit = next.map(|at| at.saturating_sub(clock::now()));
        if self.store.flush() || self.pause {
            limit = Some(limit.map_or(PAUSE, |l| l.min(PAUSE)));
        }
        let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let watched = self.watched();
        let mut fds: Vec<_> =
            watched.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let found = watched.iter().zip(&fds).map(|((source, ..), fd)| (*source, fd.revents()));
        let found = found.filter(|(_, flags)| !flags.is_empty()).collect();
        self.pause = false;
        Ok(found)
    }

    fn watched(&self) -> Vec<(Source, rustix::fd::BorrowedFd<'_>, PollFlags)> {
        let mut all = vec![(Source::Signals, self.signals.as_fd(), PollFlags::IN)];
        for (id, conn) in &self.conns {
            let out = if conn.waits_for_room() { PollFlags::OUT } else { PollFlags::empty() };
            all.push((Source::Conn(*id), conn.socket.as_fd(), PollFlags::IN | out));
        }
        let living = self.processes.iter().filter(|(_, p)| !p.exited);
        all.extend(living.map(|(id, p)| (Source::Process(*id), p.pidfd.as_fd(), PollFlags::IN)));
        for (id, held) in &self.sessions {
            // A speaker sees for itself what becomes of its connections; a reset is always told.
            let mut flags = PollFlags::empty();
            if self.keeper.is_orphan(*id) {
                flags |= PollFlags::RDHUP;
            }
            if held.blocked {
                flags |= PollFlags::OUT;
            }
            all.push((Source::Session(*id), held.socket.as_fd(), flags));
        }
        let bfd = self.bfd.listeners.iter();
        all.extend(bfd.map(|(kind, fd)| (Source::Bfd(*kind), fd.as_fd(), PollFlags::IN)));
        if !self.pause {
            all.push((Source::Listener, self.listener.as_fd(), PollFlags::IN));
        }
        all
    }

    fn accept(&mut self) {
        let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(e) => {
                log::warn(&format!("cannot accept a connection: {e}"));
                // It stays readable: look away for a while.
                self.pause = true;
                return;
            }
        };
        if self.conns.len() >= MAX_CONNS {
            return log::warn(&format!("more than {MAX_CONNS} connections, one is refused"));
        }
        match process::peer(socket.as_fd()) {
            Ok(peer) => {
                let process = self.know(peer);
                let id = ConnId(self.id());
                self.conns.insert(id, Conn::new(socket, process));
            }
            Err(e) => log::warn(&format!("a connection is refused: {e}")),
        }
    }

    /// The same process is the same, however often it connects.
    fn know(&mut self, peer: process::Peer) -> ProcessId {
        let same = |p: &Process| p.pid == Some(peer.pid) && !p.exited && !process::exited(&p.pidfd);
        if let Some((id, _)) = self.processes.iter().find(|(_, p)| same(p)) {
            return *id;
        }
        let id = ProcessId(self.id());
        let process = Process { pid: Some(peer.pid), pidfd: peer.pidfd, exited: false };
        self.processes.insert(id, process);
        id
    }

    fn conn_ready(&mut self, id: ConnId, flags: PollFlags) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if flags.contains(PollFlags::OUT) {
            conn.flush();
        }
        for _ in 0..BATCH {
            let Some(conn) = self.conns.get(&id).filter(|c| !c.broken()) else { break };
            match conn.receive() {
                Ok(Some(packet)) => self.request(id, packet),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::InvalidData => self.refuse(id, 0, &e),
                Ok(None) | Err(_) => break,
            }
            if self.conns.get(&id).is_none_or(Conn::broken) {
                break;
            }
        }
        self.close_if_over(id);
    }

    /// Those that did not read what they asked for.
    fn close_broken(&mut self) {
        let broken: Vec<_> =
            self.conns.iter().filter(|(_, c)| c.broken()).map(|(id, _)| *id).collect();
        for id in broken {
            self.close_if_over(id);
        }
    }

    /// Closes a connection at its end; one with more to say is read on at the next turn.
    fn close_if_over(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let mut byte = [0; 1];
        let peek = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        let more = match rustix::net::recv(&conn.socket, &mut byte, peek) {
            Ok((n, _)) => n > 0,
            Err(e) => e == rustix::io::Errno::AGAIN,
        };
        if conn.broken() || !more {
            self.conns.remove(&id);
            self.tell(Event::Disconnected { conn: id });
        }
    }

    fn request(&mut self, id: ConnId, packet: Packet) {
        let Packet { bytes, fds, cut } = packet;
        match Request::decode(&bytes) {
            Ok(Request::Hold { token } | Request::SetBfd { token }) if cut => {
                self.refuse(id, token, &"its descriptors cannot be taken: too many files are open");
            }
            Ok(Request::Attach { generation, max_orphan }) => {
                let Some(process) = self.conns.get(&id).map(|c| c.process) else { return };
                self.tell(Event::Attach { conn: id, process, generation, max_orphan });
            }
            Ok(Request::Hold { token }) => self.hold(id, token, fds),
            Ok(Request::Release { session, how }) => {
                self.tell(Event::Release { conn: id, session, how });
            }
            Ok(Request::Status) => {
                let status = self.status();
                self.say(id, &Reply::Status(status));
            }
            Ok(Request::SetBfd { token }) => self.set_bfd(id, token, &fds),
            Err(e) => self.refuse(id, 0, &e),
        }
    }

    fn hold(&mut self, id: ConnId, token: u32, fds: Vec<OwnedFd>) {
        let generation = self.keeper.speaker().map_or(0, |(_, generation)| generation);
        let opened = Held::open(fds).and_then(|h| h.check_owner(generation).map(|()| h));
        match opened {
            Ok(held) => {
                let timing = held.timing;
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.offered = Some(held);
                }
                self.tell(Event::Hold { conn: id, token, timing });
            }
            Err(e) => self.refuse(id, token, &e),
        }
    }

    fn refuse(&mut self, id: ConnId, token: u32, why: &dyn std::fmt::Display) {
        self.counts.refused_total += 1;
        let why = why.to_string();
        log::warn(&format!("refused: {why}"));
        self.say(id, &Reply::Refused { token, why });
    }

    fn say(&mut self, id: ConnId, reply: &Reply) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.say(reply);
        }
    }

    fn exited(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.exited = true;
            self.tell(Event::Exited { process: id });
        }
    }

    /// Those that have ended, or that never attached and have no connection any more.
    fn forget_processes(&mut self) {
        let speaker = self.keeper.speaker().map(|(process, _)| process);
        let conns = &self.conns;
        self.processes.retain(|id, process| {
            let connected = conns.values().any(|c| c.process == *id);
            connected || (!process.exited && speaker == Some(*id))
        });
    }

    fn session_ready(&mut self, session: SessionId, flags: PollFlags) {
        if flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return self.tell(Event::Lost { session, why: Why::Closed });
        }
        if let Some(held) = self.sessions.get_mut(&session) {
            held.blocked &= !flags.contains(PollFlags::OUT);
        }
        self.tell(Event::Ready { session });
    }

    fn status(&self) -> Status {
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let (held, orphaned) = self.keeper.count();
        let (bfd_sessions, bfd_up) = self.bfd.count();
        Status {
            held: count(held),
            orphaned: count(orphaned),
            generation: self.keeper.speaker().map_or(0, |(_, generation)| generation),
            bfd_sessions: count(bfd_sessions),
            bfd_up: count(bfd_up),
            orphaned_for: self.keeper.orphaned_for(clock::now()),
            max_orphan: self.keeper.max_orphan(),
            memory_bytes: self.sessions.values().map(Held::memory).sum(),
            version: Version::ours(),
            ..self.counts
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn stop(&mut self) {
        let stored = self.store.exists();
        let (held, _) = self.keeper.count();
        log::info(&format!(
            "stopping; {held} sessions {}",
            match stored {
                true => "stay with the service manager",
                false => "are let go where no speaker has them",
            }
        ));
        if !stored {
            self.leave_bfd();
        }
        self.tell(Event::Stop { stored });
        let end = clock::now() + Duration::from_secs(1);
        while self.store.flush() && clock::now() < end {
            let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let _ = poll(&mut [], Some(&pause));
        }
    }
}
