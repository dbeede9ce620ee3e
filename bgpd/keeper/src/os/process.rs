//! The process at the other end of a unix socket, held so that its pid cannot become another's.

#![allow(unsafe_code)]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// linux/socket.h, since Linux 6.5.
const SO_PEERPIDFD: libc::c_int = 77;

#[derive(Debug)]
pub struct Peer {
    pub pid: Pid,
    pub pidfd: OwnedFd,
}

/// Who connected, if it is of our own user.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let cred = socket_peercred(socket)?;
    if cred.uid != rustix::process::geteuid() {
        let why = format!("user {} is not this keeper's", cred.uid.as_raw());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let pidfd = match peer_pidfd(socket) {
        Err(e) if e.raw_os_error() == Some(Errno::NOPROTOOPT.raw_os_error()) => {
            pidfd_open(cred.pid, PidfdFlags::empty())?
        }
        other => other?,
    };
    Ok(Peer { pid: cred.pid, pidfd })
}

/// Whether the process has ended: none of its threads runs any more.
#[must_use]
pub fn exited(pidfd: impl AsFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok_and(|n| n > 0)
}

pub fn kill(pidfd: impl AsFd) -> io::Result<()> {
    Ok(pidfd_send_signal(pidfd, Signal::KILL)?)
}

fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the kernel writes one int.
    let done = unsafe {
        let (level, at) = (libc::SOL_SOCKET, (&raw mut fd).cast());
        libc::getsockopt(socket.as_raw_fd(), level, SO_PEERPIDFD, at, &raw mut len)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that the call has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// By `/proc/self/fdinfo`; `None` when it has ended or is of another pid namespace.
#[must_use]
pub fn pid_of(pidfd: &OwnedFd) -> Option<Pid> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|l| l.strip_prefix("Pid:"))?;
    line.trim().parse().ok().and_then(Pid::from_raw)
}
