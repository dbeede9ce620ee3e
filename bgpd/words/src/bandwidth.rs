//! The bandwidth of a link, as an extended community says it (RFC 10005), and as it is asked for.
//!
//! | | written |
//! |---|---|
//! | the community | `bandwidth:65001:1250000000` (octets a second); `bandwidth-transitive:…` where it may cross an AS |
//! | a rate | `10G`, `2500M`, `100000` (bits a second) |

use crate::{BadWord, decimal};
use std::fmt;
use std::str::FromStr;

/// The two types (RFC 4360 §3.1: of two-octet ASes), and the sub-type.
const TRANSITIVE: u8 = 0x00;
const NON_TRANSITIVE: u8 = 0x40;
const SUBTYPE: u8 = 0x04;

/// What stands for an AS whose number does not fit (RFC 6793 §9).
const AS_TRANS: u16 = 23456;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkBandwidth {
    pub transitive: bool,
    /// Whose link it is.
    pub asn: u16,
    /// A second. What a peer says may be any number, or none.
    pub octets: f32,
}

impl LinkBandwidth {
    /// `None`: it is another extended community.
    #[must_use]
    pub const fn of(community: u64) -> Option<Self> {
        let [kind, subtype, a, b, c, d, e, f] = community.to_be_bytes();
        if subtype != SUBTYPE || (kind != TRANSITIVE && kind != NON_TRANSITIVE) {
            return None;
        }
        Some(Self {
            transitive: kind == TRANSITIVE,
            asn: u16::from_be_bytes([a, b]),
            octets: f32::from_be_bytes([c, d, e, f]),
        })
    }

    #[must_use]
    pub const fn community(self) -> u64 {
        let kind = if self.transitive { TRANSITIVE } else { NON_TRANSITIVE };
        let [a, b] = self.asn.to_be_bytes();
        let [c, d, e, f] = self.octets.to_be_bytes();
        u64::from_be_bytes([kind, SUBTYPE, a, b, c, d, e, f])
    }

    /// Whether it reads as a plain number, and the same one when it is read again.
    pub(crate) fn is_plain(self) -> bool {
        self.octets.is_sign_positive() && self.octets.is_finite() && self.octets.fract() == 0.0
    }

    /// What follows `bandwidth:` or `bandwidth-transitive:`.
    pub(crate) fn read(transitive: bool, asn: &str, octets: &str) -> Result<Self, BadWord> {
        let asn = decimal(asn).and_then(|asn| u16::try_from(asn).ok());
        let digits = !octets.is_empty() && octets.bytes().all(|b| b.is_ascii_digit());
        let octets = digits.then(|| octets.parse::<f32>().ok()).flatten();
        match (asn, octets.filter(|rate| rate.is_finite())) {
            (Some(asn), Some(octets)) => Ok(Self { transitive, asn, octets }),
            _ => Err(BadWord::new(
                "is no link bandwidth; write bandwidth:65001:1250000000, an AS number up to 65535 and octets a second",
            )),
        }
    }
}

impl fmt::Display for LinkBandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.transitive { "bandwidth-transitive" } else { "bandwidth" };
        write!(f, "{kind}:{}:{}", self.asn, self.octets)
    }
}

/// Bits a second; not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u64);

const UNITS: [(char, u64); 4] =
    [('T', 1_000_000_000_000), ('G', 1_000_000_000), ('M', 1_000_000), ('K', 1_000)];

impl Rate {
    /// The community that says so, of a link of this AS; it stays inside the AS.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the community has no more digits")]
    pub fn community(self, asn: u32) -> u64 {
        let asn = u16::try_from(asn).unwrap_or(AS_TRANS);
        LinkBandwidth { transitive: false, asn, octets: self.0 as f32 / 8.0 }.community()
    }
}

impl FromStr for Rate {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let unit = UNITS.iter().find(|(letter, _)| text.ends_with(*letter));
        let (number, unit) = match unit {
            Some((letter, unit)) => (text.trim_end_matches(*letter), *unit),
            None => (text, 1),
        };
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let bits = number.parse::<u64>().ok().filter(|_| plain && text.len() <= number.len() + 1);
        let bits = bits.and_then(|n| n.checked_mul(unit)).filter(|bits| *bits > 0);
        bits.map(Self)
            .ok_or_else(|| BadWord::new("is no rate; write bits a second: 10G, 2500M, 64K"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)) {
            Some((letter, unit)) => write!(f, "{}{letter}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rate_is_written_in_bits_and_said_in_octets() {
        for (text, shown, octets) in [
            ("10G", "10G", 1.25e9),
            ("2500M", "2500M", 312.5e6),
            ("8", "8", 1.0),
            ("1000000", "1M", 125e3),
            ("3T", "3T", 375e9),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), shown);
            let said = LinkBandwidth::of(rate.community(65001)).unwrap();
            assert_eq!((said.transitive, said.asn, said.octets), (false, 65001, octets));
        }
        let wide = LinkBandwidth::of("1G".parse::<Rate>().unwrap().community(4_200_000_000));
        assert_eq!(wide.unwrap().asn, AS_TRANS);
    }

    #[test]
    fn what_is_no_rate_is_none() {
        for text in ["", "0", "0G", "G", "10g", "10GG", "1.5G", "-1", "+1", "10 G", "99999999999T"]
        {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<Rate>();
            let _ = LinkBandwidth::read(true, &text, &text);
        }

        #[test]
        fn what_is_written_is_read_again(bits in 1u64..u64::MAX) {
            let rate = Rate(bits);
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }

        #[test]
        fn a_community_is_what_it_was(octets: f32, asn: u16, transitive: bool) {
            let one = LinkBandwidth { transitive, asn, octets };
            let again = LinkBandwidth::of(one.community()).unwrap();
            prop_assert_eq!(again.community(), one.community());
        }
    }
}
