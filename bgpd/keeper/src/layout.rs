//! Where what lies in a session's memory file.
//!
//! ```text
//! 0        header: magic, version, spans, checksum (never changes) · owner · positions · times
//! 4096     snapshot: what the session agreed on, written once at Established
//! 65536    TX ring · RX ring · journal (the speaker's own, the keeper never looks inside)
//! ```
//! A file says which version wrote it and the oldest version that can read it, so that a speaker
//! or keeper of one release earlier or later goes on with it. What cannot be read is an error
//! here, and that session alone falls back to graceful restart.

use crate::area::Area;

/// Rings and journal start and end on these: the largest page size of a Linux we run on.
pub const ALIGN: u64 = 65536;
pub const VERSION: u32 = 1;
/// The oldest version whose reader understands what we write.
pub const READABLE_FROM: u32 = 1;
/// The oldest version that we understand.
pub const OLDEST: u32 = 1;

const MAGIC: u64 = u64::from_ne_bytes(*b"MSKEEPER");
const HEADER_LEN: u64 = 4096;
const MAX_RING: u64 = 64 << 20;
const MAX_JOURNAL: u64 = 4 << 30;

/// Bytes of the header's words.
pub(crate) mod word {
    pub(crate) const MAGIC: u64 = 0;
    pub(crate) const VERSION: u64 = 8;
    pub(crate) const TX: u64 = 16;
    pub(crate) const RX: u64 = 32;
    pub(crate) const SNAPSHOT: u64 = 48;
    pub(crate) const JOURNAL: u64 = 64;
    pub(crate) const TX_SKEW: u64 = 80;
    pub(crate) const SUM: u64 = 88;
    // From here on words change; those of one writer share a cache line.
    pub(crate) const OWNER: u64 = 128;
    pub(crate) const ORPHANED: u64 = 136;
    pub(crate) const TX_APPENDED: u64 = 192;
    pub(crate) const TX_HANDED: u64 = 200;
    pub(crate) const TX_BOUNDARY: u64 = 208;
    pub(crate) const LAST_TX: u64 = 216;
    pub(crate) const RX_READ: u64 = 256;
    pub(crate) const RX_APPLIED: u64 = 264;
    pub(crate) const LAST_RX: u64 = 272;
    pub(crate) const APPLYING: u64 = 280;
    pub(crate) const DIED_APPLYING: u64 = 288;
    pub(crate) const REPLAYS: u64 = 296;
    pub(crate) const SNAPSHOT_LEN: u64 = 320;
    pub(crate) const SNAPSHOT_SUM: u64 = 328;
}

/// How large the parts are; each a multiple of [`ALIGN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub tx: u64,
    pub rx: u64,
    pub journal: u64,
}

impl Default for Sizes {
    /// Pages that are never touched cost nothing.
    fn default() -> Self {
        Self { tx: 256 << 10, rx: 256 << 10, journal: 1 << 20 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub at: u64,
    pub len: u64,
}

impl Span {
    const fn end(self) -> u64 {
        self.at.saturating_add(self.len)
    }

    fn is_ring(self) -> bool {
        (ALIGN..=MAX_RING).contains(&self.len) && self.aligned()
    }

    const fn aligned(self) -> bool {
        self.at.is_multiple_of(ALIGN) && self.len.is_multiple_of(ALIGN)
    }
}

/// A checked file's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub snapshot: Span,
    pub tx: Span,
    pub rx: Span,
    pub journal: Span,
    /// By how much the kernel's count of what we sent is ahead of the stream: it counts the SYN
    /// of the side that dialled.
    pub tx_skew: u64,
}

impl Layout {
    /// `None` when a size is not allowed.
    #[must_use]
    pub fn new(sizes: Sizes, tx_skew: u64) -> Option<Self> {
        let tx = Span { at: ALIGN, len: sizes.tx };
        let rx = Span { at: tx.end(), len: sizes.rx };
        let journal = Span { at: rx.end(), len: sizes.journal };
        let snapshot = Span { at: HEADER_LEN, len: ALIGN - HEADER_LEN };
        let layout = Self { snapshot, tx, rx, journal, tx_skew };
        layout.fault().is_none().then_some(layout)
    }

    /// What the file must at least hold.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.journal.end()
    }

    /// Header, snapshot and rings; the journal lies behind.
    #[must_use]
    pub const fn without_journal(&self) -> u64 {
        self.rx.end()
    }

