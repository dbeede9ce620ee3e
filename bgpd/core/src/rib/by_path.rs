//! A value for each of a prefix's paths (RFC 7911): most prefixes have one path, without identifier,
//! and cost no more than in a table that knows no others.

use super::numbers::PrefixId;
use super::sparse::Sparse;
use crate::types::Family;
use std::collections::BTreeMap;

/// A path from or to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathKey {
    pub(crate) prefix: PrefixId,
    /// RFC 7911 §3; 0 where prefixes have one path.
    pub(crate) path: u32,
}

impl From<PrefixId> for PathKey {
    fn from(prefix: PrefixId) -> Self {
        Self { prefix, path: 0 }
    }
}

/// Of one family.
#[derive(Debug, Clone)]
pub(crate) struct ByPath<V> {
    family: Family,
    plain: Sparse<V>,
    /// Those with an identifier.
    others: BTreeMap<PathKey, V>,
}

impl<V> ByPath<V> {
    pub(crate) fn new(family: Family) -> Self {
        Self { family, plain: Sparse::default(), others: BTreeMap::new() }
    }

    pub(crate) const fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn len(&self) -> usize {
        self.plain.len() + self.others.len()
    }

    pub(crate) fn get(&self, key: PathKey) -> Option<&V> {
        match key.path {
            0 => self.plain.get(key.prefix.index()).filter(|_| key.prefix.family() == self.family),
            _ => self.others.get(&key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: PathKey) -> Option<&mut V> {
        match key.path {
            0 => self.plain.get_mut(key.prefix.index()),
            _ => self.others.get_mut(&key),
        }
    }

    pub(crate) fn insert(&mut self, key: PathKey, value: V) -> Option<V> {
        match key.path {
            0 => self.plain.insert(key.prefix.index(), value),
            _ => self.others.insert(key, value),
        }
    }

    pub(crate) fn remove(&mut self, key: PathKey) -> Option<V> {
        match key.path {
            0 => self.plain.remove(key.prefix.index()),
            _ => self.others.remove(&key),
        }
    }

    /// A prefix's paths.
    pub(crate) fn of(&self, prefix: PrefixId) -> impl Iterator<Item = (PathKey, &V)> {
        let plain = self.get(prefix.into()).map(|value| (prefix.into(), value));
        let last = PathKey { prefix, path: u32::MAX };
        let others = self.others.range(PathKey::from(prefix)..=last);
        plain.into_iter().chain(others.map(|(key, value)| (*key, value)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PathKey, &V)> {
        let family = self.family;
        let plain = self.plain.iter().map(move |(i, v)| (PrefixId::new(family, i).into(), v));
        plain.chain(self.others.iter().map(|(key, value)| (*key, value)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (PathKey, &mut V)> {
        let family = self.family;
        let plain = self.plain.iter_mut().map(move |(i, v)| (PrefixId::new(family, i).into(), v));
        plain.chain(self.others.iter_mut().map(|(key, value)| (*key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_an_ordered_map_holds(
            steps in prop::collection::vec((0usize..50, 0u32..4, any::<Option<u16>>()), 0..300)
        ) {
            let mut ours = ByPath::new(Family::Ipv6Unicast);
            let mut model = BTreeMap::new();
            for (index, path, step) in steps {
                let key = PathKey { prefix: PrefixId::new(Family::Ipv6Unicast, index), path };
                let (was, expected) = match step {
                    Some(value) => (ours.insert(key, value), model.insert(key, value)),
                    None => (ours.remove(key), model.remove(&key)),
                };
                prop_assert_eq!(was, expected);
                prop_assert_eq!(ours.len(), model.len());
                prop_assert_eq!(ours.get(key), model.get(&key));
                let of: Vec<_> = ours.of(key.prefix).map(|(k, v)| (k, *v)).collect();
                let expected = model.iter().filter(|(k, _)| k.prefix == key.prefix);
                prop_assert_eq!(of, expected.map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            }
            let all: BTreeMap<_, _> = ours.iter().map(|(k, v)| (k, *v)).collect();
            prop_assert_eq!(&all, &model);
            prop_assert_eq!(ours.iter_mut().count(), model.len());
        }
    }
}
