//! What a session's speakers have advertised, kept beside its rings: a log of records that mean
//! something to the speaker only, and that no crash leaves half-written.
//!
//! Two halves; one is in use. A record is written behind the last, then one word is stored that
//! says which half and how far. When it is full the speaker writes what still counts to the other
//! half ([`Journal::rewrite`]) and the same word changes over.
//!
//! A record says up to which position of the stream it accounts for what was appended. The order is
//! ring first, journal second: what the last crash kept out of the journal is still in the TX ring
//! (`SessionRings::appended_since`), whether it was sent or not.

use crate::area::Area;

/// The word, and room to spare.
const HEAD: u64 = 64;
/// Length and position.
const RECORD_HEAD: u64 = 16;
const SECOND_HALF: u64 = 1 << 63;

#[derive(Debug)]
pub struct Journal<A> {
    area: A,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Messages up to this position of the stream are accounted for.
    pub covers: u64,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("no room for a record of {wanted} bytes, {room} are left")]
    Full { wanted: u64, room: u64 },
    #[error("the journal is damaged")]
    Damaged,
}

impl<A: Area> Journal<A> {
    pub const fn open(area: A) -> Self {
        Self { area }
    }

    /// Every record, oldest first.
    pub fn records(&self) -> Result<Vec<Record>, JournalError> {
        let (start, used) = self.state()?;
        let mut at = 0;
        let mut found = Vec::new();
        while at < used {
            let len = self.area.load(start + at);
            let next = len.checked_add(RECORD_HEAD).and_then(|n| at.checked_add(padded(n)?));
            let next = next.filter(|n| *n <= used).ok_or(JournalError::Damaged)?;
            let mut bytes = vec![0; usize::try_from(len).map_err(|_| JournalError::Damaged)?];
            self.area.read(start + at + RECORD_HEAD, &mut bytes);
            found.push(Record { covers: self.area.load(start + at + 8), bytes });
            at = next;
        }
        Ok(found)
    }

    pub fn append(&mut self, record: &[u8], covers: u64) -> Result<(), JournalError> {
        self.append_parts(&[record], covers)
    }

    /// One record made of several parts.
    pub fn append_parts(&mut self, parts: &[&[u8]], covers: u64) -> Result<(), JournalError> {
        let (start, used) = self.state()?;
        let end = self.write(start, used, parts, covers)?;
        self.area.store(0, self.word(start, end));
        Ok(())
    }

    /// Puts these records in the place of all. When they do not fit, the old ones stay.
    pub fn rewrite<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
        covers: u64,
    ) -> Result<(), JournalError> {
        let (start, _) = self.state()?;
        let other = if start == HEAD { HEAD + self.half() } else { HEAD };
        let mut end = 0;
        for record in records {
            end = self.write(other, end, &[record], covers)?;
        }
        self.area.store(0, self.word(other, end));
        Ok(())
    }

    /// How long a record may still be appended.
    pub fn room(&self) -> u64 {
        let free = self.state().map_or(0, |(_, used)| self.half() - used);
        free.saturating_sub(RECORD_HEAD)
    }

    /// Where the half begins that is not in use, and how long it is.
    pub fn unused(&self) -> (u64, u64) {
        match self.state() {
            Ok((HEAD, _)) => (HEAD + self.half(), self.half()),
            Ok(_) => (HEAD, self.half()),
            Err(_) => (HEAD, 0),
        }
    }

    /// Where the half in use begins, and how much of it is used.
    fn state(&self) -> Result<(u64, u64), JournalError> {
        let word = self.area.load(0);
        let used = word & !SECOND_HALF;
        let start = if word == used { HEAD } else { HEAD + self.half() };
        let sound = used <= self.half() && used.is_multiple_of(8);
        if sound { Ok((start, used)) } else { Err(JournalError::Damaged) }
    }

    const fn word(&self, start: u64, used: u64) -> u64 {
        if start == HEAD { used } else { used | SECOND_HALF }
    }

    fn half(&self) -> u64 {
        self.area.size().saturating_sub(HEAD) / 2 / 8 * 8
    }

    /// Not yet said to be there; where it ends.
    fn write(
        &self,
        start: u64,
        at: u64,
        parts: &[&[u8]],
        covers: u64,
    ) -> Result<u64, JournalError> {
        let wanted = parts.iter().map(|p| p.len() as u64).sum();
        let free = self.half().saturating_sub(at);
        let end = padded(wanted + RECORD_HEAD).filter(|n| *n <= free).map(|n| at + n);
        let room = free.saturating_sub(RECORD_HEAD);
        let end = end.ok_or(JournalError::Full { wanted, room })?;
        self.area.store(start + at, wanted);
        self.area.store(start + at + 8, covers);
        let mut to = start + at + RECORD_HEAD;
        for part in parts {
            self.area.write(to, part);
            to += part.len() as u64;
        }
        Ok(end)
    }
}

/// Words stay aligned.
const fn padded(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::{Heap, Mortal};
    use proptest::prelude::*;

    fn texts(area: &impl Area) -> Vec<String> {
        let records = Journal::open(area).records().unwrap();
        records.into_iter().map(|r| String::from_utf8(r.bytes).unwrap()).collect()
    }

    #[test]
    fn fresh_memory_is_an_empty_journal() {
        assert!(texts(&Heap::new(4096)).is_empty());
        let mut none = Journal::open(Heap::new(0));
        assert!(matches!(none.append(b"x", 0), Err(JournalError::Full { .. })));
    }

    #[test]
    fn a_full_one_says_so_and_is_rewritten() {
        let area = Heap::new(HEAD + 2 * 64);
        let mut journal = Journal::open(area.clone());
        journal.append(b"a", 10).unwrap();
        journal.append(b"bcd", 20).unwrap();
        assert_eq!(journal.append(b"e", 30), Err(JournalError::Full { wanted: 1, room: 0 }));
        journal.rewrite([b"abcd".as_slice()], 30).unwrap();
        assert_eq!(texts(&area), ["abcd"]);
        journal.append(b"e", 40).unwrap();
        let last = journal.records().unwrap().pop().unwrap();
        assert_eq!(last, Record { covers: 40, bytes: b"e".to_vec() });
        assert!(journal.rewrite([[0; 100].as_slice()], 50).is_err());
        assert_eq!(texts(&area), ["abcd", "e"], "the old ones stay");
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_or_the_new() {
        for life in 0..20 {
            let memory = Heap::new(HEAD + 2 * 128);
            Journal::open(&memory).append(b"first", 1).unwrap();
            let mortal = Mortal::new(memory.clone(), life);
            let _ = Journal::open(&mortal).append(b"second", 2);
            let _ = Journal::open(&mortal).rewrite([b"both".as_slice(), b"again"], 2);
            let found = texts(&memory);
            let fair = [vec!["first"], vec!["first", "second"], vec!["both", "again"]];
            assert!(fair.iter().any(|f| *f == found), "{life}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn strange_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 400), word in 0..400u64) {
            let area = Heap::new(400);
            area.write(0, &bytes);
            let _ = Journal::open(&area).records();
            area.store(0, word);
            let mut journal = Journal::open(&area);
            let _ = (journal.records(), journal.room(), journal.append(b"x", 1));
        }
    }
}
