//! What one peer has told us of one family, before policy (RFC 4271 §3.2).
//!
//! Kept unfiltered, so that a changed import policy is applied without asking the peer again. When
//! a peer restarts gracefully all its paths become stale at once (RFC 4724 §4.2): they carry the
//! number of the session generation that confirmed them, and that number goes up.

use super::attrs::{Attrs, AttrsId};
use super::by_path::{ByPath, PathKey};
use super::import::Verdict;
use super::numbers::PrefixId;
use crate::types::Family;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct AdjIn {
    paths: ByPath<InPath>,
    generation: u16,
    stale: usize,
    accepted: usize,
    outdated: u64,
    /// Times are counted from here.
    epoch: Option<Instant>,
}

/// What a path is let in as, or why it is not.
pub(crate) type Admitted = Result<Attrs, Verdict>;

#[derive(Debug)]
pub(crate) struct InPath {
    pub(crate) attrs: AttrsId,
    since: Ticks,
    generation: u16,
    pub(crate) verdict: Verdict,
}

/// Sixteenths of a second: small, and enough for eight years.
#[derive(Debug, Clone, Copy)]
struct Ticks(u32);

impl Ticks {
    fn of(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_millis() * 16 / 1000).unwrap_or(u32::MAX))
    }

    fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 1000 / 16)
    }
}

