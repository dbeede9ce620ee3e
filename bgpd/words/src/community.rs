//! Communities of all three kinds, and patterns of them.
//!
//! | kind | written |
//! |---|---|
//! | standard (RFC 1997) | `65001:100`, or IANA's name: `no-export`, `blackhole`, … |
//! | large (RFC 8092) | `4200000000:1:2` |
//! | extended (RFC 4360, RFC 5668) | `rt:65001:100`, `soo:192.0.2.1:7`; others as 16 hex digits |
//! | the bandwidth of a link (RFC 10005) | `bandwidth:65001:1250000000`, in octets a second |
//!
//! In a pattern each number may be `*` or a range: `65001:*`, `65001:100-199`, `rt:65001:*`.

use crate::{BadWord, LinkBandwidth, decimal};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    Standard(u32),
    Extended(u64),
    Large([u32; 3]),
}

/// Those that a speaker or its peers act upon, by IANA's names.
const WELL_KNOWN: [(u32, &str); 9] = [
    (0xffff_0000, "graceful-shutdown"),
    (0xffff_0001, "accept-own"),
    (0xffff_0006, "llgr-stale"),
    (0xffff_0007, "no-llgr"),
    (0xffff_029a, "blackhole"),
    (0xffff_ff01, "no-export"),
    (0xffff_ff02, "no-advertise"),
    (0xffff_ff03, "no-export-subconfed"),
    (0xffff_ff04, "no-peer"),
];

/// Types of extended communities whose first half is an administrator (RFC 4360 §3.1, §3.2, RFC
/// 5668 §2).
const TWO_OCTET_AS: u8 = 0;
const ADDRESS: u8 = 1;
const FOUR_OCTET_AS: u8 = 2;

const ROUTE_TARGET: u8 = 2;
const ROUTE_ORIGIN: u8 = 3;

/// What an extended community says, where it is one of those that have names.
#[derive(Clone, Copy)]
struct Extended {
    kind: u8,
    subtype: u8,
    admin: u32,
    local: u32,
}

impl Extended {
    fn of(value: u64) -> Option<Self> {
        let [kind, subtype, a, b, c, d, e, f] = value.to_be_bytes();
        let (admin, local) = match kind {
            TWO_OCTET_AS => (u16::from_be_bytes([a, b]).into(), u32::from_be_bytes([c, d, e, f])),
            ADDRESS | FOUR_OCTET_AS => {
                (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]).into())
            }
            _ => return None,
        };
        subtype_name(subtype).map(|_| Self { kind, subtype, admin, local })
    }

    /// `None`: the local part does not fit.
    fn value(self) -> Option<u64> {
        let head = u64::from(self.kind) << 56 | u64::from(self.subtype) << 48;
        let (admin, local) = (u64::from(self.admin), u64::from(self.local));
        match self.kind {
            TWO_OCTET_AS => Some(head | admin << 32 | local),
            _ => u16::try_from(self.local).ok().map(|_| head | admin << 16 | local),
        }
    }
}

const fn subtype_name(subtype: u8) -> Option<&'static str> {
    match subtype {
        ROUTE_TARGET => Some("rt"),
        ROUTE_ORIGIN => Some("soo"),
        _ => None,
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Standard(value) => match WELL_KNOWN.iter().find(|(v, _)| *v == value) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "{}:{}", value >> 16, value & 0xffff),
            },
            Self::Large([global, one, two]) => write!(f, "{global}:{one}:{two}"),
            Self::Extended(value) => match Extended::of(value) {
                Some(Extended { kind, subtype, admin, local }) => {
                    let name = subtype_name(subtype).unwrap_or_default();
                    match kind {
                        ADDRESS => write!(f, "{name}:{}:{local}", Ipv4Addr::from(admin)),
                        _ => write!(f, "{name}:{admin}:{local}"),
                    }
                }
                None => match LinkBandwidth::of(value).filter(|said| said.is_plain()) {
                    Some(bandwidth) => bandwidth.fmt(f),
                    None => write!(f, "{value:016x}"),
                },
            },
        }
    }
}

impl FromStr for Community {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let pattern: CommunityPattern = text.parse()?;
        pattern.single().ok_or_else(|| {
            BadWord::new("stands for many communities; only an exact one can be set")
        })
    }
}

/// One number of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    least: u32,
    most: u32,
}

impl Part {
    const ANY: Self = Self { least: 0, most: u32::MAX };

    fn read(text: &str, most: u32) -> Result<Self, BadWord> {
        if text == "*" {
            return Ok(Self::ANY);
        }
        let (least, last) = text.split_once('-').unwrap_or((text, text));
        match (decimal(least), decimal(last)) {
            (Some(least), Some(last)) if least <= last && last <= most => {
                Ok(Self { least, most: last })
            }
            (Some(least), Some(last)) if least > last => {
                Err(BadWord::new(format!("has a range that ends before it begins: {text}")))
            }
            _ => Err(BadWord::new(format!("has {text} where a number up to {most} may stand"))),
        }
    }

