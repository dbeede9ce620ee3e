//! What happened, for whoever logs and counts.

use crate::gc::Alive;
use crate::record::Slot;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Assigned {
        slot: Box<Slot>,
        how: How,
    },
    Released {
        slot: Box<Slot>,
        why: Why,
    },
    /// The owner's address is still assigned to an older pod, so it got a different one.
    InUse {
        address: IpAddr,
        owner: String,
        container_id: String,
    },
    /// The owner's address is in quarantine, so it got a different one.
    KeptOut {
        address: IpAddr,
        owner: String,
        evidence: String,
    },
    /// A runtime has called the lease invalid, and the kernel shows its container alive: kept.
    OutlivedGc {
        slot: Box<Slot>,
        alive: Alive,
    },
    /// Somebody uses an address that is nobody's.
    Quarantined {
        address: IpAddr,
        evidence: String,
    },
    /// The evidence was gone for a full cooldown.
    Cleared {
        address: IpAddr,
    },
    OnHold {
        address: IpAddr,
        why: String,
    },
    OffHold {
        address: IpAddr,
    },
    /// Its owner has no claim on it any more.
    LetGo {
        slot: Box<Slot>,
        why: Why,
    },
}

/// How an owner came to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Never used before, or used by others long enough ago.
    New,
    /// It was held for this owner.
    Returned,
    /// It was still assigned to an earlier container of the same pod.
    TakenOver,
    /// Asked for by name.
    Requested,
    /// Reserved for it in the configuration.
    Reserved,
    /// Another allocator had given it before.
    Adopted,
}

impl How {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Returned => "returned",
            Self::TakenOver => "taken-over",
            Self::Requested => "requested",
            Self::Reserved => "reserved",
            Self::Adopted => "adopted",
        }
    }
}

/// Why an address was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Del,
    /// The runtime has called it invalid.
    Gc,
    /// An operator said so.
    Operator,
    OwnerGone,
    /// Its container is gone, and no DEL came.
    Leaked,
}

impl Why {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Del => "del",
            Self::Gc => "gc",
            Self::Operator => "operator",
            Self::OwnerGone => "owner-gone",
            Self::Leaked => "leaked",
        }
    }
}
