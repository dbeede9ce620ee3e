//! A set of addresses of one family as ranges: the never-used part of a pool, whatever its size.

use mainstay_prefix::Prefix;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Ranges from first to last, both included; they neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    ranges: BTreeMap<IpAddr, IpAddr>,
    /// Addresses in all of them.
    count: u128,
}

impl Ranges {
    pub(crate) fn lowest(&self) -> Option<IpAddr> {
        self.ranges.first_key_value().map(|(first, _)| *first)
    }

    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.count).unwrap_or(u64::MAX)
    }

    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        self.around(addr).is_some()
    }

    fn put(&mut self, first: IpAddr, last: IpAddr) {
        self.ranges.insert(first, last);
        self.count = self.count.saturating_add(size(first, last));
    }

    fn take(&mut self, first: IpAddr, last: IpAddr) {
        self.ranges.remove(&first);
        self.count = self.count.saturating_sub(size(first, last));
    }

    /// Adds all of `first..=last`; what it overlaps or touches becomes one range with it.
    pub(crate) fn insert(&mut self, first: IpAddr, last: IpAddr) {
        let (mut first, mut last) = (first, last);
        let reach = next(last).unwrap_or(last);
        while let Some((&start, &end)) = self.ranges.range(..=reach).next_back() {
            if next(end).unwrap_or(end) < first {
                break;
            }
            self.take(start, end);
            (first, last) = (first.min(start), last.max(end));
        }
        self.put(first, last);
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, addr: IpAddr) -> bool {
        let Some((start, end)) = self.around(addr) else { return false };
        self.take_part((start, end), (addr, addr));
        true
    }

    /// Removes all of `first..=last`.
    pub(crate) fn cut(&mut self, first: IpAddr, last: IpAddr) {
        while let Some((&start, &end)) = self.ranges.range(..=last).next_back() {
            if end < first {
                break;
            }
            self.take_part((start, end), (first, last));
        }
    }

    /// Leaves of one range what is outside of `first..=last`.
    fn take_part(&mut self, (start, end): (IpAddr, IpAddr), (first, last): (IpAddr, IpAddr)) {
        self.take(start, end);
        if let Some(before) = previous(first).filter(|_| start < first) {
            self.put(start, before);
        }
        if let Some(after) = next(last).filter(|_| last < end) {
            self.put(after, end);
        }
    }

    fn around(&self, addr: IpAddr) -> Option<(IpAddr, IpAddr)> {
        let (&start, &end) = self.ranges.range(..=addr).next_back()?;
        (addr <= end).then_some((start, end))
    }
}

fn size(first: IpAddr, last: IpAddr) -> u128 {
    let offset = |addr| family(addr).offset_of(addr).unwrap_or(0);
    offset(last).saturating_sub(offset(first)).saturating_add(1)
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
        assert_eq!(all.ranges.len(), 1);
    }

    proptest! {
        #[test]
        fn ranges_behave_as_a_set(ops in prop::collection::vec((0u8..3, 0u8..40, 0u8..6), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (op, at, more) in ops {
                match op {
                    0 => {
                        ranges.insert(ip(at), ip(at + more));
                        set.extend((at..=at + more).map(ip));
                    }
                    1 => {
                        ranges.cut(ip(at), ip(at + more));
                        set.retain(|a| !(ip(at)..=ip(at + more)).contains(a));
                    }
                    _ => prop_assert_eq!(ranges.remove(ip(at)), set.remove(&ip(at))),
                }
                prop_assert_eq!(ranges.count(), set.len() as u64);
                prop_assert_eq!(ranges.lowest(), set.first().copied());
                for n in 0..50 {
                    prop_assert_eq!(ranges.around(ip(n)).is_some(), set.contains(&ip(n)));
                }
                let apart = ranges.ranges.values().zip(ranges.ranges.keys().skip(1));
                for (end, start) in apart {
                    prop_assert!(next(*end).is_some_and(|n| n < *start), "ranges touch");
                }
            }
        }
    }
}
