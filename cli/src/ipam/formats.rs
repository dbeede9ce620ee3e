//! What other allocators keep, read and written: pure, and bounded in what is read.

pub(super) mod cache;
pub(super) mod calico;
pub(super) mod host_local;

use mainstay_proto::ipam::v1::{Adoption, HoldRequest, Lease};
use std::collections::HashMap;
use std::net::IpAddr;

/// As many as ipamd takes at once.
pub(super) const MOST: usize = 4096;

/// What somebody else has handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) leases: Vec<Entry>,
    /// In use by something that is no container, and what that is.
    pub(super) holds: Vec<(IpAddr, String)>,
    /// What was not taken, and why.
    pub(super) skipped: Vec<String>,
}

/// One address, and who has it. Empty: not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: IpAddr,
    pub(super) network: String,
    pub(super) container_id: String,
    pub(super) ifname: String,
    pub(super) netns: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Entry {
    pub(super) fn new(address: IpAddr, network: &str, container_id: &str, ifname: &str) -> Self {
        Self {
            address,
            network: network.into(),
            container_id: container_id.into(),
            ifname: ifname.into(),
            netns: String::new(),
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
        }
    }

    fn key(&self) -> (&str, &str, IpAddr) {
        (&self.container_id, &self.ifname, self.address)
    }

    pub(super) fn is_of(&self, lease: &Lease) -> bool {
        lease.container_id == self.container_id
            && lease.ifname == self.ifname
            && lease.network == self.network
            && lease.address.parse() == Ok(self.address)
    }
}

impl Found {
    /// The runtime's cache knows pods and namespaces; allocators mostly do not.
    pub(super) fn learn(&mut self, cache: &[Entry]) {
        let known: HashMap<_, _> = cache.iter().map(|entry| (entry.key(), entry)).collect();
        for entry in &mut self.leases {
            let Some(more) = known.get(&entry.key()) else { continue };
            let network = entry.network.clone();
            *entry = Entry { network, ..(*more).clone() };
        }
    }

    pub(super) fn adoptions(&self) -> Vec<Adoption> {
        let adoption = |entry: &Entry| Adoption {
            address: entry.address.to_string(),
            network: entry.network.clone(),
            container_id: entry.container_id.clone(),
            ifname: entry.ifname.clone(),
            netns: entry.netns.clone(),
            pod_namespace: entry.namespace.clone(),
            pod_name: entry.name.clone(),
            pod_uid: entry.uid.clone(),
        };
        self.leases.iter().map(adoption).collect()
    }

    pub(super) fn hold_requests(&self) -> Vec<HoldRequest> {
        let hold = |(address, reason): &(IpAddr, String)| HoldRequest {
            address: address.to_string(),
            reason: reason.clone(),
        };
        self.holds.iter().map(hold).collect()
    }
}
