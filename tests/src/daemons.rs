//! One node: a host with Mainstay's daemons and its command line.

use crate::netns::Netns;
use crate::proc::{Proc, bin};
use crate::scratch::Scratch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub host: Netns,
    pub dir: Scratch,
    config: PathBuf,
    tied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    Bgpd,
    Ipamd,
    Keeper,
    Netmon,
}

impl Daemon {
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Bgpd => "mainstay-bgpd",
            Self::Ipamd => "mainstay-ipamd",
            Self::Keeper => "mainstay-keeper",
            Self::Netmon => "mainstay-netmon",
        }
    }
}

impl Node {
    /// `config` is the cluster's file; the node reads a copy of its own, so that a test can edit it.
    #[must_use]
    pub fn new(name: &str, host: Netns, config: &str) -> Self {
        Self::at(name, host, config, Scratch::new(name), true)
    }

    #[must_use]
    pub fn at(name: &str, host: Netns, config: &str, dir: Scratch, tied: bool) -> Self {
        let path = dir.write("mainstay.yaml", config);
        Self { name: name.to_owned(), host, dir, config: path, tied }
    }

    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Another text in the place of the configuration.
    pub fn configure(&self, text: &str) {
        self.dir.write("mainstay.yaml", text);
    }

    /// Starts a daemon and waits until it says that it serves; panics with its log if it does not.
    #[must_use]
    #[track_caller]
    pub fn start(&self, daemon: Daemon) -> Proc {
        self.start_with(daemon, &[], |_| {})
    }

    /// The same with further arguments, and whatever else `prepare` does to the command.
    #[must_use]
    #[track_caller]
    pub fn start_with(
        &self,
        daemon: Daemon,
        more: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Proc {
        self.try_start_with(daemon, more, prepare).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same where not becoming ready is an answer too.
    pub fn try_start_with(
        &self,
        daemon: Daemon,
        more: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Proc, String> {
        let (mut ready, mut proc) = self.launch(daemon, more, prepare);
        let mut fds = [PollFd::new(&ready, PollFlags::IN)];
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let n = poll(&mut fds, Some(&limit)).expect("poll");
        let mut said = [0; 6];
        if n == 1 && ready.read(&mut said).unwrap_or(0) > 0 {
            return Ok(proc);
        }
        // It lets go of the pipe before it says why it ends.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while proc.running() && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let (program, log) = (daemon.program(), proc.log());
        Err(format!("{program} on {} did not become ready:\n{log}", self.name))
    }

    /// Starts a daemon that is expected to end by itself: how it did, and what it said.
    #[track_caller]
    pub fn run_to_end(&self, daemon: Daemon) -> (std::process::ExitStatus, String) {
        let said = std::fs::metadata(self.log(daemon)).map_or(0, |m| m.len());
        let (_ready, mut proc) = self.launch(daemon, &[], |_| {});
        let status = proc.wait(std::time::Duration::from_secs(10));
        (status, proc.log().split_off(usize::try_from(said).unwrap_or(0)))
    }

    /// Starts a daemon that is expected to refuse; why it did.
    #[track_caller]
    pub fn start_failing(&self, daemon: Daemon) -> String {
        let (status, log) = self.run_to_end(daemon);
        assert!(!status.success(), "{} should have refused: {log}", daemon.program());
        log
    }

    fn log(&self, daemon: Daemon) -> PathBuf {
        self.dir.path().join(format!("{}.log", daemon.program()))
    }

    /// Starts a daemon and does not wait for it.
    #[must_use]
    pub fn begin(&self, daemon: Daemon) -> Proc {
        self.launch(daemon, &[], |_| {}).1
    }

    pub(crate) fn launch(
        &self,
        daemon: Daemon,
        more: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> (std::io::PipeReader, Proc) {
        let (ready, tell) = std::io::pipe().expect("pipe");
        let fd = tell.as_raw_fd();
        let mut command = self.host.command(bin(daemon.program()));
        command
            .args(["--run-dir".as_ref(), self.run_dir().as_os_str()])
            .args(["--ready-fd", &fd.to_string()])
            .args(more);
        // The keeper knows neither configuration nor state: it holds what it is given.
        if daemon != Daemon::Keeper {
            command
                .args(["--config".as_ref(), self.config.as_os_str()])
                .args(["--node", &self.name])
                .args(["--state-dir".as_ref(), self.dir.path().join("state").as_os_str()]);
        }
        prepare(&mut command);
        // SAFETY: one system call on a descriptor that the closure owns.
        unsafe {
            command.pre_exec(move || Ok(fcntl_setfd(tell.as_fd(), FdFlags::empty())?));
        }
        let log = self.log(daemon);
        let what = format!("{} on {}", daemon.program(), self.name);
        // The command, and with it our end of the pipe, is gone once it is started.
        (ready, Proc::start_tied(&what, command, &log, self.tied))
    }

    /// `mainstay --run-dir … WORDS`; its whole outcome.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> Output {
        self.host
            .command(bin("mainstay"))
            .args(["--run-dir".as_ref(), self.run_dir().as_os_str()])
            .args(["--config".as_ref(), self.config.as_os_str()])
            .args(words)
            .output()
            .expect("mainstay runs")
    }

    /// What it says.
    pub fn cli_text(&self, words: &[&str]) -> String {
        String::from_utf8_lossy(&self.cli(words).stdout).into_owned()
    }

    /// The same with `-o json`, parsed.
    pub fn json(&self, words: &[&str]) -> Result<serde_json::Value, String> {
        let mut all = vec!["-o", "json"];
        all.extend(words);
        let out = self.cli(&all);
        let text = String::from_utf8_lossy(&out.stdout);
        serde_json::from_str(&text)
            .map_err(|e| format!("{e}: {text}{}", String::from_utf8_lossy(&out.stderr)))
    }

    /// Netmon's page, fetched inside the host.
    pub fn metrics(&self, listen: &str) -> Result<String, String> {
        crate::client::http_get(&self.host, listen, "/metrics")
    }
}

/// The value of the first sample whose line starts with `series` ("name{label=\"x\"}").
#[must_use]
pub fn sample(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|l| l.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}
