//! The two rings of a session and the positions in them.
//!
//! Positions count bytes of the stream since the connection began, so they never wrap; a byte
//! lies at its position modulo the ring's length. Each store below is a point where the process
//! may die; whoever opens the rings next finds them sound ([`Rings::resume`]).
//!
//! ```text
//! TX  boundary ≤ handed ≤ appended     whole messages are appended, then handed to the kernel;
//!                                      `boundary` begins the message that `handed` lies in
//! RX  applied ≤ read                   bytes are read from the kernel, then applied by message
//! ```

use crate::area::Area;
use crate::layout::{self, Layout, LayoutError, Span, word};
use crate::resume::{Desync, Kernel, Resume, resume};
use crate::walk::{HEADER_LEN, KEEPALIVE, NoMessage, message_len, whole_messages};
use std::time::Duration;

/// Time since boot: it means the same in every process.
pub type Moment = Duration;

/// The owner of rings that no speaker has: the keeper writes.
pub const KEEPER: u64 = 0;

#[derive(Debug, Clone)]
pub struct Rings<A> {
    area: A,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Positions {
    pub tx_len: u64,
    pub tx_skew: u64,
    pub tx_boundary: u64,
    pub tx_handed: u64,
    pub tx_appended: u64,
    pub last_tx: Moment,
    pub rx_len: u64,
    pub rx_applied: u64,
    pub rx_read: u64,
    pub last_rx: Moment,
}

impl Positions {
    /// Whether they can be at all; what the kernel says of them is [`resume`]'s.
    #[must_use]
    pub fn sound(&self) -> bool {
        let within = |from: u64, to: u64, len: u64| to.checked_sub(from).is_some_and(|n| n <= len);
        // No stream gets this far; sums below cannot overflow.
        let far = u64::MAX / 4;
        self.tx_appended < far
            && self.rx_read < far
            && self.tx_handed <= self.tx_appended
            && within(self.tx_boundary, self.tx_appended, self.tx_len)
            && within(self.rx_applied, self.rx_read, self.rx_len)
    }

    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.tx_appended.saturating_sub(self.tx_handed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("no room for {wanted} bytes, {room} are free")]
    Full { wanted: usize, room: usize },
    #[error("not whole messages: the last ends {0} bytes early")]
    Cut(usize),
    #[error(transparent)]
    NoMessage(#[from] NoMessage),
}

impl<A: Area> Rings<A> {
    /// Formats fresh memory for a connection of which `sent` and `received` bytes have passed,
    /// both up to the end of a message.
    pub fn create(area: A, layout: Layout, sent: u64, received: u64) -> Self {
        layout::format(&area, &layout);
        for at in [word::TX_APPENDED, word::TX_HANDED, word::TX_BOUNDARY] {
            area.store(at, sent);
        }
        for at in [word::RX_APPLIED, word::RX_READ] {
            area.store(at, received);
        }
        Self { area, layout }
    }

    /// Opens what another process has made.
    pub fn open(area: A, size: u64) -> Result<Self, LayoutError> {
        let layout = layout::check(&area, size)?;
        if area.size() < layout.without_journal() {
            return Err(LayoutError::Short { size: area.size() });
        }
        Ok(Self { area, layout })
    }

    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub const fn area(&self) -> &A {
        &self.area
    }

    pub const fn area_mut(&mut self) -> &mut A {
        &mut self.area
    }

    /// Who may write: a speaker's generation, or [`KEEPER`].
    pub fn owner(&self) -> u64 {
        self.area.load(word::OWNER)
    }

    /// From now on this one writes. The time comes first, and only with the keeper: dying between
    /// the two stores must not make an orphan look older than it is.
    pub fn set_owner(&self, owner: u64, since: Moment) {
        if owner == KEEPER {
            self.area.store(word::ORPHANED, nanos(since));
        }
        self.area.store(word::OWNER, owner);
    }

    /// Since when no speaker has it; means something while the keeper is the owner.
    pub fn orphaned(&self) -> Moment {
        Moment::from_nanos(self.area.load(word::ORPHANED))
    }

    pub fn positions(&self) -> Positions {
        let load = |at| self.area.load(at);
        Positions {
            tx_len: self.layout.tx.len,
            tx_skew: self.layout.tx_skew,
            tx_boundary: load(word::TX_BOUNDARY),
            tx_handed: load(word::TX_HANDED),
            tx_appended: load(word::TX_APPENDED),
            last_tx: Moment::from_nanos(load(word::LAST_TX)),
            rx_len: self.layout.rx.len,
            rx_applied: load(word::RX_APPLIED),
            rx_read: load(word::RX_READ),
            last_rx: Moment::from_nanos(load(word::LAST_RX)),
        }
    }

