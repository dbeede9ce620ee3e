//! What is known of who may originate a prefix (RFC 6811).

use crate::types::{Asn, Prefix};
use std::fmt::Debug;

/// RFC 6811 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Validity {
    Valid,
    Invalid,
    NotFound,
}

/// Whoever knows. `origin`: none if the path ends in an AS_SET.
pub trait Origins: Debug {
    fn validity(&self, prefix: &Prefix, origin: Option<Asn>) -> Validity;

    /// Who has originated a path that is empty (RFC 6811 §2).
    fn own_asn(&self) -> Option<Asn> {
        None
    }
}

/// Nothing is known of anybody.
#[derive(Debug)]
pub struct NoOrigins;

impl Origins for NoOrigins {
    fn validity(&self, _: &Prefix, _: Option<Asn>) -> Validity {
        Validity::NotFound
    }
}

/// One answer to every question: what a tried route is said to be.
impl Origins for Validity {
    fn validity(&self, _: &Prefix, _: Option<Asn>) -> Validity {
        *self
    }
}
