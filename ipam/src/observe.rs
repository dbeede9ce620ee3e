//! What happened, as a line in the log and a number in the status.

use ipam_core::{How, Report, Slot};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Since start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    adds: AtomicU64,
    dels: AtomicU64,
    add_failures: AtomicU64,
    sticky_hits: AtomicU64,
    spooled_dels: AtomicU64,
    gc_scans: AtomicU64,
    gc_suspects: AtomicU64,
    gc_released: AtomicU64,
    gc_outlived: AtomicU64,
}

/// A reading of [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) adds: u64,
    pub(crate) dels: u64,
    pub(crate) add_failures: u64,
    pub(crate) sticky_hits: u64,
    pub(crate) spooled_dels: u64,
    pub(crate) gc_scans: u64,
    /// At the last look.
    pub(crate) gc_suspects: u64,
    pub(crate) gc_released: u64,
    pub(crate) gc_outlived: u64,
}

impl Counters {
    pub(crate) fn read(&self) -> Counted {
        Counted {
            adds: self.adds.load(Relaxed),
            dels: self.dels.load(Relaxed),
            add_failures: self.add_failures.load(Relaxed),
            sticky_hits: self.sticky_hits.load(Relaxed),
            spooled_dels: self.spooled_dels.load(Relaxed),
            gc_scans: self.gc_scans.load(Relaxed),
            gc_suspects: self.gc_suspects.load(Relaxed),
            gc_released: self.gc_released.load(Relaxed),
            gc_outlived: self.gc_outlived.load(Relaxed),
        }
    }

    /// An ADD was answered with addresses.
    pub(crate) fn added(&self, reports: &[Report]) {
        self.adds.fetch_add(1, Relaxed);
        let sticky = |report: &Report| {
            matches!(report, Report::Assigned { how: How::Returned | How::TakenOver, .. })
        };
        if reports.iter().any(sticky) {
            self.sticky_hits.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn add_failed(&self) {
        self.add_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn deleted(&self) {
        self.dels.fetch_add(1, Relaxed);
    }

    pub(crate) fn looked_for_leaks(&self, suspects: usize) {
        self.gc_scans.fetch_add(1, Relaxed);
        self.gc_suspects.store(suspects as u64, Relaxed);
    }

    pub(crate) fn released_leaked(&self) {
        self.gc_released.fetch_add(1, Relaxed);
    }

    pub(crate) fn outlived_gc(&self) {
        self.gc_outlived.fetch_add(1, Relaxed);
    }

    pub(crate) fn spooled(&self, dels: usize) {
        self.spooled_dels.fetch_add(dels as u64, Relaxed);
    }
}

pub(crate) fn say(report: &Report) {
    match report {
        Report::Assigned { slot, how } => {
            let Slot { address, rung, .. } = &**slot;
            let (owner, container, how) = (slot.describe_owner(), container(slot), how.as_str());
            tracing::info!(%address, owner, %rung, how, container, "assigned");
        }
        Report::Released { slot, why } => {
            let (owner, container) = (slot.describe_owner(), container(slot));
            let why = why.as_str();
            tracing::info!(address = %slot.address, owner, why, container, "released");
        }
        Report::InUse { address, owner, container_id } => tracing::warn!(
            %address, owner, container = container_id,
            "its address is still assigned to an older pod of the same name; gave it another"
        ),
        Report::KeptOut { address, owner, evidence } => tracing::warn!(
            %address, owner, evidence, "its address is in use by somebody else; gave it another"
        ),
        Report::OutlivedGc { slot, alive } => tracing::warn!(
            address = %slot.address,
            owner = slot.describe_owner(),
            container = container(slot),
            network = slot.attachment.network,
            evidence = alive.as_str(),
            "a runtime's GC calls its container invalid, and it lives; kept"
        ),
        Report::Quarantined { address, evidence } => tracing::warn!(
            %address, evidence,
            "somebody uses an address that is nobody's; it is not handed out until a cooldown after"
        ),
        Report::Cleared { address } => tracing::info!(%address, "out of quarantine"),
        Report::OnHold { address, why } => tracing::info!(%address, why, "on hold"),
        Report::OffHold { address } => tracing::info!(%address, "no longer on hold"),
        Report::LetGo { slot, why } => {
            let (address, owner, why) = (slot.address, slot.describe_owner(), why.as_str());
            tracing::info!(%address, owner, why, "no longer kept for its owner");
        }
    }
}

/// As much of a container's id as people use.
fn container(slot: &Slot) -> &str {
    let id = &slot.attachment.container_id;
    id.char_indices().nth(12).map_or(id, |(end, _)| id.get(..end).unwrap_or(id))
}
