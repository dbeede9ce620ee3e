//! What is persisted: a record for each slot that is not free, and the clock.

use crate::identity::{Attachment, Key, Owner, Rung};
use crate::time::{ClockRecord, Moment};
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
}

/// One address that is, or lately was, somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub address: IpAddr,
    /// Of which block and pool it was handed out; a repeated ADD answers the same even after the
    /// configuration moved the block away.
    pub block: Prefix,
    pub pool: String,
    pub attachment: Attachment,
    pub netns: String,
    pub owner: Owner,
    /// Which rung of the ladder decided.
    pub rung: Rung,
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

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.owner.keys(&self.attachment, self.address.is_ipv4())
    }

    /// The same pod, whatever the container: its uid is known and equal.
    pub(crate) fn is_same_pod(&self, owner: &Owner) -> bool {
        !owner.uid.is_empty() && self.owner.uid == owner.uid
    }
}
