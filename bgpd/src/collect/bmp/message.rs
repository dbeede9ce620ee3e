//! BMP messages (RFC 7854 §4, RFC 9069 §4), written.

use bgp_core::monitor::SessionView;
use bgp_core::report::Cause;
use bgp_core::types::{Asn, RouterId};
use bgp_core::view::PeerView;
use bgp_core::wire;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const VERSION: u8 = 3;

const ROUTE_MONITORING: u8 = 0;
const STATISTICS_REPORT: u8 = 1;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
const TERMINATION: u8 = 5;

/// The flags of the per-peer header.
const IPV6: u8 = 0x80;
const POST_POLICY: u8 = 0x40;
const TWO_OCTET_AS: u8 = 0x20;

/// Whose message it is: the per-peer header (RFC 7854 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose {
    kind: u8,
    flags: u8,
    address: IpAddr,
    asn: Asn,
    router_id: RouterId,
}

impl Whose {
    pub(super) fn peer(session: &SessionView) -> Self {
        let address = session.remote.ip();
        let family = if address.is_ipv6() { IPV6 } else { 0 };
        let width = if session.four_octet_as { 0 } else { TWO_OCTET_AS };
        let (asn, router_id) = (session.asn, session.router_id);
        Self { kind: 0, flags: family | width, address, asn, router_id }
    }

    /// RFC 9069 §4.1.
    pub(super) const fn loc_rib(asn: Asn, router_id: RouterId) -> Self {
        let address = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
        Self { kind: 3, flags: 0, address, asn, router_id }
    }

    /// Behind the import policy, made of the RIB: AS numbers of four octets.
    pub(super) const fn post_policy(self) -> Self {
        Self { flags: self.flags & !TWO_OCTET_AS | POST_POLICY, ..self }
    }

    /// Made of the RIB, whatever the session speaks.
    pub(super) const fn four_octet_as(self) -> Self {
        Self { flags: self.flags & !TWO_OCTET_AS, ..self }
    }

    fn put(self, at: SystemTime, out: &mut Vec<u8>) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.extend([self.kind, self.flags]);
        // One routing instance: no distinguisher.
        out.extend([0; 8]);
        put_address(self.address, out);
        out.extend(self.asn.0.to_be_bytes());
        out.extend(self.router_id.0.octets());
        out.extend(u32::try_from(since.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(since.subsec_micros().to_be_bytes());
    }
}

fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            out.extend([0; 12]);
            out.extend(v4.octets());
        }
        IpAddr::V6(v6) => out.extend(v6.octets()),
    }
}

