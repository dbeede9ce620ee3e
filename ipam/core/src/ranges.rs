//! A set of addresses of one family as ranges: the never-used part of a pool, whatever its size.

use mainstay_prefix::Prefix;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Ranges from first to last, both included; they neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<IpAddr, IpAddr>);

impl Ranges {
    pub(crate) fn lowest(&self) -> Option<IpAddr> {
        self.0.first_key_value().map(|(first, _)| *first)
    }

    /// Adds all of `first..=last`; what it overlaps or touches becomes one range with it.
    pub(crate) fn insert(&mut self, first: IpAddr, last: IpAddr) {
        let (mut first, mut last) = (first, last);
        let reach = next(last).unwrap_or(last);
        while let Some((&start, &end)) = self.0.range(..=reach).next_back() {
            if next(end).unwrap_or(end) < first {
                break;
            }
            self.0.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.0.insert(first, last);
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, addr: IpAddr) -> bool {
        let Some((start, end)) = self.around(addr) else { return false };
        self.0.remove(&start);
        if let Some(before) = previous(addr).filter(|_| start < addr) {
            self.0.insert(start, before);
        }
        if let Some(after) = next(addr).filter(|_| addr < end) {
            self.0.insert(after, end);
        }
        true
    }

    fn around(&self, addr: IpAddr) -> Option<(IpAddr, IpAddr)> {
        let (&start, &end) = self.0.range(..=addr).next_back()?;
        (addr <= end).then_some((start, end))
    }
}

const fn family(addr: IpAddr) -> Prefix {
    if addr.is_ipv4() { Prefix::DEFAULT_V4 } else { Prefix::DEFAULT_V6 }
}

fn next(addr: IpAddr) -> Option<IpAddr> {
    family(addr).nth(family(addr).offset_of(addr)?.checked_add(1)?)
}

fn previous(addr: IpAddr) -> Option<IpAddr> {
    family(addr).nth(family(addr).offset_of(addr)?.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn the_last_address_of_a_family_is_no_edge() {
        let mut all = Ranges::default();
        all.insert(IpAddr::from([0, 0, 0, 0]), IpAddr::from([255; 4]));
        assert!(all.remove(IpAddr::from([255; 4])));
        assert!(all.remove(IpAddr::from([0; 4])));
        assert_eq!(all.lowest(), Some(IpAddr::from([0, 0, 0, 1])));
        all.insert(IpAddr::from([255; 4]), IpAddr::from([255; 4]));
        assert_eq!(all.0.len(), 1);
    }

    proptest! {
        #[test]
        fn ranges_behave_as_a_set(ops in prop::collection::vec((any::<bool>(), 0u8..40, 0u8..6), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (insert, at, more) in ops {
                if insert {
                    ranges.insert(ip(at), ip(at + more));
                    set.extend((at..=at + more).map(ip));
                } else {
                    prop_assert_eq!(ranges.remove(ip(at)), set.remove(&ip(at)));
                }
                prop_assert_eq!(ranges.lowest(), set.first().copied());
                for n in 0..50 {
                    prop_assert_eq!(ranges.around(ip(n)).is_some(), set.contains(&ip(n)));
                }
                let apart = ranges.0.values().zip(ranges.0.keys().skip(1));
                for (end, start) in apart {
                    prop_assert!(next(*end).is_some_and(|n| n < *start), "ranges touch");
                }
            }
        }
    }
}
