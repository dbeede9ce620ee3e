//! Files of other allocators on this machine, read with bounds and written so that a crash leaves
//! the old or the new.

use super::formats::host_local::{self, File};
use super::formats::{Entry, cache};
use rustix::fs::{FlockOperation, flock};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Files of one directory.
const MOST_FILES: usize = 70_000;
/// Of one file: host-local's have some 80 bytes, libcni's some 10 KiB.
const LARGEST: u64 = 4 << 20;
/// A kubectl list of a large cluster's blocks.
const LARGEST_LIST: u64 = 256 << 20;

fn fault(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| fault("read", path, &error))?;
    if bytes.len() as u64 > most {
        return Err(format!("{} is larger than {} MiB", path.display(), most >> 20));
    }
    Ok(bytes)
}

pub(super) fn read_list(path: &Path) -> Result<String, String> {
    let bytes = read(path, LARGEST_LIST)?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not text", path.display()))
}

/// Every plain file of a directory; those that go while we look are gone.
pub(super) fn directory(dir: &Path) -> Result<Vec<File>, String> {
    let entries = fs::read_dir(dir).map_err(|error| fault("read", dir, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| fault("read", dir, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        // The locks of host-local and the like: nothing is in them.
        if !plain || name == "lock" {
            continue;
        }
        match read(&entry.path(), LARGEST) {
            Ok(text) => files.push((name, text)),
            Err(_) if !entry.path().exists() => {}
            Err(error) => return Err(error),
        }
        if files.len() > MOST_FILES {
            return Err(format!("{} has more than {MOST_FILES} files", dir.display()));
        }
    }
    files.sort();
    Ok(files)
}

/// What libcni remembers; nothing, if there is no such directory. What cannot be read is told.
pub(super) fn read_cache(dir: &Path) -> Result<(Vec<Entry>, Vec<String>), String> {
    if !dir.exists() {
        return Ok(Default::default());
    }
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for (name, text) in directory(dir)? {
        match cache::read(&name, &text) {
            Ok(mut read) => entries.append(&mut read),
            Err(why) => bad.push(why),
        }
    }
    Ok((entries, bad))
}

/// host-local's directory, which no host-local reads or writes while this lives.
pub(super) struct Locked {
    dir: PathBuf,
    _lock: fs::File,
}

impl Locked {
    /// As host-local takes it; waits for one that is at work.
    pub(super) fn take(dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| fault("make", dir, &error))?;
        let mut options = fs::OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let path = dir.join("lock");
        let lock = lock.open(&path).map_err(|error| fault("open", &path, &error))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| fault("lock", &path, &error.into()))?;
        Ok(Self { dir: dir.into(), _lock: lock })
    }

    pub(super) fn files(&self) -> Result<Vec<File>, String> {
        directory(&self.dir)
    }

    /// Keeps these addresses from host-local; who has one keeps it.
    pub(super) fn fence(&self, addresses: impl Iterator<Item = IpAddr>) -> Result<usize, String> {
        let text = host_local::content(host_local::FENCE, "fence");
        let mut count = 0;
        for address in addresses {
            let path = self.dir.join(address.to_string());
            let mut options = fs::OpenOptions::new();
            let created = options.write(true).create_new(true).mode(0o600).open(&path);
            match created.and_then(|mut file| file.write_all(text.as_bytes())) {
                Ok(()) => count += 1,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fault("write", &path, &error)),
            }
        }
        Ok(count)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), String> {
        let path = self.dir.join(name);
        fs::remove_file(&path).map_err(|error| fault("remove", &path, &error))
    }

    /// Gives host-local its addresses back.
    pub(super) fn unfence(&self) -> Result<(), String> {
        for (name, text) in self.files()? {
            if host_local::is_fence(&text) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// These are somebody's. A file that names somebody else is told, and nothing is written.
    pub(super) fn give(&self, files: &[(String, String)]) -> Result<(), String> {
        let there = self.files()?;
        let (addresses, others): (Vec<_>, Vec<_>) =
            files.iter().partition(|(name, _)| name.parse::<IpAddr>().is_ok());
        for (name, text) in &addresses {
            let Some((_, old)) = there.iter().find(|(there, _)| there == name) else { continue };
            if !host_local::is_fence(old) && old.trim_ascii() != text.trim().as_bytes() {
                let path = self.dir.join(name);
                return Err(format!("{} names another container", path.display()));
            }
        }
        for (name, text) in addresses.into_iter().chain(others) {
            replace(&self.dir.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

/// The file has this in it, or what it had before, whatever happens; its mode stays.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // No runtime takes a file for a conflist that begins with a dot and ends so.
    let fresh = path.with_file_name(format!(".{name}.new"));
    let write = || {
        let mut file = fs::File::create(&fresh)?;
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        let dir = path.parent().unwrap_or_else(|| Path::new("."));
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(|error| fault("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_takes_what_is_free_and_goes_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10.0.0.2"), "c1\r\neth0").unwrap();
        let locked = Locked::take(dir.path()).unwrap();
        let all = || (2..6).map(|n| IpAddr::from([10, 0, 0, n]));
        assert_eq!(locked.fence(all()), Ok(3));
        assert_eq!(locked.fence(all()), Ok(0), "it stands");
        assert_eq!(locked.files().unwrap().len(), 4);
        let of = |name: &str, text: &str| [(name.to_owned(), text.to_owned())];
        locked.give(&of("10.0.0.3", "c2\r\neth0")).unwrap();
        let error = locked.give(&of("10.0.0.2", "c9\r\neth0")).unwrap_err();
        assert!(error.ends_with("10.0.0.2 names another container"), "{error}");
        locked.unfence().unwrap();
        let left: Vec<_> = locked.files().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["10.0.0.2", "10.0.0.3"]);
    }

    #[test]
    fn a_file_that_is_too_large_or_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(read(&path, 10).unwrap_err().starts_with("cannot read "));
        fs::write(&path, "0123456789a").unwrap();
        assert!(read(&path, 10).unwrap_err().contains("is larger than"));
        assert_eq!(read_cache(&dir.path().join("none")), Ok(Default::default()));
    }
}
