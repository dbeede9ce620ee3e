//! What `tests/disklog` has logged.

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

/// Puts an entry behind the others.
pub fn append(path: &Path, (kind, inode, offset): (Kind, u64, u64), a: &[u8]) {
    use std::io::Write;
    let length = u32::try_from(a.len()).expect("a small file");
    let head = Header { kind, inode, offset, lengths: [length, 0] }.to_bytes();
    let file = std::fs::File::options().append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(&[&head[..], a].concat()));
    written.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// How much has been logged so far.
#[must_use]
pub fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}
