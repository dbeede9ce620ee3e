//! Route origin validation (RFC 6811): what caches say of origins, and what that makes of a route.
//!
//! [`table`] is what counts now; [`client`] asks one cache for it (RFC 8210), [`pdu`] is its codec.
//! Who asks several caches, and which of them counts, is the shell's.

pub mod client;
mod pdu;
pub mod table;

pub use crate::policy::Validity;
pub use table::Table;

use crate::policy::Origins;
use crate::types::{Asn, Prefix};
use std::sync::Arc;

/// A validated payload: `asn` may originate `prefix` and what is inside it, down to `max_len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    pub prefix: Prefix,
    pub max_len: u8,
    pub asn: Asn,
}

/// What is known, as policies ask for it.
#[derive(Debug, Clone)]
pub struct Known {
    pub table: Arc<Table>,
    pub own_asn: Asn,
}

impl Origins for Known {
    fn validity(&self, prefix: &Prefix, origin: Option<Asn>) -> Validity {
        self.table.validity(prefix, origin)
    }

    fn own_asn(&self) -> Option<Asn> {
        Some(self.own_asn)
    }
}
