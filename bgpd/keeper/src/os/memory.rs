//! The memory file of a session, mapped.

#![allow(unsafe_code)]

use crate::area::Area;
use crate::layout::{self, ALIGN, Layout, LayoutError, Span};
use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the memory file can be cut: it is not sealed")]
    Unsealed,
    #[error("memory file: {0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for MemoryError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A file in memory. A hardened host (`vm.memfd_noexec=2`) wants to hear that it is never executed;
/// kernels before 6.3 do not know the word.
pub fn file(name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        other => other,
    }
}

/// A new file of that size that can never shrink, so that no mapping of it ever faults.
pub fn create(layout: &Layout) -> Result<OwnedFd, MemoryError> {
    let fd = file("mainstay-session")?;
    ftruncate(&fd, layout.total())?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(fd)
}

/// A file that holds just these bytes, to be read by another process.
pub fn with(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = file("mainstay-list")?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    Ok(fd)
}

/// The file's layout, once it is sure that the file is what it says.
pub fn layout(fd: BorrowedFd<'_>) -> Result<Layout, MemoryError> {
    if !fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK)) {
        return Err(MemoryError::Unsealed);
    }
    let size = u64::try_from(fstat(fd)?.st_size).unwrap_or(0);
    if size < ALIGN {
        return Err(LayoutError::Short { size }.into());
    }
    let head = Mapping::new(fd, Span { at: 0, len: ALIGN })?;
    Ok(layout::check(&head, size)?)
}

/// The file's head and rings mapped, and its layout.
pub fn open(fd: BorrowedFd<'_>) -> Result<(Mapping, Layout), MemoryError> {
    let layout = layout(fd)?;
    let whole = Mapping::new(fd, Span { at: 0, len: layout.without_journal() })?;
    Ok((whole, layout))
}

/// A part of a file, shared with whoever maps it too.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone as far as this process goes; what other
// processes do to the bytes is the same from every thread.
unsafe impl Send for Mapping {}

impl Mapping {
    pub fn new(fd: BorrowedFd<'_>, span: Span) -> io::Result<Self> {
        let len = usize::try_from(span.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice. Callers map within the
        // size of a file that is sealed against shrinking.
        let base = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, fd, span.at)?
        };
        Ok(Self { base: non_null(base)?, len })
    }

    fn within(&self, at: u64, len: usize) -> Option<NonNull<u8>> {
        let at = usize::try_from(at).ok()?;
        let fits = at.checked_add(len)? <= self.len;
        // SAFETY: within the mapping.
        fits.then(|| unsafe { self.base.add(at) })
    }

    fn word(&self, at: u64) -> Option<&AtomicU64> {
        let place = self.within(at, 8)?.cast::<AtomicU64>();
        if !place.is_aligned() {
            return None;
        }
        // SAFETY: within the mapping, aligned, and only ever used as a whole word.
        Some(unsafe { place.as_ref() })
    }
}

impl Area for Mapping {
    fn size(&self) -> u64 {
        self.len as u64
    }

    fn load(&self, at: u64) -> u64 {
        self.word(at).map_or(0, |w| w.load(Ordering::Acquire))
    }

    fn store(&self, at: u64, word: u64) {
        if let Some(w) = self.word(at) {
            w.store(word, Ordering::Release);
        }
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        match self.within(at, into.len()) {
            // SAFETY: both ranges are valid for that length, and the one is ours alone.
            Some(from) => unsafe {
                from.copy_to_nonoverlapping(NonNull::from(&mut *into).cast(), into.len());
            },
            None => into.fill(0),
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        if let Some(to) = self.within(at, bytes.len()) {
            // SAFETY: both ranges are valid for that length; no reference to the mapping is alive
            // while an `Area` method runs.
            unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by us at this address and length; nothing points there any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.len) };
    }
}

/// A ring mapped twice in a row: any stretch of it that is no longer than the ring is one slice.
#[derive(Debug)]
pub struct Mirror {
    both: Mapping,
    len: usize,
}

