//! The bytes of a record: a key of a kind and an address, a value in protobuf's encoding, which
//! lets a later release add fields without a new format.

use ipam_core::{
    Attachment, BlockRecord, BootId, ClockRecord, Hold, InUse, Kept, Kind, Moment, Owner, Policy,
    Record, Rung, Slot, Stamp, State, Withheld, Workload,
};
use mainstay_prefix::Prefix;
use prost::Message;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const FORMAT_KEY: &[u8] = b"format";
pub(crate) const COMMITS_KEY: &[u8] = b"commits";
pub(crate) const CLOCK_KEY: &[u8] = b"clock";
/// Slots have keys of this and the 4 or 16 bytes of their address.
const SLOT: u8 = b'@';
/// Withheld addresses likewise.
const WITHHELD: u8 = b'!';
/// Blocks have keys of this, their length, and the bytes of their address.
const BLOCK: u8 = b'/';

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Of a slot. What one was written with or read into serves for the next: its texts keep their
/// memory.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SlotValue {
    #[prost(uint32, tag = "1")]
    block_len: u32,
    #[prost(string, tag = "2")]
    pool: String,
    #[prost(string, tag = "3")]
    network: String,
    #[prost(string, tag = "4")]
    container_id: String,
    #[prost(string, tag = "5")]
    ifname: String,
    #[prost(string, tag = "6")]
    netns: String,
    #[prost(string, tag = "7")]
    namespace: String,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(string, tag = "9")]
    uid: String,
    #[prost(string, tag = "10")]
    sticky_key: String,
    #[prost(uint32, tag = "11")]
    rung: u32,
    #[prost(message, optional, tag = "12")]
    assigned: Option<StampValue>,
    /// Absent: it is assigned.
    #[prost(message, optional, tag = "13")]
    released: Option<StampValue>,
    // From format 2 on.
    #[prost(uint64, tag = "14")]
    seq: u64,
    #[prost(message, optional, tag = "15")]
    workload: Option<WorkloadValue>,
    /// Absent: its pool's.
    #[prost(message, optional, tag = "16")]
    policy: Option<PolicyValue>,
    #[prost(bool, tag = "17")]
    let_go: bool,
}

#[derive(Clone, PartialEq, Message)]
struct WorkloadValue {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bool, tag = "3")]
    proven: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct PolicyValue {
    /// 1: for the time below; 2: never; 3: while its owner exists.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    ttl_ns: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WithheldValue {
    #[prost(message, optional, tag = "1")]
    hold: Option<HoldValue>,
    #[prost(message, optional, tag = "2")]
    in_use: Option<InUseValue>,
}

#[derive(Clone, PartialEq, Message)]
struct HoldValue {
    #[prost(string, tag = "1")]
    why: String,
    #[prost(message, optional, tag = "2")]
    since: Option<StampValue>,
}

