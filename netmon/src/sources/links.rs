//! The links of the node: their counters and whether they are up.
//!
//! Read over netlink, not from /sys/class/net, which shows the namespace it was mounted in. Pods
//! come and go and each brings a veth, so the series are bounded: a link keeps the label it first
//! got, and what has none of its own adds up under `~veth` or `~other` for good, so that these
//! sums never go back when a pod leaves.

use super::SourceError;
use crate::export::Samples;
use crate::export::metrics::{self, Metric};
use crate::netlink::socket::Dump;
use crate::netlink::wire::{self, Malformed, Message};
use std::collections::BTreeMap;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_INFO_KIND: u16 = 1;
const AF_UNSPEC: u8 = 0;
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;

/// Links, veths aside, with a label of their own.
const NAMED: usize = 64;
/// Veths with a label of their own: the oldest, as the uplinks of a node made of veths are.
const NAMED_VETHS: usize = 8;
/// Kinds in `mainstay_links`.
const KINDS: usize = 16;

/// The first eight numbers of `rtnl_link_stats64`, in its order.
pub(crate) type Counters = [u64; 8];

const METRICS: [&Metric; 8] = [
    &metrics::LINK_RECEIVE_PACKETS,
    &metrics::LINK_TRANSMIT_PACKETS,
    &metrics::LINK_RECEIVE_BYTES,
    &metrics::LINK_TRANSMIT_BYTES,
    &metrics::LINK_RECEIVE_ERRORS,
    &metrics::LINK_TRANSMIT_ERRORS,
    &metrics::LINK_RECEIVE_DROPPED,
    &metrics::LINK_TRANSMIT_DROPPED,
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// "veth", "bridge", …; "device" where the kernel has no name for it: hardware and lo.
    pub(crate) kind: String,
    pub(crate) up: bool,
    pub(crate) counters: Counters,
}

/// The body of an RTM_NEWLINK or RTM_DELLINK. `None`: what a bridge says of its port, which is in
/// the same messages, and no link.
pub(crate) fn parse(body: &[u8]) -> Result<Option<Link>, Malformed> {
    let Some((header, attributes)) = body.split_first_chunk::<16>() else {
        return Err(Malformed("link header"));
    };
    if header[0] != AF_UNSPEC {
        return Ok(None);
    }
    let field = |at| wire::u32_at(header, at).ok_or(Malformed("link header"));
    let flags = field(8)?;
    let mut link = Link {
        index: field(4)?,
        name: String::new(),
        kind: "device".to_owned(),
        up: flags & IFF_UP != 0 && flags & IFF_RUNNING != 0,
        counters: Counters::default(),
    };
    for attribute in wire::attributes(attributes) {
        let attribute = attribute?;
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text()?.to_owned(),
            IFLA_STATS64 => link.counters = counters(attribute.value)?,
            IFLA_LINKINFO => {
                for info in attribute.nested() {
                    let info = info?;
                    if info.kind == IFLA_INFO_KIND {
                        link.kind = info.text()?.to_owned();
                    }
                }
            }
            _ => {}
        }
    }
    if link.name.is_empty() { Err(Malformed("link without a name")) } else { Ok(Some(link)) }
}

fn counters(bytes: &[u8]) -> Result<Counters, Malformed> {
    let mut counters = Counters::default();
    for (i, counter) in counters.iter_mut().enumerate() {
        *counter = wire::u64_at(bytes, i * 8).ok_or(Malformed("link counters"))?;
    }
    Ok(counters)
}

/// Dumps all links. Blocks.
pub(crate) fn read() -> Result<Vec<Link>, SourceError> {
    let dump = Dump {
        protocol: netlink_sys::protocols::NETLINK_ROUTE,
        kind: RTM_GETLINK,
        header: &[0; 16],
    };
    dump.run(collect).map_err(|e| SourceError::netlink("dump links", e))
}

fn collect(links: &mut Vec<Link>, message: Message<'_>) -> Result<(), Malformed> {
    if message.kind == RTM_NEWLINK {
        links.extend(parse(message.body)?);
    }
    Ok(())
}

/// Which label each link has, and what the shared labels have added up to.
#[derive(Debug, Default)]
pub(crate) struct Board {
    links: BTreeMap<u32, Entry>,
    veths: Counters,
    others: Counters,
}

#[derive(Debug)]
struct Entry {
    link: Link,
    label: Label,
    /// Not in the last dump; its farewell may be on the way, with its last counters.
    missing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Own,
    Veth,
    Other,
}

