//! The kernel's connection table: who of our addresses takes part in a flow, and forgetting the
//! flows of an address that was released.
//!
//! Messages are read in place; every length is checked against what is there.

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// NFNL_SUBSYS_CTNETLINK << 8, and its IPCTNL_MSG_CT_GET and _DELETE.
const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TIMEOUT: u16 = 7;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
/// Without the flags for nesting and byte order.
const TYPE: u16 = 0x3fff;

const MESSAGE_HEADER: usize = 16;
const NFGENMSG: usize = 4;
const BUFFER: usize = 64 * 1024;
/// A kernel that does not answer at all; slow answers come in pieces.
const SILENCE: Duration = Duration::from_secs(5);

/// One entry of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) id: u32,
    /// Until the kernel forgets it, if nothing more is heard.
    pub(crate) left: Duration,
    /// Sources and destinations of both directions.
    pub(crate) addresses: Vec<IpAddr>,
    /// What to send to have it removed.
    removal: Vec<u8>,
}

/// Every entry that has one of the addresses `wanted` picks. Blocks while the table is read.
pub(crate) fn flows(wanted: impl Fn(IpAddr) -> bool) -> io::Result<Vec<Flow>> {
    let socket = open()?;
    socket.send(&message(GET, NLM_F_REQUEST | NLM_F_DUMP, 1, &[0; NFGENMSG]), 0)?;
    let mut flows = Vec::new();
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((kind, body)) = next_message(&mut rest) {
            match kind {
                NLMSG_DONE => return Ok(flows),
                NLMSG_ERROR => return result(body).map(|()| flows),
                _ => flows.extend(flow(body).filter(|f| f.addresses.iter().any(|a| wanted(*a)))),
            }
        }
    }
}

/// Removes every flow one of these addresses takes part in, in whichever direction, and says how
/// many there were. Blocks while the table is read.
pub(crate) fn forget(addresses: &HashSet<IpAddr>) -> io::Result<usize> {
    let flows = flows(|address| addresses.contains(&address))?;
    if flows.is_empty() {
        return Ok(0);
    }
    let socket = open()?;
    let mut removed = 0;
    let mut buffer = Vec::with_capacity(BUFFER);
    for flow in &flows {
        socket.send(&message(DELETE, NLM_F_REQUEST | NLM_F_ACK, 1, &flow.removal), 0)?;
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        let answer = next_message(&mut rest).map_or(Ok(()), |(_, body)| result(body));
        match answer {
            Ok(()) => removed += 1,
            // It has ended by itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
    Ok(socket)
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(MESSAGE_HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// Type and body of the next message; nothing at the end, or after one that is malformed.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*rest.get(4..)?.first_chunk()?);
    let body = rest.get(MESSAGE_HEADER..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body))
}

/// An error number, 0 or negative.
fn result(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)) {
        0.. => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
    }
}

/// The attributes of a message or nest: type, value, and the whole with its header.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & TYPE;
        let value = rest.get(4..length)?;
        let end = length.next_multiple_of(4).min(rest.len());
        let (whole, tail) = rest.split_at(end);
        rest = tail;
        Some((kind, value, whole))
    })
}

fn flow(body: &[u8]) -> Option<Flow> {
    let (header, rest) = body.split_at_checked(NFGENMSG)?;
    let mut flow = Flow {
        id: 0,
        left: Duration::ZERO,
        addresses: Vec::with_capacity(4),
        removal: header.to_vec(),
    };
    for (kind, value, whole) in attributes(rest) {
        let number = || value.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        match kind {
            CTA_TUPLE_ORIG | CTA_TUPLE_REPLY => flow.addresses.extend(tuple(value)),
            CTA_TIMEOUT => flow.left = Duration::from_secs(number().into()),
            CTA_ID => flow.id = number(),
            _ => {}
        }
        if [CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE].contains(&kind) {
            flow.removal.extend(whole);
        }
    }
    Some(flow)
}

/// CTA_IP_V4_SRC, _DST, CTA_IP_V6_SRC, _DST.
fn tuple(bytes: &[u8]) -> impl Iterator<Item = IpAddr> {
    let nests = attributes(bytes).filter(|(kind, ..)| *kind == CTA_TUPLE_IP);
    nests.flat_map(|(_, nest, _)| attributes(nest)).filter_map(|(kind, value, _)| match kind {
        1 | 2 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        3 | 4 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_flow_is_read_with_the_addresses_of_both_directions() {
        let ip = |source: [u8; 4], destination: [u8; 4]| {
            let nest = [attribute(1, &source), attribute(2, &destination)].concat();
            attribute(0x8000 | CTA_TUPLE_IP, &nest)
        };
        let orig = attribute(0x8000 | CTA_TUPLE_ORIG, &ip([10, 0, 0, 2], [192, 0, 2, 1]));
        let zone = attribute(CTA_ZONE, &7u16.to_be_bytes());
        let id = attribute(CTA_ID, &77u32.to_be_bytes());
        let body = [
            vec![2, 0, 0, 0],
            orig.clone(),
            attribute(0x8000 | CTA_TUPLE_REPLY, &ip([10, 0, 0, 9], [10, 0, 0, 2])),
            attribute(CTA_TIMEOUT, &120u32.to_be_bytes()),
            id.clone(),
            zone.clone(),
        ]
        .concat();
        let flow = flow(&body).unwrap();
        assert_eq!((flow.id, flow.left), (77, Duration::from_secs(120)));
        let texts: Vec<_> = flow.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.2", "192.0.2.1", "10.0.0.9", "10.0.0.2"]);
        assert_eq!(flow.removal, [vec![2, 0, 0, 0], orig, id, zone].concat());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut rest = bytes.as_slice();
            while let Some((_, body)) = next_message(&mut rest) {
                let _ = flow(body);
            }
            let _ = flow(&bytes);
        }
    }
}
