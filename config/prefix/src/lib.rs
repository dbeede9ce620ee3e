//! IP prefixes without host bits, read by one strict grammar.
//!
//! `ipnetwork` keeps host bits and reads `10.0.0.0` or `10.0.0.0/255.0.0.0` as prefixes; inside
//! Mainstay a [`Prefix`] is a key of tables and must have one form only. Conversions to and from
//! `ipnetwork` stand at the edges.

#![forbid(unsafe_code)]

mod parse;

pub use parse::ParsePrefixError;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A prefix of either family. IPv4 sorts before IPv6, then by address, then shorter first.
///
/// The host bits are zero and the length fits the family, always.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

/// Why an address and a length are not a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    #[error("length /{0} is longer than the address")]
    TooLong(u8),
    #[error("has host bits set; the prefix is {0}")]
    HostBits(Prefix),
}

impl Prefix {
    pub const DEFAULT_V4: Self = Self { addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0 };
    pub const DEFAULT_V6: Self = Self { addr: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 };

    /// Refuses host bits.
    pub fn new(addr: IpAddr, len: u8) -> Result<Self, BadPrefix> {
        let prefix = Self::containing(addr, len)?;
        if prefix.addr == addr { Ok(prefix) } else { Err(BadPrefix::HostBits(prefix)) }
    }

    /// Clears host bits: the prefix of that length which `addr` lies in.
    pub fn containing(addr: IpAddr, len: u8) -> Result<Self, BadPrefix> {
        if len > width(addr) {
            return Err(BadPrefix::TooLong(len));
        }
        Ok(Self { addr: from_bits(addr, bits(addr) & mask(addr, len)), len })
    }

    /// The /32 or /128 of one address.
    #[must_use]
    pub const fn host(addr: IpAddr) -> Self {
        Self { addr, len: width(addr) }
    }

    /// The first address.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many bits are fixed.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a length in bits, not of a collection")]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether this is the default route of its family.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.addr.is_ipv4()
    }

    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.addr.is_ipv6()
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        from_bits(self.addr, bits(self.addr) | !mask(self.addr, self.len) & all(self.addr))
    }

    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.addr.is_ipv4() == addr.is_ipv4()
            && bits(addr) & mask(addr, self.len) == bits(self.addr)
    }

    /// Whether every address of `other` is in `self`; a prefix covers itself.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.len <= other.len && self.contains(other.addr)
    }

    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// How many addresses it has; 2^128 is told as `u128::MAX`.
    #[must_use]
    pub fn size(&self) -> u128 {
        1u128.checked_shl(u32::from(width(self.addr) - self.len)).unwrap_or(u128::MAX)
    }

    /// The address `offset` places after the first, if it is inside.
    #[must_use]
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        (offset < self.size()).then(|| from_bits(self.addr, bits(self.addr) + offset))
    }

    /// How many places after the first address `addr` is, if it is inside.
    #[must_use]
    pub fn offset_of(&self, addr: IpAddr) -> Option<u128> {
        self.contains(addr).then(|| bits(addr) - bits(self.addr))
    }

    /// The `index`th prefix of length `len` inside this one.
    #[must_use]
    pub fn subnet(&self, len: u8, index: u128) -> Option<Self> {
        let width = width(self.addr);
        if len < self.len || len > width {
            return None;
        }
        if len == self.len {
            return (index == 0).then_some(*self);
        }
        let step = 1u128.checked_shl(u32::from(width - len))?;
        let addr = self.nth(index.checked_mul(step)?)?;
        Some(Self { addr, len })
    }
}

const fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn all(addr: IpAddr) -> u128 {
    if addr.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX }
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

fn mask(addr: IpAddr, len: u8) -> u128 {
    let host = u32::from(width(addr).saturating_sub(len));
    all(addr) & u128::MAX.checked_shl(host).unwrap_or(0)
}

fn from_bits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        // Only the low half is ever set for IPv4.
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Prefix> for ipnetwork::IpNetwork {
    fn from(p: Prefix) -> Self {
        match p.addr {
            IpAddr::V4(a) => ipnetwork::Ipv4Network::new_checked(a, p.len)
                .map_or_else(|| Self::from(IpAddr::V4(a)), Self::V4),
            IpAddr::V6(a) => ipnetwork::Ipv6Network::new_checked(a, p.len)
                .map_or_else(|| Self::from(IpAddr::V6(a)), Self::V6),
        }
    }
}

/// Clears host bits, as `ipnetwork` does not.
impl From<ipnetwork::IpNetwork> for Prefix {
    fn from(n: ipnetwork::IpNetwork) -> Self {
        Self { addr: n.network(), len: n.prefix() }
    }
}

impl serde::Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn covers_and_contains_never_mix_families() {
        assert!(p("10.0.0.0/8").contains("10.1.2.3".parse().unwrap()));
        assert!(!p("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(p("10.0.0.0/8").covers(&p("10.0.0.0/8")));
        assert!(!p("10.0.0.0/9").covers(&p("10.0.0.0/8")));
    }

    #[test]
    fn subnets_are_counted_from_the_first_address() {
        assert_eq!(p("10.244.0.0/16").subnet(26, 5), Some(p("10.244.1.64/26")));
        assert_eq!(p("10.244.0.0/16").subnet(26, 1024), None);
        assert_eq!(p("fd00::/48").subnet(122, 1), Some(p("fd00::40/122")));
        assert_eq!(p("::/0").subnet(0, 0), Some(p("::/0")));
    }

    #[test]
    fn the_last_address_of_the_whole_space_is_all_ones() {
        assert_eq!(p("0.0.0.0/0").last().to_string(), "255.255.255.255");
        assert_eq!(p("10.0.0.0/31").last().to_string(), "10.0.0.1");
        assert_eq!(p("::/0").size(), u128::MAX);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bits: u128, len in 0u8..=128, v4: bool) {
            let addr = if v4 { IpAddr::V4(Ipv4Addr::from(bits as u32)) } else { IpAddr::V6(bits.into()) };
            let prefix = Prefix::containing(addr, len.min(width(addr))).unwrap();
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert!(prefix.contains(addr) && prefix.contains(prefix.last()));
            prop_assert_eq!(prefix.nth(prefix.offset_of(addr).unwrap()), Some(addr));
            prop_assert_eq!(Prefix::from(ipnetwork::IpNetwork::from(prefix)), prefix);
        }
    }
}
