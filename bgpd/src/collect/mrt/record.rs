//! MRT records (RFC 6396), written.

use bgp_core::monitor::{Heard, SessionView};
use bgp_core::types::{Family, PeerId, Prefix, RouterId};
use bgp_core::wire;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

const TABLE_DUMP_V2: u16 = 13;
const BGP4MP: u16 = 16;

const STATE_CHANGE_AS4: u16 = 5;
const MESSAGE: u16 = 1;
const MESSAGE_AS4: u16 = 4;
/// RFC 8050 §3.
const MESSAGE_ADDPATH: u16 = 8;
const MESSAGE_AS4_ADDPATH: u16 = 9;

const PEER_INDEX_TABLE: u16 = 1;
const RIB_IPV4_UNICAST: u16 = 2;
const RIB_IPV6_UNICAST: u16 = 4;
/// RFC 8050 §4.
const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;

/// States of RFC 4271 §8.2.2 by the numbers of RFC 6396 §4.4.1.
pub(super) const IDLE: u16 = 1;
pub(super) const OPEN_CONFIRM: u16 = 5;
pub(super) const ESTABLISHED: u16 = 6;

fn record(
    at: SystemTime,
    kind: u16,
    subtype: u16,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    out.extend(seconds(at).to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(subtype.to_be_bytes());
    let start = out.len() + 4;
    out.extend([0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start - 4..start) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

pub(super) fn seconds(at: SystemTime) -> u32 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => out.extend(v4.octets()),
        IpAddr::V6(v6) => out.extend(v6.octets()),
    }
}

/// The fields that BGP4MP records begin with (§4.4.1): AS numbers of four octets, or of two.
fn put_ends(session: &SessionView, four: bool, out: &mut Vec<u8>) {
    for asn in [session.asn, session.own_asn] {
        let octets = asn.0.to_be_bytes();
        // A speaker of two octets has a number of two octets, or AS_TRANS in its place.
        let wide = u16::try_from(asn.0).is_err();
        let trans = bgp_core::types::Asn::TRANS.0.to_be_bytes();
        let octets = if wide && !four { trans } else { octets };
        out.extend(octets.get(if four { 0 } else { 2 }..).unwrap_or_default());
    }
    let (peer, own) = (session.remote.ip(), session.local.ip());
    let family: u16 = if peer.is_ipv4() { 1 } else { 2 };
    out.extend([0, 0]);
    out.extend(family.to_be_bytes());
    put_address(peer, out);
    put_address(own, out);
}

/// Of an UPDATE: that of its first attribute for other protocols than IPv4 (RFC 4760 §3), or else
/// IPv4. What cannot be read is none, as it is to whoever reads the record.
fn family_of(message: &[u8]) -> Option<Family> {
    const UPDATE: u8 = 2;
    let (header, body) = message.split_at_checked(19)?;
    (header.last() == Some(&UPDATE)).then_some(())?;
    let (withdrawn, body) = body.split_first_chunk()?;
    let body = body.get(usize::from(u16::from_be_bytes(*withdrawn))..)?;
    let (length, body) = body.split_first_chunk()?;
    let mut rest = body.get(..usize::from(u16::from_be_bytes(*length)))?;
    while let [flags, kind, length @ ..] = rest {
        let extended = flags & 0x10 != 0;
        let (length, value) = match (extended, length) {
            (true, [high, low, value @ ..]) => (u16::from_be_bytes([*high, *low]), value),
            (false, [length, value @ ..]) => (u16::from(*length), value),
            _ => return None,
        };
        let (value, next) = value.split_at_checked(usize::from(length))?;
        if matches!(kind, 14 | 15) {
            return match value.first_chunk()? {
                [0, 1] => Some(Family::Ipv4Unicast),
                [0, 2] => Some(Family::Ipv6Unicast),
                _ => None,
            };
        }
        rest = next;
    }
    Some(Family::Ipv4Unicast)
}

/// A message as it came (§4.4.2, §4.4.3).
pub(super) fn message(session: &SessionView, bytes: &[u8], at: SystemTime, out: &mut Vec<u8>) {
    let four = session.four_octet_as;
    let path_ids = family_of(bytes).is_some_and(|family| session.path_ids.of(family));
    let subtype = match (four, path_ids) {
        (true, false) => MESSAGE_AS4,
        (false, false) => MESSAGE,
        (true, true) => MESSAGE_AS4_ADDPATH,
        (false, true) => MESSAGE_ADDPATH,
    };
    record(at, BGP4MP, subtype, out, |out| {
        put_ends(session, four, out);
        out.extend(bytes);
    });
}

/// §4.4.4.
pub(super) fn state_change(
    session: &SessionView,
    (from, to): (u16, u16),
    at: SystemTime,
    out: &mut Vec<u8>,
) {
    record(at, BGP4MP, STATE_CHANGE_AS4, out, |out| {
        put_ends(session, true, out);
        out.extend(from.to_be_bytes());
        out.extend(to.to_be_bytes());
    });
}

/// A peer as the index of a table dump has it (§4.3.1).
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    pub(super) peer: Option<PeerId>,
    pub(super) address: IpAddr,
    pub(super) asn: u32,
    pub(super) router_id: Option<RouterId>,
}

/// Which numbers paths have in the records that follow.
pub(super) type Index = HashMap<Option<PeerId>, u16>;