    fn fault(&self) -> Option<&'static str> {
        let spans = [self.snapshot, self.tx, self.rx, self.journal];
        let ordered = spans.windows(2).all(|w| w[0].end() <= w[1].at);
        match () {
            () if !self.tx.is_ring() || !self.rx.is_ring() => Some("ring size"),
            () if !self.journal.aligned() || self.journal.len > MAX_JOURNAL => Some("journal size"),
            () if self.snapshot.at != HEADER_LEN => Some("snapshot place"),
            () if !ordered => Some("parts overlap"),
            () if self.tx_skew > 1 => Some("skew"),
            () => None,
        }
    }

    fn words(&self) -> [(u64, u64); 11] {
        [
            (word::MAGIC, MAGIC),
            (word::VERSION, u64::from(VERSION) | u64::from(READABLE_FROM) << 32),
            (word::TX, self.tx.at),
            (word::TX + 8, self.tx.len),
            (word::RX, self.rx.at),
            (word::RX + 8, self.rx.len),
            (word::SNAPSHOT, self.snapshot.at),
            (word::SNAPSHOT + 8, self.snapshot.len),
            (word::JOURNAL, self.journal.at),
            (word::JOURNAL + 8, self.journal.len),
            (word::TX_SKEW, self.tx_skew),
        ]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("the memory file is too short: {size} bytes")]
    Short { size: u64 },
    #[error("not a session's memory file")]
    Foreign,
    #[error(
        "the memory file is of version {version}, readable from {readable_from} on; this is {VERSION}"
    )]
    TooNew { version: u32, readable_from: u32 },
    #[error("the memory file is of version {version}; the oldest readable is {OLDEST}")]
    TooOld { version: u32 },
    #[error("the memory file is damaged: {0}")]
    Damaged(&'static str),
}

/// Writes the part of the header that never changes.
pub fn format<A: Area>(area: &A, layout: &Layout) {
    for (at, value) in layout.words() {
        area.store(at, value);
    }
    area.store(word::SUM, header_sum(area));
}

/// Reads it back. `size` is what the whole file holds; `area` may end after the header.
pub fn check<A: Area>(area: &A, size: u64) -> Result<Layout, LayoutError> {
    if area.size() < HEADER_LEN || size < ALIGN {
        return Err(LayoutError::Short { size });
    }
    if area.load(word::MAGIC) != MAGIC {
        return Err(LayoutError::Foreign);
    }
    check_version(area.load(word::VERSION))?;
    if area.load(word::SUM) != header_sum(area) {
        return Err(LayoutError::Damaged("header checksum"));
    }
    let span = |at| Span { at: area.load(at), len: area.load(at + 8) };
    let layout = Layout {
        snapshot: span(word::SNAPSHOT),
        tx: span(word::TX),
        rx: span(word::RX),
        journal: span(word::JOURNAL),
        tx_skew: area.load(word::TX_SKEW),
    };
    match layout.fault() {
        Some(what) => Err(LayoutError::Damaged(what)),
        None if layout.total() > size => Err(LayoutError::Short { size }),
        None => Ok(layout),
    }
}

fn check_version(word: u64) -> Result<(), LayoutError> {
    let low = |n: u64| u32::try_from(n & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let (version, readable_from) = (low(word), low(word >> 32));
    match () {
        () if readable_from > VERSION => Err(LayoutError::TooNew { version, readable_from }),
        () if version < OLDEST => Err(LayoutError::TooOld { version }),
        () => Ok(()),
    }
}

fn header_sum<A: Area>(area: &A) -> u64 {
    let mut bytes = [0; word::SUM as usize];
    area.read(0, &mut bytes);
    checksum(&bytes)
}

/// FNV-1a: finds what went wrong by accident, which is all that is asked; the file's writer is
/// trusted not to forge.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Heap;
    use proptest::prelude::*;

    const SMALL: Sizes = Sizes { tx: ALIGN, rx: ALIGN, journal: 0 };

    fn formatted() -> (Heap, Layout) {
        let layout = Layout::new(SMALL, 1).unwrap();
        let area = Heap::new(layout.total());
        format(&area, &layout);
        (area, layout)
    }

    #[test]
    fn what_is_written_is_read() {
        let (area, layout) = formatted();
        assert_eq!(check(&area, area.size()), Ok(layout));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for (tx, rx, journal) in
            [(0, ALIGN, 0), (ALIGN, 100, 0), (ALIGN, ALIGN, 1), (1 << 40, ALIGN, 0)]
        {
            assert_eq!(Layout::new(Sizes { tx, rx, journal }, 0), None);
        }
        assert_eq!(Layout::new(SMALL, 2), None);
    }

    #[test]
    fn a_file_of_the_next_release_is_read_when_it_says_so() {
        let (area, layout) = formatted();
        let written = |version: u64, from: u64| {
            area.store(word::VERSION, version | from << 32);
            area.store(word::SUM, header_sum(&area));
            check(&area, area.size())
        };
        assert_eq!(written(2, 1), Ok(layout));
        assert_eq!(written(3, 2), Err(LayoutError::TooNew { version: 3, readable_from: 2 }));
        assert_eq!(written(0, 0), Err(LayoutError::TooOld { version: 0 }));
    }

    #[test]
    fn a_short_file_is_refused() {
        let (area, layout) = formatted();
        let size = layout.total() - 1;
        assert_eq!(check(&area, size), Err(LayoutError::Short { size }));
        assert_eq!(check(&Heap::new(64), 64), Err(LayoutError::Short { size: 64 }));
        assert_eq!(check(&Heap::new(4096), 1 << 20), Err(LayoutError::Foreign));
    }

    proptest! {
        #[test]
        fn any_change_of_the_fixed_header_is_noticed(at in 0..word::SUM + 8, flip in 1u8..) {
            let (area, _) = formatted();
            let mut byte = [0];
            area.read(at, &mut byte);
            area.write(at, &[byte[0] ^ flip]);
            prop_assert!(check(&area, area.size()).is_err());
        }
    }
}
