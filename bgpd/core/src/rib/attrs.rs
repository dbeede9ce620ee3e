//! One copy of each set of attributes: most of a table's routes share theirs with many others.
//!
//! A set is kept as the octets it has in an UPDATE, beside what the decision process asks for;
//! [`Attributes`] are made of it when somebody wants to look or to change. Whoever holds very many
//! of them holds their numbers ([`AttrsId`]) and is asked which when the interner is swept.

use super::decision::DEFAULT_LOCAL_PREF;
use super::export::Reach;
use crate::types::{Asn, Family, NextHop, RouterId};
use crate::wire::{self, Attributes, Community, Context, Listed, Origin};
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::rc::Rc;

/// Interned attributes: equal ones are the same. One thread has them all: a count kept by atomics
/// makes each clone wait for the tables' memory, which costs an eighth of a large transfer.
#[derive(Clone)]
pub(crate) struct Attrs(Rc<Set>);

/// Stands for a set of attributes in tables; [`Interner::get`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttrsId(NonZeroU32);

impl AttrsId {
    fn of_index(index: usize) -> Self {
        let next = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        Self(NonZeroU32::new(next).unwrap_or(NonZeroU32::MAX))
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Small, for there are as many as there are sets: zero stands for an AS and an ID that are not
/// there, as it is none that could be.
struct Set {
    octets: Octets,
    id: AttrsId,
    med: u32,
    local_pref: u32,
    /// Never on the wire.
    weight: u32,
    first_as: u32,
    originator_id: u32,
    path_length: u16,
    clusters: u16,
    origin: Origin,
    reach: Reach,
    long_lived_stale: bool,
    graceful_shutdown: bool,
    has_bandwidth: bool,
    has_med: bool,
    only_to_customer: bool,
}

/// As [`wire::pack`] has written them.
enum Octets {
    Fit(Box<[u8]>),
    /// What no attribute's length field can say; such a set is told to nobody.
    Oversized(Box<(Attributes, Box<[u8]>)>),
}

/// No UPDATE holds more.
const MAX_PACKED: usize = u16::MAX as usize;

impl Attrs {
    fn new(attributes: &Attributes, packed: &[u8], id: AttrsId) -> Self {
        let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let octets = match packed.len() {
            ..=MAX_PACKED => Octets::Fit(packed.into()),
            _ => Octets::Oversized(Box::new((attributes.clone(), packed.into()))),
        };
        Self(Rc::new(Set {
            octets,
            id,
            med: attributes.med.unwrap_or(0),
            local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            weight: attributes.weight,
            first_as: attributes.as_path.first().map_or(0, |asn| asn.0),
            originator_id: attributes.originator_id.map_or(0, |id| id.0.to_bits()),
            path_length: count(attributes.as_path.length()),
            clusters: count(attributes.cluster_list.len()),
            origin: attributes.origin,
            reach: Reach::of(attributes),
            long_lived_stale: attributes.is_long_lived_stale(),
            graceful_shutdown: attributes.has_community(Community::GRACEFUL_SHUTDOWN),
            has_bandwidth: attributes.link_bandwidth().is_some(),
            has_med: attributes.med.is_some(),
            only_to_customer: attributes.only_to_customer.is_some(),
        }))
    }

    pub(crate) fn id(&self) -> AttrsId {
        self.0.id
    }

    /// 0 where there is none.
    pub(crate) fn med(&self) -> u32 {
        self.0.med
    }

    pub(crate) fn has_med(&self) -> bool {
        self.0.has_med
    }

    /// Of its link, in octets a second (RFC 10005).
    pub(crate) fn bandwidth(&self) -> Option<f32> {
        if self.0.has_bandwidth { self.unpack().link_bandwidth() } else { None }
    }

    /// RFC 9234 §5.
    pub(crate) fn is_only_to_customer(&self) -> bool {
        self.0.only_to_customer
    }

    /// The default where there is none.
    pub(crate) fn local_pref(&self) -> u32 {
        self.0.local_pref
    }

    pub(crate) fn weight(&self) -> u32 {
        self.0.weight
    }

    pub(crate) fn origin(&self) -> Origin {
        self.0.origin
    }

    pub(crate) fn originator_id(&self) -> Option<RouterId> {
        match self.0.originator_id {
            0 => None,
            id => Some(RouterId(id.into())),
        }
    }

    /// The neighbour's AS, if there is one.
    pub(crate) fn first_as(&self) -> Option<Asn> {
        match self.0.first_as {
            0 => None,
            asn => Some(Asn(asn)),
        }
    }

    /// RFC 4271 §9.1.2.2 a.
    pub(crate) fn path_length(&self) -> u16 {
        self.0.path_length
    }

    pub(crate) fn clusters(&self) -> u16 {
        self.0.clusters
    }

    /// RFC 1997.
    pub(crate) fn reach(&self) -> Reach {
        self.0.reach
    }

    /// RFC 9494 §3.2.
    pub(crate) fn is_long_lived_stale(&self) -> bool {
        self.0.long_lived_stale
    }

    /// RFC 8326 §4.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.0.graceful_shutdown
    }

    pub(crate) fn next_hop(&self) -> NextHop {
        match &self.0.octets {
            Octets::Oversized(whole) => whole.0.next_hop,
            Octets::Fit(packed) => wire::packed_next_hop(packed),
        }
    }

    pub(crate) fn unpack(&self) -> Attributes {
        match &self.0.octets {
            Octets::Oversized(whole) => whole.0.clone(),
            Octets::Fit(packed) => Attributes { weight: self.weight(), ..wire::unpack(packed) },
        }
    }

    /// As [`wire::announce`].
    pub(crate) fn announce<L: Listed>(
        &self,
        context: &Context,
        family: Family,
        prefixes: &[L],
        out: &mut Vec<u8>,
    ) -> usize {
        match &self.0.octets {
            Octets::Oversized(_) => 0,
            Octets::Fit(packed) => wire::announce_packed(context, family, packed, prefixes, out),
        }
    }

    /// As [`wire::pack`] has written them.
    pub(crate) fn packed(&self) -> &[u8] {
        match &self.0.octets {
            Octets::Fit(packed) => packed,
            Octets::Oversized(whole) => &whole.1,
        }
    }

    fn is(&self, attributes: &Attributes, packed: &[u8]) -> bool {
        let whole = match &self.0.octets {
            Octets::Fit(own) => **own == *packed,
            Octets::Oversized(own) => own.0 == *attributes,
        };
        whole && self.weight() == attributes.weight
    }

    fn is_used(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }
}

impl PartialEq for Attrs {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Attrs {}

impl std::fmt::Debug for Attrs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.unpack().fmt(f)
    }
}

