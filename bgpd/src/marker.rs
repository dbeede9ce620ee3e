//! The mark that a speaker runs here, by which a crash is told from a first start.
//!
//! It is set when the speaker starts, not when it stops: a process that was killed could not have
//! set it. What it names is the boot and the network namespace, since the kernel's routes last as
//! long. A disk that takes no mark is no reason not to serve: sessions go on by the keeper.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How soon a disk that took no mark is asked again.
const AGAIN: Duration = Duration::from_secs(10);

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

/// The mark of this speaker.
#[derive(Debug)]
pub(crate) struct Marker {
    dir: PathBuf,
    here: String,
    was_running: bool,
    missing: Option<Missing>,
}

/// Why there is none, and when to try again.
#[derive(Debug)]
struct Missing {
    why: MarkerError,
    again: Instant,
}

impl Marker {
    /// Sets the mark in `dir`, where it is not set already.
    pub(crate) fn set(dir: &Path, here: &str, now: Instant) -> Self {
        let text = std::fs::read_to_string(path(dir));
        let was_running = text.is_ok_and(|text| text.trim() == here);
        let mut marker = Self { dir: dir.into(), here: here.into(), was_running, missing: None };
        if !was_running {
            marker.try_again(now);
        }
        marker
    }

    /// Whether an earlier speaker over the same kernel routes had set it.
    pub(crate) const fn was_running(&self) -> bool {
        self.was_running
    }

    /// What it means that there is none.
    pub(crate) fn warning(&self) -> Option<String> {
        let why = mainstay_daemon::chain(&self.missing.as_ref()?.why);
        Some(format!("{why}: until it can, a crash without the keeper may count as a first start"))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.missing.as_ref().map(|missing| missing.again)
    }

    /// Asks the disk again when that is due; true when it has just taken the mark.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now);
        if due {
            self.try_again(now);
        }
        due && self.missing.is_none()
    }

    fn try_again(&mut self, now: Instant) {
        let path = path(&self.dir);
        let failed = |source| MarkerError { path: path.clone(), source };
        let written = write(&self.dir, &path, &self.here).map_err(failed);
        self.missing = written.err().map(|why| Missing { why, again: now + AGAIN });
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("running")
}

/// Takes the mark away: the speaker has left, and who starts next is the first.
pub(crate) fn clear(dir: &Path) -> Result<(), MarkerError> {
    let path = path(dir);
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

    fn set(dir: &Path, here: &str) -> bool {
        let marker = Marker::set(dir, here, Instant::now());
        assert_eq!((marker.warning(), marker.deadline()), (None, None));
        marker.was_running()
    }

    #[test]
    fn only_a_speaker_of_the_same_boot_and_namespace_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!set(dir.path(), &here("boot-1", Some(1))));
        assert!(set(dir.path(), &here("boot-1", Some(1))));
        assert!(!set(dir.path(), &here("boot-1", Some(2))));
        assert!(!set(dir.path(), &here("boot-2", Some(2))));
    }

    #[test]
    fn a_speaker_that_has_left_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        set(dir.path(), &here("boot-1", Some(1)));
        clear(dir.path()).unwrap();
        clear(dir.path()).unwrap();
        assert!(!set(dir.path(), &here("boot-1", Some(1))));
    }

    #[test]
    fn a_torn_mark_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("running"), "boo").unwrap();
        assert!(!set(dir.path(), &here("boot-1", None)));
    }

    #[test]
    fn a_full_disk_is_told_of_and_asked_again_until_it_has_room() {
        let dir = tempfile::tempdir().unwrap();
        let (here, now) = (here("boot-1", None), Instant::now());
        // Whatever is written there meets a disk without room.
        let new = dir.path().join("running.new");
        std::os::unix::fs::symlink("/dev/full", &new).unwrap();
        let mut marker = Marker::set(dir.path(), &here, now);
        let warning = marker.warning().unwrap();
        assert!(warning.contains("No space left on device"), "{warning}");
        assert!(!marker.was_running());
        assert!(!marker.look(now), "too early");
        assert!(!marker.look(now + AGAIN), "still full");
        std::fs::remove_file(&new).unwrap();
        assert!(!marker.look(now + AGAIN), "too early again");
        assert!(marker.look(now + 2 * AGAIN));
        assert_eq!((marker.warning(), marker.deadline()), (None, None));
        // One that is set already needs no room.
        std::os::unix::fs::symlink("/dev/full", &new).unwrap();
        assert!(set(dir.path(), &here));
    }
}
