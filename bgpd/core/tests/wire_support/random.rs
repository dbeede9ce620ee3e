//! Broken messages, the same for the same seed.

use super::Sample;
use bgp_core::wire::{HEADER_LEN, MAX_LEN};
use std::hash::{BuildHasher, Hasher, RandomState};

/// xorshift64*
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// `SEED=…` repeats a run.
    pub(crate) fn seeded() -> Self {
        let told = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
        let seed = told.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("SEED={seed}");
        Self(seed | 1)
    }

    /// One of the samples with up to three things wrong in it.
    pub(crate) fn broken_message(&mut self, samples: &[Sample]) -> Vec<u8> {
        let mut bytes = self.pick(samples).bytes.clone();
        for _ in 0..=self.below(3) {
            let other = &self.pick(samples).bytes;
            self.mutate(&mut bytes, other);
        }
        self.mend_header(&mut bytes);
        bytes
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
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
