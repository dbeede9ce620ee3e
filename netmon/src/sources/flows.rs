//! Totals of the connections that ended, from conntrack's DESTROY events.
//!
//! The kernel sends one event, with the final counters, for each connection that ends. With
//! NETLINK_BROADCAST_ERROR it keeps an ended connection until every such listener has had room
//! for its event: nothing is lost, at the price that a listener that stops fills the connection
//! table. So the reader is a thread of its own that does nothing but count, and netmon gives the
//! promise up, and says so, when the reader stands still or the table is nearly full.

use super::SourceError;
use super::conntrack::Usage;
use super::routes::Family;
use crate::export::{Samples, metrics};
use crate::netlink::wire::{self, Malformed, Message};
use std::sync::atomic::{AtomicU64, Ordering};

/// NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE.
const CT_DELETE: u16 = 1 << 8 | 2;
const NFGENMSG: usize = 4;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Sctp,
    Other,
}

impl Protocol {
    const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Sctp, Self::Other];

    const fn of(family: Family, number: u8) -> Self {
        match (family, number) {
            (_, 6) => Self::Tcp,
            (_, 17) => Self::Udp,
            (_, 132) => Self::Sctp,
            (Family::Ipv4, 1) | (Family::Ipv6, 58) => Self::Icmp,
            _ => Self::Other,
        }
    }

    const fn name(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Tcp, _) => "tcp",
            (Self::Udp, _) => "udp",
            (Self::Icmp, Family::Ipv4) => "icmp",
            (Self::Icmp, Family::Ipv6) => "icmpv6",
            (Self::Sctp, _) => "sctp",
            (Self::Other, _) => "other",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// One connection that ended. Without accounting its traffic is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) family: Family,
    pub(crate) protocol: Protocol,
    pub(crate) original: Traffic,
    pub(crate) reply: Traffic,
}

/// The body of a DESTROY event. `None`: neither IPv4 nor IPv6.
pub(crate) fn parse(body: &[u8]) -> Result<Option<Flow>, Malformed> {
    let Some((header, attributes)) = body.split_first_chunk::<NFGENMSG>() else {
        return Err(Malformed("netfilter header"));
    };
    let Some(family) = Family::from_af(header[0]) else { return Ok(None) };
    let mut flow = Flow {
        family,
        protocol: Protocol::Other,
        original: Traffic::default(),
        reply: Traffic::default(),
    };
    for attribute in wire::attributes(attributes) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TUPLE_ORIG => {
                if let Some(number) = protocol(attribute)? {
                    flow.protocol = Protocol::of(family, number);
                }
            }
            CTA_COUNTERS_ORIG => flow.original = traffic(attribute)?,
            CTA_COUNTERS_REPLY => flow.reply = traffic(attribute)?,
            _ => {}
        }
    }
    Ok(Some(flow))
}

fn protocol(tuple: wire::Attribute<'_>) -> Result<Option<u8>, Malformed> {
    for part in tuple.nested() {
        let part = part?;
        if part.kind != CTA_TUPLE_PROTO {
            continue;
        }
        for field in part.nested() {
            let field = field?;
            if field.kind == CTA_PROTO_NUM {
                return field.u8().map(Some);
            }
        }
    }
    Ok(None)
}

fn traffic(counters: wire::Attribute<'_>) -> Result<Traffic, Malformed> {
    let mut traffic = Traffic::default();
    for field in counters.nested() {
        let field = field?;
        match field.kind {
            CTA_COUNTERS_PACKETS => traffic.packets = field.be64()?,
            CTA_COUNTERS_BYTES => traffic.bytes = field.be64()?,
            _ => {}
        }
    }
    Ok(traffic)
}

/// What ended since netmon started. Written by one thread, read by any.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    cells: [[Cell; Protocol::ALL.len()]; 2],
}

#[derive(Debug, Default)]
struct Cell {
    flows: AtomicU64,
    original: TrafficCell,
    reply: TrafficCell,
}

#[derive(Debug, Default)]
struct TrafficCell {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl TrafficCell {
    fn add(&self, traffic: Traffic) {
        self.packets.fetch_add(traffic.packets, Ordering::Relaxed);
        self.bytes.fetch_add(traffic.bytes, Ordering::Relaxed);
    }
}

impl Totals {
    pub(crate) fn observe(&self, message: &Message<'_>) -> Result<(), Malformed> {
        if message.kind != CT_DELETE {
            return Ok(());
        }
        if let Some(flow) = parse(message.body)? {
            let cell = &self.cells[flow.family as usize][flow.protocol as usize];
            cell.flows.fetch_add(1, Ordering::Relaxed);
            cell.original.add(flow.original);
            cell.reply.add(flow.reply);
        }
        Ok(())
    }

