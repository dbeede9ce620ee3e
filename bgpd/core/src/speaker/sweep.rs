//! What no table uses any more: numbers of prefixes and sets of attributes, looked for each time
//! there are twice as many as there were.

use super::Speaker;
use crate::types::Family;

impl Speaker {
    pub(super) fn tend_tables(&mut self) {
        if self.rib.numbers().wants_sweep() {
            self.sweep_numbers();
        }
        if self.interner.wants_sweep() {
            self.sweep_attributes();
        }
    }

    fn sweep_numbers(&mut self) {
        let Self { rib, peers, .. } = self;
        rib.sweep(|mark| {
            for peer in peers.values() {
                for family in Family::ALL {
                    peer.adj_in.get(family).iter().for_each(|(key, _)| mark(key.prefix));
                }
                peer.adj_out.ids().for_each(&mut *mark);
            }
        });
    }

    fn sweep_attributes(&mut self) {
        let Self { interner, peers, memos, .. } = self;
        memos.clear();
        interner.sweep(|mark| {
            for peer in peers.values() {
                for family in Family::ALL {
                    peer.adj_in.get(family).iter().for_each(|(_, path)| mark(path.attrs));
                }
                peer.adj_out.iter().for_each(|(_, attrs)| mark(attrs));
            }
        });
    }
}
