//! Sets of addresses in the order of one or two numbers: digests, moments. A full /16 has several
//! entries a lease, so an entry has no gaps, and an IPv4 address takes four bytes of it.

use crate::time::Moment;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
struct Entry<const N: usize, A: Copy> {
    by: [u64; N],
    address: A,
}

/// Addresses of one family in the order of their numbers, then their own; those of the other
/// family come after them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ordered<const N: usize> {
    v4: BTreeSet<Entry<N, u32>>,
    v6: BTreeSet<Entry<N, u128>>,
}

/// What a set is built of in one go, which costs less than one entry after the other.
#[derive(Default)]
pub(crate) struct Unordered<const N: usize> {
    v4: Vec<Entry<N, u32>>,
    v6: Vec<Entry<N, u128>>,
}

impl<const N: usize, A: Copy> Entry<N, A> {
    const fn new(by: [u64; N], address: A) -> Self {
        Self { by, address }
    }
}

fn v4<const N: usize>(entry: &Entry<N, u32>) -> ([u64; N], IpAddr) {
    (entry.by, Ipv4Addr::from_bits(entry.address).into())
}

fn v6<const N: usize>(entry: &Entry<N, u128>) -> ([u64; N], IpAddr) {
    (entry.by, Ipv6Addr::from_bits(entry.address).into())
}

impl<const N: usize> Ordered<N> {
    pub(crate) fn insert(&mut self, by: [u64; N], address: IpAddr) {
        match address {
            IpAddr::V4(a) => self.v4.insert(Entry::new(by, a.to_bits())),
            IpAddr::V6(a) => self.v6.insert(Entry::new(by, a.to_bits())),
        };
    }

    pub(crate) fn remove(&mut self, by: [u64; N], address: IpAddr) {
        match address {
            IpAddr::V4(a) => self.v4.remove(&Entry::new(by, a.to_bits())),
            IpAddr::V6(a) => self.v6.remove(&Entry::new(by, a.to_bits())),
        };
    }

    pub(crate) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Of a set of one family.
    pub(crate) fn first(&self) -> Option<([u64; N], IpAddr)> {
        self.v4.first().map(v4).or_else(|| self.v6.first().map(v6))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = ([u64; N], IpAddr)> {
        self.v4.iter().map(v4).chain(self.v6.iter().map(v6))
    }

    /// Those whose numbers are not before `first` and not after `last`.
    pub(crate) fn range(
        &self,
        first: [u64; N],
        last: [u64; N],
    ) -> impl DoubleEndedIterator<Item = IpAddr> {
        let in_v4 = self.v4.range(Entry::new(first, u32::MIN)..=Entry::new(last, u32::MAX));
        let in_v6 = self.v6.range(Entry::new(first, u128::MIN)..=Entry::new(last, u128::MAX));
        in_v4.map(v4).chain(in_v6.map(v6)).map(|(_, address)| address)
    }
}

impl<const N: usize> Unordered<N> {
    pub(crate) fn push(&mut self, by: [u64; N], address: IpAddr) {
        match address {
            IpAddr::V4(a) => self.v4.push(Entry::new(by, a.to_bits())),
            IpAddr::V6(a) => self.v6.push(Entry::new(by, a.to_bits())),
        }
    }
}

impl<const N: usize> From<Unordered<N>> for Ordered<N> {
    fn from(Unordered { mut v4, mut v6 }: Unordered<N>) -> Self {
        // What is in order is taken over as it is, and leaves no room in the tree.
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4: v4.into_iter().collect(), v6: v6.into_iter().collect() }
    }
}

/// 584 years fit.
pub(crate) fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.0.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) const fn moment(nanos: u64) -> Moment {
    Moment(std::time::Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_has_no_gaps() {
        assert_eq!(size_of::<Entry<1, u32>>(), 12);
        assert_eq!(size_of::<Entry<2, u32>>(), 20);
        assert_eq!(size_of::<Entry<2, u128>>(), 32);
    }

    proptest! {
        #[test]
        fn a_set_is_in_the_order_of_numbers_then_addresses(
            entries in prop::collection::vec((0u64..4, any::<u64>(), any::<u32>()), 0..60),
            (v4, digest) in (any::<bool>(), 0u64..4),
            (from, to) in (any::<u64>(), any::<u64>()),
        ) {
            let address = |bits: u32| match v4 {
                true => IpAddr::from(bits.to_be_bytes()),
                false => IpAddr::V6(Ipv6Addr::from_bits(u128::from(bits) << 70)),
            };
            let entries: BTreeSet<_> =
                entries.into_iter().map(|(a, b, bits)| ([a, b], address(bits))).collect();
            let mut lists = Unordered::<2>::default();
            let mut one_by_one = Ordered::<2>::default();
            for &(by, address) in entries.iter().rev() {
                lists.push(by, address);
                one_by_one.insert(by, address);
            }
            let set = Ordered::from(lists);
            prop_assert_eq!(&set, &one_by_one);
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), entries.clone());
            prop_assert!(set.iter().is_sorted());
            prop_assert_eq!((set.first(), set.len()), (entries.first().copied(), entries.len()));
            let (from, to) = (from.min(to), from.max(to));
            let found: Vec<_> = set.range([digest, from], [digest, to]).collect();
            let wanted = entries.iter().filter(|([d, m], _)| *d == digest && (from..=to).contains(m));
            prop_assert_eq!(found, wanted.map(|(_, address)| *address).collect::<Vec<_>>());
            for (by, address) in entries {
                one_by_one.remove(by, address);
            }
            prop_assert_eq!(one_by_one.len(), 0);
        }
    }
}
