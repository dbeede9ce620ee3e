//! A way on from a store that cannot be read: it is moved away, never overwritten. What its
//! addresses were used for is not known then, so that whoever starts next lets all of them cool.

use super::on_sled::{io, sync};
use super::{SledStore, Store, StoreError};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const PREFIX: &str = "leases.bad-";

/// Where it was moved, or why it was not: one that can be read is not.
pub(crate) fn set_aside(dir: &Path) -> Result<Option<PathBuf>, StoreError> {
    let store = dir.join("leases");
    let commits = dir.join("leases.commits");
    let is_there = |path: &Path| path.try_exists().map_err(|e| io("look for", path, e));
    if !is_there(&store)? && !is_there(&commits)? {
        return Ok(None);
    }
    match SledStore::open(dir).and_then(|store| store.load()) {
        Ok(_) => return Ok(None),
        Err(StoreError::Unreadable { .. } | StoreError::Format { .. }) => {}
        Err(error) => return Err(error),
    }
    let aside = free_name(dir)?;
    // In this order: a commit number without its store is refused, as the store was.
    rename(&store, &aside)?;
    rename(&commits, &commits_of(&aside))?;
    sync(dir)?;
    Ok(Some(aside))
}

/// Whether a store was set aside here once.
pub(super) fn was_set_aside(dir: &Path) -> Result<bool, StoreError> {
    let entries = fs::read_dir(dir).map_err(|e| io("list", dir, e))?;
    for entry in entries {
        let name = entry.map_err(|e| io("list", dir, e))?.file_name();
        // By hand it gets other names.
        if name.to_string_lossy().starts_with(PREFIX.trim_end_matches('-')) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn free_name(dir: &Path) -> Result<PathBuf, StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut seconds = now.as_secs();
    loop {
        let path = dir.join(format!("{PREFIX}{seconds}"));
        if !path.try_exists().map_err(|e| io("look for", &path, e))? {
            return Ok(path);
        }
        seconds += 1;
    }
}

fn commits_of(aside: &Path) -> PathBuf {
    let mut name = aside.as_os_str().to_owned();
    name.push(".commits");
    name.into()
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("move", from, e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipam_core::Record;

    fn used(dir: &Path) {
        let mut store = SledStore::open(dir).unwrap();
        store.commit(&[Record::Forget([10, 0, 0, 9].into())]).unwrap();
    }

    #[test]
    fn a_store_that_can_be_read_is_not_moved() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(set_aside(dir.path()).unwrap(), None);
        used(dir.path());
        assert_eq!(set_aside(dir.path()).unwrap(), None);
        assert!(!SledStore::open(dir.path()).unwrap().load().unwrap().set_aside);
    }

    #[test]
    fn a_bad_store_is_moved_whole_and_the_next_one_knows_of_it() {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path());
        let bad = b"no log at all".repeat(1000);
        fs::write(dir.path().join("leases/db"), &bad).unwrap();
        let aside = set_aside(dir.path()).unwrap().unwrap();
        assert_eq!(fs::read(aside.join("db")).unwrap(), bad);
        assert!(commits_of(&aside).exists());
        let kept = SledStore::open(dir.path()).unwrap().load().unwrap();
        assert!(kept.set_aside && kept.slots.is_empty());
        used(dir.path());
        fs::remove_dir_all(dir.path().join("leases")).unwrap();
        assert_ne!(set_aside(dir.path()).unwrap().unwrap(), aside, "the first one stays");
    }

    #[test]
    fn a_move_that_was_cut_off_is_refused_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path());
        fs::rename(dir.path().join("leases"), dir.path().join("leases.bad-1")).unwrap();
        assert!(SledStore::open(dir.path()).is_err());
        assert!(set_aside(dir.path()).unwrap().is_some());
        assert!(SledStore::open(dir.path()).unwrap().load().unwrap().set_aside);
    }
}
