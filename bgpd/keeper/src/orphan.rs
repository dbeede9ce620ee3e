//! One session without a speaker: what to do for it now.
//!
//! What was appended is sent, so that the stream always ends with a whole message and a KEEPALIVE
//! fits behind it. The peer's own messages stay in the socket for the next speaker. A session is
//! let go when holding on would be worse than a graceful restart: when no speaker came for too
//! long, when our messages do not arrive (the peer is about to give up on us, and not gracefully),
//! when the peer has fallen silent, or when the stream cannot be trusted.

use crate::resume::{Desync, Kernel, resume};
use crate::rings::{Moment, Positions};
use crate::snapshot::Timing;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    since: Moment,
    /// A message has certainly reached the peer at this time or later.
    delivered: Option<Moment>,
    /// Up to where whole messages were handed to the kernel, and when.
    handed: Option<(u64, Moment)>,
    /// The same of some time ago, which is still to arrive.
    unproven: Option<(u64, Moment)>,
    /// When we last appended a KEEPALIVE.
    spoke: Option<Moment>,
    due: Moment,
}

/// So many unread bytes, and no more coming, say that the window is closed: the smallest receive
/// buffers of Linux open one of 64 KiB.
const BLOCKED: u64 = 32 << 10;

/// What was seen of a session at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    pub kernel: Kernel,
    pub at: Positions,
    /// The kernel takes no more just now; the shell waits until it does.
    pub blocked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Hand over what is appended.
    Send,
    /// Append a KEEPALIVE and hand it over.
    Keepalive,
    /// Nothing until the deadline, or until the kernel takes more.
    Rest,
    LetGo(Why),
}

/// Why a session was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("the peer has closed it")]
    Closed,
    #[error("no speaker came back in time")]
    NoSpeaker,
    #[error("the peer does not receive what we send")]
    Undelivered,
    #[error("BFD finds the peer dead")]
    PeerDead,
    #[error("nothing came from the peer for its hold time")]
    PeerSilent,
    #[error("the receive buffer is full: the peer cannot go on")]
    ReceiveFull,
    #[error("the stream is out of step: {0}")]
    Desync(Desync),
    #[error("its memory or socket cannot be used")]
    Unusable,
    #[error("the keeper stops")]
    Stopping,
}

impl Orphan {
    #[must_use]
    pub const fn new(since: Moment) -> Self {
        Self { since, delivered: None, handed: None, unproven: None, spoke: None, due: since }
    }

    #[must_use]
    pub const fn since(&self) -> Moment {
        self.since
    }

    /// When to look again if nothing happens before.
    #[must_use]
    pub const fn due(&self) -> Moment {
        self.due
    }

    pub fn step(&mut self, seen: &Seen, timing: Timing, max_orphan: Duration, now: Moment) -> Step {
        if let Err(desync) = check(seen) {
            return Step::LetGo(match desync {
                Desync::Closed => Why::Closed,
                other => Why::Desync(other),
            });
        }
        self.prove(seen, now);
        let limits = self.limits(seen, timing, max_orphan, now);
        if let Some((_, why)) = limits.into_iter().flatten().find(|(at, _)| *at <= now) {
            return Step::LetGo(why);
        }
        if seen.at.unsent() > 0 && !seen.blocked {
            return Step::Send;
        }
        let speak = self.next_keepalive(seen, timing, now);
        if speak.is_some_and(|at| at <= now) {
            self.spoke = Some(now);
            return Step::Keepalive;
        }
        let next = limits.into_iter().flatten().map(|(at, _)| at).chain(speak).min();
        self.due = next.unwrap_or(self.since + max_orphan);
        Step::Rest
    }

    /// Learns from the kernel what has arrived: certainly not before it was handed over.
    fn prove(&mut self, seen: &Seen, now: Moment) {
        let last_tx = seen.at.last_tx.min(now);
        let mut delivered = self.delivered.unwrap_or(last_tx);
        let arrived = seen.kernel.delivered(seen.at.tx_skew);
        let newest = match self.handed {
            Some(handed) if handed.0 >= seen.at.tx_boundary => handed,
            _ => (seen.at.tx_boundary, last_tx),
        };
        for (end, at) in [self.unproven.unwrap_or(newest), newest] {
            if end <= arrived {
                delivered = delivered.max(at);
                self.unproven = None;
            }
        }
        self.handed = Some(newest);
        self.delivered = Some(delivered);
        if newest.0 > arrived {
            self.unproven.get_or_insert(newest);
        }
    }

    fn limits(
        &self,
        seen: &Seen,
        timing: Timing,
        max_orphan: Duration,
        now: Moment,
    ) -> [Option<(Moment, Why)>; 3] {
        let hold = timing.hold();
        let heard = now.saturating_sub(seen.kernel.idle);
        let silent = if seen.kernel.unread < BLOCKED { Why::PeerSilent } else { Why::ReceiveFull };
        let undelivered = hold.zip(self.delivered).map(|(h, at)| at + h - margin(h));
        [
            Some((self.since + max_orphan, Why::NoSpeaker)),
            undelivered.map(|at| (at, Why::Undelivered)),
            hold.map(|h| (heard + h, silent)),
        ]
    }

    /// Not while earlier messages wait: those keep the session alive as well, if anything does.
    fn next_keepalive(&self, seen: &Seen, timing: Timing, now: Moment) -> Option<Moment> {
        let last = seen.at.last_tx.min(now).max(self.spoke.unwrap_or_default());
        (timing.hold().is_some() && seen.at.unsent() == 0).then(|| last + timing.keepalive())
    }
}

/// To give up, the peer must still hear of it before its hold timer ends.
fn margin(hold: Duration) -> Duration {
    (hold / 6).min(Duration::from_secs(1))
}

