//! The keeper's files of sessions, seen from outside: another release than this one writes another
//! version there. The file's first words never change their place (`bgpd/keeper/src/layout.rs`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const VERSION_AT: u64 = 8;
const SUM_AT: u64 = 88;

/// Writes version and oldest reader into every session's file among the keeper's descriptors; how
/// many.
pub fn write_version(fds: &Path, version: u32, readable_from: u32) -> usize {
    let files = session_files(fds);
    for path in &files {
        let open = File::options().read(true).write(true).open(path);
        let file = open.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let word = u64::from(version) | u64::from(readable_from) << 32;
        file.write_all_at(&word.to_ne_bytes(), VERSION_AT).expect("write the version");
        let mut head = [0; 88];
        file.read_exact_at(&mut head, 0).expect("read the header");
        file.write_all_at(&checksum(&head).to_ne_bytes(), SUM_AT).expect("write the checksum");
    }
    files.len()
}

/// The descriptors of a process of this machine.
#[must_use]
pub fn fds(pid: u32) -> PathBuf {
    format!("/proc/{pid}/fd").into()
}

/// Those files, through the process's descriptors.
#[must_use]
pub fn session_files(fds: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(fds) else { return Vec::new() };
    let is_file = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("mainstay-session"))
    };
    entries.flatten().map(|e| e.path()).filter(is_file).collect()
}

/// FNV-1a, as the keeper's.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
