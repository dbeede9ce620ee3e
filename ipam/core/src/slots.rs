//! The table of slots, packed. A full /16 has 65,536 of them and most of a slot is text, so what
//! rests here is one piece of memory a slot, and what anybody holds in hand is a [`Slot`].

use crate::identity::{Attachment, Owner, Rung};
use crate::policy::Policy;
use crate::record::{Slot, Stamp, State};
use crate::time::Moment;
use crate::workload::{Kind, Workload};
use mainstay_prefix::Prefix;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeBounds;
use std::time::Duration;

/// Every slot that is not free, by address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slots(BTreeMap<IpAddr, Packed>);

impl Slots {
    /// Whatever stood in its place.
    pub fn insert(&mut self, slot: &Slot) {
        self.0.insert(slot.address, Packed::of(slot));
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        self.range(..)
    }

    pub(crate) fn range(&self, range: impl RangeBounds<IpAddr>) -> impl Iterator<Item = Slot> {
        self.0.range(range).map(|(address, packed)| packed.slot(*address))
    }

    /// All of them without their texts, which cost most.
    pub(crate) fn brief(&self) -> impl Iterator<Item = Slot> {
        self.0.iter().map(|(address, packed)| packed.begin(*address).0)
    }

    pub(crate) fn assigned_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().filter(|(_, packed)| packed.is_assigned()).map(|(address, _)| *address)
    }

    pub(crate) fn assigned(&self) -> impl Iterator<Item = Slot> {
        let assigned = self.0.iter().filter(|(_, packed)| packed.is_assigned());
        assigned.map(|(address, packed)| packed.slot(*address))
    }

    pub(crate) fn assigned_in(&self, range: impl RangeBounds<IpAddr>) -> u64 {
        self.0.range(range).filter(|(_, packed)| packed.is_assigned()).count() as u64
    }

    pub(crate) fn held_in(&self, range: impl RangeBounds<IpAddr>) -> impl Iterator<Item = Slot> {
        let held = self.0.range(range).filter(|(_, packed)| !packed.is_assigned());
        held.map(|(address, packed)| packed.slot(*address))
    }

    pub(crate) fn get(&self, address: IpAddr) -> Option<Slot> {
        self.0.get(&address).map(|packed| packed.slot(address))
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains_key(&address)
    }

    pub(crate) fn remove(&mut self, address: IpAddr) -> Option<Slot> {
        self.0.remove(&address).map(|packed| packed.slot(address))
    }
}

impl FromIterator<Slot> for Slots {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        Self(slots.into_iter().map(|slot| (slot.address, Packed::of(&slot))).collect())
    }
}

/// A slot but for its address. Its state comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packed(Box<[u8]>);

const ASSIGNED: u8 = 0;
const HELD: u8 = 1;

impl Packed {
    fn of(slot: &Slot) -> Self {
        let mut out = Writer(Vec::with_capacity(512));
        match slot.state {
            State::Assigned => out.byte(ASSIGNED),
            State::Held { released } => {
                out.byte(HELD);
                out.stamp(released);
            }
        }
        out.number(slot.seq);
        out.byte(slot.block.len());
        out.byte(slot.rung as u8);
        out.byte(slot.let_go.into());
        out.policy(slot.policy);
        out.stamp(slot.assigned);
        let Attachment { network, container_id, ifname } = &slot.attachment;
        let Owner { namespace, name, uid, sticky_key, workload } = &slot.owner;
        let texts = [&slot.pool, network, container_id, ifname, &slot.netns];
        let texts = texts.into_iter().chain([namespace, name, uid, sticky_key]);
        texts.for_each(|text| out.text(text));
        out.workload(workload.as_ref());
        // A copy of exactly this size, which `into_boxed_slice` would leave a gap behind.
        Self(Box::from(out.0.as_slice()))
    }

    fn is_assigned(&self) -> bool {
        self.0.first() == Some(&ASSIGNED)
    }

    fn slot(&self, address: IpAddr) -> Slot {
        let (mut slot, mut rest) = self.begin(address);
        let Attachment { network, container_id, ifname } = &mut slot.attachment;
        let Owner { namespace, name, uid, sticky_key, workload } = &mut slot.owner;
        let texts = [&mut slot.pool, network, container_id, ifname, &mut slot.netns];
        let texts = texts.into_iter().chain([namespace, name, uid, sticky_key]);
        texts.for_each(|text| *text = rest.text());
        *workload = rest.workload();
        slot
    }

