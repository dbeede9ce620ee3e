//! A session's rings as the speaker uses them: in place of its own buffers.
//!
//! Make them when the connection is there, before a byte has passed; write and read through them;
//! at Established write the snapshot and let the keeper hold the session.

use crate::journal::Journal;
use crate::layout::{Layout, Sizes, Span};
use crate::os::memory::{self, Mapping, MemoryError, Parts};
use crate::os::tcp;
use crate::resume::{Desync, Kernel, Resume};
use crate::rings::{AppendError, Moment, Positions, Rings};
use crate::snapshot::{Snapshot, SnapshotError};
use crate::walk::{NoMessage, whole_messages};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Debug)]
pub struct SessionRings {
    rings: Rings<Parts>,
    file: OwnedFd,
    generation: u64,
    /// What was sent and read when the rings' memory was given back last.
    released: [u64; 2],
}

/// So much passes through a ring before it is worth asking for its memory back.
const USED: u64 = 32 << 10;

#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    #[error("these sizes cannot be: {0:?}")]
    Sizes(Sizes),
    #[error("the connection has sent or received already, {0} bytes more than said")]
    Late(u64),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Desync(#[from] Desync),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("socket: {0}")]
    Io(#[from] io::Error),
}

/// This process may not write any more: another speaker has the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("generation {by} has the session now")]
pub struct Revoked {
    pub by: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Revoked(#[from] Revoked),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl SessionRings {
    /// For a connection on which nothing has passed yet.
    pub fn create(socket: impl AsFd, sizes: Sizes, generation: u64) -> Result<Self, RingsError> {
        let socket = socket.as_fd();
        tcp::prepare(socket)?;
        let kernel = tcp::measure(socket)?;
        let read = kernel.read().unwrap_or(0);
        let tx_skew = kernel.sent(0).unwrap_or(0);
        if read > 0 || tx_skew > 1 {
            return Err(RingsError::Late(read.max(tx_skew)));
        }
        let layout = Layout::new(sizes, tx_skew).ok_or(RingsError::Sizes(sizes))?;
        let file = memory::create(&layout)?;
        let rings = Rings::create(Parts::new(file.as_fd(), layout)?, layout, 0, 0);
        rings.set_owner(generation, Moment::ZERO);
        Ok(Self::with(rings, file, generation))
    }

    /// Of a session that the keeper held; [`Self::resume`] is next.
    pub fn open(file: OwnedFd, generation: u64) -> Result<Self, RingsError> {
        let layout = memory::layout(file.as_fd())?;
        let area = Parts::new(file.as_fd(), layout)?;
        let rings = Rings::open(area, layout.total()).map_err(MemoryError::from)?;
        Ok(Self::with(rings, file, generation))
    }

    /// After this the session goes on where it stood, in either direction in mid-message.
    pub fn resume(&self, kernel: &Kernel) -> Result<Resume, Desync> {
        self.rings.resume(kernel)
    }

    fn with(rings: Rings<Parts>, file: OwnedFd, generation: u64) -> Self {
        let Positions { tx_appended, rx_read, .. } = rings.positions();
        Self { rings, file, generation, released: [tx_appended, rx_read] }
    }

    /// What the keeper holds beside the socket.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// After this process has attached anew with another generation.
    pub const fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// Whether this process may still write.
    pub fn owned(&self) -> Result<(), Revoked> {
        match self.rings.owner() {
            by if by == self.generation => Ok(()),
            by => Err(Revoked { by }),
        }
    }

    #[must_use]
    pub fn positions(&self) -> Positions {
        self.rings.positions()
    }

    /// At Established, before the keeper is asked to hold it.
    pub fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.rings.write_snapshot(snapshot)
    }

    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        self.rings.snapshot()
    }

    // --- to the peer

    /// How many bytes may be appended now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.rings.room()
    }

    /// How many appended bytes the kernel has not taken yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        usize::try_from(self.positions().unsent()).unwrap_or(usize::MAX)
    }

    /// Whole messages; from here on they will be sent, whatever happens to this process.
    pub fn append(&mut self, messages: &[u8]) -> Result<(), WriteError> {
        let wanted = messages.len();
        let copy = |room: &mut [u8]| {
            if let Some(to) = room.get_mut(..wanted) {
                to.copy_from_slice(messages);
            }
            wanted
        };
        self.append_with(copy).map(drop)
    }

    /// The same without a copy: `encode` writes whole messages to the start of the room it is
    /// given and answers how long they are.
    pub fn append_with(
        &mut self,
        encode: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, WriteError> {
        self.owned()?;
        let room = self.rings.room();
        let end = self.rings.positions().tx_appended;
        let wanted = encode(self.rings.area_mut().tx.stretch_mut(end, room));
        if wanted > room {
            return Err(AppendError::Full { wanted, room }.into());
        }
        self.rings.appended(self.rings.area().tx.stretch(end, wanted))?;
        Ok(wanted)
    }

    /// Hands the kernel what it takes; how much. `WouldBlock` when that is nothing.
    pub fn send(&mut self, socket: impl AsFd, now: Moment) -> io::Result<usize> {
        self.owned().map_err(io::Error::other)?;
        let at = self.rings.positions();
        let unsent = usize::try_from(at.unsent()).unwrap_or(usize::MAX);
        if unsent == 0 {
            return Ok(0);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let n =
            rustix::net::send(socket, self.rings.area().tx.stretch(at.tx_handed, unsent), flags)?;
        self.rings.handed(n, now).map_err(io::Error::other)?;
        Ok(n)
    }

    /// Gives the memory of empty rings back, so that a session that is quiet holds none of them.
    /// Nobody may want again what was appended so far ([`Self::appended_since`]).
    pub fn release(&mut self) -> io::Result<()> {
        self.owned().map_err(io::Error::other)?;
        let at = self.rings.positions();
        let layout = *self.rings.layout();
        let rings = [
            (layout.tx, at.tx_boundary == at.tx_appended, at.tx_appended),
            (layout.rx, at.rx_applied == at.rx_read, at.rx_read),
        ];
        for ((ring, empty, now), last) in rings.into_iter().zip(&mut self.released) {
            if empty && now.saturating_sub(*last) >= USED {
                *last = now;
                free(&self.file, ring)?;
            }
        }
        Ok(())
    }

    // --- from the peer

    /// How many bytes may be read now.
    #[must_use]
    pub fn space(&self) -> usize {
        self.rings.space()
    }

    /// Reads what is there; how much, zero at the peer's end of stream. `WouldBlock` when nothing
    /// is there, `StorageFull` when the ring has no space.
    pub fn recv(&mut self, socket: impl AsFd, now: Moment) -> io::Result<usize> {
        self.owned().map_err(io::Error::other)?;
        let space = self.rings.space();
        if space == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let at = self.rings.positions().rx_read;
        let into = self.rings.area_mut().rx.stretch_mut(at, space);
        let (n, _) = rustix::net::recv(socket, into, RecvFlags::DONTWAIT)?;
        self.rings.received(n, now);
        Ok(n)
    }

    /// What was received and is not applied yet; begins with a message.
    #[must_use]
    pub fn unapplied(&self) -> &[u8] {
        let at = self.rings.positions();
        let len = at.rx_read.saturating_sub(at.rx_applied);
        self.rings.area().rx.stretch(at.rx_applied, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// [`Self::unapplied`] is about to take effect.
    pub fn applying(&self) {
        self.rings.applying();
    }

    /// The journal is about to take effect once more: it may be what kills its reader, as well as a
    /// message may. How many speakers in a row have begun with it, this one among them; to be asked
    /// once.
    #[must_use]
    pub fn replaying(&self) -> u64 {
        self.rings.replaying()
    }

    /// It has taken effect.
    pub fn replayed(&self) {
        self.rings.replayed();
    }

    /// How many speakers in a row have died of the same messages; to be asked once.
    #[must_use]
    pub fn died_applying(&self) -> u64 {
        self.rings.died_applying()
    }

    /// The first `n` bytes of [`Self::unapplied`], whole messages, have taken effect.
    pub fn applied(&mut self, n: usize) -> Result<(), NoMessage> {
        let bytes = self.unapplied();
        let messages = bytes.get(..n).unwrap_or(bytes);
        if whole_messages(messages)? != n {
            return Err(NoMessage { at: n as u64 });
        }
        self.rings.applied(n);
        Ok(())
    }

    // --- the journal

    /// Opens the part of the file that is the speakers' own, for what they have advertised; empty
    /// when nothing was ever written there.
    pub fn journal(&self) -> io::Result<Journal<Mapping>> {
        let area = Mapping::new(self.file.as_fd(), self.rings.layout().journal)?;
        Ok(Journal::open(area))
    }

    /// Gives the memory back that the journal has written and no longer uses.
    pub fn trim(&self, journal: &Journal<Mapping>) -> io::Result<()> {
        let (from, len) = journal.unused();
        free(&self.file, Span { at: self.rings.layout().journal.at + from, len })
    }

    /// The messages that were appended from this position on, which must begin one: what the
    /// journal does not cover yet (see [`crate::journal`]). `None`: they are overwritten.
    #[must_use]
    pub fn appended_since(&self, position: u64) -> Option<&[u8]> {
        let len = self.positions().tx_appended.checked_sub(position)?;
        let len = usize::try_from(len).ok()?;
        self.rings.remembers(position).then(|| self.rings.area().tx.stretch(position, len))
    }
}

/// What lies there reads as zeros afterwards.
fn free(file: &OwnedFd, span: Span) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, span.at, span.len)?)
}
