//! Which slots an attachment has, and which answer to a key of an owner. However many share a key,
//! a question costs O(log n).
//!
//! Of an attachment or a key only its [`Digest`] is kept, so an answer may name slots of another
//! one: whoever asks compares with the slot itself.

use crate::identity::{Attachment, Key, Rung};
use crate::policy::Policy;
use crate::record::Slot;
use crate::time::Moment;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

/// Stands for texts. Bytes, so that there is no gap between it and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Digest([u8; 8]);

type Assigned = (Digest, IpAddr);
type Held = (Digest, Moment, IpAddr);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Index {
    assigned: BTreeSet<Assigned>,
    held: BTreeSet<Held>,
}

/// What an index is built of in one go, which costs less than one slot after the other.
#[derive(Default)]
pub(crate) struct Entries {
    assigned: Vec<Assigned>,
    held: Vec<Held>,
}

impl Digest {
    fn of(what: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish().to_be_bytes())
    }
}

impl Entries {
    /// A slot that no pool can hand out has no policy, and does not go back to its owner.
    pub(crate) fn add(&mut self, slot: &Slot, policy: Option<Policy>) {
        let keys = policy.map(|policy| (slot.keys(), policy));
        let Some(released) = slot.released() else {
            self.assigned.push((Digest::of(&slot.attachment), slot.address));
            let keys = keys.into_iter().flat_map(|(keys, _)| keys).filter(names_one_pod);
            self.assigned.extend(keys.map(|key| (Digest::of(&key), slot.address)));
            return;
        };
        let Some((keys, policy)) = keys else { return };
        // Of a slot that is kept for nobody, only the container's own key counts.
        let keys = keys.iter().filter(|key| key.rung == Rung::None || policy.recognises());
        self.held.extend(keys.map(|key| (Digest::of(key), released, slot.address)));
    }
}

/// A live address changes hands by such a key alone.
const fn names_one_pod(key: &Key<'_>) -> bool {
    matches!(key.rung, Rung::StickyKey | Rung::PodUid | Rung::Name)
}

impl From<Entries> for Index {
    fn from(entries: Entries) -> Self {
        let (assigned, held) = (entries.assigned, entries.held);
        Self { assigned: assigned.into_iter().collect(), held: held.into_iter().collect() }
    }
}

impl Index {
    pub(crate) fn insert(&mut self, slot: &Slot, policy: Option<Policy>) {
        let mut entries = Entries::default();
        entries.add(slot, policy);
        self.assigned.extend(entries.assigned);
        self.held.extend(entries.held);
    }

    pub(crate) fn remove(&mut self, slot: &Slot, policy: Option<Policy>) {
        let mut entries = Entries::default();
        entries.add(slot, policy);
        for entry in &entries.assigned {
            self.assigned.remove(entry);
        }
        for entry in &entries.held {
            self.held.remove(entry);
        }
    }

    /// In the order of the addresses.
    pub(crate) fn attached(&self, attachment: &Attachment) -> impl Iterator<Item = IpAddr> {
        self.assigned_under(Digest::of(attachment))
    }

    /// The assigned ones of a key that names one pod, in the order of the addresses.
    pub(crate) fn assigned(&self, key: &Key<'_>) -> impl Iterator<Item = IpAddr> {
        self.assigned_under(Digest::of(key))
    }

    fn assigned_under(&self, digest: Digest) -> impl Iterator<Item = IpAddr> {
        let assigned = self.assigned.range((digest, FIRST)..=(digest, LAST));
        assigned.map(|(_, address)| *address)
    }

    /// Those that are held, the most recently released first.
    pub(crate) fn held(&self, key: &Key<'_>) -> impl Iterator<Item = IpAddr> {
        self.held_until(key, Moment(Duration::MAX))
    }

    /// Those that were released at that moment or before, the most recently released first.
    pub(crate) fn held_until(&self, key: &Key<'_>, last: Moment) -> impl Iterator<Item = IpAddr> {
        let digest = Digest::of(key);
        let held = self.held.range((digest, Moment::default(), FIRST)..=(digest, last, LAST));
        held.rev().map(|(_, _, address)| *address)
    }
}
