//! A number for each prefix that any table holds.
//!
//! Tables that share the numbers find a prefix once for all of them, and are arrays. A number stays
//! the prefix's until a sweep finds that no table holds it; then another prefix may get it.

use super::PerFamily;
use crate::types::{Family, Prefix};
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::cell::Cell;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The top bit says of which family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PrefixId(u32);

const IPV6: u32 = 1 << 31;

impl PrefixId {
    /// A table of more than two thousand million prefixes does not fit into memory.
    pub(crate) fn new(family: Family, index: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX) & !IPV6;
        Self(index | if family == Family::Ipv6Unicast { IPV6 } else { 0 })
    }

    pub(crate) const fn family(self) -> Family {
        if self.0 & IPV6 == 0 { Family::Ipv4Unicast } else { Family::Ipv6Unicast }
    }

    pub(crate) const fn index(self) -> usize {
        (self.0 & !IPV6) as usize
    }
}

#[derive(Debug, Default)]
pub(crate) struct Numbers {
    v4: Table<4>,
    v6: Table<16>,
    /// Sweep when there are this many.
    sweep_at: usize,
}

/// Below this many a sweep is not worth the walk.
const SWEEP_MIN: usize = 4096;

impl Numbers {
    /// The prefix's number, from now on if it had none.
    pub(crate) fn number(&mut self, prefix: &Prefix) -> PrefixId {
        match prefix.addr() {
            IpAddr::V4(a) => {
                PrefixId::new(Family::Ipv4Unicast, self.v4.number(a.octets(), prefix.len()))
            }
            IpAddr::V6(a) => {
                PrefixId::new(Family::Ipv6Unicast, self.v6.number(a.octets(), prefix.len()))
            }
        }
    }

    pub(crate) fn find(&self, prefix: &Prefix) -> Option<PrefixId> {
        let index = match prefix.addr() {
            IpAddr::V4(a) => self.v4.find(a.octets(), prefix.len()),
            IpAddr::V6(a) => self.v6.find(a.octets(), prefix.len()),
        };
        index.map(|i| PrefixId::new(Family::of(prefix), i))
    }

    /// `None`: nobody's number.
    pub(crate) fn prefix(&self, id: PrefixId) -> Option<Prefix> {
        let (addr, len) = match id.family() {
            Family::Ipv4Unicast => {
                let key = self.v4.keys.get(id.index())?;
                (IpAddr::V4(Ipv4Addr::from(key.addr)), key.len)
            }
            Family::Ipv6Unicast => {
                let key = self.v6.keys.get(id.index())?;
                (IpAddr::V6(Ipv6Addr::from(key.addr)), key.len)
            }
        };
        Prefix::containing(addr, len).ok()
    }

    /// Numbers are below this.
    pub(crate) const fn slots(&self, family: Family) -> usize {
        match family {
            Family::Ipv4Unicast => self.v4.keys.len(),
            Family::Ipv6Unicast => self.v6.keys.len(),
        }
    }

    /// Twice as many are in use as the last sweep has left: a sweep costs little for each.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.v4.index.len() + self.v6.index.len() >= self.sweep_at.max(SWEEP_MIN)
    }

    /// Takes back the numbers that `mark` does not tell.
    pub(crate) fn sweep(&mut self, mark: impl FnOnce(&mut dyn FnMut(PrefixId))) {
        let mut marked = PerFamily::new(|f| vec![false; self.slots(f)]);
        mark(&mut |id| {
            if let Some(mark) = marked.get_mut(id.family()).get_mut(id.index()) {
                *mark = true;
            }
        });
        self.v4.sweep(marked.get(Family::Ipv4Unicast));
        self.v6.sweep(marked.get(Family::Ipv6Unicast));
        self.sweep_at = 2 * (self.v4.index.len() + self.v6.index.len());
    }
}

/// The prefixes of one family.
#[derive(Debug, Default)]
struct Table<const N: usize> {
    keys: Vec<Key<N>>,
    /// Indexes into `keys`.
    index: HashTable<u32>,
    /// Indexes of keys that are nobody's.
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    /// Asked for last. What one peer tells in a row, others mostly tell, and take back, in the same
    /// order: the next number is tried first, without a look into the index.
    last: Cell<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key<const N: usize> {
    addr: [u8; N],
    /// More than an address has bits: nobody's.
    len: u8,
}

impl<const N: usize> Key<N> {
    const NOBODY: Self = Self { addr: [0; N], len: u8::MAX };

