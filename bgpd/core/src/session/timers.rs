//! One deadline for each of a session's timers (RFC 4271 §8.1.3, §10).

use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The peer has been silent for too long.
    Hold,
    /// It is time to be heard.
    Keepalive,
    /// The peer has not read for too long (RFC 9687).
    SendHold,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    hold: Option<Instant>,
    keepalive: Option<Instant>,
    send_hold: Option<Instant>,
}

impl Timers {
    pub(crate) const fn set(&mut self, timer: Timer, at: Instant) {
        *self.slot(timer) = Some(at);
    }

    pub(crate) const fn clear(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }

    /// The least deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.hold, self.keepalive, self.send_hold].into_iter().flatten().min()
    }

    /// Takes out a timer that is due, if there is one. The hold timer goes first: a peer that is
    /// gone needs no KEEPALIVE.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let timer = [Timer::Hold, Timer::SendHold, Timer::Keepalive]
            .into_iter()
            .find(|t| self.slot(*t).is_some_and(|at| at <= now))?;
        self.clear(timer);
        Some(timer)
    }

    const fn slot(&mut self, timer: Timer) -> &mut Option<Instant> {
        match timer {
            Timer::Hold => &mut self.hold,
            Timer::Keepalive => &mut self.keepalive,
            Timer::SendHold => &mut self.send_hold,
        }
    }
}
