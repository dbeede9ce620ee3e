//! Telling the service manager's watchdog that the loop goes round (`WatchdogSec=`): a keeper that
//! hangs is killed, and the next one has its sessions from the store.

use crate::rings::Moment;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    next: Moment,
}

impl Watchdog {
    /// As `$WATCHDOG_USEC` asks for: three times as often as need be.
    pub(super) fn open() -> Self {
        let number = |key| std::env::var(key).ok().and_then(|v| v.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().into());
        let limit = number("WATCHDOG_USEC").filter(|limit| ours && *limit > 0);
        Self::every(limit.map(|limit| Duration::from_micros(limit) / 3))
    }

    const fn every(every: Option<Duration>) -> Self {
        Self { every, next: Moment::ZERO }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.every.map(|_| self.next)
    }

    /// Whether it is time to tell.
    pub(super) fn due(&mut self, now: Moment) -> bool {
        let Some(every) = self.every.filter(|_| self.next <= now) else { return false };
        self.next = now + every;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_now_and_then_and_only_where_somebody_listens() {
        let at = Moment::from_secs;
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(3)));
        assert!(watchdog.due(at(100)) && !watchdog.due(at(102)));
        assert_eq!(watchdog.deadline(), Some(at(103)));
        assert!(watchdog.due(at(110)), "late, but told");
        assert_eq!(watchdog.deadline(), Some(at(113)));
        let mut none = Watchdog::every(None);
        assert_eq!((none.due(at(100)), none.deadline()), (false, None));
    }
}