    /// Shorter to hash than its fields one by one.
    fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        let mut wide = [0; 16];
        wide.iter_mut().zip(self.addr).for_each(|(to, from)| *to = from);
        let wide = u128::from_le_bytes(wide);
        match u64::try_from(wide) {
            Ok(short) => hasher.hash_one(short << 8 | u64::from(self.len)),
            Err(_) => hasher.hash_one((wide, self.len)),
        }
    }
}

impl<const N: usize> Table<N> {
    fn number(&mut self, addr: [u8; N], len: u8) -> usize {
        let key = Key { addr, len };
        if let Some(next) = self.next(key) {
            return next;
        }
        let (keys, hasher) = (&self.keys, &self.hasher);
        let entry = self.index.entry(
            key.hash(hasher),
            |i| at(keys, *i) == key,
            |i| at(keys, *i).hash(hasher),
        );
        let index = match entry {
            Entry::Occupied(known) => *known.get() as usize,
            Entry::Vacant(vacant) => {
                let index = self.free.pop().unwrap_or_else(|| {
                    self.keys.push(key);
                    u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
                });
                if let Some(slot) = self.keys.get_mut(index as usize) {
                    *slot = key;
                }
                vacant.insert(index);
                index as usize
            }
        };
        self.last.set(index);
        index
    }

    /// The number after the one asked for last, if it is this key's.
    fn next(&self, key: Key<N>) -> Option<usize> {
        let next = self.last.get() + 1;
        let is_it = self.keys.get(next) == Some(&key);
        is_it.then(|| self.last.set(next))?;
        Some(next)
    }

    fn find(&self, addr: [u8; N], len: u8) -> Option<usize> {
        let key = Key { addr, len };
        if let Some(next) = self.next(key) {
            return Some(next);
        }
        let found = self.index.find(key.hash(&self.hasher), |i| at(&self.keys, *i) == key)?;
        self.last.set(*found as usize);
        Some(*found as usize)
    }

    fn sweep(&mut self, marked: &[bool]) {
        let Self { keys, index, free, .. } = self;
        index.retain(|i| {
            let used = marked.get(*i as usize).copied().unwrap_or(false);
            if !used {
                free.push(*i);
                if let Some(key) = keys.get_mut(*i as usize) {
                    *key = Key::NOBODY;
                }
            }
            used
        });
        if self.index.is_empty() {
            *self = Self::default();
        }
        // What is given out next lies close together, whatever the hash of its last owners was.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
    }
}

fn at<const N: usize>(keys: &[Key<N>], index: u32) -> Key<N> {
    keys.get(index as usize).copied().unwrap_or(Key::NOBODY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::prefix;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn a_prefix_keeps_its_number_and_a_number_its_prefix() {
        let mut numbers = Numbers::default();
        let all = ["10.0.0.0/8", "10.0.0.0/9", "0.0.0.0/0", "::/0", "fd00::/8", "fd00::/9"];
        let ids: Vec<_> = all.iter().map(|p| numbers.number(&prefix(p))).collect();
        for (text, id) in all.iter().zip(&ids) {
            assert_eq!(numbers.number(&prefix(text)), *id);
            assert_eq!(numbers.find(&prefix(text)), Some(*id));
            assert_eq!(numbers.prefix(*id), Some(prefix(text)));
        }
        assert_eq!(numbers.find(&prefix("10.0.0.0/10")), None);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    proptest! {
        #[test]
        fn a_sweep_keeps_what_is_marked_and_gives_the_rest_away_again(
            steps in prop::collection::vec((any::<u8>(), any::<bool>()), 1..200)
        ) {
            let of = |n: u8| prefix(&format!("10.0.{n}.0/24"));
            let mut numbers = Numbers::default();
            let mut model = BTreeMap::new();
            for (n, sweep) in steps {
                let id = numbers.number(&of(n));
                prop_assert_eq!(*model.entry(n).or_insert(id), id);
                if sweep {
                    model.retain(|n, _| n % 3 == 0);
                    numbers.sweep(|mark| model.values().for_each(|id| mark(*id)));
                }
                for n in 0..=255 {
                    prop_assert_eq!(numbers.find(&of(n)), model.get(&n).copied());
                }
                let ids: BTreeSet<_> = model.values().collect();
                prop_assert_eq!(ids.len(), model.len());
                prop_assert!(model.iter().all(|(n, id)| numbers.prefix(*id) == Some(of(*n))));
            }
        }
    }
}