    const fn has(self, number: u32) -> bool {
        self.least <= number && number <= self.most
    }

    const fn single(self) -> Option<u32> {
        if self.least == self.most { Some(self.least) } else { None }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("*"),
            Self { least, most } if least == most => write!(f, "{least}"),
            Self { least, most } => write!(f, "{least}-{most}"),
        }
    }
}

/// A community, or many that look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommunityPattern(Pattern);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Exactly(Community),
    Standard([Part; 2]),
    Large([Part; 3]),
    /// Of both types with an AS number (`address` false), or of the one with an address.
    Extended {
        subtype: u8,
        address: bool,
        admin: Part,
        local: Part,
    },
}

impl CommunityPattern {
    /// What it stands for, if that is one community.
    #[must_use]
    pub fn single(&self) -> Option<Community> {
        match self.0 {
            Pattern::Exactly(community) => Some(community),
            _ => None,
        }
    }

    #[must_use]
    pub fn matches(&self, community: Community) -> bool {
        match (self.0, community) {
            (Pattern::Exactly(wanted), found) => wanted == found || reads_alike(wanted, found),
            (Pattern::Standard([high, low]), Community::Standard(value)) => {
                high.has(value >> 16) && low.has(value & 0xffff)
            }
            (Pattern::Large([a, b, c]), Community::Large([x, y, z])) => {
                a.has(x) && b.has(y) && c.has(z)
            }
            (Pattern::Extended { subtype, address, admin, local }, Community::Extended(value)) => {
                Extended::of(value).is_some_and(|e| {
                    let of_kind = address == (e.kind == ADDRESS) || admin == Part::ANY;
                    of_kind && e.subtype == subtype && admin.has(e.admin) && local.has(e.local)
                })
            }
            _ => false,
        }
    }
}

/// A small AS number may stand in either of two types (RFC 5668 §2); nobody writes which.
fn reads_alike(one: Community, other: Community) -> bool {
    let (Community::Extended(one), Community::Extended(other)) = (one, other) else { return false };
    let key = |e: Extended| (e.kind == ADDRESS, e.subtype, e.admin, e.local);
    Extended::of(one).is_some_and(|one| Extended::of(other).is_some_and(|o| key(one) == key(o)))
}

impl FromStr for CommunityPattern {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        if let Some((value, _)) = WELL_KNOWN.iter().find(|(_, name)| *name == text) {
            return Ok(Self(Pattern::Exactly(Community::Standard(*value))));
        }
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["rt", admin, local] => extended(ROUTE_TARGET, admin, local),
            ["soo", admin, local] => extended(ROUTE_ORIGIN, admin, local),
            ["bandwidth", asn, octets] => bandwidth(false, asn, octets),
            ["bandwidth-transitive", asn, octets] => bandwidth(true, asn, octets),
            [high, low] => {
                let most = u16::MAX.into();
                Ok(standard([Part::read(high, most)?, Part::read(low, most)?]))
            }
            [a, b, c] => {
                let part = |text| Part::read(text, u32::MAX);
                Ok(large([part(a)?, part(b)?, part(c)?]))
            }
            [hex] if hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                let value =
                    u64::from_str_radix(hex, 16).map_err(|e| BadWord::new(e.to_string()))?;
                Ok(Self(Pattern::Exactly(Community::Extended(value))))
            }
            _ => Err(BadWord::new(
                "is no community; write 65001:100, 65001:1:2, rt:65001:100 or a name such as no-export",
            )),
        }
    }
}

fn bandwidth(transitive: bool, asn: &str, octets: &str) -> Result<CommunityPattern, BadWord> {
    let said = LinkBandwidth::read(transitive, asn, octets)?;
    Ok(CommunityPattern(Pattern::Exactly(Community::Extended(said.community()))))
}

fn standard(parts: [Part; 2]) -> CommunityPattern {
    CommunityPattern(match parts.map(Part::single) {
        [Some(high), Some(low)] => Pattern::Exactly(Community::Standard(high << 16 | low)),
        _ => Pattern::Standard(parts),
    })
}

fn large(parts: [Part; 3]) -> CommunityPattern {
    CommunityPattern(match parts.map(Part::single) {
        [Some(a), Some(b), Some(c)] => Pattern::Exactly(Community::Large([a, b, c])),
        _ => Pattern::Large(parts),
    })
}

