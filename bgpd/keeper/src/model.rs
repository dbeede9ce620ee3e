//! The whole protocol against a pretend kernel, with processes that die between any two of their
//! effects: every store to shared memory and every system call is one.
//!
//! What must hold: the bytes on the wire are whole messages, each as it was appended, none lost,
//! none doubled, in both directions; and nobody writes while another may.

use crate::area::{Area, Heap, Life, Mortal};
use crate::keeper::{Action, ConnId, Event, Keeper, Limits, ProcessId, SessionId};
use crate::layout::{ALIGN, Layout, Sizes};
use crate::orphan::{Seen, Why};
use crate::resume::Kernel;
use crate::rings::{KEEPER, Moment, Rings};
use crate::snapshot::Timing;
use crate::walk::{KEEPALIVE, whole_messages};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::Duration;

/// One TCP connection, as the kernel has it.
#[derive(Default)]
struct Tcp {
    sent: Vec<u8>,
    acked: usize,
    send_buffer: usize,
    incoming: Vec<u8>,
    read: usize,
}

const SKEW: u64 = 1;

impl Tcp {
    fn counters(&self) -> Kernel {
        Kernel {
            established: true,
            acked: self.acked as u64 + SKEW,
            unacked: (self.sent.len() - self.acked) as u64,
            received: self.incoming.len() as u64,
            unread: (self.incoming.len() - self.read) as u64,
            idle: Duration::ZERO,
        }
    }

    fn accept(&mut self, bytes: &[u8]) -> usize {
        let free = self.send_buffer - (self.sent.len() - self.acked);
        let n = bytes.len().min(free);
        self.sent.extend(&bytes[..n]);
        n
    }
}

struct Process {
    id: ProcessId,
    generation: u64,
    rings: Rings<Mortal>,
    life: Life,
    /// Attached: it believes that it may write.
    attached: bool,
}

struct World {
    memory: Heap,
    tcp: Tcp,
    /// What was appended, by whomever: the stream as it is meant to be.
    meant: Vec<u8>,
    /// What speakers have applied of the peer's stream.
    applied: Vec<u8>,
    now: Moment,
    keeper: Option<(Keeper, Rings<Mortal>, Life)>,
    speakers: Vec<Process>,
    next: u64,
    serial: u8,
    let_go: Option<Why>,
}

const SESSION: SessionId = SessionId(1);

fn message(len: usize, kind: u8, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; len.max(19)];
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[..16].fill(0xff);
    bytes[16..18].copy_from_slice(&len.to_be_bytes());
    bytes[18] = kind;
    bytes
}

impl World {
    /// A session that is held, with a speaker; the streams stand short of the rings' ends.
    fn new(send_buffer: usize) -> Self {
        let layout = Layout::new(Sizes { tx: ALIGN, rx: ALIGN, journal: 0 }, SKEW).unwrap();
        let memory = Heap::new(layout.total());
        let base = usize::try_from(ALIGN).unwrap() - 50;
        // Nothing of the past is ever looked at.
        let past = vec![0; base];
        let tcp = Tcp {
            sent: past.clone(),
            acked: base,
            send_buffer,
            incoming: past.clone(),
            read: base,
        };
        Rings::create(memory.clone(), layout, base as u64, base as u64);
        let mut world = Self {
            memory,
            tcp,
            meant: past.clone(),
            applied: past,
            now: Moment::from_secs(1000),
            keeper: None,
            speakers: Vec::new(),
            next: 1,
            serial: 0,
            let_go: None,
        };
        let rings = world.rings(&Life::long());
        rings.handed(0, world.now).unwrap();
        rings.set_owner(KEEPER, world.now);
        world.start_keeper();
        world
    }

    fn rings(&self, life: &Life) -> Rings<Mortal> {
        let area = Mortal::with(self.memory.clone(), life.clone());
        Rings::open(area, self.memory.size()).unwrap()
    }

    fn timing() -> Timing {
        Timing::new(90, 0).unwrap()
    }

    // --- the keeper

    fn start_keeper(&mut self) {
        let life = Life::long();
        let rings = self.rings(&life);
        let keeper = Keeper::new(Limits { max_orphan: Duration::from_secs(600), max_sessions: 8 });
        let (owner, since) = (rings.owner(), rings.orphaned());
        let alive = self.speakers.iter().find(|p| p.generation == owner && !p.life.dead());
        let speaker = alive.map(|p| p.id);
        self.keeper = Some((keeper, rings, life));
        let timing = Self::timing();
        self.tell(Event::Restored { session: SESSION, timing, owner, since, speaker });
    }

    fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some((keeper, ..)) = &mut self.keeper else { return };
            let mut actions = Vec::new();
            keeper.handle(event, self.now, &mut actions);
            for action in actions {
                events.extend(self.act(action));
                self.check();
                if self.keeper.as_ref().is_none_or(|(.., life)| life.dead()) {
                    self.keeper = None;
                    return;
                }
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        let (_, rings, life) = self.keeper.as_ref()?;
        let (rings, life) = (rings.clone(), life.clone());
        match action {
            Action::Own { session, owner, since } => {
                rings.set_owner(owner, since);
                if owner == KEEPER {
                    self.nobody_else_writes();
                    rings.resume(&self.tcp.counters()).expect("in step");
                }
                assert_eq!(session, SESSION);
            }
            Action::Attached { process, generation, .. } => {
                if life.spend() {
                    self.attached(process, generation);
                }
            }
            Action::Look { session } => return Some(self.look(session, false)),
            Action::Keepalive { session } => {
                self.nobody_else_writes();
                rings.append_keepalive().unwrap();
                self.note_appended(&KEEPALIVE);
                return Some(self.keeper_sends(session, &rings, &life));
            }
            Action::Send { session } => return Some(self.keeper_sends(session, &rings, &life)),
            Action::LetGo { why, .. } => self.let_go = Some(why),
            // The process goes on until an operation kills it.
            Action::Kill { .. } | Action::Refused { .. } | Action::Revoked { .. } => {}
            Action::Held { .. } | Action::Released { .. } => unreachable!(),
        }
        None
    }

    fn keeper_sends(&mut self, session: SessionId, rings: &Rings<Mortal>, life: &Life) -> Event {
        self.nobody_else_writes();
        let mut bytes = [0; 1000];
        let mut blocked = false;
        while !life.dead() && !blocked {
            let n = rings.peek_unsent(&mut bytes);
            if n == 0 {
                break;
            }
            if life.spend() {
                let taken = self.tcp.accept(&bytes[..n]);
                rings.handed(taken, self.now).unwrap();
                blocked = taken == 0;
            }
        }
        self.look(session, blocked)
    }

    fn look(&self, session: SessionId, blocked: bool) -> Event {
        let at = self.rings(&Life::long()).positions();
        Event::Seen { session, seen: Seen { kernel: self.tcp.counters(), at, blocked } }
    }

    fn nobody_else_writes(&self) {
        for p in &self.speakers {
            assert!(p.life.dead() || !p.attached, "{} lives while the keeper writes", p.generation);
        }
    }

    // --- speakers

    fn start_speaker(&mut self) {
        let generation = self.next;
        self.next += 1;
        let life = Life::long();
        let rings = self.rings(&life);
        let id = ProcessId(generation);
        self.speakers.push(Process { id, generation, rings, life, attached: false });
        self.tell(Event::Attach {
            conn: ConnId(generation),
            process: id,
            generation,
            max_orphan: None,
        });
    }

    fn attached(&mut self, process: ProcessId, generation: u64) {
        for p in &self.speakers {
            let other = p.id != process && p.attached && !p.life.dead();
            assert!(!other, "{} was granted while {} lives", generation, p.generation);
        }
        let kernel = self.tcp.counters();
        let now = self.now;
        let Some(p) = self.speakers.iter_mut().find(|p| p.id == process) else { return };
        if p.life.dead() {
            return;
        }
        if self.let_go.is_some() {
            return;
        }
        assert_eq!(p.rings.owner(), generation);
        p.attached = true;
        let found = p.rings.resume(&kernel).expect("in step");
        assert_eq!((found.sent, found.read), (self.tcp.sent.len() as u64, self.tcp.read as u64));
        assert!(p.rings.positions().last_tx <= now);
    }

    /// The speaker that may write, if one does.
    fn speaker(&self) -> Option<&Process> {
        self.speakers
            .iter()
            .rfind(|p| p.attached && !p.life.dead() && p.rings.owner() == p.generation)
    }

    fn with(&mut self, f: impl FnOnce(&mut Self, &Rings<Mortal>, &Life)) {
        if let Some(p) = self.speaker() {
            let (rings, life) = (p.rings.clone(), p.life.clone());
            f(self, &rings, &life);
        }
        self.check();
    }

    fn append(&mut self, lens: &[usize]) {
        let mut bytes = Vec::new();
        for len in lens {
            self.serial = self.serial.wrapping_add(1);
            bytes.extend(message(*len, 2, self.serial));
        }
        self.with(|w, rings, _| {
            if rings.append(&bytes).is_ok() {
                w.note_appended(&bytes);
            }
        });
    }

    /// If it came to be.
    fn note_appended(&mut self, bytes: &[u8]) {
        let appended = self.rings(&Life::long()).positions().tx_appended;
        if appended > self.meant.len() as u64 {
            self.meant.extend(bytes);
        }
        assert_eq!(appended, self.meant.len() as u64);
    }

