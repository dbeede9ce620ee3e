//! Hosts: a network namespace each, joined by veth pairs.

use crate::scratch::is_dead;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Deleted on drop, with everything in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    keep: bool,
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

impl Netns {
    /// A new host that forwards packets, with loopback up. `role` is for the reader of a log.
    #[must_use]
    pub fn new(role: &str) -> Self {
        SWEEP.call_once(sweep);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("ms{}-{n}-{role}", std::process::id()))
    }

    /// With a name that people are to type.
    #[must_use]
    pub fn named(name: &str) -> Self {
        ip(&["netns", "add", name]);
        let ns = Self { name: name.to_owned(), keep: false };
        ns.ip("link set lo up");
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/conf/default/forwarding", "1"),
            // Duplicate address detection takes a second that no test needs.
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/default/send_redirects", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ] {
            ns.sysctl(key, value);
        }
        ns
    }

    /// A host that somebody else made and will remove.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, keep: true }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What CNI_NETNS holds.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Leave it standing when this value is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Takes it away now, kept or not.
    pub fn remove(mut self) {
        self.keep = false;
    }

    /// `ip -n NAME WORDS…`, which must succeed.
    pub fn ip(&self, words: &str) -> String {
        let mut args = vec!["-n", self.name.as_str()];
        args.extend(words.split_whitespace());
        ip(&args)
    }

    /// The same, where failing is an answer too.
    pub fn try_ip(&self, words: &str) -> Result<String, String> {
        let mut args = vec!["-n", self.name.as_str()];
        args.extend(words.split_whitespace());
        try_ip(&args)
    }

    /// Writes `/proc/sys/<key>` of this host.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        let value = value.to_owned();
        self.run(move || {
            std::fs::write(&path, &value).unwrap_or_else(|e| panic!("cannot write {path}: {e}"));
        });
    }

    /// Runs `f` on a thread that stands in this host: sockets it opens are the host's.
    pub fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        match self.spawn(f).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The same, going on in the background.
    pub fn spawn<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let ns = self.open();
        std::thread::spawn(move || {
            enter(&ns).expect("cannot enter the namespace");
            f()
        })
    }

    /// A command that will run in this host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        use std::os::unix::process::CommandExt;
        let ns = self.open();
        let mut command = Command::new(program);
        // SAFETY: one system call on a descriptor that lives as long as the closure.
        unsafe { command.pre_exec(move || enter(&ns)) };
        command
    }

    /// Runs a program to its end; its output if it succeeded, else what it said.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let out = self
            .command(program)
            .args(args)
            .output()
            .map_err(|e| format!("cannot run {program}: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() {
            return Ok(text(&out.stdout));
        }
        Err(format!(
            "{program} {args:?}: {}\n{}{}",
            out.status,
            text(&out.stdout),
            text(&out.stderr)
        ))
    }

    /// Whether `address` answers one ICMP echo within a second.
    #[must_use]
    pub fn pings(&self, address: &str) -> bool {
        self.output("ping", &["-c1", "-W1", "-n", "-q", address]).is_ok()
    }

    fn open(&self) -> File {
        File::open(self.path()).unwrap_or_else(|e| panic!("namespace {}: {e}", self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.keep {
            let _ = try_ip(&["netns", "del", &self.name]);
        }
    }
}

fn enter(ns: &File) -> std::io::Result<()> {
    use std::os::fd::AsFd;
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    Ok(rustix::thread::move_into_link_name_space(ns.as_fd(), kind)?)
}

/// Joins two hosts by a cable: `(host, interface name)` at each end, both up.
pub fn veth(a: (&Netns, &str), b: (&Netns, &str)) {
    let ((a, a_if), (b, b_if)) = (a, b);
    a.ip(&format!("link add {a_if} type veth peer name {b_if} netns {}", b.name));
    a.ip(&format!("link set {a_if} up"));
    b.ip(&format!("link set {b_if} up"));
}

fn ip(args: &[&str]) -> String {
    try_ip(args).unwrap_or_else(|e| panic!("{e}"))
}

fn try_ip(args: &[&str]) -> Result<String, String> {
    let out = Command::new("ip")
        .args(args)
        .output()
        .map_err(|e| format!("cannot run ip: {e}; apt-get install iproute2"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(format!("ip {}: {}", args.join(" "), said.trim()))
}

/// Removes what a killed test run has left: names carry the pid of the process that made them.
fn sweep() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests make network namespaces: run them as root"
    );
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("ms").and_then(|n| n.split_once('-')).map(|(pid, _)| pid);
        if pid.is_some_and(is_dead) {
            let _ = try_ip(&["netns", "del", &name]);
        }
    }
}
