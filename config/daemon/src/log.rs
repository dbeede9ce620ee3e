//! The log: stderr, one line an event; systemd and container runtimes add the rest.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// `$MAINSTAY_LOG` filters ("debug", "mainstay_bgpd=debug,info"); "info" without it. No time
/// stamps under journald, which has its own.
pub fn init() {
    let filter = EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call (tests do) keeps the first log.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().try_init().map_err(drop)
    } else {
        log.try_init().map_err(drop)
    };
}
