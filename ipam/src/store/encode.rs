//! The bytes of a record: a key of a kind and an address, a value in protobuf's encoding, which
//! lets a later release add fields without a new format.

use ipam_core::{Attachment, BootId, ClockRecord, Moment, Owner, Record, Rung, Slot, Stamp, State};
use mainstay_prefix::Prefix;
use prost::Message;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const FORMAT_KEY: &[u8] = b"format";
pub(crate) const COMMITS_KEY: &[u8] = b"commits";
pub(crate) const CLOCK_KEY: &[u8] = b"clock";
/// Slots have keys of this and the 4 or 16 bytes of their address.
const SLOT: u8 = b'@';

#[derive(Clone, PartialEq, Message)]
struct SlotValue {
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
}

/// The key, and the value to write or `None` to remove it.
pub(crate) fn encode(record: &Record) -> (Vec<u8>, Option<Vec<u8>>) {
    match record {
        Record::Clock(clock) => (CLOCK_KEY.into(), Some(clock_value(clock).encode_to_vec())),
        Record::Slot(slot) => (slot_key(slot.address), Some(slot_value(slot).encode_to_vec())),
        Record::Forget(address) => (slot_key(*address), None),
    }
}

/// `None` for a key or value that this release cannot have written.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Record> {
    if key == CLOCK_KEY {
        return clock(&ClockValue::decode(value).ok()?).map(Record::Clock);
    }
    let (&SLOT, address) = key.split_first()? else { return None };
    slot(address_of(address)?, SlotValue::decode(value).ok()?).map(|s| Record::Slot(Box::new(s)))
}

fn slot_key(address: IpAddr) -> Vec<u8> {
    let mut key = vec![SLOT];
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

fn slot_value(slot: &Slot) -> SlotValue {
    let Slot { attachment, owner, .. } = slot.clone();
    SlotValue {
        block_len: slot.block.len().into(),
        pool: slot.pool.clone(),
        network: attachment.network,
        container_id: attachment.container_id,
        ifname: attachment.ifname,
        netns: slot.netns.clone(),
        namespace: owner.namespace,
        name: owner.name,
        uid: owner.uid,
        sticky_key: owner.sticky_key,
        rung: rung_code(slot.rung),
        assigned: Some(stamp_value(slot.assigned)),
        released: match slot.state {
            State::Assigned => None,
            State::Held { released } => Some(stamp_value(released)),
        },
    }
}

fn slot(address: IpAddr, value: SlotValue) -> Option<Slot> {
    let block = Prefix::containing(address, u8::try_from(value.block_len).ok()?).ok()?;
    Some(Slot {
        address,
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
        },
        rung: rung(value.rung)?,
        assigned: stamp(value.assigned?),
        state: value.released.map_or(State::Assigned, |s| State::Held { released: stamp(s) }),
    })
}

const fn rung_code(rung: Rung) -> u32 {
    match rung {
        Rung::StickyKey => 1,
        Rung::PodUid => 2,
        Rung::Name => 3,
        Rung::None => 4,
    }
}

fn rung(code: u32) -> Option<Rung> {
    [Rung::StickyKey, Rung::PodUid, Rung::Name, Rung::None]
        .into_iter()
        .find(|rung| rung_code(*rung) == code)
}

fn clock_value(clock: &ClockRecord) -> ClockValue {
    ClockValue {
        boot: clock.boot.0.to_be_bytes().into(),
        boottime_ns: nanos(clock.boottime),
        moment_ns: nanos(clock.moment.0),
    }
}

fn clock(value: &ClockValue) -> Option<ClockRecord> {
    Some(ClockRecord {
        boot: BootId(u128::from_be_bytes(value.boot.as_slice().try_into().ok()?)),
        boottime: Duration::from_nanos(value.boottime_ns),
        moment: Moment(Duration::from_nanos(value.moment_ns)),
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

    prop_compose! {
        fn any_stamp()(moment: u64, wall: u64) -> Stamp {
            stamp(StampValue { moment_ns: moment, wall_ns: wall })
        }
    }

    prop_compose! {
        /// A slot of one of a few addresses.
        pub(crate) fn any_slot()(
            (host, v4) in (0u8..6, any::<bool>()),
            block_len in 0u8..=32,
            texts in prop::collection::vec(".{0,12}", 9),
            rung_code in 1u32..=4,
            assigned in any_stamp(),
            released in prop::option::of(any_stamp()),
        ) -> Slot {
            let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
            let address = if v4 { IpAddr::from([10, 0, 0, host]) } else { IpAddr::from(v6) };
            let mut texts = texts.into_iter();
            let mut text = || texts.next().unwrap();
            Slot {
                address,
                block: Prefix::containing(address, block_len).unwrap(),
                pool: text(),
                attachment: Attachment { network: text(), container_id: text(), ifname: text() },
                netns: text(),
                owner: Owner { namespace: text(), name: text(), uid: text(), sticky_key: text() },
                rung: rung(rung_code).unwrap(),
                assigned,
                state: released.map_or(State::Assigned, |released| State::Held { released }),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(slot in any_slot(), boot: u128, a: u64, b: u64) {
            let clock = Record::Clock(ClockRecord {
                boot: BootId(boot),
                boottime: Duration::from_nanos(a),
                moment: Moment(Duration::from_nanos(b)),
            });
            for record in [Record::Slot(Box::new(slot)), clock] {
                let (key, value) = encode(&record);
                prop_assert_eq!(decode(&key, &value.unwrap()), Some(record));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            key in prop::collection::vec(any::<u8>(), 0..20),
            value in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(&key, &value);
            let _ = decode(&[&[SLOT], &key[..]].concat(), &value);
            let _ = decode(CLOCK_KEY, &value);
        }
    }

    #[test]
    fn the_bytes_of_format_1_do_not_change() {
        let stamp = |s| Stamp { moment: Moment(Duration::from_secs(s)), wall: Duration::ZERO };
        let slot = Slot {
            address: IpAddr::from([10, 244, 0, 5]),
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
            assigned: stamp(1),
            state: State::Held { released: stamp(2) },
        };
        let (key, value) = encode(&Record::Slot(Box::new(slot)));
        assert_eq!(key, [b'@', 10, 244, 0, 5]);
        let hex: String = value.unwrap().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "081a1201701a016e2201632a01653a016442017758036206088094ebdc036a060880a8d6b907"
        );
    }
}
