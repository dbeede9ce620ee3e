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

    /// Without the room that a tree keeps between entries that came one after the other.
    pub(crate) fn compact(self) -> Self {
        Self(self.0.into_iter().collect())
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

    /// Shows all of them, in the order of their addresses, in one slot whose texts keep their
    /// memory: to make each of its own costs more than all that is done with it at a start.
    pub(crate) fn each(&self, mut show: impl FnMut(&Slot)) {
        let mut shown: Option<Slot> = None;
        for (address, packed) in &self.0 {
            match &mut shown {
                Some(slot) => packed.unpack(*address, slot),
                None => shown = Some(packed.slot(*address)),
            }
            shown.iter().for_each(&mut show);
        }
    }

    /// The latest moment that any of them knows to have passed, and the highest number.
    pub(crate) fn latest_and_highest(&self) -> (Moment, u64) {
        let each = self.brief().map(|slot| (slot.latest(), slot.seq));
        each.fold((Moment::default(), 0), |a, b| (a.0.max(b.0), a.1.max(b.1)))
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
        let (mut slot, rest) = self.begin(address);
        rest.texts(&mut slot);
        slot
    }

    /// In place of another.
    fn unpack(&self, address: IpAddr, slot: &mut Slot) {
        let (fresh, rest) = self.begin(address);
        let old = std::mem::replace(slot, fresh);
        (slot.pool, slot.netns) = (old.pool, old.netns);
        (slot.attachment, slot.owner) = (old.attachment, old.owner);
        rest.texts(slot);
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
        let bytes = text.as_bytes();
        if bytes.len() >= HEX_FROM && bytes.len().is_multiple_of(2) && bytes.iter().all(is_hex) {
            self.length(bytes.len() / 2, HEX);
            return self.hex(bytes);
        }
        let split = bytes.len().saturating_sub(UUID_LEN);
        let (start, end) = bytes.split_at(split);
        if is_uuid(end) {
            self.length(start.len(), UUID);
            self.0.extend(start);
            return end.split(|byte| *byte == b'-').for_each(|part| self.hex(part));
        }
        self.length(bytes.len(), PLAIN);
        self.0.extend(bytes);
    }

    fn length(&mut self, length: usize, form: u64) {
        self.number((length as u64) << FORM_BITS | form);
    }

    fn hex(&mut self, digits: &[u8]) {
        self.0.extend(digits.chunks_exact(2).map(|pair| match pair {
            [high, low] => nibble(*high) << 4 | nibble(*low),
            _ => 0,
        }));
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

    /// Everything that [`Packed::begin`] has left.
    fn texts(mut self, slot: &mut Slot) {
        let Attachment { network, container_id, ifname } = &mut slot.attachment;
        let Owner { namespace, name, uid, sticky_key, workload } = &mut slot.owner;
        let texts = [&mut slot.pool, network, container_id, ifname, &mut slot.netns];
        let texts = texts.into_iter().chain([namespace, name, uid, sticky_key]);
        texts.for_each(|text| self.text(text));
        *workload = self.workload();
    }

    fn text(&mut self, text: &mut String) {
        text.clear();
        let number = self.number();
        let length = usize::try_from(number >> FORM_BITS).unwrap_or(usize::MAX);
        match number % (1 << FORM_BITS) {
            HEX => hex(self.bytes(length), text),
            UUID => {
                self.plain(length, text);
                for (place, bytes) in UUID_PARTS.into_iter().enumerate() {
                    if place > 0 {
                        text.push('-');
                    }
                    hex(self.bytes(bytes), text);
                }
            }
            _ => self.plain(length, text),
        }
    }

    fn plain(&mut self, length: usize, text: &mut String) {
        text.push_str(std::str::from_utf8(self.bytes(length)).unwrap_or_default());
    }

    fn bytes(&mut self, length: usize) -> &[u8] {
        let Some((bytes, rest)) = self.0.split_at_checked(length) else { return &[] };
        self.0 = rest;
        bytes
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
        let mut workload = Workload { kind, proven: self.byte() != 0, name: String::new() };
        self.text(&mut workload.name);
        Some(workload)
    }
}

/// How a text is packed, said in the lowest bits of its length: most bytes of a slot are the
/// digits of a container's id and of two UUIDs, which take half as many.
const PLAIN: u64 = 0;
const HEX: u64 = 1;
/// Some text, and at its end a UUID.
const UUID: u64 = 2;
const FORM_BITS: u32 = 2;
/// Shorter ones are hardly worth it.
const HEX_FROM: usize = 8;
/// Bytes between the dashes.
const UUID_PARTS: [usize; 5] = [4, 2, 2, 2, 6];
const UUID_LEN: usize = 36;

const fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_uuid(bytes: &[u8]) -> bool {
    let parts = || bytes.split(|byte| *byte == b'-');
    let lengths = parts().map(<[u8]>::len).eq(UUID_PARTS.map(|bytes| bytes * 2));
    lengths && parts().flatten().all(is_hex)
}

const fn nibble(digit: u8) -> u8 {
    if digit < b'a' { digit.wrapping_sub(b'0') } else { digit.wrapping_sub(b'a' - 10) }
}

/// Many digits at once: one after the other they would cost most of what reading a slot does.
fn hex(bytes: &[u8], text: &mut String) {
    let mut digits = [0; 64];
    for some in bytes.chunks(digits.len() / 2) {
        for (pair, byte) in digits.chunks_exact_mut(2).zip(some) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
        let digits = digits.get(..some.len() * 2).unwrap_or_default();
        text.push_str(std::str::from_utf8(digits).unwrap_or_default());
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }
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

    fn any_text() -> impl Strategy<Value = String> {
        const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
        prop_oneof![
            ".*",
            Just("x".repeat(300)),
            "[0-9a-f]{0,200}",
            "[0-9a-fA-F-]{36}",
            UUID,
            (".{0,20}", UUID).prop_map(|(start, uuid)| start + &uuid),
        ]
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
            texts in prop::collection::vec(any_text(), 9),
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

        #[test]
        fn each_slot_is_shown_as_it_is_whichever_was_shown_before(
            slots in prop::collection::vec(any_slot(), 0..6),
        ) {
            let slots: Slots = slots.into_iter().collect();
            let mut shown = Vec::new();
            slots.each(|slot| shown.push(slot.clone()));
            prop_assert_eq!(shown, slots.iter().collect::<Vec<_>>());
        }
    }
}
