//! Values as a network engineer writes them.

use super::types::Origin;
use std::fmt;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Igp => "IGP",
            Self::Egp => "EGP",
            Self::Incomplete => "incomplete",
        })
    }
}

/// RFC 1997: `65001:100`, or IANA's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// RFC 8326.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    pub const ACCEPT_OWN: Self = Self(0xffff_0001);
    /// RFC 9494.
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// RFC 7999.
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// RFC 1997, as the two below.
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// RFC 3765.
    pub const NO_PEER: Self = Self(0xffff_ff04);

    /// Those that have a [`name`](Self::name).
    pub const WELL_KNOWN: [Self; 9] = [
        Self::GRACEFUL_SHUTDOWN,
        Self::ACCEPT_OWN,
        Self::LLGR_STALE,
        Self::NO_LLGR,
        Self::BLACKHOLE,
        Self::NO_EXPORT,
        Self::NO_ADVERTISE,
        Self::NO_EXPORT_SUBCONFED,
        Self::NO_PEER,
    ];

    /// IANA's name of a well-known community.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::GRACEFUL_SHUTDOWN => "graceful-shutdown",
            Self::ACCEPT_OWN => "accept-own",
            Self::LLGR_STALE => "llgr-stale",
            Self::NO_LLGR => "no-llgr",
            Self::BLACKHOLE => "blackhole",
            Self::NO_EXPORT => "no-export",
            Self::NO_ADVERTISE => "no-advertise",
            Self::NO_EXPORT_SUBCONFED => "no-export-subconfed",
            Self::NO_PEER => "no-peer",
            _ => return None,
        })
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// RFC 8092 §4: `64512:1:2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub [u32; 3]);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [global, local1, local2] = self.0;
        write!(f, "{global}:{local1}:{local2}")
    }
}

/// RFC 4360 §4, RFC 5668: `rt:65001:100`, `soo:192.0.2.1:7`; RFC 10005: `bandwidth:65001:1250000000`;
/// others as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub u64);

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bgp_words::Community::Extended(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_read_as_they_are_written_in_configurations() {
        let standard = [65001 << 16 | 100, 0xffff_ff01, 0xffff_0000, 0xffff_029a, 0, u32::MAX];
        let text = standard.map(|c| Community(c).to_string());
        assert_eq!(
            text,
            ["65001:100", "no-export", "graceful-shutdown", "blackhole", "0:0", "65535:65535"]
        );
        assert_eq!(LargeCommunity([4_200_000_000, 0, 7]).to_string(), "4200000000:0:7");
        let extended = [
            0x0002_fde9_0000_0064,
            0x0103_c000_0201_0007,
            0x0202_fa56_ea00_0005,
            0x4304_0000_0000_0001,
            0x4004_fde9_4e95_02f9,
            0x0004_fde9_4e95_02f9,
        ];
        let text = extended.map(|c| ExtendedCommunity(c).to_string());
        assert_eq!(
            text,
            [
                "rt:65001:100",
                "soo:192.0.2.1:7",
                "rt:4200000000:5",
                "4304000000000001",
                "bandwidth:65001:1250000000",
                "bandwidth-transitive:65001:1250000000"
            ]
        );
    }
}
