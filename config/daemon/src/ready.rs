//! Saying "I serve": to systemd, and to whoever passed `--ready-fd`.

use rustix::io::{FdFlags, fcntl_setfd};
use sd_notify::NotifyState;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};

/// Tells once that the daemon serves; dropped without it, nothing is told.
#[derive(Debug)]
pub struct Ready {
    fd: Option<File>,
}

impl Ready {
    /// Takes over `fd`: call it first thing in `main`. Fails when it is not an open descriptor
    /// above stderr.
    pub fn new(fd: Option<RawFd>) -> io::Result<Self> {
        let fd = fd.map(adopt).transpose()?;
        Ok(Self { fd })
    }

    pub fn notify(self) {
        // Neither listener being there is the normal case outside systemd and tests.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        if let Some(mut fd) = self.fd {
            let _ = fd.write_all(b"ready\n");
        }
    }
}

/// Takes over the descriptor with that number, so that its other end sees it close.
#[allow(unsafe_code)]
fn adopt(n: RawFd) -> io::Result<File> {
    let bad =
        |why: String| io::Error::new(io::ErrorKind::InvalidInput, format!("--ready-fd {n}: {why}"));
    if n <= 2 {
        return Err(bad("must be above 2".into()));
    }
    // SAFETY: only looked at; that it may not be open is what this call finds out.
    let seen = unsafe { BorrowedFd::borrow_raw(n) };
    fcntl_setfd(seen, FdFlags::CLOEXEC).map_err(|e| bad(e.to_string()))?;
    // SAFETY: it is open, and whoever started us passed it for us to own. Called once, before
    // this process has opened anything that could have got the number.
    Ok(unsafe { File::from_raw_fd(n) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::IntoRawFd;

    #[test]
    fn whoever_waits_on_the_descriptor_reads_ready() {
        let (mut read, write) = io::pipe().unwrap();
        Ready::new(Some(write.into_raw_fd())).unwrap().notify();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ready\n");
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_refused() {
        assert!(Ready::new(Some(1)).is_err());
        assert!(Ready::new(Some(9999)).unwrap_err().to_string().contains("--ready-fd 9999"));
    }
}
