//! The machine's clocks, read for the core.

use ipam_core::{BootId, Now};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Knows which boot this is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    boot: BootId,
}

impl Clocks {
    pub(crate) fn new() -> io::Result<Self> {
        let text = mainstay_daemon::boot_id()?;
        let bits = u128::from_str_radix(&text.replace('-', ""), 16);
        let boot = bits.map_err(|e| io::Error::other(format!("boot id {text:?}: {e}")))?;
        Ok(Self { boot: BootId(boot) })
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            boot: self.boot,
            boottime: mainstay_daemon::boottime(),
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }
}