    /// Flows, and their bytes both ways.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let cells = self.cells.iter().flatten();
        cells.fold((0, 0), |(flows, bytes), cell| {
            let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
            let both = read(&cell.original.bytes) + read(&cell.reply.bytes);
            (flows + read(&cell.flows), bytes + both)
        })
    }

    pub(crate) fn export(&self, samples: &mut Samples) {
        for family in Family::ALL {
            for protocol in Protocol::ALL {
                let cell = &self.cells[family as usize][protocol as usize];
                let labels = [family.name(), protocol.name(family)];
                samples.add(&metrics::FLOWS, &labels, cell.flows.load(Ordering::Relaxed));
                for (direction, traffic) in [("original", &cell.original), ("reply", &cell.reply)] {
                    let labels = [labels[0], labels[1], direction];
                    let (packets, bytes) = (&traffic.packets, &traffic.bytes);
                    samples.add(&metrics::FLOW_PACKETS, &labels, packets.load(Ordering::Relaxed));
                    samples.add(&metrics::FLOW_BYTES, &labels, bytes.load(Ordering::Relaxed));
                }
            }
        }
    }
}

/// Whether the kernel is to keep ended connections for us.
///
/// Told at most every [`Promise::EVERY`] how things are; answers what to set, when that changes.
#[derive(Debug)]
pub(crate) struct Promise {
    kept: bool,
    turns: u64,
    calm: u32,
}

/// What the watch over the reader sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// How often the reader has come back from the kernel.
    pub(crate) turns: u64,
    /// It is not waiting in the kernel.
    pub(crate) busy: bool,
    /// Times it was late, since the last look.
    pub(crate) overruns: u64,
    pub(crate) usage: Option<Usage>,
}

impl Promise {
    pub(crate) const EVERY: std::time::Duration = std::time::Duration::from_secs(10);
    /// Of the table, as a percentage.
    const FULL: u64 = 90;
    /// Looks without trouble before it is promised again.
    const CALM: u32 = 3;

    pub(crate) const fn new() -> Self {
        Self { kept: true, turns: 0, calm: 0 }
    }

    /// `Some`: from now on.
    pub(crate) fn look(&mut self, watch: Watch) -> Option<bool> {
        let stuck = watch.busy && watch.turns == self.turns;
        self.turns = watch.turns;
        let full = watch.usage.is_some_and(|u| u.percent() >= Self::FULL);
        let trouble = stuck || (full && watch.overruns > 0);
        self.calm = if trouble || full { 0 } else { self.calm + 1 };
        let keep = if self.kept { !trouble } else { self.calm >= Self::CALM };
        (keep != std::mem::replace(&mut self.kept, keep)).then_some(keep)
    }
}

const ACCOUNTING: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";

