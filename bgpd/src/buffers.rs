//! What is on its way from and to one peer.
//!
//! Shared buffers lie in memory that the keeper can hold, so the session can outlive this process.
//! Private ones are for sessions that cannot, or need not.

use bgp_core::wire::{Context, ripe};
use keeper::client::{RingsError, SessionRings};
use keeper::layout::Sizes;
use keeper::os::clock;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What is read at once.
const CHUNK: usize = 64 * 1024;
/// How much may wait to be sent.
const OUT: usize = 128 * 1024;
/// Only pages that were written take memory. Each half of the log has room for two full tables.
const SIZES: Sizes = Sizes { tx: OUT as u64, rx: CHUNK as u64, journal: 256 << 20 };

#[derive(Debug)]
pub(crate) enum Buffers {
    Shared(Box<SessionRings>),
    Private(Private),
}

#[derive(Debug, Default)]
pub(crate) struct Private {
    /// To the peer; before `sent` the kernel has it.
    out: Vec<u8>,
    sent: usize,
    /// From the peer, not applied yet.
    received: Vec<u8>,
}

impl Buffers {
    pub(crate) fn shared(socket: impl AsFd, generation: u64) -> Result<Self, RingsError> {
        Ok(Self::Shared(Box::new(SessionRings::create(socket, SIZES, generation)?)))
    }

    pub(crate) fn private() -> Self {
        Self::Private(Private::default())
    }

    pub(crate) const fn rings(&self) -> Option<&SessionRings> {
        match self {
            Self::Shared(rings) => Some(rings),
            Self::Private(_) => None,
        }
    }

    /// How many octets may be appended.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Shared(rings) => rings.room(),
            Self::Private(own) => OUT.saturating_sub(own.out.len() - own.sent),
        }
    }

    /// How many octets the kernel has not taken yet.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            Self::Shared(rings) => rings.unsent(),
            Self::Private(own) => own.out.len() - own.sent,
        }
    }

    /// Whole messages, at most [`room`](Self::room).
    pub(crate) fn append(&mut self, messages: &[u8]) -> io::Result<()> {
        match self {
            Self::Shared(rings) => rings.append(messages).map_err(io::Error::other),
            Self::Private(own) => {
                own.out.extend_from_slice(messages);
                Ok(())
            }
        }
    }

    /// Hands the kernel what it takes.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.unsent() > 0 {
            let sent = match self {
                Self::Shared(rings) => rings.send(socket, clock::now()),
                Self::Private(own) => own.send(socket),
            };
            match sent {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Nothing waits in either direction, and nobody asks for what was appended any more.
    pub(crate) fn rest(&mut self) {
        if let Self::Shared(rings) = self {
            // Without it the memory is only used longer.
            let _ = rings.release();
        }
    }

    /// Reads what is there, at most a chunk; how much, zero at the peer's end of stream.
    pub(crate) fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        match self {
            Self::Shared(rings) => rings.recv(socket, clock::now()),
            Self::Private(own) => own.recv(socket),
        }
    }

    /// Received and not applied, as far as it can be now, in a session that reads it so.
    pub(crate) fn messages(&self, context: &Context) -> &[u8] {
        let unapplied = match self {
            Self::Shared(rings) => rings.unapplied(),
            Self::Private(own) => &own.received,
        };
        unapplied.get(..ripe(unapplied, context)).unwrap_or_default()
    }

    /// [`messages`](Self::messages) are about to take effect.
    pub(crate) fn applying(&self) {
        if let Self::Shared(rings) = self {
            rings.applying();
        }
    }

    /// What was said before has taken effect.
    pub(crate) fn replayed(&self) {
        if let Self::Shared(rings) = self {
            rings.replayed();
        }
    }

    /// The first `n` octets of [`messages`](Self::messages) have taken effect.
    pub(crate) fn applied(&mut self, n: usize) {
        match self {
            // What is no message ends the session.
            Self::Shared(rings) => drop(rings.applied(n)),
            Self::Private(own) => own.applied(n),
        }
    }

    /// What the kernel has not taken yet: to be sent outside of these buffers, and no more in them.
    pub(crate) fn take_unsent(self) -> Vec<u8> {
        match self {
            Self::Shared(rings) => {
                let positions = rings.positions();
                let from_boundary = rings.appended_since(positions.tx_boundary);
                let begun = positions.tx_handed.saturating_sub(positions.tx_boundary);
                let begun = usize::try_from(begun).unwrap_or(usize::MAX);
                from_boundary.and_then(|b| b.get(begun..)).unwrap_or_default().to_vec()
            }
            Self::Private(mut own) => own.out.split_off(own.sent),
        }
    }
}

impl Private {
    fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let unsent = self.out.get(self.sent..).unwrap_or_default();
        let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
        let n = rustix::net::send(socket, unsent, flags)?;
        self.sent += n;
        if self.sent == self.out.len() {
            // A thousand idle peers hold no buffers.
            self.out = Vec::new();
            self.sent = 0;
        }
        Ok(n)
    }

    fn recv(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received.reserve(CHUNK);
        let spare = rustix::buffer::spare_capacity(&mut self.received);
        Ok(rustix::net::recv(socket, spare, rustix::net::RecvFlags::DONTWAIT)?.0)
    }

    fn applied(&mut self, n: usize) {
        if n >= self.received.len() {
            self.received = Vec::new();
        } else {
            self.received.drain(..n);
        }
    }
}
