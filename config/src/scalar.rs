//! The words of the file: numbers, durations, addresses, names.

use crate::model::{self, Family, Mode, NextHopRule, OverLimit, Speaker};
use crate::read::{Scalar, Wrong, wrong_word};
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Int<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Scalar for Int<MIN, MAX> {
    const WHAT: &'static str = "a whole number";
    const PLAIN: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let number = decimal(text).ok_or(Wrong::Kind)?;
        u32::try_from(number)
            .ok()
            .filter(|n| (MIN..=MAX).contains(n))
            .map(Self)
            .ok_or_else(|| Wrong::Because(format!("is not within {MIN} to {MAX}")))
    }

    fn schema() -> serde_json::Value {
        json!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

/// Digits only: YAML's 0x1f, 1_000 and 1e3 are somebody else's numbers.
fn decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = plain && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().unwrap_or(u64::MAX))
}

/// An AS number that a speaker may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asn(pub(crate) u32);

impl Scalar for Asn {
    const WHAT: &'static str = "an AS number, 1 to 4294967295";
    const PLAIN: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let number = decimal(text).ok_or(Wrong::Kind)?;
        match u32::try_from(number) {
            Ok(23456) => {
                Err(Wrong::Because("is AS_TRANS, which no speaker may have (RFC 6793 §9)".into()))
            }
            Ok(0) | Err(_) => Err(Wrong::Kind),
            Ok(asn) => Ok(Self(asn)),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "integer", "minimum": 1, "maximum": u32::MAX, "not": {"const": 23456}})
    }
}

/// Which AS a peer may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerAs {
    Number(u32),
    /// That of the nodes.
    Internal,
    /// Any but that.
    External,
}

impl PeerAs {
    /// With that number for the nodes.
    pub(crate) const fn is_internal(self, own: u32) -> bool {
        match self {
            Self::Number(asn) => asn == own,
            Self::Internal => true,
            Self::External => false,
        }
    }
}

impl Scalar for PeerAs {
    const WHAT: &'static str = "an AS number, 1 to 4294967295, or external or internal";
    const PLAIN: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "internal" => Ok(Self::Internal),
            "external" => Ok(Self::External),
            _ => Asn::from_text(text).map(|asn| Self::Number(asn.0)),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [Asn::schema(), {"enum": ["external", "internal"]}]})
    }
}

impl Scalar for bool {
    const WHAT: &'static str = "true or false";
    const PLAIN: Self = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| Wrong::Kind)
    }

    fn schema() -> serde_json::Value {
        json!({"type": "boolean"})
    }
}

/// Bytes: `64KiB`, `32MiB`, `1GiB`, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Scalar for Size {
    const WHAT: &'static str = "a size such as 64KiB, 32MiB or 1GiB, or 0";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        const LEAST: u64 = 64 << 10;
        const MOST: u64 = 1 << 30;
        if text == "0" {
            return Ok(Self(0));
        }
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        let found = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
        let (number, bits) = found.ok_or(Wrong::Kind)?;
        let number = decimal(number).ok_or(Wrong::Kind)?;
        let bytes = number.checked_mul(1 << bits).filter(|n| (LEAST..=MOST).contains(n));
        bytes.map(Self).ok_or_else(|| Wrong::Because("is not within 64KiB to 1GiB".into()))
    }

    fn schema() -> serde_json::Value {
        json!({"type": ["string", "integer"], "pattern": "^(0|[1-9][0-9]*(KiB|MiB|GiB))$"})
    }
}

impl Scalar for Duration {
    const WHAT: &'static str = "a duration such as 90s, 2m, 1h30m or 500ms";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        if decimal(text).is_some() {
            return Err(Wrong::Because(format!("has no unit; write {text}s, {text}m or {text}h")));
        }
        duration(text).ok_or(Wrong::Kind)
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^(?=[0-9])([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
               "examples": ["90s", "2m", "1h30m"]})
    }
}

/// Numbers with a unit each, the larger unit first, none twice: `90s`, `1h30m`, `500ms`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) =
            tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let (_, scale) = units.find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*scale)?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// Who a speaker says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouterId {
    Auto,
    Given(Ipv4Addr),
}

