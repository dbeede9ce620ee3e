//! The routes in use (RFC 4271 §3.2): each prefix with its accepted paths, the best first.
//!
//! Whoever follows the table reads the journal: the prefixes whose best path has changed, in
//! order. It is shared by all peers, so a change costs the same however many there are.

use super::decision;
use super::prefix_map::PrefixMap;
use super::{Path, PerFamily};
use crate::types::{Family, NextHop, PeerId, Prefix};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct LocRib {
    routes: PrefixMap<Route>,
    counts: PerFamily<usize>,
    journal: Journal,
}

#[derive(Debug, Default)]
pub(crate) struct Route {
    /// Never empty; the best first, then those that may be used beside it.
    paths: Vec<Path>,
    /// How many may be used side by side.
    equal: usize,
}

impl Route {
    pub(crate) fn best(&self) -> Option<&Path> {
        self.paths.first()
    }

    pub(crate) fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The best path and those as good as it, `max` at most, each with another next hop.
    pub(crate) fn used(&self, max: usize) -> impl Iterator<Item = &Path> {
        let equal = self.paths.get(..self.equal).unwrap_or_default();
        let distinct = equal.iter().enumerate().filter(|(i, path)| {
            let before = equal.get(..*i).unwrap_or_default();
            !before.iter().any(|p| p.attrs.next_hop == path.attrs.next_hop)
        });
        distinct.map(|(_, path)| path).take(max)
    }

    /// Sorted.
    pub(crate) fn next_hops(&self, max: usize) -> Vec<NextHop> {
        let mut hops: Vec<_> = self.used(max).map(|p| p.attrs.next_hop).collect();
        hops.sort_unstable();
        hops
    }
}

/// What a change of candidates has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that anybody sees.
    Nothing,
    /// The paths in use may be others now.
    Selection,
}

impl LocRib {
    pub(crate) fn len(&self, family: Family) -> usize {
        *self.counts.get(family)
    }

    pub(crate) fn get(&self, prefix: &Prefix) -> Option<&Route> {
        self.routes.get(prefix)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Prefix, &Route)> {
        self.routes.iter()
    }

    /// For walks from above (see [`PrefixMap`]).
    pub(crate) fn at(&self, index: usize) -> Option<(&Prefix, &Route)> {
        self.routes.at(index)
    }

    pub(crate) fn slots(&self) -> usize {
        self.routes.len()
    }

    pub(crate) const fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) const fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Puts a path in the place of the one that its source had.
    pub(crate) fn set(&mut self, prefix: Prefix, path: Path) -> Change {
        let Some(route) = self.routes.get_mut(&prefix) else {
            *self.counts.get_mut(Family::of(&prefix)) += 1;
            self.routes.insert(prefix, Route { paths: vec![path], equal: 1 });
            self.journal.push(prefix);
            return Change::Selection;
        };
        let was_best = route.paths.first().cloned();
        match route.paths.iter_mut().find(|p| p.source.peer == path.source.peer) {
            Some(old) if *old == path => {
                *old = path;
                return Change::Nothing;
            }
            Some(old) => *old = path,
            None => route.paths.push(path),
        }
        reselect(route, prefix, was_best, &mut self.journal);
        Change::Selection
    }

    /// Takes away the path of one source.
    pub(crate) fn remove(&mut self, prefix: &Prefix, peer: Option<PeerId>) -> Change {
        let Some(route) = self.routes.get_mut(prefix) else { return Change::Nothing };
        let Some(at) = route.paths.iter().position(|p| p.source.peer == peer) else {
            return Change::Nothing;
        };
        let was_best = route.paths.first().cloned();
        route.paths.remove(at);
        if route.paths.is_empty() {
            self.routes.remove(prefix);
            *self.counts.get_mut(Family::of(prefix)) -= 1;
            self.journal.push(*prefix);
        } else {
            reselect(route, *prefix, was_best, &mut self.journal);
        }
        Change::Selection
    }
}

fn reselect(route: &mut Route, prefix: Prefix, was_best: Option<Path>, journal: &mut Journal) {
    route.equal = decision::select(&mut route.paths);
    if route.paths.first() != was_best.as_ref() {
        journal.push(prefix);
    }
}

/// Prefixes whose best path has changed, numbered from the beginning of time.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Prefix>,
    /// The number of the first entry still there.
    first: u64,
}

impl Journal {
    /// The number that the next entry will have.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgotten entries count as read: their readers have been sent for a walk instead.
    pub(crate) fn get(&self, number: u64) -> Option<Prefix> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get(index).copied()
    }

    /// Forgets what comes before `number`.
    pub(crate) fn forget_before(&mut self, number: u64) {
        let count = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = count.min(self.entries.len());
        self.entries.drain(..count);
        self.first += count as u64;
    }

    fn push(&mut self, prefix: Prefix) {
        self.entries.push_back(prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PathSpec, path, prefix};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_path_told_again_changes_nothing() {
        let mut rib = LocRib::default();
        let p = prefix("10.0.0.0/8");
        let one = path(&PathSpec::default());
        assert_eq!(rib.set(p, one.clone()), Change::Selection);
        let end = rib.journal().end();
        assert_eq!(rib.set(p, one), Change::Nothing);
        assert_eq!(rib.journal().end(), end);
    }

    #[test]
    fn a_worse_path_beside_the_best_is_not_news_for_peers() {
        let mut rib = LocRib::default();
        let p = prefix("10.0.0.0/8");
        rib.set(p, path(&PathSpec::default()));
        let end = rib.journal().end();
        rib.set(p, path(&PathSpec { peer: 2, ..PathSpec::default() }));
        assert_eq!(rib.journal().end(), end);
        assert_eq!(rib.get(&p).unwrap().next_hops(8).len(), 2);
        assert_eq!(rib.get(&p).unwrap().next_hops(1).len(), 1);
        rib.remove(&p, Some(PeerId(1)));
        assert_eq!(rib.journal().end(), end + 1);
    }

    proptest! {
        #[test]
        fn a_table_changed_step_by_step_equals_one_built_at_once(
            steps in prop::collection::vec(
                (0u8..3, 1u8..5, prop::option::of((0u32..3, 0u32..3, any::<bool>()))), 1..80),
        ) {
            let mut rib = LocRib::default();
            let mut model = BTreeMap::new();
            for (n, peer, step) in steps {
                let p = prefix(&format!("10.{n}.0.0/16"));
                match step {
                    Some((asn, med, internal)) => {
                        let spec = PathSpec {
                            peer,
                            as_path: vec![65001 + asn],
                            med: Some(med),
                            internal,
                            ..PathSpec::default()
                        };
                        rib.set(p, path(&spec));
                        model.insert((p, peer), spec);
                    }
                    None => {
                        rib.remove(&p, Some(PeerId(peer.into())));
                        model.remove(&(p, peer));
                    }
                }
            }
            let mut rebuilt = LocRib::default();
            for ((p, _), spec) in model.iter().rev() {
                rebuilt.set(*p, path(spec));
            }
            prop_assert_eq!(rib.len(Family::Ipv4Unicast), rebuilt.len(Family::Ipv4Unicast));
            for (p, route) in rebuilt.iter() {
                let ours = rib.get(p).unwrap();
                prop_assert_eq!(ours.equal, route.equal);
                let from = |r: &Route| r.paths.iter().map(|p| p.source.peer).collect::<Vec<_>>();
                prop_assert_eq!(from(ours), from(route));
                prop_assert_eq!(ours.next_hops(8), route.next_hops(8));
            }
        }
    }
}
