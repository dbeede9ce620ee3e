//! Which sockets are ready, for the loop that owns them: one epoll set in tokio's.
//!
//! A connection has no task and no channel of its own. The loop reads and writes straight from and
//! to the session's buffers when the kernel says it can, a chunk for each that is ready in turn.

use bgp_core::types::ConnId;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: AsyncFd<OwnedFd>,
}

/// A connection that can be read or written without waiting. An error on it counts as both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) conn: ConnId,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// Looked at in one go; the rest is there the next time.
const AT_ONCE: usize = 64;
const READ: EventFlags = EventFlags::IN;

impl Poller {
    /// Inside a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll: readable(epoll)? })
    }

    pub(crate) fn add(&self, socket: impl AsFd, conn: ConnId) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(conn.0), READ)?)
    }

    /// Whether room for more to send is to be told as well.
    pub(crate) fn watch(&self, socket: impl AsFd, conn: ConnId, write: bool) -> io::Result<()> {
        let flags = if write { READ | EventFlags::OUT } else { READ };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(conn.0), flags)?)
    }

    /// Before a socket is closed: the keeper may hold a duplicate, and then the kernel would go on
    /// telling us.
    pub(crate) fn remove(&self, socket: impl AsFd) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits for at least one.
    pub(crate) async fn wait(&self) -> io::Result<Vec<Ready>> {
        loop {
            let mut guard = self.epoll.readable().await?;
            let ready = self.now()?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            guard.clear_ready();
        }
    }

    /// Those that are ready now.
    pub(crate) fn now(&self) -> io::Result<Vec<Ready>> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; AT_ONCE];
        let (ready, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
        Ok(ready.iter().map(|event| told(*event)).collect())
    }
}

/// Registers a descriptor that tokio is to wait on.
#[allow(
    deprecated,
    reason = "sound for an OwnedFd, which stays what it is; what replaces it is unsafe"
)]
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

fn told(event: Event) -> Ready {
    let Event { flags, data } = event;
    let over = flags.intersects(EventFlags::ERR | EventFlags::HUP);
    Ready {
        conn: ConnId(data.u64()),
        read: over || flags.contains(EventFlags::IN),
        write: over || flags.contains(EventFlags::OUT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[tokio::test]
    async fn a_socket_is_told_of_as_long_as_it_is_ready_and_no_longer() {
        let poller = Poller::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let conn = ConnId(1 << 63 | 7);
        poller.add(&ours, conn).unwrap();
        let idle = tokio::time::timeout(Duration::from_millis(20), poller.wait()).await;
        assert!(idle.is_err());
        theirs.write_all(b"x").unwrap();
        let ready = [Ready { conn, read: true, write: false }];
        assert_eq!(poller.wait().await.unwrap(), ready);
        assert_eq!(poller.wait().await.unwrap(), ready, "not read yet");
        poller.watch(&ours, conn, true).unwrap();
        assert_eq!(poller.wait().await.unwrap(), [Ready { conn, read: true, write: true }]);
        poller.remove(&ours);
        assert!(poller.now().unwrap().is_empty());
    }
}
