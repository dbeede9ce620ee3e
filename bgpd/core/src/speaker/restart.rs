//! Graceful restart (RFC 4724), in both roles, each peer and family for itself.
//!
//! *Helping*: a session that ends without a word leaves its paths behind as stale; the peer's
//! restart time bounds how long, its next OPEN says which families it has kept forwarding for, and
//! its EoR removes what it did not tell again.
//!
//! *Restarting*: OPENs carry the R bit towards each peer whose EoR is still awaited. What we have
//! to tell is told at once. No peer waits for another, with one exception: a peer that we pass
//! learned routes on to gets them as they come, but its EoR only when those who may still tell us
//! more have done so, or the restart time is over. An EoR is what makes it drop routes that it
//! still holds of us.

use super::Speaker;
use super::links::on_link;
use crate::config::SpeakerConfig;
use crate::event::{Action, InstalledRoute, is_link_local};
use crate::peer::Peer;
use crate::report::{Cause, Report};
use crate::rib::export::Presence;
use crate::session::Session;
use crate::session::agree::Agreed;
use crate::types::{ConnId, Family, PeerId};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Who has not told all it knows since we started.
#[derive(Debug)]
pub(super) struct Recovery {
    until: Instant,
    waiting: BTreeSet<(PeerId, Family)>,
    /// Peers of ranges may come that nobody can name.
    strangers: bool,
    over: bool,
}

/// What peers are given that do not tell how long they need.
const RESTART_TIME: Duration = Duration::from_secs(120);

impl Recovery {
    pub(super) fn new(config: &SpeakerConfig, now: Instant) -> Self {
        let peers = config.peers.iter().map(|p| p.session.graceful_restart);
        let ranges = config.ranges.iter().map(|r| r.session.graceful_restart);
        let times = peers.chain(ranges).flatten().map(|own| own.time);
        let longest = times.max().unwrap_or(RESTART_TIME);
        let strangers = !config.ranges.is_empty();
        Self { until: now + longest, waiting: BTreeSet::new(), strangers, over: false }
    }

    pub(super) fn expect(&mut self, peer: PeerId, families: &[Family]) {
        if !self.over {
            self.waiting.extend(families.iter().map(|f| (peer, *f)));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.over).then_some(self.until)
    }

    pub(super) fn waits_for(&self, peer: PeerId) -> bool {
        self.waiting.iter().any(|(p, _)| *p == peer)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn has_spoken(&self, peer: PeerId, family: Family) -> bool {
        !self.waiting.contains(&(peer, family))
    }

    fn all_have_spoken(&self, family: Family) -> bool {
        self.over || !self.strangers && !self.waiting.iter().any(|(_, f)| *f == family)
    }
}

impl Speaker {
    /// The F bit (RFC 4724 §3) is about our FIB: kept by the kernel over our restart, kept by us
    /// while we run, and not ours to lose where we install nothing.
    pub(super) fn forwarding_kept(&self, peer: &Peer) -> bool {
        self.start.forwarding_kept || peer.history.established > 0 || !self.config.install
    }

