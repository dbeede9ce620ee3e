//! Route messages of rtnetlink, written and read by hand: pure, no socket.
//!
//! Only what a FIB of unicast routes and a list of blackholes need. Everything that comes from the
//! kernel is read through slices that answer `None` when they are short.

use bgp_core::hop_weight::{self, HopWeight};
use bgp_core::types::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Routes that bgpd has installed (`/etc/iproute2/rt_protos.d/mainstay.conf`).
pub const PROTOCOL_BGP: u8 = 96;
/// Blackhole routes of the address blocks that ipamd holds.
pub const PROTOCOL_IPAM: u8 = 97;
pub const TABLE_MAIN: u32 = 254;

const HEADER: usize = 16;
const RTMSG: usize = 12;
/// linux/rtnetlink.h
const RTA_NH_ID: u16 = 30;
/// linux/rtnetlink.h
const RTNH_F_DEAD: u8 = 1;
const RTNH_F_ONLINK: u8 = 4;

/// One way out of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    pub via: IpAddr,
    /// The interface: always in what the kernel says, else only beside a link-local address.
    pub dev: Option<u32>,
    /// Beside the others of a route.
    pub weight: HopWeight,
}

impl Hop {
    #[must_use]
    pub const fn new(via: IpAddr, dev: Option<u32>) -> Self {
        Self { via, dev, weight: HopWeight::ONE }
    }

    /// Without the interface, where the address is enough: it may come back under another number.
    pub(super) fn portable(self) -> Self {
        let needs_dev = matches!(self.via, IpAddr::V6(a) if a.is_unicast_link_local());
        Self { dev: self.dev.filter(|_| needs_dev), ..self }
    }
}

/// A route as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub prefix: Prefix,
    pub table: u32,
    pub protocol: u8,
    pub kind: u8,
    pub metric: u32,
    /// The next hop is taken for reachable although no address says so: into a tunnel, mostly.
    pub onlink: bool,
    /// Sorted. Empty when there is no gateway in it.
    pub hops: Vec<Hop>,
    /// The nexthop object that it leads to.
    pub object: Option<u32>,
    /// The interface that it ends on, when there is no gateway in it.
    pub dev: Option<u32>,
}

impl Route {
    /// Whether it drops what it matches: blackhole, unreachable or prohibit.
    #[must_use]
    pub(super) fn is_reject(&self) -> bool {
        [libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT].contains(&self.kind)
    }
}

/// How a route of ours leads out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Each route has its next hops in itself.
    Hops(Arc<[Hop]>),
    /// A nexthop object, shared by many routes.
    Object(u32),
}

/// What to do to one route of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Refused with EEXIST when a route of that prefix, table and metric is there already.
    Add,
    /// In place of the one of that prefix, table and metric.
    Replace,
    Delete,
}

/// The message that does `verb` to the route of this protocol, which is 96 unless it is deleted.
pub(super) fn put_route(
    out: &mut Vec<u8>,
    seq: u32,
    verb: Verb,
    (prefix, table, metric, protocol): (Prefix, u32, u32, u8),
    way: &Way,
) {
    let (kind, extra) = match verb {
        Verb::Add => (libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL),
        Verb::Replace => (libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE),
        Verb::Delete => (libc::RTM_DELROUTE, 0),
    };
    let start = put_header(out, kind, libc::NLM_F_REQUEST | extra, seq);
    let scope = if verb == Verb::Delete { libc::RT_SCOPE_NOWHERE } else { libc::RT_SCOPE_UNIVERSE };
    let route_type = if verb == Verb::Delete { libc::RTN_UNSPEC } else { libc::RTN_UNICAST };
    put_rtmsg(out, &prefix, table, [protocol, scope, route_type]);
    put_attr(out, libc::RTA_DST, |o| put_addr(o, prefix.addr()));
    put_attr(out, libc::RTA_TABLE, |o| o.extend(table.to_ne_bytes()));
    put_attr(out, libc::RTA_PRIORITY, |o| o.extend(metric.to_ne_bytes()));
    match way {
        _ if verb == Verb::Delete => {}
        Way::Object(id) => put_attr(out, RTA_NH_ID, |o| o.extend(id.to_ne_bytes())),
        Way::Hops(hops) => put_hops(out, prefix, hops),
    }
    close(out, start);
}

