//! The routes in use (RFC 4271 §3.2): each prefix with its accepted paths, the best first.
//!
//! Whoever follows the table reads the journal: the prefixes whose best path has changed, in
//! order. It is shared by all peers, so a change costs the same however many there are.

use super::by_path::PathKey;
use super::decision;
use super::numbers::{Numbers, PrefixId};
use super::{Kind, Path, PerFamily};
use crate::config::Multipath;
use crate::hop_weight;
use crate::types::{Family, Gateway, PeerId, Prefix};
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct LocRib {
    numbers: Numbers,
    /// By number; one without paths is none.
    routes: PerFamily<Vec<Route>>,
    counts: PerFamily<usize>,
    /// Prefixes whose best path has changed.
    journal: Journal,
    /// Prefixes of which any path has, for those who are told all of them.
    every: Journal,
}

impl Default for LocRib {
    fn default() -> Self {
        Self {
            numbers: Numbers::default(),
            routes: PerFamily::default(),
            counts: PerFamily::default(),
            journal: Journal::kept(),
            every: Journal::default(),
        }
    }
}

/// A prefix's accepted paths: the best first, then those that may be used beside it.
#[derive(Debug)]
pub(crate) struct Route(Paths);

/// Most prefixes have one path, which needs no memory of its own.
#[derive(Debug)]
enum Paths {
    One(Path),
    Others(Option<Box<Several>>),
}

#[derive(Debug)]
struct Several {
    /// Two at least.
    paths: Vec<Path>,
    /// How many may be used side by side.
    equal: usize,
}

impl Route {
    const NONE: Self = Self(Paths::Others(None));

    pub(crate) fn best(&self) -> Option<&Path> {
        self.paths().first()
    }

    pub(crate) fn paths(&self) -> &[Path] {
        match &self.0 {
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Others(Some(several)) => &several.paths,
            Paths::Others(None) => &[],
        }
    }

    const fn exists(&self) -> bool {
        !matches!(self.0, Paths::Others(None))
    }

    const fn equal(&self) -> usize {
        match &self.0 {
            Paths::Others(Some(several)) => several.equal,
            _ => 1,
        }
    }

    /// In any order; the best has to be found.
    fn take(&mut self) -> Vec<Path> {
        match std::mem::replace(&mut self.0, Paths::Others(None)) {
            Paths::One(path) => vec![path],
            Paths::Others(several) => several.map(|s| s.paths).unwrap_or_default(),
        }
    }

    /// The others stand as they did.
    fn insert_loser(&mut self, at: usize, path: Path) {
        if let Paths::Others(Some(several)) = &mut self.0 {
            return several.paths.insert(at, path);
        }
        let mut paths = self.take();
        paths.push(path);
        self.0 = Paths::Others(Some(Box::new(Several { paths, equal: 1 })));
    }

    fn remove_loser(&mut self, at: usize) {
        if let Paths::Others(Some(several)) = &mut self.0 {
            several.paths.remove(at);
            if let [_] = several.paths.as_slice()
                && let Some(last) = several.paths.pop()
            {
                self.0 = Paths::One(last);
            }
        }
    }

    fn select(mut paths: Vec<Path>) -> Self {
        if paths.len() < 2 {
            return Self(paths.pop().map_or(Paths::Others(None), Paths::One));
        }
        let equal = decision::select(&mut paths);
        Self(Paths::Others(Some(Box::new(Several { paths, equal }))))
    }

    /// The best path and those as good as it that may be used beside it, `max` at most, each with
    /// another next hop.
    pub(crate) fn used(&self, max: usize, rules: Multipath) -> impl Iterator<Item = &Path> {
        let equal = self.paths().get(..self.equal()).unwrap_or_default();
        let best = self.best();
        let distinct = equal.iter().enumerate().filter(move |(i, path)| {
            let before = equal.get(..*i).unwrap_or_default();
            let fits = best.is_some_and(|best| rules.relax || goes_alike(best, path));
            fits && !before.iter().any(|p| p.gateway() == path.gateway())
        });
        let internal = best.is_some_and(|best| best.source.kind.is_internal());
        let most = if internal { rules.internal } else { rules.external };
        distinct.map(|(_, path)| path).take(max.min(most))
    }

    /// Why one as good as the best is not [`used`](Self::used); `None`: it is, or is not as good.
    pub(crate) fn unused(&self, at: usize, max: usize, rules: Multipath) -> Option<&'static str> {
        let equal = self.paths().get(..self.equal())?;
        let (best, path) = (equal.first()?, equal.get(at)?);
        let internal = best.source.kind.is_internal();
        if self.used(max, rules).any(|used| used == path) {
            return None;
        }
        let before = equal.get(..at).unwrap_or_default();
        Some(if !rules.relax && !goes_alike(best, path) {
            "it goes another way than the best, and bgp.multipath.relax is false"
        } else if before.iter().any(|p| p.gateway() == path.gateway()) {
            "its next hop is that of a better one"
        } else if internal {
            "there are as many as bgp.multipath.ibgp allows"
        } else {
            "there are as many as bgp.multipath.ebgp allows"
        })
    }

    /// Sorted.
    pub(crate) fn next_hops(&self, max: usize, rules: Multipath) -> Vec<Gateway> {
        let used = || self.used(max, rules);
        let mut hops: Vec<_> = used().map(Path::gateway).collect();
        if rules.weighted && hops.len() > 1 {
            weigh(&mut hops, used());
        }
        hops.sort_unstable();
        hops
    }
}

