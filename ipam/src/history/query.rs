//! What is asked of the history, and its answer: pure, event by event, of bounded size.

use super::event::{Event, Lease, What};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Times in milliseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) address: Option<IpAddr>,
    /// `namespace/name`; empty: any.
    pub(crate) pod: String,
    pub(crate) since: Option<u64>,
    pub(crate) until: Option<u64>,
    /// Who had it then.
    pub(crate) at: Option<u64>,
    /// The latest so many events.
    pub(crate) limit: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) events: VecDeque<Event>,
    pub(crate) more: bool,
    pub(crate) begins: Option<u64>,
    /// Of `Query::at`, those ended before the log does; the others follow from the leases there are.
    pub(crate) spells: Vec<Spell>,
    pub(crate) lost: u64,
}

/// One owner's time with one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spell {
    pub(crate) address: IpAddr,
    pub(crate) lease: Lease,
    pub(crate) until: Option<u64>,
    pub(crate) ended: String,
}

impl Spell {
    pub(crate) fn covers(&self, at: u64) -> bool {
        self.lease.since <= at && self.until.is_none_or(|until| at < until)
    }
}

/// An answer in the making.
pub(super) struct Asked {
    query: Query,
    answer: Answer,
    /// The lease each address has as of the last event.
    open: HashMap<IpAddr, Lease>,
}

impl Query {
    pub(super) fn begin(self) -> Asked {
        Asked { query: self, answer: Answer::default(), open: HashMap::new() }
    }

    fn is_of(&self, event: &Event) -> bool {
        self.address.is_none_or(|address| address == event.address)
            && (self.pod.is_empty() || event.lease.as_ref().is_some_and(|l| l.pod == self.pod))
    }

    fn is_within(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at <= until)
    }
}

impl Asked {
    /// The next event, in the order of the log.
    pub(super) fn take(&mut self, event: Event) {
        self.answer.begins.get_or_insert(event.at);
        if self.query.address.is_none_or(|address| address == event.address) {
            self.follow(&event);
        }
        if !self.query.is_of(&event) || !self.query.is_within(&event) {
            return;
        }
        self.answer.events.push_back(event);
        if self.answer.events.len() > self.query.limit {
            self.answer.events.pop_front();
            self.answer.more = true;
        }
    }

    fn follow(&mut self, event: &Event) {
        if self.query.at.is_none() {
            return;
        }
        let Some(lease) = &event.lease else { return };
        let at = event.at;
        match event.what {
            What::Assigned => {
                let before = self.open.insert(event.address, lease.clone());
                if let Some(before) = before.filter(|before| before.seq != lease.seq) {
                    self.end(event.address, before, at, "taken-over");
                }
            }
            What::Released => {
                self.open.remove(&event.address);
                self.end(event.address, lease.clone(), at, &event.why);
            }
            _ => {}
        }
    }

    fn end(&mut self, address: IpAddr, lease: Lease, until: u64, why: &str) {
        self.tell(Spell { address, lease, until: Some(until), ended: why.into() });
    }

    fn tell(&mut self, spell: Spell) {
        let asked = self.query.pod.is_empty() || spell.lease.pod == self.query.pod;
        let room = self.answer.spells.len() < self.query.limit;
        if asked && room && self.query.at.is_some_and(|at| spell.covers(at)) {
            self.answer.spells.push(spell);
        }
    }