fn put_hops(out: &mut Vec<u8>, prefix: Prefix, hops: &[Hop]) {
    let [hop] = hops else {
        return put_attr(out, libc::RTA_MULTIPATH, |o| put_multipath(o, prefix, hops));
    };
    put_gateway(out, prefix, hop.via);
    if let Some(dev) = hop.dev {
        put_attr(out, libc::RTA_OIF, |o| o.extend(dev.to_ne_bytes()));
    }
}

/// Asks for an answer to the message that begins at `start`, also if all is well.
pub(super) fn ask_for_ack(bytes: &mut [u8], start: usize) {
    let Some(field) = bytes.get_mut(start + 6..start + 8) else { return };
    let flags = u16_at(field, 0).unwrap_or_default() | narrow::<u16, _>(libc::NLM_F_ACK);
    field.copy_from_slice(&flags.to_ne_bytes());
}

/// Asks for every route of one family, table and protocol (0: any). Needs a socket with strict
/// checking: others are sent everything.
#[must_use]
pub(super) fn dump_request(seq: u32, ipv6: bool, table: u32, protocol: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let start =
        put_header(&mut out, libc::RTM_GETROUTE, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, seq);
    let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    out.extend([narrow(family), 0, 0, 0, 0, protocol, 0, 0, 0, 0, 0, 0]);
    put_attr(&mut out, libc::RTA_TABLE, |o| o.extend(table.to_ne_bytes()));
    close(&mut out, start);
    out
}

pub(super) fn put_header(out: &mut Vec<u8>, kind: u16, flags: i32, seq: u32) -> usize {
    let start = out.len();
    out.extend(0u32.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(narrow::<u16, _>(flags).to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    start
}

fn put_rtmsg(out: &mut Vec<u8>, prefix: &Prefix, table: u32, last: [u8; 3]) {
    let family = if prefix.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // A table above 255 stands in RTA_TABLE alone.
    let table = u8::try_from(table).unwrap_or(libc::RT_TABLE_COMPAT);
    out.extend([narrow(family), prefix.len(), 0, 0, table]);
    out.extend(last);
    out.extend(0u32.to_ne_bytes());
}

fn put_multipath(out: &mut Vec<u8>, prefix: Prefix, hops: &[Hop]) {
    for hop in hops {
        let start = out.len();
        // rtnexthop: length, flags, hops (weight - 1), interface.
        out.extend([0, 0, 0, hop.weight.number() - 1]);
        out.extend(hop.dev.unwrap_or(0).to_ne_bytes());
        put_gateway(out, prefix, hop.via);
        patch_len(out, start);
    }
}

fn put_gateway(out: &mut Vec<u8>, prefix: Prefix, via: IpAddr) {
    if prefix.is_ipv4() == via.is_ipv4() {
        put_attr(out, libc::RTA_GATEWAY, |o| put_addr(o, via));
    } else {
        put_attr(out, libc::RTA_VIA, |o| {
            let family = if via.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
            o.extend(narrow::<u16, _>(family).to_ne_bytes());
            put_addr(o, via);
        });
    }
}

pub(super) fn put_attr(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 2]);
    out.extend(kind.to_ne_bytes());
    body(out);
    patch_len(out, start);
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
}

pub(super) fn put_addr(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(a) => out.extend(a.octets()),
        IpAddr::V6(a) => out.extend(a.octets()),
    }
}

/// Writes how long the attribute or next hop that begins at `start` has become.
fn patch_len(out: &mut [u8], start: usize) {
    let len = narrow::<u16, _>(out.len() - start);
    if let Some(field) = out.get_mut(start..start + 2) {
        field.copy_from_slice(&len.to_ne_bytes());
    }
}

pub(super) fn close(out: &mut [u8], start: usize) {
    let len = narrow::<u32, _>(out.len() - start);
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&len.to_ne_bytes());
    }
}

/// For constants and lengths of our own, which fit.
pub(super) fn narrow<T: TryFrom<V> + Default, V>(value: V) -> T {
    T::try_from(value).unwrap_or_default()
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub body: &'a [u8],
}

impl Message<'_> {
    /// What an ACK or an error says: 0 or an errno, and the kernel's words for it.
    #[must_use]
    pub(super) fn verdict(&self) -> Option<(i32, Option<String>)> {
        if self.kind != narrow::<u16, _>(libc::NLMSG_ERROR) {
            return None;
        }
        let errno = -i32::from_ne_bytes(*self.body.first_chunk()?);
        let capped = i32::from(self.flags) & libc::NLM_F_CAPPED != 0;
        let request = u32::from_ne_bytes(*self.body.get(4..)?.first_chunk()?) as usize;
        let skip = if capped || errno == 0 { 4 + HEADER } else { 4 + align(request) };
        let words = self
            .body
            .get(skip..)
            .into_iter()
            .flat_map(attributes)
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        Some((errno, words))
    }

    /// The route this message is about.
    #[must_use]
    pub(super) fn route(&self) -> Option<Route> {
        if self.kind != libc::RTM_NEWROUTE && self.kind != libc::RTM_DELROUTE {
            return None;
        }
        read_route(self.body)
    }
}