impl Scalar for RouterId {
    const WHAT: &'static str = "auto or a router ID written as an IPv4 address";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<Ipv4Addr>() {
            Ok(id) if id.is_unspecified() => {
                Err(Wrong::Because("is no router ID (RFC 6286 §2.1)".into()))
            }
            Ok(id) => Ok(Self::Given(id)),
            Err(_) => Err(Wrong::Kind),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "anyOf": [{"const": "auto"}, {"format": "ipv4"}]})
    }
}

/// A name that may stand in metrics, file names and command lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(pub(crate) String);

const NAME_PATTERN: &str = "^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$";

impl Scalar for Name {
    const WHAT: &'static str =
        "a name: letters, digits, and . _ - between them, at most 253 characters";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let good = outer(bytes.first()) && outer(bytes.last());
        let good = good && bytes.len() <= 253 && bytes.iter().all(|b| inner(*b));
        if good { Ok(Self(text.into())) } else { Err(Wrong::Kind) }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": NAME_PATTERN})
    }
}

/// A namespace, or all that begin so: `team-*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Glob(pub(crate) String);

impl Scalar for Glob {
    const WHAT: &'static str = "a namespace: lower-case letters, digits and -, at most 63 characters, and * at the end for any end";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let start = text.strip_suffix('*').unwrap_or(text);
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good = (1..=63).contains(&text.len()) && start.bytes().all(inner);
        if good { Ok(Self(text.into())) } else { Err(Wrong::Kind) }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^[a-z0-9-]{0,63}[*]?$", "minLength": 1})
    }
}

/// Something of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Namespaced {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Scalar for Namespaced {
    const WHAT: &'static str = "written NAMESPACE/NAME, such as default/web-0";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let (namespace, name) = text.split_once('/').ok_or(Wrong::Kind)?;
        let word = |part: &str| {
            (1..=253).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
        };
        if !word(namespace) || !word(name) {
            return Err(Wrong::Kind);
        }
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^[^/ ]{1,253}/[^/ ]{1,253}$"})
    }
}

/// An interface of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface(pub(crate) String);

impl Scalar for Interface {
    const WHAT: &'static str = "an interface's name, 1 to 15 characters";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let good = (1..=15).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
            && text != "."
            && text != "..";
        if good { Ok(Self(text.into())) } else { Err(Wrong::Kind) }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "minLength": 1, "maxLength": 15})
    }
}

/// A file on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File(pub(crate) PathBuf);

impl Scalar for File {
    const WHAT: &'static str = "a file's full path, starting with /";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let good = text.starts_with('/') && !text.chars().any(char::is_control);
        if good { Ok(Self(text.into())) } else { Err(Wrong::Kind) }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^/"})
    }
}

/// A routing table of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteTable(pub(crate) u32);

pub(crate) const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u64 = 255;

impl Scalar for RouteTable {
    const WHAT: &'static str = "main or a table's number, 1 to 4294967295";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match decimal(text) {
            None if text == "main" => Ok(Self(TABLE_MAIN)),
            Some(TABLE_LOCAL) => Err(Wrong::Because("is the kernel's own table, local".into())),
            Some(n @ 1..) => u32::try_from(n).map(Self).map_err(|_| Wrong::Kind),
            _ => Err(Wrong::Kind),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"const": "main"}, {"type": "integer", "minimum": 1, "maximum": u32::MAX}]})
    }
}

/// An enum out of few words.
macro_rules! words {
    ($type:ty, $what:literal: $( $word:literal => $value:expr, )+) => {
        impl Scalar for $type {
            const WHAT: &'static str = $what;

            fn from_text(text: &str) -> Result<Self, Wrong> {
                match text {
                    $( $word => Ok($value), )+
                    _ => Err(wrong_word(&[$( $word ),+])),
                }
            }

            fn schema() -> serde_json::Value {
                json!({"type": "string", "enum": [$( $word ),+]})
            }
        }
    };
}

mod address;
mod policy;

pub(crate) use address::*;
pub(crate) use policy::*;

words! { Mode, "none, simple or bgp":
    "none" => Self::None,
    "simple" => Self::Simple,
    "bgp" => Self::Bgp,
}

words! { Family, "ipv4 or ipv6":
    "ipv4" => Self::Ipv4,
    "ipv6" => Self::Ipv6,
}

words! { Speaker, "bird, zebra or bgp":
    "bird" => Self::Bird,
    "zebra" => Self::Zebra,
    "bgp" => Self::Bgp,
}

