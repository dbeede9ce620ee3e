//! Route refresh (RFC 2918) and its enhanced form (RFC 7313), in both roles.
//!
//! *Asked*: the Adj-RIB-Out is told again, between BoRR and EoRR if both sides have the capability.
//!
//! *Told*: a BoRR makes what the peer has told of a family stale, whoever caused it, and the EoRR
//! removes what was not told again. An EoRR that never comes is not waited for longer than
//! [`BOUND`].

use super::Speaker;
use crate::event::Action;
use crate::report::Report;
use crate::types::{Family, PeerId};
use crate::wire::{AfiSafi, RefreshMark};
use std::time::{Duration, Instant};

/// One family of one peer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refreshing {
    /// Between BoRR and EoRR: when what is still stale goes all the same.
    until: Option<Instant>,
}

/// How long a peer may take from BoRR to EoRR: RFC 7313 §4 leaves it to us.
const BOUND: Duration = Duration::from_secs(360);

impl Refreshing {
    pub(crate) const fn is_under_way(&self) -> bool {
        self.until.is_some()
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

impl Speaker {
    /// RFC 2918 §4: a family that was not agreed on is ignored.
    pub(super) fn refresh(&mut self, id: PeerId, asked: AfiSafi, out: &mut Vec<Action>) {
        let Some(family) = self.shared(id, asked) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let marked = peer.agreed().is_some_and(|a| a.enhanced_refresh);
        peer.adj_out.refresh(&self.rib, family, marked);
        let name = peer.name.clone();
        out.push(Action::Report(Report::RouteRefreshed { peer: id, name, family }));
    }

    /// RFC 7313 §4.
    pub(super) fn refresh_mark(
        &mut self,
        id: PeerId,
        of: AfiSafi,
        mark: RefreshMark,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(family) = self.shared(id, of) else { return };
        match mark {
            RefreshMark::Begin => self.refresh_begins(id, family, now),
            RefreshMark::End => self.refresh_ends(id, family, out),
            RefreshMark::Unknown(_) => {}
        }
    }

    /// With graceful restart there is no BoRR before the EoR, and a peer that sends one is not
    /// heard.
    fn refresh_begins(&mut self, id: PeerId, family: Family, now: Instant) {
        let Some(peer) = self.peers.get(&id) else { return };
        let restarts = peer.agreed().is_some_and(|a| a.restart.is_some());
        if !restarts || *peer.end_of_rib.get(family) {
            self.refresh_begun(id, family, now);
        }
    }

    pub(super) fn refresh_begun(&mut self, id: PeerId, family: Family, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.refreshing.get_mut(family).until = Some(now + BOUND);
        peer.adj_in.get_mut(family).mark_stale();
    }

    /// Only an EoRR whose BoRR we have seen says anything.
    fn refresh_ends(&mut self, id: PeerId, family: Family, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.refreshing.get_mut(family).until.take().is_some() {
            self.sweep(id, family, out);
            self.spoken(id, family, out);
        }
    }

    pub(super) fn refresh_due(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        for family in Family::ALL {
            let Some(peer) = self.peers.get(&id) else { return };
            if peer.refreshing.get(family).until.is_some_and(|at| at <= now) {
                let name = peer.name.clone();
                out.push(Action::Report(Report::RefreshUnfinished { peer: id, name, family }));
                self.refresh_ends(id, family, out);
            }
        }
    }

    /// The family that is meant, if this session carries it.
    fn shared(&self, id: PeerId, family: AfiSafi) -> Option<Family> {
        let up = self.peers.get(&id)?.up.as_ref()?;
        family.family().filter(|f| *up.exporter.families.get(*f))
    }
}
