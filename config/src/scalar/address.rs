//! Addresses, prefixes, hosts.

use super::decimal;
use crate::model;
use crate::read::{Scalar, Wrong};
use mainstay_prefix::{BadPrefix, ParsePrefixError, Prefix};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

impl Scalar for Prefix {
    const WHAT: &'static str = "a prefix such as 10.0.0.0/8 or 2001:db8::/32";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|e| match e {
            ParsePrefixError::NoLength(_) => {
                Wrong::Because("has no length; write ADDRESS/LENGTH, as in 10.0.0.0/8".into())
            }
            ParsePrefixError::Bad { source: BadPrefix::TooLong(len), .. } => {
                Wrong::Because(format!("is no prefix: /{len} is longer than the address"))
            }
            ParsePrefixError::Bad { source, .. } => Wrong::Because(source.to_string()),
            ParsePrefixError::Address { .. } | ParsePrefixError::Length(_) => Wrong::Kind,
        })
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$",
               "examples": ["10.0.0.0/8", "2001:db8::/32"]})
    }
}

impl Scalar for IpAddr {
    const WHAT: &'static str = "an IP address such as 192.0.2.1 or 2001:db8::1";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let addr: Self = text.parse().map_err(|_| Wrong::Kind)?;
        if addr.is_unspecified() || addr.is_multicast() {
            return Err(Wrong::Because("is no address a host can have".into()));
        }
        if addr.to_canonical() != addr {
            return Err(Wrong::Because(format!(
                "is an IPv4 address; write {}",
                addr.to_canonical()
            )));
        }
        Ok(addr)
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})
    }
}

impl Scalar for SocketAddr {
    const WHAT: &'static str = "an address and port such as 127.0.0.1:9474 or [::]:9474";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| Wrong::Kind)
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["127.0.0.1:9474", "[::]:9474"]})
    }
}

/// A host, by name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort(pub(crate) model::HostPort);

impl Scalar for HostPort {
    const WHAT: &'static str = "a host and its port such as 192.0.2.1:323, [2001:db8::1]:323 or \
         rpki.example.net:323";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let (host, port) = text.rsplit_once(':').ok_or(Wrong::Kind)?;
        let port = decimal(port).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
        let port = port.ok_or(Wrong::Kind)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let known = match inner {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_host(host),
        };
        let host = inner.unwrap_or(host).to_owned();
        known.then_some(Self(model::HostPort { host, port })).ok_or(Wrong::Kind)
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^.+:[0-9]{1,5}$",
               "examples": ["192.0.2.1:323", "[2001:db8::1]:323", "rpki.example.net:323"]})
    }
}

/// An IPv4 address, or a name of letters, digits, hyphens and dots (RFC 1123 §2.1).
fn is_host(text: &str) -> bool {
    let label = |l: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !l.is_empty() && l.len() < 64 && l.bytes().all(inside) && !l.starts_with('-')
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if digits {
        text.parse::<Ipv4Addr>().is_ok()
    } else {
        text.len() < 254 && text.split('.').all(label)
    }
}

/// Addresses from first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: IpAddr,
    pub(crate) last: IpAddr,
}

impl Scalar for Span {
    const WHAT: &'static str = "an address, a prefix, or a range such as 10.0.0.5-10.0.0.9";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        if text.contains('/') {
            let prefix = Prefix::from_text(text)?;
            let last = prefix.nth(prefix.size() - 1).ok_or(Wrong::Kind)?;
            return Ok(Self { first: prefix.addr(), last });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (IpAddr::from_text(first)?, IpAddr::from_text(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(Wrong::Because("has two families".into()));
        }
        if first > last {
            return Err(Wrong::Because(format!("ends before it begins; write {last}-{first}")));
        }
        Ok(Self { first, last })
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3}|-[0-9a-fA-F:.]+)?$",
               "examples": ["10.0.0.5", "10.0.0.0/28", "10.0.0.5-10.0.0.9"]})
    }
}