const NLMSGERR_ATTR_MSG: u16 = 1;

/// The messages of one datagram; what is cut short is left out.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let whole = rest.get(..len)?;
        let message = Message {
            kind: u16_at(whole, 4)?,
            flags: u16_at(whole, 6)?,
            seq: u32::from_ne_bytes(*whole.get(8..)?.first_chunk()?),
            body: whole.get(HEADER..)?,
        };
        rest = rest.get(align(len)..).unwrap_or_default();
        Some(message)
    })
}

/// `None` for what is no IP route (multicast, MPLS) and for cached and local entries.
fn read_route(body: &[u8]) -> Option<Route> {
    let (head, attrs) = body.split_at_checked(RTMSG)?;
    let [family, len, _, _, table, protocol, _, kind, flags, ..] = *head else { return None };
    let ipv6 = i32::from(family) == libc::AF_INET6;
    if !ipv6 && i32::from(family) != libc::AF_INET {
        return None;
    }
    let mut dst = unspecified(ipv6);
    let mut route = Route {
        prefix: Prefix::host(dst),
        table: table.into(),
        protocol,
        kind,
        metric: 0,
        onlink: flags & RTNH_F_ONLINK != 0,
        hops: Vec::new(),
        object: None,
        dev: None,
    };
    let mut single = (None, None);
    for (attr, value) in attributes(attrs) {
        match attr {
            libc::RTA_DST => dst = read_addr(value)?,
            libc::RTA_TABLE => route.table = read_u32(value)?,
            libc::RTA_PRIORITY => route.metric = read_u32(value)?,
            RTA_NH_ID => route.object = Some(read_u32(value)?),
            libc::RTA_OIF => single.1 = Some(read_u32(value)?),
            libc::RTA_GATEWAY => single.0 = Some(read_addr(value)?),
            libc::RTA_VIA => single.0 = Some(read_addr(value.get(2..)?)?),
            libc::RTA_MULTIPATH => {
                route.onlink = next_hops(value).any(|hop| hop[2] & RTNH_F_ONLINK != 0);
                route.hops = read_multipath(value);
            }
            _ => {}
        }
    }
    match single {
        (Some(via), dev) => route.hops.push(Hop::new(via, dev)),
        (None, dev) => route.dev = dev,
    }
    hop_weight::reduce(&mut route.hops, |hop| &mut hop.weight);
    route.hops.sort_unstable();
    route.prefix = Prefix::containing(dst, len).ok()?;
    Some(route)
}

fn unspecified(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn read_multipath(value: &[u8]) -> Vec<Hop> {
    let hop = |whole: &[u8]| {
        let dev = read_u32(whole.get(4..8)?)?;
        let via = attributes(whole.get(8..)?).find_map(|(attr, value)| match attr {
            libc::RTA_GATEWAY => read_addr(value),
            libc::RTA_VIA => read_addr(value.get(2..)?),
            _ => None,
        })?;
        let weight = HopWeight::new(u32::from(*whole.get(3)?) + 1);
        Some(Hop { weight, ..Hop::new(via, Some(dev)) })
    };
    // What the kernel has marked dead carries nothing: its interface is down or gone.
    next_hops(value).filter(|whole| whole[2] & RTNH_F_DEAD == 0).filter_map(hop).collect()
}

/// Each rtnexthop with its attributes: 8 bytes at least.
fn next_hops(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?).max(8);
        let whole = rest.get(..len)?;
        rest = rest.get(align(len)..).unwrap_or_default();
        Some(whole)
    })
}

pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        // The two high bits are flags (nested, network byte order).
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..len)?;
        rest = rest.get(align(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn read_addr(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(*value.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*value.first_chunk::<16>()?)),
        _ => None,
    }
}

