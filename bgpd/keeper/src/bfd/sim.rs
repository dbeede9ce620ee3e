//! Two sessions, one pretend clock and a bad line between them.

use super::packet::Packet;
use super::session::{Action, Event, Session};
use super::{Settings, State};
use crate::rings::Moment;
use proptest::prelude::*;
use std::num::NonZeroU32;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

struct Line {
    ends: [Session; 2],
    /// (arrives at, at which end, what)
    flying: Vec<(Moment, usize, Packet)>,
    now: Moment,
    delay: Duration,
    cut: [bool; 2],
    ups: usize,
}

impl Line {
    fn new(settings: [Settings; 2], delay: Duration, seed: u64) -> Self {
        let now = Moment::from_secs(10);
        let end = |n: usize| {
            let mine = NonZeroU32::new(u32::try_from(n + 1).unwrap()).unwrap();
            Session::new(settings[n], mine, seed.wrapping_mul(n as u64 + 7), now)
        };
        Self { ends: [end(0), end(1)], flying: Vec::new(), now, delay, cut: [false; 2], ups: 0 }
    }

    fn tell(&mut self, end: usize, event: Event) {
        let mut out = Vec::new();
        self.ends[end].handle(event, self.now, &mut out);
        assert!(out.len() <= 3, "{out:?}");
        for action in out {
            match action {
                Action::Send(packet) if !self.cut[end] => {
                    let bytes = packet.encode();
                    let packet = Packet::decode(&bytes).expect("what we send is sound");
                    self.flying.push((self.now + self.delay, 1 - end, packet));
                }
                Action::Send(_) => {}
                Action::Changed => self.ups += usize::from(self.up()),
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let arrival = self.flying.iter().map(|(at, ..)| *at).min();
            let due = self.ends.iter().filter_map(Session::deadline).min();
            let Some(next) = [arrival, due].into_iter().flatten().min().filter(|at| *at <= until)
            else {
                break;
            };
            self.now = next.max(self.now);
            // What has come is looked at before a timer is.
            if let Some(n) = self.flying.iter().position(|(at, ..)| *at <= self.now) {
                let (_, end, packet) = self.flying.remove(n);
                self.tell(end, Event::Received(packet));
                continue;
            }
            for end in 0..2 {
                self.tell(end, Event::Due);
            }
        }
        self.now = until;
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|n| self.ends[n].saved().state)
    }

    fn up(&self) -> bool {
        self.states() == [State::Up; 2]
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    (50u64..1500, 50u64..1500, 1u8..6).prop_map(|(tx, rx, multiplier)| {
        let ms = Duration::from_millis;
        Settings { min_tx: ms(tx), min_rx: ms(rx), multiplier, admin_down: false }
    })
}

proptest! {
    #[test]
    fn two_ends_come_up_and_stay_up(a in settings(), b in settings(), delay in 0u64..40, seed: u64) {
        let mut line = Line::new([a, b], MS * u32::try_from(delay).unwrap(), seed);
        line.run(Duration::from_secs(3));
        prop_assert!(line.up(), "{:?}", line.states());
        for _ in 0..60 {
            line.run(Duration::from_secs(1));
            prop_assert!(line.up());
        }
        prop_assert_eq!(line.ends.each_ref().map(|s| s.saved().ups), [1, 1]);
    }

    #[test]
    fn a_line_that_dies_in_one_direction_or_both_is_found_dead_in_time(
        a in settings(), b in settings(), cut in prop_oneof![Just([true, false]), Just([false, true]), Just([true, true])], seed: u64
    ) {
        let mut line = Line::new([a, b], MS, seed);
        line.run(Duration::from_secs(10));
        prop_assert!(line.up());
        line.cut = cut;
        let detect = line.ends.each_ref().map(Session::detection);
        let slowest = detect[0].max(detect[1]);
        line.run(slowest + 5 * MS);
        prop_assert!(!line.states().contains(&State::Up), "{:?}", line.states());
        for (end, peer_is_cut) in [(0, cut[1]), (1, cut[0])] {
            prop_assert!(line.ends[end].saved().failed || !peer_is_cut);
        }
        line.cut = [false; 2];
        line.run(Duration::from_secs(4));
        prop_assert!(line.up(), "and comes back: {:?}", line.states());
    }

    #[test]
    fn a_change_of_timers_never_takes_a_session_down(
        a in settings(), b in settings(), changes in prop::collection::vec((0usize..2, settings(), 0u64..900), 1..8), seed: u64
    ) {
        let mut line = Line::new([a, b], MS, seed);
        line.run(Duration::from_secs(5));
        for (end, settings, pause) in changes {
            // A multiplier is not agreed upon: with fewer, one may already be late.
            let multiplier = line.ends[end].saved().settings.multiplier;
            line.tell(end, Event::Settings(Settings { multiplier, ..settings }));
            line.run(MS * u32::try_from(pause).unwrap());
            prop_assert!(line.up());
        }
        line.run(Duration::from_secs(20));
        prop_assert_eq!(line.ends.each_ref().map(|s| s.saved().ups), [1, 1]);
        let wanted = line.ends.each_ref().map(|s| s.saved().settings);
        prop_assert_eq!(line.ends[0].interval(), wanted[0].min_tx.max(wanted[1].min_rx));
        let detect = wanted[0].min_rx.max(wanted[1].min_tx) * u32::from(wanted[1].multiplier);
        prop_assert_eq!(line.ends[0].detection(), detect);
    }

    #[test]
    fn a_keeper_that_is_back_within_the_detection_time_was_never_away(
        a in settings(), b in settings(), away in 0u32..90, seed: u64
    ) {
        let mut line = Line::new([a, b], MS, seed);
        line.run(Duration::from_secs(10));
        let detect = line.ends[1].detection();
        let saved = line.ends[0].saved();
        // One interval may have passed since it last spoke.
        let spoken = line.ends[0].interval();
        let away = (detect.saturating_sub(spoken + 3 * MS)) * away / 100;
        let end = line.now + away;
        // The other end alone.
        while let Some(at) = line.ends[1].deadline().filter(|at| *at <= end) {
            line.now = at.max(line.now);
            let arrived = line.flying.iter().position(|(at, to, _)| *to == 1 && *at <= line.now);
            match arrived {
                Some(n) => {
                    let (_, _, packet) = line.flying.remove(n);
                    line.tell(1, Event::Received(packet));
                }
                None => line.tell(1, Event::Due),
            }
        }
        line.now = end;
        line.flying.retain(|(_, to, _)| *to == 1);
        line.ends[0] = Session::restored(&saved, seed, line.now);
        line.run(Duration::from_secs(10));
        prop_assert_eq!(line.ends.each_ref().map(|s| s.saved().ups), [1, 1]);
        prop_assert!(line.up());
    }
}
