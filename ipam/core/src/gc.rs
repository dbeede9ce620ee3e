//! GC as a runtime asks for it: what its list of valid attachments leaves out is released at once.
//! The list is one witness only. It may be partial, or another runtime may have containers on a
//! network of the same name; so whoever the kernel shows alive is kept, until it is proven gone
//! ([`crate::Evidence`]).

use crate::identity::Attachment;
use crate::ipam::{Effects, Ipam};
use crate::leaks::Leased;
use crate::record::Slot;
use crate::report::{Report, Why};
use crate::time::Now;
use std::collections::HashSet;

/// What the kernel shows of a container that a runtime's list leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    /// A route of the host leads to one of its addresses alone.
    Routed,
    /// Its network namespace has one of its addresses configured.
    Configured,
    /// Its network namespace is there, and cannot be looked into.
    Closed,
    /// The kernel does not say whether there is a route.
    Untold,
}

impl Alive {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "a host route leads to it",
            Self::Configured => "its network namespace has its address",
            Self::Closed => "its network namespace is there and cannot be looked into",
            Self::Untold => "the kernel does not tell whether a route leads to it",
        }
    }
}

impl Ipam {
    /// Every attachment of `network` that is not among `valid`.
    #[must_use]
    pub fn left_out(&self, network: &str, valid: &[(String, String)]) -> Vec<Leased> {
        let valid: HashSet<(&str, &str)> = valid.iter().map(|(c, i)| (&**c, &**i)).collect();
        let is_valid = |at: &Attachment| valid.contains(&(&*at.container_id, &*at.ifname));
        let is_left_out =
            |slot: &Slot| slot.attachment.network == network && !is_valid(&slot.attachment);
        let left_out = self.slots.assigned().filter(is_left_out);
        left_out.filter_map(|slot| self.leased_with(slot)).collect()
    }

    /// Releases those of the left out that nothing shows alive, and are still what was looked at.
    /// The others are told of once a lease, however often a runtime leaves them out.
    pub fn gc(&mut self, left_out: &[(Leased, Option<Alive>)], now: Now, out: &mut Effects) {
        for (lease, alive) in left_out {
            match alive {
                _ if !self.is_still(lease) => {}
                None => self.release_all(&lease.attachment, Why::Gc, now, out),
                Some(alive) => self.keep(lease, *alive, out),
            }
        }
        let assigned: HashSet<u64> =
            self.slots.brief().filter(Slot::is_assigned).map(|slot| slot.seq).collect();
        self.outlived_gc.retain(|seq| assigned.contains(seq));
    }

    fn keep(&mut self, lease: &Leased, alive: Alive, out: &mut Effects) {
        for slot in lease.addresses.iter().filter_map(|address| self.slots.get(*address)) {
            if self.outlived_gc.insert(slot.seq) {
                out.reports.push(Report::OutlivedGc { slot: Box::new(slot), alive });
            }
        }
    }
}
