//! Reading and writing UPDATEs of 300 prefixes. Divan shows prefixes a second: 150 Mitem/s are
//! 6.7 ns each.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use bgp_core::types::{Asn, Family, NextHop, Prefix};
use bgp_core::wire::*;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const PREFIXES: u32 = 300;
const CONTEXT: Context = Context { four_octet_as: true, internal: true, ..Context::BARE };
const FAMILIES: [Family; 2] = Family::ALL;

fn main() {
    divan::main();
}

fn prefixes(family: Family) -> Vec<Prefix> {
    // /24 and /64, as most are.
    let prefix = |i: u32| match family {
        Family::Ipv4Unicast => {
            Prefix::containing(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + (i << 8))), 24)
        }
        Family::Ipv6Unicast => {
            let bits = 0x2001_0db8 << 96 | u128::from(i) << 64;
            Prefix::containing(IpAddr::V6(Ipv6Addr::from(bits)), 64)
        }
    };
    (0..PREFIXES).map(|i| prefix(i).unwrap()).collect()
}

fn attributes(family: Family) -> Attributes {
    let asns = [65001, 65002, 4_200_000_000].map(Asn).into();
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4([192, 0, 2, 1].into()),
        Family::Ipv6Unicast => NextHop::V6 { global: [0x20; 16].into(), link_local: None },
    };
    Attributes {
        as_path: AsPath(vec![Segment { kind: SegmentKind::Sequence, asns }]),
        local_pref: Some(100),
        communities: vec![65001 << 16 | 100, 65001 << 16 | 200],
        ..Attributes::bare(next_hop, Origin::Igp)
    }
}

fn message(family: Family) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = announce(&CONTEXT, family, &attributes(family), &prefixes(family), &mut bytes);
    assert_eq!(count, PREFIXES as usize);
    bytes
}

/// Attributes read, prefixes checked.
#[divan::bench(args = FAMILIES)]
fn decode_only(bencher: Bencher<'_, '_>, family: Family) {
    let bytes = message(family);
    bencher
        .counter(ItemsCount::new(PREFIXES))
        .bench(|| decode(black_box(&bytes), &CONTEXT).is_ok());
}

/// And every prefix looked at.
#[divan::bench(args = FAMILIES)]
fn decode_and_iterate(bencher: Bencher<'_, '_>, family: Family) {
    let bytes = message(family);
    bencher.counter(ItemsCount::new(PREFIXES)).bench(|| {
        let Ok(Message::Update(update)) = decode(black_box(&bytes), &CONTEXT) else { panic!() };
        for prefix in update.announced.iter().flatten().flat_map(|a| a.nlri) {
            black_box(prefix);
        }
    });
}

#[divan::bench(args = FAMILIES)]
fn encode(bencher: Bencher<'_, '_>, family: Family) {
    let (attributes, prefixes) = (attributes(family), prefixes(family));
    let mut out = Vec::with_capacity(MAX_LEN);
    bencher.counter(ItemsCount::new(PREFIXES)).bench_local(|| {
        out.clear();
        announce(&CONTEXT, family, black_box(&attributes), black_box(&prefixes), &mut out)
    });
}

/// 64 KiB of UPDATEs, as a socket gives them.
#[divan::bench(args = FAMILIES)]
fn frame_and_decode(bencher: Bencher<'_, '_>, family: Family) {
    let one = message(family);
    let messages = 65536 / one.len();
    let stream = one.repeat(messages);
    let mut framer = Framer::new();
    bencher.counter(ItemsCount::new(messages * PREFIXES as usize)).bench_local(|| {
        framer.push(black_box(&stream));
        let mut count = 0;
        while let Some(frame) = framer.next().unwrap() {
            let Ok(Message::Update(update)) = decode(frame, &CONTEXT) else { panic!() };
            for prefix in update.announced.iter().flatten().flat_map(|a| a.nlri) {
                black_box(prefix);
                count += 1;
            }
        }
        count
    });
}
