//! Capabilities (RFC 5492), each one's value and name.

use super::notification::DecodeError;
use super::open::malformed;
use super::reader::Reader;
use super::types::{
    AddPathsFamily, AfiSafi, Capability, ExtendedNextHop, GracefulFamily, GracefulRestart,
    LongLivedFamily,
};
use crate::types::Asn;
use crate::types::Role;
use std::fmt;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const ROLE: u8 = 9;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATHS: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED: u8 = 71;

/// The flags stand above the 12 bits of the time (RFC 4724 §3, RFC 8538 §2).
const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const TIME: u16 = 0x0fff;
const FORWARDING: u8 = 0x80;

impl Capability {
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => MULTIPROTOCOL,
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::ExtendedNextHop(_) => EXTENDED_NEXT_HOP,
            Self::Role(_) => ROLE,
            Self::FourOctetAs(_) => FOUR_OCTET_AS,
            Self::AddPaths(_) => ADD_PATHS,
            Self::GracefulRestart(_) => GRACEFUL_RESTART,
            Self::LongLived(_) => LONG_LIVED,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// IANA's name, in the words of the CLI.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.code() {
            MULTIPROTOCOL => "multiprotocol",
            ROUTE_REFRESH => "route-refresh",
            3 => "outbound-route-filtering",
            EXTENDED_NEXT_HOP => "extended-next-hop",
            EXTENDED_MESSAGE => "extended-message",
            7 => "bgpsec",
            8 => "multiple-labels",
            ROLE => "role",
            GRACEFUL_RESTART => "graceful-restart",
            FOUR_OCTET_AS => "four-octet-as",
            67 => "dynamic",
            68 => "multisession",
            ADD_PATHS => "add-paths",
            ENHANCED_ROUTE_REFRESH => "enhanced-route-refresh",
            LONG_LIVED => "long-lived-graceful-restart",
            73 => "fqdn",
            75 => "software-version",
            76 => "paths-limit",
            128 => "route-refresh-cisco",
            _ => "unknown",
        }
    }
}

/// `multiprotocol ipv4-unicast`, `graceful-restart 120 s notification ipv4-unicast forwarding`
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Multiprotocol(family) => write!(f, " {family}"),
            Self::FourOctetAs(asn) => write!(f, " {asn}"),
            Self::GracefulRestart(restart) => write!(f, " {restart}"),
            Self::ExtendedNextHop(families) => {
                families.iter().try_for_each(|family| write!(f, " {family}"))
            }
            Self::Role(value) => match Role::from_wire(*value) {
                Some(role) => write!(f, " {role}"),
                None => write!(f, " {value}"),
            },
            Self::AddPaths(families) => {
                families.iter().try_for_each(|family| write!(f, " {family}"))
            }
            Self::LongLived(families) => {
                families.iter().try_for_each(|family| write!(f, " {family}"))
            }
            Self::Unknown { code, .. } if self.name() == "unknown" => write!(f, " {code}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for GracefulRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.time)?;
        for (set, name) in [(self.restarting, "restarting"), (self.notification, "notification")] {
            if set {
                write!(f, " {name}")?;
            }
        }
        for GracefulFamily { family, forwarding } in &self.families {
            write!(f, " {family}{}", if *forwarding { " forwarding" } else { "" })?;
        }
        Ok(())
    }
}

/// `ipv4-unicast via ipv6`
impl fmt::Display for ExtendedNextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { afi, safi, next_hop_afi } = *self;
        match u8::try_from(safi) {
            Ok(safi) => AfiSafi { afi, safi }.fmt(f)?,
            Err(_) => write!(f, "afi {afi} safi {safi}")?,
        }
        match next_hop_afi {
            1 => f.write_str(" via ipv4"),
            2 => f.write_str(" via ipv6"),
            other => write!(f, " via afi {other}"),
        }
    }
}

/// `ipv4-unicast receive send`
impl fmt::Display for AddPathsFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.family.fmt(f)?;
        for (set, name) in [(self.receive, "receive"), (self.send, "send")] {
            if set {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}

/// `ipv4-unicast 86400 s forwarding`
impl fmt::Display for LongLivedFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forwarding = if self.forwarding { " forwarding" } else { "" };
        write!(f, "{} {} s{forwarding}", self.family, self.stale_time)
    }
}

/// Ours by name, others as `afi 25 safi 70`.
impl fmt::Display for AfiSafi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family() {
            Some(family) => family.fmt(f),
            None => write!(f, "afi {} safi {}", self.afi, self.safi),
        }
    }
}

/// Reads one parameter's capabilities.
pub(super) fn decode_all(bytes: &[u8], into: &mut Vec<Capability>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    while let Some(code) = reader.u8() {
        let value = reader.after_u8();
        let value = value.ok_or_else(|| malformed(format!("capability {code} is cut short")))?;
        let capability = decode(code, value).ok_or_else(|| {
            malformed(format!("capability {code} has the wrong length {}", value.len()))
        })?;
        into.push(capability);
    }
    Ok(())
}

fn decode(code: u8, value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let capability = match code {
        MULTIPROTOCOL => {
            let (afi, _reserved, safi) = (reader.u16()?, reader.u8()?, reader.u8()?);
            Capability::Multiprotocol(AfiSafi { afi, safi })
        }
        ROUTE_REFRESH => Capability::RouteRefresh,
        ENHANCED_ROUTE_REFRESH => Capability::EnhancedRouteRefresh,
        EXTENDED_MESSAGE => Capability::ExtendedMessage,
        FOUR_OCTET_AS => Capability::FourOctetAs(Asn(reader.u32()?)),
        ROLE => Capability::Role(reader.u8()?),
        EXTENDED_NEXT_HOP => return extended_next_hop(value).map(Capability::ExtendedNextHop),
        GRACEFUL_RESTART => return graceful_restart(reader).map(Capability::GracefulRestart),
        ADD_PATHS => return add_paths(value).map(Capability::AddPaths),
        LONG_LIVED => return long_lived(value).map(Capability::LongLived),
        _ => return Some(Capability::Unknown { code, value: value.to_vec() }),
    };
    reader.is_empty().then_some(capability)
}

