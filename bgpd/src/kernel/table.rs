//! What one kernel table should hold of ours, what it does hold, and the difference. Pure.
//!
//! The key of a route is prefix, table and metric. Ours is the route of protocol 96 at that key; a
//! route of any other protocol there is foreign, and is left alone: ours waits until it is gone.
//! What a speaker before us has left may be inherited at start: then ours takes its place, or,
//! where it has another metric, ours is added first and it goes afterwards.
//!
//! Where the kernel has nexthop objects ([`Objects`]) many routes refer to one, and when most of the
//! routes over one set of next hops move to another set together, the object moves and they stay.

use super::links::Links;
use super::message::{Hop, PROTOCOL_BGP, Route, Verb, Way};
use super::nexthop::{Nexthop, ObjectOp};
use super::objects::{Hops, Objects, StandIn};
use super::socket::Refusal;
use bgp_core::types::Prefix;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Table {
    id: u32,
    metric: u32,
    entries: HashMap<Prefix, Entry>,
    /// `None`: every route has its next hops in itself.
    objects: Option<Objects>,
    /// Where wanted and present may differ.
    dirty: BTreeSet<Prefix>,
    /// Of these, who has to leave an object before it is changed.
    urgent: BTreeSet<Prefix>,
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
    kernel: Option<Way>,
    /// The protocol of a foreign route at our key.
    foreign: Option<u8>,
    /// The protocol of an inherited one there.
    inherited: Option<u8>,
    /// A dump did not show what an addition collided with.
    puzzled: bool,
}

/// What a look at the kernel has shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// In our table: of speakers, and at our metric.
    pub(super) routes: Vec<Route>,
    pub(super) links: Links,
    pub(super) objects: Vec<Nexthop>,
    /// Ids of objects that routes refer to that are not ours, or not at our metric.
    pub(super) elsewhere: HashSet<u32>,
}

/// What to ask the kernel next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Do(Op),
    Object(ObjectOp),
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
    pub(super) way: Way,
}

/// What an answer of the kernel means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    Failed(String),
    /// The kernel holds what we did not know of: look again.
    LookAgain,
}

/// What is to be done about one prefix.
enum Next {
    Nothing,
    Step(Step),
    /// Its object comes first.
    Wait,
}

impl Table {
    #[must_use]
    pub(super) fn new(id: u32, metric: u32, objects: Option<Objects>) -> Self {
        Self {
            id,
            metric,
            entries: HashMap::new(),
            objects,
            dirty: BTreeSet::new(),
            urgent: BTreeSet::new(),
            surplus: Vec::new(),
            inherited: HashMap::new(),
            shared: HashSet::new(),
        }
    }

    #[must_use]
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    pub(super) const fn has_objects(&self) -> bool {
        self.objects.is_some()
    }

    /// Takes over what an earlier process left, ours or of these protocols: it is wanted until the
    /// speaker says otherwise.
    pub(super) fn adopt(&mut self, mut seen: Seen, from: &[u8]) -> Vec<(Prefix, Vec<Hop>)> {
        self.resync_objects(&mut seen);
        self.unfold(&mut seen.routes);
        let dump = seen.routes;
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
        self.resync_routes(dump);
        adopted.into_iter().collect()
    }

    /// Kernels may be told to name the object of a route and nothing else
    /// (`net.ipv4.nexthop_compat_mode`).
    fn unfold(&self, routes: &mut [Route]) {
        for route in routes.iter_mut().filter(|r| r.hops.is_empty()) {
            let object = route.object.and_then(|id| self.objects.as_ref()?.stands_for(id));
            route.hops = object.map_or_else(Vec::new, |hops| hops.to_vec());
        }
    }

