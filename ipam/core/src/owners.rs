//! The second index: which slots answer to which key of an owner. However many share a key, a
//! question costs O(log n).

use crate::identity::{Key, Rung};
use crate::policy::Policy;
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
    /// Of a held slot that is kept for nobody, only the container's own key counts.
    pub(crate) fn insert(&mut self, slot: &Slot, policy: Policy) {
        for key in slot.keys() {
            match slot.released() {
                None => drop(self.assigned.entry(key).or_default().insert(slot.address)),
                Some(_) if key.rung != Rung::None && !policy.recognises() => {}
                Some(at) => drop(self.held.entry(key).or_default().insert((at, slot.address))),
            }
        }
    }

    pub(crate) fn remove(&mut self, slot: &Slot, policy: Policy) {
        for key in slot.keys() {
            match slot.released() {
                None => remove_from(&mut self.assigned, &key, &slot.address),
                Some(_) if key.rung != Rung::None && !policy.recognises() => {}
                Some(at) => remove_from(&mut self.held, &key, &(at, slot.address)),
            }
        }
    }

    /// Those that are assigned.
    pub(crate) fn assigned(&self, key: &Key) -> impl Iterator<Item = IpAddr> {
        self.assigned.get(key).into_iter().flatten().copied()
    }

    /// Those that are held, the most recently released first.
    pub(crate) fn held(&self, key: &Key) -> impl Iterator<Item = IpAddr> {
        let held = self.held.get(key).into_iter().flat_map(|held| held.iter().rev());
        held.map(|(_, address)| *address)
    }
}

impl Owners {
    /// Those that were released at that moment or before, the most recently released first.
    pub(crate) fn held_until(&self, key: &Key, last: Moment) -> impl Iterator<Item = IpAddr> {
        let held = self.held.get(key).into_iter();
        let end = (last, IpAddr::from([u8::MAX; 16]));
        held.flat_map(move |held| held.range(..=end).rev()).map(|(_, address)| *address)
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