words! { NextHopRule, "auto, self or unchanged":
    "auto" => Self::Auto,
    "self" => Self::OurSelf,
    "unchanged" => Self::Unchanged,
}

/// What becomes of private AS numbers, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemovePrivate(pub(crate) Option<model::RemovePrivate>);

impl Scalar for RemovePrivate {
    const WHAT: &'static str = "true, all, replace or false";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "false" => Ok(Self(None)),
            "true" => Ok(Self(Some(model::RemovePrivate::Alone))),
            "all" => Ok(Self(Some(model::RemovePrivate::All))),
            "replace" => Ok(Self(Some(model::RemovePrivate::Replace))),
            _ => Err(wrong_word(&["true", "all", "replace", "false"])),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"enum": [true, false, "all", "replace"]})
    }
}

words! { OverLimit, "warn, discard, restart or stop":
    "warn" => Self::Warn,
    "discard" => Self::Discard,
    "restart" => Self::Restart,
    "stop" => Self::Stop,
}

/// `80%`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u8);

impl Scalar for Percent {
    const WHAT: &'static str = "a share such as 80%, 1% to 100%";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let number = text.strip_suffix('%').and_then(decimal).ok_or(Wrong::Kind)?;
        let percent = u8::try_from(number).ok().filter(|n| (1..=100).contains(n));
        percent.map(Self).ok_or(Wrong::Kind)
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^([1-9][0-9]?|100)%$", "examples": ["80%"]})
    }
}

/// How many hops away a peer may be, which is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TtlSecurity(pub(crate) Option<u8>);

impl Scalar for TtlSecurity {
    const WHAT: &'static str = "true, false or a number of hops, 1 to 254";
    const PLAIN: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match (text, decimal(text)) {
            ("true", _) => Ok(Self(Some(1))),
            ("false", _) => Ok(Self(None)),
            (_, Some(hops @ 1..=254)) => Ok(Self(u8::try_from(hops).ok())),
            _ => Err(Wrong::Kind),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 254}]})
    }
}

/// For how long an address is kept for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StickyPolicy {
    Ttl,
    Never,
    WhileOwnerExists,
}

words! { StickyPolicy, "ttl, never or while-owner-exists":
    "ttl" => Self::Ttl,
    "never" => Self::Never,
    "while-owner-exists" => Self::WhileOwnerExists,
}

/// Where blocks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimSource {
    Static,
    Etcd,
    Kubernetes,
}

words! { ClaimSource, "static, etcd or kubernetes":
    "static" => Self::Static,
    "etcd" => Self::Etcd,
    "kubernetes" => Self::Kubernetes,
}

words! { model::AoAlgorithm, "hmac-sha-1-96 or aes-128-cmac-96":
    "hmac-sha-1-96" => Self::HmacSha1,
    "aes-128-cmac-96" => Self::Aes128Cmac,
}

/// Several paths for a prefix (RFC 7911): which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddPaths {
    None,
    Receive,
    Send,
    Both,
}

words! { AddPaths, "none, receive, send or both":
    "none" => Self::None,
    "receive" => Self::Receive,
    "send" => Self::Send,
    "both" => Self::Both,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_is_numbers_with_units_from_large_to_small() {
        for (text, millis) in [
            ("90s", 90_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
            ("1s1ms", 1001),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "1", "1d", "1s1", "1s1h", "1s1s", "-1s", "+1s", "1.5s", " 1s", "1 s", "1S"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_has_digits_only_and_no_leading_zero() {
        assert_eq!(["0", "7", "4294967296"].map(decimal), [Some(0), Some(7), Some(1 << 32)]);
        assert_eq!(decimal("99999999999999999999999"), Some(u64::MAX));
        for text in ["", "01", "+1", "-1", "0x1f", "1_000", "1e3", "1.0", "٣"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_that_can_be_written_is_read(h in 0u64..10_000, m in 0u64..60, s in 0u64..60, ms in 0u64..1000) {
            let whole = Duration::from_millis(((h * 60 + m) * 60 + s) * 1000 + ms);
            prop_assert_eq!(duration(&format!("{h}h{m}m{s}s{ms}ms")), Some(whole));
        }

        #[test]
        fn no_text_is_too_odd_for_a_duration(text in "\\PC{0,30}") {
            let _ = duration(&text);
        }
    }
}