/// The common header around `body` (§4.1).
fn message(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([VERSION, 0, 0, 0, 0, kind]);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start + 1..start + 5) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn tlv(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    let value = value.get(..value.len().min(255)).unwrap_or_default();
    out.extend(kind.to_be_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
    out.extend(value);
}

/// §4.3: sysDescr and sysName.
pub(super) fn initiation(version: &str, node: &str, out: &mut Vec<u8>) {
    message(INITIATION, out, |out| {
        tlv(1, format!("mainstay-bgpd {version}").as_bytes(), out);
        tlv(2, node.as_bytes(), out);
    });
}

/// §4.5: administratively closed.
pub(super) fn termination(out: &mut Vec<u8>) {
    message(TERMINATION, out, |out| tlv(1, &0u16.to_be_bytes(), out));
}

/// §4.10.
pub(super) fn peer_up(whose: Whose, session: &SessionView, at: SystemTime, out: &mut Vec<u8>) {
    message(PEER_UP, out, |out| {
        whose.put(at, out);
        put_address(session.local.ip(), out);
        out.extend(session.local.port().to_be_bytes());
        out.extend(session.remote.port().to_be_bytes());
        out.extend(&session.open_sent);
        out.extend(&session.open_received);
    });
}

/// RFC 9069 §4.2: nobody is there to exchange OPENs with, so what both would say is made up.
pub(super) fn loc_rib_up(whose: Whose, open: &wire::Open, at: SystemTime, out: &mut Vec<u8>) {
    message(PEER_UP, out, |out| {
        whose.put(at, out);
        out.extend([0; 16 + 4]);
        wire::open(open, out);
        wire::open(open, out);
        tlv(3, b"global", out);
    });
}

/// §4.9.
pub(super) fn peer_down(whose: Whose, cause: &Cause, at: SystemTime, out: &mut Vec<u8>) {
    message(PEER_DOWN, out, |out| {
        whose.put(at, out);
        let said = |reason: u8, n: &wire::Notification, out: &mut Vec<u8>| {
            out.push(reason);
            wire::notification(n, out);
        };
        match cause {
            Cause::Sent(n) => said(1, n, out),
            Cause::HoldTimerExpired => said(1, &wire::Notification::HOLD_TIMER_EXPIRED, out),
            Cause::Received(n) => said(3, n, out),
            Cause::Closed(_) | Cause::ConnectFailed(_) => out.push(4),
            Cause::Deconfigured => out.push(5),
            // With the event of RFC 4271 §8.1 that ended it: ManualStop, or none of them.
            Cause::Stopped => out.extend([2, 0, 2]),
            Cause::BfdDown { .. } | Cause::Collision => out.extend([2, 0, 0]),
        }
    });
}

/// §4.6: one UPDATE.
pub(super) fn route_monitoring(whose: Whose, update: &[u8], at: SystemTime, out: &mut Vec<u8>) {
    message(ROUTE_MONITORING, out, |out| {
        whose.put(at, out);
        out.extend(update);
    });
}

/// Every message of `updates`, which are whole ones.
pub(super) fn route_monitorings(
    whose: Whose,
    mut updates: &[u8],
    at: SystemTime,
    out: &mut Vec<u8>,
) -> u64 {
    let mut count = 0;
    while let Some([high, low]) = updates.get(16..18) {
        let length = usize::from(u16::from_be_bytes([*high, *low])).max(19);
        let Some((update, rest)) = updates.split_at_checked(length) else { break };
        route_monitoring(whose, update, at, out);
        (updates, count) = (rest, count + 1);
    }
    count
}

/// §4.8: what the import policy refused, and the sizes of the tables.
pub(super) fn statistics(whose: Whose, peer: &PeerView, at: SystemTime, out: &mut Vec<u8>) {
    let sum = |n: fn(&bgp_core::view::PeerFamilyView) -> usize| -> u64 {
        peer.families.iter().map(|f| n(f) as u64).sum()
    };
    let refused = sum(|f| f.received - f.accepted.min(f.received));
    message(STATISTICS_REPORT, out, |out| {
        whose.put(at, out);
        let per_family = 2 * u32::try_from(peer.families.len()).unwrap_or_default();
        out.extend((2 + per_family).to_be_bytes());
        let refused = u32::try_from(refused).unwrap_or(u32::MAX);
        tlv(0, &refused.to_be_bytes(), out);
        tlv(7, &sum(|f| f.received).to_be_bytes(), out);
        for family in &peer.families {
            let of = wire::AfiSafi::from(family.family);
            let (received, accepted) = (family.received as u64, family.accepted as u64);
            tlv(9, &gauge(of, received), out);
            // RFC 8671 §6.2: behind the policy.
            tlv(18, &gauge(of, accepted), out);
        }
    });
}

/// Of the Loc-RIB: types 8 and 10.
pub(super) fn loc_rib_statistics(
    whose: Whose,
    routes: &[(bgp_core::types::Family, usize)],
    at: SystemTime,
    out: &mut Vec<u8>,
) {
    message(STATISTICS_REPORT, out, |out| {
        whose.put(at, out);
        out.extend(u32::try_from(1 + routes.len()).unwrap_or_default().to_be_bytes());
        let all: u64 = routes.iter().map(|(_, n)| *n as u64).sum();
        tlv(8, &all.to_be_bytes(), out);
        for (family, n) in routes {
            tlv(10, &gauge((*family).into(), *n as u64), out);
        }
    });
}

fn gauge(of: wire::AfiSafi, value: u64) -> Vec<u8> {
    [of.afi.to_be_bytes().as_slice(), &[of.safi], &value.to_be_bytes()].concat()
}

/// The wall's time of a moment.
pub(super) fn wall(since: std::time::Instant) -> SystemTime {
    let ago: Duration = since.elapsed();
    SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn session() -> SessionView {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        SessionView {
            peer: bgp_core::types::PeerId(1),
            name: "tor".into(),
            asn: Asn(65001),
            own_asn: Asn(64512),
            router_id: RouterId([192, 0, 2, 1].into()),
            local: at("192.0.2.2:40000"),
            remote: at("192.0.2.1:179"),
            open_sent: vec![1; 29],
            open_received: vec![2; 30],
            four_octet_as: false,
            path_ids: wire::PathIds::NONE,
            families: vec![],
            since: std::time::Instant::now(),
        }
    }

    #[test]
    fn a_session_that_came_up_is_told_with_both_ends_and_both_opens() {
        let mut out = Vec::new();
        let at = UNIX_EPOCH + Duration::new(10, 5_000);
        peer_up(Whose::peer(&session()), &session(), at, &mut out);
        let length = u32::try_from(out.len()).unwrap().to_be_bytes();
        assert_eq!(out[..6], [&[3][..], &length, &[PEER_UP]].concat());
        assert_eq!(out[6..8], [0, TWO_OCTET_AS]);
        assert_eq!(out[28..32], [192, 0, 2, 1]);
        assert_eq!(out[32..48], [0, 0, 0xfd, 0xe9, 192, 0, 2, 1, 0, 0, 0, 10, 0, 0, 0, 5]);
        assert_eq!(out[60..64], [192, 0, 2, 2]);
        assert_eq!(out[64..68], [0x9c, 0x40, 0, 179]);
        assert_eq!(out[68..], [vec![1; 29], vec![2; 30]].concat());
    }

    #[test]
    fn each_end_of_a_session_has_its_reason() {
        let reason = |cause: Cause| {
            let mut out = Vec::new();
            peer_down(Whose::peer(&session()), &cause, UNIX_EPOCH, &mut out);
            (out[48], out.len() - 49)
        };
        assert_eq!(reason(Cause::Sent(wire::Notification::cease(2))), (1, 21));
        assert_eq!(reason(Cause::HoldTimerExpired), (1, 21));
        assert_eq!(reason(Cause::Received(wire::Notification::cease(2))), (3, 21));
        assert_eq!(reason(Cause::Closed("eof".into())), (4, 0));
        assert_eq!(reason(Cause::Deconfigured), (5, 0));
        assert_eq!(reason(Cause::Stopped), (2, 2));
    }

    #[test]
    fn several_updates_are_as_many_messages() {
        let mut updates = Vec::new();
        wire::keepalive(&mut updates);
        wire::end_of_rib(bgp_core::types::Family::Ipv6Unicast, &mut updates);
        let mut out = Vec::new();
        let whose = Whose::loc_rib(Asn(64512), RouterId([1, 1, 1, 1].into()));
        assert_eq!(route_monitorings(whose, &updates, UNIX_EPOCH, &mut out), 2);
        assert_eq!(out.len(), updates.len() + 2 * 48);
        assert_eq!(out[6], 3, "the Loc-RIB instance");
    }
}
