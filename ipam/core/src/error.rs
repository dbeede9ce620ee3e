//! Why an address is not handed out, in words for the pod's event log.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    #[error("this node holds no address block; give it one under ipam.pools")]
    NoPool,
    #[error(transparent)]
    Full(Full),
    #[error("requested address {0} is not one this node can hand out")]
    NotHere(IpAddr),
    #[error("requested address {address} belongs to {owner}")]
    Taken { address: IpAddr, owner: String },
    #[error("requested address {address} was released lately by {owner}; free in {} s", seconds(*.left))]
    Cooling { address: IpAddr, owner: String, left: Duration },
    #[error(
        "requested address {address} came to this node with its block lately, and another node may \
         have used it until then; free in {} s",
        seconds(*.left)
    )]
    BlockCooling { address: IpAddr, left: Duration },
    #[error(
        "requested address {address} is kept for {owner} until an operator releases it or its owner \
         is known to be gone"
    )]
    Kept { address: IpAddr, owner: String },
    #[error("address {address} is on hold by an operator: {why}")]
    OnHold { address: IpAddr, why: String },
    #[error("address {address} is in quarantine, somebody uses it: {evidence}")]
    InUse { address: IpAddr, evidence: String },
    #[error("requested address {address} is reserved for {whose}")]
    ReservedFor { address: IpAddr, whose: String },
    #[error("requested address {0} is excluded from being handed out")]
    Excluded(IpAddr),
    #[error(
        "requested address {address} is of pool {pool}, which namespace {namespace:?} or the pool asked for does not allow"
    )]
    OtherPool { address: IpAddr, pool: String, namespace: String },
    #[error("there is no pool {name}; there are: {}", .known.join(", "))]
    UnknownPool { name: String, known: Vec<String> },
    #[error("two pools of one family asked for: {0} and {1}")]
    TwoPools(String, String),
    #[error("pool {pool} is not for namespace {namespace:?}")]
    NotAdmitted { pool: String, namespace: String },
    #[error("this node holds no block of pool {0}, and the pod may have an address of no other")]
    NoBlockOf(String),
    #[error("two addresses of one family requested: {0} and {1}")]
    TwoOfAFamily(IpAddr, IpAddr),
    #[error("requested address {requested}, but this container already has {has}")]
    HasAnother { requested: IpAddr, has: IpAddr },
}

/// Every address of a family is assigned or cooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// The names of the pools tried.
    pub pools: Vec<String>,
    pub addresses: u64,
    pub assigned: u64,
    pub cooling: u64,
    /// Held for their owners until somebody says otherwise.
    pub kept: u64,
    pub reserved: u64,
    /// On hold or in quarantine.
    pub withheld: u64,
    /// Absent: none will be free by itself.
    pub next_free: Option<Duration>,
}

impl std::error::Error for Full {}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, verb) = if self.pools.len() == 1 { ("pool", "is") } else { ("pools", "are") };
        let Self { addresses, assigned, cooling, .. } = self;
        write!(f, "{noun} {} {verb} full: {addresses} addresses, ", self.pools.join(", "))?;
        write!(f, "{assigned} assigned, {cooling} cooling")?;
        let others = [
            (self.kept, "kept for good for their owners"),
            (self.reserved, "reserved"),
            (self.withheld, "withheld"),
        ];
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        write!(f, "; ")?;
        match self.next_free {
            Some(left) => write!(f, "next free in {} s", seconds(left)),
            None => write!(f, "none will be free before a pod is deleted"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error("container {container_id} has no address on {ifname} of network {network}")]
    Unknown { container_id: String, ifname: String, network: String },
    #[error("{address} is not assigned to container {container_id} on {ifname}")]
    NotItsOwn { address: IpAddr, container_id: String, ifname: String },
}

/// Whole seconds, rounded up: whoever waits that long is not early.
fn seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error("{0} is nobody's: there is nothing to release")]
    Free(IpAddr),
    #[error("{address} is lease {is} of {owner} now, not lease {asked}; nothing has changed")]
    Stale { address: IpAddr, asked: u64, is: u64, owner: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    #[error("{0} is not one this node can hand out")]
    NotHere(IpAddr),
    #[error("{0} is not on hold")]
    NotHeld(IpAddr),
}

/// Why what another allocator has handed out cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("{0} is not an address of this node's blocks that can be handed out")]
    NotHere(IpAddr),
    #[error("{0} has two owners in what is to be imported")]
    TwoOwners(IpAddr),
    #[error("{address} belongs to {owner} here")]
    Taken { address: IpAddr, owner: String },
    #[error("{address} was released lately by {owner}; free in {} s", seconds(*.left))]
    Cooling { address: IpAddr, owner: String, left: Duration },
    #[error("{address} is on hold: {why}")]
    OnHold { address: IpAddr, why: String },
    #[error("{address}: its container has {has} already")]
    HasAnother { address: IpAddr, has: IpAddr },
}

impl Conflict {
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        match self {
            Self::NotHere(address)
            | Self::TwoOwners(address)
            | Self::Taken { address, .. }
            | Self::Cooling { address, .. }
            | Self::OnHold { address, .. }
            | Self::HasAnother { address, .. } => *address,
        }
    }
}
