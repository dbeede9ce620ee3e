//! The log, what is asked of us by the environment, and which inodes are of the directory.

use crate::entry::{Header, Kind};
use crate::paths::Path;
use libc::{c_char, c_int};
use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

/// What the environment says.
pub struct Asked {
    pub dir: &'static [u8],
    log: Option<c_int>,
    fail: Option<(u64, c_int)>,
    without: &'static [u8],
    pub boot_id: Option<*const c_char>,
}

// SAFETY: the pointer is to the environment, which nobody changes.
unsafe impl Send for Asked {}
// SAFETY: the same.
unsafe impl Sync for Asked {}

static ASKED: OnceLock<Asked> = OnceLock::new();
/// Calls so far that may be made to fail.
static CALLS: AtomicU64 = AtomicU64::new(0);
static INODES: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];
static COUNT: AtomicUsize = AtomicUsize::new(0);

pub fn asked() -> &'static Asked {
    ASKED.get_or_init(|| Asked {
        dir: variable(c"DISKLOG_DIR").unwrap_or(b"/nowhere"),
        log: variable(c"DISKLOG_LOG").and_then(open),
        fail: variable(c"DISKLOG_FAIL").and_then(failure),
        without: variable(c"DISKLOG_WITHOUT").unwrap_or_default(),
        boot_id: variable(c"DISKLOG_BOOT_ID").map(|path| path.as_ptr().cast()),
    })
}

impl Asked {
    pub fn without(&self, guard: &[u8]) -> bool {
        self.without.split(|byte| *byte == b',').any(|word| word == guard)
    }
}

fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: the environment is not changed while this process lives.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: a value of the environment has a NUL.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes())
}

/// At a number that nobody else gets.
fn open(path: &'static [u8]) -> Option<c_int> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
    // SAFETY: plain system calls; the path is of the environment and has a NUL.
    let fd = unsafe {
        let low = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o644);
        let high = libc::syscall(libc::SYS_fcntl, low, libc::F_DUPFD_CLOEXEC, 900);
        libc::syscall(libc::SYS_close, low);
        high
    };
    c_int::try_from(fd).ok().filter(|fd| *fd >= 0)
}

fn failure(text: &[u8]) -> Option<(u64, c_int)> {
    let (n, errno) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some((n.parse().ok()?, errno.parse().ok()?))
}

/// The error that this call has to fail with, if it is its turn.
pub fn fault() -> Option<c_int> {
    let (n, errno) = asked().fail?;
    (CALLS.fetch_add(1, SeqCst) + 1 == n).then_some(errno)
}

pub fn note(kind: Kind, inode: u64, offset: u64, a: &[u8], b: &[u8]) {
    let Some(log) = asked().log else { return };
    let length = |piece: &[u8]| u32::try_from(piece.len()).unwrap_or(u32::MAX);
    let header = Header { kind, inode, offset, lengths: [length(a), length(b)] }.to_bytes();
    let piece = |bytes: &[u8]| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let pieces = [piece(&header), piece(a), piece(b)];
    // One call, so that entries of several threads do not mix.
    // SAFETY: the pieces live until the call returns.
    unsafe { libc::syscall(libc::SYS_writev, log, pieces.as_ptr(), pieces.len()) };
}

/// Files of the directory are known by their inodes, however they were opened or duplicated.
pub fn watch(inode: u64) {
    if !is_watched(inode)
        && let Some(place) = INODES.get(COUNT.fetch_add(1, SeqCst))
    {
        place.store(inode, SeqCst);
    }
}

pub fn is_watched(inode: u64) -> bool {
    let known = INODES.get(..COUNT.load(SeqCst)).unwrap_or(&INODES);
    known.iter().any(|one| one.load(SeqCst) == inode)
}

/// What fstat says of a descriptor: inode, length, and whether it is a directory.
pub fn stat(fd: c_int) -> Option<(u64, u64, bool)> {
    stat_at(fd, c"".as_ptr(), libc::AT_EMPTY_PATH)
}

pub fn exists(path: &Path) -> bool {
    stat_at(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW).is_some()
}

fn stat_at(fd: c_int, path: *const c_char, flags: c_int) -> Option<(u64, u64, bool)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the whole structure when it returns 0.
    let stat = unsafe {
        let done = libc::syscall(libc::SYS_newfstatat, fd, path, stat.as_mut_ptr(), flags);
        (done == 0).then(|| stat.assume_init())
    }?;
    let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    Some((stat.st_ino, u64::try_from(stat.st_size).unwrap_or(0), is_dir))
}