impl Mirror {
    pub fn new(fd: BorrowedFd<'_>, ring: Span) -> io::Result<Self> {
        let len = usize::try_from(ring.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: reserves fresh address space, from here on ours.
        let base = unsafe {
            mmap_anonymous(std::ptr::null_mut(), 2 * len, ProtFlags::empty(), MapFlags::PRIVATE)?
        };
        let mirror = Self { both: Mapping { base: non_null(base)?, len: 2 * len }, len };
        for half in [0, len] {
            // SAFETY: replaces one half of what was reserved above; the file does not shrink.
            unsafe {
                let at = mirror.both.base.as_ptr().add(half).cast();
                let access = ProtFlags::READ | ProtFlags::WRITE;
                mmap(at, len, access, MapFlags::SHARED | MapFlags::FIXED, fd, ring.at)?;
            }
        }
        Ok(mirror)
    }

    /// `len` bytes from this position of the stream on, at most the ring.
    pub fn stretch(&self, position: u64, len: usize) -> &[u8] {
        let len = len.min(self.len);
        // SAFETY: offset < ring, so offset + len ends within the two halves.
        unsafe {
            std::slice::from_raw_parts(self.both.base.as_ptr().add(self.offset(position)), len)
        }
    }

    pub fn stretch_mut(&mut self, position: u64, len: usize) -> &mut [u8] {
        let len = len.min(self.len);
        let offset = self.offset(position);
        // SAFETY: as above; no longer than the ring, so no byte is in it twice; `self` is
        // borrowed mutably, and no other process writes while this one owns the session.
        unsafe { std::slice::from_raw_parts_mut(self.both.base.as_ptr().add(offset), len) }
    }

    fn offset(&self, position: u64) -> usize {
        usize::try_from(position % self.len as u64).unwrap_or(0)
    }
}

/// Head and rings as the speaker has them: no page is mapped at more places than it is used at.
#[derive(Debug)]
pub struct Parts {
    head: Mapping,
    pub tx: Mirror,
    pub rx: Mirror,
    layout: Layout,
}

impl Parts {
    pub fn new(fd: BorrowedFd<'_>, layout: Layout) -> io::Result<Self> {
        let head = Mapping::new(fd, Span { at: 0, len: layout.tx.at })?;
        let (tx, rx) = (Mirror::new(fd, layout.tx)?, Mirror::new(fd, layout.rx)?);
        Ok(Self { head, tx, rx, layout })
    }

    /// Where a byte of the file is mapped.
    fn part(&self, at: u64) -> (&Mapping, u64) {
        let Layout { tx, rx, .. } = self.layout;
        match at {
            at if at < tx.at => (&self.head, at),
            at if at < rx.at => (&self.tx.both, at - tx.at),
            at => (&self.rx.both, at - rx.at),
        }
    }
}

impl Area for Parts {
    fn size(&self) -> u64 {
        self.layout.without_journal()
    }

    fn load(&self, at: u64) -> u64 {
        let (part, at) = self.part(at);
        part.load(at)
    }

    fn store(&self, at: u64, word: u64) {
        let (part, at) = self.part(at);
        part.store(at, word);
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        let (part, at) = self.part(at);
        part.read(at, into);
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let (part, at) = self.part(at);
        part.write(at, bytes);
    }
}

fn non_null(at: *mut c_void) -> io::Result<NonNull<u8>> {
    NonNull::new(at.cast::<u8>()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Sizes;
    use crate::rings::Rings;
    use crate::walk::KEEPALIVE;
    use std::os::fd::AsFd;

    const SMALL: Sizes = Sizes { tx: ALIGN, rx: ALIGN, journal: ALIGN };

    #[test]
    fn two_mappings_and_the_mirror_see_the_same_bytes() {
        let layout = Layout::new(SMALL, 0).unwrap();
        let fd = create(&layout).unwrap();
        let mine = Mapping::new(fd.as_fd(), Span { at: 0, len: layout.without_journal() }).unwrap();
        let mine = Rings::create(mine, layout, ALIGN - 4, 0);
        mine.append(&KEEPALIVE).unwrap();

        let (theirs, found) = open(fd.as_fd()).unwrap();
        assert_eq!(found, layout);
        let theirs = Rings::open(theirs, layout.total()).unwrap();
        let mut got = [0; 30];
        assert_eq!(theirs.peek_unsent(&mut got), 19);
        assert_eq!(got[..19], KEEPALIVE);
        let mirror = Mirror::new(fd.as_fd(), layout.tx).unwrap();
        assert_eq!(mirror.stretch(ALIGN - 4, 19), KEEPALIVE, "in one piece across the end");
    }

    #[test]
    fn a_file_says_that_it_is_never_executed_where_the_kernel_knows_the_word() {
        let knows = memfd_create("x", MemfdFlags::NOEXEC_SEAL).is_ok();
        let seals = fcntl_get_seals(file("x").unwrap()).unwrap();
        assert_eq!(seals.contains(SealFlags::EXEC), knows);
    }

    #[test]
    fn a_file_that_could_shrink_or_is_none_of_ours_is_refused() {
        let fd = memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(matches!(open(fd.as_fd()), Err(MemoryError::Unsealed)));
        fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
        let short = open(fd.as_fd()).unwrap_err();
        assert!(matches!(short, MemoryError::Layout(LayoutError::Short { size: 0 })));
        ftruncate(&fd, 1 << 20).unwrap();
        let foreign = open(fd.as_fd()).unwrap_err();
        assert!(matches!(foreign, MemoryError::Layout(LayoutError::Foreign)));
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(open(file.as_fd()), Err(MemoryError::Unsealed)));
    }
}
