//! One BFD session: RFC 5880 §6.8, asynchronous mode, always active, no echo, no authentication.

use super::packet::Packet;
use super::{Diagnostic, Settings, State};
use crate::rings::Moment;
use std::num::NonZeroU32;
use std::time::Duration;

/// While a session is not up no side sends faster (RFC 5880 §6.8.3).
pub const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Received(Packet),
    Settings(Settings),
    Due,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Send(Packet),
    /// The state or what the peer says of itself is another than before.
    Changed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    settings: Settings,
    mine: NonZeroU32,
    state: State,
    diagnostic: Diagnostic,
    remote: Remote,
    poll: Poll,
    /// In use, where a Poll Sequence still asks the peer to agree (RFC 5880 §6.8.3).
    tx: Duration,
    rx: Duration,
    heard: Option<Moment>,
    sent: Option<(Packet, Moment)>,
    next_tx: Moment,
    /// Goodbyes still to be said quickly: one may be lost.
    farewell: u8,
    failed: bool,
    ups: u32,
    random: u64,
}

/// What the peer last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Zero: unknown.
    pub discriminator: u32,
    pub state: State,
    pub diagnostic: Diagnostic,
    pub min_tx: Duration,
    pub min_rx: Duration,
    pub multiplier: u8,
    pub demand: bool,
    pub independent: bool,
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            discriminator: 0,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            min_tx: Duration::ZERO,
            min_rx: Duration::from_micros(1),
            multiplier: 0,
            demand: false,
            independent: false,
        }
    }
}

/// What goes on in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    pub settings: Settings,
    pub mine: NonZeroU32,
    pub state: State,
    pub diagnostic: Diagnostic,
    pub remote: Remote,
    pub failed: bool,
    pub ups: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    No,
    Running,
    /// Something changed while one was running.
    Again,
}

impl Session {
    #[must_use]
    pub fn new(settings: Settings, mine: NonZeroU32, seed: u64, now: Moment) -> Self {
        let (state, diagnostic) = match settings.admin_down {
            true => (State::AdminDown, Diagnostic::ADMIN_DOWN),
            false => (State::Down, Diagnostic::NONE),
        };
        let remote = Remote::default();
        let saved = Saved { settings, mine, state, diagnostic, remote, failed: false, ups: 0 };
        Self::restored(&saved, seed, now)
    }

    /// As if nothing had happened since: the peer has its whole detection time to be heard again.
    #[must_use]
    pub fn restored(saved: &Saved, seed: u64, now: Moment) -> Self {
        let Saved { settings, mine, state, diagnostic, remote, failed, ups } = *saved;
        let up = state == State::Up;
        let slow = |d: Duration| if up { d } else { d.max(SLOW) };
        Self {
            settings,
            mine,
            state,
            diagnostic,
            remote,
            // Whether one was under way is not known.
            poll: if up { Poll::Running } else { Poll::No },
            tx: slow(settings.min_tx),
            rx: if up { settings.min_rx.max(SLOW) } else { settings.min_rx },
            heard: (remote.discriminator != 0).then_some(now),
            sent: None,
            next_tx: now,
            farewell: 0,
            failed,
            ups,
            random: seed | 1,
        }
    }

    #[must_use]
    pub const fn saved(&self) -> Saved {
        Saved {
            settings: self.settings,
            mine: self.mine,
            state: self.state,
            diagnostic: self.diagnostic,
            remote: self.remote,
            failed: self.failed,
            ups: self.ups,
        }
    }

    pub fn handle(&mut self, event: Event, now: Moment, out: &mut Vec<Action>) {
        let before = self.saved();
        match event {
            Event::Received(packet) => self.receive(&packet, now, out),
            Event::Settings(settings) => self.change(settings),
            Event::Due => {
                if self.expires().is_some_and(|at| at <= now) {
                    self.expire();
                }
                if self.may_send() && self.next_tx <= now {
                    self.send(now, out);
                }
            }
        }
        // RFC 5880 §6.8.7: what is new is said at once.
        let new = self.sent.is_some_and(|(said, _)| said != self.packet());
        if new && self.may_send() {
            self.send(now, out);
        }
        if self.saved() != before {
            out.push(Action::Changed);
        }
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let send = self.may_send().then_some(self.next_tx);
        [send, self.expires()].into_iter().flatten().min()
    }

    /// After so long a silence the peer is dead (RFC 5880 §6.8.4).
    #[must_use]
    pub fn detection(&self) -> Duration {
        self.rx.max(self.remote.min_tx) * u32::from(self.remote.multiplier)
    }