#[derive(Clone, PartialEq, Message)]
struct InUseValue {
    #[prost(string, tag = "1")]
    evidence: String,
    #[prost(message, optional, tag = "2")]
    since: Option<StampValue>,
    #[prost(message, optional, tag = "3")]
    gone: Option<StampValue>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct BlockValue {
    /// Absent: from the first start on.
    #[prost(message, optional, tag = "1")]
    since: Option<StampValue>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StampValue {
    #[prost(uint64, tag = "1")]
    moment_ns: u64,
    #[prost(uint64, tag = "2")]
    wall_ns: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ClockValue {
    #[prost(bytes = "vec", tag = "1")]
    boot: Vec<u8>,
    #[prost(uint64, tag = "2")]
    boottime_ns: u64,
    #[prost(uint64, tag = "3")]
    moment_ns: u64,
    #[prost(uint64, tag = "4")]
    next_seq: u64,
}

/// The key, and the value to write or `None` to remove it.
pub(crate) fn encode(record: &Record, value: &mut SlotValue) -> (Vec<u8>, Option<Vec<u8>>) {
    match record {
        Record::Clock(clock) => (CLOCK_KEY.into(), Some(clock_value(clock).encode_to_vec())),
        Record::Slot(slot) => {
            fill(value, slot);
            (key(&[SLOT], slot.address), Some(value.encode_to_vec()))
        }
        Record::Forget(address) => (key(&[SLOT], *address), None),
        Record::Withheld(address, withheld) => {
            (key(&[WITHHELD], *address), Some(withheld_value(withheld).encode_to_vec()))
        }
        Record::Unwithheld(address) => (key(&[WITHHELD], *address), None),
        Record::Block(block) => {
            let value = BlockValue { since: block.since.map(stamp_value) };
            (block_key(block.prefix), Some(value.encode_to_vec()))
        }
        Record::ForgetBlock(prefix) => (block_key(*prefix), None),
    }
}

/// Puts together what keys and values say.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) kept: Kept,
    value: SlotValue,
}

impl Reading {
    /// `None` for what this release cannot have written.
    pub(crate) fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if key == CLOCK_KEY {
            self.kept.clock = Some(clock(&ClockValue::decode(value).ok()?)?);
            return Some(());
        }
        let (kind, rest) = key.split_first()?;
        match *kind {
            SLOT => self.read_slot(address_of(rest)?, value)?,
            WITHHELD => {
                let withheld = withheld(WithheldValue::decode(value).ok()?)?;
                self.kept.withheld.push((address_of(rest)?, withheld));
            }
            BLOCK => {
                let (len, address) = rest.split_first()?;
                let prefix = Prefix::new(address_of(address)?, *len).ok()?;
                let since = BlockValue::decode(value).ok()?.since.map(stamp);
                self.kept.blocks.push(BlockRecord { prefix, since });
            }
            _ => return None,
        }
        Some(())
    }

    fn read_slot(&mut self, address: IpAddr, value: &[u8]) -> Option<()> {
        self.value.clear();
        self.value.merge(value).ok()?;
        let slot = slot(address, std::mem::take(&mut self.value))?;
        self.kept.slots.insert(&slot);
        self.value = texts(slot);
        Some(())
    }
}

/// The keys between which slots are, and one about in their middle: of one block, or of two of
/// different families.
pub(crate) const SLOTS: std::ops::Range<&[u8]> = &[SLOT]..&[SLOT + 1];

pub(crate) fn middle(first: &[u8], last: &[u8]) -> [u8; 16] {
    let number = |key: &[u8]| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        u128::from_be_bytes(bytes)
    };
    let (first, last) = (number(first), number(last));
    (first + last.saturating_sub(first) / 2).to_be_bytes()
}

/// From format 1: leases had no numbers. Returns the pairs to write; the rest stays as it is.
/// The error is the key of what cannot be read.
pub(crate) fn from_format_1(pairs: impl Iterator<Item = Pair>) -> Result<Vec<Pair>, Vec<u8>> {
    let mut new = Vec::new();
    let mut next_seq = 1;
    for (key, value) in pairs {
        if key.first() != Some(&SLOT) {
            continue;
        }
        let Ok(mut slot) = SlotValue::decode(&*value) else { return Err(key) };
        slot.seq = next_seq;
        next_seq += 1;
        new.push((key, slot.encode_to_vec()));
    }
    Ok(new)
}

fn block_key(prefix: Prefix) -> Vec<u8> {
    key(&[BLOCK, prefix.len()], prefix.addr())
}

