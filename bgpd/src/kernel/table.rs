//! What one kernel table should hold of ours, what it does hold, and the difference. Pure.
//!
//! The key of a route is prefix, table and metric. Ours is the route of protocol 96 at that key; a
//! route of any other protocol there is foreign, and is left alone: ours waits until it is gone.
//! What a speaker before us has left may be inherited at start: then ours takes its place, or,
//! where it has another metric, ours is added first and it goes afterwards.

use super::message::{Hop, PROTOCOL_BGP, Route, Verb};
use super::socket::Refusal;
use bgp_core::types::Prefix;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

type Hops = Arc<[Hop]>;

#[derive(Debug)]
pub(super) struct Table {
    id: u32,
    metric: u32,
    entries: HashMap<Prefix, Entry>,
    /// Where wanted and present may differ.
    dirty: BTreeSet<Prefix>,
    /// Routes at another metric, ours (it was changed) or inherited, with their protocol: each goes
    /// after the new one is in.
    surplus: Vec<(Prefix, u32, u8)>,
    /// Routes of an earlier speaker that are still there as it left them: prefix, metric, protocol.
    inherited: HashMap<(Prefix, u32), u8>,
    /// Many prefixes share few sets of next hops.
    shared: HashSet<Hops>,
}

#[derive(Debug, Default)]
struct Entry {
    want: Option<Hops>,
    kernel: Option<Hops>,
    /// The protocol of a foreign route at our key.
    foreign: Option<u8>,
    /// The protocol of an inherited one there.
    inherited: Option<u8>,
    /// A dump did not show what an addition collided with.
    puzzled: bool,
}

/// What to ask the kernel next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Do(Op),
    /// Cannot be done: a route of this protocol is in the way.
    Blocked {
        prefix: Prefix,
        protocol: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) verb: Verb,
    pub(super) prefix: Prefix,
    pub(super) metric: u32,
    pub(super) protocol: u8,
    pub(super) hops: Hops,
}

/// What an answer of the kernel means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    Failed(String),
    /// The kernel holds what we did not know of: look again.
    LookAgain,
}

impl Table {
    #[must_use]
    pub(super) fn new(id: u32, metric: u32) -> Self {
        Self {
            id,
            metric,
            entries: HashMap::new(),
            dirty: BTreeSet::new(),
            surplus: Vec::new(),
            inherited: HashMap::new(),
            shared: HashSet::new(),
        }
    }

    #[must_use]
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// Takes over what an earlier process left, ours or of these protocols: it is wanted until the
    /// speaker says otherwise.
    pub(super) fn adopt(&mut self, dump: Vec<Route>, from: &[u8]) -> Vec<(Prefix, Vec<Hop>)> {
        // A route into a tunnel is more than its next hop: that is not ours to make again.
        let heirloom = |r: &Route| from.contains(&r.protocol) && !r.onlink;
        let ours = |r: &&Route| !r.hops.is_empty() && (r.protocol == PROTOCOL_BGP || heirloom(r));
        let mut found: Vec<_> = dump.iter().filter(ours).collect();
        let inherited = found.iter().filter(|r| r.protocol != PROTOCOL_BGP);
        self.inherited = inherited.map(|r| ((r.prefix, r.metric), r.protocol)).collect();
        // Where there are several, ours counts, and of these the one at today's metric.
        found.sort_by_key(|r| (r.protocol == PROTOCOL_BGP, r.metric == self.metric));
        let adopted: BTreeMap<_, _> =
            found.into_iter().map(|r| (r.prefix, portable(&r.hops))).collect();
        for (prefix, hops) in &adopted {
            self.entries.entry(*prefix).or_default().want = Some(share(&mut self.shared, hops));
        }
        self.resync(dump);
        adopted.into_iter().collect()
    }

    /// What the speaker wants from now on. Asked again for what has failed, it is tried again.
    pub(super) fn set(&mut self, prefix: Prefix, hops: Option<&[Hop]>) {
        let want = hops.map(|h| share(&mut self.shared, h));
        let entry = self.entries.entry(prefix).or_default();
        (entry.want, entry.puzzled) = (want, false);
        self.dirty.insert(prefix);
    }

    /// The next differences, adds and changes before what is merely superfluous.
    pub(super) fn steps(&mut self, limit: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while steps.len() < limit {
            let Some(prefix) = self.dirty.pop_first() else { break };
            steps.extend(self.step(prefix));
        }
        while steps.len() < limit
            && let Some((prefix, metric, protocol)) = self.superfluous()
        {
            let hops = Arc::default();
            steps.push(Step::Do(Op { verb: Verb::Delete, prefix, metric, protocol, hops }));
        }
        steps
    }