/// Turns on the counting of packets and bytes for connections to come. True: it was off.
pub(crate) fn account() -> Result<bool, SourceError> {
    let proc = |source| SourceError::Proc { path: ACCOUNTING, source };
    let on = std::fs::read_to_string(ACCOUNTING).map_err(proc)?.trim() != "0";
    if !on {
        std::fs::write(ACCOUNTING, "1").map_err(proc)?;
    }
    Ok(!on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::build::{attribute, nest};
    use proptest::prelude::*;

    fn counters(kind: u16, packets: u64, bytes: u64) -> Vec<u8> {
        let field = |kind, n: u64| attribute(kind, &n.to_be_bytes());
        nest(kind, &[field(CTA_COUNTERS_PACKETS, packets), field(CTA_COUNTERS_BYTES, bytes)])
    }

    fn tuple(kind: u16, protocol: u8) -> Vec<u8> {
        let addresses = nest(1, &[attribute(1, &[10, 0, 0, 1]), attribute(2, &[10, 0, 0, 2])]);
        let ports = [attribute(2, &[0x30, 0x39]), attribute(3, &[0, 80])];
        let mut proto = vec![attribute(CTA_PROTO_NUM, &[protocol])];
        proto.extend(ports);
        nest(kind, &[addresses, nest(CTA_TUPLE_PROTO, &proto)])
    }

    /// As `conntrack -E -e DESTROY` gets it: tuples, counters, id, timestamps.
    fn event(af: u8, protocol: u8) -> Vec<u8> {
        [
            vec![af, 0, 0, 0],
            tuple(CTA_TUPLE_ORIG, protocol),
            tuple(2, protocol),
            attribute(12, &7u32.to_be_bytes()), // CTA_ID
            attribute(3, &14u32.to_be_bytes()), // CTA_STATUS
            counters(CTA_COUNTERS_ORIG, 5, 600),
            counters(CTA_COUNTERS_REPLY, 4, 70_000),
            nest(20, &[attribute(1, &[0; 8])]), // CTA_TIMESTAMP
        ]
        .concat()
    }

    #[test]
    fn an_ended_connection_is_read_with_its_counters() {
        let flow = parse(&event(2, 6)).unwrap().unwrap();
        assert_eq!(
            flow,
            Flow {
                family: Family::Ipv4,
                protocol: Protocol::Tcp,
                original: Traffic { packets: 5, bytes: 600 },
                reply: Traffic { packets: 4, bytes: 70_000 },
            }
        );
    }

    #[test]
    fn protocols_that_are_not_known_are_other() {
        let protocol = |af, number| parse(&event(af, number)).unwrap().unwrap().protocol;
        assert_eq!(protocol(10, 58), Protocol::Icmp);
        assert_eq!(protocol(10, 1), Protocol::Other);
        assert_eq!(protocol(2, 47), Protocol::Other);
        assert_eq!(parse(&event(7, 6)), Ok(None));
        assert_eq!(parse(&[2, 0]), Err(Malformed("netfilter header")));
    }

    #[test]
    fn totals_add_up_by_family_protocol_and_direction() {
        let totals = Totals::default();
        for body in [event(2, 6), event(2, 6), event(10, 58)] {
            totals
                .observe(&Message { kind: CT_DELETE, flags: 0, sequence: 0, body: &body })
                .unwrap();
        }
        let new = Message { kind: 1 << 8, flags: 0, sequence: 0, body: &[] };
        totals.observe(&new).unwrap();
        assert_eq!(totals.sums(), (3, 3 * 70_600));
        let mut samples = Samples::default();
        totals.export(&mut samples);
        let text = samples.to_text();
        for line in [
            r#"mainstay_flows_total{family="ipv4",protocol="tcp"} 2"#,
            r#"mainstay_flow_bytes_total{family="ipv4",protocol="tcp",direction="reply"} 140000"#,
            r#"mainstay_flow_packets_total{family="ipv6",protocol="icmpv6",direction="original"} 5"#,
            r#"mainstay_flows_total{family="ipv6",protocol="udp"} 0"#,
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }

    const FINE: Watch = Watch { turns: 0, busy: false, overruns: 0, usage: None };

    #[test]
    fn a_reader_that_stands_still_ends_the_promise_until_three_calm_looks() {
        let mut promise = Promise::new();
        assert_eq!(promise.look(Watch { turns: 5, busy: true, ..FINE }), None);
        assert_eq!(promise.look(Watch { turns: 5, busy: true, ..FINE }), Some(false));
        assert_eq!(promise.look(Watch { turns: 5, busy: true, ..FINE }), None);
        let calm: Vec<_> = (6..10).map(|turns| promise.look(Watch { turns, ..FINE })).collect();
        assert_eq!(calm, [None, None, Some(true), None]);
    }

    #[test]
    fn being_late_ends_the_promise_only_when_the_table_is_nearly_full() {
        let usage = |entries| Some(Usage { entries, limit: 100 });
        let mut promise = Promise::new();
        assert_eq!(promise.look(Watch { overruns: 9, usage: usage(50), ..FINE }), None);
        assert_eq!(promise.look(Watch { overruns: 0, usage: usage(95), ..FINE }), None);
        assert_eq!(promise.look(Watch { overruns: 1, usage: usage(95), ..FINE }), Some(false));
        for _ in 0..5 {
            assert_eq!(promise.look(Watch { usage: usage(91), ..FINE }), None, "still full");
        }
    }

    #[test]
    fn a_busy_reader_that_moves_is_not_stuck() {
        let mut promise = Promise::new();
        for turns in 1..20 {
            assert_eq!(promise.look(Watch { turns, busy: true, ..FINE }), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_changed_event_is_read_without_panic(
            changes in prop::collection::vec((0usize..300, any::<u8>()), 0..6),
            end in 0usize..300,
        ) {
            let mut bytes = event(2, 17);
            for (at, byte) in changes {
                if let Some(b) = bytes.get_mut(at) {
                    *b = byte;
                }
            }
            let _ = parse(&bytes[..end.min(bytes.len())]);
        }
    }
}
