//! The signals to stop, as something to poll.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// From here on SIGTERM, SIGINT and SIGHUP are read from the descriptor. So is SIGXFSZ: a write past
/// RLIMIT_FSIZE fails, and ends nobody.
pub(super) fn open() -> io::Result<OwnedFd> {
    // SAFETY: a plain set of bits; zeroes are a valid one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGXFSZ] {
        // SAFETY: the set is ours, the signal exists.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: called before any other thread exists; both calls read the set.
    let fd = unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made by the call above for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether one of those read means to stop.
pub(super) fn stop_wanted(fd: &OwnedFd) -> bool {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    let mut stop = false;
    while rustix::io::read(fd, &mut info).is_ok_and(|n| n == info.len()) {
        // `ssi_signo` is its first field.
        let signal = info.first_chunk().map_or(0, |b| u32::from_ne_bytes(*b));
        stop |= matches!(i32::try_from(signal), Ok(libc::SIGTERM | libc::SIGINT));
    }
    stop
}
