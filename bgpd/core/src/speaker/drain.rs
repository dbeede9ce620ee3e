//! Taking traffic away from this node before it goes (RFC 8326): every path is told again as the
//! last resort, so that peers find other ways while this one still works; after a while everything
//! is withdrawn. Leaving goes on from there: hard resets, and the kernel's routes last.
//!
//! What peers tell us is used all the while: packets out of the node go on as before. A peer that is
//! down delays nothing, one that does not read delays leaving by [`PATIENCE`] at most.

use super::Speaker;
use crate::event::Action;
use crate::report::Report;
use crate::rib::export::Presence;
use crate::types::{ConnId, PeerId};
use crate::view::DrainView;
use crate::wire::{Notification, cease};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Drain {
    #[default]
    Serving,
    Draining {
        until: Instant,
        leaving: bool,
    },
    /// `told`: no peer that is up holds anything of ours any more.
    Withdrawn {
        since: Instant,
        told: bool,
        leaving: bool,
    },
}

/// How long the withdrawals may take before we leave all the same.
const PATIENCE: Duration = Duration::from_secs(5);

impl Drain {
    pub(super) const fn withdrawn(since: Instant) -> Self {
        Self::Withdrawn { since, told: false, leaving: false }
    }

    pub(super) const fn presence(self) -> Presence {
        match self {
            Self::Serving => Presence::Full,
            Self::Draining { .. } => Presence::LastResort,
            Self::Withdrawn { .. } => Presence::None,
        }
    }

    const fn is_leaving(self) -> bool {
        matches!(self, Self::Draining { leaving: true, .. } | Self::Withdrawn { leaving: true, .. })
    }
}

impl Speaker {
    /// What this node is meant for: `serving`, `draining`, `drained` or `leaving`.
    #[must_use]
    pub const fn intent(&self) -> &'static str {
        match self.drain {
            Drain::Serving => "serving",
            drain if drain.is_leaving() => "leaving",
            Drain::Withdrawn { told: true, .. } => "drained",
            Drain::Draining { .. } | Drain::Withdrawn { .. } => "draining",
        }
    }

    /// Begins, or changes how long peers are given; who is on its way out stays so.
    pub(super) fn begin_drain(
        &mut self,
        wait: Duration,
        leave: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let leaving = leave || self.drain.is_leaving();
        let next = match self.drain {
            Drain::Withdrawn { since, told, .. } => Drain::Withdrawn { since, told, leaving },
            _ => Drain::Draining { until: now + wait, leaving },
        };
        if self.drain == Drain::Serving {
            out.push(Action::Report(Report::Draining { wait, leaving }));
        }
        self.become_present(next);
        self.drain_due(now, out);
    }

    pub(super) fn undrain(&mut self, out: &mut Vec<Action>) {
        if self.drain != Drain::Serving {
            self.become_present(Drain::Serving);
            out.push(Action::Report(Report::Undrained));
        }
    }

    pub(super) fn drain_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if let Drain::Draining { until, leaving } = self.drain
            && until <= now
        {
            self.become_present(Drain::Withdrawn { since: now, told: false, leaving });
        }
        let Drain::Withdrawn { since, told, leaving } = self.drain else { return };
        let all_told = self.behind() == 0;
        if all_told && !told {
            self.drain = Drain::Withdrawn { since, told: true, leaving };
            out.push(Action::Report(Report::Drained));
        }
        if leaving && (all_told || since + PATIENCE <= now) {
            self.leave(now, out);
        }
    }

    /// Sending is pulled, and nobody says when it is done: so this is asked before each sleep.
    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        match self.drain {
            Drain::Serving => None,
            Drain::Draining { until, .. } => Some(until),
            Drain::Withdrawn { since, told: false, .. } if self.behind() == 0 => Some(since),
            Drain::Withdrawn { since, leaving, .. } => leaving.then_some(since + PATIENCE),
        }
    }

    /// How many peers that are up have not been told all.
    fn behind(&self) -> usize {
        let up = self.peers.values().filter_map(|p| Some((p, p.up.as_ref()?)));
        let sessions = up.filter_map(|(p, up)| Some((p, p.session(up.conn)?)));
        sessions.filter(|(peer, session)| self.has_news(peer, session)).count()
    }

    fn become_present(&mut self, drain: Drain) {
        let changes = drain.presence() != self.drain.presence();
        self.drain = drain;
        for peer in self.peers.values_mut().filter(|_| changes) {
            if let Some(up) = &mut peer.up {
                up.exporter.presence = drain.presence();
                peer.adj_out.reconsider(&self.rib);
            }
        }
    }

    /// The last thing this speaker does. The kernel's routes go when everybody has been told.
    fn leave(&mut self, now: Instant, out: &mut Vec<Action>) {
        let mut all = Vec::new();
        let sessions: Vec<(PeerId, ConnId)> =
            self.peers.values().flat_map(|p| p.sessions.iter().map(|s| (p.id, s.conn))).collect();
        for (id, conn) in sessions {
            self.end(id, conn, Notification::cease(cease::ADMINISTRATIVE_SHUTDOWN), now, &mut all);
        }
        for peer in self.peers.values_mut() {
            all.extend(peer.dialling.take().map(|conn| Action::Close { conn }));
        }
        self.fib.set_install(false, &mut all);
        let (routes, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|action| matches!(action, Action::Fib { .. }));
        out.extend(others);
        out.extend(routes);
        out.push(Action::Report(Report::Left));
        self.stopped = true;
    }

    pub(super) fn drain_view(&self) -> Option<DrainView> {
        let (until, leaving) = match self.drain {
            Drain::Serving => return None,
            Drain::Draining { until, leaving } => (Some(until), leaving),
            Drain::Withdrawn { leaving, .. } => (None, leaving),
        };
        let advertised = self.peers.values().map(|p| p.adj_out.iter().count()).sum();
        Some(DrainView { until, leaving, behind: self.behind(), advertised })
    }
}
