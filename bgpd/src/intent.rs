//! What this node is meant for, over restarts and reboots: to serve, or to be drained.
//!
//! An operator's drain stays until it is taken back. One for a shutdown ends with the boot it was
//! for, or the network namespace where the node is a container: a node that comes up again is wanted.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// On whose word a node is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Operator,
    Shutdown,
}

/// As it stands on disk.
#[derive(Debug)]
pub(crate) struct Intent {
    dir: PathBuf,
    here: String,
    drained: Option<For>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot keep the intent in {dir}", dir = dir.display())]
pub(crate) struct IntentError {
    dir: PathBuf,
    source: io::Error,
}

impl Intent {
    /// `here` is what [`crate::marker::here`] says. Text that is none of ours counts as nothing said.
    pub(crate) fn read(dir: &Path, here: &str) -> Result<Self, IntentError> {
        let failed = |source| IntentError { dir: dir.into(), source };
        let bytes = match std::fs::read(path(dir)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.map_err(failed)?,
        };
        let drained = match String::from_utf8_lossy(&bytes).trim().split_once(' ') {
            Some(("drained", "operator")) => Some(For::Operator),
            Some(("drained", there)) if there == here => Some(For::Shutdown),
            _ => None,
        };
        Ok(Self { dir: dir.into(), here: here.into(), drained })
    }

    pub(crate) const fn drained(&self) -> Option<For> {
        self.drained
    }

    /// A shutdown takes nothing away from an operator's word.
    pub(crate) fn drain(&mut self, on: For) -> Result<(), IntentError> {
        match self.drained {
            Some(For::Operator) => Ok(()),
            _ => self.keep(Some(on)),
        }
    }

    /// Takes back a drain that this one may take back; whether the node serves.
    pub(crate) fn undrain(&mut self, by: For) -> Result<bool, IntentError> {
        if by == For::Operator || self.drained == Some(For::Shutdown) {
            self.keep(None)?;
        }
        Ok(self.drained.is_none())
    }

    fn keep(&mut self, drained: Option<For>) -> Result<(), IntentError> {
        let kept = match drained {
            None => remove(&self.dir),
            Some(For::Operator) => write(&self.dir, "drained operator"),
            Some(For::Shutdown) => write(&self.dir, &format!("drained {}", self.here)),
        };
        kept.map_err(|source| IntentError { dir: self.dir.clone(), source })?;
        self.drained = drained;
        Ok(())
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("intent")
}

/// Whole and on disk, or as it was.
fn write(dir: &Path, text: &str) -> io::Result<()> {
    let new = path(dir).with_extension("new");
    let mut file = File::create(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&new, path(dir))?;
    File::open(dir)?.sync_all()
}

fn remove(dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(path(dir)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => File::open(dir)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, boot: &str) -> Option<For> {
        Intent::read(dir, boot).unwrap().drained()
    }

    #[test]
    fn an_operator_s_drain_outlives_the_reboot_and_a_shutdown_s_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut intent = Intent::read(dir.path(), "boot-1").unwrap();
        assert_eq!(intent.drained(), None);
        intent.drain(For::Shutdown).unwrap();
        assert_eq!(read(dir.path(), "boot-1"), Some(For::Shutdown));
        assert_eq!(read(dir.path(), "boot-2"), None);
        intent.drain(For::Operator).unwrap();
        assert_eq!(read(dir.path(), "boot-2"), Some(For::Operator));
        intent.drain(For::Shutdown).unwrap();
        assert_eq!(read(dir.path(), "boot-2"), Some(For::Operator));
    }

    #[test]
    fn a_shutdown_that_is_called_off_takes_back_its_own_drain_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut intent = Intent::read(dir.path(), "boot-1").unwrap();
        intent.drain(For::Shutdown).unwrap();
        assert!(intent.undrain(For::Shutdown).unwrap());
        assert_eq!(read(dir.path(), "boot-1"), None);
        intent.drain(For::Operator).unwrap();
        assert!(!intent.undrain(For::Shutdown).unwrap());
        assert_eq!(read(dir.path(), "boot-1"), Some(For::Operator));
        assert!(intent.undrain(For::Operator).unwrap());
        assert_eq!(read(dir.path(), "boot-1"), None);
        assert!(intent.undrain(For::Operator).unwrap());
    }

    #[test]
    fn strange_text_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let strange: [&[u8]; 6] =
            [b"", b"drained", b"drained ", b"drain operator", b"\0", b"drained \xff\xfe"];
        for text in strange {
            std::fs::write(dir.path().join("intent"), text).unwrap();
            assert_eq!(read(dir.path(), "boot-1"), None, "{text:?}");
        }
    }
}
