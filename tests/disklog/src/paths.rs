//! Paths as the calls have them, and which of them are watched. Nothing here allocates: a call may
//! come from anywhere.

use libc::{AT_FDCWD, c_char, c_int};
use std::ffi::CStr;

pub const MOST: usize = 1024;

/// An absolute path, with a NUL behind it.
pub struct Path {
    bytes: [u8; MOST],
    len: usize,
}

impl Path {
    const fn empty() -> Self {
        Self { bytes: [0; MOST], len: 0 }
    }

    fn push(&mut self, more: &[u8]) -> Option<()> {
        // One for the NUL.
        let place = self.bytes.get_mut(self.len..self.len + more.len() + 1)?;
        place.get_mut(..more.len())?.copy_from_slice(more);
        self.len += more.len();
        self.bytes[self.len] = 0;
        Some(())
    }

    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut path = Self::empty();
        path.push(bytes)?;
        Some(path)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    /// What `path` means relative to `dir`; `None` for one that is too long or odd.
    pub fn resolve(dir: c_int, path: *const c_char) -> Option<Self> {
        if path.is_null() {
            return None;
        }
        // SAFETY: the caller of an open, rename, … hands over a string with a NUL.
        let given = unsafe { CStr::from_ptr(path) }.to_bytes();
        if given.first() == Some(&b'/') {
            return Self::of(given);
        }
        let mut whole = if dir == AT_FDCWD { return None } else { Self::of_descriptor(dir)? };
        whole.push(b"/")?;
        whole.push(given)?;
        Some(whole)
    }

    /// Where an open descriptor's file is.
    pub fn of_descriptor(fd: c_int) -> Option<Self> {
        let mut name = [0u8; 32];
        let link = number(b"/proc/self/fd/", fd, &mut name)?;
        let mut path = Self::empty();
        // SAFETY: the kernel writes at most the given length.
        let len =
            unsafe { libc::syscall(libc::SYS_readlink, link, path.bytes.as_mut_ptr(), MOST - 1) };
        path.len = usize::try_from(len).ok()?;
        Some(path)
    }

    /// Whether it is `dir` or inside.
    pub fn is_in(&self, dir: &[u8]) -> bool {
        let rest = self.bytes().strip_prefix(dir);
        rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
    }

    /// With the first `from` in it replaced.
    pub fn replaced(&self, from: &[u8], to: &[u8]) -> Option<Self> {
        let at = self.bytes().windows(from.len()).position(|part| part == from)?;
        let mut path = Self::of(&self.bytes()[..at])?;
        path.push(to)?;
        path.push(&self.bytes()[at + from.len()..])?;
        Some(path)
    }
}

/// `prefix` and a number, as a string with a NUL.
fn number(prefix: &[u8], n: c_int, out: &mut [u8; 32]) -> Option<*const c_char> {
    let mut digits = [0u8; 10];
    let (mut rest, mut count) = (u32::try_from(n).ok()?, 0);
    loop {
        digits[count] = b'0' + u8::try_from(rest % 10).ok()?;
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    out[..prefix.len()].copy_from_slice(prefix);
    for (place, digit) in out[prefix.len()..].iter_mut().zip(digits[..count].iter().rev()) {
        *place = *digit;
    }
    Some(out.as_ptr().cast())
}
