//! What is persisted: a record for each slot that is not free, and the clock.

use crate::identity::{Attachment, Key, Owner, Rung};
use crate::policy::Policy;
use crate::slots::Slots;
use crate::time::{ClockRecord, Moment};
use crate::withheld::Withheld;
use mainstay_prefix::Prefix;
use std::net::IpAddr;
use std::time::Duration;

/// To be written in the order given; a later one of the same key replaces the earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    Clock(ClockRecord),
    Slot(Box<Slot>),
    /// The slot is free and not remembered any longer.
    Forget(IpAddr),
    Withheld(IpAddr, Box<Withheld>),
    /// Nothing keeps the address any longer.
    Unwithheld(IpAddr),
    Block(BlockRecord),
    /// The block is not this node's any more.
    ForgetBlock(Prefix),
}

/// A block this node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRecord {
    pub prefix: Prefix,
    /// Since when, if another node may have had it before: its addresses count as released then.
    /// Nothing: from the first start on.
    pub since: Option<Stamp>,
}

/// All that was kept, as [`crate::Ipam::open`] wants it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    pub slots: Slots,
    pub clock: Option<ClockRecord>,
    pub withheld: Vec<(IpAddr, Withheld)>,
    pub blocks: Vec<BlockRecord>,
    /// Not persisted: there was an earlier store, and it was set aside. What this node's addresses
    /// were used for lately is not known.
    pub set_aside: bool,
}

impl Kept {
    /// Nothing was ever kept here.
    pub(crate) fn is_first_start(&self) -> bool {
        let empty = self.slots.is_empty() && self.withheld.is_empty() && self.blocks.is_empty();
        empty && self.clock.is_none() && !self.set_aside
    }

    /// The latest moment any record knows to have passed; `slots`, any of a slot.
    pub(crate) fn latest(&self, slots: Moment) -> Moment {
        let withheld = self.withheld.iter().map(|(_, w)| w.latest());
        let blocks = self.blocks.iter().filter_map(|b| Some(b.since?.moment));
        withheld.chain(blocks).fold(slots, Moment::max)
    }
}

/// One address that is, or lately was, somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub address: IpAddr,
    /// The number of this lease; none was ever given twice. Who releases a lease names it, so that
    /// nobody releases the one that came after it.
    pub seq: u64,
    /// Of which block and pool it was handed out; a repeated ADD answers the same even after the
    /// configuration moved the block away.
    pub block: Prefix,
    pub pool: String,
    pub attachment: Attachment,
    pub netns: String,
    pub owner: Owner,
    /// Which rung of the ladder decided.
    pub rung: Rung,
    /// What the pod asked for; else its pool decides.
    pub policy: Option<Policy>,
    /// Its owner has no claim any more, by an operator's word or because it is gone for good: once
    /// the cooldown is over, anybody may have it.
    pub let_go: bool,
    pub assigned: Stamp,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Assigned,
    Held { released: Stamp },
}

/// When something happened: what counts, and what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub moment: Moment,
    /// Since 1970; for display.
    pub wall: Duration,
}

impl Slot {
    #[must_use]
    pub const fn is_assigned(&self) -> bool {
        matches!(self.state, State::Assigned)
    }

    /// When it was released, if it is held.
    #[must_use]
    pub const fn released(&self) -> Option<Moment> {
        match self.state {
            State::Assigned => None,
            State::Held { released } => Some(released.moment),
        }
    }

    #[must_use]
    pub fn describe_owner(&self) -> String {
        self.owner.describe(&self.attachment)
    }

    /// The latest moment this record knows to have passed.
    pub(crate) fn latest(&self) -> Moment {
        self.released().unwrap_or_default().max(self.assigned.moment)
    }

    pub(crate) fn keys(&self) -> Vec<Key<'_>> {
        self.owner.keys(&self.attachment, self.address.is_ipv4())
    }

    pub(crate) fn answers_to(&self, key: &Key<'_>) -> bool {
        self.keys().contains(key)
    }

    /// The same pod, whatever the container: its uid is known and equal.
    pub(crate) fn is_same_pod(&self, owner: &Owner) -> bool {
        !owner.uid.is_empty() && self.owner.uid == owner.uid
    }
}
