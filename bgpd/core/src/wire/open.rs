//! OPEN (RFC 4271 §4.2, §6.2) and what is asked of one.

use super::capability;
use super::frame;
use super::notification::DecodeError;
use super::reader::Reader;
use super::types::{
    AddPathsFamily, Capability, ExtendedNextHop, GracefulRestart, LongLivedFamily, MAX_LEN,
    Notification, Open,
};
use super::{as_path, encode};
use crate::types::{Asn, Family, RouterId};
use std::net::Ipv4Addr;

const VERSION: u8 = 4;
/// An optional parameter's type (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// Says that lengths have two octets (RFC 9072 §2).
const EXTENDED: u8 = 255;

impl Open {
    /// The families the peer speaks among those we know; without the capability that is IPv4
    /// unicast (RFC 4760 §8).
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let named = || {
            self.capabilities.iter().filter_map(|c| match c {
                Capability::Multiprotocol(family) => Some(*family),
                _ => None,
            })
        };
        if named().next().is_none() {
            return vec![Family::Ipv4Unicast];
        }
        Family::ALL.into_iter().filter(|f| named().any(|n| n.family() == Some(*f))).collect()
    }

    /// Of several, the last counts (RFC 4724 §3).
    #[must_use]
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities.iter().rev().find_map(|c| match c {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        })
    }

    /// Of several, the last counts; without graceful restart it means nothing (RFC 9494 §4.5).
    #[must_use]
    pub fn long_lived(&self) -> Option<&[LongLivedFamily]> {
        self.graceful_restart()?;
        self.capabilities.iter().rev().find_map(|c| match c {
            Capability::LongLived(families) => Some(families.as_slice()),
            _ => None,
        })
    }

    /// Of several, the last counts.
    #[must_use]
    pub fn add_paths(&self) -> &[AddPathsFamily] {
        let said = self.capabilities.iter().rev().find_map(|c| match c {
            Capability::AddPaths(families) => Some(families.as_slice()),
            _ => None,
        });
        said.unwrap_or_default()
    }

    #[must_use]
    pub fn four_octet_as(&self) -> Option<Asn> {
        self.capabilities.iter().find_map(|c| match c {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        })
    }

    /// IPv4 unicast over IPv6 (RFC 8950 §4).
    #[must_use]
    pub fn has_extended_next_hop(&self) -> bool {
        let ipv4 = |c: &Capability| matches!(c, Capability::ExtendedNextHop(f) if f.contains(&ExtendedNextHop::IPV4));
        self.capabilities.iter().any(ipv4)
    }

    #[must_use]
    pub fn has(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }

    /// Whether a capability of that code is there, known to us or not.
    #[must_use]
    pub fn has_code(&self, code: u8) -> bool {
        self.capabilities.iter().any(|c| c.code() == code)
    }
}

pub(super) fn decode(body: &[u8]) -> Result<Open, DecodeError> {
    let mut reader = Reader::new(body);
    let fields = (reader.u8(), reader.u16(), reader.u16(), reader.array::<4>());
    let (Some(version), Some(two_octets), Some(hold_time), Some(id)) = fields else {
        return Err(malformed("OPEN is cut short"));
    };
    check_version(version)?;
    let router_id = RouterId(Ipv4Addr::from(id));
    let capabilities = parameters(reader)?;
    let mut open = Open { asn: Asn(two_octets.into()), hold_time, router_id, capabilities };
    open.asn = open.four_octet_as().unwrap_or(open.asn);
    check_values(&open)?;
    Ok(open)
}

/// RFC 4271 §6.2: the data are the highest version we speak.
fn check_version(version: u8) -> Result<(), DecodeError> {
    if version == VERSION {
        return Ok(());
    }
    let notification =
        Notification::UNSUPPORTED_VERSION.with_data(&u16::from(VERSION).to_be_bytes());
    Err(DecodeError::new(notification, format!("OPEN has the version {version}")))
}

fn check_values(open: &Open) -> Result<(), DecodeError> {
    // RFC 7607 §2.
    if open.asn == Asn(0) {
        return Err(DecodeError::new(Notification::BAD_PEER_AS, "OPEN has the AS number 0"));
    }
    if matches!(open.hold_time, 1 | 2) {
        let text =
            format!("OPEN has the hold time {} s; it must be 0 or at least 3", open.hold_time);
        return Err(DecodeError::new(Notification::UNACCEPTABLE_HOLD_TIME, text));
    }
    // RFC 6286 §2.2.
    if open.router_id.0.is_unspecified() {
        let text = "OPEN has the BGP identifier 0.0.0.0";
        return Err(DecodeError::new(Notification::BAD_BGP_IDENTIFIER, text));
    }
    Ok(())
}

/// The optional parameters, in the format of RFC 4271 §4.2 or that of RFC 9072 §2.
fn parameters(mut reader: Reader<'_>) -> Result<Vec<Capability>, DecodeError> {
    let truncated = || malformed("OPEN's optional parameters are cut short");
    let mut length = usize::from(reader.u8().ok_or_else(truncated)?);
    let extended = length != 0 && reader.rest().first() == Some(&EXTENDED);
    if extended {
        reader.u8();
        length = reader.u16().ok_or_else(truncated)?.into();
    }
    let mut parameters = Reader::new(reader.take(length).ok_or_else(truncated)?);
    if !reader.is_empty() {
        return Err(malformed("OPEN goes on after its optional parameters"));
    }
    let mut capabilities = Vec::new();
    while let Some(kind) = parameters.u8() {
        if kind != CAPABILITIES {
            let text = format!("OPEN has the unknown optional parameter {kind}");
            return Err(DecodeError::new(Notification::UNSUPPORTED_OPTIONAL_PARAMETER, text));
        }
        let value = if extended { parameters.after_u16() } else { parameters.after_u8() };
        capability::decode_all(value.ok_or_else(truncated)?, &mut capabilities)?;
    }
    Ok(capabilities)
}

pub(super) fn malformed(text: impl Into<String>) -> DecodeError {
    DecodeError::new(Notification::MALFORMED_OPEN, text)
}

/// Appends an OPEN. Capabilities that no longer fit the message are left out.
pub fn open(open: &Open, out: &mut Vec<u8>) {
    const FIXED: usize = 29 + 3 + 3;
    let message = encode::begin(frame::OPEN, out);
    out.push(VERSION);
    out.extend(as_path::two_octets(open.asn).to_be_bytes());
    out.extend(open.hold_time.to_be_bytes());
    out.extend(open.router_id.0.octets());
    let mut capabilities = Vec::new();
    for capability in &open.capabilities {
        let before = capabilities.len();
        capability::encode(capability, &mut capabilities);
        if capabilities.len() > MAX_LEN - FIXED {
            capabilities.truncate(before);
        }
    }
    put_parameters(&capabilities, out);
    encode::end(message, out);
}

/// All capabilities in one parameter, as RFC 5492 §4 asks.
fn put_parameters(capabilities: &[u8], out: &mut Vec<u8>) {
    let length = capabilities.len();
    match u8::try_from(length) {
        Ok(0) => out.push(0),
        Ok(short @ ..=253) => out.extend([short + 2, CAPABILITIES, short]),
        _ => {
            let octets = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
            out.extend([EXTENDED, EXTENDED]);
            out.extend(octets(length + 3));
            out.push(CAPABILITIES);
            out.extend(octets(length));
        }
    }
    out.extend(capabilities);
}
