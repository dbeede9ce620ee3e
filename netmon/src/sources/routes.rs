//! The kernel's routes: how many there are, and how often they change.
//!
//! Counted from a dump at each scrape rather than kept up by events: a link that goes down takes
//! its IPv4 routes with it and announces none of them.

use super::SourceError;
use crate::export::{Samples, metrics};
use crate::netlink::socket::Dump;
use crate::netlink::wire::{self, Malformed, Message};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_TABLE: u16 = 15;
/// A cached exception (path MTU, redirect), no route of a table.
const RTM_F_CLONED: u32 = 0x200;
const NLM_F_REPLACE: u16 = 0x100;

/// Tables beside main, local and default that get a label of their own: the lowest numbers.
const TABLES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// AF_INET and AF_INET6.
    pub(crate) const fn from_af(af: u8) -> Option<Self> {
        match af {
            2 => Some(Self::Ipv4),
            10 => Some(Self::Ipv6),
            _ => None,
        }
    }

    const fn af(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }
}

/// What a route is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RouteKey {
    pub(crate) family: Family,
    pub(crate) protocol: u8,
    pub(crate) table: u32,
}

/// The body of an RTM_NEWROUTE or RTM_DELROUTE. `None`: a cached exception, or another family.
pub(crate) fn parse(body: &[u8]) -> Result<Option<RouteKey>, Malformed> {
    let Some((header, attributes)) = body.split_first_chunk::<12>() else {
        return Err(Malformed("route header"));
    };
    let [af, _, _, _, table, protocol, _, _, flags @ ..] = *header;
    let Some(family) = Family::from_af(af) else { return Ok(None) };
    if u32::from_ne_bytes(flags) & RTM_F_CLONED != 0 {
        return Ok(None);
    }
    let mut key = RouteKey { family, protocol, table: table.into() };
    for attribute in wire::attributes(attributes) {
        let attribute = attribute?;
        if attribute.kind == RTA_TABLE {
            key.table = attribute.u32()?;
        }
    }
    Ok(Some(key))
}

type Counts = BTreeMap<RouteKey, u64>;

/// Dumps both families. Blocks: 0.6 µs a route.
pub(crate) fn read() -> Result<Samples, SourceError> {
    let mut all = Counts::new();
    for family in Family::ALL {
        let mut header = [0; 12];
        header[0] = family.af();
        let dump = Dump {
            protocol: netlink_sys::protocols::NETLINK_ROUTE,
            kind: RTM_GETROUTE,
            header: &header,
        };
        let counts = dump.run(count).map_err(|e| SourceError::netlink("dump routes", e))?;
        all.extend(counts);
    }
    Ok(samples(&all))
}

fn count(counts: &mut Counts, message: Message<'_>) -> Result<(), Malformed> {
    if message.kind == RTM_NEWROUTE
        && let Some(key) = parse(message.body)?
    {
        *counts.entry(key).or_default() += 1;
    }
    Ok(())
}

fn samples(counts: &Counts) -> Samples {
    let others = counts.keys().map(|k| k.table).filter(|t| table_name(*t).is_none());
    let shown: BTreeSet<u32> = others.collect::<BTreeSet<_>>().into_iter().take(TABLES).collect();
    let mut sums: BTreeMap<(Family, u8, Cow<'static, str>), u64> = BTreeMap::new();
    for (key, n) in counts {
        let table = match table_name(key.table) {
            Some(name) => name.into(),
            None if shown.contains(&key.table) => key.table.to_string().into(),
            None => "~other".into(),
        };
        *sums.entry((key.family, key.protocol, table)).or_default() += n;
    }
    let mut samples = Samples::default();
    for ((family, protocol, table), n) in sums {
        let labels = [family.name(), &protocol_name(protocol), &table];
        samples.add(&metrics::FIB_ROUTES, &labels, n);
    }
    samples
}

const fn table_name(table: u32) -> Option<&'static str> {
    match table {
        253 => Some("default"),
        254 => Some("main"),
        255 => Some("local"),
        _ => None,
    }
}

/// As iproute2 names them, and ours; else the number.
pub(crate) fn protocol_name(protocol: u8) -> Cow<'static, str> {
    let name = match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        84 => "ovn",
        MAINSTAY_BGP => "mainstay-bgp",
        MAINSTAY_IPAM => "mainstay-ipam",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        number => return number.to_string().into(),
    };
    name.into()
}

const MAINSTAY_BGP: u8 = 96;
const MAINSTAY_IPAM: u8 = 97;

/// What the kernel announced about its routes since netmon started.
#[derive(Debug)]
pub(crate) struct Changes {
    /// By op, family, protocol.
    counts: [[[AtomicU64; 256]; 2]; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Replace,
    Delete,
}

impl Op {
    const ALL: [Self; 3] = [Self::Add, Self::Replace, Self::Delete];

    const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }

