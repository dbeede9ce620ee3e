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
    /// Absent: none will be free by itself.
    pub next_free: Option<Duration>,
}

impl std::error::Error for Full {}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, verb) = if self.pools.len() == 1 { ("pool", "is") } else { ("pools", "are") };
        let Self { addresses, assigned, cooling, .. } = self;
        write!(f, "{noun} {} {verb} full: {addresses} addresses, ", self.pools.join(", "))?;
        write!(f, "{assigned} assigned, {cooling} cooling; ")?;
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