    /// What the speaker wants from now on. Asked again for what has failed, it is tried again.
    pub(super) fn set(&mut self, changes: impl IntoIterator<Item = (Prefix, Option<Hops>)>) {
        let mut moves: HashMap<(u32, Hops), usize> = HashMap::new();
        for (prefix, want) in changes {
            let entry = self.entries.entry(prefix).or_default();
            if let (Some(Way::Object(id)), Some(want)) = (&entry.kernel, &want)
                && entry.want.as_ref() != Some(want)
            {
                *moves.entry((*id, Arc::clone(want))).or_default() += 1;
            }
            (entry.want, entry.puzzled) = (want, false);
            self.dirty.insert(prefix);
        }
        for ((id, hops), count) in moves {
            self.move_object(id, &hops, count);
        }
    }

    /// Moves the object, if most of its routes go there; the others leave it before.
    fn move_object(&mut self, id: u32, hops: &Hops, count: usize) {
        let Some(objects) = &mut self.objects else { return };
        let routes = objects.routes(id);
        let moves = count >= super::objects::MANY && count * 2 > routes && objects.reaches(hops);
        if !moves || objects.stands_for(id).is_none_or(|now| now == hops) {
            return;
        }
        objects.turn(id, hops);
        if count < routes {
            let others = self.entries.iter().filter(|(_, entry)| {
                entry.kernel == Some(Way::Object(id)) && entry.want.as_ref() != Some(hops)
            });
            self.urgent.extend(others.map(|(prefix, _)| *prefix));
        }
    }

    /// One and the same list for the same next hops.
    pub(super) fn share(&mut self, hops: &[Hop]) -> Hops {
        share(&mut self.shared, hops)
    }

    /// The next differences, adds and changes before what is merely superfluous.
    pub(super) fn steps(&mut self, limit: usize) -> Vec<Step> {
        // What waits has its object's messages next; after these there is an answer to wait for.
        for _ in 0..2 {
            let hold = !self.urgent.is_empty();
            let ops = self.objects.as_mut().map_or_else(Vec::new, |o| o.ops(limit, hold));
            if !ops.is_empty() {
                return ops.into_iter().map(Step::Object).collect();
            }
            let (steps, waiting) = self.draw(limit);
            if !steps.is_empty() || waiting == 0 {
                return if steps.is_empty() { self.tidying(limit) } else { steps };
            }
        }
        Vec::new()
    }

    /// Of routes; and how many have to wait for an object.
    fn draw(&mut self, limit: usize) -> (Vec<Step>, usize) {
        let (mut steps, mut waiting) = (Vec::new(), Vec::new());
        let urgent = !self.urgent.is_empty();
        while steps.len() < limit && waiting.len() < limit {
            let queue = if urgent { &mut self.urgent } else { &mut self.dirty };
            let Some(prefix) = queue.pop_first() else { break };
            match self.step(prefix) {
                Next::Nothing => {}
                Next::Step(step) => steps.push(step),
                Next::Wait => waiting.push(prefix),
            }
        }
        let count = waiting.len();
        let queue = if urgent { &mut self.urgent } else { &mut self.dirty };
        queue.extend(waiting);
        (steps, count)
    }