    pub(super) fn answer(mut self) -> Answer {
        for (address, lease) in std::mem::take(&mut self.open) {
            self.tell(Spell { address, lease, until: None, ended: String::new() });
        }
        self.answer.spells.sort_by_key(|spell| (spell.address, spell.lease.seq));
        self.answer
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::any_event;
    use super::*;
    use proptest::prelude::*;

    fn event(at: u64, what: What, why: &str, n: u8, (seq, since, pod): (u64, u64, &str)) -> Event {
        let lease = Lease { seq, since, pod: pod.into(), ..Lease::default() };
        Event { at, what, why: why.into(), address: [10, 0, 0, n].into(), lease: Some(lease) }
    }

    fn log() -> Vec<Event> {
        vec![
            // The log begins after the first ADD.
            event(10, What::Released, "del", 2, (1, 3, "d/a")),
            event(20, What::Assigned, "new", 2, (2, 20, "d/b")),
            event(22, What::Assigned, "new", 3, (3, 22, "d/c")),
            event(30, What::Assigned, "taken-over", 2, (4, 30, "d/b")),
            event(40, What::Released, "gc", 2, (4, 30, "d/b")),
            event(50, What::Assigned, "new", 2, (5, 50, "d/x")),
        ]
    }

    fn ask(query: Query, events: Vec<Event>) -> Answer {
        let mut asked = query.begin();
        events.into_iter().for_each(|event| asked.take(event));
        asked.answer()
    }

    fn who(address: Option<u8>, pod: &str, at: u64) -> Vec<String> {
        let query = Query {
            address: address.map(|n| [10, 0, 0, n].into()),
            pod: pod.into(),
            at: Some(at),
            limit: 10,
            ..Query::default()
        };
        let show = |s: &Spell| {
            let until = s.until.map_or_else(|| "now".into(), |until| until.to_string());
            format!("{} {} {}-{until} {}", s.address, s.lease.pod, s.lease.since, s.ended)
        };
        ask(query, log()).spells.iter().map(show).collect()
    }

    #[test]
    fn it_is_told_who_had_an_address_at_a_time_and_which_address_a_pod_had() {
        assert_eq!(who(Some(2), "", 2), [""; 0]);
        assert_eq!(who(Some(2), "", 3), ["10.0.0.2 d/a 3-10 del"], "known from its release");
        assert_eq!(who(Some(2), "", 10), [""; 0], "the moment of release is after it");
        assert_eq!(who(Some(2), "", 25), ["10.0.0.2 d/b 20-30 taken-over"]);
        assert_eq!(who(Some(2), "", 39), ["10.0.0.2 d/b 30-40 gc"]);
        assert_eq!(who(Some(2), "", 45), [""; 0]);
        assert_eq!(who(Some(2), "", 999), ["10.0.0.2 d/x 50-now "]);
        assert_eq!(who(None, "d/c", 23), ["10.0.0.3 d/c 22-now "]);
        assert_eq!(who(None, "", 25), ["10.0.0.2 d/b 20-30 taken-over", "10.0.0.3 d/c 22-now "]);
    }

    #[test]
    fn the_latest_events_within_the_time_are_told_and_that_there_are_more() {
        let query = Query { since: Some(20), until: Some(40), limit: 3, ..Query::default() };
        let answer = ask(query, log());
        assert_eq!(answer.events.iter().map(|e| e.at).collect::<Vec<_>>(), [22, 30, 40]);
        assert!(answer.more);
        assert_eq!(answer.begins, Some(10));
    }

    proptest! {
        #[test]
        fn every_event_told_was_asked_for_and_never_more_than_the_limit(
            events in prop::collection::vec(any_event(), 0..40),
            n in prop::option::of(0u8..4), pod in "[a-z]{0,1}", limit in 0usize..8,
            since in prop::option::of(0u64..100), at in prop::option::of(0u64..100),
        ) {
            let address = n.map(|n| IpAddr::from([10, 0, 0, n]));
            let query = Query { address, pod: pod.clone(), since, until: None, at, limit };
            let answer = ask(query, events.clone());
            prop_assert!(answer.events.len() <= limit && answer.spells.len() <= limit);
            for event in &answer.events {
                prop_assert!(address.is_none_or(|a| a == event.address));
                prop_assert!(since.is_none_or(|since| event.at >= since));
                prop_assert!(events.contains(event));
            }
            for spell in &answer.spells {
                prop_assert!(at.is_some_and(|at| spell.covers(at)));
                prop_assert!(pod.is_empty() || spell.lease.pod == pod);
            }
        }
    }
}
