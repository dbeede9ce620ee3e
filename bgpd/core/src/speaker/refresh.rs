//! Route refresh (RFC 2918) and its enhanced form (RFC 7313), in both roles.
//!
//! *Asked*: the Adj-RIB-Out is told again, between BoRR and EoRR if both sides have the capability.
//!
//! *Asking*: a BoRR makes what the peer has told of a family stale, whoever caused it, and the EoRR
//! removes what was not told again. An EoRR that never comes is not waited for longer than
//! [`BOUND`].

use super::Speaker;
use crate::event::Action;
use crate::report::{Cause, Report};
use crate::types::{Family, PeerId};
use crate::wire::{self, AfiSafi, RefreshMark};
use std::time::{Duration, Instant};

/// One family of one peer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refreshing {
    /// We have asked, and no BoRR has come yet.
    asked: bool,
    /// Between BoRR and EoRR: when what is still stale goes all the same.
    until: Option<Instant>,
    /// In a session that an earlier process had, until the peer has told everything again: when it
    /// counts as having done so, and the time without an UPDATE after which it does.
    retelling: Option<(Instant, Option<Duration>)>,
}

/// What came of asking a peer to tell everything again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The peer does not have the capability, or the family, or no session: nothing was sent.
    No,
    /// It will tell, but not say when it has told all.
    Unmarked,
    /// [`Speaker::refreshed`] will be called when it has told all, or in [`BOUND`] at last.
    Marked,
}

/// A peer that does not say where its answer ends has told everything when it has said nothing for
/// so long.
const QUIET: Duration = Duration::from_secs(30);

/// How long a peer may take from BoRR to EoRR: RFC 7313 §4 leaves it to us.
const BOUND: Duration = Duration::from_secs(360);

impl Refreshing {
    pub(crate) const fn is_under_way(&self) -> bool {
        self.until.is_some()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.retelling.map(|(at, _)| at)).min()
    }

    /// The peer has not yet told again what it told an earlier process.
    pub(crate) const fn is_retelling(&self) -> bool {
        self.retelling.is_some()
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

    /// Asks the peer to tell everything of a family again.
    pub(super) fn request_refresh(&mut self, id: PeerId, family: Family) -> Asked {
        if self.shared(id, family.into()).is_none() {
            return Asked::No;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return Asked::No };
        let Some(session) = peer.sessions.iter_mut().find(|s| s.is_established()) else {
            return Asked::No;
        };
        let Some(agreed) = session.agreed().filter(|a| a.refresh) else { return Asked::No };
        let marked = agreed.enhanced_refresh;
        wire::route_refresh(family.into(), &mut session.outbox);
        peer.refreshing.get_mut(family).asked = marked;
        if marked { Asked::Marked } else { Asked::Unmarked }
    }

    /// The session is an earlier process's: what the peer told that one has to be told again.
    pub(super) fn retell(&mut self, id: PeerId, family: Family, now: Instant) {
        let retelling = match self.request_refresh(id, family) {
            Asked::No => return,
            Asked::Marked => (now + BOUND, None),
            Asked::Unmarked => (now + QUIET, Some(QUIET)),
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.refreshing.get_mut(family).retelling = Some(retelling);
        }
    }

    /// The peer is still talking.
    pub(super) fn not_quiet(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for family in Family::ALL {
            if let Some((at, Some(quiet))) = &mut peer.refreshing.get_mut(family).retelling {
                *at = now + *quiet;
            }
        }
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
    /// heard; but what we have asked for is an answer. An EoR may have come to an earlier process.
    fn refresh_begins(&mut self, id: PeerId, family: Family, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let restarts = peer.agreed().is_some_and(|a| a.restart.is_some());
        let refreshing = peer.refreshing.get_mut(family);
        let asked = std::mem::take(&mut refreshing.asked);
        if restarts && !asked && !*peer.end_of_rib.get(family) {
            return;
        }
        refreshing.until = Some(now + BOUND);
        peer.adj_in.get_mut(family).mark_stale();
    }

    /// Only an EoRR whose BoRR we have seen says anything.
    fn refresh_ends(&mut self, id: PeerId, family: Family, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.refreshing.get_mut(family).until.take().is_some() {
            self.sweep(id, family, out);
            self.refreshed(id, family, out);
        }
    }

    /// The peer has told all of this family again, or had its time to.
    fn refreshed(&mut self, id: PeerId, family: Family, out: &mut Vec<Action>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.refreshing.get_mut(family).retelling = None;
        }
        self.spoken(id, family, out);
    }

    pub(super) fn refresh_due(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        for family in Family::ALL {
            let Some(peer) = self.peers.get(&id) else { return };
            if peer.refreshing.get(family).until.is_some_and(|at| at <= now) {
                let name = peer.name.clone();
                out.push(Action::Report(Report::RefreshUnfinished { peer: id, name, family }));
                self.refresh_ends(id, family, out);
            }
            let Some(peer) = self.peers.get(&id) else { return };
            if peer.refreshing.get(family).retelling.is_some_and(|(at, _)| at <= now) {
                if self.is_unanswered(id, family) {
                    return self.begin_anew(id, now, out);
                }
                self.refreshed(id, family, out);
            }
        }
    }

    /// Asked to tell everything again, the peer has told nothing, yet the kernel has routes that it
    /// told an earlier process and has not taken back: it does not answer (OpenBGPD 7.7 does not).
    /// Routes through third parties are the last peer's that has not spoken.
    fn is_unanswered(&self, id: PeerId, family: Family) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let last = self.recovery.waits_for_none_but(id, family);
        let its = |hop| hop == peer.address || last && !self.by_address.contains_key(&hop);
        peer.adj_in.get(family).len() == 0 && self.fib.holds(family, its)
    }

    /// What a session cannot tell, a new one tells; it begins as after a restart (RFC 4724).
    fn begin_anew(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let Some(conn) = peer.established().map(|s| s.conn) else { return };
        out.push(Action::Close { conn });
        let why = "the peer does not answer a route refresh";
        self.lose(id, conn, Cause::Closed(why.into()), now, out);
    }

    /// The family that is meant, if this session carries it.
    fn shared(&self, id: PeerId, family: AfiSafi) -> Option<Family> {
        let up = self.peers.get(&id)?.up.as_ref()?;
        family.family().filter(|f| *up.exporter.families.get(*f))
    }
}
