//! OpenBGPD as a peer.

use crate::netns::Netns;
use crate::proc::{Proc, start_in, tool};
use crate::scratch::Scratch;
use crate::wait::eventually;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[derive(Debug)]
pub struct OpenBgpd {
    proc: Proc,
    dir: Scratch,
}

impl OpenBgpd {
    /// Starts bgpd with this configuration and waits until it answers.
    #[must_use]
    pub fn start(host: &Netns, config: &str) -> Self {
        let program = tool("/usr/sbin/bgpd", "openbgpd");
        // Where its processes lock themselves in; the package leaves making it to the unit.
        let _ = std::fs::create_dir_all("/run/openbgpd");
        let dir = Scratch::new("openbgpd");
        let socket = dir.path().join("bgpd.sock");
        let path = dir.write("bgpd.conf", &format!("socket \"{}\"\n{config}", socket.display()));
        // It refuses a file that others may read.
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("chmod");
        let args = ["-d", "-f", &path.display().to_string()];
        let proc = start_in(host, "openbgpd", &program, &args, dir.path());
        let bgpd = Self { proc, dir };
        eventually(10, "OpenBGPD answers", || bgpd.ask("show"));
        bgpd
    }

    /// `bgpctl WORDS…`
    pub fn ask(&self, words: &str) -> Result<String, String> {
        self.ask_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// The same where a word may have blanks in it.
    pub fn ask_words(&self, words: &[&str]) -> Result<String, String> {
        let out = Command::new(tool("bgpctl", "openbgpd"))
            .arg("-s")
            .arg(self.dir.path().join("bgpd.sock"))
            .args(words)
            .output()
            .map_err(|e| format!("bgpctl: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() {
            Ok(text)
        } else {
            Err(text + &String::from_utf8_lossy(&out.stderr))
        }
    }

    /// The same, as JSON.
    pub fn json(&self, words: &str) -> Result<serde_json::Value, String> {
        let text = self.ask(&format!("-j {words}"))?;
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
    }

    /// Whether a route for exactly this prefix is in its table.
    #[must_use]
    pub fn has_route(&self, prefix: &str) -> bool {
        self.ask(&format!("show rib {prefix}"))
            .is_ok_and(|t| t.split_whitespace().any(|word| word == prefix))
    }

    #[must_use]
    pub const fn proc(&self) -> &Proc {
        &self.proc
    }

    pub const fn proc_mut(&mut self) -> &mut Proc {
        &mut self.proc
    }
}