impl AdjIn {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            paths: ByPath::new(family),
            generation: 0,
            stale: 0,
            accepted: 0,
            outdated: 0,
            epoch: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) const fn accepted(&self) -> usize {
        self.accepted
    }

    pub(crate) const fn stale(&self) -> usize {
        self.stale
    }

    /// How many announcements another one or a withdrawal has made void.
    pub(crate) const fn outdated(&self) -> u64 {
        self.outdated
    }

    pub(crate) fn get(&self, key: PathKey) -> Option<&InPath> {
        self.paths.get(key)
    }

    /// All paths of a prefix.
    pub(crate) fn of(&self, prefix: PrefixId) -> impl Iterator<Item = (PathKey, &InPath)> {
        self.paths.of(prefix)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PathKey, &InPath)> {
        self.paths.iter()
    }

    pub(crate) const fn is_stale(&self, path: &InPath) -> bool {
        path.generation != self.generation
    }

    /// When it was told as it is.
    pub(crate) fn since(&self, path: &InPath) -> Option<Instant> {
        Some(self.epoch? + path.since.duration())
    }

    /// Answers what the prefix was judged before; `None`: it was not there.
    pub(crate) fn set(
        &mut self,
        key: PathKey,
        attrs: AttrsId,
        verdict: Verdict,
        now: Instant,
    ) -> Option<Verdict> {
        let generation = self.generation;
        let since = Ticks::of(now.saturating_duration_since(*self.epoch.get_or_insert(now)));
        self.accepted += usize::from(verdict.accepted());
        let Some(path) = self.paths.get_mut(key) else {
            self.paths.insert(key, InPath { attrs, since, generation, verdict });
            return None;
        };
        let was = path.verdict;
        self.outdated += 1;
        self.stale -= usize::from(path.generation != generation);
        self.accepted -= usize::from(was.accepted());
        // A path confirmed as it was is as old as it was.
        if path.attrs != attrs {
            path.since = since;
            path.attrs = attrs;
        }
        path.verdict = verdict;
        path.generation = generation;
        Some(was)
    }

    /// Gives a path other attributes; it stays as stale and as judged as it was.
    pub(crate) fn alter(&mut self, key: PathKey, attrs: AttrsId) -> Option<Verdict> {
        let path = self.paths.get_mut(key)?;
        path.attrs = attrs;
        Some(path.verdict)
    }

    /// Answers what the prefix was judged; `None`: it was not there.
    pub(crate) fn remove(&mut self, key: PathKey) -> Option<Verdict> {
        let path = self.paths.remove(key)?;
        self.outdated += 1;
        self.stale -= usize::from(path.generation != self.generation);
        self.accepted -= usize::from(path.verdict.accepted());
        Some(path.verdict)
    }

    /// Judges again what `judge` has an answer to; answers the prefixes whose verdict has become another one, and what
    /// comes of them. `all`: also of those that are accepted as before, maybe as something else.
    pub(crate) fn judge(
        &mut self,
        all: bool,
        mut judge: impl FnMut(PathKey, AttrsId) -> Option<Admitted>,
    ) -> Vec<(PathKey, Admitted)> {
        let mut changed = Vec::new();
        for (key, path) in self.paths.iter_mut() {
            let Some(admitted) = judge(key, path.attrs) else { continue };
            let new = admitted.as_ref().map_or_else(|refused| *refused, |_| Verdict::Accepted);
            self.accepted += usize::from(new.accepted());
            self.accepted -= usize::from(path.verdict.accepted());
            if new != path.verdict || all && new.accepted() {
                path.verdict = new;
                changed.push((key, admitted));
            }
        }
        changed
    }

    /// From now on everything here is stale until it is announced again.
    pub(crate) fn mark_stale(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.stale = self.paths.len();
    }

    pub(crate) fn stale_keys(&self) -> Vec<PathKey> {
        if self.stale == 0 {
            return Vec::new();
        }
        self.iter().filter(|(_, p)| self.is_stale(p)).map(|(id, _)| id).collect()
    }

    pub(crate) fn keys(&self) -> Vec<PathKey> {
        self.iter().map(|(id, _)| id).collect()
    }

    /// Forgets all of it, memory included.
    pub(crate) fn clear(&mut self) {
        self.paths = ByPath::new(self.paths.family());
        self.stale = 0;
        self.accepted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::attrs::Interner;
    use crate::testing::{attributes, start};

    fn id(n: usize) -> PathKey {
        PrefixId::new(Family::Ipv4Unicast, n).into()
    }

    #[test]
    fn a_path_told_again_is_no_longer_stale() {
        let attrs = Attrs::lone(&attributes(&[65001])).id();
        let mut table = AdjIn::new(Family::Ipv4Unicast);
        for p in [id(0), id(1)] {
            table.set(p, attrs, Verdict::Accepted, start());
        }
        table.mark_stale();
        assert_eq!(table.stale(), 2);
        table.set(id(0), attrs, Verdict::Accepted, start());
        assert_eq!(table.stale_keys(), [id(1)]);
        table.remove(id(1));
        assert_eq!((table.stale(), table.len(), table.accepted()), (0, 1, 1));
    }

    #[test]
    fn judging_again_tells_only_what_has_changed() {
        let attrs = Attrs::lone(&attributes(&[65001]));
        let mut table = AdjIn::new(Family::Ipv4Unicast);
        for n in 0..2 {
            table.set(id(n), attrs.id(), Verdict::Accepted, start());
        }
        let first =
            |p: PathKey, _| Some(if p == id(0) { Ok(attrs.clone()) } else { Err(Verdict::Policy) });
        let changed = table.judge(false, first);
        assert_eq!(changed.len(), 1);
        assert_eq!(table.accepted(), 1);
        assert!(table.judge(false, first).is_empty());
        assert_eq!(table.judge(true, first).len(), 1);
    }

    #[test]
    fn a_path_is_as_old_as_its_attributes() {
        let mut table = AdjIn::new(Family::Ipv4Unicast);
        let mut interner = Interner::default();
        let [one, two] = [1, 2].map(|asn| interner.intern(&attributes(&[asn])).id());
        let later = |s| start() + Duration::from_secs(s);
        let began = later(0);
        let at = |s| began + Duration::from_secs(s);
        table.set(id(0), one, Verdict::Accepted, at(0));
        table.set(id(0), one, Verdict::Accepted, at(5));
        assert_eq!(table.since(table.get(id(0)).unwrap()), Some(at(0)));
        table.set(id(0), two, Verdict::Accepted, at(7));
        assert_eq!(table.since(table.get(id(0)).unwrap()), Some(at(7)));
    }
}
