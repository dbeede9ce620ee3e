//! GoBGP as a peer.

use crate::netns::Netns;
use crate::proc::{Proc, start_in, tool};
use crate::scratch::Scratch;
use crate::wait::eventually;
use rustix::process::Signal;

#[derive(Debug)]
pub struct GoBgp {
    host: Netns,
    proc: Proc,
    _dir: Scratch,
}

impl GoBgp {
    /// Starts gobgpd with this TOML and waits until it answers.
    #[must_use]
    pub fn start(host: &Netns, config: &str) -> Self {
        Self::start_with(host, config, &[])
    }

    /// The same with further arguments.
    #[must_use]
    pub fn start_with(host: &Netns, config: &str, more: &[&str]) -> Self {
        let dir = Scratch::new("gobgp");
        let path = dir.write("gobgpd.toml", config).display().to_string();
        let mut args =
            vec!["-f", &path, "-t", "toml", "--api-hosts", "127.0.0.1:50051", "--pprof-disable"];
        args.extend(more);
        let proc = start_in(host, "gobgpd", &tool("gobgpd", "gobgpd"), &args, dir.path());
        let gobgp = Self { host: Netns::existing(&host.path()), proc, _dir: dir };
        eventually(10, "GoBGP answers", || gobgp.ask("global"));
        gobgp
    }

    /// `gobgp WORDS…`
    pub fn ask(&self, words: &str) -> Result<String, String> {
        self.ask_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// The same where a word may have blanks in it.
    pub fn ask_words(&self, words: &[&str]) -> Result<String, String> {
        self.host.output(&tool("gobgp", "gobgpd").display().to_string(), words)
    }

    /// Waits until the session with `peer` is Established.
    #[track_caller]
    pub fn established(&self, peer: &str, seconds: u64) {
        eventually(seconds, &format!("GoBGP's session with {peer} is Established"), || {
            let text = self.ask(&format!("neighbor {peer}"))?;
            let up = text.to_lowercase().contains("bgp state = established");
            if up { Ok(()) } else { Err(text) }
        });
    }

    /// Whether a route for exactly this prefix is in its table.
    #[must_use]
    pub fn has_route(&self, prefix: &str) -> bool {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        self.ask(&format!("global rib -a {family} {prefix}")).is_ok_and(|t| t.contains(prefix))
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
}
