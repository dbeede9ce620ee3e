//! ExaBGP as a peer: it announces what its file says, and writes down what it hears.

use crate::netns::Netns;
use crate::proc::{Proc, start_as, tool};
use crate::scratch::Scratch;
use crate::wait::eventually;
use serde_json::Value;

#[derive(Debug)]
pub struct ExaBgp {
    proc: Proc,
    dir: Scratch,
}

impl ExaBgp {
    /// Starts it with this configuration of one neighbour, in which `LISTENER` stands where a
    /// process is named that is told what happens.
    #[must_use]
    pub fn start(host: &Netns, config: &str) -> Self {
        let dir = Scratch::new("exabgp");
        let heard = dir.path().join("heard");
        // It takes a closed standard output for the end of the process.
        let listener = format!("exec cat 3>&1 >{}\n", heard.display());
        let listener = dir.write("listener", &listener);
        let config = format!(
            "process listener {{ run /bin/sh {}; encoder json; }}\n{config}",
            listener.display()
        );
        let path = dir.write("exabgp.conf", &config);
        let mut command = host.command(tool("exabgp", "exabgp"));
        command.arg(path);
        for (key, value) in [
            ("exabgp_daemon_user", "root"),
            ("exabgp_daemon_drop", "false"),
            ("exabgp_api_cli", "false"),
            ("exabgp_tcp_delay", "0"),
            ("exabgp_log_all", "true"),
        ] {
            command.env(key, value);
        }
        let proc = start_as(host, "exabgp", command, dir.path());
        let exabgp = Self { proc, dir };
        eventually(20, "ExaBGP runs", || {
            if exabgp.dir.path().join("heard").exists() { Ok(()) } else { Err(exabgp.log()) }
        });
        exabgp
    }

    /// What it was told, oldest first.
    #[must_use]
    pub fn heard(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("heard")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.proc.log()
    }
}
