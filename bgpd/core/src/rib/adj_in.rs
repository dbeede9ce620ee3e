//! What one peer has told us of one family, before policy (RFC 4271 §3.2).
//!
//! Kept unfiltered, so that a changed import policy is applied without asking the peer again. When
//! a peer restarts gracefully all its paths become stale at once (RFC 4724 §4.2): they carry the
//! number of the session generation that confirmed them, and that number goes up.

use super::import::Verdict;
use super::prefix_map::PrefixMap;
use crate::types::Prefix;
use crate::wire::Attributes;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct AdjIn {
    paths: PrefixMap<InPath>,
    generation: u32,
    stale: usize,
    accepted: usize,
    outdated: u64,
}

/// What a path is let in as, or why it is not.
pub(crate) type Admitted = Result<Arc<Attributes>, Verdict>;

#[derive(Debug)]
pub(crate) struct InPath {
    pub(crate) attrs: Arc<Attributes>,
    pub(crate) since: Instant,
    pub(crate) verdict: Verdict,
    generation: u32,
}

impl AdjIn {
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

    pub(crate) fn get(&self, prefix: &Prefix) -> Option<&InPath> {
        self.paths.get(prefix)
    }

    /// For walks from above (see [`PrefixMap`]).
    pub(crate) fn at(&self, index: usize) -> Option<&Prefix> {
        self.paths.at(index).map(|(prefix, _)| prefix)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Prefix, &InPath)> {
        self.paths.iter()
    }

    pub(crate) const fn is_stale(&self, path: &InPath) -> bool {
        path.generation != self.generation
    }

    /// Answers what the prefix was judged before; `None`: it was not there.
    pub(crate) fn set(
        &mut self,
        prefix: Prefix,
        attrs: Arc<Attributes>,
        verdict: Verdict,
        now: Instant,
    ) -> Option<Verdict> {
        let generation = self.generation;
        self.accepted += usize::from(verdict.accepted());
        let Some(path) = self.paths.get_mut(&prefix) else {
            self.paths.insert(prefix, InPath { attrs, since: now, verdict, generation });
            return None;
        };
        let was = path.verdict;
        self.outdated += 1;
        self.stale -= usize::from(path.generation != generation);
        self.accepted -= usize::from(was.accepted());
        // A path confirmed as it was is as old as it was.
        if !Arc::ptr_eq(&path.attrs, &attrs) {
            path.since = now;
            path.attrs = attrs;
        }
        path.verdict = verdict;
        path.generation = generation;
        Some(was)
    }

    /// Gives a path other attributes; it stays as stale and as judged as it was.
    pub(crate) fn alter(&mut self, prefix: &Prefix, attrs: Arc<Attributes>) -> Option<Verdict> {
        let path = self.paths.get_mut(prefix)?;
        path.attrs = attrs;
        Some(path.verdict)
    }

    /// Answers what the prefix was judged; `None`: it was not there.
    pub(crate) fn remove(&mut self, prefix: &Prefix) -> Option<Verdict> {
        let path = self.paths.remove(prefix)?;
        self.outdated += 1;
        self.stale -= usize::from(path.generation != self.generation);
        self.accepted -= usize::from(path.verdict.accepted());
        Some(path.verdict)
    }

    /// Judges everything again; answers the prefixes whose verdict has become another one, and what
    /// comes of them. `all`: also of those that are accepted as before, maybe as something else.
    pub(crate) fn judge(
        &mut self,
        all: bool,
        mut judge: impl FnMut(&Prefix, &Arc<Attributes>) -> Admitted,
    ) -> Vec<(Prefix, Admitted)> {
        let mut changed = Vec::new();
        for (prefix, path) in self.paths.values_mut() {
            let admitted = judge(prefix, &path.attrs);
            let new = admitted.as_ref().map_or_else(|refused| *refused, |_| Verdict::Accepted);
            self.accepted += usize::from(new.accepted());
            self.accepted -= usize::from(path.verdict.accepted());
            if new != path.verdict || all && new.accepted() {
                path.verdict = new;
                changed.push((*prefix, admitted));
            }
        }
        changed
    }

    /// From now on everything here is stale until it is announced again.
    pub(crate) fn mark_stale(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.stale = self.paths.len();
    }

    pub(crate) fn stale_prefixes(&self) -> Vec<Prefix> {
        if self.stale == 0 {
            return Vec::new();
        }
        self.paths.iter().filter(|(_, p)| self.is_stale(p)).map(|(p, _)| *p).collect()
    }

    pub(crate) fn prefixes(&self) -> Vec<Prefix> {
        self.paths.keys().copied().collect()
    }

    /// Forgets all of it, memory included.
    pub(crate) fn clear(&mut self) {
        self.paths.clear();
        self.stale = 0;
        self.accepted = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{attributes, prefix, start};

    #[test]
    fn a_path_told_again_is_no_longer_stale() {
        let (a, b) = (prefix("10.0.0.0/24"), prefix("10.0.1.0/24"));
        let attrs = Arc::new(attributes(&[65001]));
        let mut table = AdjIn::default();
        for p in [a, b] {
            table.set(p, Arc::clone(&attrs), Verdict::Accepted, start());
        }
        table.mark_stale();
        assert_eq!(table.stale(), 2);
        table.set(a, attrs, Verdict::Accepted, start());
        assert_eq!(table.stale_prefixes(), [b]);
        table.remove(&b);
        assert_eq!((table.stale(), table.len(), table.accepted()), (0, 1, 1));
    }

    #[test]
    fn judging_again_tells_only_what_has_changed() {
        let attrs = Arc::new(attributes(&[65001]));
        let mut table = AdjIn::default();
        for p in ["10.0.0.0/24", "0.0.0.0/0"] {
            table.set(prefix(p), Arc::clone(&attrs), Verdict::Accepted, start());
        }
        let node = |p: &Prefix, attrs: &Arc<Attributes>| {
            if p.is_default() { Ok(Arc::clone(attrs)) } else { Err(Verdict::Policy) }
        };
        let changed = table.judge(false, node);
        assert_eq!(changed.len(), 1);
        assert_eq!(table.accepted(), 1);
        assert!(table.judge(false, node).is_empty());
        assert_eq!(table.judge(true, node).len(), 1);
    }
}