fn check(seen: &Seen) -> Result<(), Desync> {
    let found = resume(&seen.kernel, &seen.at)?;
    // The shell has brought the ring up to date when it took the session over, and it alone writes.
    if found.sent != seen.at.tx_handed {
        return Err(Desync::SentMore { ring: seen.at.tx_handed, kernel: found.sent });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Moment {
        Moment::from_secs(seconds)
    }

    /// All sent and acknowledged, the last at second 100; the peer has spoken a second ago.
    fn idle() -> Seen {
        let kernel = Kernel {
            established: true,
            acked: 500,
            received: 700,
            idle: Duration::from_secs(1),
            ..Kernel::default()
        };
        let ring = Positions {
            tx_len: 1 << 16,
            tx_boundary: 500,
            tx_handed: 500,
            tx_appended: 500,
            last_tx: at(100),
            rx_len: 1 << 16,
            rx_applied: 700,
            rx_read: 700,
            ..Positions::default()
        };
        Seen { kernel, at: ring, blocked: false }
    }

    fn timing() -> Timing {
        Timing::new(9, 0).unwrap()
    }

    /// As the shell would see it after a KEEPALIVE at `now`.
    fn spoken(mut seen: Seen, now: Moment) -> Seen {
        for position in [&mut seen.at.tx_boundary, &mut seen.at.tx_handed, &mut seen.at.tx_appended]
        {
            *position += 19;
        }
        seen.kernel.unacked += 19;
        seen.at.last_tx = now;
        seen
    }

    fn acknowledged(mut seen: Seen) -> Seen {
        seen.kernel.acked += seen.kernel.unacked;
        seen.kernel.unacked = 0;
        seen
    }

    #[test]
    fn keepalives_go_out_every_third_of_the_hold_time_until_no_speaker_comes() {
        let (mut orphan, mut seen, mut now) = (Orphan::new(at(101)), idle(), at(101));
        let mut said = 0;
        loop {
            match orphan.step(&seen, timing(), MAX, now) {
                Step::Keepalive => {
                    said += 1;
                    seen = spoken(seen, now);
                }
                Step::Rest => {
                    seen = acknowledged(seen);
                    assert!(orphan.due() > now);
                    now = orphan.due();
                }
                other => {
                    assert_eq!(other, Step::LetGo(Why::NoSpeaker));
                    break;
                }
            }
        }
        assert_eq!((said, now), (200, at(701)));
    }

    #[test]
    fn a_half_sent_message_is_finished_before_anything_else() {
        let mut seen = idle();
        seen.at.tx_handed -= 7;
        seen.at.tx_boundary -= 30;
        seen.kernel.acked -= 7;
        let mut orphan = Orphan::new(at(101));
        assert_eq!(orphan.step(&seen, timing(), MAX, at(105)), Step::Send);
        seen.blocked = true;
        assert_eq!(orphan.step(&seen, timing(), MAX, at(105)), Step::Rest);
        assert_eq!(orphan.due(), at(108), "a second before the peer's hold timer ends");
        assert_eq!(orphan.step(&seen, timing(), MAX, at(108)), Step::LetGo(Why::Undelivered));
    }

    #[test]
    fn a_session_whose_keepalives_do_not_arrive_is_let_go_before_the_peer_gives_up() {
        let (mut orphan, mut seen, mut now) = (Orphan::new(at(100)), idle(), at(100));
        loop {
            match orphan.step(&seen, timing(), MAX, now) {
                Step::Keepalive => seen = spoken(seen, now),
                Step::Rest => now = orphan.due(),
                other => {
                    assert_eq!((other, now), (Step::LetGo(Why::Undelivered), at(108)));
                    break;
                }
            }
        }
    }

    #[test]
    fn a_peer_that_is_silent_for_the_hold_time_is_let_go() {
        let mut seen = idle();
        seen.kernel.idle = Duration::from_secs(9);
        seen.at.last_tx = at(109);
        let step = |seen| Orphan::new(at(101)).step(&seen, timing(), MAX, at(110));
        assert_eq!(step(seen), Step::LetGo(Why::PeerSilent));
        seen.kernel.unread = 64 << 10;
        seen.kernel.received += 64 << 10;
        assert_eq!(step(seen), Step::LetGo(Why::ReceiveFull));
    }

    #[test]
    fn without_a_hold_time_nobody_speaks_and_only_the_bound_counts() {
        let none = Timing::new(0, 0).unwrap();
        let mut seen = idle();
        seen.kernel.idle = Duration::from_secs(5000);
        let mut orphan = Orphan::new(at(5000));
        assert_eq!(orphan.step(&seen, none, MAX, at(5000)), Step::Rest);
        assert_eq!(orphan.due(), at(5600));
        assert_eq!(orphan.step(&seen, none, MAX, at(5600)), Step::LetGo(Why::NoSpeaker));
    }

    #[test]
    fn a_session_taken_over_too_late_is_let_go_at_once() {
        let step = Orphan::new(at(200)).step(&idle(), timing(), MAX, at(200));
        assert_eq!(step, Step::LetGo(Why::Undelivered));
    }

    #[test]
    fn a_stream_out_of_step_is_let_go() {
        let mut seen = idle();
        seen.kernel.acked += 1;
        let step = Orphan::new(at(101)).step(&seen, timing(), MAX, at(101));
        assert!(matches!(step, Step::LetGo(Why::Desync(Desync::SentMore { .. }))));
        seen.kernel.established = false;
        let step = Orphan::new(at(101)).step(&seen, timing(), MAX, at(101));
        assert_eq!(step, Step::LetGo(Why::Closed));
    }
}