    fn send(&mut self, max: usize) {
        self.with(|w, rings, life| {
            let mut bytes = vec![0; max];
            let n = rings.peek_unsent(&mut bytes);
            if n > 0 && life.spend() {
                let taken = w.tcp.accept(&bytes[..n]);
                rings.handed(taken, w.now).unwrap();
            }
        });
    }

    fn recv(&mut self, max: usize) {
        self.with(|w, rings, life| {
            let n = max.min(rings.space()).min(w.tcp.incoming.len() - w.tcp.read);
            if n > 0 && life.spend() {
                // The kernel copies and counts in one.
                let kernel = w.rings(&Life::long());
                kernel.put_received(&w.tcp.incoming[w.tcp.read..w.tcp.read + n]);
                w.tcp.read += n;
                rings.received(n, w.now);
            }
        });
    }

    fn apply(&mut self) {
        self.with(|w, rings, _| {
            let mut bytes = vec![0; usize::try_from(ALIGN).unwrap()];
            let n = rings.peek_unapplied(&mut bytes);
            let whole = whole_messages(&bytes[..n]).expect("the peer's stream is in step");
            let before = rings.positions().rx_applied;
            rings.applied(whole);
            if rings.positions().rx_applied > before {
                w.applied.extend(&bytes[..whole]);
            }
        });
    }

    fn peer_sends(&mut self, len: usize) {
        self.serial = self.serial.wrapping_add(1);
        self.tcp.incoming.extend(message(len, 2, self.serial));
    }

    fn peer_acks(&mut self, n: usize) {
        self.tcp.acked = self.tcp.sent.len().min(self.tcp.acked + n);
        if n > 0 {
            self.tell(Event::Ready { session: SESSION });
        }
    }

    /// Whoever has died is noticed.
    fn bury(&mut self) {
        let dead: Vec<_> = self.speakers.iter().filter(|p| p.life.dead()).map(|p| p.id).collect();
        if self.keeper.is_none() {
            return;
        }
        self.speakers.retain(|p| !p.life.dead());
        for process in dead {
            self.tell(Event::Disconnected { conn: ConnId(process.0) });
            self.tell(Event::Exited { process });
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tell(Event::Due);
    }

    fn check(&self) {
        assert!(self.meant.len() >= self.tcp.sent.len());
        let from = self.tcp.sent.len().saturating_sub(3000);
        assert_eq!(self.tcp.sent[from..], self.meant[from..self.tcp.sent.len()], "on the wire");
        let from = self.applied.len().saturating_sub(3000);
        assert_eq!(self.applied[from..], self.tcp.incoming[from..self.applied.len()], "from it");
    }

    /// Everybody recovers; all that was meant must arrive.
    fn settle(&mut self) {
        match &self.keeper {
            Some((.., life)) => life.set(u64::MAX),
            None => self.start_keeper(),
        }
        self.speakers.iter().filter(|p| !p.life.dead()).for_each(|p| p.life.set(u64::MAX));
        self.bury();
        if self.speaker().is_none() {
            self.speakers.iter().for_each(|p| p.life.set(0));
            self.bury();
            self.start_speaker();
        }
        if let Some(why) = self.let_go {
            let fair = matches!(why, Why::NoSpeaker | Why::Undelivered);
            assert!(fair, "let go: {why}");
            return;
        }
        assert!(self.speaker().is_some(), "a speaker goes on");
        while self.tcp.sent.len() < self.meant.len() || self.tcp.read < self.tcp.incoming.len() {
            self.send(4096);
            self.recv(4096);
            self.apply();
            self.peer_acks(4096);
        }
        self.apply();
        assert_eq!(self.tcp.sent, self.meant);
        assert_eq!(self.applied, self.tcp.incoming);
        let base = usize::try_from(ALIGN).unwrap() - 50;
        let stream = &self.tcp.sent[base..];
        assert_eq!(whole_messages(stream), Ok(stream.len()), "whole messages only");
    }
}

/// Each step of a speaker's work, with every split of what the kernel takes and gives; it dies
/// after `life` effects, and the keeper takes over at once.
fn speaker_dies(life: u64, split: usize) -> bool {
    let mut w = World::new(40);
    w.start_speaker();
    w.speakers[0].life.set(life);
    w.append(&[23, 40]);
    w.send(split);
    w.peer_sends(37);
    w.recv(split);
    w.append(&[60]);
    w.apply();
    w.peer_acks(7);
    w.send(split);
    w.recv(37);
    w.apply();
    w.send(100);
    let died = w.speakers[0].life.dead();
    w.speakers[0].life.set(0);
    w.bury();
    w.peer_acks(30);
    w.pass(Duration::from_secs(29));
    w.peer_acks(1000);
    w.pass(Duration::from_secs(31));
    w.settle();
    assert_eq!(w.let_go, None);
    died
}

#[test]
fn a_speaker_that_dies_at_any_step_with_any_split_harms_no_byte() {
    for split in 1..=40 {
        let steps = (0..).find(|life| !speaker_dies(*life, split)).unwrap();
        assert!(steps > 20, "only {steps} steps");
    }
}

/// The same with the keeper dying in the middle of taking over, and coming back from the store.
fn keeper_dies(life: u64, split: usize) -> bool {
    let mut w = World::new(40);
    w.start_speaker();
    w.append(&[23, 40]);
    w.send(split);
    w.peer_sends(37);
    w.recv(split);
    w.keeper.as_ref().unwrap().2.set(life);
    w.speakers[0].life.set(0);
    w.bury();
    w.peer_acks(30);
    w.pass(Duration::from_secs(31));
    w.peer_acks(1000);
    w.pass(Duration::from_secs(31));
    w.start_speaker();
    let died = w.keeper.is_none();
    w.settle();
    assert_eq!(w.let_go, None);
    died
}

#[test]
fn a_keeper_that_dies_at_any_step_harms_no_byte() {
    for split in 1..=40 {
        let steps = (0..).find(|life| !keeper_dies(*life, split)).unwrap();
        assert!(steps > 10, "only {steps} steps");
    }
}

#[test]
fn a_newer_speaker_waits_until_the_older_process_is_gone() {
    let mut w = World::new(40);
    w.start_speaker();
    w.append(&[30]);
    w.start_speaker();
    assert!(!w.speakers[1].attached, "the older one still lives");
    w.send(11);
    assert_eq!(w.tcp.sent.len() % 100, (65536 - 50 + 11) % 100, "and writes");
    w.speakers[0].life.set(0);
    w.bury();
    assert!(w.speakers[0].attached);
    w.settle();
}

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<usize>),
    Send(usize),
    Recv(usize),
    Apply,
    PeerSends(usize),
    PeerAcks(usize),
    Pass(u64),
    /// The speaker has so many effects left.
    SpeakerLife(u64),
    KeeperLife(u64),
    Bury,
    StartSpeaker,
    StartKeeper,
    /// The speaker's control connection breaks, and it lives on.
    Disconnect,
    /// It has another.
    Reconnect,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => prop::collection::vec(19..4097usize, 1..6).prop_map(Op::Append),
        6 => (1..5000usize).prop_map(Op::Send),
        4 => (1..5000usize).prop_map(Op::Recv),
        4 => Just(Op::Apply),
        4 => (19..4097usize).prop_map(Op::PeerSends),
        6 => (0..9000usize).prop_map(Op::PeerAcks),
        2 => (0..20_000u64).prop_map(Op::Pass),
        2 => (0..20u64).prop_map(Op::SpeakerLife),
        1 => (0..20u64).prop_map(Op::KeeperLife),
        3 => Just(Op::Bury),
        3 => Just(Op::StartSpeaker),
        2 => Just(Op::StartKeeper),
        1 => Just(Op::Disconnect),
        1 => Just(Op::Reconnect),
    ]
}

