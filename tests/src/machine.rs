//! A machine with a systemd of its own: a container over a copy-on-write view of `/`, with Mainstay
//! installed as `deploy/install.sh` does it, in the network namespace of a host.
//!
//! Nothing of it is seen outside: the mounts are in a mount namespace that ends with it, and it ends
//! with the test. It boots to `basic.target`, so that none of the services of the machine it runs
//! on is started.

use crate::cgroup::Cgroup;
use crate::netns::Netns;
use crate::proc::{Proc, bin, tool};
use crate::scratch::Scratch;
use crate::wait::eventually;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[derive(Debug)]
pub struct Machine {
    leader: u32,
    // The order in which they go.
    proc: Proc,
    _dir: Scratch,
    _cgroup: Cgroup,
    pub host: Netns,
}

/// Runs in a mount namespace and a process namespace of its own; whoever ends it ends all.
const BOOT: &str = r#"set -e
dir=$1 build=$2 install=$3 nspawn=$4; shift 4
mount -t tmpfs -o mode=755 mainstay "$dir/disk"
mkdir "$dir/disk/upper" "$dir/disk/work" "$dir/disk/root"
mount -t overlay mainstay -o "lowerdir=/,upperdir=$dir/disk/upper,workdir=$dir/disk/work" "$dir/disk/root"
BUILD=$build "$install" "$dir/disk/root"
cp -r "$dir/files/." "$dir/disk/root"
mkdir -p /run/systemd
mount -t tmpfs mainstay /run/systemd
exec "$nspawn" --directory="$dir/disk/root" "$@"
"#;

const NSPAWN: [&str; 9] = [
    "--quiet",
    "--register=no",
    "--keep-unit",
    "--boot",
    "--console=pipe",
    // The daemons'.
    "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
];

impl Machine {
    /// Boots a node of this name in `host`, with this cluster's file.
    #[must_use]
    #[track_caller]
    pub fn boot(name: &str, host: Netns, config: &str) -> Self {
        let dir = Scratch::new("machine");
        std::fs::create_dir_all(dir.path().join("disk")).expect("a mount point");
        prepare(&dir.path().join("files"), name, config);
        // With our pid in it.
        let unique = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let unique = unique.replacen("mainstay-", "ms", 1);
        let cgroup = Cgroup::new(&unique);
        let mut command = Command::new(tool("unshare", "util-linux"));
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", BOOT, "boot"])
            .args([dir.path(), programs().as_path(), &deploy().join("install.sh")])
            .arg(tool("systemd-nspawn", "systemd-container"))
            .args(NSPAWN)
            .arg(format!("--machine={unique}"))
            .arg(format!("--hostname={name}"))
            .arg(format!("--network-namespace-path={}", host.path().display()))
            .arg("systemd.unit=basic.target");
        cgroup.contain(&mut command);
        let log = dir.path().join("console");
        let mut proc = Proc::start(&format!("machine {name}"), command, &log);
        let leader = eventually(20, "the machine starts", || match leader(proc.pid()) {
            Err(why) if !proc.running() => panic!("it has not started: {why}"),
            other => other,
        });
        let machine = Self { leader, proc, _dir: dir, _cgroup: cgroup, host };
        machine.settle();
        machine
    }

    fn settle(&self) {
        let up = || match self.run(&["systemctl", "is-active", "basic.target"]) {
            Err(why) if !self.alive() => panic!("the machine has ended: {why}"),
            other => other,
        };
        eventually(30, "the machine is up", up);
        if self.path("/sys/fs/cgroup/memory").exists() {
            // The container's view of this older hierarchy is read-only; its systemd looks again
            // when it executes itself anew.
            self.must(&["mount", "-o", "remount,bind,rw", "/sys/fs/cgroup/memory"]);
            self.must(&["systemctl", "daemon-reexec"]);
            eventually(30, "systemd is back", up);
        }
    }