    pub(super) fn went_up(
        &mut self,
        id: PeerId,
        conn: ConnId,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.keep_only(id, conn, now, out);
        let Some(up) = self.peers.get(&id).and_then(|p| self.up(p, conn)) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(agreed) = peer.session(conn).and_then(Session::agreed).cloned() else { return };
        if let Some(link) = peer.session(conn).map(|s| s.link.clone()) {
            peer.is_at(&link);
        }
        peer.adj_out.start(&mut self.rib, &agreed.families, agreed.context.paths_out);
        peer.end_of_rib = Default::default();
        peer.refreshing = Default::default();
        peer.levels = Default::default();
        peer.discarded = Default::default();
        peer.history.established += 1;
        peer.history.last_error = None;
        peer.history.restart.clone_from(&agreed.restart);
        peer.source = Some(std::rc::Rc::clone(&up.source));
        let blind: Vec<Family> = agreed
            .families
            .iter()
            .copied()
            .filter(|f| up.exporter.next_hops.get(*f).is_none())
            .collect();
        peer.up = Some(up);
        let name = peer.name.clone();
        self.see_up(id, conn);
        out.push(Action::Established { conn });
        out.push(Action::Report(Report::PeerUp { peer: id, name: name.clone() }));
        self.judge_restart(id, now, out);
        for family in blind {
            let name = name.clone();
            out.push(Action::Report(Report::NoNextHop { peer: id, name, family }));
        }
        for family in Family::ALL {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let long_lived = peer.long_lived_until.get_mut(family);
            let kept = match long_lived {
                Some(_) => agreed.kept_long_lived(family),
                None => agreed.kept_forwarding(family),
            };
            if !kept {
                *long_lived = None;
                self.sweep(id, family, out);
            }
            if !agreed.families.contains(&family) {
                self.spoken(id, family, out);
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            let until = (peer.stale() > 0).then(|| now + peer.stale_time());
            peer.stale_until = until.map(|at| peer.stale_bound.unwrap_or(at).min(at));
        }
    }

    /// A restart is to take no more than half of the time that peers are asked for.
    fn judge_restart(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        let took = self.start.elapsed + now.saturating_duration_since(self.began);
        let restarting = self.start.restarting;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(own) = peer.settings.graceful_restart else { return };
        if restarting && peer.history.established == 1 && took * 2 > own.time {
            peer.history.slow_restart = Some(took);
            let (name, restart_time) = (peer.name.clone(), own.time);
            let report = Report::RestartTimeShort { peer: id, name, took, restart_time };
            out.push(Action::Report(report));
        }
    }

    /// What becomes of a peer's routes when its session ends.
    pub(super) fn went_down(
        &mut self,
        id: PeerId,
        session: &Session,
        cause: Cause,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.see_down(id, session, &cause);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.up = None;
        peer.adj_out = Default::default();
        let bound = peer.stale_bound.filter(|_| peer.stale_until.is_some());
        let agreed = session.agreed();
        let lasting = cause.keeps_routes(agreed.is_some_and(Agreed::notification));
        for family in Family::ALL {
            let kept = lasting && agreed.is_some_and(|a| a.survives(family));
            if !(kept && self.keeps_older(id, family, agreed)) {
                self.flush(id, family, kept, out);
            }
            let Some(peer) = self.peers.get_mut(&id) else { return };
            *peer.refreshing.get_mut(family) = Default::default();
            if kept {
                peer.adj_in.get_mut(family).mark_stale();
            } else {
                *peer.long_lived_until.get_mut(family) = None;
            }
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let stale = peer.stale();
        let asked = agreed.and_then(|a| a.restart.as_ref()).filter(|_| stale > 0).map(|r| r.time);
        let time = asked.map(|time| peer.restart_time(time));
        peer.stale_bound = time.map(|t| bound.unwrap_or_else(|| now + t + peer.stale_time()));
        peer.stale_until = time.map(|t| now + t).min(peer.stale_bound);
        let name = peer.name.clone();
        out.push(Action::Report(Report::PeerDown { peer: id, name, cause, stale }));
    }

    /// What was stale before this end of the session. Stale twice is once too often (RFC 4724 §4.2),
    /// but not where sessions end for less (RFC 8538 §4.1), nor for what is kept long anyway (RFC
    /// 9494 §4.2); and a refresh that was cut short is no restart.
    fn keeps_older(&self, id: PeerId, family: Family, agreed: Option<&Agreed>) -> bool {
        agreed.is_some_and(Agreed::notification)
            || self.refreshes(id, family)
            || self.peers.get(&id).is_some_and(|p| p.long_lived_until.get(family).is_some())
    }

    pub(super) fn end_of_rib(&mut self, id: PeerId, family: Family, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        *peer.end_of_rib.get_mut(family) = true;
        let name = peer.name.clone();
        out.push(Action::Report(Report::EndOfRib { peer: id, name, family }));
        *peer.long_lived_until.get_mut(family) = None;
        if !self.refreshes(id, family) {
            self.sweep(id, family, out);
        }
        if let Some(peer) = self.peers.get_mut(&id).filter(|p| p.stale() == 0) {
            peer.stale_until = None;
        }
        self.spoken(id, family, out);
    }

    pub(super) fn stale_due(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.stale_until.is_none_or(|at| at > now) {
            return;
        }
        peer.stale_until = None;
        let (up, long_lived) = (peer.up.is_some(), peer.long_lived_until);
        for family in Family::ALL {
            let waits = up && long_lived.get(family).is_some() || self.refreshes(id, family);
            if !waits && (up || !self.live_long(id, family, now, out)) {
                self.sweep(id, family, out);
            }
        }
    }

    /// What is stale there is for the end of the refresh to remove.
    fn refreshes(&self, id: PeerId, family: Family) -> bool {
        self.peers.get(&id).is_some_and(|p| p.refreshing.get(family).is_under_way())
    }

    pub(super) fn sweep(&mut self, id: PeerId, family: Family, out: &mut Vec<Action>) {
        let routes = self.flush(id, family, true, out);
        if let Some(peer) = self.peers.get(&id).filter(|_| routes > 0) {
            let name = peer.name.clone();
            out.push(Action::Report(Report::StaleSwept { peer: id, name, family, routes }));
        }
    }

    pub(super) fn adopted(&mut self, routes: Vec<InstalledRoute>, out: &mut Vec<Action>) {
        self.fib.adopt(routes);
        let learned: Vec<_> = self.rib.ids().collect();
        for id in learned {
            self.tables(out).install(id);
        }
        self.thaw(&Family::ALL, out);
        self.recovery_over_if_all(out);
    }

    /// This peer has told all of this family, or never will.
    pub(super) fn spoken(&mut self, id: PeerId, family: Family, out: &mut Vec<Action>) {
        if self.recovery.waiting.remove(&(id, family)) {
            self.thaw(&[family], out);
            self.recovery_over_if_all(out);
        }
    }

    pub(super) fn spoken_for_good(&mut self, id: PeerId, out: &mut Vec<Action>) {
        for family in Family::ALL {
            self.spoken(id, family, out);
        }
    }

    pub(super) fn recovery_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.recovery.over {
            return;
        }
        if self.recovery.until <= now {
            self.recovery.waiting.clear();
            self.recovery.strangers = false;
        }
        self.recovery_over_if_all(out);
    }

    pub(super) fn recovery_over_if_all(&mut self, out: &mut Vec<Action>) {
        if self.recovery.over || self.recovery.strangers || !self.recovery.waiting.is_empty() {
            return;
        }
        self.recovery.over = true;
        self.thaw(&Family::ALL, out);
        if self.start.restarting {
            out.push(Action::Report(Report::Restarted));
        }
    }

    /// Adopted kernel routes go free whose next hops are peers that have spoken. A next hop that is
    /// no peer's address waits until all have.
    fn thaw(&mut self, families: &[Family], out: &mut Vec<Action>) {
        for family in families.iter().copied() {
            let Self { fib, recovery, by_address, peers, interfaces, .. } = self;
            let all = recovery.all_have_spoken(family);
            let spoken = |address: IpAddr, scope: u32| {
                let there = match is_link_local(address) {
                    true => on_link(peers, interfaces, address, scope),
                    false => by_address.get(&address).copied(),
                };
                there.map_or(all, |peer| recovery.has_spoken(peer, family))
            };
            let routes = fib.release(family, spoken, out);
            if routes > 0 {
                out.push(Action::Report(Report::FibSwept { family, routes }));
            }
        }
    }

    /// Whether an EoR to this peer would be true: nobody is expected to tell us more of what we
    /// would pass on to it.
    ///
    /// RFC 4724 §4.1 does not wait for peers that are restarting themselves, lest routes be held
    /// back in a circle. Here routes are never held back, so waiting costs nothing, and a whole
    /// fabric can restart at once without a route lost.
    pub(super) fn is_complete(&self, peer: &Peer, family: Family) -> bool {
        if !self.start.restarting || self.recovery.is_over() || !peer.export.exports_learned() {
            return true;
        }
        let Some(up) = &peer.up else { return false };
        if up.exporter.presence == Presence::None {
            return true;
        }
        let feeds = |other: &&Peer| {
            other.id != peer.id
                && up.exporter.crosses(self.kind_of(other))
                && !self.recovery.has_spoken(other.id, family)
        };
        !self.recovery.strangers && self.peers.values().find(feeds).is_none()
    }
}
