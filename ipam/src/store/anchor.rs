//! How many commits the store has at least, kept beside it.
//!
//! sled takes the first damaged place of its log for the end of it: bit rot, a truncated or an old
//! copy open without a word, with fewer leases. Every commit is numbered in the store; the number
//! is also written to a file of its own now and then, and a store that is behind it is refused.

use super::StoreError;
use super::on_sled::{io, sync};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was committed within this time before a crash is not guarded.
const PERIOD: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Anchor {
    path: PathBuf,
    written: Instant,
}

impl Anchor {
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.join("leases.commits"), written: Instant::now() }
    }

    /// Without the file nothing is known: it may just not have been written yet.
    pub(super) fn read(&self) -> Result<u64, StoreError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => text.trim().parse().map_err(|e| {
                io("read", &self.path, std::io::Error::other(format!("{text:?}: {e}")))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(io("read", &self.path, error)),
        }
    }

    pub(super) fn write_now_and_then(&mut self, commits: u64) -> Result<(), StoreError> {
        if self.written.elapsed() < PERIOD { Ok(()) } else { self.write(commits) }
    }

    /// `commits` have to be durable.
    pub(super) fn write(&mut self, commits: u64) -> Result<(), StoreError> {
        let new = self.path.with_extension("new");
        fs::write(&new, format!("{commits}\n")).map_err(|e| io("write", &new, e))?;
        sync(&new)?;
        fs::rename(&new, &self.path).map_err(|e| io("rename", &new, e))?;
        self.written = Instant::now();
        Ok(())
    }
}
