//! Waiting for something to become true, never longer than said.

use std::time::{Duration, Instant};

/// Asks every 20 ms until `check` answers `Ok`; panics with its last answer after `seconds`.
#[track_caller]
pub fn eventually<T, E: std::fmt::Display>(
    seconds: u64,
    what: &str,
    mut check: impl FnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match check() {
            Ok(value) => return value,
            Err(why) if Instant::now() > end => panic!("{what}: not within {seconds} s: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The same for a plain condition.
#[track_caller]
pub fn until(seconds: u64, what: &str, mut check: impl FnMut() -> bool) {
    eventually(seconds, what, || if check() { Ok(()) } else { Err("still false") });
}
