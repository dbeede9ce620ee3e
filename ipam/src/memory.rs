//! Memory that the start needed and serving does not: the C library would keep it for later.

/// Back to the kernel with it.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    // SAFETY: it concerns memory that nobody has, and takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries do it by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) const fn give_back() {}
