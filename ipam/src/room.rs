//! Room on the disk for the day it is full. sled cannot open then, and what cannot be written cannot
//! be released either: a file of some megabytes is kept for that, and given back when the disk is
//! full. With it gone the daemon goes on, lets leases go, and hands out none, until there is room.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Opening the leases of a /16 takes less than one of them.
const RESERVE: u64 = 4 << 20;
/// With less than this left the disk counts as full at a start: what opens may not commit.
const SCARCE: u64 = 1 << 20;
/// So much has to be free before the reserve is made, so that making it fills no disk.
const ENOUGH: u64 = 2 * RESERVE;

#[derive(Debug)]
pub(crate) struct Room {
    dir: PathBuf,
    reserve: PathBuf,
    short: AtomicBool,
}

impl Room {
    /// Of the disk under `dir`. A reserve that is needed now is given back at once.
    pub(crate) fn new(dir: &Path) -> Self {
        let room =
            Self { dir: dir.into(), reserve: dir.join("reserve"), short: AtomicBool::new(false) };
        if room.available().is_some_and(|bytes| bytes < SCARCE) {
            room.give_back();
        }
        room
    }

    /// The disk is full, or may be: from here on there is a little room, if there was a reserve.
    pub(crate) fn give_back(&self) -> bool {
        let given = fs::remove_file(&self.reserve).is_ok();
        if given {
            let _ = File::open(&self.dir).and_then(|dir| dir.sync_all());
        }
        given
    }

    /// Sees to it that there is a reserve. Called once the store is open, and while there is none.
    pub(crate) fn provide(&self) {
        let was_short = self.is_short();
        let provided = self.is_whole() || self.make();
        self.short.store(!provided, Relaxed);
        match (was_short, provided) {
            (false, false) => tracing::error!("{}", self.describe()),
            (true, true) => tracing::info!("the disk has room again; addresses are handed out"),
            _ => {}
        }
    }

    /// Whether no new lease is to be promised.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Relaxed)
    }

    /// For people, while it is short.
    pub(crate) fn warning(&self) -> Option<String> {
        self.is_short().then(|| self.describe())
    }

    fn describe(&self) -> String {
        format!(
            "the disk under {} is full: leases are kept and released, and none is handed out until \
             {} MiB are free",
            self.dir.display(),
            ENOUGH >> 20
        )
    }

    fn is_whole(&self) -> bool {
        fs::metadata(&self.reserve).is_ok_and(|meta| meta.len() == RESERVE)
    }

    fn make(&self) -> bool {
        if self.available().is_some_and(|bytes| bytes < ENOUGH) {
            return false;
        }
        let made = write_reserve(&self.reserve);
        if let Err(error) = &made {
            tracing::debug!(%error, "cannot make {}", self.reserve.display());
            let _ = fs::remove_file(&self.reserve);
        }
        made.is_ok()
    }

    /// Unknown where the file system does not tell.
    fn available(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Bytes that no file system can compress into nothing.
fn write_reserve(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    });
    let bytes: Vec<u8> = words.take(1 << 13).flatten().collect();
    for _ in 0..RESERVE / bytes.len() as u64 {
        file.write_all(&bytes)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_made_once_and_can_be_given_back_once() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(dir.path());
        room.provide();
        assert!(!room.is_short() && room.is_whole());
        assert!(room.give_back());
        assert!(!room.give_back());
        room.provide();
        assert!(room.is_whole());
    }

    #[test]
    fn half_a_reserve_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("reserve"), b"half").unwrap();
        let room = Room::new(dir.path());
        assert!(!room.is_whole());
        room.provide();
        assert!(room.is_whole());
    }
}
