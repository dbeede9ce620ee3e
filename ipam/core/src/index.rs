//! Which slots an attachment has, and which answer to a key of an owner. However many share a key,
//! a question costs O(log n).
//!
//! Of an attachment or a key only a digest is kept, so an answer may name slots of another
//! one: whoever asks compares with the slot itself.

use crate::identity::{Attachment, Key, Rung};
use crate::ordered::{Ordered, Unordered, nanos};
use crate::policy::Policy;
use crate::record::Slot;
use crate::time::Moment;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Index {
    /// By digest.
    assigned: Ordered<1>,
    /// By digest and the moment of release.
    held: Ordered<2>,
}

/// What an index is built of in one go.
#[derive(Default)]
pub(crate) struct Entries {
    assigned: Unordered<1>,
    held: Unordered<2>,
}

/// Stands for texts.
fn digest(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Every entry of a slot. One that no pool can hand out has no policy, and does not go back to its
/// owner.
fn each(
    slot: &Slot,
    policy: Option<Policy>,
    mut assigned: impl FnMut([u64; 1]),
    mut held: impl FnMut([u64; 2]),
) {
    let released = slot.released().map(nanos);
    if released.is_none() {
        assigned([digest(&slot.attachment)]);
    }
    let Some(policy) = policy else { return };
    for key in slot.keys() {
        match released {
            None if names_one_pod(&key) => assigned([digest(&key)]),
            // Of a slot that is kept for nobody, only the container's own key counts.
            Some(released) if key.rung == Rung::None || policy.recognises() => {
                held([digest(&key), released]);
            }
            _ => {}
        }
    }
}

/// A live address changes hands by such a key alone.
const fn names_one_pod(key: &Key<'_>) -> bool {
    matches!(key.rung, Rung::StickyKey | Rung::PodUid | Rung::Name)
}

impl Entries {
    pub(crate) fn add(&mut self, slot: &Slot, policy: Option<Policy>) {
        let Self { assigned, held } = self;
        let address = slot.address;
        each(slot, policy, |by| assigned.push(by, address), |by| held.push(by, address));
    }
}

impl From<Entries> for Index {
    fn from(entries: Entries) -> Self {
        Self { assigned: entries.assigned.into(), held: entries.held.into() }
    }
}

impl Index {
    pub(crate) fn insert(&mut self, slot: &Slot, policy: Option<Policy>) {
        let Self { assigned, held } = self;
        let address = slot.address;
        each(slot, policy, |by| assigned.insert(by, address), |by| held.insert(by, address));
    }

    pub(crate) fn remove(&mut self, slot: &Slot, policy: Option<Policy>) {
        let Self { assigned, held } = self;
        let address = slot.address;
        each(slot, policy, |by| assigned.remove(by, address), |by| held.remove(by, address));
    }

    /// In the order of the addresses.
    pub(crate) fn attached(&self, attachment: &Attachment) -> impl Iterator<Item = IpAddr> {
        self.assigned_under(digest(attachment))
    }

    /// The assigned ones of a key that names one pod, in the order of the addresses.
    pub(crate) fn assigned(&self, key: &Key<'_>) -> impl Iterator<Item = IpAddr> {
        self.assigned_under(digest(key))
    }

    fn assigned_under(&self, digest: u64) -> impl Iterator<Item = IpAddr> {
        self.assigned.range([digest], [digest])
    }

    /// Those that are held, the most recently released first.
    pub(crate) fn held(&self, key: &Key<'_>) -> impl Iterator<Item = IpAddr> {
        self.held_until(key, Moment(Duration::MAX))
    }

    /// Those that were released at that moment or before, the most recently released first.
    pub(crate) fn held_until(&self, key: &Key<'_>, last: Moment) -> impl Iterator<Item = IpAddr> {
        let digest = digest(key);
        self.held.range([digest, 0], [digest, nanos(last)]).rev()
    }
}