pub(super) fn peer_index(
    collector: RouterId,
    peers: &[Indexed],
    at: SystemTime,
    out: &mut Vec<u8>,
) -> Index {
    let peers = peers.get(..peers.len().min(usize::from(u16::MAX))).unwrap_or_default();
    record(at, TABLE_DUMP_V2, PEER_INDEX_TABLE, out, |out| {
        out.extend(collector.0.octets());
        out.extend([0, 0]);
        out.extend(u16::try_from(peers.len()).unwrap_or(u16::MAX).to_be_bytes());
        for peer in peers {
            // AS numbers of four octets, and an address of this family.
            out.push(2 | u8::from(peer.address.is_ipv6()));
            out.extend(peer.router_id.map_or(Ipv4Addr::UNSPECIFIED, |id| id.0).octets());
            put_address(peer.address, out);
            out.extend(peer.asn.to_be_bytes());
        }
    });
    let numbered = peers.iter().zip(0..=u16::MAX);
    numbered.map(|(peer, number)| (peer.peer, number)).collect()
}

/// A prefix with its paths (§4.3.2); nothing if none of them is of a peer in the index.
pub(super) fn rib(
    sequence: u32,
    prefix: &Prefix,
    paths: &[(u16, SystemTime, &Heard)],
    at: SystemTime,
    out: &mut Vec<u8>,
) {
    let family = Family::of(prefix);
    let path_ids = paths.iter().any(|(_, _, path)| path.id != 0);
    let subtype = match (family, path_ids) {
        (Family::Ipv4Unicast, false) => RIB_IPV4_UNICAST,
        (Family::Ipv6Unicast, false) => RIB_IPV6_UNICAST,
        (Family::Ipv4Unicast, true) => RIB_IPV4_UNICAST_ADDPATH,
        (Family::Ipv6Unicast, true) => RIB_IPV6_UNICAST_ADDPATH,
    };
    record(at, TABLE_DUMP_V2, subtype, out, |out| {
        out.extend(sequence.to_be_bytes());
        out.push(prefix.len());
        let mut octets = Vec::new();
        put_address(prefix.addr(), &mut octets);
        out.extend(octets.get(..usize::from(prefix.len().div_ceil(8))).unwrap_or_default());
        out.extend(u16::try_from(paths.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (peer, since, path) in paths.iter().take(usize::from(u16::MAX)) {
            out.extend(peer.to_be_bytes());
            out.extend(seconds(*since).to_be_bytes());
            if path_ids {
                out.extend(path.id.to_be_bytes());
            }
            let mut attributes = Vec::new();
            wire::dump_attributes(&path.attributes, family, &mut attributes);
            out.extend(u16::try_from(attributes.len()).unwrap_or_default().to_be_bytes());
            let all = usize::from(u16::MAX);
            out.extend(Some(&attributes).filter(|a| a.len() <= all).into_iter().flatten());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp_core::types::{Asn, NextHop};
    use bgp_core::wire::{Attributes, Context, Origin, PathIds};

    fn session(four_octet_as: bool) -> SessionView {
        SessionView {
            peer: PeerId(1),
            name: "tor".into(),
            asn: Asn(4_200_000_000),
            own_asn: Asn(64512),
            router_id: RouterId([192, 0, 2, 1].into()),
            local: "192.0.2.2:40000".parse().unwrap(),
            remote: "192.0.2.1:179".parse().unwrap(),
            open_sent: vec![],
            open_received: vec![],
            four_octet_as,
            path_ids: PathIds::NONE,
            families: vec![],
            since: std::time::Instant::now(),
        }
    }

    #[test]
    fn a_message_stands_as_it_came_behind_its_two_ends() {
        let at = UNIX_EPOCH + std::time::Duration::from_secs(7);
        let mut out = Vec::new();
        message(&session(true), &[9; 19], at, &mut out);
        assert_eq!(out[..12], [0, 0, 0, 7, 0, 16, 0, 4, 0, 0, 0, 39]);
        assert_eq!(out[12..24], [0xfa, 0x56, 0xea, 0, 0, 0, 0xfc, 0, 0, 0, 0, 1]);
        assert_eq!(out[24..], [&[192, 0, 2, 1, 192, 0, 2, 2][..], &[9; 19]].concat());
        let mut old = Vec::new();
        message(&session(false), &[9; 19], at, &mut old);
        assert_eq!(old[4..8], [0, 16, 0, 1]);
        assert_eq!(old[12..16], [0x5b, 0xa0, 0xfc, 0], "AS_TRANS");
    }

    #[test]
    fn a_record_says_of_its_own_family_whether_prefixes_have_path_ids() {
        let mut session = session(true);
        session.path_ids = PathIds { ipv4: true, ipv6: false };
        let subtype = |prefix: &str, next_hop| {
            let prefix: Prefix = prefix.parse().unwrap();
            let attributes = Attributes::bare(next_hop, Origin::Igp);
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            let family = Family::of(&prefix);
            wire::announce(&Context::BARE, family, &attributes, &[prefix], &mut bytes);
            message(&session, &bytes, UNIX_EPOCH, &mut out);
            out[7]
        };
        let global = "2001:db8::1".parse().unwrap();
        assert_eq!(subtype("10.0.0.0/8", NextHop::V4([192, 0, 2, 1].into())), 9);
        assert_eq!(subtype("2001:db8::/32", NextHop::V6 { global, link_local: None }), 4);
        for cut in 0..40 {
            // Whatever it is, it is read within its bounds.
            family_of(&[2; 40][..cut]);
        }
    }
}
