//! Asking the kernel for a whole table, and listening to what it announces.

use super::wire::{self, Malformed, Message};
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::time::Duration;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// What the kernel fills at most in one datagram of a dump.
const BUFFER: usize = 64 * 1024;
/// A kernel that does not answer at all; slow answers come in pieces, each well below this.
const SILENCE: Duration = Duration::from_secs(5);
/// A table that changes while it is dumped is dumped again, so often.
const ATTEMPTS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    #[error("the kernel refuses the request")]
    Refused(#[source] io::Error),
    #[error("cannot read from netlink")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("cannot join netlink group {group}")]
    Join { group: u32, source: io::Error },
}

/// A request for a dump: of which netlink family, of which type, with which header after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dump<'a> {
    pub(crate) protocol: isize,
    pub(crate) kind: u16,
    pub(crate) header: &'a [u8],
}

impl Dump<'_> {
    /// Hands every message of the dump to `each`, after `reset` whenever it starts over because
    /// the table changed meanwhile. After the last attempt what came is taken as it is: counts of
    /// a table that never rests are never exact.
    pub(crate) fn run<T: Default>(
        &self,
        mut each: impl FnMut(&mut T, Message<'_>) -> Result<(), Malformed>,
    ) -> Result<T, NetlinkError> {
        let socket = self.open()?;
        let mut result = T::default();
        for sequence in 1..=ATTEMPTS {
            result = T::default();
            let sequence = u32::try_from(sequence).unwrap_or_default();
            if self.once(&socket, sequence, &mut |m| each(&mut result, m))? {
                break;
            }
        }
        Ok(result)
    }

    fn open(&self) -> Result<Socket, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(self.protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            if self.protocol == netlink_sys::protocols::NETLINK_ROUTE {
                // The kernel then filters by the header, and says so when it cannot.
                socket.set_netlink_get_strict_chk(true)?;
            }
            use rustix::net::sockopt::{Timeout, set_socket_timeout};
            set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
            Ok(socket)
        };
        open().map_err(NetlinkError::Open)
    }

    /// True: the table stood still meanwhile.
    fn once(
        &self,
        socket: &Socket,
        sequence: u32,
        each: &mut dyn FnMut(Message<'_>) -> Result<(), Malformed>,
    ) -> Result<bool, NetlinkError> {
        let request = wire::request(self.kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, self.header);
        socket.send(&request, 0).map_err(NetlinkError::Read)?;
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut consistent = true;
        loop {
            buffer.clear();
            socket.recv(&mut buffer, 0).map_err(NetlinkError::Read)?;
            for message in wire::messages(&buffer) {
                let message = message?;
                if message.sequence != sequence {
                    continue; // the tail of an attempt given up
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return done(&message).map(|()| consistent),
                    NLMSG_ERROR => return done(&message).map(|()| consistent),
                    _ => each(message)?,
                }
            }
        }
    }
}

/// Both ends of a dump carry an error number, 0 or negative.
fn done(message: &Message<'_>) -> Result<(), NetlinkError> {
    match wire::u32_at(message.body, 0).unwrap_or_default().cast_signed() {
        0.. => Ok(()),
        errno => Err(NetlinkError::Refused(io::Error::from_raw_os_error(errno.saturating_neg()))),
    }
}

/// A socket that hears `groups`, with room for `buffer` bytes the reader is late with.
pub(crate) fn listen(
    protocol: isize,
    groups: &[u32],
    buffer: usize,
) -> Result<Socket, NetlinkError> {
    let mut socket = Socket::new(protocol).map_err(NetlinkError::Open)?;
    socket.bind_auto().map_err(NetlinkError::Open)?;
    use rustix::net::sockopt;
    // Beyond net.core.rmem_max with CAP_NET_ADMIN; what the limit gives without it.
    if sockopt::set_socket_recv_buffer_size_force(&socket, buffer).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, buffer)
            .map_err(|e| NetlinkError::Open(e.into()))?;
    }
    for group in groups {
        let join = socket.add_membership(*group);
        join.map_err(|source| NetlinkError::Join { group: *group, source })?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &[u8]) -> Message<'_> {
        Message { kind: NLMSG_ERROR, flags: 0, sequence: 1, body }
    }

    #[test]
    fn the_kernels_error_number_becomes_an_error() {
        let error = done(&message(&(-1i32).to_ne_bytes())).unwrap_err();
        assert!(matches!(error, NetlinkError::Refused(e) if e.raw_os_error() == Some(1)));
        assert!(done(&message(&0i32.to_ne_bytes())).is_ok());
        assert!(done(&message(&[])).is_ok());
        assert!(done(&message(&i32::MIN.to_ne_bytes())).is_err());
    }
}
