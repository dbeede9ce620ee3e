//! Telling systemd's watchdog that a daemon's loop goes round (`WatchdogSec=`).

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};

/// For the loop to wait on beside all else; without a watchdog it never comes.
#[derive(Debug)]
pub struct Watchdog {
    every: Option<std::time::Duration>,
    due: Instant,
}

impl Watchdog {
    /// As `$WATCHDOG_USEC` asks for: three times as often as need be.
    #[must_use]
    pub fn new() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / 3), due: Instant::now() }
    }

    /// When it is time to [`tell`](Self::tell). Cancel-safe.
    pub async fn due(&self) {
        match self.every {
            Some(_) => sleep_until(self.due).await,
            None => std::future::pending().await,
        }
    }

    pub fn tell(&mut self) {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        self.due = Instant::now() + self.every.unwrap_or_default();
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}
