//! Route origin validation in the speaker: what the caches say now, and what becomes of routes when
//! they say something else (RFC 6811 §5).

use super::Speaker;
use crate::event::Action;
use crate::rib::PerFamily;
use crate::rib::loc_rib::Route;
use crate::rpki::{Table, Validity};
use crate::types::{Family, PeerId, Prefix};
use crate::wire::AsPath;
use std::sync::Arc;

impl Speaker {
    /// What the RPKI says of origins.
    #[must_use]
    pub const fn origins_known(&self) -> &Arc<Table> {
        &self.origins.table
    }

    /// RFC 6811 §2: an empty path is our own AS's.
    #[must_use]
    pub fn validity(&self, prefix: &Prefix, as_path: &AsPath) -> Validity {
        let own = as_path.0.is_empty().then_some(self.config.asn);
        self.origins.table.validity(prefix, as_path.origin_as().or(own))
    }

    /// Policies that ask for it are asked again about what the difference covers: nothing else can
    /// be another than before.
    pub(super) fn origins(&mut self, table: Arc<Table>, out: &mut Vec<Action>) {
        let apart = self.origins.table.difference(&table);
        self.origins.table = table;
        if apart.is_empty() {
            return;
        }
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.export.asks_rpki() && peer.up.is_some() {
                peer.adj_out.reconsider(&self.rib);
            }
            if peer.import.asks_rpki() {
                let all = peer.import.changes_paths();
                self.judge_some(id, all, |prefix| apart.covers(prefix), out);
            }
        }
    }

    /// How many routes of each kind there are, in the Loc-RIB: valid, invalid, not found.
    #[must_use]
    pub fn validities(&self) -> [(Family, [usize; 3]); 2] {
        let mut counts = PerFamily::<[usize; 3]>::default();
        for number in self.rib.ids() {
            let best = self.rib.at(number).and_then(Route::best);
            let (Some(prefix), Some(best)) = (self.rib.prefix(number), best) else { continue };
            let [valid, invalid, not_found] = counts.get_mut(number.family());
            match self.validity(&prefix, &best.attrs.unpack().as_path) {
                Validity::Valid => *valid += 1,
                Validity::Invalid => *invalid += 1,
                Validity::NotFound => *not_found += 1,
            }
        }
        Family::ALL.map(|family| (family, *counts.get(family)))
    }
}