/// By the bandwidths of these paths' links; a path without one leaves all of them equal.
fn weigh<'a>(hops: &mut [Gateway], paths: impl Iterator<Item = &'a Path>) {
    let octets = paths.map(|path| path.attrs.bandwidth().map(f64::from));
    let Some(octets) = octets.collect::<Option<Vec<f64>>>() else { return };
    let weights = hop_weight::scale(&octets).unwrap_or_default();
    hops.iter_mut().zip(weights).for_each(|(hop, weight)| hop.weight = weight);
}

/// By the same neighbour AS; inside the AS, by the same path.
fn goes_alike(best: &Path, other: &Path) -> bool {
    match best.source.kind {
        Kind::External => best.source.asn == other.source.asn,
        _ => best.attrs.unpack().as_path == other.attrs.unpack().as_path,
    }
}

/// What a change of candidates has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that is in use.
    Nothing,
    /// The paths in use may be others now.
    Selection,
}

impl LocRib {
    pub(crate) fn len(&self, family: Family) -> usize {
        *self.counts.get(family)
    }

    /// The prefix's number, from now on if it had none.
    pub(crate) fn number(&mut self, prefix: &Prefix) -> PrefixId {
        self.numbers.number(prefix)
    }

    pub(crate) const fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    pub(crate) fn find(&self, prefix: &Prefix) -> Option<PrefixId> {
        self.numbers.find(prefix)
    }

    pub(crate) fn prefix(&self, id: PrefixId) -> Option<Prefix> {
        self.numbers.prefix(id)
    }

    pub(crate) fn get(&self, prefix: &Prefix) -> Option<&Route> {
        self.at(self.find(prefix)?)
    }

    pub(crate) fn at(&self, id: PrefixId) -> Option<&Route> {
        self.routes.get(id.family()).get(id.index()).filter(|r| r.exists())
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Prefix, &Route)> {
        self.ids().filter_map(|id| Some((self.prefix(id)?, self.at(id)?)))
    }

    /// Of all routes.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PrefixId> + '_ {
        Family::ALL.into_iter().flat_map(|f| {
            let routes = self.routes.get(f).iter().enumerate();
            routes.filter(|(_, r)| r.exists()).map(move |(i, _)| PrefixId::new(f, i))
        })
    }

    /// Numbers of routes are below this.
    pub(crate) fn slots(&self, family: Family) -> usize {
        self.routes.get(family).len()
    }

    /// Takes back the numbers of prefixes that have neither a route here nor a mark.
    pub(crate) fn sweep(&mut self, mark: impl FnOnce(&mut dyn FnMut(PrefixId))) {
        let Self { numbers, routes, .. } = self;
        numbers.sweep(|tell| {
            mark(tell);
            for family in Family::ALL {
                let routes = routes.get(family).iter().enumerate();
                routes
                    .filter(|(_, r)| r.exists())
                    .for_each(|(i, _)| tell(PrefixId::new(family, i)));
            }
        });
        for family in Family::ALL {
            let routes = routes.get_mut(family);
            routes.truncate(numbers.slots(family));
            routes.shrink_to(routes.len() * 2);
        }
    }

    pub(crate) const fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) const fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Of changes of any path; nothing is written to it before [`keep_every`](Self::keep_every).
    pub(crate) const fn every(&self) -> &Journal {
        &self.every
    }

    pub(crate) const fn every_mut(&mut self) -> &mut Journal {
        &mut self.every
    }

    pub(crate) const fn keep_every(&mut self, wanted: bool) {
        self.every.on = wanted;
    }

    /// Puts a path in the place of the one that its source had.
    pub(crate) fn set(&mut self, id: PrefixId, path: Path) -> Change {
        let routes = self.routes.get_mut(id.family());
        if id.index() >= routes.len() {
            routes.resize_with(id.index() + 1, || Route::NONE);
        }
        let Some(route) = routes.get_mut(id.index()) else { return Change::Nothing };
        match &mut route.0 {
            Paths::Others(None) => {
                *self.counts.get_mut(id.family()) += 1;
                route.0 = Paths::One(path);
                self.journal.push(id);
                self.every.push(id);
                return Change::Selection;
            }
            Paths::One(old) if *old == path => return Change::Nothing,
            Paths::One(old) if path.replaces(old) => {
                *old = path;
                self.journal.push(id);
                self.every.push(id);
                return Change::Selection;
            }
            _ => {}
        }
        if !route.paths().iter().any(|p| path.replaces(p))
            && let Some(at) = decision::place_of_loser(route.paths(), &path)
        {
            route.insert_loser(at, path);
            self.every.push(id);
            return Change::Nothing;
        }
        let was_best = route.best().cloned();
        let mut paths = route.take();
        let change = match paths.iter_mut().find(|p| path.replaces(p)) {
            Some(old) => {
                let change = if *old == path { Change::Nothing } else { Change::Selection };
                *old = path;
                change
            }
            None => {
                paths.push(path);
                Change::Selection
            }
        };
        *route = Route::select(paths);
        if route.best() != was_best.as_ref() {
            self.journal.push(id);
        }
        if change == Change::Selection {
            self.every.push(id);
        }
        change
    }

    /// Takes away the path of one source.
    pub(crate) fn remove(&mut self, key: PathKey, peer: Option<PeerId>) -> Change {
        let id = key.prefix;
        let Some(route) = self.routes.get_mut(id.family()).get_mut(id.index()) else {
            return Change::Nothing;
        };
        let Some(at) = route.paths().iter().position(|p| p.source.peer == peer && p.id == key.path)
        else {
            return Change::Nothing;
        };
        if decision::lost_early(route.paths(), at) {
            route.remove_loser(at);
            self.every.push(id);
            return Change::Nothing;
        }
        let was_best = route.best().cloned();
        let mut paths = route.take();
        paths.remove(at);
        *route = Route::select(paths);
        if !route.exists() {
            *self.counts.get_mut(id.family()) -= 1;
        }
        if route.best() != was_best.as_ref() {
            self.journal.push(id);
        }
        self.every.push(id);
        Change::Selection
    }
}