/// Hash-consed attributes: equal ones are the same [`Attrs`], so comparing pointers suffices.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    sets: Vec<Option<Attrs>>,
    index: HashTable<Place>,
    /// Indexes that are free.
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    scratch: Vec<u8>,
    /// Sweep when there are this many.
    sweep_at: usize,
}

/// Of a set in `sets`; with its hash, so that the index grows without a look at the sets.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    index: u32,
}

/// Below this many a sweep is not worth the walk.
const SWEEP_MIN: usize = 1024;

impl Interner {
    pub(crate) fn intern(&mut self, attributes: &Attributes) -> Attrs {
        self.intern_with(attributes, attributes.next_hop)
    }

    /// These attributes with that next hop.
    pub(crate) fn intern_with(&mut self, attributes: &Attributes, next_hop: NextHop) -> Attrs {
        if attributes.next_hop != next_hop {
            return self.intern(&Attributes { next_hop, ..attributes.clone() });
        }
        let mut packed = std::mem::take(&mut self.scratch);
        packed.clear();
        wire::pack(attributes, &mut packed);
        let attrs = self.find_or_add(attributes, &packed);
        self.scratch = packed;
        attrs
    }

    fn find_or_add(&mut self, attributes: &Attributes, packed: &[u8]) -> Attrs {
        let hash = short(self.hasher.hash_one(packed));
        let sets = &self.sets;
        let entry = self.index.entry(
            spread(hash),
            |p| p.hash == hash && at(sets, p.index).is_some_and(|a| a.is(attributes, packed)),
            |p| spread(p.hash),
        );
        match entry {
            Entry::Occupied(known) => match at(sets, known.get().index) {
                Some(attrs) => attrs.clone(),
                None => Attrs::new(attributes, packed, AttrsId::of_index(sets.len())),
            },
            Entry::Vacant(vacant) => {
                let index = self.free.pop().unwrap_or_else(|| {
                    self.sets.push(None);
                    u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
                });
                vacant.insert(Place { hash, index });
                let id = AttrsId::of_index(index as usize);
                let attrs = Attrs::new(attributes, packed, id);
                if let Some(slot) = self.sets.get_mut(index as usize) {
                    *slot = Some(attrs.clone());
                }
                attrs
            }
        }
    }

