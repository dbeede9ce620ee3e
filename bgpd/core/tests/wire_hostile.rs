//! A million broken messages: no panic, little memory, and what is read can be written and read.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "only the bytes are of use here")]
mod wire_support;

use bgp_core::types::Prefix;
use bgp_core::wire::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

const MESSAGES: u64 = 1_000_000;
/// How much memory reading one message may take at any moment.
const UPDATE_LIMIT: usize = 64 * 1024;

#[test]
fn broken_messages_do_no_harm() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random(seed | 1);
    let seeds = wire_support::samples();
    let mut tally = Tally::default();
    for _ in 0..MESSAGES {
        let mut bytes = random.pick(&seeds).bytes.clone();
        for _ in 0..=random.below(3) {
            random.mutate(&mut bytes, &random.clone().pick(&seeds).bytes);
        }
        random.mend_header(&mut bytes);
        let context =
            Context { four_octet_as: random.below(2) == 0, internal: random.below(2) == 0 };
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
            let context = Context { four_octet_as, internal: true };
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
        let prefixes: Vec<Prefix> = section.nlri.into_iter().collect();
        out.clear();
        announce(context, section.family, &attributes, &prefixes, &mut out);
        let Ok(Message::Update(again)) = decode(&out, context) else { return false };
        let read = again.announced.iter().flatten().flat_map(|a| a.nlri);
        if again.attributes != Some(attributes) || !read.eq(prefixes) {
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

/// `SEED=…` repeats a run.
fn seed() -> u64 {
    let told = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    told.unwrap_or_else(|| RandomState::new().build_hasher().finish())
}

/// xorshift64*
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const TELLING: [u8; 12] = [0, 1, 2, 4, 14, 15, 16, 17, 32, 128, 254, 255];
        // The header is mended afterwards anyway.
        let start = HEADER_LEN.min(bytes.len());
        let at = start + self.below(bytes.len() - start);
        match self.below(8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 | 3 if at < bytes.len() => bytes[at] = *self.pick(&TELLING),
            4 if at < bytes.len() => bytes[at] = self.next() as u8,
            5 => bytes.insert(at, self.next() as u8),
            6 => drop(bytes.drain(at..(at + self.below(8)).min(bytes.len()))),
            _ => {
                let from = self.below(other.len());
                let to = (from + self.below(40)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }

    /// Mostly whole, so that what is behind it is reached.
    fn mend_header(&mut self, bytes: &mut Vec<u8>) {
        bytes.truncate(MAX_LEN);
        if self.below(50) == 0 || bytes.len() < HEADER_LEN {
            return;
        }
        let length = u16::try_from(bytes.len()).unwrap();
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
        // Half of the time the attributes' length is mended too.
        if bytes[18] == 2 && bytes.len() >= 23 && self.below(2) == 0 {
            let withdrawn = usize::from(u16::from_be_bytes([bytes[19], bytes[20]]));
            let room = bytes.len() - 23;
            let at = 21 + withdrawn;
            if withdrawn <= room {
                let nlri = self.below(8).min(room - withdrawn);
                let length = u16::try_from(room - withdrawn - nlri).unwrap();
                bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
            }
        }
    }
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
