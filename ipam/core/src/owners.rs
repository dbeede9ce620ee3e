//! The second index: which slots answer to which key of an owner. However many share a key, a
//! question costs O(log n).

use crate::identity::Key;
use crate::record::Slot;
use crate::time::Moment;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Owners {
    assigned: HashMap<Key, BTreeSet<IpAddr>>,
    held: HashMap<Key, BTreeSet<(Moment, IpAddr)>>,
}

impl Owners {
    pub(crate) fn insert(&mut self, slot: &Slot) {
        for key in slot.keys() {
            match slot.released() {
                None => self.assigned.entry(key).or_default().insert(slot.address),
                Some(at) => self.held.entry(key).or_default().insert((at, slot.address)),
            };
        }
    }

    pub(crate) fn remove(&mut self, slot: &Slot) {
        for key in slot.keys() {
            match slot.released() {
                None => remove_from(&mut self.assigned, &key, &slot.address),
                Some(at) => remove_from(&mut self.held, &key, &(at, slot.address)),
            }
        }
    }

    /// One that is assigned.
    pub(crate) fn assigned(&self, key: &Key) -> Option<IpAddr> {
        self.assigned.get(key)?.first().copied()
    }

    /// Those that are held, the most recently released first.
    pub(crate) fn held(&self, key: &Key) -> impl Iterator<Item = IpAddr> {
        let held = self.held.get(key).into_iter().flat_map(|held| held.iter().rev());
        held.map(|(_, address)| *address)
    }
}

/// Leaves no empty set behind.
pub(crate) fn remove_from<K: Hash + Eq, V: Ord>(
    index: &mut HashMap<K, BTreeSet<V>>,
    key: &K,
    value: &V,
) {
    let Some(set) = index.get_mut(key) else { return };
    set.remove(value);
    if set.is_empty() {
        index.remove(key);
    }
}
