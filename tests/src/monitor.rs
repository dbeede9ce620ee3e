//! What the kernel says of a host's routes while something happens.

use crate::netns::Netns;
use crate::proc::{Proc, tool};
use crate::scratch::Scratch;
use crate::wait::until;
use std::time::Duration;

/// `ip monitor route`, running.
#[derive(Debug)]
pub struct RouteMonitor {
    proc: Proc,
    _dir: Scratch,
}

impl RouteMonitor {
    #[must_use]
    pub fn start(host: &Netns) -> Self {
        let dir = Scratch::new("monitor");
        let mut command = host.command(tool("ip", "iproute2"));
        command.args(["-o", "monitor", "route"]);
        let log = dir.path().join("routes.log");
        let proc = Proc::start("ip monitor route", command, &log);
        // It says nothing when it is ready: a route of ours, seen, is the sign.
        until(5, "ip monitor sees a route", || {
            host.ip("route replace blackhole 203.0.113.255/32 metric 9999");
            host.ip("route del blackhole 203.0.113.255/32 metric 9999");
            std::thread::sleep(Duration::from_millis(20));
            proc.log().contains(PROBE)
        });
        Self { proc, _dir: dir }
    }

    /// Every event so far that is a change of a route, a line each.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        // What the kernel has queued is written within moments.
        std::thread::sleep(Duration::from_millis(100));
        let log = self.proc.log();
        // "Error: Peer netns reference is invalid." is about a veth whose other end has just gone
        // with another test's host, and no event.
        let event = |l: &&str| !l.contains(PROBE) && !l.starts_with("Error:");
        log.lines().filter(event).map(str::to_owned).collect()
    }

    /// Those that name `prefix`.
    #[must_use]
    pub fn of(&self, prefix: &str) -> Vec<String> {
        let of = |line: &String| line.split_whitespace().any(|word| word == prefix);
        self.events().into_iter().filter(of).collect()
    }
}

const PROBE: &str = "203.0.113.255";
