//! Prefixes in a message: length in bits, then as many octets as those need (RFC 4271 §4.3).

use super::types::Nlri;
use crate::types::{Family, Prefix};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a path identifier (RFC 7911 §3).
const ID: usize = 4;

impl<'a> Nlri<'a> {
    /// Walks all of it once; the error tells what is wrong (RFC 7606 §5.3).
    pub(super) fn check(family: Family, ids: bool, bytes: &'a [u8]) -> Result<Self, String> {
        let width = width(family);
        let short = || format!("the last prefix of {family} is cut short");
        let mut rest = bytes;
        while !rest.is_empty() {
            let prefix = if ids { rest.get(ID..).ok_or_else(short)? } else { rest };
            let (len, tail) = prefix.split_first().ok_or_else(short)?;
            if *len > width {
                return Err(format!("a prefix of {family} has the length {len}"));
            }
            rest = tail.get(octets(*len)..).ok_or_else(short)?;
        }
        Ok(Self { family, ids, bytes })
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many prefixes; counted anew each time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    #[must_use]
    pub const fn iter(&self) -> NlriIter<'a> {
        NlriIter { family: self.family, ids: self.ids, rest: self.bytes }
    }

    /// Prefixes with their path identifiers: 0 where there are none.
    pub fn paths(&self) -> impl Iterator<Item = (Prefix, u32)> + use<'a> {
        let mut iter = self.iter();
        std::iter::from_fn(move || iter.next_path())
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
    ids: bool,
    rest: &'a [u8],
}

impl Iterator for NlriIter<'_> {
    type Item = Prefix;

    #[inline]
    fn next(&mut self) -> Option<Prefix> {
        self.next_path().map(|(prefix, _)| prefix)
    }
}

impl NlriIter<'_> {
    #[inline]
    fn next_path(&mut self) -> Option<(Prefix, u32)> {
        let mut id = 0;
        if self.ids {
            let (octets, rest) = self.rest.split_first_chunk::<ID>()?;
            id = u32::from_be_bytes(*octets);
            self.rest = rest;
        }
        let (len, tail) = self.rest.split_first()?;
        let addr = match self.family {
            Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::from(leading::<4>(tail))),
            Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::from(leading::<16>(tail))),
        };
        self.rest = tail.get(octets(*len)..)?;
        Some((Prefix::containing(addr, *len).ok()?, id))
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