    /// A slot without its texts, and what there is of them.
    fn begin(&self, address: IpAddr) -> (Slot, Reader<'_>) {
        let mut from = Reader(&self.0);
        // The fields are read in the order in which they stand here.
        let state = match from.byte() {
            HELD => State::Held { released: from.stamp() },
            _ => State::Assigned,
        };
        let slot = Slot {
            address,
            state,
            seq: from.number(),
            block: Prefix::containing(address, from.byte())
                .unwrap_or_else(|_| Prefix::host(address)),
            rung: from.one_of(&Rung::ALL).unwrap_or(Rung::None),
            let_go: from.byte() != 0,
            policy: from.policy(),
            assigned: from.stamp(),
            pool: String::new(),
            attachment: Attachment::default(),
            netns: String::new(),
            owner: Owner::default(),
        };
        (slot, from)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn duration(&mut self, duration: Duration) {
        self.number(duration.as_secs());
        self.number(duration.subsec_nanos().into());
    }

    fn stamp(&mut self, stamp: Stamp) {
        self.duration(stamp.moment.0);
        self.duration(stamp.wall);
    }

    fn policy(&mut self, policy: Option<Policy>) {
        match policy {
            None => self.byte(0),
            Some(Policy::Never) => self.byte(1),
            Some(Policy::WhileOwnerExists) => self.byte(2),
            Some(Policy::Ttl(ttl)) => {
                self.byte(3);
                self.duration(ttl);
            }
        }
    }

    fn workload(&mut self, workload: Option<&Workload>) {
        let Some(workload) = workload else { return self.byte(u8::MAX) };
        self.byte(workload.kind as u8);
        self.byte(workload.proven.into());
        self.text(&workload.name);
    }
}

/// Reads what [`Writer`] has written; of anything else it would make zeros and empty texts.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn text(&mut self) -> String {
        let len = usize::try_from(self.number()).unwrap_or(usize::MAX);
        let Some((text, rest)) = self.0.split_at_checked(len) else { return String::new() };
        self.0 = rest;
        std::str::from_utf8(text).unwrap_or_default().into()
    }

    fn duration(&mut self) -> Duration {
        let (seconds, nanos) = (self.number(), self.number());
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos))
    }

    fn stamp(&mut self) -> Stamp {
        Stamp { moment: Moment(self.duration()), wall: self.duration() }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte())).copied()
    }

    fn policy(&mut self) -> Option<Policy> {
        match self.byte() {
            1 => Some(Policy::Never),
            2 => Some(Policy::WhileOwnerExists),
            3 => Some(Policy::Ttl(self.duration())),
            _ => None,
        }
    }

    fn workload(&mut self) -> Option<Workload> {
        let kind = self.one_of(&Kind::ALL)?;
        Some(Workload { kind, proven: self.byte() != 0, name: self.text() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_duration() -> impl Strategy<Value = Duration> {
        (any::<u64>(), 0u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n))
    }

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        (any_duration(), any_duration())
            .prop_map(|(moment, wall)| Stamp { moment: Moment(moment), wall })
    }

    fn any_policy() -> impl Strategy<Value = Policy> {
        prop_oneof![
            Just(Policy::Never),
            Just(Policy::WhileOwnerExists),
            any_duration().prop_map(Policy::Ttl),
        ]
    }

    prop_compose! {
        fn any_workload()(kind in prop::sample::select(&Kind::ALL), name in ".*", proven: bool)
            -> Workload {
            Workload { kind, name, proven }
        }
    }

    prop_compose! {
        fn any_slot()(
            (address, len, seq) in (any::<IpAddr>(), 0u8..=32, any::<u64>()),
            texts in prop::collection::vec(prop_oneof![".*", Just("x".repeat(300))], 9),
            workload in prop::option::of(any_workload()),
            rung in prop::sample::select(&Rung::ALL),
            policy in prop::option::of(any_policy()),
            (let_go, assigned, released) in (any::<bool>(), any_stamp(), prop::option::of(any_stamp())),
        ) -> Slot {
            let [pool, network, container_id, ifname, netns, namespace, name, uid, sticky_key] =
                texts.try_into().unwrap();
            Slot {
                address,
                seq,
                block: Prefix::containing(address, len).unwrap(),
                pool,
                attachment: Attachment { network, container_id, ifname },
                netns,
                owner: Owner { namespace, name, uid, sticky_key, workload },
                rung,
                policy,
                let_go,
                assigned,
                state: released.map_or(State::Assigned, |released| State::Held { released }),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_as_it_was(slot in any_slot()) {
            let slots = Slots::from_iter([slot.clone()]);
            prop_assert_eq!(slots.assigned().count(), usize::from(slot.is_assigned()));
            prop_assert_eq!(slots.get(slot.address), Some(slot));
        }
    }
}