/// Prefixes whose best path has changed, numbered from the beginning of time.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<PrefixId>,
    /// The number of the first entry still there.
    first: u64,
    on: bool,
}

impl Journal {
    fn kept() -> Self {
        Self { on: true, ..Self::default() }
    }
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
    pub(crate) fn get(&self, number: u64) -> Option<PrefixId> {
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

    fn push(&mut self, prefix: PrefixId) {
        if self.on {
            self.entries.push_back(prefix);
        }
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
        let p = rib.number(&prefix("10.0.0.0/8"));
        let one = path(&PathSpec::default());
        assert_eq!(rib.set(p, one.clone()), Change::Selection);
        let end = rib.journal().end();
        assert_eq!(rib.set(p, one), Change::Nothing);
        assert_eq!(rib.journal().end(), end);
    }

    #[test]
    fn a_worse_path_beside_the_best_is_not_news_for_peers() {
        let mut rib = LocRib::default();
        let p = rib.number(&prefix("10.0.0.0/8"));
        rib.set(p, path(&PathSpec::default()));
        let end = rib.journal().end();
        rib.set(p, path(&PathSpec { peer: 2, ..PathSpec::default() }));
        assert_eq!(rib.journal().end(), end);
        assert_eq!(rib.at(p).unwrap().next_hops(8, Multipath::default()).len(), 2);
        assert_eq!(rib.at(p).unwrap().next_hops(1, Multipath::default()).len(), 1);
        rib.remove(p.into(), Some(PeerId(1)));
        assert_eq!(rib.journal().end(), end + 1);
    }

    #[test]
    fn paths_side_by_side_are_as_many_and_as_alike_as_asked() {
        let mut rib = LocRib::default();
        let p = rib.number(&prefix("10.0.0.0/8"));
        for (peer, asn) in [(1, 65001), (2, 65001), (3, 65002), (4, 65003)] {
            let mut path = path(&PathSpec { peer, as_path: vec![asn], ..PathSpec::default() });
            std::rc::Rc::make_mut(&mut path.source).asn = crate::types::Asn(asn);
            rib.set(p, path);
        }
        let used = |rules| rib.at(p).unwrap().next_hops(16, rules).len();
        assert_eq!(used(Multipath::default()), 4);
        assert_eq!(used(Multipath { external: 3, internal: 1, ..Multipath::default() }), 3);
        assert_eq!(used(Multipath { relax: false, ..Multipath::default() }), 2);
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
                let id = rib.number(&p);
                match step {
                    Some((asn, med, internal)) => {
                        let spec = PathSpec {
                            peer,
                            as_path: vec![65001 + asn],
                            med: Some(med),
                            internal,
                            ..PathSpec::default()
                        };
                        rib.set(id, path(&spec));
                        model.insert((p, peer), spec);
                    }
                    None => {
                        rib.remove(id.into(), Some(PeerId(peer.into())));
                        model.remove(&(p, peer));
                    }
                }
            }
            let mut rebuilt = LocRib::default();
            for ((p, _), spec) in model.iter().rev() {
                let id = rebuilt.number(p);
                rebuilt.set(id, path(spec));
            }
            prop_assert_eq!(rib.len(Family::Ipv4Unicast), rebuilt.len(Family::Ipv4Unicast));
            for (p, route) in rebuilt.iter() {
                let ours = rib.get(&p).unwrap();
                prop_assert_eq!(ours.equal(), route.equal());
                let from = |r: &Route| r.paths().iter().map(|p| p.source.peer).collect::<Vec<_>>();
                prop_assert_eq!(from(ours), from(route));
                prop_assert_eq!(ours.next_hops(8, Multipath::default()), route.next_hops(8, Multipath::default()));
            }
        }
    }
}
