//! BIRD 2 as a peer.

use crate::netns::Netns;
use crate::proc::{Proc, tool};
use crate::scratch::Scratch;
use crate::wait::eventually;
use rustix::process::Signal;
use std::fmt;
use std::process::Command;

#[derive(Debug)]
pub struct Bird {
    proc: Proc,
    dir: Scratch,
}

impl Bird {
    /// Starts it with this configuration and waits until it answers.
    #[must_use]
    pub fn start(host: &Netns, config: &str) -> Self {
        Self::start_in(host, config, Scratch::new("bird"), &[], true)
    }

    /// The same as a restart that graceful restart should cover (`bird -R`).
    #[must_use]
    pub fn restart(host: &Netns, config: &str) -> Self {
        Self::start_in(host, config, Scratch::new("bird"), &["-R"], true)
    }

    /// The same, left running when we end.
    #[must_use]
    pub fn start_to_stay(host: &Netns, config: &str, dir: Scratch) -> Self {
        let mut bird = Self::start_in(host, config, dir, &[], false);
        bird.proc.keep();
        bird.dir.keep();
        bird
    }

    fn start_in(host: &Netns, config: &str, dir: Scratch, more: &[&str], tied: bool) -> Self {
        let path = dir.write("bird.conf", &format!("log stderr all;\n{config}"));
        let mut command = host.command(tool("bird", "bird2"));
        command.arg("-f").args(more).arg("-c").arg(path).arg("-s").arg(dir.path().join("bird.ctl"));
        let what = format!("bird in {}", host.name());
        let proc = Proc::start_tied(&what, command, &dir.path().join("bird.log"), tied);
        let bird = Self { proc, dir };
        eventually(10, "BIRD answers", || bird.ask("show status"));
        bird
    }

    /// Another configuration for the one that runs.
    pub fn configure(&self, config: &str) {
        self.dir.write("bird.conf", &format!("log stderr all;\n{config}"));
        self.ask("configure").expect("BIRD takes another configuration");
    }

    /// `birdc WORDS…`
    pub fn ask(&self, words: &str) -> Result<String, String> {
        self.ask_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// The same where a word may have blanks in it.
    pub fn ask_words(&self, words: &[&str]) -> Result<String, String> {
        let out = Command::new(tool("birdc", "bird2"))
            .arg("-s")
            .arg(self.dir.path().join("bird.ctl"))
            .args(words)
            .output()
            .map_err(|e| format!("birdc: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() && !text.contains("Unable to connect") {
            Ok(text)
        } else {
            Err(text)
        }
    }

    /// Waits until protocol `name` is Established.
    #[track_caller]
    pub fn established(&self, name: &str, seconds: u64) {
        eventually(seconds, &format!("BIRD's {name} is Established"), || {
            let text = self.ask(&format!("show protocols {name}"))?;
            if text.contains("Established") { Ok(()) } else { Err(text) }
        });
    }

    /// Since when the session is up, as BIRD tells: it changes when the session was ever lost.
    #[must_use]
    pub fn since(&self, name: &str) -> Since {
        let text = self.ask(&format!("show protocols {name}")).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        Since(line.split_whitespace().nth(4).unwrap_or_default().to_owned())
    }

    /// Whether a route for exactly this prefix is in its table.
    #[must_use]
    pub fn has_route(&self, prefix: &str) -> bool {
        self.ask(&format!("show route {prefix}")).is_ok_and(|text| text.contains(prefix))
    }

    pub fn proc(&mut self) -> &mut Proc {
        &mut self.proc
    }

    pub fn signal(&self, signal: Signal) {
        self.proc.signal(signal);
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.proc.log()
    }

    /// How to ask it by hand.
    #[must_use]
    pub fn console(&self) -> String {
        format!("birdc -s {}", self.dir.path().join("bird.ctl").display())
    }
}

/// Since when a session is up, as its peer tells. BIRD reckons it anew each time from how long that
/// is ago, and comes a millisecond or two off.
#[derive(Debug, Clone)]
pub struct Since(pub String);

impl Since {
    /// "12:34:56.789" in milliseconds.
    fn millis(&self) -> Option<i64> {
        let mut parts = self.0.splitn(3, ':');
        let (hours, minutes) =
            (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
        let (seconds, millis) = parts.next()?.split_once('.')?;
        let seconds = (hours * 60 + minutes) * 60 + seconds.parse::<i64>().ok()?;
        Some(seconds * 1000 + millis.parse::<i64>().ok()?)
    }
}

impl PartialEq for Since {
    fn eq(&self, other: &Self) -> bool {
        match (self.millis(), other.millis()) {
            (Some(a), Some(b)) => (a - b).abs() <= 10,
            _ => self.0 == other.0,
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Since;

    #[test]
    fn a_time_told_a_millisecond_off_is_the_same() {
        let since = |text: &str| Since(text.into());
        assert_eq!(since("09:45:14.999"), since("09:45:15.000"));
        assert_ne!(since("09:45:14.106"), since("09:45:14.600"));
        assert_ne!(since(""), since("09:45:14.600"));
        assert_ne!(since("1 up, 0 lost"), since("2 up, 1 lost"));
    }
}
