//! How full the connection table is, and what went wrong with it.

use super::SourceError;
use crate::export::Samples;
use crate::export::metrics::{self, Metric};
use crate::netlink::socket::Dump;
use crate::netlink::wire::{self, Malformed, Message};
use std::fs::read_to_string;

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const IPCTNL_MSG_CT_GET_STATS_CPU: u16 = 4;
/// NFNL_SUBSYS_CTNETLINK << 8.
const CTNETLINK: u16 = 1 << 8;

/// CTA_STATS_*, in their order from 2 on; those the kernel no longer counts left out.
const STATS: [(u16, &Metric); 10] = [
    (2, &metrics::CONNTRACK_FOUND),
    (4, &metrics::CONNTRACK_INVALID),
    (8, &metrics::CONNTRACK_INSERT),
    (9, &metrics::CONNTRACK_INSERT_FAILED),
    (10, &metrics::CONNTRACK_DROP),
    (11, &metrics::CONNTRACK_EARLY_DROP),
    (12, &metrics::CONNTRACK_ERROR),
    (13, &metrics::CONNTRACK_SEARCH_RESTART),
    (14, &metrics::CONNTRACK_CLASH_RESOLVE),
    (15, &metrics::CONNTRACK_CHAIN_TOO_LONG),
];

type Stats = [u64; STATS.len()];

/// How full the connection table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) entries: u64,
    pub(crate) limit: u64,
}

impl Usage {
    /// Of this network namespace, whoever mounted /proc: the kernel shows the reader its own.
    pub(crate) fn read() -> Result<Self, SourceError> {
        let number = |path: &'static str| {
            let text = match read_to_string(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    return Err(SourceError::NoConntrack);
                }
                other => other.map_err(|source| SourceError::Proc { path, source })?,
            };
            text.trim().parse().map_err(|_| SourceError::Text { path, text })
        };
        Ok(Self { entries: number(COUNT)?, limit: number(MAX)? })
    }

    /// A limit of 0 is none.
    pub(crate) const fn percent(&self) -> u64 {
        match self.entries.saturating_mul(100).checked_div(self.limit) {
            Some(percent) => percent,
            None => 0,
        }
    }
}

/// Blocks, for some microseconds a CPU.
pub(crate) fn read() -> Result<Samples, SourceError> {
    let usage = Usage::read()?;
    let dump = Dump {
        protocol: netlink_sys::protocols::NETLINK_NETFILTER,
        kind: CTNETLINK | IPCTNL_MSG_CT_GET_STATS_CPU,
        header: &[0; 4],
    };
    let stats = dump.run(add).map_err(|e| SourceError::netlink("read conntrack's counters", e))?;
    Ok(samples(usage, &stats))
}

fn samples(usage: Usage, stats: &Stats) -> Samples {
    let mut samples = Samples::default();
    samples.add(&metrics::CONNTRACK_ENTRIES, &[], usage.entries);
    samples.add(&metrics::CONNTRACK_LIMIT, &[], usage.limit);
    for ((_, metric), n) in STATS.into_iter().zip(stats) {
        samples.add(metric, &[], *n);
    }
    samples
}

/// One message is one CPU. Each counter is 32 bits there and goes round; a sum that goes back is
/// a counter reset to Prometheus.
fn add(sums: &mut Stats, message: Message<'_>) -> Result<(), Malformed> {
    let attributes = message.body.get(4..).ok_or(Malformed("netfilter header"))?;
    for attribute in wire::attributes(attributes) {
        let attribute = attribute?;
        let place =
            STATS.iter().zip(sums.iter_mut()).find(|((kind, _), _)| *kind == attribute.kind);
        if let Some((_, sum)) = place {
            *sum += u64::from(attribute.be32()?);
        }
    }
    Ok(())
}

/// Why no connection is seen although conntrack is there, when none is.
pub(crate) fn idle_hint(usage: Usage, flows_ended: u64) -> Option<String> {
    (usage.entries == 0 && flows_ended == 0).then(|| {
        "no connection is tracked in this network namespace: the kernel tracks only where a rule \
         asks for it. For flow totals add one, e.g. nft 'add table inet track; add chain inet \
         track c { type filter hook prerouting priority 0; }; add rule inet track c ct state \
         new,established,related counter'"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::build::attribute;
    use proptest::prelude::*;

    fn cpu(early_drop: u32, clash: u32) -> Vec<u8> {
        [
            vec![0; 4],
            attribute(9, &1u32.to_be_bytes()),
            attribute(11, &early_drop.to_be_bytes()),
            attribute(14, &clash.to_be_bytes()),
            attribute(99, &[1]), // of a later kernel
        ]
        .concat()
    }

    fn message(body: &[u8]) -> Message<'_> {
        Message { kind: 0, flags: 0, sequence: 0, body }
    }

    #[test]
    fn counters_of_all_cpus_add_up() {
        let mut sums = Stats::default();
        for body in [cpu(400_000, 2), cpu(5, u32::MAX)] {
            add(&mut sums, message(&body)).unwrap();
        }
        let text = samples(Usage { entries: 3, limit: 262_144 }, &sums).to_text();
        for line in [
            "mainstay_conntrack_entries 3",
            "mainstay_conntrack_limit 262144",
            "mainstay_conntrack_insert_failed_total 2",
            "mainstay_conntrack_early_drop_total 400005",
            "mainstay_conntrack_clash_resolve_total 4294967297",
            "mainstay_conntrack_drop_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn a_table_without_a_limit_is_never_full() {
        assert_eq!(Usage { entries: 50, limit: 200 }.percent(), 25);
        assert_eq!(Usage { entries: 50, limit: 0 }.percent(), 0);
    }

    #[test]
    fn an_empty_table_is_explained_once_nothing_was_ever_seen() {
        let empty = Usage { entries: 0, limit: 100 };
        assert!(idle_hint(empty, 0).unwrap().contains("nft"));
        assert_eq!(idle_hint(empty, 1), None);
        assert_eq!(idle_hint(Usage { entries: 1, limit: 100 }, 0), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = add(&mut Stats::default(), message(&bytes));
        }
    }
}
