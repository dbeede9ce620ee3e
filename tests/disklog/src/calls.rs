//! The calls in libc's place. Each makes its system call itself.

use crate::entry::Kind;
use crate::paths::Path;
use crate::record::{asked, exists, fault, is_watched, note, stat, watch};
use libc::{
    AT_FDCWD, c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off64_t, size_t, ssize_t,
};
use std::slice;

fn answer(result: c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

fn refuse(errno: c_int) -> c_int {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// The path, if it is in the directory.
fn watched(dir: c_int, path: *const c_char) -> Option<Path> {
    let path = Path::resolve(dir, path).filter(|path| path.is_in(asked().dir))?;
    // Without that guard a new store is made in the place where it is to be.
    let moved = asked().without(b"rename").then(|| path.replaced(b"/leases.new", b"/leases"));
    Some(moved.flatten().unwrap_or(path))
}

// ---- opening

unsafe fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real = |path: *const c_char, dir: c_int| {
        // SAFETY: the caller's own arguments.
        answer(unsafe { libc::syscall(libc::SYS_openat, dir, path, flags, mode) })
    };
    if let (Some(instead), Some(path)) = (asked().boot_id, Path::resolve(dir, path))
        && path.bytes() == b"/proc/sys/kernel/random/boot_id"
    {
        return real(instead, AT_FDCWD);
    }
    let Some(path) = watched(dir, path) else { return real(path, dir) };
    let is_new = flags & libc::O_CREAT != 0 && !exists(&path);
    if is_new && let Some(errno) = fault() {
        return refuse(errno);
    }
    let fd = real(path.as_ptr(), AT_FDCWD);
    if fd >= 0
        && let Some((inode, _, false)) = stat(fd)
    {
        watch(inode);
        if is_new {
            note(Kind::Create, inode, 0, path.bytes(), b"");
        } else if flags & libc::O_TRUNC != 0 {
            note(Kind::Length, inode, 0, b"", b"");
        }
    }
    fd
}

// libc's are variadic: the third argument is in the same register either way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open_at(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open_at(AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open_at(dir, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat64(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { open_at(dir, path, flags, mode) }
}

// ---- writing

/// Makes `call` on a descriptor, and logs the bytes it has written at `offset`, by default where
/// the descriptor stood.
fn writing<'a>(
    fd: c_int,
    offset: Option<off64_t>,
    pieces: impl Iterator<Item = &'a [u8]>,
    call: impl Fn() -> c_long,
) -> ssize_t {
    let result = |n: c_long| ssize_t::try_from(n).unwrap_or(-1);
    let Some((inode, length, false)) = stat(fd).filter(|(inode, ..)| is_watched(*inode)) else {
        return result(call());
    };
    if let Some(errno) = fault() {
        return refuse(errno) as ssize_t;
    }
    // SAFETY: a plain system call, and one that reads flags.
    let (stood, flags) = unsafe {
        let stood = libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR);
        (stood, libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL))
    };
    let appends = answer(flags) & libc::O_APPEND != 0;
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    let at = match offset {
        Some(offset) => unsigned(offset),
        None if appends => length,
        None => unsigned(stood),
    };
    let written = call();
    let (mut at, mut left) = (at, usize::try_from(written).unwrap_or(0));
    for piece in pieces {
        let done = &piece[..left.min(piece.len())];
        if !done.is_empty() {
            note(Kind::Write, inode, at, done, b"");
        }
        at += done.len() as u64;
        left -= done.len();
    }
    result(written)
}