fn apply(w: &mut World, op: &Op) {
    match op {
        Op::Append(lens) => w.append(lens),
        Op::Send(n) => w.send(*n),
        Op::Recv(n) => w.recv(*n),
        Op::Apply => w.apply(),
        Op::PeerSends(n) => w.peer_sends(*n),
        Op::PeerAcks(n) => w.peer_acks(*n),
        Op::Pass(ms) => w.pass(Duration::from_millis(*ms)),
        Op::SpeakerLife(n) => {
            if let Some(p) = w.speaker() {
                p.life.set(*n);
            }
        }
        Op::KeeperLife(n) => {
            if let Some((.., life)) = &w.keeper {
                life.set(*n);
            }
        }
        Op::Bury => w.bury(),
        Op::StartSpeaker => {
            if w.speakers.len() < 4 {
                w.start_speaker();
            }
        }
        Op::StartKeeper => {
            if w.keeper.is_none() {
                w.start_keeper();
            }
        }
        Op::Disconnect => {
            if let Some(conn) = w.speaker().map(|p| ConnId(p.generation)) {
                w.tell(Event::Disconnected { conn });
            }
        }
        Op::Reconnect => {
            if let Some((process, generation)) = w.speaker().map(|p| (p.id, p.generation)) {
                w.tell(Event::Attach {
                    conn: ConnId(generation),
                    process,
                    generation,
                    max_orphan: None,
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_dies_whenever_the_streams_are_whole(
        ops in prop::collection::vec(op(), 1..60),
        send_buffer in 50..9000usize,
    ) {
        let mut w = World::new(send_buffer);
        w.start_speaker();
        for op in &ops {
            apply(&mut w, op);
            w.check();
            if w.let_go.is_some() {
                break;
            }
        }
        w.settle();
    }
}