    /// Makes the positions say what the kernel knows, or says why that cannot be.
    ///
    /// Afterwards sending and reading go on as if nobody had died. Dying in here is as harmless.
    pub fn resume(&self, kernel: &Kernel) -> Result<Resume, Desync> {
        let at = self.positions();
        let found = resume(kernel, &at)?;
        self.check_unsent(at.tx_boundary, at.tx_appended)?;
        self.check_unapplied(at.rx_applied, found.read)?;
        self.advance_to(found.sent)?;
        self.area.store(word::RX_READ, found.read);
        Ok(found)
    }

    /// The bytes that may be appended. What the message in progress needs stays.
    pub fn room(&self) -> usize {
        let at = self.positions();
        let used = at.tx_appended.saturating_sub(at.tx_boundary);
        to_usize(self.layout.tx.len.saturating_sub(used))
    }

    /// Appends whole messages: they will be sent, by whomever.
    pub fn append(&self, messages: &[u8]) -> Result<(), AppendError> {
        check_whole(messages)?;
        let room = self.room();
        if messages.len() > room {
            return Err(AppendError::Full { wanted: messages.len(), room });
        }
        let end = self.area.load(word::TX_APPENDED);
        self.ring_write(self.layout.tx, end, messages);
        self.area.store(word::TX_APPENDED, end.saturating_add(messages.len() as u64));
        Ok(())
    }

    pub fn append_keepalive(&self) -> Result<(), AppendError> {
        self.append(&KEEPALIVE)
    }

    /// For who has written the bytes into the ring himself: checks and publishes them.
    pub(crate) fn appended(&self, messages: &[u8]) -> Result<(), AppendError> {
        check_whole(messages)?;
        let end = self.area.load(word::TX_APPENDED);
        self.area.store(word::TX_APPENDED, end.saturating_add(messages.len() as u64));
        Ok(())
    }

    /// Copies of the first bytes that are still to be handed to the kernel; how many.
    pub fn peek_unsent(&self, into: &mut [u8]) -> usize {
        let at = self.positions();
        let n = into.len().min(to_usize(at.unsent().min(at.tx_len)));
        self.ring_read(self.layout.tx, at.tx_handed, &mut into[..n]);
        n
    }

    /// The kernel has accepted so many of them.
    pub fn handed(&self, n: usize, now: Moment) -> Result<(), NoMessage> {
        self.area.store(word::LAST_TX, nanos(now));
        let at = self.positions();
        self.advance_to(at.tx_handed.saturating_add(n as u64).min(at.tx_appended))
    }

    /// Whether the ring still has what was appended from this position on: it keeps as much as it
    /// is long, sent or not.
    pub fn remembers(&self, position: u64) -> bool {
        let end = self.area.load(word::TX_APPENDED);
        end.checked_sub(position).is_some_and(|n| n <= self.layout.tx.len)
    }

    /// How many bytes may be read into it.
    pub fn space(&self) -> usize {
        let at = self.positions();
        to_usize(at.rx_len.saturating_sub(at.rx_read.saturating_sub(at.rx_applied)))
    }

    /// For who reads into memory of his own first (tests).
    pub fn put_received(&self, bytes: &[u8]) {
        let at = self.area.load(word::RX_READ);
        self.ring_write(self.layout.rx, at, bytes);
    }

    /// So many bytes were read from the kernel into the ring.
    pub fn received(&self, n: usize, now: Moment) {
        self.area.store(word::LAST_RX, nanos(now));
        let read = self.area.load(word::RX_READ);
        self.area.store(word::RX_READ, read.saturating_add(n as u64));
    }

    /// Copies of the first bytes that are not yet applied; how many.
    pub fn peek_unapplied(&self, into: &mut [u8]) -> usize {
        let at = self.positions();
        let n = into.len().min(to_usize(at.rx_read.saturating_sub(at.rx_applied).min(at.rx_len)));
        self.ring_read(self.layout.rx, at.rx_applied, &mut into[..n]);
        n
    }

    /// What lies at `applied` is about to take effect.
    pub fn applying(&self) {
        let at = self.area.load(word::RX_APPLIED);
        self.area.store(word::APPLYING, at.saturating_add(1));
    }

    /// The journal is about to take effect; how many speakers in a row have begun with it, this one
    /// among them, and not come through.
    pub fn replaying(&self) -> u64 {
        let begun = self.area.load(word::REPLAYS).saturating_add(1);
        self.area.store(word::REPLAYS, begun);
        begun
    }

