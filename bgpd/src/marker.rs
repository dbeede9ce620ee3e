//! The mark that a speaker runs here, by which a crash is told from a first start.
//!
//! It is set when the speaker starts, not when it stops: a process that was killed could not have
//! set it. What it names is the boot and the network namespace, since the kernel's routes last as
//! long.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("cannot keep the restart marker {path}", path = path.display())]
pub(crate) struct MarkerError {
    path: PathBuf,
    source: io::Error,
}

/// What the kernel's routes last as long as.
pub(crate) fn here(boot_id: &str, netns: Option<u64>) -> String {
    format!("{boot_id} {}", netns.unwrap_or_default())
}

/// Sets the mark in `dir`; true when an earlier speaker over the same kernel routes had set it.
pub(crate) fn set(dir: &Path, here: &str) -> Result<bool, MarkerError> {
    let path = dir.join("running");
    let was_running = std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == here);
    write(dir, &path, here).map_err(|source| MarkerError { path, source })?;
    Ok(was_running)
}

/// Takes the mark away: the speaker has left, and who starts next is the first.
pub(crate) fn clear(dir: &Path) -> Result<(), MarkerError> {
    let path = dir.join("running");
    let removed = match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => File::open(dir).and_then(|dir| dir.sync_all()),
    };
    removed.map_err(|source| MarkerError { path, source })
}

/// Whole and on disk, or not there at all.
fn write(dir: &Path, path: &Path, here: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    writeln!(file, "{here}")?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_speaker_of_the_same_boot_and_namespace_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!set(dir.path(), &here("boot-1", Some(1))).unwrap());
        assert!(set(dir.path(), &here("boot-1", Some(1))).unwrap());
        assert!(!set(dir.path(), &here("boot-1", Some(2))).unwrap());
        assert!(!set(dir.path(), &here("boot-2", Some(2))).unwrap());
    }

    #[test]
    fn a_speaker_that_has_left_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        set(dir.path(), &here("boot-1", Some(1))).unwrap();
        clear(dir.path()).unwrap();
        clear(dir.path()).unwrap();
        assert!(!set(dir.path(), &here("boot-1", Some(1))).unwrap());
    }

    #[test]
    fn a_torn_mark_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("running"), "boo").unwrap();
        assert!(!set(dir.path(), &here("boot-1", None)).unwrap());
    }
}
