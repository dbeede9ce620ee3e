//! What a session agreed on: small, written once at Established, read by the next speaker.
//!
//! The keeper itself uses the two times and the name; the rest is the speaker's.

use crate::area::Area;
use crate::layout::{checksum, word};
use crate::rings::Rings;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// As the configuration calls the peer.
    pub peer: String,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub timing: Timing,
    /// The OPENs as they went over the wire, whole messages.
    pub open_sent: Vec<u8>,
    pub open_received: Vec<u8>,
    /// Whatever else the speaker wants to know again.
    pub negotiated: Vec<u8>,
}

/// Times of RFC 4271 §4.2 and §10, as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    hold: Duration,
    keepalive: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hold time of {0} s is not allowed")]
pub struct BadHoldTime(pub u16);

impl Timing {
    /// Seconds. Keepalives come no more rarely than every third of the hold time; zero means that
    /// third. A hold time of zero switches both off.
    pub fn new(hold: u16, keepalive: u16) -> Result<Self, BadHoldTime> {
        if matches!(hold, 1 | 2) {
            return Err(BadHoldTime(hold));
        }
        let hold = Duration::from_secs(hold.into());
        let third = hold / 3;
        let keepalive = match keepalive {
            0 => third,
            n => third.min(Duration::from_secs(n.into())),
        };
        Ok(Self { hold, keepalive })
    }

    #[must_use]
    pub const fn hold(self) -> Option<Duration> {
        if self.hold.is_zero() { None } else { Some(self.hold) }
    }

    #[must_use]
    pub const fn keepalive(self) -> Duration {
        self.keepalive
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the session was not established yet")]
    Missing,
    #[error("the session's snapshot is damaged: {0}")]
    Damaged(&'static str),
    #[error("the session's snapshot has {wanted} bytes, there is room for {room}")]
    Full { wanted: usize, room: u64 },
}

impl<A: Area> Rings<A> {
    /// Once, at Established.
    pub fn write_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let bytes = snapshot.encode();
        let span = self.layout().snapshot;
        if bytes.len() as u64 > span.len {
            return Err(SnapshotError::Full { wanted: bytes.len(), room: span.len });
        }
        self.area().write(span.at, &bytes);
        self.area().store(word::SNAPSHOT_SUM, checksum(&bytes));
        self.area().store(word::SNAPSHOT_LEN, bytes.len() as u64);
        Ok(())
    }

    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let len = self.area().load(word::SNAPSHOT_LEN);
        let span = self.layout().snapshot;
        if len == 0 {
            return Err(SnapshotError::Missing);
        }
        let len = usize::try_from(len.min(span.len + 1)).unwrap_or(usize::MAX);
        if len as u64 > span.len {
            return Err(SnapshotError::Damaged("length"));
        }
        let mut bytes = vec![0; len];
        self.area().read(span.at, &mut bytes);
        if checksum(&bytes) != self.area().load(word::SNAPSHOT_SUM) {
            return Err(SnapshotError::Damaged("checksum"));
        }
        Snapshot::decode(&bytes)
    }
}

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let seconds = |d: Duration| u16::try_from(d.as_secs()).unwrap_or(u16::MAX);
        out.extend(seconds(self.timing.hold).to_be_bytes());
        out.extend(seconds(self.timing.keepalive).to_be_bytes());
        encode_address(self.local, &mut out);
        encode_address(self.remote, &mut out);
        let parts = [self.peer.as_bytes(), &self.open_sent, &self.open_received, &self.negotiated];
        for part in parts {
            // Longer ones make the whole too long for its area, which the caller is told.
            out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend(part);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut from = Cursor(bytes);
        let (hold, keepalive) = (from.u16()?, from.u16()?);
        let timing =
            Timing::new(hold, keepalive).map_err(|_| SnapshotError::Damaged("hold time"))?;
        let (local, remote) = (from.address()?, from.address()?);
        let name = from.part()?.to_vec();
        Ok(Self {
            peer: String::from_utf8(name).map_err(|_| SnapshotError::Damaged("name"))?,
            local,
            remote,
            timing,
            open_sent: from.part()?.to_vec(),
            open_received: from.part()?.to_vec(),
            negotiated: from.part()?.to_vec(),
            // Bytes behind are a later version's.
        })
    }
}