    fn alive(&self) -> bool {
        Path::new("/proc").join(self.leader.to_string()).join("ns/mnt").exists()
    }

    /// A command in the machine, as its root.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(tool("nsenter", "util-linux"));
        command.args(["--target", &self.leader.to_string(), "--all", "--"]).args(words);
        command
    }

    /// Runs it to its end: what it wrote, or what went wrong.
    pub fn run(&self, words: &[&str]) -> Result<String, String> {
        let out = self.command(words).output().map_err(|e| format!("{words:?}: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() {
            return Ok(text(&out.stdout));
        }
        let said = text(&out.stdout) + &text(&out.stderr);
        Err(format!("{}: {}\n{said}", words.join(" "), out.status))
    }

    #[track_caller]
    pub fn must(&self, words: &[&str]) -> String {
        self.run(words).unwrap_or_else(|e| panic!("{e}\n{}", self.journal()))
    }

    /// `systemctl WORDS…`, which must succeed.
    #[track_caller]
    pub fn systemctl(&self, words: &str) -> String {
        let mut all = vec!["systemctl"];
        all.extend(words.split_whitespace());
        self.must(&all)
    }

    /// A property of a unit, as `systemctl show` has it.
    #[must_use]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "-p", name, unit])
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// The main process of a unit, as the machine counts.
    #[must_use]
    pub fn main_pid(&self, unit: &str) -> String {
        self.property(unit, "MainPID")
    }

    /// The descriptors of that process, seen from outside.
    #[must_use]
    pub fn fds(&self, unit: &str) -> PathBuf {
        self.path(&format!("/proc/{}/fd", self.main_pid(unit)))
    }

    /// `mainstay -o json WORDS…`
    pub fn json(&self, words: &[&str]) -> Result<serde_json::Value, String> {
        let mut all = vec!["mainstay", "-o", "json"];
        all.extend(words);
        let text = self.run(&all)?;
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
    }

    /// Where a file of the machine is, seen from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new("/proc").join(self.leader.to_string()).join("root").join(&inside[1..])
    }

    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        let done = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        done.and_then(|()| std::fs::write(&path, text))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    #[must_use]
    pub fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "--boot", "--lines=200"]).unwrap_or_else(|e| e)
    }

    /// What a unit has said so far.
    #[must_use]
    pub fn log_of(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "--boot", "--output=cat", "-u", unit])
            .unwrap_or_default()
    }

    /// Waits for the end of a machine that was told to end.
    #[track_caller]
    pub fn ended(&mut self, limit: Duration) {
        self.proc.wait(limit);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.alive() {
            eprintln!("--- journal\n{}\n---", self.journal());
        }
    }
}

/// What the machine has over what it shares with this one.
fn prepare(files: &Path, name: &str, config: &str) {
    let write = |path: &str, text: &str| {
        let path = files.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(files)).expect("a directory");
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    };
    write("etc/hostname", &format!("{name}\n"));
    write("etc/fstab", "");
    write("etc/mainstay/mainstay.yaml", config);
    write("etc/systemd/journald.conf.d/volatile.conf", "[Journal]\nStorage=volatile\n");
}

/// The first process of the machine, as we count: `unshare` has started nspawn, whose first child
/// sets things up and whose second one becomes systemd.
fn leader(unshare: u32) -> Result<u32, String> {
    let [nspawn] = children(unshare)?[..] else { return Err("no child yet".into()) };
    let found = children(nspawn)?.into_iter().find(|pid| comm(*pid) == "systemd");
    found.ok_or_else(|| format!("{} has not started a systemd", comm(nspawn)))
}

fn children(pid: u32) -> Result<Vec<u32>, String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

fn comm(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// Where the project's programs are, all of them built.
fn programs() -> PathBuf {
    let all = ["mainstay", "mainstay-bgpd", "mainstay-keeper", "mainstay-ipamd", "mainstay-netmon"];
    let paths = all.map(bin);
    paths[0].parent().expect("a directory").to_owned()
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}
