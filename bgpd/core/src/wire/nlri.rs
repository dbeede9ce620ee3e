//! Prefixes in a message: length in bits, then as many octets as those need (RFC 4271 §4.3).

use super::types::Nlri;
use crate::types::{Family, Prefix};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl<'a> Nlri<'a> {
    /// Walks all of it once; the error tells what is wrong (RFC 7606 §5.3).
    pub(super) fn check(family: Family, bytes: &'a [u8]) -> Result<Self, String> {
        let width = width(family);
        let mut rest = bytes;
        while let [len, tail @ ..] = rest {
            if *len > width {
                return Err(format!("a prefix of {family} has the length {len}"));
            }
            rest = tail
                .get(octets(*len)..)
                .ok_or_else(|| format!("the last prefix of {family} is cut short"))?;
        }
        Ok(Self { family, bytes })
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many prefixes; counted anew each time.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut count = 0;
        let mut rest = self.bytes;
        while let [len, tail @ ..] = rest {
            count += 1;
            rest = tail.get(octets(*len)..).unwrap_or_default();
        }
        count
    }

    #[must_use]
    pub const fn iter(&self) -> NlriIter<'a> {
        NlriIter { family: self.family, rest: self.bytes }
    }
}

impl<'a> IntoIterator for Nlri<'a> {
    type Item = Prefix;
    type IntoIter = NlriIter<'a>;

    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Nlri<'a> {
    type Item = Prefix;
    type IntoIter = NlriIter<'a>;

    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Nlri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// Bits beyond a prefix's length are cleared (RFC 4271 §4.3: "irrelevant").
#[derive(Debug, Clone)]
pub struct NlriIter<'a> {
    family: Family,
    rest: &'a [u8],
}

impl Iterator for NlriIter<'_> {
    type Item = Prefix;

    #[inline]
    fn next(&mut self) -> Option<Prefix> {
        let (len, tail) = self.rest.split_first()?;
        let addr = match self.family {
            Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::from(leading::<4>(tail))),
            Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::from(leading::<16>(tail))),
        };
        self.rest = tail.get(octets(*len)..)?;
        Prefix::containing(addr, *len).ok()
    }
}

/// The first octets, of the following prefixes too: their bits are cleared as well. Only the end
/// of the message has fewer, and pays for a copy.
#[inline]
fn leading<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; N];
        padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        padded
    })
}

pub(super) const fn width(family: Family) -> u8 {
    match family {
        Family::Ipv4Unicast => 32,
        Family::Ipv6Unicast => 128,
    }
}

/// How many octets a prefix of that length takes after its length.
#[inline]
pub(super) fn octets(len: u8) -> usize {
    usize::from(len).div_ceil(8)
}

/// Appends one prefix: all of its address, because copying a fixed size is quick, less the rest.
#[inline]
pub(super) fn put(prefix: &Prefix, out: &mut Vec<u8>) {
    out.push(prefix.len());
    let end = out.len() + octets(prefix.len());
    match prefix.addr() {
        IpAddr::V4(a) => out.extend_from_slice(&a.octets()),
        IpAddr::V6(a) => out.extend_from_slice(&a.octets()),
    }
    out.truncate(end);
}
