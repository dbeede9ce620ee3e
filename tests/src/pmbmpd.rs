//! pmacct's pmbmpd as a BMP station.

use crate::netns::Netns;
use crate::proc::{Proc, start_in, tool};
use crate::scratch::Scratch;
use serde_json::Value;

pub const PORT: u16 = 1790;

#[derive(Debug)]
pub struct Pmbmpd {
    proc: Proc,
    dir: Scratch,
}

impl Pmbmpd {
    /// Listens on this address of the host.
    #[must_use]
    pub fn start(host: &Netns, address: &str) -> Self {
        let dir = Scratch::new("pmbmpd");
        let log = dir.path().join("messages.json");
        let config = format!(
            "daemonize: false\nbmp_daemon_ip: {address}\nbmp_daemon_port: {PORT}\n\
             bmp_daemon_msglog_file: {}\nbmp_daemon_msglog_output: json\n",
            log.display()
        );
        let path = dir.write("pmbmpd.conf", &config).display().to_string();
        let program = tool("/usr/sbin/pmbmpd", "pmacct");
        let proc = start_in(host, "pmbmpd", &program, &["-f", &path], dir.path());
        Self { proc, dir }
    }

    /// What it has understood so far.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("messages.json"));
        let text = text.unwrap_or_default();
        // The last line may be half there.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Whether one of them has all of these.
    #[must_use]
    pub fn has_heard(&self, wanted: &[(&str, Value)]) -> bool {
        let fits = |m: &Value| wanted.iter().all(|(key, value)| m[*key] == *value);
        self.messages().iter().any(fits)
    }

    /// Ends it, as a machine that goes away would.
    pub fn stop(&mut self) {
        self.proc.kill();
    }
}