fn key(start: &[u8], address: IpAddr) -> Vec<u8> {
    let mut key = start.to_vec();
    match address {
        IpAddr::V4(a) => key.extend(a.octets()),
        IpAddr::V6(a) => key.extend(a.octets()),
    }
    key
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn fill(value: &mut SlotValue, slot: &Slot) {
    let Attachment { network, container_id, ifname } = &slot.attachment;
    let Owner { namespace, name, uid, sticky_key, workload } = &slot.owner;
    for (to, from) in [
        (&mut value.pool, &slot.pool),
        (&mut value.network, network),
        (&mut value.container_id, container_id),
        (&mut value.ifname, ifname),
        (&mut value.netns, &slot.netns),
        (&mut value.namespace, namespace),
        (&mut value.name, name),
        (&mut value.uid, uid),
        (&mut value.sticky_key, sticky_key),
    ] {
        to.clone_from(from);
    }
    value.block_len = slot.block.len().into();
    value.rung = rung_code(slot.rung);
    value.assigned = Some(stamp_value(slot.assigned));
    value.released = match slot.state {
        State::Assigned => None,
        State::Held { released } => Some(stamp_value(released)),
    };
    value.seq = slot.seq;
    value.workload = workload.clone().map(workload_value);
    value.policy = slot.policy.map(policy_value);
    value.let_go = slot.let_go;
}

fn slot(address: IpAddr, value: SlotValue) -> Option<Slot> {
    let block = Prefix::containing(address, u8::try_from(value.block_len).ok()?).ok()?;
    Some(Slot {
        address,
        seq: value.seq,
        block,
        pool: value.pool,
        attachment: Attachment {
            network: value.network,
            container_id: value.container_id,
            ifname: value.ifname,
        },
        netns: value.netns,
        owner: Owner {
            namespace: value.namespace,
            name: value.name,
            uid: value.uid,
            sticky_key: value.sticky_key,
            workload: optional(value.workload, workload)?,
        },
        rung: rung(value.rung)?,
        policy: optional(value.policy, policy)?,
        let_go: value.let_go,
        assigned: stamp(value.assigned?),
        state: value.released.map_or(State::Assigned, |s| State::Held { released: stamp(s) }),
    })
}

/// The texts of a slot, and nothing else of it.
fn texts(slot: Slot) -> SlotValue {
    let Attachment { network, container_id, ifname } = slot.attachment;
    let Owner { namespace, name, uid, sticky_key, .. } = slot.owner;
    let (pool, netns) = (slot.pool, slot.netns);
    let texts = SlotValue { pool, network, container_id, ifname, netns, ..SlotValue::default() };
    SlotValue { namespace, name, uid, sticky_key, ..texts }
}

/// What is there has to be good.
fn optional<V, T>(value: Option<V>, read: impl FnOnce(V) -> Option<T>) -> Option<Option<T>> {
    value.map_or(Some(None), |value| read(value).map(Some))
}

const fn rung_code(rung: Rung) -> u32 {
    match rung {
        Rung::StickyKey => 1,
        Rung::PodUid => 2,
        Rung::Name => 3,
        Rung::None => 4,
        Rung::DaemonSet => 5,
        Rung::Owner => 6,
    }
}

fn rung(code: u32) -> Option<Rung> {
    Rung::ALL.into_iter().find(|rung| rung_code(*rung) == code)
}

const fn kind_code(kind: Kind) -> u32 {
    match kind {
        Kind::StatefulSet => 1,
        Kind::DaemonSet => 2,
        Kind::Deployment => 3,
        Kind::Static => 4,
        Kind::Other => 5,
    }
}

fn workload_value(workload: Workload) -> WorkloadValue {
    let Workload { kind, name, proven } = workload;
    WorkloadValue { kind: kind_code(kind), name, proven }
}

fn workload(value: WorkloadValue) -> Option<Workload> {
    let kind = Kind::ALL.into_iter().find(|kind| kind_code(*kind) == value.kind)?;
    Some(Workload { kind, name: value.name, proven: value.proven })
}

fn policy_value(policy: Policy) -> PolicyValue {
    match policy {
        Policy::Ttl(ttl) => PolicyValue { kind: 1, ttl_ns: nanos(ttl) },
        Policy::Never => PolicyValue { kind: 2, ttl_ns: 0 },
        Policy::WhileOwnerExists => PolicyValue { kind: 3, ttl_ns: 0 },
    }
}

const fn policy(value: PolicyValue) -> Option<Policy> {
    match value.kind {
        1 => Some(Policy::Ttl(Duration::from_nanos(value.ttl_ns))),
        2 => Some(Policy::Never),
        3 => Some(Policy::WhileOwnerExists),
        _ => None,
    }
}

fn withheld_value(withheld: &Withheld) -> WithheldValue {
    let hold =
        |hold: &Hold| HoldValue { why: hold.why.clone(), since: Some(stamp_value(hold.since)) };
    let in_use = |in_use: &InUse| InUseValue {
        evidence: in_use.evidence.clone(),
        since: Some(stamp_value(in_use.since)),
        gone: in_use.gone.map(stamp_value),
    };
    WithheldValue {
        hold: withheld.hold.as_ref().map(hold),
        in_use: withheld.in_use.as_ref().map(in_use),
    }
}

fn withheld(value: WithheldValue) -> Option<Withheld> {
    let hold = |hold: HoldValue| Some(Hold { why: hold.why, since: stamp(hold.since?) });
    let in_use = |in_use: InUseValue| {
        let (since, gone) = (stamp(in_use.since?), in_use.gone.map(stamp));
        Some(InUse { evidence: in_use.evidence, since, gone })
    };
    Some(Withheld { hold: optional(value.hold, hold)?, in_use: optional(value.in_use, in_use)? })
}

fn clock_value(clock: &ClockRecord) -> ClockValue {
    ClockValue {
        boot: clock.boot.0.to_be_bytes().into(),
        boottime_ns: nanos(clock.boottime),
        moment_ns: nanos(clock.moment.0),
        next_seq: clock.next_seq,
    }
}

fn clock(value: &ClockValue) -> Option<ClockRecord> {
    Some(ClockRecord {
        boot: BootId(u128::from_be_bytes(value.boot.as_slice().try_into().ok()?)),
        boottime: Duration::from_nanos(value.boottime_ns),
        moment: Moment(Duration::from_nanos(value.moment_ns)),
        next_seq: value.next_seq,
    })
}

fn stamp_value(stamp: Stamp) -> StampValue {
    StampValue { moment_ns: nanos(stamp.moment.0), wall_ns: nanos(stamp.wall) }
}

const fn stamp(value: StampValue) -> Stamp {
    Stamp {
        moment: Moment(Duration::from_nanos(value.moment_ns)),
        wall: Duration::from_nanos(value.wall_ns),
    }
}

/// 584 years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The one thing that a key and its value say.
    fn decode(reading: &mut Reading, key: &[u8], value: &[u8]) -> Option<Record> {
        reading.read(key, value)?;
        let kept = std::mem::take(&mut reading.kept);
        let slot = kept.slots.iter().next().map(|slot| Record::Slot(Box::new(slot)));
        let mut withheld = kept.withheld.into_iter();
        let withheld = withheld.next().map(|(a, withheld)| Record::Withheld(a, Box::new(withheld)));
        let block = kept.blocks.into_iter().next().map(Record::Block);
        slot.or(withheld).or(block).or_else(|| kept.clock.map(Record::Clock))
    }

    prop_compose! {
        fn any_stamp()(moment: u64, wall: u64) -> Stamp {
            stamp(StampValue { moment_ns: moment, wall_ns: wall })
        }
    }

    prop_compose! {
        fn any_workload()(kind in 1u32..=5, name in ".{0,9}", proven: bool) -> Workload {
            workload(WorkloadValue { kind, name, proven }).unwrap()
        }
    }

    prop_compose! {
        fn any_policy()(kind in 1u32..=3, ttl_ns: u64) -> Policy {
            policy(PolicyValue { kind, ttl_ns }).unwrap()
        }
    }

    prop_compose! {
        fn any_withheld()(
            hold in prop::option::of((".{0,9}", any_stamp())),
            in_use in prop::option::of((".{0,9}", any_stamp(), prop::option::of(any_stamp()))),
        ) -> Withheld {
            Withheld {
                hold: hold.map(|(why, since)| Hold { why, since }),
                in_use: in_use.map(|(evidence, since, gone)| InUse { evidence, since, gone }),
            }
        }
    }

    prop_compose! {
        /// A slot of one of a few addresses.
        pub(crate) fn any_slot()(
            (host, v4) in (0u8..6, any::<bool>()),
            block_len in 0u8..=32,
            texts in prop::collection::vec(".{0,12}", 9),
            (rung_code, seq, let_go) in (1u32..=6, any::<u64>(), any::<bool>()),
            (workload, policy) in (prop::option::of(any_workload()), prop::option::of(any_policy())),
            assigned in any_stamp(),
            released in prop::option::of(any_stamp()),
        ) -> Slot {
            let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
            let address = if v4 { IpAddr::from([10, 0, 0, host]) } else { IpAddr::from(v6) };
            let mut texts = texts.into_iter();
            let mut text = || texts.next().unwrap();
            Slot {
                address,
                seq,
                block: Prefix::containing(address, block_len).unwrap(),
                pool: text(),
                attachment: Attachment { network: text(), container_id: text(), ifname: text() },
                netns: text(),
                owner: Owner {
                    namespace: text(),
                    name: text(),
                    uid: text(),
                    sticky_key: text(),
                    workload,
                },
                rung: rung(rung_code).unwrap(),
                policy,
                let_go,
                assigned,
                state: released.map_or(State::Assigned, |released| State::Held { released }),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            (slot, other) in (any_slot(), any_slot()),
            withheld in any_withheld(),
            since in prop::option::of(any_stamp()),
            boot: u128,
            (a, b, next_seq) in any::<(u64, u64, u64)>(),
        ) {
            let clock = Record::Clock(ClockRecord {
                boot: BootId(boot),
                boottime: Duration::from_nanos(a),
                moment: Moment(Duration::from_nanos(b)),
                next_seq,
            });
            let withheld = Record::Withheld(slot.address, Box::new(withheld));
            let block = Record::Block(BlockRecord { prefix: slot.block, since });
            // Nothing of the first slot is left in the second.
            let slots = [slot, other].map(|slot| Record::Slot(Box::new(slot)));
            let (mut reading, mut scratch) = (Reading::default(), SlotValue::default());
            for record in slots.into_iter().chain([withheld, block, clock]) {
                let (key, value) = encode(&record, &mut scratch);
                prop_assert_eq!(decode(&mut reading, &key, &value.unwrap()), Some(record));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            key in prop::collection::vec(any::<u8>(), 0..20),
            value in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut reading = Reading::default();
            let _ = decode(&mut reading, &key, &value);
            for kind in [SLOT, WITHHELD, BLOCK] {
                let _ = decode(&mut reading, &[&[kind], &key[..]].concat(), &value);
            }
            let _ = decode(&mut reading, CLOCK_KEY, &value);
        }
    }

    #[test]
    fn the_bytes_of_format_2_do_not_change() {
        let stamp = |s| Stamp { moment: Moment(Duration::from_secs(s)), wall: Duration::ZERO };
        let slot = Slot {
            address: IpAddr::from([10, 244, 0, 5]),
            seq: 7,
            block: "10.244.0.0/26".parse().unwrap(),
            pool: "p".into(),
            attachment: Attachment {
                network: "n".into(),
                container_id: "c".into(),
                ifname: "e".into(),
            },
            netns: String::new(),
            owner: Owner { namespace: "d".into(), name: "w".into(), ..Owner::default() },
            rung: Rung::Name,
            policy: Some(Policy::Never),
            let_go: true,
            assigned: stamp(1),
            state: State::Held { released: stamp(2) },
        };
        let record = Record::Slot(Box::new(slot));
        let (key, value) = encode(&record, &mut SlotValue::default());
        assert_eq!(key, [b'@', 10, 244, 0, 5]);
        let hex: String = value.unwrap().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "081a1201701a016e2201632a01653a016442017758036206088094ebdc036a060880a8d6b907\
             70078201020802880101"
        );
    }
}