impl Board {
    /// What a dump saw. A link that is not in it is gone; what it counted is kept for one dump
    /// more, so that its farewell adds only what is new.
    pub(crate) fn update(&mut self, links: Vec<Link>) {
        self.links.retain(|_, entry| !std::mem::replace(&mut entry.missing, true));
        for link in links {
            self.seen(link);
        }
    }

    /// The kernel's last word on a link: what it carried since the last look still counts.
    pub(crate) fn removed(&mut self, link: Link) {
        let index = link.index;
        self.seen(link);
        self.links.remove(&index);
    }

    fn seen(&mut self, link: Link) {
        let (label, before) = match self.links.get(&link.index) {
            Some(old) => (old.label, old.link.counters),
            None => (self.label_for(&link), Counters::default()),
        };
        let shared = match label {
            Label::Own => None,
            Label::Veth => Some(&mut self.veths),
            Label::Other => Some(&mut self.others),
        };
        if let Some(sums) = shared {
            for ((sum, now), before) in sums.iter_mut().zip(link.counters).zip(before) {
                // A driver that starts over has counted `now` since.
                *sum = sum.wrapping_add(now.checked_sub(before).unwrap_or(now));
            }
        }
        self.links.insert(link.index, Entry { link, label, missing: false });
    }

    fn label_for(&self, link: &Link) -> Label {
        let veth = link.kind == "veth";
        let named = self.present().filter(|e| e.label == Label::Own);
        let (veths, others): (Vec<_>, Vec<_>) = named.partition(|e| e.link.kind == "veth");
        match veth {
            // A link by that very name must not meet the sum in one series.
            _ if link.name.starts_with('~') => Label::Other,
            true if veths.len() < NAMED_VETHS => Label::Own,
            true => Label::Veth,
            false if others.len() < NAMED => Label::Own,
            false => Label::Other,
        }
    }

    fn present(&self) -> impl Iterator<Item = &Entry> {
        self.links.values().filter(|e| !e.missing)
    }

    pub(crate) fn samples(&self) -> Samples {
        let mut samples = Samples::default();
        for entry in self.present().filter(|e| e.label == Label::Own) {
            add(&mut samples, &entry.link.name, &entry.link.counters);
            samples.add(&metrics::LINK_UP, &[&entry.link.name], entry.link.up);
        }
        let shares = |label| self.present().any(|e| e.label == label);
        for (name, label, sums) in
            [("~veth", Label::Veth, &self.veths), ("~other", Label::Other, &self.others)]
        {
            if shares(label) || *sums != Counters::default() {
                add(&mut samples, name, sums);
            }
        }
        self.count(&mut samples);
        samples
    }

    fn count(&self, samples: &mut Samples) {
        let mut kinds: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for Entry { link, .. } in self.present() {
            let known = kinds.contains_key(link.kind.as_str()) || kinds.len() < KINDS;
            let kind = if known { link.kind.as_str() } else { "~other" };
            kinds.entry(kind).or_default()[usize::from(link.up)] += 1;
        }
        for (kind, [down, up]) in kinds {
            samples.add(&metrics::LINKS, &[kind, "up"], up);
            samples.add(&metrics::LINKS, &[kind, "down"], down);
        }
    }
}

