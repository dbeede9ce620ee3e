//! The nouns every module uses.

use crate::hop_weight::HopWeight;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use mainstay_prefix::Prefix;

/// An autonomous system number, four octets (RFC 6793).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS, what stands in two-octet fields for a number that does not fit (RFC 6793 §9).
    pub const TRANS: Self = Self(23456);
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AS{}", self.0)
    }
}

/// BGP Identifier; never zero once it has passed an OPEN (RFC 6286 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Of which AS a peer may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerAs {
    Is(Asn),
    /// Any but ours: it says so itself.
    External,
}

impl PeerAs {
    /// Whether it may be `theirs` where we are `ours`.
    #[must_use]
    pub fn admits(self, theirs: Asn, ours: Asn) -> bool {
        match self {
            Self::Is(asn) => asn == theirs,
            Self::External => theirs != ours,
        }
    }

    /// `None`: it is not settled.
    #[must_use]
    pub const fn asn(self) -> Option<Asn> {
        match self {
            Self::Is(asn) => Some(asn),
            Self::External => None,
        }
    }
}

impl From<Asn> for PeerAs {
    fn from(asn: Asn) -> Self {
        Self::Is(asn)
    }
}

impl fmt::Display for PeerAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(asn) => asn.fmt(f),
            Self::External => f.write_str("external"),
        }
    }
}

/// An address family and subsequent family that we route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    Ipv4Unicast,
    Ipv6Unicast,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    #[must_use]
    pub const fn of(prefix: &Prefix) -> Self {
        if prefix.is_ipv4() { Self::Ipv4Unicast } else { Self::Ipv6Unicast }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        })
    }
}

/// Where this node has a path from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// A peer has told it.
    Bgp,
    /// The configuration says so.
    Local,
    /// One of the address blocks this node holds.
    Block,
    /// Another controller has said so through the API.
    Injected,
}

/// What a peer is to us (RFC 9234 §4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    Provider,
    Customer,
    Peer,
    RouteServer,
    RouteServerClient,
}

/// Where packets go next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    V4(Ipv4Addr),
    /// The link-local address is used when there is one (RFC 2545 §3).
    V6 {
        global: Ipv6Addr,
        link_local: Option<Ipv6Addr>,
    },
}

impl NextHop {
    /// Nothing but a link-local address: it means something on one link alone.
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        match self {
            Self::V6 { global, link_local } => {
                global.is_unicast_link_local() || global.is_unspecified() && link_local.is_some()
            }
            Self::V4(_) => false,
        }
    }

    /// The address to compare, to show, and to hand to the kernel unless there is a link-local one.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        match self {
            Self::V4(a) => IpAddr::V4(*a),
            Self::V6 { global, .. } => IpAddr::V6(*global),
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.addr(), f)
    }
}

impl fmt::Debug for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V6 { global, link_local: Some(ll) } => write!(f, "{global}+{ll}"),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

/// A next hop where it is: what the kernel is told of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Gateway {
    pub next_hop: NextHop,
    /// The number of the interface on which a link-local address means this one; 0: it is not
    /// needed, or not known.
    pub scope: u32,
    /// Beside the others of a route.
    pub weight: HopWeight,
}

impl Gateway {
    /// On that interface, where the address alone does not say so.
    #[must_use]
    pub const fn on(next_hop: NextHop, scope: u32) -> Self {
        let scope = if next_hop.is_link_local() { scope } else { 0 };
        Self { next_hop, scope, weight: HopWeight::ONE }
    }

    /// Where packets leave by it, whatever their share.
    #[must_use]
    pub const fn way_out(&self) -> (IpAddr, u32) {
        match self.next_hop {
            NextHop::V6 { link_local: Some(link_local), .. } => {
                (IpAddr::V6(link_local), self.scope)
            }
            other => (other.addr(), self.scope),
        }
    }
}

impl From<NextHop> for Gateway {
    fn from(next_hop: NextHop) -> Self {
        Self { next_hop, scope: 0, weight: HopWeight::ONE }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            0 => self.next_hop.fmt(f),
            scope => write!(f, "{}%{scope}", self.next_hop),
        }
    }
}

/// One TCP connection, numbered by whoever opened it: the core for those it dials, with the top bit
/// set; the shell for those it accepts, with the top bit clear. Never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The `n`th connection that the core has dialled.
    #[must_use]
    pub const fn dialled(n: u64) -> Self {
        Self(n | 1 << 63)
    }

    #[must_use]
    pub const fn is_dialled(self) -> bool {
        self.0 >> 63 == 1
    }
}

/// One peer, in the order of configuration and then of appearance. Never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(pub u32);