    /// What is superfluous goes when nothing else is to be done.
    fn tidying(&mut self, limit: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while steps.len() < limit
            && let Some((prefix, metric, protocol)) = self.superfluous()
        {
            let way = Way::Hops(Arc::default());
            steps.push(Step::Do(Op { verb: Verb::Delete, prefix, metric, protocol, way }));
        }
        if steps.is_empty()
            && let Some(objects) = &mut self.objects
        {
            steps.extend(objects.sweep().into_iter().map(Step::Object));
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

    fn step(&mut self, prefix: Prefix) -> Next {
        let Some(entry) = self.entries.get(&prefix) else { return Next::Nothing };
        let Some(want) = &entry.want else { return self.removal(prefix) };
        if let Some(Way::Object(id)) = entry.kernel
            && self.objects.as_ref().is_some_and(|o| o.stands_for(id) == Some(want))
        {
            return Next::Nothing;
        }
        // What is right is not touched, though others over its gateway have become many.
        if let (Some(Way::Hops(kernel)), [_]) = (&entry.kernel, &**want)
            && same(want, kernel)
        {
            return Next::Nothing;
        }
        let objects = self.objects.as_mut().filter(|objects| objects.serves(want));
        let way = match objects.map(|objects| objects.stand_in(want)) {
            Some(StandIn::Pending) => return Next::Wait,
            Some(StandIn::Ready(id)) => Way::Object(id),
            // What the kernel has to say about it is told.
            Some(StandIn::Nothing) | None => Way::Hops(Arc::clone(want)),
        };
        let verb = match (&way, &entry.kernel) {
            (Way::Hops(want), Some(Way::Hops(kernel))) if same(want, kernel) => {
                return Next::Nothing;
            }
            (_, Some(_)) => Verb::Replace,
            (_, None) if entry.inherited.is_some() => Verb::Replace,
            (_, None) => Verb::Add,
        };
        Next::Step(match entry.foreign {
            // A replacement would hit the foreign one.
            Some(protocol) => Step::Blocked { prefix, protocol },
            None => Step::Do(Op { verb, prefix, metric: self.metric, protocol: PROTOCOL_BGP, way }),
        })
    }

    /// A deletion names its protocol: it cannot hit a foreign route.
    fn removal(&mut self, prefix: Prefix) -> Next {
        let Some(entry) = self.entries.get(&prefix) else { return Next::Nothing };
        let protocol = match (&entry.kernel, entry.inherited) {
            (Some(_), _) => PROTOCOL_BGP,
            (None, Some(theirs)) => theirs,
            (None, None) => {
                self.entries.remove(&prefix);
                return Next::Nothing;
            }
        };
        let (verb, way) = (Verb::Delete, Way::Hops(Arc::default()));
        Next::Step(Step::Do(Op { verb, prefix, metric: self.metric, protocol, way }))
    }

    /// Notes how the kernel answered `op`.
    pub(super) fn settle(&mut self, op: &Op, refusal: Option<Refusal>) -> Settled {
        if op.metric != self.metric || !self.entries.contains_key(&op.prefix) {
            return Settled::Done;
        }
        match (op.verb, refusal) {
            (Verb::Add | Verb::Replace, None) => self.place(op.prefix, Some(op.way.clone())),
            // Somebody else was faster, or its interface took it along.
            (Verb::Delete, None | Some(Refusal { errno: libc::ESRCH, .. })) => {
                self.place(op.prefix, None);
                if self.entries.get(&op.prefix).is_some_and(|e| e.want.is_none()) {
                    self.entries.remove(&op.prefix);
                }
            }
            (_, Some(refusal)) => return self.refused(op, &refusal),
        }
        Settled::Done
    }

    /// What the kernel has at this prefix from now on.
    fn place(&mut self, prefix: Prefix, way: Option<Way>) {
        self.inherited.remove(&(prefix, self.metric));
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        entry.inherited = None;
        let old = std::mem::replace(&mut entry.kernel, way.clone());
        let Some(objects) = &mut self.objects else { return };
        if let Some(Way::Object(id)) = way {
            objects.arrive(id);
        }
        if let Some(Way::Object(id)) = old {
            objects.leave(id);
        }
    }

    fn refused(&mut self, op: &Op, refusal: &Refusal) -> Settled {
        let Some(entry) = self.entries.get_mut(&op.prefix) else { return Settled::Done };
        let collided = op.verb == Verb::Add && refusal.errno == libc::EEXIST;
        // An object may go with its link at any time.
        let lost = matches!(op.way, Way::Object(_));
        if (collided || lost) && !entry.puzzled {
            entry.puzzled = true;
            self.dirty.insert(op.prefix);
            return Settled::LookAgain;
        }
        Settled::Failed(refusal.to_string())
    }

    /// Notes how the kernel answered about an object.
    pub(super) fn settle_object(&mut self, op: &ObjectOp, refusal: Option<&Refusal>) -> Settled {
        let Some(objects) = &mut self.objects else { return Settled::Done };
        if let Some(id) = objects.settle(op, refusal) {
            let there = self.entries.iter().filter(|(_, e)| e.kernel == Some(Way::Object(id)));
            self.dirty.extend(there.map(|(prefix, _)| *prefix));
        }
        match refusal {
            Some(Refusal { errno: libc::ENOENT, .. }) => Settled::LookAgain,
            _ => Settled::Done,
        }
    }

    /// Compares with a dump of the whole table; what differs is up for [`Self::steps`] again.
    pub(super) fn resync(&mut self, mut seen: Seen) {
        self.resync_objects(&mut seen);
        self.resync_routes(seen.routes);
    }

    fn resync_objects(&mut self, seen: &mut Seen) {
        if let Some(objects) = &mut self.objects {
            objects.links = std::mem::take(&mut seen.links);
            let elsewhere = std::mem::take(&mut seen.elsewhere);
            objects.resync(std::mem::take(&mut seen.objects), elsewhere);
        }
    }

    fn resync_routes(&mut self, dump: Vec<Route>) {
        for entry in self.entries.values_mut() {
            (entry.kernel, entry.foreign, entry.inherited) = (None, None, None);
        }
        self.surplus.clear();
        for route in dump {
            self.note(&route);
        }
        let differs = |e: &Entry| e.want.is_none() || !is_right(self.objects.as_ref(), e);
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
                let way = match route.object {
                    Some(id) => Way::Object(id),
                    None => Way::Hops(share(&mut self.shared, &route.hops)),
                };
                self.entries.entry(route.prefix).or_default().kernel = Some(way);
                if let (Some(objects), Some(id)) = (&mut self.objects, route.object) {
                    objects.arrive(id);
                }
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

    /// A route of the main table has come or gone: it may be a link that gateways are on.
    pub(super) fn note_link(&mut self, route: &Route, there: bool) {
        if let Some(objects) = &mut self.objects {
            objects.links.note(route, there);
        }
    }

    /// Puts up what is wanted and not there for another try: an interface or address has come.
    pub(super) fn retry(&mut self) {
        if let Some(objects) = &mut self.objects {
            objects.retry();
        }
        let missing = |e: &Entry| e.want.is_some() && !is_right(self.objects.as_ref(), e);
        self.dirty.extend(self.entries.iter().filter(|(_, e)| missing(e)).map(|(p, _)| *p));
    }

    /// Drops sets of next hops that no route uses any more.
    pub(super) fn tidy(&mut self) {
        self.shared.retain(|hops| Arc::strong_count(hops) > 1);
    }

    /// Next hops that routes over several have to do without, and why.
    pub(super) fn left_out(&self) -> BTreeMap<Hop, String> {
        self.objects.as_ref().map_or_else(BTreeMap::new, Objects::left_out)
    }

    #[must_use]
    pub(super) fn is_settled(&self) -> bool {
        let due = |(prefix, ..): &(Prefix, u32, u8)| self.is_succeeded(prefix);
        self.dirty.is_empty()
            && self.urgent.is_empty()
            && self.objects.as_ref().is_none_or(Objects::is_settled)
            && !self.surplus.iter().any(due)
    }
}

/// Whether the kernel has what is wanted, in the form that it should have.
fn is_right(objects: Option<&Objects>, entry: &Entry) -> bool {
    match (objects, &entry.want, &entry.kernel) {
        (_, None, None) => true,
        (Some(objects), Some(want), Some(Way::Object(id))) => objects.stands_for(*id) == Some(want),
        (objects, Some(want), Some(Way::Hops(kernel))) => {
            same(want, kernel) && objects.is_none_or(|objects| !objects.serves(want))
        }
        _ => false,
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
        && want.iter().zip(kernel).all(|(w, k)| {
            let dev = w.dev.is_none() || k.dev.is_none() || w.dev == k.dev;
            dev && w.via == k.via && w.weight == k.weight
        })
}

fn portable(hops: &[Hop]) -> Vec<Hop> {
    hops.iter().map(|hop| hop.portable()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "10.1.0.0/16";

    fn hops(list: &[&str]) -> Vec<Hop> {
        list.iter().map(|via| Hop::new(via.parse().unwrap(), None)).collect()
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
            object: None,
            dev: None,
        }
    }

    fn seen(routes: Vec<Route>) -> Seen {
        Seen { routes, ..Seen::default() }
    }

    fn want(table: &mut Table, prefix: Prefix, via: &[&str]) {
        let hops = (!via.is_empty()).then(|| table.share(&hops(via)));
        table.set([(prefix, hops)]);
    }

    fn table(dump: Vec<Route>) -> Table {
        let mut table = Table::new(254, 20, None);
        table.adopt(seen(dump), &[]);
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
        want(&mut table, P.parse().unwrap(), &["192.0.2.1"]);
        assert_eq!(verbs(&mut table), []);
        assert!(table.is_settled());
    }

    #[test]
    fn a_changed_route_is_replaced_and_a_new_one_added() {
        let mut table = table(vec![route(P, 96, 20, &["192.0.2.1"])]);
        want(&mut table, P.parse().unwrap(), &["192.0.2.2", "192.0.2.1"]);
        want(&mut table, "10.2.0.0/16".parse().unwrap(), &["192.0.2.1"]);
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
        let mut table = Table::new(254, 20, None);
        table.adopt(seen(dump), &[BIRD]);
        table
    }

    #[test]
    fn an_inherited_route_becomes_ours_in_its_place() {
        let theirs = route(P, BIRD, 20, &["192.0.2.1"]);
        let mut table = heir(vec![theirs.clone()]);
        assert_eq!(verbs(&mut table), [(Verb::Replace, 20)]);
        assert!(table.is_settled());
        // Who puts one there later is a stranger like any other.
        table.resync(seen(vec![theirs]));
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
        want(&mut table, P.parse().unwrap(), &[]);
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
        want(&mut table, prefix, &["192.0.2.1"]);
        let Step::Do(op) = table.steps(1).remove(0) else { panic!("it is tried once") };
        assert_eq!(table.settle(&op, refused(libc::EEXIST)), Settled::LookAgain);
        table.resync(seen(vec![route(P, 4, 20, &["192.0.2.9"])]));
        assert_eq!(table.steps(9), [Step::Blocked { prefix, protocol: 4 }]);
        table.resync(seen(vec![]));
        assert_eq!(verbs(&mut table), [(Verb::Add, 20)]);
    }

    #[test]
    fn what_the_kernel_lost_is_put_back_and_what_nobody_wants_is_removed() {
        let mut table = table(vec![route(P, 96, 20, &["192.0.2.1"])]);
        table.resync(seen(vec![route("10.9.0.0/16", 96, 20, &["192.0.2.1"])]));
        assert_eq!(verbs(&mut table), [(Verb::Add, 20), (Verb::Delete, 20)]);
    }

    #[test]
    fn a_refused_change_keeps_the_old_route_in_mind() {
        let mut table = table(vec![route(P, 96, 20, &["192.0.2.1"])]);
        want(&mut table, P.parse().unwrap(), &["198.51.100.1"]);
        let Step::Do(op) = table.steps(1).remove(0) else { panic!("a change") };
        let answer = table.settle(&op, refused(libc::ENETUNREACH));
        assert!(matches!(answer, Settled::Failed(_)));
        table.retry();
        assert_eq!(verbs(&mut table), [(Verb::Replace, 20)]);
        want(&mut table, P.parse().unwrap(), &[]);
        assert_eq!(verbs(&mut table), [(Verb::Delete, 20)]);
        assert!(table.entries.is_empty());
    }
}
