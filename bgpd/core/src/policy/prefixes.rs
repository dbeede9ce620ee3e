//! Lists of prefixes, however long.

use super::PrefixMatch;
use crate::types::Prefix;
use hashbrown::HashMap;

/// A short list is read faster than it is hashed.
const SHORT: usize = 8;

#[derive(Debug)]
pub(super) enum PrefixList {
    Short(Vec<PrefixMatch>),
    Long(Index),
}

/// Entries by the prefix they lie in: a prefix is looked up once for each length there is.
#[derive(Debug, Default)]
pub(super) struct Index {
    bounds: HashMap<Prefix, Vec<(u8, u8)>>,
    /// Ascending; of both families.
    lengths: Vec<u8>,
}

impl PrefixList {
    pub(super) fn new(entries: &[PrefixMatch]) -> Self {
        if entries.len() <= SHORT {
            return Self::Short(entries.to_vec());
        }
        let mut index = Index::default();
        for PrefixMatch { within, ge, le } in entries {
            index.bounds.entry(*within).or_default().push((*ge, *le));
            index.lengths.push(within.len());
        }
        index.lengths.sort_unstable();
        index.lengths.dedup();
        Self::Long(index)
    }

    pub(super) fn has(&self, prefix: &Prefix) -> bool {
        match self {
            Self::Short(entries) => entries.iter().any(|e| e.has(prefix)),
            Self::Long(index) => index.has(prefix),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Short(entries) => entries.len(),
            Self::Long(index) => index.bounds.values().map(Vec::len).sum(),
        }
    }
}

impl PrefixMatch {
    pub(crate) fn has(&self, prefix: &Prefix) -> bool {
        self.within.covers(prefix) && (self.ge..=self.le).contains(&prefix.len())
    }
}

impl Index {
    fn has(&self, prefix: &Prefix) -> bool {
        let shorter = self.lengths.iter().take_while(|len| **len <= prefix.len());
        shorter.filter_map(|len| Prefix::containing(prefix.addr(), *len).ok()).any(|within| {
            let bounds = self.bounds.get(&within);
            bounds.is_some_and(|all| all.iter().any(|(ge, le)| (*ge..=*le).contains(&prefix.len())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn near() -> impl Strategy<Value = Prefix> {
        (0u32..8, 0u8..=32).prop_map(|(bits, len)| {
            Prefix::containing(IpAddr::V4((bits << 28 | bits << 20).into()), len).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_long_list_is_a_short_one_read_faster(
            entries in prop::collection::vec((near(), 0u8..=32, 0u8..=32), 9..40),
            prefixes in prop::collection::vec(near(), 1..40),
        ) {
            let entries: Vec<_> =
                entries.into_iter().map(|(within, ge, le)| PrefixMatch { within, ge, le }).collect();
            let list = PrefixList::new(&entries);
            prop_assert!(matches!(list, PrefixList::Long(_)));
            for prefix in prefixes {
                prop_assert_eq!(list.has(&prefix), entries.iter().any(|e| e.has(&prefix)));
            }
        }
    }
}
