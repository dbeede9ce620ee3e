//! All BFD sessions: what the speaker wants of them, and which one a packet is for.

use super::packet::Packet;
use super::session::{self, Saved, Session};
use super::{Hops, Key, Report, Settings, Spec, State};
use crate::rings::Moment;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// A packet that came, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub packet: Packet,
    pub from: IpAddr,
    pub to: Option<IpAddr>,
    /// The index of the interface.
    pub interface: u32,
    pub ttl: u8,
    /// On which port.
    pub multihop: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It needs a socket; answer with [`Table::opened`].
    Open {
        id: NonZeroU32,
        key: Key,
    },
    Send {
        id: NonZeroU32,
        packet: Packet,
    },
    /// Tell the speaker, and the next keeper.
    Changed {
        id: NonZeroU32,
        was: State,
    },
    Close {
        id: NonZeroU32,
    },
}

#[derive(Debug)]
pub struct Table {
    sessions: BTreeMap<NonZeroU32, Entry>,
    random: u64,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    session: Session,
    /// Zero until it is known, and where it does not matter.
    interface: u32,
    fault: String,
    /// No longer wanted: it says goodbye.
    leaving: bool,
}

impl Table {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { sessions: BTreeMap::new(), random: seed | 1 }
    }

    /// These and no others. What stays the same is not touched.
    pub fn set(&mut self, wanted: &[Spec], now: Moment, out: &mut Vec<Action>) {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|s| (&s.key, s.settings)).collect();
        let ids: Vec<_> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            let saved = entry.session.saved();
            let settings = wanted.get(&entry.key).copied();
            entry.leaving = settings.is_none();
            let settings = settings.unwrap_or(Settings { admin_down: true, ..saved.settings });
            if settings != saved.settings {
                self.tell(id, session::Event::Settings(settings), now, out);
            }
        }
        for (key, settings) in wanted {
            if self.sessions.values().all(|e| e.key != *key) {
                let (mine, seed) = (self.discriminator(), self.number());
                self.add(key.clone(), Session::new(settings, mine, seed, now), out);
            }
        }
        self.drop_left(out);
    }

    /// A session of an earlier keeper.
    pub fn restore(&mut self, key: Key, saved: &Saved, now: Moment, out: &mut Vec<Action>) {
        let seed = self.number();
        let twice = self.sessions.values().any(|e| e.key == key);
        if !twice && !self.sessions.contains_key(&saved.mine) {
            self.add(key, Session::restored(saved, seed, now), out);
        }
    }

    pub fn receive(&mut self, received: &Received, now: Moment, out: &mut Vec<Action>) {
        if let Some(id) = self.find(received) {
            self.tell(id, session::Event::Received(received.packet), now, out);
        }
    }

    pub fn due(&mut self, now: Moment, out: &mut Vec<Action>) {
        let due = |e: &Entry| e.session.deadline().is_some_and(|at| at <= now);
        let ids: Vec<_> = self.sessions.iter().filter(|(_, e)| due(e)).map(|(id, _)| *id).collect();
        for id in ids {
            self.tell(id, session::Event::Due, now, out);
        }
        self.drop_left(out);
    }

    /// Says goodbye for all of them, as often as is needed and without waiting.
    pub fn leave(&mut self, now: Moment, out: &mut Vec<Action>) {
        for (id, entry) in &mut self.sessions {
            let settings = Settings { admin_down: true, ..entry.session.saved().settings };
            let mut actions = Vec::new();
            entry.session.handle(session::Event::Settings(settings), now, &mut actions);
            let said = actions.into_iter().find_map(|action| match action {
                session::Action::Send(packet) => Some(packet),
                session::Action::Changed => None,
            });
            for packet in said.into_iter().cycle().take(settings.multiplier.into()) {
                out.push(Action::Send { id: *id, packet });
            }
        }
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.sessions.values().filter_map(|e| e.session.deadline()).min()
    }

    /// The interface's index, once there is a socket.
    pub fn opened(&mut self, id: NonZeroU32, interface: u32) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.interface = interface;
        }
    }

    /// Whether that is new. Empty: nothing is wrong any more.
    pub fn set_fault(&mut self, id: NonZeroU32, fault: &str) -> bool {
        let Some(entry) = self.sessions.get_mut(&id).filter(|e| e.fault != fault) else {
            return false;
        };
        fault.clone_into(&mut entry.fault);
        true
    }

    #[must_use]
    pub fn report(&self, id: NonZeroU32) -> Option<Report> {
        self.sessions.get(&id).map(Entry::report)
    }

    pub fn reports(&self) -> impl Iterator<Item = Report> + '_ {
        self.wanted().map(|(_, entry)| entry.report())
    }

    /// What the next keeper is to know.
    pub fn saved(&self) -> impl Iterator<Item = (Key, Saved)> + '_ {
        self.wanted().map(|(_, entry)| (entry.key.clone(), entry.session.saved()))
    }

    pub fn keys(&self) -> impl Iterator<Item = (NonZeroU32, &Key)> + '_ {
        self.sessions.iter().map(|(id, entry)| (*id, &entry.key))
    }

    /// (sessions, of those up)
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let up = |e: &Entry| e.session.saved().state == State::Up;
        (self.wanted().count(), self.wanted().filter(|(_, e)| up(e)).count())
    }

    fn wanted(&self) -> impl Iterator<Item = (&NonZeroU32, &Entry)> {
        self.sessions.iter().filter(|(_, entry)| !entry.leaving)
    }

    fn add(&mut self, key: Key, session: Session, out: &mut Vec<Action>) {
        let id = session.saved().mine;
        out.push(Action::Open { id, key: key.clone() });
        let (interface, fault, leaving) = (0, String::new(), false);
        self.sessions.insert(id, Entry { key, session, interface, fault, leaving });
    }

    fn tell(&mut self, id: NonZeroU32, event: session::Event, now: Moment, out: &mut Vec<Action>) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let was = entry.session.saved().state;
        let mut actions = Vec::new();
        entry.session.handle(event, now, &mut actions);
        for action in actions {
            match action {
                session::Action::Send(packet) => out.push(Action::Send { id, packet }),
                session::Action::Changed if entry.leaving => {}
                session::Action::Changed => out.push(Action::Changed { id, was }),
            }
        }
    }

    fn drop_left(&mut self, out: &mut Vec<Action>) {
        self.sessions.retain(|id, entry| {
            let gone = entry.leaving && entry.session.has_left();
            if gone {
                out.push(Action::Close { id: *id });
            }
            !gone
        });
    }

    /// RFC 5880 §6.8.6, RFC 5881 §5 and §6, RFC 5883 §4: by our discriminator, and at first by
    /// the addresses; in either case it must have come the way this session's packets come.
    fn find(&self, received: &Received) -> Option<NonZeroU32> {
        match NonZeroU32::new(received.packet.yours) {
            Some(id) => self.sessions.get(&id).filter(|e| e.takes(received)).map(|_| id),
            None => self.sessions.iter().find(|(_, e)| e.takes(received)).map(|(id, _)| *id),
        }
    }

    fn discriminator(&mut self) -> NonZeroU32 {
        loop {
            let number = u32::try_from(self.number() >> 32).ok().and_then(NonZeroU32::new);
            if let Some(new) = number.filter(|n| !self.sessions.contains_key(n)) {
                return new;
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Entry {
    fn takes(&self, received: &Received) -> bool {
        let hops = match self.key.hops {
            Hops::Single => !received.multihop && received.ttl == 255,
            Hops::Multi { min_ttl } => received.multihop && received.ttl >= min_ttl,
        };
        let local = self.key.local.is_none_or(|l| received.to.is_none_or(|to| to == l));
        let interface = self.interface == 0 || self.interface == received.interface;
        hops && local && interface && self.key.peer == received.from
    }

    fn report(&self) -> Report {
        let saved = self.session.saved();
        Report {
            key: self.key.clone(),
            state: saved.state,
            diagnostic: saved.diagnostic,
            remote_state: saved.remote.state,
            remote_diagnostic: saved.remote.diagnostic,
            remote_c_bit: saved.remote.independent,
            failed: saved.failed,
            detect: self.session.detection(),
            interval: self.session.interval(),
            ups: saved.ups,
            fault: self.fault.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::LEN;
    use super::*;
    use std::time::Duration;

    fn spec(peer: &str) -> Spec {
        let peer = peer.parse().unwrap();
        let key = Key { peer, local: None, interface: String::new(), hops: Hops::Single };
        Spec { key, settings: Settings::default() }
    }

    fn now() -> Moment {
        Moment::from_secs(50)
    }

    fn set(table: &mut Table, wanted: &[Spec]) -> Vec<Action> {
        let mut out = Vec::new();
        table.set(wanted, now(), &mut out);
        out
    }

    fn heard(from: &str, yours: u32) -> Received {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&[0x20, 0x40, 3, 24, 0, 0, 0, 99]);
        bytes[8..12].copy_from_slice(&yours.to_be_bytes());
        bytes[18] = 4;
        let packet = Packet::decode(&bytes).unwrap();
        let from = from.parse().unwrap();
        Received { packet, from, to: None, interface: 4, ttl: 255, multihop: false }
    }

    fn state(table: &Table, peer: &str) -> State {
        let peer: IpAddr = peer.parse().unwrap();
        table.reports().find(|r| r.key.peer == peer).unwrap().state
    }

    #[test]
    fn what_is_asked_for_again_is_not_touched() {
        let mut table = Table::new(1);
        let wanted = [spec("192.0.2.1"), spec("192.0.2.2")];
        assert_eq!(set(&mut table, &wanted).len(), 2);
        let before: Vec<_> = table.saved().collect();
        assert_eq!(set(&mut table, &wanted), []);
        assert_eq!(table.saved().collect::<Vec<_>>(), before);
        let more = [spec("192.0.2.1"), spec("192.0.2.2"), spec("192.0.2.3")];
        assert!(matches!(set(&mut table, &more)[..], [Action::Open { .. }]));
    }

    #[test]
    fn a_session_without_a_peer_goes_at_once_and_another_says_goodbye_first() {
        let mut table = Table::new(1);
        set(&mut table, &[spec("192.0.2.1"), spec("192.0.2.2")]);
        table.due(now(), &mut Vec::new());
        table.receive(&heard("192.0.2.2", 0), now(), &mut Vec::new());
        let said = set(&mut table, &[]);
        assert!(said.iter().any(|a| matches!(a, Action::Close { .. })));
        let goodbye = |a: &Action| matches!(a, Action::Send { packet, .. } if packet.state == State::AdminDown);
        assert!(said.iter().any(goodbye), "{said:?}");
        assert_eq!((table.reports().count(), table.sessions.len()), (0, 1));
        let mut out = Vec::new();
        while table.deadline().is_some() {
            let at = table.deadline().unwrap();
            table.due(at, &mut out);
            assert!(at < now() + Duration::from_secs(3));
        }
        assert!(table.sessions.is_empty() && out.iter().filter(|a| goodbye(a)).count() >= 2);
    }

    #[test]
    fn one_that_is_wanted_again_while_it_leaves_comes_back() {
        let mut table = Table::new(1);
        set(&mut table, &[spec("192.0.2.2")]);
        table.due(now(), &mut Vec::new());
        table.receive(&heard("192.0.2.2", 0), now(), &mut Vec::new());
        set(&mut table, &[]);
        set(&mut table, &[spec("192.0.2.2")]);
        assert_eq!(state(&table, "192.0.2.2"), State::Down);
        table.receive(&heard("192.0.2.2", 0), now(), &mut Vec::new());
        assert_eq!(state(&table, "192.0.2.2"), State::Init);
    }

    #[test]
    fn only_packets_that_came_the_right_way_count() {
        let good = heard("192.0.2.1", 0);
        let strange = [
            Received { ttl: 254, ..good },
            Received { multihop: true, ..good },
            Received { interface: 5, ..good },
            Received { to: Some("192.0.2.99".parse().unwrap()), ..good },
            heard("192.0.2.9", 0),
            heard("192.0.2.1", 12345),
        ];
        let mut table = Table::new(1);
        let mut wanted = spec("192.0.2.1");
        wanted.key.local = Some("192.0.2.7".parse().unwrap());
        set(&mut table, &[wanted]);
        let id = *table.sessions.keys().next().unwrap();
        table.opened(id, 4);
        for received in strange {
            table.receive(&received, now(), &mut Vec::new());
            assert_eq!(state(&table, "192.0.2.1"), State::Down, "{received:?}");
        }
        table.receive(&heard("192.0.2.9", id.get()), now(), &mut Vec::new());
        assert_eq!(
            state(&table, "192.0.2.1"),
            State::Down,
            "our discriminator alone is not enough"
        );
        table.receive(&heard("192.0.2.1", id.get()), now(), &mut Vec::new());
        assert_eq!(state(&table, "192.0.2.1"), State::Init);
    }

    #[test]
    fn multihop_packets_may_have_come_a_long_way_but_not_too_long() {
        let mut table = Table::new(1);
        let mut wanted = spec("192.0.2.1");
        wanted.key.hops = Hops::Multi { min_ttl: 250 };
        set(&mut table, &[wanted]);
        let far = Received { multihop: true, ttl: 249, ..heard("192.0.2.1", 0) };
        table.receive(&far, now(), &mut Vec::new());
        assert_eq!(state(&table, "192.0.2.1"), State::Down);
        table.receive(&Received { ttl: 250, ..far }, now(), &mut Vec::new());
        assert_eq!(state(&table, "192.0.2.1"), State::Init);
    }

    #[test]
    fn discriminators_are_never_zero_and_never_twice() {
        let mut table = Table::new(0);
        let wanted: Vec<_> = (0..=255).map(|n| spec(&format!("192.0.2.{n}"))).collect();
        set(&mut table, &wanted);
        assert_eq!(table.sessions.len(), 256);
    }
}
