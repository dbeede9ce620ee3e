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
    let mut entries: Vec<Entry> = Vec::new();
    let mut at = 0;
    while let Some(entry) = entry(&bytes, at) {
        at = usize::try_from(entry.end).expect("its place in memory");
        entries.push(entry);
    }
    assert_eq!(at, bytes.len(), "the log ends within an entry");
    entries
}

fn entry(bytes: &[u8], at: usize) -> Option<Entry> {
    let head = bytes.get(at..at + HEADER)?.try_into().expect("the length of a header");
    let head = Header::from_bytes(head).expect("an entry of the log");
    let [a, b] = head.lengths.map(|length| length as usize);
    let from = at + HEADER;
    Some(Entry {
        kind: head.kind,
        inode: head.inode,
        offset: head.offset,
        a: bytes.get(from..from + a)?.to_vec(),
        b: bytes.get(from + a..from + a + b)?.to_vec(),
        end: (from + a + b) as u64,
    })
}

/// SIGKILL may cut off a long entry while it is written: what there is of it goes.
pub fn mend(path: &Path) {
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut whole = 0;
    while let Some(entry) = entry(&bytes, whole as usize) {
        whole = entry.end;
    }
    let file = std::fs::File::options().write(true).create(true).truncate(false).open(path);
    file.and_then(|file| file.set_len(whole)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_was_cut_off_goes_and_those_before_it_stay() {
        let dir = crate::scratch::Scratch::new("log");
        let path = dir.write("calls", "");
        append(&path, (Kind::Create, 7, 0), b"/s/f");
        append(&path, (Kind::Write, 7, 0), &[1; 100]);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            mend(&path);
            let expected = usize::from(cut >= 36) + usize::from(cut == whole.len());
            assert_eq!(read(&path).len(), expected, "cut at {cut}");
        }
    }
}