    /// It has.
    pub fn replayed(&self) {
        self.area.store(word::REPLAYS, 0);
    }

    /// Whole messages of so many bytes have taken effect.
    pub fn applied(&self, n: usize) {
        let at = self.positions();
        self.area.store(word::RX_APPLIED, at.rx_applied.saturating_add(n as u64).min(at.rx_read));
        self.area.store(word::APPLYING, 0);
        self.area.store(word::DIED_APPLYING, 0);
    }

    /// How many speakers in a row have died while the very same messages took effect. To be asked
    /// once by each that opens the rings: a message that kills its reader must not do so for ever.
    pub fn died_applying(&self) -> u64 {
        let at = self.area.load(word::RX_APPLIED);
        if self.area.load(word::APPLYING) != at.saturating_add(1) {
            return 0;
        }
        let died = self.area.load(word::DIED_APPLYING).saturating_add(1);
        self.area.store(word::DIED_APPLYING, died);
        died
    }

    /// Moves `handed`, and `boundary` first, so that the boundary is one at every moment.
    fn advance_to(&self, handed: u64) -> Result<(), NoMessage> {
        let mut boundary = self.area.load(word::TX_BOUNDARY);
        if handed.saturating_sub(boundary) > self.layout.tx.len {
            return Err(NoMessage { at: boundary });
        }
        while boundary < handed {
            let next = boundary.saturating_add(self.tx_message_len(boundary)?);
            if next > handed {
                break;
            }
            boundary = next;
        }
        self.area.store(word::TX_BOUNDARY, boundary);
        self.area.store(word::TX_HANDED, handed);
        Ok(())
    }

    /// From the boundary, message by message, the walk must end where appending ended.
    fn check_unsent(&self, boundary: u64, appended: u64) -> Result<(), NoMessage> {
        let mut at = boundary;
        while at < appended {
            at += self.tx_message_len(at)?;
        }
        if at == appended { Ok(()) } else { Err(NoMessage { at: boundary }) }
    }

    /// What lies at `applied` must look like a message as far as it is there. Were it damaged, a
    /// speaker would blame the peer, with a NOTIFICATION, which is worse than a restart.
    fn check_unapplied(&self, applied: u64, read: u64) -> Result<(), NoMessage> {
        let mut header = KEEPALIVE;
        let n = HEADER_LEN.min(to_usize(read.saturating_sub(applied)));
        self.ring_read(self.layout.rx, applied, &mut header[..n]);
        let sound = header[..16] == [0xff; 16];
        if sound { Ok(()) } else { Err(NoMessage { at: applied }) }
    }

    fn tx_message_len(&self, at: u64) -> Result<u64, NoMessage> {
        let mut header = [0; HEADER_LEN];
        self.ring_read(self.layout.tx, at, &mut header);
        message_len(&header).map(|n| n as u64).ok_or(NoMessage { at })
    }

    fn ring_read(&self, ring: Span, position: u64, into: &mut [u8]) {
        let (at, first) = place(ring, position, into.len());
        let (head, tail) = into.split_at_mut(first);
        self.area.read(at, head);
        self.area.read(ring.at, tail);
    }

