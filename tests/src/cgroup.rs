//! Control groups of a test's own, so that one machine's limits are not another's.

use crate::scratch::is_dead;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One group in each hierarchy that a service manager uses; removed on drop.
#[derive(Debug)]
pub struct Cgroup {
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// `name` carries our pid, by which a later run sees what a killed one has left.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let parents = hierarchies();
        parents.iter().for_each(|parent| sweep(parent));
        let dirs: Vec<_> = parents.iter().map(|parent| parent.join(name)).collect();
        for dir in &dirs {
            std::fs::create_dir_all(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        }
        Self { dirs }
    }

    /// Has `command` start in here.
    pub fn contain(&self, command: &mut Command) {
        let open = |dir: &PathBuf| {
            let path = dir.join("cgroup.procs");
            File::options().write(true).open(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"))
        };
        let mut files: Vec<_> = self.dirs.iter().map(open).collect();
        // SAFETY: writes on descriptors that the closure owns; zero stands for the writer.
        unsafe {
            command.pre_exec(move || files.iter_mut().try_for_each(|file| file.write_all(b"0")));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Those who were in it have been killed, and may take a moment.
        for _ in 0..100 {
            self.dirs.retain(|dir| !remove(dir));
            if self.dirs.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("control groups are left: {:?}", self.dirs);
    }
}

/// Our own group in the hierarchies for memory and for systemd; where there is but one hierarchy its
/// root, since a group with processes in it can have no limited children.
fn hierarchies() -> Vec<PathBuf> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.into()];
    }
    let mounts = read("/proc/self/mounts");
    let mounted = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, fstype, options) = (fields.next()?, fields.next()?, fields.next()?);
            (fstype == kind && (option.is_empty() || options.split(',').any(|o| o == option)))
                .then(|| PathBuf::from(at))
        })
    };
    let ours = read("/proc/self/cgroup");
    let place = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let mount = match controllers {
            "" => mounted("cgroup2", ""),
            "memory" | "name=systemd" => mounted("cgroup", controllers),
            _ => None,
        };
        Some(mount?.join(path.trim_start_matches('/')))
    };
    ours.lines().filter_map(place).collect()
}

/// Children first; whether it is gone.
fn remove(dir: &Path) -> bool {
    if let Ok(entries) = std::fs::read_dir(dir) {
        for child in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            remove(&child.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
    !dir.exists()
}

fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("ms").and_then(|n| n.split_once('-')).map(|(pid, _)| pid);
        if pid.is_some_and(is_dead) {
            remove(&entry.path());
        }
    }
}
