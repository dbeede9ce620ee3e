//! One daemon a directory, and its unix sockets.

use crate::args::make_dir;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};

/// After an accept that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Held as long as the daemon lives; the kernel lets go of it however the daemon dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another {daemon} is running here (pid {pid}, lock {path}); stop it first, or give this one its own --run-dir and --state-dir", path = path.display())]
    Taken { daemon: String, pid: String, path: PathBuf },
    #[error("cannot lock {path}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Debug, thiserror::Error)]
#[error("cannot serve on {path}", path = path.display())]
pub struct BindError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl Lock {
    /// Takes `<dir>/<daemon>.lock`, or says who has it. The directory is made if need be.
    pub fn take(dir: &Path, daemon: &str) -> Result<Self, LockError> {
        let path = dir.join(format!("{daemon}.lock"));
        lock(dir, &path, daemon).map_err(|source| LockError::Io { path, source })?
    }
}

fn lock(dir: &Path, path: &Path, daemon: &str) -> io::Result<Result<Lock, LockError>> {
    make_dir(dir)?;
    let mut options = OpenOptions::new();
    // The pid in it is another's until the lock is ours: no truncation here.
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    let mut file = match options.open(path) {
        // A file system gone read-only after a fault: the lock of a file needs no room.
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path)?,
        other => other?,
    };
    if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
        let mut pid = String::new();
        Read::by_ref(&mut file).take(32).read_to_string(&mut pid)?;
        let pid = pid.trim().to_owned();
        return Ok(Err(LockError::Taken { daemon: daemon.into(), pid, path: path.into() }));
    }
    // For people; a full disk has no room for it.
    let _ = sign(&mut file);
    Ok(Ok(Lock { _file: file }))
}

/// Who connects. Out of descriptors, whoever comes waits in the backlog, and we do not try again
/// without a pause: a listener that cannot be served stays ready.
pub fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener).then(async |accepted| {
        if accepted.is_err() {
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
        accepted
    })
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Listens on a unix socket that only root may use. A socket file left by a daemon that died is
/// replaced: the caller holds the [`Lock`] of its directory, so nobody serves on it.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let listen = || {
        if let Some(dir) = path.parent() {
            make_dir(dir)?;
        }
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // Never open to others, not even for the moment between two calls.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        listener
    };
    listen().map_err(|source| BindError { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_daemon_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path(), "bgpd").unwrap();
        let error = Lock::take(dir.path(), "bgpd").unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        Lock::take(dir.path(), "ipamd").unwrap();
        drop(first);
        Lock::take(dir.path(), "bgpd").unwrap();
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/x.sock");
        drop(bind(&path).unwrap());
        assert!(path.exists());
        bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
