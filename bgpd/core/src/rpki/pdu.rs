//! The messages of the RPKI-Router protocol (RFC 8210 §5; RFC 6810 for version 0).

use super::Vrp;
use crate::types::{Asn, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub(super) const HEADER: usize = 8;
/// An Error Report quotes what it is about and says why; nothing else is nearly as long.
const LONGEST: usize = 65_536;

/// What a cache says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pdu {
    SerialNotify {
        session: u16,
        serial: u32,
    },
    CacheResponse {
        session: u16,
    },
    Payload {
        announced: bool,
        vrp: Vrp,
    },
    /// A router key: BGPsec, which nothing here speaks.
    Ignored,
    EndOfData {
        session: u16,
        serial: u32,
        timing: Option<Timing>,
    },
    CacheReset,
    Error {
        code: u16,
        text: String,
    },
}

/// RFC 8210 §6, as the cache asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) refresh: Duration,
    pub(super) retry: Duration,
    pub(super) expire: Duration,
}

/// Error codes of RFC 8210 §12.
pub(super) mod code {
    pub(crate) const CORRUPT_DATA: u16 = 0;
    pub(crate) const NO_DATA: u16 = 2;
    pub(crate) const UNSUPPORTED_VERSION: u16 = 4;
    pub(crate) const UNSUPPORTED_PDU: u16 = 5;
    pub(crate) const UNKNOWN_WITHDRAWAL: u16 = 6;
    pub(crate) const DUPLICATE: u16 = 7;
    pub(crate) const UNEXPECTED_VERSION: u16 = 8;
}

/// Why the cache's bytes make no sense, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Bad {
    pub(super) fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// The first message of these bytes with its version and length; `None`: not all of it is there yet.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(u8, usize, Pdu)>, Bad> {
    let Some(([version, kind, high, low, length @ ..], _)) = bytes.split_first_chunk::<HEADER>()
    else {
        return Ok(None);
    };
    let session = u16::from_be_bytes([*high, *low]);
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(HEADER..=LONGEST).contains(&length) {
        return Err(Bad::new(code::CORRUPT_DATA, format!("a PDU of {length} octets")));
    }
    let Some(body) = bytes.get(HEADER..length) else { return Ok(None) };
    Ok(Some((*version, length, read(*version, *kind, session, body)?)))
}

fn read(version: u8, kind: u8, session: u16, body: &[u8]) -> Result<Pdu, Bad> {
    let pdu = match (kind, body.len()) {
        (0, 4) => number(body).map(|serial| Pdu::SerialNotify { session, serial }),
        (3, 0) => Some(Pdu::CacheResponse { session }),
        (4, 12) | (6, 24) => return payload(kind, body),
        (7, 4 | 16) => end_of_data(version, session, body),
        (8, 0) => Some(Pdu::CacheReset),
        (9, _) if version > 0 => Some(Pdu::Ignored),
        (10, _) => error(session, body),
        (0 | 3 | 4 | 6 | 7 | 8, _) => None,
        (kind, _) => {
            return Err(Bad::new(code::UNSUPPORTED_PDU, format!("a PDU of type {kind}")));
        }
    };
    let wrong = || {
        let octets = body.len() + HEADER;
        Bad::new(code::CORRUPT_DATA, format!("a PDU of type {kind} with {octets} octets"))
    };
    pdu.ok_or_else(wrong)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

/// RFC 8210 §5.6, §5.7.
fn payload(kind: u8, body: &[u8]) -> Result<Pdu, Bad> {
    let broken = || Bad::new(code::CORRUPT_DATA, "a prefix that is none");
    let ([flags, len, max_len, _], rest) = body.split_first_chunk().ok_or_else(broken)?;
    let (addr, asn): (IpAddr, _) = if kind == 4 {
        let (addr, asn) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        (Ipv4Addr::from(*addr).into(), asn)
    } else {
        let (addr, asn) = rest.split_first_chunk::<16>().ok_or_else(broken)?;
        (Ipv6Addr::from(*addr).into(), asn)
    };
    let prefix = Prefix::new(addr, *len).map_err(|_| broken())?;
    let fits = (*len..=Prefix::host(addr).len()).contains(max_len);
    let asn = Asn(number(asn).ok_or_else(broken)?);
    let vrp = Vrp { prefix, max_len: *max_len, asn };
    fits.then_some(Pdu::Payload { announced: flags & 1 == 1, vrp }).ok_or_else(broken)
}

/// RFC 8210 §5.8; without timing in version 0.
fn end_of_data(version: u8, session: u16, body: &[u8]) -> Option<Pdu> {
    let word = |i: usize| number(body.get(4 * i..)?);
    let seconds = |i| word(i).map(|s| Duration::from_secs(s.into()));
    let serial = word(0)?;
    let timing = match version {
        0 if body.len() == 4 => None,
        0 => return None,
        _ => Some(Timing { refresh: seconds(1)?, retry: seconds(2)?, expire: seconds(3)? }),
    };
    Some(Pdu::EndOfData { session, serial, timing })
}

/// RFC 8210 §5.11: the PDU it is about, then a text.
fn error(code: u16, body: &[u8]) -> Option<Pdu> {
    let after = |bytes: &[u8]| {
        let length = usize::try_from(number(bytes)?).ok()?;
        Some(bytes.get(4..)?.split_at_checked(length)?).map(|(a, b)| (a.to_vec(), b.to_vec()))
    };
    let (_, rest) = after(body)?;
    let (text, _) = after(&rest)?;
    let text: String = String::from_utf8_lossy(&text).chars().take(200).collect();
    Some(Pdu::Error { code, text })
}

fn header(version: u8, kind: u8, session: u16, length: u32, out: &mut Vec<u8>) {
    let [high, low] = session.to_be_bytes();
    out.extend([version, kind, high, low]);
    out.extend(length.to_be_bytes());
}

pub(super) fn serial_query(version: u8, session: u16, serial: u32, out: &mut Vec<u8>) {
    header(version, 1, session, 12, out);
    out.extend(serial.to_be_bytes());
}

pub(super) fn reset_query(version: u8, out: &mut Vec<u8>) {
    header(version, 2, 0, 8, out);
}

/// Without the erroneous PDU, which the cache knows better than we do.
pub(super) fn error_report(version: u8, bad: &Bad, out: &mut Vec<u8>) {
    let text: Vec<u8> = bad.text.bytes().take(200).collect();
    let length = u32::try_from(text.len()).unwrap_or_default();
    header(version, 10, bad.code, 16 + length, out);
    out.extend([0; 4]);
    out.extend(length.to_be_bytes());
    out.extend(text);
}