    pub(crate) fn get(&self, id: AttrsId) -> Option<&Attrs> {
        self.sets.get(id.index())?.as_ref()
    }

    /// There are twice as many as the last sweep has left: a sweep costs little for each.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.index.len() >= self.sweep_at.max(SWEEP_MIN)
    }

    /// Drops what nobody uses any more, by a pointer or by a number that `mark` tells.
    pub(crate) fn sweep(&mut self, mark: impl FnOnce(&mut dyn FnMut(AttrsId))) {
        let mut marked = vec![false; self.sets.len()];
        mark(&mut |id| {
            if let Some(mark) = marked.get_mut(id.index()) {
                *mark = true;
            }
        });
        let Self { sets, index, free, .. } = self;
        index.retain(|place| {
            let slot = place.index as usize;
            let named = marked.get(slot).copied().unwrap_or(false);
            let used = named || at(sets, place.index).is_some_and(Attrs::is_used);
            if !used {
                free.push(place.index);
                sets.get_mut(slot).map(Option::take);
            }
            used
        });
        self.sweep_at = self.index.len() * 2;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}

/// As much of a hash as is kept, and a whole one made of it.
#[allow(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
const fn short(hash: u64) -> u32 {
    hash as u32
}

const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn at(sets: &[Option<Attrs>], index: u32) -> Option<&Attrs> {
    sets.get(index as usize)?.as_ref()
}

#[cfg(test)]
impl Attrs {
    /// Of no interner: equal to its clones alone.
    pub(crate) fn lone(attributes: &Attributes) -> Self {
        Interner::default().intern(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::attributes;
    use crate::wire::RawAttribute;

    #[test]
    fn equal_attributes_are_one() {
        let mut interner = Interner::default();
        let one = interner.intern(&attributes(&[65001]));
        let two = interner.intern(&attributes(&[65001]));
        assert_eq!(one, two);
        assert_ne!(one, interner.intern(&attributes(&[65002])));
        assert_eq!(interner.get(one.id()), Some(&one));
        assert_eq!(one.unpack(), attributes(&[65001]));
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut interner = Interner::default();
        let kept = interner.intern(&attributes(&[1]));
        let numbered = interner.intern(&attributes(&[2])).id();
        for asn in 3..10_000 {
            interner.intern(&attributes(&[asn]));
            if interner.wants_sweep() {
                interner.sweep(|mark| mark(numbered));
            }
        }
        assert!(interner.len() <= SWEEP_MIN, "{}", interner.len());
        assert_eq!(kept, interner.intern(&attributes(&[1])));
        assert_eq!(interner.get(numbered).unwrap().unpack(), attributes(&[2]));
    }

    #[test]
    fn attributes_that_no_message_can_hold_are_kept_as_they_are() {
        let mut interner = Interner::default();
        let mut big = attributes(&[65001]);
        big.unknown = vec![RawAttribute { flags: 0xe0, code: 99, value: vec![7; 70_000] }];
        let one = interner.intern(&big);
        assert_eq!(one.unpack(), big);
        assert_eq!(one, interner.intern(&big));
        big.unknown = vec![RawAttribute { flags: 0xe0, code: 99, value: vec![8; 70_000] }];
        assert_eq!(interner.intern(&big).unpack(), big);
    }
}