pub(super) fn read_u32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) const fn align(len: usize) -> usize {
    len.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hops(list: &[(&str, Option<u32>)]) -> Vec<Hop> {
        list.iter().map(|(via, dev)| Hop::new(via.parse().unwrap(), *dev)).collect()
    }

    fn written(verb: Verb, prefix: &str, table: u32, hops: &[Hop]) -> Vec<u8> {
        let mut out = Vec::new();
        let key = (prefix.parse().unwrap(), table, 20, PROTOCOL_BGP);
        put_route(&mut out, 7, verb, key, &Way::Hops(hops.into()));
        out
    }

    #[test]
    fn a_written_route_is_read_back_with_all_its_hops() {
        for (prefix, table, list) in [
            ("10.1.0.0/16", 254, hops(&[("192.0.2.1", None)])),
            ("0.0.0.0/0", 1000, hops(&[("192.0.2.1", Some(3)), ("192.0.2.2", Some(4))])),
            ("fd00:1::/64", 254, hops(&[("fe80::1", Some(3))])),
            ("10.2.0.0/24", 254, hops(&[("fe80::1", Some(3))])),
            ("10.2.0.0/24", 254, hops(&[("192.0.2.1", Some(1)), ("fe80::1", Some(3))])),
        ] {
            let bytes = written(Verb::Add, prefix, table, &list);
            let read: Vec<_> = messages(&bytes).collect();
            let route = read[0].route().unwrap();
            assert_eq!((read.len(), read[0].seq), (1, 7));
            assert_eq!(route.prefix.to_string(), prefix);
            assert_eq!((route.table, route.metric, route.protocol), (table, 20, PROTOCOL_BGP));
            assert_eq!(route.hops, list);
        }
    }

    #[test]
    fn the_weights_of_hops_are_read_as_they_were_written() {
        let mut list = hops(&[("192.0.2.1", Some(3)), ("192.0.2.2", Some(4))]);
        for (weights, read) in [([1, 255], [1, 255]), ([2, 5], [2, 5]), ([4, 2], [2, 1])] {
            list.iter_mut().zip(weights).for_each(|(hop, w)| hop.weight = HopWeight::new(w));
            let bytes = written(Verb::Add, "10.1.0.0/16", 254, &list);
            let route = messages(&bytes).next().unwrap().route().unwrap();
            assert_eq!(route.hops.iter().map(|h| h.weight.number()).collect::<Vec<_>>(), read);
        }
    }

    #[test]
    fn a_route_over_a_nexthop_object_names_the_object_alone() {
        let mut out = Vec::new();
        let key = ("10.1.0.0/16".parse().unwrap(), 254, 20, PROTOCOL_BGP);
        put_route(&mut out, 7, Verb::Replace, key, &Way::Object(0x6000_0001));
        ask_for_ack(&mut out, 0);
        let message = messages(&out).next().unwrap();
        assert_ne!(i32::from(message.flags) & libc::NLM_F_ACK, 0);
        let route = message.route().unwrap();
        assert_eq!((route.object, route.hops.len()), (Some(0x6000_0001), 0));
    }

    #[test]
    fn a_deletion_names_no_gateway_so_that_all_hops_go() {
        let list = hops(&[("fd00::1", None), ("fd00::2", None)]);
        let bytes = written(Verb::Delete, "fd00:1::/64", 254, &list);
        let route = messages(&bytes).next().unwrap().route().unwrap();
        assert!(route.hops.is_empty());
        assert_eq!(route.protocol, PROTOCOL_BGP);
    }

    #[test]
    fn an_error_is_read_with_the_words_of_the_kernel() {
        let mut body = (-libc::ENETUNREACH).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        put_attr(&mut body, NLMSGERR_ATTR_MSG, |o| o.extend(b"Nexthop has invalid gateway\0"));
        let message = Message {
            kind: libc::NLMSG_ERROR as u16,
            flags: (libc::NLM_F_CAPPED | libc::NLM_F_ACK_TLVS) as u16,
            seq: 1,
            body: &body,
        };
        let words = "Nexthop has invalid gateway".to_owned();
        assert_eq!(message.verdict(), Some((libc::ENETUNREACH, Some(words))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, kind in 0u16..32) {
            for message in messages(&bytes) {
                let _ = (message.route(), message.verdict());
            }
            let _ = Message { kind, flags: 0, seq: 0, body: &bytes }.verdict();
            let mut routed = vec![2u8, 24, 0, 0, 254, 96, 0, 1, 0, 0, 0, 0];
            routed.extend(&bytes);
            let _ = Message { kind: libc::RTM_NEWROUTE, flags: 0, seq: 0, body: &routed }.route();
        }
    }
}
