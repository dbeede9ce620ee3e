//! Policies: compiled once for each configuration, and applied again to what stands.

use super::Speaker;
use super::routes::{Parts, importer};
use crate::config::Policy;
use crate::event::Action;
use crate::policy::Program;
use crate::rib::Path;
use crate::rib::import::Judge;
use crate::types::{Family, PeerId, Prefix};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub(super) type Programs = BTreeMap<String, Arc<Program>>;

/// A policy that is as it was stays the program it was.
pub(super) fn compile(policies: &BTreeMap<String, Policy>, before: &Programs) -> Programs {
    let program = |(name, policy): (&String, &Policy)| {
        let known = before.get(name).filter(|program| program.policy == *policy);
        let program = known.map_or_else(|| Arc::new(Program::new(policy)), Arc::clone);
        (name.clone(), program)
    };
    policies.iter().map(program).collect()
}

impl Speaker {
    /// Policies are applied to what stands on both sides; nobody has to tell anything again.
    pub(super) fn change_policies(&mut self, out: &mut Vec<Action>) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.change_policies_of(id, out);
        }
    }

    fn change_policies_of(&mut self, id: PeerId, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (import, export) = self.filters(&peer.settings);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.export != export {
            peer.export = export.clone();
            if let Some(up) = &mut peer.up {
                up.exporter.filter = export;
                peer.adj_out.reconsider(&self.rib);
            }
        }
        if peer.import != import {
            let changes = peer.import.changes_paths() || import.changes_paths();
            peer.import = import;
            self.judge_again(id, changes, out);
        }
    }

    /// Asks the import rules again about everything a peer has told. `all`: also what is let in as
    /// before may have become another path.
    pub(super) fn judge_again(&mut self, id: PeerId, all: bool, out: &mut Vec<Action>) {
        self.judge_some(id, all, |_| true, out);
    }

    /// The same about what is affected.
    pub(super) fn judge_some(
        &mut self,
        id: PeerId,
        all: bool,
        affected: impl Fn(&Prefix) -> bool,
        out: &mut Vec<Action>,
    ) {
        let Some(Parts { peer, interner, config, mut tables }) = self.parts(id, out) else {
            return;
        };
        let Some(source) = &peer.source else { return };
        let rules = (&peer.settings, &peer.import);
        let mut judge = Judge::new(importer(config, rules, source, &tables));
        let mut judged = Vec::new();
        for family in Family::ALL {
            let adj_in = peer.adj_in.get_mut(family);
            let numbers = tables.rib.numbers();
            let changed = adj_in.judge(all, |key, attrs| {
                let prefix = numbers.prefix(key.prefix).filter(&affected)?;
                let attrs = interner.get(attrs)?.clone();
                Some(judge.admit(&prefix, &attrs, interner))
            });
            judged.extend(changed.iter().map(|(key, _)| *key));
            for (key, admitted) in changed {
                match admitted {
                    Ok(attrs) => {
                        let source = Rc::clone(source);
                        tables.set(key.prefix, Path { source, attrs, id: key.path });
                    }
                    Err(_) => tables.remove(key, Some(id)),
                }
            }
        }
        self.see_change(id, &judged, false);
    }
}
