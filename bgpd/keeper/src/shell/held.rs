//! One held session: its descriptors, and what is done with them.

use crate::orphan::{Seen, Why};
use crate::os::memory::{self, Mapping, MemoryError};
use crate::os::{clock, tcp};
use crate::rings::{KEEPER, Moment, Rings};
use crate::snapshot::{Snapshot, SnapshotError, Timing};
use rustix::net::{SendFlags, Shutdown};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

#[derive(Debug)]
pub(super) struct Held {
    pub(super) socket: OwnedFd,
    pub(super) file: OwnedFd,
    pub(super) peer: String,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// By this keeper.
    pub(super) since: Moment,
    pub(super) timing: Timing,
    rings: Rings<Mapping>,
    /// The kernel took no more when we last tried.
    pub(super) blocked: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HoldError {
    #[error("a session comes with two descriptors, not {0}")]
    Descriptors(usize),
    #[error("its socket: {0}")]
    Socket(io::Error),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("its positions contradict each other")]
    Positions,
    #[error("it belongs to generation {0}")]
    Owner(u64),
}

impl Held {
    /// Checks everything that can be checked while a speaker may be writing.
    pub(super) fn open(fds: Vec<OwnedFd>) -> Result<Self, HoldError> {
        let count = fds.len();
        let Ok([socket, file]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(HoldError::Descriptors(count));
        };
        tcp::check(&socket).map_err(HoldError::Socket)?;
        let (area, layout) = memory::open(file.as_fd())?;
        let rings = Rings::open(area, layout.total()).map_err(MemoryError::from)?;
        let Snapshot { peer, timing, local, remote, .. } = rings.snapshot()?;
        if !rings.positions().sound() {
            return Err(HoldError::Positions);
        }
        let since = clock::now();
        Ok(Self { socket, file, peer, local, remote, since, timing, rings, blocked: false })
    }

    pub(super) fn check_owner(&self, generation: u64) -> Result<(), HoldError> {
        match self.rings.owner() {
            owner if owner == generation => Ok(()),
            owner => Err(HoldError::Owner(owner)),
        }
    }

    /// Of its file, as far as it was ever touched.
    pub(super) fn memory(&self) -> u64 {
        let blocks = rustix::fs::fstat(&self.file).map_or(0, |stat| stat.st_blocks);
        u64::try_from(blocks).unwrap_or(0) * 512
    }

    pub(super) fn owner(&self) -> (u64, Moment) {
        (self.rings.owner(), self.rings.orphaned())
    }

    /// From now on only this owner writes. The keeper brings the positions up to date first.
    pub(super) fn own(&mut self, owner: u64, since: Moment) -> Result<(), Why> {
        self.blocked = false;
        self.rings.set_owner(owner, since);
        if owner != KEEPER {
            return Ok(());
        }
        let kernel = tcp::measure(&self.socket).map_err(|_| Why::Unusable)?;
        if !kernel.established {
            return Err(Why::Closed);
        }
        self.rings.resume(&kernel).map(drop).map_err(Why::Desync)
    }

    pub(super) fn look(&self) -> Result<Seen, Why> {
        let kernel = tcp::measure(&self.socket).map_err(|_| Why::Unusable)?;
        Ok(Seen { kernel, at: self.rings.positions(), blocked: self.blocked })
    }

    pub(super) fn keepalive(&mut self, now: Moment) -> Result<Seen, Why> {
        self.rings.append_keepalive().map_err(|_| Why::Unusable)?;
        self.send(now)
    }

    /// Hands over what the kernel takes.
    pub(super) fn send(&mut self, now: Moment) -> Result<Seen, Why> {
        let mut bytes = [0; 16384];
        loop {
            let n = self.rings.peek_unsent(&mut bytes);
            if n == 0 {
                break;
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::send(&self.socket, &bytes[..n], flags) {
                Ok(taken) => {
                    self.rings.handed(taken, now).map_err(|e| Why::Desync(e.into()))?;
                }
                Err(rustix::io::Errno::AGAIN) => {
                    self.blocked = true;
                    break;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(Why::Closed),
            }
        }
        self.look()
    }

    /// Closes it so that the peer hears of it at once, and no NOTIFICATION tells it to forget us.
    ///
    /// An end of stream would queue behind what the peer does not take: then it is a reset.
    pub(super) fn let_go(self) {
        let waiting = tcp::measure(&self.socket).map_or(true, |kernel| kernel.unacked > 0);
        if waiting || self.rings.positions().unsent() > 0 {
            self.abort();
        }
    }

    pub(super) fn shut_down(self) {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    pub(super) fn abort(self) {
        let _ = tcp::reset_on_close(&self.socket);
    }
}
