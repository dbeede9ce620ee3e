//! To be preloaded (`LD_PRELOAD`) into the daemon under test: every call that changes or syncs a
//! file of one directory is made, and written to a log with its bytes. Of such a log
//! `mainstay_tests::crash` makes the disks that a loss of power could have left.
//!
//! | variable | meaning |
//! |---|---|
//! | `DISKLOG_DIR` | the directory, absolute |
//! | `DISKLOG_LOG` | the log, appended to; without it nothing is logged |
//! | `DISKLOG_FAIL` | `n:errno`: the n-th such call fails, and does nothing |
//! | `DISKLOG_WITHOUT` | guards of the store to undo: `fdatasync`, `generating`, `rename`, `directory` |
//! | `DISKLOG_BOOT_ID` | a file to be read in the place of the kernel's boot id |
//!
//! Writes are logged once they are made, and a sync from before to after it: whatever the order of
//! threads, what the log calls durable is. A call that libc is not asked for (a raw system call)
//! is not seen, nor is memory that is mapped: the harness compares the log's last state with the
//! directory.

#![allow(unsafe_code, clippy::missing_safety_doc, unreachable_pub)]

mod calls;
pub mod entry;
mod paths;
mod record;
