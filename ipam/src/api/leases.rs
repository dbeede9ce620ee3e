//! Leases and withheld addresses as the API shows them, and what an operator does to one.

use crate::daemon::{Daemon, State};
use ipam_core::{HoldError, LeaseView, Now, ReleaseError, WithheldView};
use mainstay_prefix::Prefix;
use mainstay_proto::ipam::v1::{Lease, ListLeasesRequest, Withheld};
use std::net::IpAddr;
use std::time::Duration;
use tonic::Status;

/// Leases read under one lock; a full /16 does not keep an ADD waiting.
const PAGE: usize = 256;
/// Of an operator's reason.
const LONGEST: usize = 253;

/// What of the leases is wanted.
pub(super) struct Filter {
    state: String,
    /// Where to begin, and with `only` also where to end.
    pub(super) from: IpAddr,
    only: bool,
}

impl TryFrom<ListLeasesRequest> for Filter {
    type Error = Status;

    fn try_from(asked: ListLeasesRequest) -> Result<Self, Status> {
        if !["", "assigned", "held", "cooling"].contains(&asked.state.as_str()) {
            let text = format!("state {:?} is none of assigned, held, cooling", asked.state);
            return Err(Status::invalid_argument(text));
        }
        let only = !asked.address.is_empty();
        let from = if only { address(&asked.address)? } else { Prefix::DEFAULT_V4.addr() };
        Ok(Self { state: asked.state, from, only })
    }
}

impl Filter {
    fn wants(&self, lease: &LeaseView<'_>) -> bool {
        (self.state.is_empty() || self.state == lease.state.as_str())
            && (!self.only || self.from == lease.slot.address)
    }
}

/// The leases of one page, and where the next one begins.
pub(super) fn page(daemon: &Daemon, from: IpAddr, filter: &Filter) -> (Vec<Lease>, Option<IpAddr>) {
    let mut state = daemon.state();
    let most = if filter.only { 1 } else { PAGE };
    let mut leases = state.ipam.leases(from, daemon.now());
    let wanted = leases.by_ref().take(most).filter(|l| filter.wants(l)).map(|l| lease(&l));
    let page = wanted.collect();
    let next = leases.next().filter(|_| !filter.only).map(|lease| lease.slot.address);
    (page, next)
}

pub(super) fn lease(view: &LeaseView<'_>) -> Lease {
    let (slot, at) = (&view.slot, view.slot.attachment.clone());
    let owner = slot.owner.clone();
    Lease {
        address: slot.address.to_string(),
        pool: slot.pool.clone(),
        block: slot.block.to_string(),
        state: view.state.as_str().into(),
        owner: slot.describe_owner(),
        rung: slot.rung.to_string(),
        container_id: at.container_id,
        ifname: at.ifname,
        network: at.network,
        netns: slot.netns.clone(),
        assigned_seconds: view.assigned_ago.as_secs_f64(),
        released_seconds: seconds(view.released_ago),
        cooldown_left_seconds: seconds(view.cooldown_left),
        seq: slot.seq,
        policy: view.policy.to_string(),
        let_go: slot.let_go,
        kept_for_good: view.kept_for_good,
        kept_left_seconds: seconds(view.kept_left),
        workload: owner.workload.as_ref().map(ToString::to_string).unwrap_or_default(),
        workload_proven: owner.workload.is_some_and(|workload| workload.proven),
        pod_uid: owner.uid,
        sticky_key: owner.sticky_key,
        withheld: view.withheld.as_ref().map(|view| withheld(slot.address, view)),
    }
}

pub(super) fn withheld(address: IpAddr, view: &WithheldView<'_>) -> Withheld {
    let (hold, in_use) = (view.withheld.hold.as_ref(), view.withheld.in_use.as_ref());
    Withheld {
        address: address.to_string(),
        hold: hold.map(|hold| hold.why.clone()).unwrap_or_default(),
        hold_seconds: seconds(view.hold_ago),
        in_use: in_use.map(|in_use| in_use.evidence.clone()).unwrap_or_default(),
        in_use_seconds: seconds(view.in_use_ago),
        gone_seconds: seconds(view.gone_ago),
        quarantine_left_seconds: seconds(view.quarantine_left),
    }
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.as_ref().map(Duration::as_secs_f64)
}

/// The lease of one address, if it has any.
pub(super) fn lease_of(state: &mut State, address: IpAddr, now: Now) -> Option<Lease> {
    let first = state.ipam.leases(address, now).next();
    first.filter(|view| view.slot.address == address).map(|view| lease(&view))
}

pub(super) fn address(text: &str) -> Result<IpAddr, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("{text:?} is not an address")))
}

pub(super) fn reason(text: &str) -> Result<&str, Status> {
    match text.len() {
        0 => Err(Status::invalid_argument("a reason is needed: who asks for the address is told")),
        1..=LONGEST => Ok(text),
        long => Err(Status::invalid_argument(format!("{long} bytes of reason; at most {LONGEST}"))),
    }
}

pub(super) fn hold_failure(error: &HoldError) -> Status {
    match error {
        HoldError::NotHere(_) => Status::not_found(error.to_string()),
        HoldError::NotHeld(_) => Status::failed_precondition(error.to_string()),
    }
}

pub(super) fn release_failure(error: &ReleaseError) -> Status {
    match error {
        ReleaseError::Free(_) => Status::not_found(error.to_string()),
        ReleaseError::Stale { .. } => Status::failed_precondition(error.to_string()),
    }
}