fn graceful_restart(mut reader: Reader<'_>) -> Option<GracefulRestart> {
    let head = reader.u16()?;
    let (entries, []) = reader.rest().as_chunks::<4>() else { return None };
    let family = |[a, b, safi, flags]: &[u8; 4]| GracefulFamily {
        family: AfiSafi { afi: u16::from_be_bytes([*a, *b]), safi: *safi },
        forwarding: flags & FORWARDING != 0,
    };
    Some(GracefulRestart {
        restarting: head & RESTARTING != 0,
        notification: head & NOTIFICATION != 0,
        time: head & TIME,
        families: entries.iter().map(family).collect(),
    })
}

fn extended_next_hop(value: &[u8]) -> Option<Vec<ExtendedNextHop>> {
    let (entries, []) = value.as_chunks::<6>() else { return None };
    let family = |[a, b, c, d, e, f]: &[u8; 6]| {
        let [afi, safi, next_hop_afi] = [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_be_bytes);
        ExtendedNextHop { afi, safi, next_hop_afi }
    };
    Some(entries.iter().map(family).collect())
}

/// RFC 7911 §4; a Send/Receive that is neither says nothing.
fn add_paths(value: &[u8]) -> Option<Vec<AddPathsFamily>> {
    let (entries, []) = value.as_chunks::<4>() else { return None };
    let family = |[a, b, safi, way]: &[u8; 4]| AddPathsFamily {
        family: AfiSafi { afi: u16::from_be_bytes([*a, *b]), safi: *safi },
        receive: matches!(way, 1 | 3),
        send: matches!(way, 2 | 3),
    };
    Some(entries.iter().map(family).collect())
}

fn long_lived(value: &[u8]) -> Option<Vec<LongLivedFamily>> {
    let (entries, []) = value.as_chunks::<7>() else { return None };
    let family = |[a, b, safi, flags, x, y, z]: &[u8; 7]| LongLivedFamily {
        family: AfiSafi { afi: u16::from_be_bytes([*a, *b]), safi: *safi },
        forwarding: flags & FORWARDING != 0,
        stale_time: u32::from_be_bytes([0, *x, *y, *z]),
    };
    Some(entries.iter().map(family).collect())
}

/// Appends code, length and value; a value longer than its length octet can say is cut.
pub(super) fn encode(capability: &Capability, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([capability.code(), 0]);
    match capability {
        Capability::Multiprotocol(AfiSafi { afi, safi }) => {
            out.extend(afi.to_be_bytes());
            out.extend([0, *safi]);
        }
        Capability::FourOctetAs(asn) => out.extend(asn.0.to_be_bytes()),
        Capability::GracefulRestart(restart) => put_graceful_restart(restart, out),
        Capability::AddPaths(families) => put_add_paths(families, out),
        Capability::LongLived(families) => put_long_lived(families, out),
        Capability::ExtendedNextHop(families) => put_extended_next_hop(families, out),
        Capability::Role(value) => out.push(*value),
        Capability::Unknown { value, .. } => out.extend(value.iter().take(255)),
        Capability::RouteRefresh
        | Capability::EnhancedRouteRefresh
        | Capability::ExtendedMessage => {}
    }
    let length = out.len() - start - 2;
    if let Some(octet) = out.get_mut(start + 1) {
        *octet = u8::try_from(length).unwrap_or(u8::MAX);
    }
}

fn put_graceful_restart(restart: &GracefulRestart, out: &mut Vec<u8>) {
    const MOST: usize = (255 - 2) / 4;
    let mut head = restart.time.min(TIME);
    head |= if restart.restarting { RESTARTING } else { 0 };
    head |= if restart.notification { NOTIFICATION } else { 0 };
    out.extend(head.to_be_bytes());
    for GracefulFamily { family, forwarding } in restart.families.iter().take(MOST) {
        out.extend(family.afi.to_be_bytes());
        out.extend([family.safi, if *forwarding { FORWARDING } else { 0 }]);
    }
}

fn put_extended_next_hop(families: &[ExtendedNextHop], out: &mut Vec<u8>) {
    const MOST: usize = 255 / 6;
    for ExtendedNextHop { afi, safi, next_hop_afi } in families.iter().take(MOST) {
        [afi, safi, next_hop_afi].iter().for_each(|code| out.extend(code.to_be_bytes()));
    }
}

fn put_add_paths(families: &[AddPathsFamily], out: &mut Vec<u8>) {
    const MOST: usize = 255 / 4;
    for AddPathsFamily { family, receive, send } in families.iter().take(MOST) {
        out.extend(family.afi.to_be_bytes());
        out.extend([family.safi, u8::from(*receive) | u8::from(*send) << 1]);
    }
}

/// A time that 24 bits cannot say is cut to the longest they can.
fn put_long_lived(families: &[LongLivedFamily], out: &mut Vec<u8>) {
    const MOST: usize = 255 / 7;
    for LongLivedFamily { family, forwarding, stale_time } in families.iter().take(MOST) {
        out.extend(family.afi.to_be_bytes());
        out.extend([family.safi, if *forwarding { FORWARDING } else { 0 }]);
        let [_, time @ ..] = (*stale_time).min(0x00ff_ffff).to_be_bytes();
        out.extend(time);
    }
}
