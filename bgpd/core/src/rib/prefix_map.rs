//! A map by prefix that can be walked in portions while it changes.
//!
//! The entries lie densely in a vector; a hash table of indexes finds them. Removal moves the last
//! entry into the hole, so a walk from the last index down to 0 visits every entry that stays in
//! the map during the walk at least once: an entry only ever moves to a lower index when the walk
//! has already been where it came from. Entries added on the way are not visited.
//!
//! Order of iteration depends on the history alone, never on the hash seed: a simulation repeats.

use crate::types::Prefix;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

#[derive(Debug, Clone)]
pub(crate) struct PrefixMap<V> {
    entries: Vec<(Prefix, V)>,
    /// Indexes into `entries`.
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), table: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl<V> PrefixMap<V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, prefix: &Prefix) -> Option<&V> {
        Some(&self.entries.get(self.index_of(prefix)?)?.1)
    }

    pub(crate) fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut V> {
        let index = self.index_of(prefix)?;
        Some(&mut self.entries.get_mut(index)?.1)
    }

    /// The entry at `index`, below [`len`](Self::len).
    pub(crate) fn at(&self, index: usize) -> Option<(&Prefix, &V)> {
        self.entries.get(index).map(|(p, v)| (p, v))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Prefix, &V)> {
        self.entries.iter().map(|(p, v)| (p, v))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = (&Prefix, &mut V)> {
        self.entries.iter_mut().map(|(p, v)| (&*p, v))
    }

    pub(crate) fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        let index = self.slot(prefix, value);
        match index {
            Slot::New => None,
            Slot::Old(index, value) => {
                self.entries.get_mut(index).map(|e| std::mem::replace(&mut e.1, value))
            }
        }
    }

    /// The value of `prefix`, made first if there is none.
    pub(crate) fn entry(&mut self, prefix: Prefix, make: impl FnOnce() -> V) -> Option<&mut V> {
        if self.index_of(&prefix).is_none() {
            self.insert(prefix, make());
        }
        self.get_mut(&prefix)
    }

    pub(crate) fn remove(&mut self, prefix: &Prefix) -> Option<V> {
        if self.entries.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(prefix);
        let entries = &self.entries;
        let found = self.table.find_entry(hash, |i| key(entries, *i) == Some(prefix)).ok()?;
        let (index, _) = found.remove();
        let last = u32::try_from(self.entries.len().checked_sub(1)?).ok()?;
        if index != last
            && let Some((moved, _)) = self.entries.last()
            && let Some(at) = self.table.find_mut(self.hasher.hash_one(moved), |i| *i == last)
        {
            *at = index;
        }
        Some(self.entries.swap_remove(index as usize).1)
    }

    pub(crate) fn clear(&mut self) {
        self.entries = Vec::new();
        self.table = HashTable::new();
    }

    fn index_of(&self, prefix: &Prefix) -> Option<usize> {
        let hash = self.hasher.hash_one(prefix);
        self.table.find(hash, |i| key(&self.entries, *i) == Some(prefix)).map(|i| *i as usize)
    }

    fn slot(&mut self, prefix: Prefix, value: V) -> Slot<V> {
        let (entries, hasher) = (&mut self.entries, &self.hasher);
        let found = self.table.entry(
            hasher.hash_one(prefix),
            |i| key(entries, *i) == Some(&prefix),
            |i| key(entries, *i).map_or(0, |p| hasher.hash_one(p)),
        );
        match found {
            Entry::Occupied(at) => Slot::Old(*at.get() as usize, value),
            Entry::Vacant(at) => {
                // A table of four thousand million prefixes does not fit into memory.
                at.insert(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                entries.push((prefix, value));
                Slot::New
            }
        }
    }
}

enum Slot<V> {
    New,
    Old(usize, V),
}

fn key<V>(entries: &[(Prefix, V)], index: u32) -> Option<&Prefix> {
    entries.get(index as usize).map(|(p, _)| p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    fn prefix(n: u8) -> Prefix {
        Prefix::host(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)))
    }

    proptest! {
        #[test]
        fn it_holds_what_an_ordered_map_holds(
            steps in prop::collection::vec((any::<u8>(), any::<Option<u16>>()), 0..400)
        ) {
            let mut ours = PrefixMap::default();
            let mut model = BTreeMap::new();
            for (n, step) in steps {
                let (was, expected) = match step {
                    Some(value) => (ours.insert(prefix(n), value), model.insert(prefix(n), value)),
                    None => (ours.remove(&prefix(n)), model.remove(&prefix(n))),
                };
                prop_assert_eq!(was, expected);
                prop_assert_eq!(ours.len(), model.len());
            }
            let all: BTreeMap<_, _> = ours.iter().map(|(p, v)| (*p, *v)).collect();
            prop_assert_eq!(&all, &model);
            for n in 0..=255 {
                prop_assert_eq!(ours.get(&prefix(n)), model.get(&prefix(n)));
            }
        }

        #[test]
        fn a_downward_walk_misses_nothing_that_stays(
            removed in prop::collection::vec((any::<u8>(), 0usize..100), 0..200)
        ) {
            let mut map = PrefixMap::default();
            for n in 0..100 {
                map.insert(prefix(n), ());
            }
            let mut seen = std::collections::BTreeSet::new();
            let mut at = map.len();
            let mut removals = removed.into_iter();
            while at > 0 {
                at = at.min(map.len()).saturating_sub(1);
                seen.extend(map.at(at).map(|(p, ())| *p));
                for (n, _) in removals.by_ref().take(2) {
                    map.remove(&prefix(n));
                }
            }
            prop_assert!(map.iter().all(|(p, ())| seen.contains(p)));
        }
    }
}
