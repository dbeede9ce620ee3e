//! One open connection: its socket, its buffers, and what the keeper knows of it.

use crate::buffers::Buffers;
use crate::log::Log;
use crate::plan::Remote;
use crate::poller::Poller;
use bgp_core::event::Link;
use bgp_core::told::{Record, Said};
use bgp_core::types::ConnId;
use keeper::journal::JournalError;
use keeper::keeper::SessionId;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// What waits outside of the RIBs fits in here.
const MARGIN: usize = 12 * 1024;

/// Stops being watched when dropped.
#[derive(Debug)]
pub(crate) struct Conn {
    id: ConnId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The interface of a link-local one.
    zone: Option<String>,
    socket: Option<OwnedFd>,
    pub(crate) buffers: Buffers,
    poller: Rc<Poller>,
    /// Told when there is room to send.
    watched: bool,
    /// Since when something waits to be sent and nothing of it is taken.
    stalled: Option<Instant>,
    silent: Option<OwnedSemaphorePermit>,
    pub(crate) kept: Kept,
}

/// What becomes of the session when this process ends.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It ends as well; why, if it is up.
    Not(String),
    /// The keeper has been asked.
    Asked { log: Log },
    /// The next process goes on with it.
    Held { session: SessionId, log: Log },
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held { .. } => "tier0",
            Self::Asked { .. } => "graceful-restart: the keeper has not answered yet",
            Self::Not(why) => return write!(f, "graceful-restart: {why}"),
        })
    }
}

impl Kept {
    pub(crate) const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Held { session, .. } => Some(*session),
            Self::Asked { .. } | Self::Not(_) => None,
        }
    }

    /// The keeper holds it, under this number; false: it is not to, since there is no log.
    pub(crate) fn held(&mut self, session: SessionId) -> bool {
        match std::mem::replace(self, Self::Not(String::new())) {
            Self::Asked { log } | Self::Held { log, .. } => *self = Self::Held { session, log },
            not @ Self::Not(_) => *self = not,
        }
        self.is_logged()
    }

    pub(crate) const fn is_asked(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    pub(crate) const fn is_logged(&self) -> bool {
        !matches!(self, Self::Not(_))
    }

    pub(crate) const fn log(&mut self) -> Option<&mut Log> {
        match self {
            Self::Asked { log } | Self::Held { log, .. } => Some(log),
            Self::Not(_) => None,
        }
    }
}

impl Conn {
    pub(crate) fn new(
        id: ConnId,
        socket: OwnedFd,
        link: &Link,
        buffers: Buffers,
        poller: &Rc<Poller>,
    ) -> io::Result<Self> {
        poller.add(&socket, id)?;
        Ok(Self {
            id,
            local: link.local,
            remote: link.remote,
            zone: link.zone().map(Into::into),
            socket: Some(socket),
            buffers,
            poller: Rc::clone(poller),
            watched: false,
            stalled: None,
            silent: None,
            kept: Kept::Not("it is not up yet".into()),
        })
    }

    /// With a permit it counts as silent until it is heard.
    pub(crate) fn set_silent(&mut self, permit: Option<OwnedSemaphorePermit>) {
        self.silent = permit;
    }

    pub(crate) fn remote_end(&self) -> Remote {
        Remote::new(self.remote.ip(), self.zone.as_deref())
    }

    pub(crate) const fn remote_ip(&self) -> IpAddr {
        self.remote.ip()
    }

    pub(crate) fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// It has said something: it no longer counts as silent.
    pub(crate) fn heard(&mut self) {
        self.silent = None;
    }

    /// Somebody dialled in and has not said a word yet.
    pub(crate) const fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// How much may be made for this peer now; `None` while too much of it waits already. A message
    /// more than that, at most `longest` octets, still fits.
    pub(crate) fn room(&self, longest: usize) -> Option<usize> {
        self.buffers.room().checked_sub(MARGIN + longest).filter(|room| *room > 0)
    }

    /// Reads once; how much, zero at the end of the peer's stream.
    pub(crate) fn read(&mut self) -> io::Result<usize> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        self.buffers.recv(socket.as_fd())
    }

    /// Sends what the kernel takes. An error is for the reader to find: behind what the peer may
    /// have said before it closed.
    pub(crate) fn flush(&mut self, more: bool) {
        let Some(socket) = &self.socket else { return };
        let waited = self.buffers.unsent();
        let broken = self.buffers.flush(socket.as_fd()).is_err();
        let waits = self.buffers.unsent();
        self.stalled = match self.stalled {
            _ if waits == 0 => None,
            Some(since) if waits == waited => Some(since),
            _ => Some(Instant::now()),
        };
        let watch = !broken && (more || waits > 0);
        if watch != self.watched && self.poller.watch(socket, self.id, watch).is_ok() {
            self.watched = watch;
        }
    }

    /// All that is to be said for now was said. What the log does not say yet stays in the ring.
    pub(crate) fn rest(&mut self) {
        let appended = self.buffers.rings().map(|rings| rings.positions().tx_appended);
        let log = self.kept.log();
        if log.is_none_or(|log| appended.is_some_and(|all| log.says_all(all))) {
            self.buffers.rest();
        }
    }

    /// Since when the kernel has taken nothing of what waits.
    pub(crate) const fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// `record` was appended ([`Log::sent`]); true: the log has grown long.
    pub(crate) fn log_sent(&mut self, record: &[u8]) -> bool {
        let (Some(rings), Some(log)) = (self.buffers.rings(), self.kept.log()) else {
            return false;
        };
        log.sent(record, rings.positions().tx_appended)
    }

    /// The first `n` octets of what waits have taken effect; true: the log has grown long.
    pub(crate) fn log_heard(&mut self, n: usize) -> bool {
        let (Some(rings), Some(log)) = (self.buffers.rings(), self.kept.log()) else {
            return false;
        };
        let messages = rings.unapplied().get(..n).unwrap_or_default();
        log.heard(messages, rings.positions().tx_appended)
    }

    /// Whether its log is worth writing anew.
    pub(crate) fn log_is_outdated(&mut self, said: Said) -> bool {
        self.kept.log().is_some_and(|log| log.is_outdated(said))
    }

    pub(crate) fn rewrite_log(
        &mut self,
        records: &[Record],
        said: Said,
    ) -> Result<(), JournalError> {
        match (self.buffers.rings(), self.kept.log()) {
            (Some(rings), Some(log)) => log.rewrite(rings, records, said),
            _ => Ok(()),
        }
    }

    /// No longer watched: the socket, what was not sent yet, and who else holds it.
    pub(crate) fn take_apart(mut self) -> Option<(OwnedFd, Vec<u8>, Kept)> {
        let socket = self.socket.take()?;
        self.poller.remove(&socket);
        let buffers = std::mem::replace(&mut self.buffers, Buffers::private());
        let kept = std::mem::replace(&mut self.kept, Kept::Not(String::new()));
        Some((socket, buffers.take_unsent(), kept))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            self.poller.remove(socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_has_lost_its_log_is_not_held_however_late_the_keeper_answers() {
        let mut kept = Kept::Not("its log has no room".into());
        assert!(!kept.held(SessionId(7)));
        assert_eq!(
            (kept.session(), kept.to_string()),
            (None, "graceful-restart: its log has no room".into())
        );
    }
}
