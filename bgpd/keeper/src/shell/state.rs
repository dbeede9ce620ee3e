//! [`crate::state`] in a memory file that the service manager keeps.

use super::log;
use crate::os::memory;
use crate::shell::store::{Name, Store};
use crate::state::{self, SLOT, State, StateError};
use rustix::fs::ftruncate;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

#[derive(Debug, Default)]
pub(super) struct StateFile {
    file: Option<OwnedFd>,
    serial: u64,
    last: Option<State>,
}

impl StateFile {
    /// The earlier keeper's, if there was one; it is written on.
    pub(super) fn open(passed: &[(Name, OwnedFd)]) -> (Self, Option<State>) {
        let Some((_, fd)) = passed.iter().find(|(name, _)| *name == Name::State) else {
            return (Self::default(), None);
        };
        let read = read(fd).and_then(|slots| {
            let found = state::newest([&slots[0], &slots[1]]);
            found.map_err(|e: StateError| io::Error::other(e.to_string()))
        });
        let found = read.and_then(|found| Ok((fd.try_clone()?, found)));
        match found {
            Ok((file, (state, serial))) => {
                (Self { file: Some(file), serial, last: Some(state.clone()) }, Some(state))
            }
            Err(e) => {
                log::warn(&format!("the earlier keeper's state is not used: {e}"));
                (Self::default(), None)
            }
        }
    }

    /// Only what is new.
    pub(super) fn write(&mut self, state: &State, store: &mut Store) -> io::Result<()> {
        if !store.exists() || self.last.as_ref() == Some(state) {
            return Ok(());
        }
        let fresh = self.file.is_none();
        let file = match self.file.take() {
            Some(file) => file,
            None => create()?,
        };
        let file = self.file.insert(file);
        let serial = self.serial + 1;
        let at = (serial % 2) * SLOT as u64;
        let bytes = state::encode(state, serial);
        if bytes.len() > SLOT {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = rustix::io::pwrite(&*file, &bytes, at)?;
        if written != bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.serial = serial;
        self.last = Some(state.clone());
        if fresh {
            // Whatever lay there is not understood.
            store.remove(Name::State);
            store.add(Name::State, file.as_fd())?;
        }
        Ok(())
    }
}

fn create() -> io::Result<OwnedFd> {
    let fd = memory::file("mainstay-keeper-state")?;
    ftruncate(&fd, 2 * SLOT as u64)?;
    Ok(fd)
}

fn read(fd: &OwnedFd) -> io::Result<[Vec<u8>; 2]> {
    let slot = |at: u64| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; SLOT];
        let n = rustix::io::pread(fd, &mut bytes, at)?;
        bytes.truncate(n);
        Ok(bytes)
    };
    Ok([slot(0)?, slot(SLOT as u64)?])
}
