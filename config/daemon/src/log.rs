//! The log: stderr, one line an event; systemd and container runtimes add the rest.

use std::io::{self, IsTerminal, Stderr, Write};
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
        log.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).try_init()
    };
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
        write_lines(&mut io::stderr(), self.0, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Stderr::flush(&mut io::stderr())
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
    fn each_line_of_an_event_has_its_priority() {
        let mut out = Vec::new();
        write_lines(&mut out, priority(Level::WARN), b"a fault\nand another\n").unwrap();
        assert_eq!(out, b"<4>a fault\n<4>and another\n");
    }
}
