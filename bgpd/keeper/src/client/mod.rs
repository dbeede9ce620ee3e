//! What the speaker calls.
//!
//! At start [`Client::attach`] brings every session that is still held, ready to go on. Later
//! [`Client::hold`] and [`Client::release`] send a request, and [`Client::next`] reads the answers
//! whenever [`Client::as_fd`] is readable; neither waits.
//!
//! A lost connection ([`ClientError::Gone`]) harms no session. Connect again, attach with the same
//! generation, and hold again what the keeper does not list.

mod session;

pub use session::{Revoked, RingsError, SessionRings, WriteError};

use crate::bfd::{Report, Spec, record};
use crate::keeper::{Release, SessionId};
use crate::os::{clock, memory, packet, tcp};
use crate::protocol::{MAX_PACKET, PacketError, Reply, Request, Status};
use crate::resume::Resume;
use crate::snapshot::Snapshot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The keeper's socket in the run directory.
pub const SOCKET: &str = "keeper.sock";

#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    next_token: u32,
}

/// A session that goes on.
#[derive(Debug)]
pub struct HeldSession {
    pub id: SessionId,
    pub socket: OwnedFd,
    pub rings: SessionRings,
    pub snapshot: Snapshot,
    pub resume: Resume,
}

/// A session that must begin anew: graceful restart's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSession {
    /// Empty when not even that could be read.
    pub peer: String,
    pub why: String,
}

#[derive(Debug, Default)]
pub struct Attached {
    pub sessions: Vec<HeldSession>,
    pub lost: Vec<LostSession>,
    /// BFD went on all the while.
    pub bfd: Vec<Report>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// From now on the session outlives this process.
    Held {
        token: u32,
        session: SessionId,
    },
    Released {
        session: SessionId,
    },
    Refused {
        token: u32,
        why: String,
    },
    /// Another speaker has taken every session: write nothing more.
    Revoked {
        by: u64,
    },
    Status(Status),
    /// The answer to [`Client::set_bfd`].
    BfdSet {
        token: u32,
        count: u32,
    },
    Bfd(Report),
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no keeper answers at {path}", path = path.display())]
    Absent { path: PathBuf, source: io::Error },
    #[error("the keeper has closed the connection")]
    Gone,
    #[error("the keeper did not answer within {0:?}")]
    Late(Duration),
    #[error("the keeper refuses: {0}")]
    Refused(String),
    #[error("generation {by} has taken the sessions")]
    Revoked { by: u64 },
    #[error("the keeper said something that does not belong here")]
    Nonsense,
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("keeper: {0}")]
    Io(#[from] io::Error),
}

/// A generation that is newer than that of any process started before on this node.
#[must_use]
pub fn generation_of_now() -> u64 {
    u64::try_from(clock::now().as_nanos()).unwrap_or(u64::MAX)
}

