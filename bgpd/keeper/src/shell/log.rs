//! Lines on stderr. A reader that does not read costs lines, never time.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
use std::sync::OnceLock;

/// As systemd numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = 3,
    Warn = 4,
    Info = 6,
}

pub fn info(text: &str) {
    line(Level::Info, text);
}

pub fn warn(text: &str) {
    line(Level::Warn, text);
}

pub fn error(text: &str) {
    line(Level::Error, text);
}

fn line(level: Level, text: &str) {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    let word = match level {
        Level::Error => "ERROR",
        Level::Warn => " WARN",
        Level::Info => " INFO",
    };
    let text = if *JOURNAL.get_or_init(|| std::env::var_os("JOURNAL_STREAM").is_some()) {
        format!("<{}>{text}\n", level as u8)
    } else {
        format!("{word} mainstay_keeper: {text}\n")
    };
    if writable() {
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn writable() -> bool {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok_and(|n| n > 0)
}