    const fn of(message: &Message<'_>) -> Option<Self> {
        match message.kind {
            RTM_NEWROUTE if message.flags & NLM_F_REPLACE != 0 => Some(Self::Replace),
            RTM_NEWROUTE => Some(Self::Add),
            RTM_DELROUTE => Some(Self::Delete),
            _ => None,
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        let row = || [const { [const { AtomicU64::new(0) }; 256] }; 2];
        Self { counts: [row(), row(), row()] }
    }
}

impl Changes {
    pub(crate) fn observe(&self, message: &Message<'_>) -> Result<(), Malformed> {
        let Some(op) = Op::of(message) else { return Ok(()) };
        if let Some(key) = parse(message.body)? {
            self.cell(op, key.family, key.protocol).fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn cell(&self, op: Op, family: Family, protocol: u8) -> &AtomicU64 {
        &self.counts[op as usize][family as usize][usize::from(protocol)]
    }

    /// Every count above zero, and those an operator will ask for at zero as well.
    pub(crate) fn export(&self, samples: &mut Samples) {
        const ALWAYS: [u8; 5] = [2, 3, 4, MAINSTAY_BGP, MAINSTAY_IPAM];
        for op in Op::ALL {
            for family in Family::ALL {
                for protocol in 0..=u8::MAX {
                    let n = self.cell(op, family, protocol).load(Ordering::Relaxed);
                    if n > 0 || ALWAYS.contains(&protocol) {
                        let labels = [op.name(), family.name(), &protocol_name(protocol)];
                        samples.add(&metrics::FIB_ROUTE_CHANGES, &labels, n);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::build;
    use proptest::prelude::*;

    /// `ip route add 198.51.100.0/24 via 192.0.2.1 dev eth0 proto 96 metric 100 table 1000`, as
    /// the kernel announces it on x86-64: table 252 (RT_TABLE_COMPAT), the real one in RTA_TABLE.
    const V4: &[u8] = &[
        2, 24, 0, 0, 252, 96, 0, 1, 0, 0, 0, 0, // rtmsg
        8, 0, 15, 0, 0xe8, 3, 0, 0, // RTA_TABLE 1000
        8, 0, 1, 0, 198, 51, 100, 0, // RTA_DST
        8, 0, 6, 0, 100, 0, 0, 0, // RTA_PRIORITY
        8, 0, 5, 0, 192, 0, 2, 1, // RTA_GATEWAY
        8, 0, 4, 0, 7, 0, 0, 0, // RTA_OIF
    ];

    fn route(af: u8, table: u8, protocol: u8) -> Vec<u8> {
        vec![af, 0, 0, 0, table, protocol, 0, 1, 0, 0, 0, 0]
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_route_is_known_by_family_protocol_and_table() {
        let key = RouteKey { family: Family::Ipv4, protocol: 96, table: 1000 };
        assert_eq!(parse(V4), Ok(Some(key)));
    }

    #[test]
    fn the_table_of_the_header_counts_where_no_attribute_says_more() {
        let key = RouteKey { family: Family::Ipv6, protocol: 2, table: 255 };
        assert_eq!(parse(&route(10, 255, 2)), Ok(Some(key)));
    }

    #[test]
    fn cached_exceptions_and_other_families_are_no_routes() {
        let mut cloned = route(10, 254, 2);
        cloned[8..12].copy_from_slice(&RTM_F_CLONED.to_ne_bytes());
        assert_eq!(parse(&cloned), Ok(None));
        assert_eq!(parse(&route(28, 254, 2)), Ok(None));
        assert_eq!(parse(&[2, 0, 0]), Err(Malformed("route header")));
    }

    #[test]
    fn many_tables_share_one_label() {
        let key = |table| RouteKey { family: Family::Ipv4, protocol: 4, table };
        let counts: Counts = (1000..1100).map(|t| (key(t), 2)).chain([(key(254), 5)]).collect();
        let text = samples(&counts).to_text();
        let line = |labels: &str, n| {
            format!(
                r#"mainstay_fib_routes{{family="ipv4",protocol="static",table="{labels}"}} {n}"#
            )
        };
        assert!(text.contains(&line("main", 5)), "{text}");
        assert!(text.contains(&line("1015", 2)), "{text}");
        assert!(text.contains(&line("~other", 168)), "{text}");
        assert_eq!(text.lines().filter(|l| !l.starts_with('#')).count(), 18);
    }

    #[test]
    fn changes_are_counted_by_what_was_done() {
        let changes = Changes::default();
        let body = [route(2, 254, 96), build::attribute(1, &[10, 0, 0, 0])].concat();
        let seen = [
            (RTM_NEWROUTE, 0x600),
            (RTM_NEWROUTE, NLM_F_REPLACE),
            (RTM_NEWROUTE, NLM_F_REPLACE),
            (RTM_DELROUTE, 0),
            (16, 0), // RTM_NEWLINK
        ];
        for (kind, flags) in seen {
            changes.observe(&Message { kind, flags, sequence: 0, body: &body }).unwrap();
        }
        let counts = Op::ALL.map(|op| changes.cell(op, Family::Ipv4, 96).load(Ordering::Relaxed));
        assert_eq!(counts, [1, 2, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_changed_byte_is_read_without_panic(at in 0..V4.len(), byte: u8, end in 0..=V4.len()) {
            let mut bytes = V4.to_vec();
            bytes[at] = byte;
            let _ = parse(&bytes[..end]);
        }
    }
}