impl Client {
    /// Waits for nobody: a keeper either listens or does not.
    pub fn connect(run_dir: &Path) -> Result<Self, ClientError> {
        let path = run_dir.join(SOCKET);
        let connect = || -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let kind = SocketType::SEQPACKET;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(&path)?)?;
            Ok(socket)
        };
        match connect() {
            Ok(socket) => Ok(Self { socket, next_token: 1 }),
            Err(source) => Err(ClientError::Absent { path, source }),
        }
    }

    /// Takes over every session that is held, and waits for them at most `limit`. Each comes with
    /// its rings resumed; one that cannot go on is shut down and listed as lost.
    ///
    /// `max_orphan`: how long sessions are held without a speaker, from now on, whatever keeper
    /// holds them. `None` leaves that as it is.
    pub fn attach(
        &mut self,
        generation: u64,
        max_orphan: Option<Duration>,
        limit: Duration,
    ) -> Result<Attached, ClientError> {
        let end = Instant::now() + limit;
        let late = |e| match e {
            ClientError::Late(_) => ClientError::Late(limit),
            other => other,
        };
        self.send(Request::Attach { generation, max_orphan }, &[])?;
        let mut found = Attached::default();
        loop {
            let (reply, fds) = self.wait(end).map_err(late)?;
            match reply {
                Reply::Attached { generation: g } if g == generation => {}
                Reply::Session { session } => self.take(session, fds, generation, &mut found)?,
                Reply::Gone { peer, why } => found.lost.push(LostSession { peer, why }),
                Reply::Bfd(report) => found.bfd.push(report),
                Reply::End => return Ok(found),
                Reply::Refused { why, .. } => return Err(ClientError::Refused(why)),
                Reply::Revoked { by } => return Err(ClientError::Revoked { by }),
                _ => return Err(ClientError::Nonsense),
            }
        }
    }

    /// Asks the keeper to hold a session, whose snapshot is written. The answer carries the token.
    /// When the keeper is far behind this fails with `WouldBlock`: ask again later.
    pub fn hold(&mut self, socket: impl AsFd, rings: &SessionRings) -> Result<u32, ClientError> {
        let token = self.token();
        self.send(Request::Hold { token }, &[socket.as_fd(), rings.file()])?;
        Ok(token)
    }

    /// The session is the speaker's alone again, or ends, as `how` says.
    ///
    /// Refused when the session is not held any more, because the peer has reset it.
    ///
    /// A session that is to end must be released, or be shut down: as long as the keeper holds a
    /// descriptor, closing one's own tells the peer nothing.
    pub fn release(&self, session: SessionId, how: Release) -> Result<(), ClientError> {
        self.send(Request::Release { session, how }, &[])
    }

    pub fn ask_status(&self) -> Result<(), ClientError> {
        self.send(Request::Status, &[])
    }

    /// These BFD sessions and no others. Those that stay the same go on untouched, so a speaker
    /// says it again after each attach. The answer carries the token; [`Answer::Bfd`] tells of
    /// every change from then on.
    pub fn set_bfd(&mut self, sessions: &[Spec]) -> Result<u32, ClientError> {
        let token = self.token();
        let file = memory::with(&record::encode_list(sessions))?;
        self.send(Request::SetBfd { token }, &[file.as_fd()])?;
        Ok(token)
    }

    /// The next answer, `None` when there is none yet.
    pub fn next(&self) -> Result<Option<Answer>, ClientError> {
        match self.receive() {
            Ok((reply, _)) => answer(reply).map(Some),
            Err(ClientError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The next answer, waited for.
    pub fn next_within(&self, limit: Duration) -> Result<Answer, ClientError> {
        let (reply, _) = self.wait(Instant::now() + limit)?;
        answer(reply)
    }

    const fn token(&mut self) -> u32 {
        let token = self.next_token;
        self.next_token = match token {
            u32::MAX => 1,
            n => n + 1,
        };
        token
    }

    fn take(
        &self,
        session: SessionId,
        fds: Vec<OwnedFd>,
        generation: u64,
        found: &mut Attached,
    ) -> Result<(), ClientError> {
        let Ok([socket, file]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(ClientError::Nonsense);
        };
        match resume(socket, file, generation) {
            Ok((socket, rings, snapshot, resume)) => {
                found.sessions.push(HeldSession { id: session, socket, rings, snapshot, resume });
            }
            Err((peer, why)) => {
                found.lost.push(LostSession { peer, why: why.to_string() });
                self.release(session, Release::Abort)?;
            }
        }
        Ok(())
    }

    fn send(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        packet::send(&self.socket, &request.encode(), fds).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Gone,
            _ => e.into(),
        })
    }

    fn receive(&self) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
        loop {
            match packet::receive(&self.socket, MAX_PACKET) {
                Ok(Some(packet)) => match Reply::decode(&packet.bytes) {
                    // What a later keeper says beside: it does without an answer.
                    Err(PacketError::Kind(_)) => {}
                    reply => return Ok((reply?, packet.fds)),
                },
                Ok(None) => return Err(ClientError::Gone),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ClientError::Gone);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn wait(&self, end: Instant) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
        loop {
            match self.receive() {
                Err(ClientError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::Late(left));
            }
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            let limit = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut fds, Some(&limit)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e).into()),
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

type Resumed = (OwnedFd, SessionRings, Snapshot, Resume);

fn resume(
    socket: OwnedFd,
    file: OwnedFd,
    generation: u64,
) -> Result<Resumed, (String, RingsError)> {
    let rings = SessionRings::open(file, generation).map_err(|e| (String::new(), e))?;
    let snapshot = rings.snapshot().map_err(|e| (String::new(), e.into()))?;
    let kernel = tcp::measure(&socket).map_err(|e| (snapshot.peer.clone(), e.into()))?;
    match rings.resume(&kernel) {
        Ok(resume) => Ok((socket, rings, snapshot, resume)),
        Err(e) => Err((snapshot.peer, e.into())),
    }
}

fn answer(reply: Reply) -> Result<Answer, ClientError> {
    Ok(match reply {
        Reply::Held { token, session } => Answer::Held { token, session },
        Reply::Released { session } => Answer::Released { session },
        Reply::Refused { token, why } => Answer::Refused { token, why },
        Reply::Revoked { by } => Answer::Revoked { by },
        Reply::Status(status) => Answer::Status(status),
        Reply::BfdSet { token, count } => Answer::BfdSet { token, count },
        Reply::Bfd(report) => Answer::Bfd(report),
        _ => return Err(ClientError::Nonsense),
    })
}
