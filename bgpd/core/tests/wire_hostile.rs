//! A million broken messages: no panic, little memory, and what is read can be written and read.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "not all of it is of use here")]
mod wire_support;

use bgp_core::types::Prefix;
use bgp_core::wire::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wire_support::random::Random;

const MESSAGES: u64 = 1_000_000;
/// How much memory reading one message may take at any moment.
const UPDATE_LIMIT: usize = 64 * 1024;

#[test]
fn broken_messages_do_no_harm() {
    let mut random = Random::seeded();
    let samples = wire_support::samples();
    let mut tally = Tally::default();
    for _ in 0..MESSAGES {
        let bytes = random.broken_message(&samples);
        let context = Context {
            four_octet_as: random.below(2) == 0,
            internal: random.below(2) == 0,
            extended_messages: random.below(2) == 0,
            extended_next_hop: random.below(2) == 0,
            ..path_ids(random.below(4))
        };
        try_one(&bytes, &context, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.good > MESSAGES / 20 && tally.bad > MESSAGES / 20, "{tally:?}");
    assert!(tally.healed > MESSAGES / 100, "{tally:?}");
}

#[test]
fn messages_made_to_waste_memory_do_not() {
    for (bytes, limit) in [
        (many_segments(), UPDATE_LIMIT),
        (many_attributes(), UPDATE_LIMIT),
        // Once a connection.
        (many_capabilities(), 2 * UPDATE_LIMIT),
    ] {
        for four_octet_as in [true, false] {
            let context = Context { four_octet_as, internal: true, ..Context::BARE };
            let (_, peak) = peak(|| decode(&bytes, &context).map(|_| ()));
            assert!(peak <= limit, "{peak}");
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    good: u64,
    healed: u64,
    bad: u64,
    peak: usize,
}

/// In none, one or both of the families prefixes stand behind identifiers (RFC 7911), both ways.
fn path_ids(which: usize) -> Context {
    let ids = PathIds { ipv4: which & 1 != 0, ipv6: which & 2 != 0 };
    Context { paths_in: ids, paths_out: ids, ..Context::BARE }
}

fn try_one(bytes: &[u8], context: &Context, tally: &mut Tally) {
    let (result, peak) = peak(|| decode(bytes, context));
    tally.peak = tally.peak.max(peak);
    assert!(peak <= UPDATE_LIMIT, "{peak} octets for {}", hex(bytes));
    match result {
        Err(error) => {
            tally.bad += 1;
            assert!(error.notification.code < 8 && !error.text.is_empty(), "{error:?}");
        }
        Ok(Message::Update(update)) => {
            tally.good += u64::from(update.fault.is_none());
            tally.healed += u64::from(update.fault.is_some());
            assert!(write_again(&update, context), "{}", hex(bytes));
        }
        Ok(_) => tally.good += 1,
    }
}

/// Whether what was read, written and read again is the same.
fn write_again(update: &Update<'_>, context: &Context) -> bool {
    let mut out = Vec::new();
    for section in update.announced.iter().flatten() {
        let Some(attributes) = update.attributes.clone() else { return false };
        let attributes = Attributes { next_hop: section.next_hop, ..attributes };
        let paths: Vec<(Prefix, u32)> = section.nlri.paths().collect();
        out.clear();
        announce(context, section.family, &attributes, &paths, &mut out);
        let Ok(Message::Update(again)) = decode(&out, context) else { return false };
        let read = again.announced.iter().flatten().flat_map(|a| a.nlri.paths());
        if again.attributes != Some(attributes) || !read.eq(paths) {
            return false;
        }
    }
    update
        .withdrawn
        .iter()
        .flatten()
        .all(|section| section.nlri.len() == section.nlri.into_iter().count())
}

/// Of one octet of value each, as many as there are codes.
fn many_attributes() -> Vec<u8> {
    let all = (0..=255).flat_map(|code| [0xc0, code, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    update(&all.collect::<Vec<u8>>())
}

fn many_segments() -> Vec<u8> {
    let segments =
        |octets: usize| [&[2, 1][..], &[1; 4][..octets]].concat().repeat(2000 / (octets + 2));
    let mut attributes = Vec::new();
    for (flags, code, octets) in [(0x50, 2, 2), (0xd0, 17, 4)] {
        let value = segments(octets);
        attributes.extend([flags, code]);
        attributes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        attributes.extend(value);
    }
    update(&attributes)
}

fn update(attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
    message(2, &[&[0, 0], &length[..], attributes, &[8, 10]].concat())
}

fn many_capabilities() -> Vec<u8> {
    let capabilities = [99, 1, 7].repeat(1340);
    let length = |extra: usize| u16::try_from(capabilities.len() + extra).unwrap().to_be_bytes();
    let head = [4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1, 255, 255];
    message(1, &[&head[..], &length(3), &[2], &length(0), &capabilities].concat())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER_LEN + body.len()).unwrap();
    assert!(usize::from(length) <= MAX_LEN);
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What `work` answers, and how much more memory than before it held at most.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).max(0) as usize)
}

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    LIVE.set(LIVE.get() + change);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
