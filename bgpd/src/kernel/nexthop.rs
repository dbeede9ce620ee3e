//! Nexthop messages of rtnetlink (linux/nexthop.h): written and read by hand, pure.
//!
//! A gate is one way out: a gateway on an interface. A group is a set of gates, named by their ids;
//! routes refer to groups.

use super::message::{
    Message, PROTOCOL_BGP, attributes, close, narrow, put_addr, put_attr, put_header, read_addr,
    read_u32,
};
use bgp_core::hop_weight::{self, HopWeight};
use std::net::IpAddr;

pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
const NHMSG: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// A gateway, and the interface that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Gate {
    pub(super) via: IpAddr,
    pub(super) dev: u32,
}

/// A gate in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Member {
    pub(super) gate: u32,
    pub(super) weight: HopWeight,
}

/// What an object of ours is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Gate(Gate),
    /// Ascending.
    Group(Vec<Member>),
    /// Something that is not ours to know.
    Other,
}

/// An object as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nexthop {
    pub(super) id: u32,
    pub(super) protocol: u8,
    pub(super) body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Refused with EEXIST when the id is taken.
    Create,
    /// In place; all routes over it follow at once. Refused with ENOENT when there is none.
    Replace,
    Delete,
}

/// What to do to one object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectOp {
    pub(super) id: u32,
    pub(super) doing: Doing,
    pub(super) body: Body,
}

pub(super) fn put_nexthop(out: &mut Vec<u8>, seq: u32, op: &ObjectOp) {
    let (kind, extra) = match op.doing {
        Doing::Create => (RTM_NEWNEXTHOP, libc::NLM_F_CREATE | libc::NLM_F_EXCL),
        Doing::Replace => (RTM_NEWNEXTHOP, libc::NLM_F_REPLACE),
        Doing::Delete => (RTM_DELNEXTHOP, 0),
    };
    let start = put_header(out, kind, libc::NLM_F_REQUEST | extra, seq);
    let body = Some(&op.body).filter(|_| op.doing != Doing::Delete);
    let family = match body {
        Some(Body::Gate(Gate { via: IpAddr::V4(_), .. })) => libc::AF_INET,
        Some(Body::Gate(_)) => libc::AF_INET6,
        _ => libc::AF_UNSPEC,
    };
    let protocol = if body.is_some() { PROTOCOL_BGP } else { 0 };
    out.extend([narrow(family), 0, protocol, 0, 0, 0, 0, 0]);
    put_attr(out, NHA_ID, |o| o.extend(op.id.to_ne_bytes()));
    match body {
        Some(Body::Gate(gate)) => {
            put_attr(out, NHA_OIF, |o| o.extend(gate.dev.to_ne_bytes()));
            put_attr(out, NHA_GATEWAY, |o| put_addr(o, gate.via));
        }
        Some(Body::Group(members)) => put_attr(out, NHA_GROUP, |o| put_group(o, members)),
        Some(Body::Other) | None => {}
    }
    close(out, start);
}

/// nexthop_grp: id, weight - 1, and three octets that are zero.
fn put_group(out: &mut Vec<u8>, members: &[Member]) {
    for Member { gate, weight } in members {
        out.extend(gate.to_ne_bytes());
        out.extend([weight.number() - 1, 0, 0, 0]);
    }
}

/// Asks for every object.
pub(super) fn nexthop_dump(seq: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let start = put_header(&mut out, RTM_GETNEXTHOP, flags, seq);
    out.extend([0; NHMSG]);
    close(&mut out, start);
    out
}

/// The object that this message is about.
pub(super) fn read_nexthop(message: &Message<'_>) -> Option<Nexthop> {
    if message.kind != RTM_NEWNEXTHOP && message.kind != RTM_DELNEXTHOP {
        return None;
    }
    let (head, attrs) = message.body.split_at_checked(NHMSG)?;
    let (mut id, mut dev, mut via, mut group) = (None, None, None, None);
    for (attr, value) in attributes(attrs) {
        match attr {
            NHA_ID => id = read_u32(value),
            NHA_OIF => dev = read_u32(value),
            NHA_GATEWAY => via = read_addr(value),
            NHA_GROUP => group = Some(read_group(value)),
            _ => {}
        }
    }
    let body = match (group, via, dev) {
        (Some(members), ..) => Body::Group(members),
        (None, Some(via), Some(dev)) => Body::Gate(Gate { via, dev }),
        _ => Body::Other,
    };
    Some(Nexthop { id: id?, protocol: *head.get(2)?, body })
}

fn read_group(value: &[u8]) -> Vec<Member> {
    let member = |entry: &[u8]| {
        let weight = HopWeight::new(u32::from(*entry.get(4)?) + 1);
        Some(Member { gate: read_u32(entry)?, weight })
    };
    let mut members: Vec<Member> = value.chunks_exact(8).filter_map(member).collect();
    hop_weight::reduce(&mut members, |member| &mut member.weight);
    members.sort_unstable();
    members
}

#[cfg(test)]
mod tests {
    use super::super::message::messages;
    use super::*;
    use proptest::prelude::*;

    fn read_back(op: &ObjectOp) -> Nexthop {
        let mut out = Vec::new();
        put_nexthop(&mut out, 9, op);
        let all: Vec<_> = messages(&out).collect();
        assert_eq!((all.len(), all[0].seq), (1, 9));
        read_nexthop(&all[0]).unwrap()
    }

    #[test]
    fn a_written_object_is_read_back() {
        let gate = |via: &str| Body::Gate(Gate { via: via.parse().unwrap(), dev: 3 });
        let member = |(gate, weight)| Member { gate, weight: HopWeight::new(weight) };
        let group = |all: [(u32, u32); 2]| Body::Group(all.map(member).to_vec());
        let groups = [group([(7, 1), (9, 1)]), group([(7, 2), (9, 255)])];
        for body in [gate("192.0.2.1"), gate("fe80::1")].into_iter().chain(groups) {
            let op = ObjectOp { id: 0x6000_0001, doing: Doing::Create, body: body.clone() };
            let nexthop = Nexthop { id: 0x6000_0001, protocol: PROTOCOL_BGP, body };
            assert_eq!(read_back(&op), nexthop);
        }
    }

    #[test]
    fn a_deletion_names_the_id_alone() {
        let op = ObjectOp { id: 7, doing: Doing::Delete, body: Body::Group(Vec::new()) };
        assert_eq!(read_back(&op), Nexthop { id: 7, protocol: 0, body: Body::Other });
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let message = Message { kind: RTM_NEWNEXTHOP, flags: 0, seq: 0, body: &body };
            let _ = read_nexthop(&message);
            let whole = [[0; NHMSG].as_slice(), &body].concat();
            let _ = read_nexthop(&Message { body: &whole, ..message });
        }
    }
}
