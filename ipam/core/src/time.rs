//! One time line across crashes and reboots.
//!
//! A [`Moment`] is time known to have passed since the store was made. Within one boot it runs with
//! `CLOCK_BOOTTIME`, which no one can set and which counts suspended time. Over a reboot nothing
//! says how long the machine was off, and the wall clock is not asked: the line goes on from the
//! latest moment that was persisted (the clock record of each minute, or any later slot), plus what
//! the new boot has lasted. So it may run slow, never fast, and a cooldown counted on it may last
//! longer than configured, never shorter.
//!
//! For this to hold the clock record of a new boot has to be durable before any record made in that
//! boot: [`crate::Ipam::open`] returns it, and it is written before anything is served.

use std::time::Duration;

/// Which boot of which machine: `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub u128);

/// What the clocks of this machine show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub boot: BootId,
    /// `CLOCK_BOOTTIME`.
    pub boottime: Duration,
    /// Since 1970. Only ever displayed.
    pub wall: Duration,
}

/// Time known to have passed since the store was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long ago `earlier` was; nothing if it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment tied to the clock of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRecord {
    pub boot: BootId,
    pub boottime: Duration,
    pub moment: Moment,
    /// The number of the next lease.
    pub next_seq: u64,
}

/// Turns what the clocks show into moments; never runs backwards.
#[derive(Debug, Clone)]
pub struct Clock {
    anchor: ClockRecord,
    last: Moment,
}

impl Clock {
    /// Goes on from what was persisted: the last clock record and the latest moment of any slot.
    #[must_use]
    pub fn open(persisted: Option<ClockRecord>, latest: Moment, now: Now) -> Self {
        let anchor = match persisted {
            Some(record) if record.boot == now.boot => record,
            Some(record) => new_boot(record.moment.max(latest), Duration::ZERO, now),
            None => new_boot(latest, now.boottime, now),
        };
        Self { anchor, last: latest.max(anchor.moment) }
    }

    pub fn read(&mut self, now: Now) -> Moment {
        let passed = if now.boot == self.anchor.boot {
            now.boottime.saturating_sub(self.anchor.boottime)
        } else {
            Duration::ZERO
        };
        self.last = self.last.max(Moment(self.anchor.moment.0.saturating_add(passed)));
        self.last
    }

    /// What to persist so that the time until `now` is known to have passed.
    pub fn record(&mut self, now: Now, next_seq: u64) -> ClockRecord {
        let moment = self.read(now);
        ClockRecord { boot: now.boot, boottime: now.boottime, moment, next_seq }
    }
}

const fn new_boot(moment: Moment, since: Duration, now: Now) -> ClockRecord {
    ClockRecord { boot: now.boot, boottime: since, moment, next_seq: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u128, seconds: u64) -> Now {
        Now { boot: BootId(boot), boottime: Duration::from_secs(seconds), wall: Duration::ZERO }
    }

    fn moment(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn a_restart_within_one_boot_loses_no_time() {
        let mut clock = Clock::open(None, Moment::default(), at(1, 500));
        let record = clock.record(at(1, 510), 0);
        let mut again = Clock::open(Some(record), Moment::default(), at(1, 530));
        assert_eq!(again.read(at(1, 530)), moment(30));
    }

    #[test]
    fn over_a_reboot_only_the_time_since_boot_counts() {
        let mut clock = Clock::open(None, Moment::default(), at(1, 500));
        let record = clock.record(at(1, 560), 0);
        let mut again = Clock::open(Some(record), moment(75), at(2, 20));
        assert_eq!(again.read(at(2, 20)), moment(95), "75 known of the old boot, 20 of the new");
        assert_eq!(again.read(at(2, 25)), moment(100));
    }

    #[test]
    fn a_clock_that_shows_less_than_before_stands_still() {
        let mut clock = Clock::open(None, Moment::default(), at(1, 500));
        assert_eq!(clock.read(at(1, 520)), moment(20));
        assert_eq!(clock.read(at(1, 400)), moment(20));
        let record = clock.record(at(1, 520), 0);
        let mut again = Clock::open(Some(record), moment(20), at(1, 100));
        assert_eq!(again.read(at(1, 100)), moment(20));
    }

    #[test]
    fn a_boot_that_changes_under_a_running_clock_adds_nothing() {
        let mut clock = Clock::open(None, Moment::default(), at(1, 500));
        assert_eq!(clock.read(at(2, 9_999)), moment(0));
    }
}