    /// The next one whose successor is in the kernel, or not wanted.
    fn superfluous(&mut self) -> Option<(Prefix, u32, u8)> {
        let place = self.surplus.iter().rposition(|(prefix, ..)| self.is_succeeded(prefix))?;
        let gone = self.surplus.swap_remove(place);
        self.inherited.remove(&(gone.0, gone.1));
        Some(gone)
    }

    fn is_succeeded(&self, prefix: &Prefix) -> bool {
        self.entries.get(prefix).is_none_or(|e| e.want.is_none() || e.kernel.is_some())
    }

    fn step(&mut self, prefix: Prefix) -> Option<Step> {
        let entry = self.entries.get(&prefix)?;
        let mut protocol = PROTOCOL_BGP;
        let (verb, hops) = match (&entry.want, &entry.kernel) {
            (None, None) => {
                let Some(theirs) = entry.inherited else {
                    self.entries.remove(&prefix);
                    return None;
                };
                protocol = theirs;
                (Verb::Delete, Arc::default())
            }
            (Some(want), None) if entry.inherited.is_some() => (Verb::Replace, want.clone()),
            (Some(want), Some(kernel)) if same(want, kernel) => return None,
            (None, Some(_)) => (Verb::Delete, Arc::default()),
            (Some(want), Some(_)) => (Verb::Replace, want.clone()),
            (Some(want), None) => (Verb::Add, want.clone()),
        };
        Some(match entry.foreign {
            // A deletion names our protocol; a replacement would hit the foreign one.
            Some(protocol) if verb != Verb::Delete => Step::Blocked { prefix, protocol },
            _ => Step::Do(Op { verb, prefix, metric: self.metric, protocol, hops }),
        })
    }

    /// Notes how the kernel answered `op`.
    pub(super) fn settle(&mut self, op: &Op, refusal: Option<Refusal>) -> Settled {
        let Some(entry) = self.entries.get_mut(&op.prefix).filter(|_| op.metric == self.metric)
        else {
            return Settled::Done;
        };
        if refusal.is_none() {
            entry.inherited = None;
            self.inherited.remove(&(op.prefix, op.metric));
        }
        match (op.verb, refusal) {
            (Verb::Add | Verb::Replace, None) => entry.kernel = Some(op.hops.clone()),
            // Somebody else was faster, or its interface took it along.
            (Verb::Delete, None | Some(Refusal { errno: libc::ESRCH, .. })) => {
                (entry.kernel, entry.inherited) = (None, None);
                if entry.want.is_none() {
                    self.entries.remove(&op.prefix);
                }
            }
            (Verb::Add, Some(Refusal { errno: libc::EEXIST, .. })) if !entry.puzzled => {
                entry.puzzled = true;
                self.dirty.insert(op.prefix);
                return Settled::LookAgain;
            }
            (_, Some(refusal)) => return Settled::Failed(refusal.to_string()),
        }
        Settled::Done
    }

    /// Compares with a dump of the whole table; what differs is up for [`Self::steps`] again.
    pub(super) fn resync(&mut self, dump: Vec<Route>) {
        for entry in self.entries.values_mut() {
            (entry.kernel, entry.foreign, entry.inherited) = (None, None, None);
        }
        self.surplus.clear();
        for route in dump {
            self.note(&route);
        }
        let differs = |e: &Entry| match (&e.want, &e.kernel) {
            (Some(want), Some(kernel)) => !same(want, kernel),
            _ => true,
        };
        self.dirty.extend(self.entries.iter().filter(|(_, e)| differs(e)).map(|(p, _)| *p));
    }

    fn note(&mut self, route: &Route) {
        let heirloom = self.inherited.get(&(route.prefix, route.metric)) == Some(&route.protocol);
        if heirloom && route.metric != self.metric {
            self.surplus.push((route.prefix, route.metric, route.protocol));
            return;
        }
        match (route.protocol == PROTOCOL_BGP, route.metric == self.metric) {
            (true, true) => {
                let hops = share(&mut self.shared, &route.hops);
                self.entries.entry(route.prefix).or_default().kernel = Some(hops);
            }
            (true, false) => self.surplus.push((route.prefix, route.metric, PROTOCOL_BGP)),
            (false, true) => {
                if let Some(entry) = self.entries.get_mut(&route.prefix) {
                    let place = if heirloom { &mut entry.inherited } else { &mut entry.foreign };
                    *place = Some(route.protocol);
                }
            }
            (false, false) => {}
        }
    }

