//! BIRD 2 as a peer.

use crate::netns::Netns;
use crate::proc::{Proc, tool};
use crate::scratch::Scratch;
use crate::wait::eventually;
use rustix::process::Signal;
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

    /// `birdc WORDS…`
    pub fn ask(&self, words: &str) -> Result<String, String> {
        let out = Command::new(tool("birdc", "bird2"))
            .arg("-s")
            .arg(self.dir.path().join("bird.ctl"))
            .args(words.split_whitespace())
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
    pub fn since(&self, name: &str) -> String {
        let text = self.ask(&format!("show protocols {name}")).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(4).unwrap_or_default().to_owned()
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
