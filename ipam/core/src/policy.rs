//! For how long a released address is kept for its owner.

use std::fmt;
use std::time::Duration;

/// The cooldown holds in any case; this is what comes on top of it. It counts for owners that can
/// be recognised: nobody's address is kept for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// So long, and longer while there is any other address. Zero: not at all, and the owner is
    /// not recognised.
    Ttl(Duration),
    /// Until an operator releases it.
    Never,
    /// Until it is known that the owner is gone for good, or an operator releases it.
    WhileOwnerExists,
}

impl Policy {
    /// No time of its own makes such an address free.
    #[must_use]
    pub const fn is_for_good(self) -> bool {
        !matches!(self, Self::Ttl(_))
    }

    pub(crate) const fn recognises(self) -> bool {
        !matches!(self, Self::Ttl(Duration::ZERO))
    }

    /// How long others keep away from a released address, cooldown or not.
    pub(crate) const fn ttl(self) -> Option<Duration> {
        match self {
            Self::Ttl(ttl) => Some(ttl),
            Self::Never | Self::WhileOwnerExists => None,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ttl(ttl) => write!(f, "ttl={}s", ttl.as_secs_f64()),
            Self::Never => f.write_str("never"),
            Self::WhileOwnerExists => f.write_str("while-owner-exists"),
        }
    }
}
