//! How many prefixes a peer may tell (RFC 4486 §4, subcode 1), and how many it is told.

use super::Speaker;
use crate::event::Action;
use crate::options::OverLimit;
use crate::peer::Peer;
use crate::report::Report;
use crate::types::{Family, PeerId};
use crate::view::LimitsView;
use crate::wire::{AfiSafi, Notification, cease};
use std::time::Instant;

/// How near to the limit a family of a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Level {
    #[default]
    Below,
    Near,
    Over,
}

/// Why there is no session with a peer for now: it has told too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bar {
    Until(Instant),
    UntilConfigured,
}

impl Peer {
    /// How many prefixes may be kept of what it tells; those beyond are not.
    pub(crate) fn room(&self) -> usize {
        let limit = &self.settings.options.max_prefixes;
        let most = limit.most.filter(|_| limit.action == OverLimit::Discard);
        most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
    }

    pub(crate) const fn is_barred(&self) -> bool {
        self.bar.is_some()
    }

    pub(crate) const fn barred_until(&self) -> Option<Instant> {
        match self.bar {
            Some(Bar::Until(at)) => Some(at),
            Some(Bar::UntilConfigured) | None => None,
        }
    }

    /// The time is over.
    pub(crate) fn lift_bar(&mut self, now: Instant) {
        if self.barred_until().is_some_and(|at| at <= now) {
            self.forgive(now);
        }
    }

    fn level(&self, family: Family) -> Level {
        let limit = &self.settings.options.max_prefixes;
        let Some(most) = limit.most.map(u64::from) else { return Level::Below };
        let count = self.adj_in.get(family).len() as u64 + self.discarded.get(family);
        if count > most {
            Level::Over
        } else if count * 100 >= most * u64::from(limit.warn) {
            Level::Near
        } else {
            Level::Below
        }
    }

    fn level_out(&self, family: Family) -> Level {
        let limit = &self.settings.options.max_prefixes;
        let most = limit.out.filter(|_| self.up.is_some()).map(u64::from);
        let Some(most) = most else { return Level::Below };
        if self.adj_out.left_out(family) > 0 {
            Level::Over
        } else if self.adj_out.count(family) as u64 * 100 >= most * u64::from(limit.warn) {
            Level::Near
        } else {
            Level::Below
        }
    }

    /// Sending is pulled, and what came of it is looked at before each sleep: since long, if there is
    /// something to say.
    pub(crate) fn limit_news(&self) -> Option<Instant> {
        let changed = |f: &Family| self.level_out(*f) != *self.levels_out.get(*f);
        Family::ALL.iter().any(changed).then_some(self.history.state_since)
    }

    pub(crate) fn limits_view(&self, family: Family) -> LimitsView {
        let limit = &self.settings.options.max_prefixes;
        LimitsView {
            most: limit.most,
            level: self.level(family).word(),
            discarded: *self.discarded.get(family),
            most_out: limit.out,
            level_out: self.level_out(family).word(),
            left_out: self.adj_out.left_out(family),
        }
    }

    /// For who looks at the whole.
    pub(crate) fn limit_warnings(&self) -> impl Iterator<Item = String> + '_ {
        self.warnings_in().chain(self.warnings_out())
    }

    fn warnings_out(&self) -> impl Iterator<Item = String> + '_ {
        let most = self.settings.options.max_prefixes.out.unwrap_or_default();
        let high = Family::ALL.into_iter().filter(|f| self.level_out(*f) > Level::Below);
        high.map(move |family| {
            let (told, left) = (self.adj_out.count(family), self.adj_out.left_out(family));
            let name = &self.name;
            format!(
                "peer {name}: is told {told} prefixes of {family}, and {left} not; \
                 max_prefixes.out is {most}"
            )
        })
    }

    fn warnings_in(&self) -> impl Iterator<Item = String> + '_ {
        let most = self.settings.options.max_prefixes.most.unwrap_or_default();
        let high = Family::ALL.into_iter().filter(|f| self.level(*f) > Level::Below);
        high.map(move |family| {
            let count = self.adj_in.get(family).len() as u64 + self.discarded.get(family);
            format!("peer {}: {count} prefixes of {family}; max_prefixes.in is {most}", self.name)
        })
    }
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Near => "near",
            Self::Over => "over",
        }
    }
}

impl Speaker {
    pub(super) fn limits_due(&mut self, id: PeerId, out: &mut Vec<Action>) {
        for family in Family::ALL {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let level = peer.level_out(family);
            let was = std::mem::replace(peer.levels_out.get_mut(family), level);
            if level > was {
                let most = peer.settings.options.max_prefixes.out.unwrap_or_default();
                let (name, left_out) = (peer.name.clone(), peer.adj_out.left_out(family));
                out.push(Action::Report(Report::PrefixLimitOut {
                    peer: id,
                    name,
                    family,
                    most,
                    left_out,
                }));
            }
        }
    }

    /// A peer has told something.
    pub(super) fn heed_limits(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        for family in Family::ALL {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let level = peer.level(family);
            let was = std::mem::replace(peer.levels.get_mut(family), level);
            if level > was {
                self.report_limit(id, family, level, out);
                if level == Level::Over {
                    self.end_over_limit(id, family, now, out);
                }
            }
        }
    }

    fn report_limit(&self, id: PeerId, family: Family, level: Level, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let most = peer.settings.options.max_prefixes.most.unwrap_or_default();
        let (name, exceeded) = (peer.name.clone(), level == Level::Over);
        out.push(Action::Report(Report::PrefixLimit { peer: id, name, family, most, exceeded }));
    }

    fn end_over_limit(&mut self, id: PeerId, family: Family, now: Instant, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let limit = peer.settings.options.max_prefixes;
        let bar = match limit.action {
            OverLimit::Warn | OverLimit::Discard => return,
            OverLimit::Restart(after) => Bar::Until(now + after),
            OverLimit::Stop => Bar::UntilConfigured,
        };
        // Before the session ends: a dynamic peer would be forgotten with it.
        peer.bar = Some(bar);
        let why = too_many(family, limit.most.unwrap_or_default());
        self.end_all(id, &why, true, now, out);
    }
}

/// RFC 4486 §4: the data name the family and the bound.
fn too_many(family: Family, most: u32) -> Notification {
    let AfiSafi { afi, safi } = family.into();
    let data = [&afi.to_be_bytes()[..], &[safi], &most.to_be_bytes()].concat();
    Notification::cease(cease::MAXIMUM_PREFIXES).with_data(&data)
}