fn encode_address(address: SocketAddr, out: &mut Vec<u8>) {
    let (ip, scope) = match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
    };
    out.push(if address.is_ipv4() { 4 } else { 6 });
    out.extend(ip.octets());
    out.extend(address.port().to_be_bytes());
    out.extend(scope.to_be_bytes());
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], SnapshotError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(SnapshotError::Damaged("cut"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        self.take(N)?.try_into().map_err(|_| SnapshotError::Damaged("cut"))
    }

    fn u16(&mut self) -> Result<u16, SnapshotError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.array().map(u32::from_be_bytes)
    }

    fn part(&mut self) -> Result<&'a [u8], SnapshotError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn address(&mut self) -> Result<SocketAddr, SnapshotError> {
        let kind = self.array::<1>()?;
        let ip = Ipv6Addr::from(self.array::<16>()?);
        let (port, scope) = (self.u16()?, self.u32()?);
        match (kind, ip.to_ipv4_mapped()) {
            ([4], Some(v4)) => Ok(SocketAddr::new(IpAddr::V4(v4), port)),
            ([6], _) => Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))),
            _ => Err(SnapshotError::Damaged("address")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Heap;
    use crate::layout::{ALIGN, Layout, Sizes};
    use proptest::prelude::*;

    fn rings() -> Rings<Heap> {
        let layout = Layout::new(Sizes { tx: ALIGN, rx: ALIGN, journal: 0 }, 0).unwrap();
        Rings::create(Heap::new(layout.total()), layout, 0, 0)
    }

    fn snapshot(peer: &str, local: SocketAddr, opaque: Vec<u8>) -> Snapshot {
        Snapshot {
            peer: peer.into(),
            local,
            remote: "192.0.2.1:179".parse().unwrap(),
            timing: Timing::new(90, 30).unwrap(),
            open_sent: vec![1; 40],
            open_received: opaque.clone(),
            negotiated: opaque,
        }
    }

    #[test]
    fn a_session_that_is_not_established_has_none() {
        assert_eq!(rings().snapshot(), Err(SnapshotError::Missing));
    }

    #[test]
    fn keepalives_come_at_least_every_third_of_the_hold_time() {
        let keepalive = |hold, keepalive| Timing::new(hold, keepalive).map(Timing::keepalive);
        assert_eq!(keepalive(90, 0), Ok(Duration::from_secs(30)));
        assert_eq!(keepalive(90, 10), Ok(Duration::from_secs(10)));
        assert_eq!(keepalive(9, 30), Ok(Duration::from_secs(3)));
        assert_eq!(keepalive(2, 0), Err(BadHoldTime(2)));
        assert_eq!(Timing::new(0, 30).unwrap().hold(), None);
    }

    #[test]
    fn one_that_is_too_long_is_refused() {
        let local = "[fe80::1%7]:4711".parse().unwrap();
        let long = snapshot("p", local, vec![0; 40_000]);
        assert!(matches!(rings().write_snapshot(&long), Err(SnapshotError::Full { .. })));
    }

    #[test]
    fn damage_is_noticed() {
        let r = rings();
        r.write_snapshot(&snapshot("tor-a", "192.0.2.2:1".parse().unwrap(), vec![])).unwrap();
        r.area().write(4096 + 30, &[0x55]);
        assert_eq!(r.snapshot(), Err(SnapshotError::Damaged("checksum")));
        r.area().store(word::SNAPSHOT_LEN, u64::MAX);
        assert_eq!(r.snapshot(), Err(SnapshotError::Damaged("length")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            peer in ".{0,40}",
            port: u16,
            ip: IpAddr,
            opaque in prop::collection::vec(any::<u8>(), 0..4096),
        ) {
            let written = snapshot(&peer, SocketAddr::new(ip, port), opaque);
            let r = rings();
            r.write_snapshot(&written).unwrap();
            prop_assert_eq!(r.snapshot().unwrap(), written);
        }

        #[test]
        fn nothing_read_from_strange_bytes_hurts(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Snapshot::decode(&bytes);
        }
    }
}
