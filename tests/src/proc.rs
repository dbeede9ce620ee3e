//! Processes that end with the test that started them, and whose logs are shown when it fails.

use crate::netns::Netns;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Killed on drop, by its pid.
#[derive(Debug)]
pub struct Proc {
    what: String,
    child: Child,
    log: PathBuf,
    keep: bool,
}

impl Proc {
    /// Starts `command` with its output in `log` (appended, so a restart keeps the story).
    ///
    /// It dies with the thread that called this, so call it from the test's own thread.
    #[must_use]
    pub fn start(what: &str, command: Command, log: &Path) -> Self {
        Self::start_tied(what, command, log, true)
    }

    /// Untied, it may outlive us (the demo's KEEP=1).
    #[must_use]
    pub fn start_tied(what: &str, mut command: Command, log: &Path, tied: bool) -> Self {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let err = out.try_clone().expect("descriptors");
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        if tied {
            // SAFETY: one system call.
            unsafe {
                command.pre_exec(|| {
                    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
                });
            }
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {what}: {e}"));
        Self { what: what.to_owned(), child, log: log.to_owned(), keep: false }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn keep(&mut self) {
        self.keep = true;
    }

    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.keep
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The same to every process it has started.
    pub fn signal_all(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// SIGKILL, and the corpse is taken away.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; how it ended. Killed after ten seconds, which is a failure.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(10))
    }

    /// How it ended by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            if Instant::now() > end {
                self.kill();
                self.show_log();
                panic!("{} did not end within {limit:?}", self.what);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time it has used and its largest resident size, by /proc.
    #[must_use]
    pub fn usage(&self) -> (Duration, u64) {
        usage(self.child.id())
    }

    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn show_log(&self) {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(80)..];
        eprintln!("--- log of {} (last {} lines)\n{}\n---", self.what, tail.len(), tail.join("\n"));
    }
}

/// CPU time that the threads a process has now have used, to the nanosecond.
#[must_use]
pub fn cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let on_cpu = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    on_cpu.sum()
}

/// How often a process has touched a page that it did not have.
#[must_use]
pub fn faults(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    // minflt is the 10th field, the state the third.
    { fields }.nth(7).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// (CPU time, peak resident bytes) of a process.
#[must_use]
pub fn usage(pid: u32) -> (Duration, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime are the 14th and 15th fields; a tick is 10 ms on every Linux of today.
    let cpu = Duration::from_millis((ticks(11) + ticks(12)) * 10);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let kib: u64 = peak.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    (cpu, kib * 1024)
}

impl Drop for Proc {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = match self.child.try_wait() {
                Ok(Some(status)) => format!("ended: {status} (signal {:?})", status.signal()),
                _ => "was running".into(),
            };
            eprintln!("--- {} {ended}", self.what);
            self.show_log();
        }
        if !self.keep {
            self.kill();
        }
    }
}

/// Where the project's own programs are: beside this one.
#[must_use]
pub fn bin(name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("the path of this program");
    let mut dir = me.parent().expect("a directory").to_owned();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    let how = if dir.ends_with("release") { " --release" } else { "" };
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins{how}", path.display());
    path
}

/// A program that a Debian package brings; missing, it is named with the command that installs it.
#[must_use]
pub fn tool(path: &str, package: &str) -> PathBuf {
    let found = Path::new(path).is_absolute().then(|| PathBuf::from(path)).or_else(|| which(path));
    match found {
        Some(program) if program.exists() => program,
        _ => panic!("{path} is missing: apt-get install {package}"),
    }
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').map(|dir| Path::new(dir).join(name)).find(|p| p.exists())
}

/// `program` in `host`, logging to `dir/<what>.log`.
#[must_use]
pub fn start_in(host: &Netns, what: &str, program: &Path, args: &[&str], dir: &Path) -> Proc {
    let mut command = host.command(program);
    command.args(args);
    start_as(host, what, command, dir)
}

/// The same of a command that is ready.
#[must_use]
pub fn start_as(host: &Netns, what: &str, command: Command, dir: &Path) -> Proc {
    Proc::start(&format!("{what} in {}", host.name()), command, &dir.join(format!("{what}.log")))
}

/// Of a Debian package, without what Debian adds.
#[must_use]
pub fn package_version(package: &str) -> String {
    let out = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.split(['-', '+', '~']).next().unwrap_or_default().to_owned()
}