    /// Between two packets of ours, before jitter.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let hurried = self.farewell > 0 && self.state == State::AdminDown;
        let mine = if hurried { self.settings.min_tx } else { self.tx };
        mine.max(self.remote.min_rx)
    }

    /// Administratively down, and the peer has had every chance to hear it.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.state == State::AdminDown && (self.farewell == 0 || self.remote.discriminator == 0)
    }

    fn expires(&self) -> Option<Moment> {
        Some(self.heard? + self.detection())
    }

    fn expire(&mut self) {
        self.heard = None;
        self.remote = Remote { discriminator: 0, min_rx: Remote::default().min_rx, ..self.remote };
        if matches!(self.state, State::Init | State::Up) {
            self.go_down(Diagnostic::TIME_EXPIRED, true);
        }
    }

    /// RFC 5880 §6.8.6, from where the packet is known to be this session's.
    fn receive(&mut self, packet: &Packet, now: Moment, out: &mut Vec<Action>) {
        self.remote = Remote {
            discriminator: packet.mine.get(),
            state: packet.state,
            diagnostic: packet.diagnostic,
            min_tx: packet.min_tx,
            min_rx: packet.min_rx,
            multiplier: packet.multiplier,
            demand: packet.demand,
            independent: packet.independent,
        };
        self.heard = Some(now);
        if packet.last {
            self.poll_answered();
        }
        // A peer that wants more of them, or is the first to be heard, does not wait for long.
        if let Some((_, at)) = self.sent {
            self.next_tx = self.next_tx.min(at + self.interval());
        }
        match (self.state, packet.state) {
            (State::AdminDown, _) => return,
            (State::Init | State::Up, State::AdminDown) => {
                self.go_down(Diagnostic::NEIGHBOR_DOWN, false);
            }
            (State::Down, State::AdminDown) => self.failed = false,
            (State::Down, State::Down) => self.state = State::Init,
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => self.go_up(),
            (State::Up, State::Down) => self.go_down(Diagnostic::NEIGHBOR_DOWN, true),
            (State::Down, State::Up) | (State::Init, State::Down) => {}
            (State::Up, State::Init | State::Up) => {}
        }
        if packet.poll {
            // No rule on when to send holds for this one.
            let answer = Packet { poll: false, last: true, ..self.packet() };
            out.push(Action::Send(answer));
        }
    }

    fn go_up(&mut self) {
        self.state = State::Up;
        self.diagnostic = Diagnostic::NONE;
        self.failed = false;
        self.ups = self.ups.saturating_add(1);
        self.tx = self.settings.min_tx;
        self.poll = Poll::Running;
    }

    fn go_down(&mut self, why: Diagnostic, failed: bool) {
        self.failed = failed && self.state == State::Up;
        self.state = State::Down;
        self.diagnostic = why;
        self.slow_down();
    }

    fn slow_down(&mut self) {
        self.tx = self.settings.min_tx.max(SLOW);
        self.rx = self.settings.min_rx;
        self.poll = Poll::No;
    }

    fn poll_answered(&mut self) {
        self.poll = match self.poll {
            Poll::Again => Poll::Running,
            Poll::Running => {
                (self.tx, self.rx) = (self.settings.min_tx, self.settings.min_rx);
                Poll::No
            }
            Poll::No => Poll::No,
        };
    }

    fn change(&mut self, settings: Settings) {
        let old = std::mem::replace(&mut self.settings, settings);
        match (old.admin_down, settings.admin_down) {
            (false, true) => {
                self.state = State::AdminDown;
                self.diagnostic = Diagnostic::ADMIN_DOWN;
                self.failed = false;
                self.farewell = settings.multiplier.max(3);
                self.slow_down();
            }
            (true, false) => {
                self.state = State::Down;
                self.diagnostic = Diagnostic::NONE;
                self.slow_down();
            }
            _ if self.state != State::Up => self.slow_down(),
            _ if (old.min_tx, old.min_rx) != (settings.min_tx, settings.min_rx) => {
                // Sending faster and waiting longer can begin before the peer knows.
                self.tx = self.tx.min(settings.min_tx);
                self.rx = self.rx.max(settings.min_rx);
                self.poll = if self.poll == Poll::No { Poll::Running } else { Poll::Again };
            }
            _ => {}
        }
    }

    /// RFC 5880 §6.8.7
    fn may_send(&self) -> bool {
        let both_up = self.state == State::Up && self.remote.state == State::Up;
        let not_wanted = self.remote.demand && both_up && self.poll == Poll::No;
        !self.remote.min_rx.is_zero() && !not_wanted
    }

    fn send(&mut self, now: Moment, out: &mut Vec<Action>) {
        let packet = self.packet();
        self.next_tx = now + self.jittered();
        self.sent = Some((packet, now));
        self.farewell = self.farewell.saturating_sub(1);
        out.push(Action::Send(packet));
    }

    fn packet(&self) -> Packet {
        let up = self.state == State::Up;
        let min_tx = self.settings.min_tx;
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.poll != Poll::No,
            last: false,
            // Honest: this process lives on when the speaker does not.
            independent: true,
            demand: false,
            multiplier: self.settings.multiplier,
            mine: self.mine,
            yours: self.remote.discriminator,
            min_tx: if up { min_tx } else { min_tx.max(SLOW) },
            min_rx: self.settings.min_rx,
        }
    }

    /// 75 to 100 % of the interval; with a multiplier of one at most 90 %, for the peer allows no
    /// loss (RFC 5880 §6.8.7).
    fn jittered(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let width = if self.settings.multiplier == 1 { 150 } else { 250 };
        let permille = 750 + u32::try_from(self.random % (width + 1)).unwrap_or(0);
        self.interval() * permille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(state: State) -> Packet {
        Packet {
            diagnostic: Diagnostic::NONE,
            state,
            poll: false,
            last: false,
            independent: false,
            demand: false,
            multiplier: 3,
            mine: NonZeroU32::new(9).unwrap(),
            yours: 7,
            min_tx: 100 * MS,
            min_rx: 100 * MS,
        }
    }

    struct One(Session, Moment);

    impl One {
        fn new() -> Self {
            let now = Moment::from_secs(100);
            let mine = NonZeroU32::new(7).unwrap();
            Self(Session::new(Settings::default(), mine, 42, now), now)
        }

        fn up() -> Self {
            let mut one = Self::new();
            one.run(MS);
            one.hears(packet(State::Down));
            one.hears(packet(State::Init));
            one.hears(Packet { last: true, ..packet(State::Up) });
            assert_eq!(one.0.state, State::Up);
            one
        }

        fn tell(&mut self, event: Event) -> Vec<Packet> {
            let mut out = Vec::new();
            self.0.handle(event, self.1, &mut out);
            let sent = |a| if let Action::Send(p) = a { Some(p) } else { None };
            out.into_iter().filter_map(sent).collect()
        }

        fn hears(&mut self, packet: Packet) -> Vec<Packet> {
            self.tell(Event::Received(packet))
        }

        /// What it sends within this time, hearing nothing.
        fn run(&mut self, time: Duration) -> Vec<(Moment, Packet)> {
            let end = self.1 + time;
            let mut sent = Vec::new();
            while let Some(at) = self.0.deadline().filter(|at| *at <= end) {
                self.1 = at.max(self.1);
                let now = self.1;
                sent.extend(self.tell(Event::Due).into_iter().map(|p| (now, p)));
            }
            self.1 = end;
            sent
        }
    }

    fn states() -> [State; 4] {
        [State::AdminDown, State::Down, State::Init, State::Up]
    }

    /// RFC 5880 §6.8.6, the whole table.
    #[test]
    fn every_state_meets_every_packet() {
        use State::{AdminDown, Down, Init, Up};
        let table = [
            (AdminDown, [AdminDown, AdminDown, AdminDown, AdminDown]),
            (Down, [Down, Init, Up, Down]),
            (Init, [Down, Init, Up, Up]),
            (Up, [Down, Down, Up, Up]),
        ];
        for (state, expected) in table {
            for (received, next) in states().into_iter().zip(expected) {
                let mut one = One::up();
                one.0.state = state;
                one.hears(packet(received));
                assert_eq!(one.0.state, next, "{state:?} hears {received:?}");
                let failed = state == Up && received == Down;
                assert_eq!(one.0.failed, failed, "{state:?} hears {received:?}");
            }
        }
    }

    #[test]
    fn a_silent_peer_is_dead_after_its_detection_time_and_not_before() {
        let mut one = One::up();
        one.run(899 * MS);
        assert_eq!(one.0.state, State::Up, "3 x max(300 ms, 100 ms)");
        let said = one.run(MS);
        assert_eq!((one.0.state, one.0.diagnostic), (State::Down, Diagnostic::TIME_EXPIRED));
        assert!(one.0.failed);
        let last = said.last().unwrap().1;
        assert_eq!((last.state, last.yours), (State::Down, 0), "said at once");
    }

    #[test]
    fn a_session_that_is_not_up_sends_once_a_second_and_says_so() {
        let mut one = One::new();
        let said = one.run(Duration::from_secs(20));
        assert!((20..=28).contains(&said.len()), "{}", said.len());
        assert!(said.iter().all(|(_, p)| p.min_tx == SLOW && p.state == State::Down));
        for pair in said.windows(2) {
            let gap = pair[1].0 - pair[0].0;
            assert!((750 * MS..=SLOW).contains(&gap), "{gap:?}");
        }
    }

    #[test]
    fn with_a_multiplier_of_one_no_gap_is_longer_than_nine_tenths() {
        let mut one = One::new();
        one.tell(Event::Settings(Settings { multiplier: 1, ..Settings::default() }));
        let said = one.run(Duration::from_secs(50));
        assert!(said.windows(2).all(|w| (750 * MS..=900 * MS).contains(&(w[1].0 - w[0].0))));
    }

    #[test]
    fn coming_up_it_speeds_up_with_a_poll_sequence_that_ends_with_the_final_bit() {
        let mut one = One::new();
        one.run(MS);
        assert_eq!(one.hears(packet(State::Down))[0].state, State::Init);
        let up = one.hears(packet(State::Init))[0];
        assert_eq!((up.state, up.poll, up.min_tx), (State::Up, true, 300 * MS));
        assert!(one.run(600 * MS).iter().all(|(_, p)| p.poll));
        let quiet = one.hears(Packet { last: true, ..packet(State::Up) });
        assert!(quiet.iter().all(|p| !p.poll));
        assert!(one.run(600 * MS).iter().all(|(_, p)| !p.poll));
    }

    #[test]
    fn a_poll_is_answered_at_once_also_when_nothing_else_may_be_sent() {
        let mut one = One::up();
        let still = Packet { min_rx: Duration::ZERO, ..packet(State::Up) };
        one.hears(still);
        assert_eq!(one.run(500 * MS), []);
        let answer = one.hears(Packet { poll: true, ..still });
        assert_eq!(answer.len(), 1);
        assert!(answer[0].last && !answer[0].poll);
    }

    #[test]
    fn a_peer_in_demand_mode_gets_no_periodic_packets_but_still_must_send_its_own() {
        let mut one = One::up();
        one.run(10 * MS);
        one.hears(Packet { demand: true, ..packet(State::Up) });
        assert_eq!(one.run(800 * MS), []);
        let settings = Settings { min_tx: 600 * MS, ..Settings::default() };
        assert!(one.tell(Event::Settings(settings))[0].poll, "a change is said all the same");
        one.run(200 * MS);
        assert_eq!(one.0.state, State::Down, "and silence is death");
    }

    #[test]
    fn slower_timers_wait_for_the_peers_consent() {
        let mut one = One::up();
        let slower = Settings { min_tx: 900 * MS, min_rx: 900 * MS, ..Settings::default() };
        let said = one.tell(Event::Settings(slower));
        assert!(said[0].poll && said[0].min_tx == 900 * MS);
        assert_eq!(one.0.interval(), 300 * MS, "sends as often as before");
        assert_eq!(one.0.detection(), 2700 * MS, "and waits longer at once");
        one.hears(Packet { last: true, ..packet(State::Up) });
        assert_eq!(one.0.interval(), 900 * MS);

        let faster = Settings { min_tx: 50 * MS, min_rx: 50 * MS, ..Settings::default() };
        one.tell(Event::Settings(faster));
        assert_eq!(one.0.interval(), 100 * MS, "as fast as the peer allows, at once");
        assert_eq!(one.0.detection(), 2700 * MS, "and waits as long as before");
        one.tell(Event::Settings(Settings::default()));
        one.hears(Packet { last: true, ..packet(State::Up) });
        assert_eq!(one.0.poll, Poll::Running, "the answer may be to the first of two changes");
        one.hears(Packet { last: true, ..packet(State::Up) });
        assert_eq!((one.0.poll, one.0.detection()), (Poll::No, 900 * MS));
    }

    #[test]
    fn admin_down_is_said_quickly_and_often_enough_and_taken_back_again() {
        let mut one = One::up();
        let down = Settings { admin_down: true, ..Settings::default() };
        let mut said = one.tell(Event::Settings(down)).len();
        assert!(!one.0.has_left());
        said += one.run(700 * MS).len();
        assert!(said >= 3 && one.0.has_left(), "{said}");
        assert_eq!(one.hears(packet(State::Down)), [], "no packet changes that");
        let again = one.tell(Event::Settings(Settings::default()));
        assert_eq!(again[0].state, State::Down);
    }

    #[test]
    fn an_admin_down_of_the_peer_is_no_failure() {
        let mut one = One::up();
        one.hears(Packet { diagnostic: Diagnostic::ADMIN_DOWN, ..packet(State::AdminDown) });
        assert_eq!((one.0.state, one.0.failed), (State::Down, false));
        assert_eq!(one.0.diagnostic, Diagnostic::NEIGHBOR_DOWN);
    }

    #[test]
    fn another_process_goes_on_with_the_same_words() {
        let mut one = One::up();
        one.run(10 * MS);
        let before = one.0.packet();
        let later = one.1 + 500 * MS;
        let mut next = One(Session::restored(&one.0.saved(), 1, later), later);
        let said = next.run(Duration::ZERO);
        assert_eq!(said[0].1, Packet { poll: true, ..before }, "at once");
        next.hears(Packet { last: true, ..packet(State::Up) });
        next.run(899 * MS);
        assert_eq!(next.0.state, State::Up);
        next.run(MS);
        assert_eq!(next.0.state, State::Down, "a peer that died meanwhile is found out");
    }
}
