//! The log: stderr, one line an event; systemd and container runtimes add the rest.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// `$MAINSTAY_LOG` filters ("debug", "mainstay_bgpd=debug,info"); "info" without it. Under
/// journald, which has time stamps of its own, lines carry their priority instead.
pub fn init() {
    let filter = EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // A second call (tests do) keeps the first log.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().with_ansi(false).with_level(false).with_writer(Journal).try_init()
    } else {
        log.with_ansi(io::stderr().is_terminal()).with_writer(|| Line("")).try_init()
    };
}

thread_local! {
    static TOGETHER: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What this thread logs in `work` is written at its end, with one system call.
pub fn together<T>(work: impl FnOnce() -> T) -> T {
    TOGETHER.set(Some(Vec::new()));
    let result = work();
    // A log that nobody reads is no reason to fail.
    let _ = io::stderr().write_all(&TOGETHER.take().unwrap_or_default());
    result
}

/// Puts `<N>` before each line, by which journald knows a warning from the rest (sd-daemon(3)).
struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(priority(Level::INFO))
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line {
        Line(priority(*event.level()))
    }
}

/// Events are written whole, one call each, and may have several lines.
struct Line(&'static str);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TOGETHER.with_borrow_mut(|together| match together {
            Some(together) => write_lines(together, self.0, bytes),
            None => write_lines(&mut io::stderr(), self.0, bytes),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn write_lines(out: &mut impl Write, priority: &str, bytes: &[u8]) -> io::Result<()> {
    let mut whole = Vec::with_capacity(bytes.len() + priority.len());
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        whole.extend_from_slice(priority.as_bytes());
        whole.extend_from_slice(line);
    }
    out.write_all(&whole)
}

const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_together_is_kept_until_its_end() {
        let kept = together(|| {
            Line("<6>").write_all(b"one\n").unwrap();
            Line("<4>").write_all(b"two\n").unwrap();
            TOGETHER.with_borrow(Clone::clone)
        });
        assert_eq!(kept.as_deref(), Some(&b"<6>one\n<4>two\n"[..]));
        assert_eq!(TOGETHER.take(), None);
    }

    #[test]
    fn each_line_of_an_event_has_its_priority() {
        let mut out = Vec::new();
        write_lines(&mut out, priority(Level::WARN), b"a fault\nand another\n").unwrap();
        assert_eq!(out, b"<4>a fault\n<4>and another\n");
    }
}
