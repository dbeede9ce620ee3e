//! The service manager's file descriptor store: what lies there outlives this process.
//!
//! A session is stored when it is held, not when we stop, so that a crash of the keeper is
//! survived as an upgrade is. Beside the sessions lies a pidfd of the speaker: the next keeper
//! must know whether the one who may write still lives. `FDPOLL=0`: we say ourselves when a
//! descriptor has had its day.

#![allow(unsafe_code)]

use crate::keeper::SessionId;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg_addr, socket_with,
};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// The first descriptor that a service manager passes.
const FIRST: RawFd = 3;

#[derive(Debug, Default)]
pub(super) struct Store {
    manager: Option<(OwnedFd, SocketAddrUnix)>,
    /// What the manager's socket had no room for yet.
    queue: VecDeque<(String, Option<OwnedFd>)>,
}

/// A name in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Socket(SessionId),
    Memory(SessionId),
    Speaker { generation: u64 },
    State,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(id) => write!(f, "socket-{id}"),
            Self::Memory(id) => write!(f, "memory-{id}"),
            Self::Speaker { generation } => write!(f, "speaker-{generation}"),
            Self::State => f.write_str("state-0"),
        }
    }
}

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, number) = text.split_once('-')?;
        let number = number.parse().ok()?;
        match kind {
            "socket" => Some(Self::Socket(SessionId(number))),
            "memory" => Some(Self::Memory(SessionId(number))),
            "speaker" => Some(Self::Speaker { generation: number }),
            "state" => Some(Self::State),
            _ => None,
        }
    }
}

impl Store {
    /// Talks to `$NOTIFY_SOCKET`, if there is one.
    pub(super) fn open() -> io::Result<Self> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(Self::default()) };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { manager: Some((socket, address(&path)?)), queue: VecDeque::new() })
    }

    pub(super) const fn exists(&self) -> bool {
        self.manager.is_some()
    }

    pub(super) fn ready(&mut self) {
        self.say("READY=1".into(), None);
    }

    /// For its watchdog; not behind what waits for room. One that is lost is followed by others.
    pub(super) fn alive(&self) {
        if let Some((socket, address)) = &self.manager {
            let _ = send(socket, address, "WATCHDOG=1", None);
        }
    }

    pub(super) fn add(&mut self, name: Name, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.exists() {
            let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
            self.say(text, Some(fd.try_clone_to_owned()?));
        }
        Ok(())
    }

    /// Without this the peer would never see an end of stream.
    pub(super) fn remove(&mut self, name: Name) {
        self.say(format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
    }

    /// Whether something still waits for room.
    pub(super) fn flush(&mut self) -> bool {
        let Some((socket, address)) = &self.manager else { return false };
        while let Some((text, fd)) = self.queue.front() {
            match send(socket, address, text, fd.as_ref()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) => super::log::warn(&format!("the service manager does not listen: {e}")),
                Ok(()) => {}
            }
            self.queue.pop_front();
        }
        false
    }

    fn say(&mut self, text: String, fd: Option<OwnedFd>) {
        if self.exists() {
            self.queue.push_back((text, fd));
            self.flush();
        }
    }
}

fn send(socket: &OwnedFd, to: &SocketAddrUnix, text: &str, fd: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd.as_fd()]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg_addr(socket, to, &[IoSlice::new(text.as_bytes())], &mut control, flags)?;
    Ok(())
}

fn address(path: &OsStr) -> io::Result<SocketAddrUnix> {
    Ok(match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(path)?,
    })
}

/// What the service manager passes from its store, with the names we gave. Called once, first
/// thing, before this process has opened anything.
pub(super) fn passed() -> Vec<(Name, OwnedFd)> {
    let number = |key| std::env::var(key).ok().and_then(|v| v.parse::<u32>().ok());
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let count = match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => count.min(100_000),
        _ => return Vec::new(),
    };
    let fds = (FIRST..).take(count as usize).filter_map(adopt);
    fds.zip(names.split(':').map(Name::parse)).filter_map(|(fd, name)| Some((name?, fd))).collect()
}

fn adopt(n: RawFd) -> Option<OwnedFd> {
    // SAFETY: only looked at; that it may not be open is what this call finds out.
    let seen = unsafe { BorrowedFd::borrow_raw(n) };
    rustix::io::fcntl_setfd(seen, rustix::io::FdFlags::CLOEXEC).ok()?;
    // SAFETY: open, and passed for us to own; nothing else in this process knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(n) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let all = [
            Name::Socket(SessionId(7)),
            Name::Memory(SessionId(u64::MAX)),
            Name::Speaker { generation: 3 },
            Name::State,
        ];
        for name in all {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for strange in ["stored", "socket-", "socket-x", "other-1", ""] {
            assert_eq!(Name::parse(strange), None);
        }
    }
}