    /// Whether somebody else's change to this route is a reason to look at the table again.
    #[must_use]
    pub(super) fn is_touched_by(&self, route: &Route) -> bool {
        if route.table != self.id {
            return false;
        }
        route.protocol == PROTOCOL_BGP
            || (route.metric == self.metric && self.entries.contains_key(&route.prefix))
    }

    /// Puts up what is wanted and not there for another try: an interface or address has come.
    pub(super) fn retry(&mut self) {
        let missing = |e: &Entry| match (&e.want, &e.kernel) {
            (Some(want), Some(kernel)) => !same(want, kernel),
            (Some(_), None) => true,
            _ => false,
        };
        self.dirty.extend(self.entries.iter().filter(|(_, e)| missing(e)).map(|(p, _)| *p));
    }

    /// Drops sets of next hops that no route uses any more.
    pub(super) fn tidy(&mut self) {
        self.shared.retain(|hops| Arc::strong_count(hops) > 1);
    }

    #[must_use]
    pub(super) fn is_settled(&self) -> bool {
        let due = |(prefix, ..): &(Prefix, u32, u8)| self.is_succeeded(prefix);
        self.dirty.is_empty() && !self.surplus.iter().any(due)
    }
}

fn share(shared: &mut HashSet<Hops>, hops: &[Hop]) -> Hops {
    if let Some(known) = shared.get(hops) {
        return known.clone();
    }
    let mut sorted = hops.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let new: Hops = sorted.into();
    shared.insert(new.clone());
    new
}

/// Whether the kernel's hops are the wanted ones; it always names the interface, we rarely do.
fn same(want: &[Hop], kernel: &[Hop]) -> bool {
    want.len() == kernel.len()
        && want
            .iter()
            .zip(kernel)
            .all(|(w, k)| w.via == k.via && (w.dev.is_none() || k.dev.is_none() || w.dev == k.dev))
}