unsafe fn bytes<'a>(from: *const c_void, count: size_t) -> &'a [u8] {
    // SAFETY: what a caller of write hands over.
    if from.is_null() { &[] } else { unsafe { slice::from_raw_parts(from.cast(), count) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, from: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let piece = unsafe { bytes(from, count) };
    writing(fd, None, [piece].into_iter(), || {
        // SAFETY: the same.
        unsafe { libc::syscall(libc::SYS_write, fd, from, count) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    from: *const c_void,
    count: size_t,
    offset: off64_t,
) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let piece = unsafe { bytes(from, count) };
    writing(fd, Some(offset), [piece].into_iter(), || {
        // SAFETY: the same.
        unsafe { libc::syscall(libc::SYS_pwrite64, fd, from, count, offset) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(
    fd: c_int,
    from: *const c_void,
    count: size_t,
    offset: off64_t,
) -> ssize_t {
    // SAFETY: the caller's own arguments.
    unsafe { pwrite64(fd, from, count, offset) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, from: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's own arguments.
    let vectors = unsafe { slice::from_raw_parts(from, usize::try_from(count).unwrap_or(0)) };
    // SAFETY: the same.
    let pieces = vectors.iter().map(|one| unsafe { bytes(one.iov_base, one.iov_len) });
    writing(fd, None, pieces, || {
        // SAFETY: the same.
        unsafe { libc::syscall(libc::SYS_writev, fd, from, count) }
    })
}

// ---- length

fn set_length(fd: c_int, length: u64, call: impl Fn() -> c_long) -> c_int {
    let Some((inode, _, false)) = stat(fd).filter(|(inode, ..)| is_watched(*inode)) else {
        return answer(call());
    };
    if let Some(errno) = fault() {
        return refuse(errno);
    }
    let result = answer(call());
    if result == 0 {
        note(Kind::Length, inode, length, b"", b"");
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    set_length(fd, u64::try_from(length).unwrap_or(0), || {
        // SAFETY: the caller's own arguments.
        unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(fd: c_int, length: off64_t) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { ftruncate64(fd, length) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fallocate64(fd: c_int, mode: c_int, at: off64_t, more: off64_t) -> c_int {
    let length = stat(fd).map_or(0, |(_, length, _)| length);
    let end = u64::try_from(at + more).unwrap_or(0).max(length);
    // SAFETY: the caller's own arguments.
    set_length(fd, end, || unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, at, more) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fallocate(fd: c_int, mode: c_int, at: off64_t, more: off64_t) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { fallocate64(fd, mode, at, more) }
}

// ---- syncing

fn sync(fd: c_int, call: c_long) -> c_int {
    // SAFETY: the caller's own arguments.
    let real = || answer(unsafe { libc::syscall(call, fd) });
    let Some((inode, _, is_dir)) = stat(fd) else { return real() };
    let path = if is_dir { watched_directory(fd) } else { None };
    if path.is_none() && !is_watched(inode) {
        return real();
    }
    if let Some(errno) = fault() {
        return refuse(errno);
    }
    if call == libc::SYS_fdatasync && asked().without(b"fdatasync") {
        return 0;
    }
    let is_store = path.as_ref().is_some_and(|path| path.bytes().ends_with(b"/leases"));
    if is_store && asked().without(b"directory") {
        return 0;
    }
    // SAFETY: a plain system call.
    let thread = u64::try_from(unsafe { libc::syscall(libc::SYS_gettid) }).unwrap_or(0);
    let path = path.as_ref().map_or(&b""[..], Path::bytes);
    note(Kind::SyncBegin, inode, thread, path, b"");
    let result = real();
    if result == 0 {
        note(Kind::SyncEnd, inode, thread, path, b"");
    }
    result
}

fn watched_directory(fd: c_int) -> Option<Path> {
    Path::of_descriptor(fd).filter(|path| path.is_in(asked().dir))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

// `sync_file_range` is no barrier (its manual says so): it is left to libc, and not logged.

// ---- directories

/// Makes `call` with the path that is meant, and logs it.
fn entry(
    kind: Kind,
    dir: c_int,
    path: *const c_char,
    call: impl Fn(c_int, *const c_char) -> c_long,
) -> c_int {
    let Some(path) = watched(dir, path) else { return answer(call(dir, path)) };
    if let Some(errno) = fault() {
        return refuse(errno);
    }
    if kind == Kind::Unlink
        && path.bytes().ends_with(b".generating")
        && asked().without(b"generating")
    {
        return 0;
    }
    let result = answer(call(AT_FDCWD, path.as_ptr()));
    if result == 0 {
        note(kind, 0, 0, path.bytes(), b"");
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    let kind = if flags & libc::AT_REMOVEDIR == 0 { Kind::Unlink } else { Kind::Rmdir };
    // SAFETY: the caller's own arguments.
    entry(kind, dir, path, |dir, path| unsafe {
        libc::syscall(libc::SYS_unlinkat, dir, path, flags)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { unlinkat(AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { unlinkat(AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdirat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's own arguments.
    entry(Kind::Mkdir, dir, path, |dir, path| unsafe {
        libc::syscall(libc::SYS_mkdirat, dir, path, mode)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { mkdirat(AT_FDCWD, path, mode) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn renameat2(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    let real = |from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char| {
        // SAFETY: the caller's own arguments.
        answer(unsafe { libc::syscall(libc::SYS_renameat2, from_dir, from, to_dir, to, flags) })
    };
    let (Some(a), Some(b)) = (watched(from_dir, from), watched(to_dir, to)) else {
        return real(from_dir, from, to_dir, to);
    };
    if let Some(errno) = fault() {
        return refuse(errno);
    }
    if a.bytes() == b.bytes() {
        return 0;
    }
    let result = real(AT_FDCWD, a.as_ptr(), AT_FDCWD, b.as_ptr());
    if result == 0 {
        note(Kind::Rename, 0, 0, a.bytes(), b.bytes());
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { renameat2(AT_FDCWD, from, AT_FDCWD, to, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn renameat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { renameat2(from_dir, from, to_dir, to, 0) }
}

/// Only so that a path that is another one without its guard is looked at in its place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statx(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    out: *mut c_void,
) -> c_int {
    let named = flags & libc::AT_EMPTY_PATH == 0 && asked().without(b"rename");
    let moved = if named { watched(dir, path) } else { None };
    let path = moved.as_ref().map_or(path, Path::as_ptr);
    // SAFETY: the caller's own arguments.
    answer(unsafe { libc::syscall(libc::SYS_statx, dir, path, flags, mask, out) })
}

/// The same for who lists it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn opendir(path: *const c_char) -> *mut libc::DIR {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the caller's own argument; what was opened is handed on.
    unsafe {
        let fd = open_at(AT_FDCWD, path, flags, 0);
        if fd < 0 { std::ptr::null_mut() } else { libc::fdopendir(fd) }
    }
}
