//! Messages as values.

use super::text::Community;
use crate::types::{Asn, Family, NextHop, Prefix, RouterId};

/// RFC 4271 §4.1.
pub const HEADER_LEN: usize = 19;
pub const MAX_LEN: usize = 4096;
/// With RFC 8654 on both sides.
pub const MAX_EXTENDED_LEN: usize = 65535;
pub const PORT: u16 = 179;

/// What the two OPENs have agreed on that changes how later bytes are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// AS numbers in AS_PATH and AGGREGATOR have four octets (RFC 6793 §4.1).
    pub four_octet_as: bool,
    /// The session is internal: LOCAL_PREF and reflection attributes are believed.
    pub internal: bool,
    /// Messages may be longer than 4096 octets (RFC 8654 §4).
    pub extended_messages: bool,
    /// IPv4 prefixes may have IPv6 next hops (RFC 8950 §4).
    pub extended_next_hop: bool,
    /// The families of which the peer sends several paths a prefix (RFC 7911 §4).
    pub paths_in: PathIds,
    /// The families of which we may.
    pub paths_out: PathIds,
}

impl Context {
    /// Before the OPENs, and where they have agreed on nothing.
    pub const BARE: Self = Self {
        four_octet_as: false,
        internal: false,
        extended_messages: false,
        extended_next_hop: false,
        paths_in: PathIds::NONE,
        paths_out: PathIds::NONE,
    };

    /// How long a message may be; OPEN and KEEPALIVE are never longer than [`MAX_LEN`].
    #[must_use]
    pub const fn longest(&self) -> usize {
        if self.extended_messages { MAX_EXTENDED_LEN } else { MAX_LEN }
    }

    /// As the other side sees the session: with it, one reads what one has sent.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        Self { paths_in: self.paths_out, paths_out: self.paths_in, ..self }
    }
}

/// The families whose prefixes stand behind a path identifier (RFC 7911 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathIds {
    pub ipv4: bool,
    pub ipv6: bool,
}

impl PathIds {
    pub const NONE: Self = Self { ipv4: false, ipv6: false };

    #[must_use]
    pub const fn of(self, family: Family) -> bool {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }

    #[must_use]
    pub fn new(has: impl Fn(Family) -> bool) -> Self {
        Self { ipv4: has(Family::Ipv4Unicast), ipv6: has(Family::Ipv6Unicast) }
    }

    #[must_use]
    pub const fn any(self) -> bool {
        self.ipv4 || self.ipv6
    }
}

/// What UPDATEs list: a prefix, or one of several paths to it (RFC 7911 §3).
pub trait Listed: Copy {
    fn prefix(&self) -> &Prefix;

    /// 0 where a prefix has one path.
    fn path(&self) -> u32;
}

impl Listed for Prefix {
    fn prefix(&self) -> &Prefix {
        self
    }

    fn path(&self) -> u32 {
        0
    }
}

/// With its path identifier.
impl Listed for (Prefix, u32) {
    fn prefix(&self) -> &Prefix {
        &self.0
    }

    fn path(&self) -> u32 {
        self.1
    }
}

#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, and a box would cost each UPDATE"
)]
pub enum Message<'a> {
    Open(Open),
    Update(Update<'a>),
    Notification(Notification),
    Keepalive,
    RouteRefresh(AfiSafi),
    /// To be ignored unless both sides have the capability.
    RefreshMark(AfiSafi, RefreshMark),
}

/// Around the routes that answer a ROUTE-REFRESH (RFC 7313 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshMark {
    Begin,
    End,
    /// To be ignored (RFC 7313 §5).
    Unknown(u8),
}

/// A pair of codes that need not be one of ours (RFC 4760 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AfiSafi {
    pub afi: u16,
    pub safi: u8,
}

impl From<Family> for AfiSafi {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4Unicast => Self { afi: 1, safi: 1 },
            Family::Ipv6Unicast => Self { afi: 2, safi: 1 },
        }
    }
}

impl AfiSafi {
    #[must_use]
    pub fn family(self) -> Option<Family> {
        Family::ALL.into_iter().find(|f| Self::from(*f) == self)
    }
}

/// RFC 4271 §4.2. The version is always 4: another one does not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The four-octet number where that capability is present, else the two-octet field.
    pub asn: Asn,
    /// Seconds; 0 or at least 3.
    pub hold_time: u16,
    pub router_id: RouterId,
    pub capabilities: Vec<Capability>,
}

/// RFC 5492; the codes are IANA's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    Multiprotocol(AfiSafi),
    RouteRefresh,
    EnhancedRouteRefresh,
    ExtendedMessage,
    ExtendedNextHop(Vec<ExtendedNextHop>),
    Role(u8),
    FourOctetAs(Asn),
    AddPaths(Vec<AddPathsFamily>),
    GracefulRestart(GracefulRestart),
    LongLived(Vec<LongLivedFamily>),
    Unknown { code: u8, value: Vec<u8> },
}

/// Prefixes of a family may have next hops of another one (RFC 8950 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedNextHop {
    pub afi: u16,
    /// Two octets, here alone.
    pub safi: u16,
    pub next_hop_afi: u16,
}

