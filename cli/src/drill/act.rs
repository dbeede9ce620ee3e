//! Ending the speaker, and who brings it back.

use crate::failure::Failure;
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deed {
    /// Stop it as an operator does, and start it again
    Restart,
    /// SIGKILL, as the kernel does when memory runs out
    Kill,
    /// Put another binary in its place, and restart
    Upgrade,
}

/// Who brings the speaker back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// This unit.
    Systemd(String),
    /// The operator says that somebody does.
    Supervised,
    /// This command.
    Exec(String),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd(unit) => write!(f, "systemd ({unit})"),
            Self::Supervised => f.write_str("its supervisor"),
            Self::Exec(command) => write!(f, "the command {command:?}"),
        }
    }
}

impl Way {
    pub(crate) fn of(
        exec: &Option<String>,
        supervised: bool,
        deed: Deed,
        pid: u32,
    ) -> Result<Self, Failure> {
        if let Some(command) = exec {
            return Ok(Self::Exec(command.clone()));
        }
        if supervised {
            return Ok(Self::Supervised);
        }
        let Some(unit) = unit_of(pid) else {
            return Err(Failure::Said(format!(
                "refused: bgpd (process {pid}) is in no systemd unit, so nobody is known to bring it \
                 back; say --supervised if somebody does, or give --exec COMMAND"
            )));
        };
        if deed == Deed::Kill && !comes_back_from_a_kill(&unit) {
            return Err(Failure::Said(format!(
                "refused: {unit} has no Restart= that brings a killed process back"
            )));
        }
        Ok(Self::Systemd(unit))
    }

    pub(crate) fn perform(&self, deed: Deed, pid: u32) -> Result<(), Failure> {
        match (self, deed) {
            (Self::Systemd(unit), Deed::Restart | Deed::Upgrade) => systemctl_restart(unit),
            (Self::Systemd(_) | Self::Supervised, Deed::Kill) => signal(pid, Signal::KILL),
            (Self::Supervised, Deed::Restart | Deed::Upgrade) => signal(pid, Signal::TERM),
            (Self::Exec(command), Deed::Restart | Deed::Upgrade) => shell(command),
            (Self::Exec(command), Deed::Kill) => {
                signal(pid, Signal::KILL)?;
                shell(command)
            }
        }
    }
}

/// `0::/system.slice/mainstay-bgpd.service`
fn unit_of(pid: u32) -> Option<String> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let last =
        cgroups.lines().find_map(|l| l.rsplit('/').find(|part| part.ends_with(".service")))?;
    let ours = systemctl(&["show", "--property", "MainPID", "--value", last])?;
    (ours.trim() == pid.to_string()).then(|| last.to_owned())
}

fn comes_back_from_a_kill(unit: &str) -> bool {
    let restart = systemctl(&["show", "--property", "Restart", "--value", unit]);
    matches!(
        restart.as_deref().map(str::trim),
        Some("always" | "on-failure" | "on-abnormal" | "on-abort")
    )
}

fn systemctl(words: &[&str]) -> Option<String> {
    let out = Command::new("systemctl").args(words).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

fn systemctl_restart(unit: &str) -> Result<(), Failure> {
    // Without waiting: what is measured goes on meanwhile.
    let out = Command::new("systemctl").args(["--no-block", "restart", unit]).output()?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(Failure::Said(format!("systemctl restart {unit}: {}", said.trim())))
}

fn signal(pid: u32, signal: Signal) -> Result<(), Failure> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(raw) = raw else { return Err(Failure::Said(format!("{pid} is no process"))) };
    kill_process(raw, signal).map_err(|e| Failure::Said(format!("cannot end process {pid}: {e}")))
}

/// In a group of its own, so that what it starts outlives this command.
fn shell(command: &str) -> Result<(), Failure> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let _ = shell.spawn().map_err(|e| Failure::Said(format!("cannot run sh: {e}")))?;
    Ok(())
}

/// A binary that has been replaced, and the one that was there before.
#[derive(Debug)]
pub(crate) struct Upgrade {
    path: PathBuf,
    before: PathBuf,
}

/// Puts `new` where the running process came from, in one step.
pub(crate) fn replace(pid: u32, new: &Path) -> Result<Upgrade, Failure> {
    let said = |what: String| move |e: std::io::Error| Failure::Said(format!("{what}: {e}"));
    let works = Command::new(new).arg("--version").output();
    let works = works.map_err(said(format!("cannot run {}", new.display())))?;
    if !works.status.success() {
        return Err(Failure::Said(format!("{} --version fails", new.display())));
    }
    let link = format!("/proc/{pid}/exe");
    let path = fs::read_link(&link).map_err(said(format!("cannot read {link}")))?;
    if !path.exists() {
        let text = format!("{} is where bgpd was started from, and gone", path.display());
        return Err(Failure::Said(text));
    }
    let beside = |what: &str| path.with_extension(what);
    let (before, fresh) = (beside("before-drill"), beside("drill"));
    // In this order: `new` may be what the last drill has kept.
    fs::copy(new, &fresh).map_err(said(format!("cannot write {}", fresh.display())))?;
    fs::copy(&path, &before).map_err(said(format!("cannot write {}", before.display())))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, &path).map_err(said(format!("cannot replace {}", path.display())))?;
    Ok(Upgrade { path, before })
}

impl Upgrade {
    /// The old one comes back, also to life.
    pub(crate) fn undo(&self, way: &Way) -> String {
        let path = self.path.display();
        if let Err(e) = fs::rename(&self.before, &self.path) {
            return format!("and {path} cannot be put back: {e}");
        }
        let again = match way {
            Way::Systemd(unit) => systemctl_restart(unit),
            Way::Exec(command) => shell(command),
            Way::Supervised => Ok(()),
        };
        match again {
            Ok(()) => format!("{path} is the old one again"),
            Err(failure) => format!("{path} is the old one again, but {failure}"),
        }
    }
}
