//! Two kinds of netlink socket: one that asks and waits for the answers, one that listens.

use super::message::{Message, Route, ask_for_ack, dump_request, messages};
use super::nexthop::{Nexthop, nexthop_dump, read_nexthop};
use crate::tcp::words;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::{SockFilter, SockRef};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The kernel makes dump datagrams as large as the reader's buffer, 32 KiB at most.
const BUFFER: usize = 64 * 1024;
/// Room for the ACKs of a batch, and for bursts of events.
const RECEIVE: usize = 4 * 1024 * 1024;

/// Sends requests and reads their answers, one exchange at a time.
pub(super) struct Requests {
    socket: Socket,
    port: u32,
    seq: u32,
    buffer: Vec<u8>,
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.set_netlink_get_strict_chk(true)?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        grow(&socket);
        Ok(Self { socket, port, seq: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// What the kernel writes as the cause of events that this socket's requests lead to.
    #[must_use]
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Numbers for `count` requests; answers to older ones are told apart by them.
    pub(super) fn numbers(&mut self, count: u32) -> u32 {
        if self.seq.checked_add(count).is_none() {
            self.seq = 0;
        }
        let first = self.seq + 1;
        self.seq += count;
        first
    }

    /// Sends the requests that begin at `starts` in one datagram, and says which of them, by place,
    /// the kernel has refused. It answers the last in any case, after all others.
    pub(super) fn batch(
        &mut self,
        bytes: &mut [u8],
        starts: &[usize],
        first: u32,
    ) -> io::Result<HashMap<usize, Refusal>> {
        let Some((last, start)) = starts.len().checked_sub(1).zip(starts.last()) else {
            return Ok(HashMap::new());
        };
        ask_for_ack(bytes, *start);
        self.socket.send_to(bytes, &kernel(), 0)?;
        let mut refused = HashMap::new();
        loop {
            receive(&self.socket, &mut self.buffer, 0)?;
            for message in messages(&self.buffer) {
                let place = message.seq.wrapping_sub(first) as usize;
                let Some((errno, words)) = message.verdict().filter(|_| place <= last) else {
                    continue;
                };
                if errno != 0 {
                    refused.insert(place, Refusal { errno, words });
                }
                if place == last {
                    return Ok(refused);
                }
            }
        }
    }

    /// Every nexthop object; `None`: this kernel knows of none.
    pub(super) fn nexthops(&mut self) -> io::Result<Option<Vec<Nexthop>>> {
        let seq = self.numbers(1);
        self.socket.send_to(&nexthop_dump(seq), &kernel(), 0)?;
        let mut seen = Vec::new();
        loop {
            receive(&self.socket, &mut self.buffer, 0)?;
            for message in messages(&self.buffer).filter(|m| m.seq == seq) {
                if let Some((libc::EOPNOTSUPP | libc::EINVAL, _)) = message.verdict() {
                    return Ok(None);
                }
                if ended(&message)? {
                    return Ok(Some(seen));
                }
                seen.extend(read_nexthop(&message));
            }
        }
    }

    /// Every route of both families in `table` (0: any), of one protocol or (0) of any.
    pub(super) fn dump(
        &mut self,
        table: u32,
        protocol: u8,
        mut see: impl FnMut(Route),
    ) -> io::Result<()> {
        for ipv6 in [false, true] {
            self.dump_family(ipv6, table, protocol, &mut see)?;
        }
        Ok(())
    }

    fn dump_family(
        &mut self,
        ipv6: bool,
        table: u32,
        protocol: u8,
        see: &mut impl FnMut(Route),
    ) -> io::Result<()> {
        let seq = self.numbers(1);
        self.socket.send_to(&dump_request(seq, ipv6, table, protocol), &kernel(), 0)?;
        loop {
            receive(&self.socket, &mut self.buffer, 0)?;
            for message in messages(&self.buffer).filter(|m| m.seq == seq) {
                if ended(&message)? {
                    return Ok(());
                }
                // Kernels that filter less strictly also send cached and other tables' routes.
                let wanted = |r: &Route| {
                    [0, r.table].contains(&table) && [0, r.protocol].contains(&protocol)
                };
                message.route().filter(wanted).into_iter().for_each(&mut *see);
            }
        }
    }
}

/// Whether this message closes a dump; a dump of a table that does not exist yet is empty.
fn ended(message: &Message<'_>) -> io::Result<bool> {
    if i32::from(message.kind) == libc::NLMSG_DONE {
        return Ok(true);
    }
    match message.verdict() {
        None => Ok(false),
        Some((0 | libc::ENOENT, _)) => Ok(true),
        Some((errno, _)) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Why the kernel did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: i32,
    pub(super) words: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.words {
            Some(words) => f.write_str(words),
            None => f.write_str(&words(&io::Error::from_raw_os_error(self.errno))),
        }
    }
}

/// Hears what changes in the kernel's tables, but not what `deaf_to` has asked for itself.
pub(super) struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    pub(super) fn open(groups: &[u32], deaf_to: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        grow(&socket);
        SockRef::from(&socket).attach_filter(&unless_port(deaf_to))?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    pub(super) fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// The next datagram's messages, or `None` when there is none for now. ENOBUFS tells that
    /// some are lost.
    pub(super) fn next(&mut self) -> io::Result<Option<impl Iterator<Item = Message<'_>>>> {
        match receive(&self.socket, &mut self.buffer, 0) {
            Ok(()) => Ok(Some(messages(&self.buffer))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn kernel() -> SocketAddr {
    SocketAddr::new(0, 0)
}

/// As root the limit of `net.core.rmem_max` does not hold; without, the default has to do.
fn grow(socket: &Socket) {
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE).is_err() {
        let _ = SockRef::from(socket).set_recv_buffer_size(RECEIVE);
    }
}

fn receive(socket: &Socket, buffer: &mut Vec<u8>, flags: i32) -> io::Result<()> {
    loop {
        buffer.clear();
        match socket.recv_from(buffer, flags) {
            // Only the kernel is believed.
            Ok((_, from)) if from.port_number() == 0 => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Drops messages whose sender (`nlmsg_pid`, at octet 12) is `port`: a hundred thousand echoes of
/// our own routes would cost more than installing them.
fn unless_port(port: u32) -> [SockFilter; 4] {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    [
        SockFilter::new(LOAD_WORD, 0, 0, 12),
        // BPF loads in network byte order what netlink writes in the host's.
        SockFilter::new(JUMP_EQUAL, 0, 1, port.to_be()),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}