impl ExtendedNextHop {
    /// IPv4 unicast over IPv6.
    pub const IPV4: Self = Self { afi: 1, safi: 1, next_hop_afi: 2 };
}

/// What the speaker is able to do with several paths a prefix (RFC 7911 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddPathsFamily {
    pub family: AfiSafi,
    pub receive: bool,
    pub send: bool,
}

/// RFC 4724 §3, with the N bit of RFC 8538 §2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GracefulRestart {
    pub restarting: bool,
    pub notification: bool,
    /// Seconds, 12 bits.
    pub time: u16,
    pub families: Vec<GracefulFamily>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulFamily {
    pub family: AfiSafi,
    pub forwarding: bool,
}

/// RFC 9494 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongLivedFamily {
    pub family: AfiSafi,
    pub forwarding: bool,
    /// Seconds, 24 bits.
    pub stale_time: u32,
}

/// RFC 4271 §4.5. Codes by number: unknown ones are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub code: u8,
    pub subcode: u8,
    pub data: Vec<u8>,
}

/// One UPDATE. The prefixes are validated but still in the message's bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update<'a> {
    /// What is announced, at most one section a family; empty where `fault` says treat-as-withdraw.
    pub announced: Sections<Announced<'a>>,
    /// The message's own field and MP_UNREACH_NLRI, and as many again when treated as withdrawn.
    pub withdrawn: [Option<Withdrawn<'a>>; 4],
    /// Present when something is announced. Its `next_hop` is that of the first section.
    pub attributes: Option<Attributes>,
    /// The UPDATE was malformed and yet the session lives (RFC 7606 §2): what was announced now
    /// stands in `withdrawn`, or an attribute was discarded.
    pub fault: Option<UpdateFault>,
    /// The message is the End-of-RIB marker of this family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
}

/// At most two entries: the message's own IPv4 fields, and the multiprotocol attribute.
pub type Sections<T> = [Option<T>; 2];

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Announced<'a> {
    pub family: Family,
    pub next_hop: NextHop,
    pub nlri: Nlri<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Withdrawn<'a> {
    pub family: Family,
    pub nlri: Nlri<'a>,
}

/// Prefixes as they stand in a message. Only the decoder makes one, after it has checked all of
/// it, so reading cannot fail. Iterate with `for prefix in nlri`.
#[derive(Clone, Copy, PartialEq)]
pub struct Nlri<'a> {
    pub(super) family: Family,
    /// Each prefix stands behind a path identifier.
    pub(super) ids: bool,
    pub(super) bytes: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFault {
    /// "ORIGIN has the undefined value 9"
    pub text: String,
    /// Treat-as-withdraw; false: only the attribute was discarded.
    pub withdraw: bool,
}

/// The path attributes of a route, next hop included. Two routes with equal attributes share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attributes {
    pub next_hop: NextHop,
    pub origin: Origin,
    pub as_path: AsPath,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    pub atomic_aggregate: bool,
    pub aggregator: Option<Aggregator>,
    /// RFC 1997.
    pub communities: Vec<u32>,
    /// RFC 4360.
    pub extended_communities: Vec<u64>,
    /// RFC 8092.
    pub large_communities: Vec<[u32; 3]>,
    /// RFC 4456 §8.
    pub originator_id: Option<RouterId>,
    pub cluster_list: Vec<RouterId>,
    /// Who has sent it down or sideways (RFC 9234 §5).
    pub only_to_customer: Option<Asn>,
    /// Ours alone, never on the wire: what a policy prefers before all else.
    pub weight: u32,
    pub partial: Partial,
    /// Transitive attributes we do not know, passed on with the Partial bit (RFC 4271 §5).
    pub unknown: Vec<RawAttribute>,
}

/// Which attributes have passed somebody who did not know them. The bit is never taken back
/// (RFC 4271 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Partial {
    pub aggregator: bool,
    pub communities: bool,
    pub extended_communities: bool,
    pub large_communities: bool,
    pub only_to_customer: bool,
}

impl Attributes {
    #[must_use]
    pub fn has_community(&self, community: Community) -> bool {
        self.communities.contains(&community.0)
    }

    /// RFC 9494 §3.2.
    #[must_use]
    pub fn is_long_lived_stale(&self) -> bool {
        self.has_community(Community::LLGR_STALE)
    }

    /// Only what every route has (RFC 4271 §5), with an empty AS_PATH: as our own routes start.
    #[must_use]
    pub fn bare(next_hop: NextHop, origin: Origin) -> Self {
        Self {
            next_hop,
            origin,
            as_path: AsPath::default(),
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            only_to_customer: None,
            weight: 0,
            partial: Partial::default(),
            unknown: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    Igp,
    Egp,
    Incomplete,
}

/// RFC 4271 §4.3 b.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AsPath(pub Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Segment {
    pub kind: SegmentKind,
    /// Never empty.
    pub asns: Vec<Asn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    Set,
    Sequence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aggregator {
    pub asn: Asn,
    pub router_id: RouterId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawAttribute {
    pub flags: u8,
    pub code: u8,
    pub value: Vec<u8>,
}

/// What the encoder is given to announce or withdraw.
pub type Prefixes<'a> = &'a [Prefix];
