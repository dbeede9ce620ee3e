//! A memory cgroup around one process, to have the kernel kill it for lack of memory. Works with
//! both versions of cgroups; where neither can be written, it says so.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug)]
pub struct Memcg {
    dir: PathBuf,
    limit: &'static str,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Memcg {
    #[must_use]
    pub fn new() -> Self {
        let (root, limit) = hierarchy();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("mainstay-{}-{n}", std::process::id()));
        std::fs::create_dir(&dir).unwrap_or_else(|e| {
            panic!(
                "cannot make the memory cgroup {}: {e}; run where cgroups are writable",
                dir.display()
            )
        });
        Self { dir, limit }
    }

    /// Takes a process in. What it has so far is counted elsewhere (version 1) or here (version 2).
    pub fn take_in(&self, pid: u32) {
        self.write("cgroup.procs", &pid.to_string());
    }

    /// From now on there is no memory to be had: the next page asked for kills.
    pub fn starve(&self) {
        // Version 1 knows kernel memory apart; the smallest that both take is a page.
        self.write(self.limit, "65536");
    }

    /// How many of its processes the kernel has killed for lack of memory.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let read = |file| std::fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let text = read("memory.events") + &read("memory.oom_control");
        let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
        line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    fn write(&self, file: &str, value: &str) {
        let path = self.dir.join(file);
        std::fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

impl Default for Memcg {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// Where memory cgroups are made, and the name of the limit there.
fn hierarchy() -> (PathBuf, &'static str) {
    let unified = Path::new("/sys/fs/cgroup");
    if unified.join("cgroup.controllers").exists() {
        let _ = std::fs::write(unified.join("cgroup.subtree_control"), "+memory");
        return (unified.to_owned(), "memory.max");
    }
    (unified.join("memory"), "memory.limit_in_bytes")
}
