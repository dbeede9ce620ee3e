//! What was said in a session, written where the next process finds it: the session's journal.
//!
//! What is sent goes into the session's ring first and in here next; what is received comes in here
//! before it counts as applied. When most of what it says no longer counts, it is written anew.

use bgp_core::told::{Record, Said};
use keeper::client::SessionRings;
use keeper::journal::{Journal, JournalError};
use keeper::os::memory::Mapping;
use std::io;

/// Below this a log is not worth writing anew.
const SMALL: u64 = 256 * 1024;
/// Beyond this it is also where it is not routes that make it long: a peer may repeat anything.
const LARGE: u64 = 32 << 20;

/// KEEPALIVEs are no news, but the ring forgets them: the log must say where it stands before the
/// ring no longer reaches back to there. So few that the keeper has room for its own behind them.
const QUIET: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Log {
    journal: Journal<Mapping>,
    /// Up to which position of what was sent it says everything.
    covers: u64,
    /// What was written since it was written anew, and how long it was then.
    grown: u64,
    fresh: u64,
    /// Of [`Said`], when it was written anew.
    outdated: u64,
    full: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the memory of the session: {0}")]
    Memory(#[from] io::Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("what was sent last is overwritten already")]
    Overwritten,
    #[error("what the peer was told: {0}")]
    Record(#[from] bgp_core::told::BadRecord),
}

impl Log {
    /// For a session that is new to the keeper.
    pub(crate) fn begin(
        rings: &SessionRings,
        records: &[Record],
        said: Said,
    ) -> Result<Self, LogError> {
        let mut log = Self::of(rings.journal()?, 0, 0);
        log.rewrite(rings, records, said)?;
        Ok(log)
    }

    /// What an earlier process has left; the log goes on behind it.
    pub(crate) fn go_on(rings: &SessionRings) -> Result<(Self, Vec<Record>), LogError> {
        let mut journal = rings.journal()?;
        let found = journal.records()?;
        let covered = found.last().map_or(0, |r| r.covers);
        let mut told: Vec<Record> =
            found.iter().map(|r| Record::decode(&r.bytes)).collect::<Result<_, _>>()?;
        // What it had no time to write down is still in the ring.
        let tail = rings.appended_since(covered).ok_or(LogError::Overwritten)?.to_vec();
        let mut fresh = found.iter().map(|r| r.bytes.len() as u64).sum();
        if !tail.is_empty() {
            let record = Record::Sent(tail);
            let bytes = record.encode();
            fresh += bytes.len() as u64;
            journal.append(&bytes, rings.positions().tx_appended)?;
            told.push(record);
        }
        let covers = rings.positions().tx_appended;
        Ok((Self::of(journal, covers, fresh), told))
    }

    const fn of(journal: Journal<Mapping>, covers: u64, fresh: u64) -> Self {
        Self { journal, covers, grown: 0, fresh, outdated: 0, full: false }
    }

    /// `record`: [`Record::SENT`] and the messages behind it, which now end at `covers`. True: it
    /// has grown long, or there is no room for the record.
    pub(crate) fn sent(&mut self, record: &[u8], covers: u64) -> bool {
        if record.get(1..).is_some_and(says_something) {
            return self.append(&[record], covers);
        }
        covers.saturating_sub(self.covers) >= QUIET && self.append(&[&[Record::SENT]], covers)
    }

    /// Messages from the peer, while what was sent ends at `covers`.
    pub(crate) fn heard(&mut self, messages: &[u8], covers: u64) -> bool {
        says_something(messages) && self.append(&[&[Record::HEARD], messages], covers)
    }

    fn append(&mut self, parts: &[&[u8]], covers: u64) -> bool {
        self.grown += parts.iter().map(|p| p.len() as u64).sum::<u64>();
        self.covers = covers;
        self.full |= self.journal.append_parts(parts, covers).is_err();
        self.full || self.grown > SMALL + self.fresh
    }

    /// Nothing of what was sent up to there has to be looked for in the ring.
    pub(crate) const fn says_all(&self, appended: u64) -> bool {
        !self.full && self.covers == appended
    }

    /// Whether one that has grown long is worth writing anew. A table that only grows is not
    /// written a second time.
    pub(crate) fn is_outdated(&self, said: Said) -> bool {
        let outdated = said.outdated.saturating_sub(self.outdated);
        self.full || outdated > said.routes as u64 || self.grown > LARGE + 2 * self.fresh
    }

    pub(crate) fn rewrite(
        &mut self,
        rings: &SessionRings,
        records: &[Record],
        said: Said,
    ) -> Result<(), JournalError> {
        let mut records: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
        if records.is_empty() {
            // A log without a record could not say where in the stream it stands.
            records.push(Record::Sent(Vec::new()).encode());
        }
        let covers = rings.positions().tx_appended;
        self.journal.rewrite(records.iter().map(Vec::as_slice), covers)?;
        self.covers = covers;
        // Without it the memory is only used longer.
        let _ = rings.trim(&self.journal);
        self.fresh = records.iter().map(|r| r.len() as u64).sum();
        (self.grown, self.outdated, self.full) = (0, said.outdated, false);
        Ok(())
    }
}

/// Anything but KEEPALIVEs (RFC 4271 §4.1: the type is the last octet of the header).
fn says_something(mut messages: &[u8]) -> bool {
    const KEEPALIVE: u8 = 4;
    while let Some(header) = messages.first_chunk::<19>() {
        if header[18] != KEEPALIVE {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([header[16], header[17]])).max(19);
        messages = messages.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp_core::types::Family;
    use bgp_core::wire;
    use keeper::layout::Sizes;
    use keeper::os::clock;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    fn rings() -> (TcpStream, TcpListener, SessionRings) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let rings = SessionRings::create(&stream, Sizes::default(), 1).unwrap();
        (stream, listener, rings)
    }

    fn record(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![Record::SENT];
        write(&mut bytes);
        bytes
    }

    fn allocated(rings: &SessionRings) -> u64 {
        u64::try_from(rustix::fs::fstat(rings.file()).unwrap().st_blocks).unwrap() * 512
    }

    fn marker(out: &mut Vec<u8>) {
        wire::end_of_rib(Family::Ipv4Unicast, out);
    }

    #[test]
    fn keepalives_alone_are_not_worth_a_record() {
        let (_stream, _listener, rings) = rings();
        let mut log = Log::begin(&rings, &[], Said::default()).unwrap();
        let keepalives = record(|out| (0..3).for_each(|_| wire::keepalive(out)));
        assert!(!log.sent(&keepalives, 57));
        assert!(!log.sent(&record(marker), 80));
        let found = rings.journal().unwrap().records().unwrap();
        assert_eq!(found.iter().map(|r| r.covers).collect::<Vec<_>>(), [0, 80]);
    }

    #[test]
    fn what_was_not_written_down_is_found_in_the_ring() {
        let (_stream, _listener, mut rings) = rings();
        let mut log = Log::begin(&rings, &[], Said::default()).unwrap();
        let said = record(marker);
        rings.append(&said[1..]).unwrap();
        log.sent(&said, rings.positions().tx_appended);
        rings.append(&said[1..]).unwrap();
        let messages = Record::Sent(said[1..].to_vec());
        let nothing = Record::Sent(Vec::new());
        for _ in 0..2 {
            let (_, told) = Log::go_on(&rings).unwrap();
            assert_eq!(told, [nothing.clone(), messages.clone(), messages.clone()]);
        }
    }

    #[test]
    fn a_session_that_was_quiet_for_days_goes_on() {
        let (stream, listener, mut rings) = rings();
        let (mut peer, _) = listener.accept().unwrap();
        let mut log = Log::begin(&rings, &[], Said::default()).unwrap();
        let mut keepalive = vec![Record::SENT];
        wire::keepalive(&mut keepalive);
        let ring = Sizes::default().tx;
        let mut waste = [0; 19];
        while rings.positions().tx_appended < 2 * ring {
            rings.append(&keepalive[1..]).unwrap();
            rings.send(&stream, clock::now()).unwrap();
            peer.read_exact(&mut waste).unwrap();
            assert!(!log.sent(&keepalive, rings.positions().tx_appended));
        }
        let (_, told) = Log::go_on(&rings).unwrap();
        let said = told.iter().any(|r| matches!(r, Record::Sent(m) if says_something(m)));
        assert!(!said, "nothing but KEEPALIVEs was sent");
    }

    #[test]
    fn what_the_log_says_needs_no_memory_in_the_ring() {
        let (stream, listener, mut rings) = rings();
        let (mut peer, _) = listener.accept().unwrap();
        let mut log = Log::begin(&rings, &[], Said::default()).unwrap();
        let markers = record(|out| (0..3000).for_each(|_| marker(out)));
        rings.append(&markers[1..]).unwrap();
        assert!(!log.says_all(rings.positions().tx_appended));
        log.sent(&markers, rings.positions().tx_appended);
        assert!(log.says_all(rings.positions().tx_appended));
        let full = allocated(&rings);
        rings.release().unwrap();
        assert_eq!(allocated(&rings), full, "it is not sent yet");

        let mut got = vec![0; markers.len() - 1];
        while rings.unsent() > 0 {
            rings.send(&stream, clock::now()).unwrap();
        }
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, markers[1..]);
        rings.release().unwrap();
        assert!(full - allocated(&rings) >= 65536, "{} of {full} are left", allocated(&rings));

        let more = record(marker);
        rings.append(&more[1..]).unwrap();
        let (_, told) = Log::go_on(&rings).unwrap();
        let sent = |said: &[u8]| Record::Sent(said[1..].to_vec());
        assert_eq!(told, [Record::Sent(Vec::new()), sent(&markers), sent(&more)]);
    }

    #[test]
    fn a_log_that_has_grown_asks_to_be_written_anew() {
        let (_stream, _listener, rings) = rings();
        let mut log = Log::begin(&rings, &[], Said::default()).unwrap();
        let markers = record(|out| (0..100).for_each(|_| marker(out)));
        let appended = (0..).take_while(|n| !log.sent(&markers, *n)).count() as u64;
        let length = appended * markers.len() as u64;
        assert!((SMALL - 4096..SMALL + 4096).contains(&length), "{length}");
        assert!(!log.is_outdated(Said { routes: 10, outdated: 10 }), "half of it still counts");
        assert!(log.is_outdated(Said { routes: 10, outdated: 11 }));
        let before = allocated(&rings);
        log.rewrite(&rings, &[], Said::default()).unwrap();
        let found = rings.journal().unwrap().records().unwrap();
        assert_eq!((found.len(), found[0].covers), (1, 0));
        let freed = before - allocated(&rings);
        assert!(freed >= SMALL - 65536, "{freed} octets were given back");
        assert!(!log.sent(&markers, 7000));
    }
}
