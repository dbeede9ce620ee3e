//! No more than so many paths of a family told (`max_prefixes.out`): first come, first served.
//!
//! A peer that counts never sees more than the bound, not even for a moment: what has become free is
//! filled once the withdrawals have been sent. What is left out is remembered, and told when there is
//! room.

use super::group::Builder;
use super::{AdjOut, BATCH};
use crate::rib::PerFamily;
use crate::rib::by_path::PathKey;
use crate::rib::numbers::PrefixId;
use crate::types::Family;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Bound {
    most: Option<usize>,
    /// How many more this batch may announce.
    room: PerFamily<usize>,
    /// Wanted, and not told. A number may mean nothing any more: it is looked at when its turn comes.
    left_out: PerFamily<BTreeSet<PrefixId>>,
}

impl Bound {
    pub(super) fn set(&mut self, most: Option<u32>) {
        self.most = most.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    }

    /// Whether a path that the peer does not hold may be told; if not, its prefix is left out.
    pub(super) fn admits(&mut self, id: PrefixId) -> bool {
        if self.most.is_none() {
            return true;
        }
        let room = self.room.get_mut(id.family());
        if *room == 0 {
            self.left_out.get_mut(id.family()).insert(id);
            return false;
        }
        *room -= 1;
        true
    }

    /// It is looked at anew.
    pub(super) fn forget(&mut self, id: PrefixId) {
        let left_out = self.left_out.get_mut(id.family());
        if !left_out.is_empty() {
            left_out.remove(&id);
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.left_out = PerFamily::default();
    }

    /// The next one that was left out and for which there may be room.
    pub(super) fn next(&mut self) -> Option<PrefixId> {
        let Self { most, room, left_out } = self;
        let has_room = |f: &Family| most.is_none() || *room.get(*f) > 0;
        Family::ALL.into_iter().filter(has_room).find_map(|f| left_out.get_mut(f).pop_first())
    }
}

impl AdjOut {
    /// How many prefixes the peer may have and is not told.
    pub(crate) fn left_out(&self, family: Family) -> usize {
        self.bound.left_out.get(family).len()
    }

    /// Whether the peer holds more than it may, or less though something was left out.
    pub(super) fn is_out_of_bounds(&self) -> bool {
        let Bound { most, left_out, .. } = &self.bound;
        let most = most.unwrap_or(usize::MAX);
        Family::ALL.into_iter().any(|f| {
            let held = self.held.get(f).len();
            held > most || held < most && !left_out.get(f).is_empty()
        })
    }

    /// Before a batch, with all of the last one sent: what is too much after the bound has become
    /// lower is withdrawn; how many those are.
    pub(super) fn keep_within_bound(&mut self, batch: &mut Builder) -> usize {
        let Some(most) = self.bound.most else { return 0 };
        let mut withdrawn = 0;
        for family in Family::ALL {
            let held = self.held.get(family);
            *self.bound.room.get_mut(family) = most.saturating_sub(held.len());
            let beyond: Vec<PathKey> =
                held.iter().skip(most).take(BATCH).map(|(key, _)| key).collect();
            for key in &beyond {
                self.forget(*key);
                self.confirm(*key);
                self.bound.left_out.get_mut(family).insert(key.prefix);
                batch.add(*key, None);
            }
            withdrawn += beyond.len();
        }
        withdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Peer;
    use crate::testing::{PathSpec, prefix};
    use crate::types::{Family, PeerId};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const FAMILY: Family = Family::Ipv4Unicast;

    impl Peer {
        fn bound(&mut self, most: Option<u32>) {
            self.exporter.options.max_prefixes.out = most;
            self.out.reconsider(&self.rib);
        }

        fn put(&mut self, n: u8) {
            // Two sets of attributes: messages do not go by the order of changes.
            let as_path = vec![65001, 65010 + u32::from(n % 2)];
            self.set(
                &prefix(&format!("10.{n}.0.0/16")),
                &PathSpec { as_path, ..PathSpec::default() },
            );
        }

        fn take(&mut self, n: u8) {
            if let Some(id) = self.rib.find(&prefix(&format!("10.{n}.0.0/16"))) {
                self.rib.remove(id.into(), Some(PeerId(1)));
            }
        }
    }

    #[test]
    fn what_has_no_room_is_told_when_there_is_some() {
        let mut peer = Peer::new();
        peer.bound(Some(3));
        (0..5).for_each(|n| peer.put(2 * n));
        assert_eq!(peer.pull(1 << 20), [(3, 0)]);
        assert_eq!((peer.out.count(FAMILY), peer.out.left_out(FAMILY)), (3, 2));
        assert_eq!(peer.pull(1 << 20), []);
        (0..5).for_each(|n| peer.take(2 * n));
        peer.put(40);
        peer.pull(1 << 20);
        assert_eq!((peer.out.count(FAMILY), peer.out.left_out(FAMILY)), (1, 0));
    }

    #[test]
    fn another_bound_is_kept_at_once_without_telling_the_rest_again() {
        let mut peer = Peer::new();
        (0..5).for_each(|n| peer.put(2 * n));
        assert_eq!(peer.pull(1 << 20), [(5, 0)]);
        peer.bound(Some(2));
        assert_eq!(peer.pull(1 << 20), [(0, 3)]);
        peer.bound(Some(4));
        assert_eq!(peer.pull(1 << 20), [(2, 0)]);
        peer.bound(None);
        assert_eq!(peer.pull(1 << 20), [(1, 0)]);
        assert_eq!(peer.out.left_out(FAMILY), 0);
    }

    proptest! {
        #[test]
        fn a_peer_that_counts_never_sees_more_and_at_rest_as_many_as_there_are(
            most in 1u8..20,
            changes in prop::collection::vec((any::<bool>(), 0u8..40, 0usize..600), 1..120),
        ) {
            let mut peer = Peer::new();
            peer.bound(Some(most.into()));
            let (mut there, mut told) = (BTreeSet::new(), 0);
            for (come, n, room) in changes {
                if come && there.insert(n) {
                    peer.put(n);
                } else if !come && there.remove(&n) {
                    peer.take(n);
                }
                // No room: several changes come together.
                let messages = if room < 100 { Vec::new() } else { peer.pull(room) };
                for (come, gone) in messages {
                    told = told + come - gone;
                    prop_assert!(told <= usize::from(most));
                }
            }
            for (come, gone) in peer.pull(1 << 20) {
                told = told + come - gone;
                prop_assert!(told <= usize::from(most));
            }
            prop_assert_eq!(told, there.len().min(most.into()));
            prop_assert_eq!(peer.out.count(FAMILY), told);
            prop_assert_eq!(peer.out.left_out(FAMILY), there.len() - told);
        }
    }
}
