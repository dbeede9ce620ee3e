//! What `tests/disklog` has logged.

// The writer's half is not ours.
#[allow(dead_code)]
#[path = "../../disklog/src/entry.rs"]
mod entry;

pub use entry::Kind;
use entry::{HEADER, Header};
use std::path::Path;

/// One call of the daemon.
#[derive(Debug, Clone)]
pub struct Entry {
    pub kind: Kind,
    pub inode: u64,
    /// Of a write; the length, or the thread of a sync.
    pub offset: u64,
    pub a: Vec<u8>,
    pub b: Vec<u8>,
    /// Where the next entry begins: the length of the log once this one was in it.
    pub end: u64,
}

/// Every entry of the log at `path`.
#[must_use]
pub fn read(path: &Path) -> Vec<Entry> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut entries = Vec::new();
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        let head = bytes[at..at + HEADER].try_into().expect("the length of a header");
        let head = Header::from_bytes(head).expect("an entry of the log");
        let [a, b] = head.lengths.map(|length| length as usize);
        let from = at + HEADER;
        at = from + a + b;
        entries.push(Entry {
            kind: head.kind,
            inode: head.inode,
            offset: head.offset,
            a: bytes[from..from + a].to_vec(),
            b: bytes[from + a..at].to_vec(),
            end: at as u64,
        });
    }
    assert_eq!(at, bytes.len(), "the log ends within an entry");
    entries
}

/// How much has been logged so far.
#[must_use]
pub fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}