    fn ring_write(&self, ring: Span, position: u64, bytes: &[u8]) {
        let (at, first) = place(ring, position, bytes.len());
        let (head, tail) = bytes.split_at(first);
        self.area.write(at, head);
        self.area.write(ring.at, tail);
    }
}

/// Where in the file a position lies, and how many of `len` bytes come before the ring's end.
fn place(ring: Span, position: u64, len: usize) -> (u64, usize) {
    let offset = position % ring.len;
    (ring.at + offset, len.min(to_usize(ring.len - offset)))
}

fn check_whole(messages: &[u8]) -> Result<(), AppendError> {
    match messages.len() - whole_messages(messages)? {
        0 => Ok(()),
        cut => Err(AppendError::Cut(cut)),
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn nanos(at: Moment) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::area::Heap;
    use crate::layout::{ALIGN, Sizes};
    use proptest::prelude::*;

    fn rings(base: u64) -> Rings<Heap> {
        let layout = Layout::new(Sizes { tx: ALIGN, rx: ALIGN, journal: 0 }, 0).unwrap();
        Rings::create(Heap::new(layout.total()), layout, base, base)
    }

    fn message(len: usize, fill: u8) -> Vec<u8> {
        let mut bytes = vec![fill; len];
        bytes[..16].fill(0xff);
        bytes[16..18].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        bytes[18] = 2;
        bytes
    }

    const NOW: Moment = Moment::from_secs(1);

    #[test]
    fn a_ring_is_full_until_whole_messages_are_handed_over() {
        let r = rings(ALIGN - 5);
        for n in 0..16 {
            r.append(&message(4096, n)).unwrap();
        }
        assert_eq!(r.append(&KEEPALIVE), Err(AppendError::Full { wanted: 19, room: 0 }));
        r.handed(4095, NOW).unwrap();
        assert_eq!(r.room(), 0, "the message in progress stays as long as it is");
        r.handed(1, NOW).unwrap();
        assert_eq!(r.room(), 4096);
        let mut next = vec![0; 4096];
        assert_eq!(r.peek_unsent(&mut next), 4096);
        assert_eq!(next, message(4096, 1), "read across the end of the ring");
    }

    #[test]
    fn only_whole_messages_are_appended() {
        let r = rings(0);
        assert_eq!(r.append(&KEEPALIVE[..18]), Err(AppendError::Cut(18)));
        let long = [KEEPALIVE.as_slice(), &KEEPALIVE[..1]].concat();
        assert_eq!(r.append(&long), Err(AppendError::Cut(1)));
        assert!(matches!(r.append(&[0; 19]), Err(AppendError::NoMessage(_))));
        assert_eq!(r.positions().tx_appended, 0);
    }

    #[test]
    fn speakers_that_die_of_one_message_are_counted() {
        let r = rings(0);
        r.put_received(&[KEEPALIVE, KEEPALIVE].concat());
        r.received(38, NOW);
        assert_eq!(r.died_applying(), 0);
        r.applying();
        assert_eq!((r.died_applying(), r.died_applying()), (1, 2));
        r.applying();
        r.applied(19);
        assert_eq!(r.died_applying(), 0, "it was another one's");
        r.applying();
        assert_eq!(r.died_applying(), 1);
    }

    #[test]
    fn speakers_that_do_not_come_through_what_was_said_before_are_counted_for_themselves() {
        let r = rings(0);
        r.applying();
        assert_eq!((r.replaying(), r.replaying()), (1, 2));
        r.replayed();
        assert_eq!((r.replaying(), r.died_applying()), (1, 1), "another one's death stays");
    }

    #[test]
    fn what_was_read_but_not_said_is_found_by_the_kernels_count() {
        let r = rings(0);
        r.put_received(&KEEPALIVE);
        let kernel = Kernel { established: true, received: 100, unread: 90, ..Kernel::default() };
        assert_eq!(r.resume(&kernel), Ok(Resume { sent: 0, read: 10 }));
        let mut got = [0; 64];
        assert_eq!(r.peek_unapplied(&mut got), 10);
        assert_eq!(got[..10], KEEPALIVE[..10]);
    }

    proptest! {
        /// Whatever another process has left there: answers, no panic, no endless walk.
        #[test]
        fn strange_positions_do_no_harm(
            words in prop::collection::vec((16..48u64, any::<u64>()), 0..6),
            small in prop::collection::vec((16..48u64, 0..200_000u64), 0..6),
            counts: [u32; 4],
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let r = rings(0);
            r.append(&message(500, 3)).unwrap();
            r.area.write(ALIGN + 19, &noise);
            for (at, value) in words.iter().chain(&small) {
                r.area.store(at * 8, *value);
            }
            let [acked, unacked, received, unread] = counts.map(|n| u64::from(n % 2000));
            let kernel = Kernel {
                established: true, acked, unacked, received, unread, idle: Duration::ZERO,
            };
            let _ = (r.resume(&kernel), r.snapshot(), r.room(), r.space(), r.append_keepalive());
            let n = r.peek_unsent(&mut [0; 300]);
            let _ = (r.handed(n, NOW), r.peek_unapplied(&mut [0; 300]));
            r.received(7, NOW);
            r.applied(7);
            let _ = r.positions();
        }
    }

    #[test]
    fn damaged_bytes_in_either_ring_are_a_desync() {
        let r = rings(0);
        r.append(&message(100, 1)).unwrap();
        r.area.write(r.layout.tx.at + 3, &[0]);
        let kernel = Kernel { established: true, received: 19, unread: 0, ..Kernel::default() };
        assert_eq!(r.resume(&kernel), Err(NoMessage { at: 0 }.into()));
        let r = rings(0);
        r.put_received(&[7; 19]);
        assert_eq!(r.resume(&kernel), Err(NoMessage { at: 0 }.into()));
    }
}