fn extended(subtype: u8, admin: &str, local: &str) -> Result<CommunityPattern, BadWord> {
    let address: Option<Ipv4Addr> = admin.parse().ok();
    let admin = match address {
        Some(address) => Part { least: address.to_bits(), most: address.to_bits() },
        None => Part::read(admin, u32::MAX)?,
    };
    let address = address.is_some();
    let local = Part::read(local, u32::MAX)?;
    let (Some(admin_is), Some(local_is)) = (admin.single(), local.single()) else {
        return Ok(CommunityPattern(Pattern::Extended { subtype, address, admin, local }));
    };
    let kind = match (address, u16::try_from(admin_is)) {
        (true, _) => ADDRESS,
        (false, Ok(_)) => TWO_OCTET_AS,
        (false, Err(_)) => FOUR_OCTET_AS,
    };
    let value = Extended { kind, subtype, admin: admin_is, local: local_is }.value();
    let value = value.ok_or_else(|| {
        BadWord::new("has more than 65535 behind an address or a four-octet AS number")
    })?;
    Ok(CommunityPattern(Pattern::Exactly(Community::Extended(value))))
}

impl fmt::Display for CommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Pattern::Exactly(community) => write!(f, "{community}"),
            Pattern::Standard([a, b]) => write!(f, "{a}:{b}"),
            Pattern::Large([a, b, c]) => write!(f, "{a}:{b}:{c}"),
            Pattern::Extended { subtype, address, admin, local } => {
                let name = subtype_name(subtype).unwrap_or_default();
                match admin.single().filter(|_| address) {
                    Some(admin) => write!(f, "{name}:{}:{local}", Ipv4Addr::from(admin)),
                    None => write!(f, "{name}:{admin}:{local}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Community {
        text.parse().unwrap()
    }

    fn matches(pattern: &str, community: &str) -> bool {
        pattern.parse::<CommunityPattern>().unwrap().matches(read(community))
    }

    #[test]
    fn each_kind_is_read_as_it_is_written() {
        assert_eq!(read("65001:100"), Community::Standard(65001 << 16 | 100));
        assert_eq!(read("no-export"), Community::Standard(0xffff_ff01));
        assert_eq!(read("4200000000:0:7"), Community::Large([4_200_000_000, 0, 7]));
        assert_eq!(read("rt:65001:100"), Community::Extended(0x0002_fde9_0000_0064));
        assert_eq!(read("soo:192.0.2.1:7"), Community::Extended(0x0103_c000_0201_0007));
        assert_eq!(read("rt:4200000000:5"), Community::Extended(0x0202_fa56_ea00_0005));
        assert_eq!(read("4304000000000001"), Community::Extended(0x4304_0000_0000_0001));
    }

    #[test]
    fn a_number_of_a_pattern_may_be_any_or_a_range() {
        assert!(matches("65001:*", "65001:7") && !matches("65001:*", "65002:7"));
        assert!(matches("65001:100-199", "65001:150") && !matches("65001:100-199", "65001:200"));
        assert!(matches("*:*:9", "1:2:9") && !matches("*:*", "1:2:9"));
        assert!(matches("rt:65001:*", "rt:65001:9") && !matches("rt:65001:*", "soo:65001:9"));
        assert!(matches("rt:*:9", "rt:192.0.2.1:9") && matches("rt:*:9", "rt:4200000000:9"));
        assert!(!matches("rt:1-3221225985:9", "rt:192.0.2.1:9"), "an address is no AS number");
        assert!(matches("*:666", "65535:666") && matches("65535:*", "blackhole"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| text.parse::<CommunityPattern>().unwrap_err().to_string();
        assert_eq!(wrong("70000:1"), "has 70000 where a number up to 65535 may stand");
        assert_eq!(wrong("65001:200-100"), "has a range that ends before it begins: 200-100");
        assert_eq!(
            wrong("rt:4200000000:70000"),
            "has more than 65535 behind an address or a four-octet AS number"
        );
        for text in ["", ":", "65001", "no_export", "1:2:3:4", "rt:1", "65001:", "-1:5", "01:5"] {
            assert!(text.parse::<CommunityPattern>().is_err(), "{text}");
        }
        let many = "65001:*".parse::<Community>().unwrap_err().to_string();
        assert_eq!(many, "stands for many communities; only an exact one can be set");
    }

    fn community() -> impl Strategy<Value = Community> {
        prop_oneof![
            any::<u32>().prop_map(Community::Standard),
            any::<u64>().prop_map(Community::Extended),
            (0u8..4, 0u8..5, any::<u32>(), any::<u16>()).prop_map(
                |(kind, subtype, admin, local)| {
                    let head = u64::from(kind) << 56 | u64::from(subtype) << 48;
                    Community::Extended(head | u64::from(admin) << 16 | u64::from(local))
                }
            ),
            any::<[u32; 3]>().prop_map(Community::Large),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_was_meant(community in community()) {
            let text = community.to_string();
            let pattern: CommunityPattern = text.parse().unwrap();
            prop_assert!(pattern.matches(community));
            prop_assert_eq!(pattern.to_string(), text);
        }

        #[test]
        fn no_text_is_too_odd(text in "[a-z0-9:*. -]{0,30}|\\PC{0,30}") {
            let _ = text.parse::<CommunityPattern>();
        }
    }
}