/// Without the interface, where the address is enough: it may come back under another number.
fn portable(hops: &[Hop]) -> Vec<Hop> {
    let needs_dev =
        |hop: &Hop| matches!(hop.via, std::net::IpAddr::V6(a) if a.is_unicast_link_local());
    hops.iter().map(|h| Hop { dev: h.dev.filter(|_| needs_dev(h)), ..*h }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "10.1.0.0/16";

    fn hops(list: &[&str]) -> Vec<Hop> {
        list.iter().map(|via| Hop { via: via.parse().unwrap(), dev: None }).collect()
    }

    fn route(prefix: &str, protocol: u8, metric: u32, via: &[&str]) -> Route {
        Route {
            prefix: prefix.parse().unwrap(),
            table: 254,
            protocol,
            kind: libc::RTN_UNICAST,
            metric,
            onlink: false,
            hops: hops(via).into_iter().map(|h| Hop { dev: Some(2), ..h }).collect(),
        }
    }

    fn table(dump: Vec<Route>) -> Table {
        let mut table = Table::new(254, 20);
        table.adopt(dump, &[]);
        table
    }

    fn verbs(table: &mut Table) -> Vec<(Verb, u32)> {
        let mut seen = Vec::new();
        for step in table.steps(100) {
            if let Step::Do(op) = step {
                seen.push((op.verb, op.metric));
                assert_eq!(table.settle(&op, None), Settled::Done);
            }
        }
        seen
    }

    fn refused(errno: i32) -> Option<Refusal> {
        Some(Refusal { errno, words: None })
    }

    #[test]
    fn an_adopted_route_that_is_wanted_again_is_not_touched() {
        let mut table = table(vec![route(P, 96, 20, &["192.0.2.1"])]);
        assert_eq!(verbs(&mut table), []);
        table.set(P.parse().unwrap(), Some(&hops(&["192.0.2.1"])));
        assert_eq!(verbs(&mut table), []);
        assert!(table.is_settled());
    }

    #[test]
    fn a_changed_route_is_replaced_and_a_new_one_added() {
        let mut table = table(vec![route(P, 96, 20, &["192.0.2.1"])]);
        table.set(P.parse().unwrap(), Some(&hops(&["192.0.2.2", "192.0.2.1"])));
        table.set("10.2.0.0/16".parse().unwrap(), Some(&hops(&["192.0.2.1"])));
        assert_eq!(verbs(&mut table), [(Verb::Replace, 20), (Verb::Add, 20)]);
    }

    #[test]
    fn after_a_change_of_metric_the_new_route_stands_before_the_old_one_goes() {
        let mut table = table(vec![route(P, 96, 30, &["192.0.2.1"])]);
        assert_eq!(verbs(&mut table), [(Verb::Add, 20)]);
        assert_eq!(verbs(&mut table), [(Verb::Delete, 30)]);
    }

    const BIRD: u8 = 12;

    fn heir(dump: Vec<Route>) -> Table {
        let mut table = Table::new(254, 20);
        table.adopt(dump, &[BIRD]);
        table
    }

    #[test]
    fn an_inherited_route_becomes_ours_in_its_place() {
        let theirs = route(P, BIRD, 20, &["192.0.2.1"]);
        let mut table = heir(vec![theirs.clone()]);
        assert_eq!(verbs(&mut table), [(Verb::Replace, 20)]);
        assert!(table.is_settled());
        // Who puts one there later is a stranger like any other.
        table.resync(vec![theirs]);
        assert!(matches!(table.steps(9)[..], [Step::Blocked { protocol: BIRD, .. }]));
    }

    #[test]
    fn an_inherited_route_at_another_metric_goes_when_ours_stands() {
        let mut table = heir(vec![route(P, BIRD, 0, &["192.0.2.1"])]);
        let Step::Do(op) = table.steps(1).remove(0) else { panic!("ours comes first") };
        assert_eq!((op.verb, op.metric), (Verb::Add, 20));
        assert!(matches!(table.settle(&op, refused(libc::ENETUNREACH)), Settled::Failed(_)));
        assert_eq!(table.steps(9), [], "ours is not in: theirs stays");
        assert!(table.is_settled());
        table.retry();
        assert_eq!(verbs(&mut table), [(Verb::Add, 20)]);
        let steps = table.steps(9);
        let [Step::Do(op)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((op.verb, op.metric, op.protocol), (Verb::Delete, 0, BIRD));
    }

    #[test]
    fn an_inherited_route_that_nobody_wants_is_removed_under_its_own_protocol() {
        let mut table = heir(vec![route(P, BIRD, 20, &["192.0.2.1"])]);
        table.set(P.parse().unwrap(), None);
        let steps = table.steps(9);
        let [Step::Do(op)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((op.verb, op.protocol), (Verb::Delete, BIRD));
        assert_eq!(table.settle(op, None), Settled::Done);
        assert!(table.entries.is_empty() && table.is_settled());
    }

    #[test]
    fn tunnels_and_strangers_are_not_inherited() {
        let tunnel = Route { onlink: true, ..route(P, BIRD, 20, &["192.0.2.1"]) };
        let mut table = heir(vec![tunnel, route("10.9.0.0/16", 4, 20, &["192.0.2.1"])]);
        assert_eq!(table.steps(9), []);
    }

    #[test]
    fn a_foreign_route_at_our_key_is_left_alone_and_named() {
        let mut table = table(vec![]);
        let prefix = P.parse().unwrap();
        table.set(prefix, Some(&hops(&["192.0.2.1"])));
        let Step::Do(op) = table.steps(1).remove(0) else { panic!("it is tried once") };
        assert_eq!(table.settle(&op, refused(libc::EEXIST)), Settled::LookAgain);
        table.resync(vec![route(P, 4, 20, &["192.0.2.9"])]);
        assert_eq!(table.steps(9), [Step::Blocked { prefix, protocol: 4 }]);
        table.resync(vec![]);
        assert_eq!(verbs(&mut table), [(Verb::Add, 20)]);
    }

    #[test]
    fn what_the_kernel_lost_is_put_back_and_what_nobody_wants_is_removed() {
        let mut table = table(vec![route(P, 96, 20, &["192.0.2.1"])]);
        table.resync(vec![route("10.9.0.0/16", 96, 20, &["192.0.2.1"])]);
        assert_eq!(verbs(&mut table), [(Verb::Add, 20), (Verb::Delete, 20)]);
    }

    #[test]
    fn a_refused_change_keeps_the_old_route_in_mind() {
        let mut table = table(vec![route(P, 96, 20, &["192.0.2.1"])]);
        table.set(P.parse().unwrap(), Some(&hops(&["198.51.100.1"])));
        let Step::Do(op) = table.steps(1).remove(0) else { panic!("a change") };
        let answer = table.settle(&op, refused(libc::ENETUNREACH));
        assert!(matches!(answer, Settled::Failed(_)));
        table.retry();
        assert_eq!(verbs(&mut table), [(Verb::Replace, 20)]);
        table.set(P.parse().unwrap(), None);
        assert_eq!(verbs(&mut table), [(Verb::Delete, 20)]);
        assert!(table.entries.is_empty());
    }
}