fn add(samples: &mut Samples, name: &str, counters: &Counters) {
    for (metric, value) in METRICS.into_iter().zip(counters) {
        samples.add(metric, &[name], *value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::build;
    use proptest::prelude::*;

    fn message(index: u32, flags: u32, name: &str, kind: &str, counters: Counters) -> Vec<u8> {
        let mut header = vec![0; 16];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        header[8..12].copy_from_slice(&flags.to_ne_bytes());
        let mut stats: Vec<u8> = counters.iter().flat_map(|c| c.to_ne_bytes()).collect();
        stats.extend_from_slice(&[0; 128]); // collisions, errors by kind, …
        let name = format!("{name}\0");
        let kind = format!("{kind}\0");
        [
            header,
            build::attribute(IFLA_IFNAME, name.as_bytes()),
            build::attribute(13, &1000u32.to_ne_bytes()), // IFLA_TXQLEN
            build::attribute(IFLA_STATS64, &stats),
            build::nest(IFLA_LINKINFO, &[build::attribute(IFLA_INFO_KIND, kind.as_bytes())]),
        ]
        .concat()
    }

    fn veth(index: u32, bytes: u64) -> Link {
        let counters = [0, 0, bytes, 0, 0, 0, 0, 0];
        Link { index, name: format!("veth{index}"), kind: "veth".into(), up: true, counters }
    }

    fn shared(board: &Board) -> Option<String> {
        let text = board.samples().to_text();
        let line = text.lines().find(|l| l.contains("receive_bytes") && l.contains("~veth"))?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    #[test]
    fn a_link_is_read_with_its_kind_and_counters() {
        let counters = [1, 2, 3, 4, 5, 6, 7, 8];
        let link = parse(&message(7, IFF_UP | IFF_RUNNING, "br0", "bridge", counters)).unwrap();
        let (name, kind) = ("br0".into(), "bridge".into());
        assert_eq!(link, Some(Link { index: 7, name, kind, up: true, counters }));
        let link = parse(&message(7, IFF_UP, "br0", "bridge", counters)).unwrap();
        assert!(!link.unwrap().up);
    }

    #[test]
    fn hardware_has_no_kind_and_is_a_device() {
        let bytes = [vec![0; 16], build::attribute(IFLA_IFNAME, b"eth0\0")].concat();
        assert_eq!(parse(&bytes).unwrap().unwrap().kind, "device");
        assert_eq!(parse(&[0; 16]), Err(Malformed("link without a name")));
        assert_eq!(parse(&[0; 15]), Err(Malformed("link header")));
    }

    #[test]
    fn a_port_leaving_its_bridge_is_no_link_going_away() {
        let mut bytes = message(7, IFF_UP, "veth7", "veth", Counters::default());
        bytes[0] = 7; // AF_BRIDGE
        assert_eq!(parse(&bytes), Ok(None));
    }

    #[test]
    fn the_ninth_veth_shares_a_series() {
        let mut board = Board::default();
        board.update((1..=10).map(|i| veth(i, 100)).collect());
        let text = board.samples().to_text();
        assert!(text.contains(r#"receive_bytes_total{interface="veth8"} 100"#), "{text}");
        assert!(!text.contains(r#"interface="veth9""#), "{text}");
        assert_eq!(shared(&board).as_deref(), Some("200"));
        assert!(text.contains(r#"mainstay_links{kind="veth",state="up"} 10"#), "{text}");
    }

    #[test]
    fn the_shared_series_does_not_go_back_when_a_pod_leaves() {
        let mut board = Board::default();
        board.update((1..=10).map(|i| veth(i, 100)).collect());
        board.removed(veth(10, 130));
        assert_eq!(shared(&board).as_deref(), Some("230"));
        board.update((1..=9).map(|i| veth(i, 110)).collect());
        assert_eq!(shared(&board).as_deref(), Some("240"));
        // A label that is free again goes to a link not seen before.
        board.update((2..=9).map(|i| veth(i, 120)).chain([veth(11, 5)]).collect());
        assert_eq!(shared(&board).as_deref(), Some("250"));
    }

    #[test]
    fn a_farewell_that_comes_after_the_dump_adds_only_what_is_new() {
        let mut board = Board::default();
        board.update((1..=9).map(|i| veth(i, 100)).collect());
        board.update((1..=8).map(|i| veth(i, 100)).collect());
        board.removed(veth(9, 110));
        assert_eq!(shared(&board).as_deref(), Some("110"));
        // One never seen in a dump counts as a whole.
        board.removed(veth(12, 7));
        assert_eq!(shared(&board).as_deref(), Some("117"));
    }

    #[test]
    fn a_veth_whose_counters_start_over_adds_what_it_counted_since() {
        let mut board = Board::default();
        board.update((1..=9).map(|i| veth(i, 100)).collect());
        board.update((1..=9).map(|i| veth(i, 30)).collect());
        assert_eq!(shared(&board).as_deref(), Some("130"));
    }

    #[test]
    fn a_link_cannot_take_the_name_of_a_sum() {
        let mut board = Board::default();
        board.update(vec![Link { name: "~veth".into(), ..veth(1, 7) }]);
        assert!(!board.samples().to_text().contains(r#"interface="~veth""#));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_read_without_panic(at in 0usize..280, byte: u8, end in 0usize..=280) {
            let mut bytes = message(7, 1, "eth0", "vxlan", [u64::MAX; 8]);
            if let Some(b) = bytes.get_mut(at) {
                *b = byte;
            }
            let _ = parse(&bytes[..end.min(bytes.len())]);
        }

        #[test]
        fn shared_series_never_decrease(rounds in prop::collection::vec(prop::collection::vec((1u32..20, 0u64..1000), 0..20), 1..10)) {
            let mut board = Board::default();
            let mut last = 0;
            for round in rounds {
                let links: BTreeMap<u32, u64> = round.into_iter().collect();
                board.update(links.into_iter().map(|(i, n)| veth(i, n)).collect());
                let now = board.veths[2];
                prop_assert!(now >= last);
                last = now;
            }
        }
    }
}
