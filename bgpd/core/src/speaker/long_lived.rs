//! Long-lived graceful restart, helping (RFC 9494): what a peer told is kept beyond its restart
//! time, marked and taken for the worst there is, each family for its own time.
//!
//! The mark is the community LLGR_STALE in the path itself, so that whoever is told the path knows
//! too; [`decision`](crate::rib::decision) and [`export`](crate::rib::export) go by it.

use super::Speaker;
use super::routes::{Parts, importer};
use crate::event::Action;
use crate::report::Report;
use crate::rib::Path;
use crate::rib::import::{Judge, Verdict};
use crate::types::{Family, PeerId};
use crate::wire::Community;
use std::rc::Rc;
use std::time::Instant;

impl Speaker {
    /// The restart time is over: what is stale of this family lives on if both sides want that. If
    /// it did already, its time is not begun anew.
    pub(super) fn live_long(
        &mut self,
        id: PeerId,
        family: Family,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let Some(time) = peer.long_lived_time(family) else { return false };
        peer.long_lived_until.get_mut(family).get_or_insert(now + time);
        let (kept, refused) = self.mark_long_lived(id, family, out);
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if kept == 0 {
            *peer.long_lived_until.get_mut(family) = None;
        }
        if kept + refused > 0 {
            let name = peer.name.clone();
            let report = Report::LongLivedStale { peer: id, name, family, kept, refused, time };
            out.push(Action::Report(report));
        }
        true
    }

    pub(super) fn long_lived_due(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        for family in Family::ALL {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let until = peer.long_lived_until.get_mut(family);
            if until.is_some_and(|at| at <= now) {
                *until = None;
                self.sweep(id, family, out);
            }
        }
    }

    /// How many were marked, and how many do not want to be kept (NO_LLGR; RFC 9494 §4.2).
    fn mark_long_lived(
        &mut self,
        id: PeerId,
        family: Family,
        out: &mut Vec<Action>,
    ) -> (usize, usize) {
        let Some(Parts { peer, interner, config, mut tables }) = self.parts(id, out) else {
            return (0, 0);
        };
        let Some(source) = &peer.source else { return (0, 0) };
        let rules = (&peer.settings, &peer.import);
        let mut judge = Judge::new(importer(config, rules, source, &tables));
        let adj_in = peer.adj_in.get_mut(family);
        let stale = adj_in.stale_keys();
        let mut kept = 0;
        for key in &stale {
            let attrs = adj_in.get(*key).and_then(|p| interner.get(p.attrs)).cloned();
            let Some(attrs) = attrs else { continue };
            let mut marked = attrs.unpack();
            if marked.has_community(Community::NO_LLGR) {
                if adj_in.remove(*key).is_some_and(Verdict::accepted) {
                    tables.remove(*key, Some(id));
                }
                continue;
            }
            kept += 1;
            if attrs.is_long_lived_stale() {
                continue;
            }
            marked.communities.push(Community::LLGR_STALE.0);
            let marked = interner.intern(&marked);
            let accepted = adj_in.alter(*key, marked.id()).is_some_and(Verdict::accepted);
            let Some(prefix) = tables.rib.prefix(key.prefix) else { continue };
            if accepted && let Ok(attrs) = judge.admit(&prefix, &marked, interner) {
                let source = Rc::clone(source);
                tables.set(key.prefix, Path { source, attrs, id: key.path });
            }
        }
        (kept, stale.len() - kept)
    }
}
