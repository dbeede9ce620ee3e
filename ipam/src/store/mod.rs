//! What outlives the daemon: every lease, and the time known to have passed.
//!
//! The engine is behind [`Store`], so that it can be exchanged: `sled` serves, its twin in memory
//! is what the tests hold it against.

mod anchor;
mod aside;
pub(crate) mod encode;
#[cfg(test)]
mod memory;
mod on_sled;

pub(crate) use aside::set_aside;
pub(crate) use on_sled::SledStore;

use ipam_core::{Kept, Record};
use std::path::PathBuf;

/// What a key and a value mean. A store of another format is not touched.
pub(crate) const FORMAT: u32 = 2;

pub(crate) trait Store: Send {
    fn load(&self) -> Result<Kept, StoreError>;

    /// All of the records or none, in this order; durable once this returns. After an error the
    /// store must not be used any more: what is on the disk is known only to a fresh open.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// The engine and its version, for people.
    fn engine(&self) -> &'static str;
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot {what} {path}", path = path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "the lease store {path} cannot be read ({why}); it is not used, and no address is \
         handed out, for that could give a running pod's address away twice. To go on: \
         `mainstay-ipamd --set-aside` with the same options moves it away, whole, and the next \
         start begins with no leases and hands out none before the cooldown is over; then \
         `mainstay ipam import cache /var/lib/cni/results --network NAME` takes over the running \
         pods' addresses from what the runtime remembers",
        path = path.display()
    )]
    Unreadable { path: PathBuf, why: String },
    #[error(
        "the lease store {path} has format {found}, and this release reads formats up to {FORMAT}; \
         nothing in it was changed. Run the release that wrote it, or one after it",
        path = path.display()
    )]
    Format { path: PathBuf, found: String },
    #[error("writing leases failed; stopping, since what is not durable must not be promised")]
    Commit { source: Box<dyn std::error::Error + Send + Sync> },
}

impl StoreError {
    /// The disk is.
    pub(crate) fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        source.kind() == std::io::ErrorKind::StorageFull
    }
}
