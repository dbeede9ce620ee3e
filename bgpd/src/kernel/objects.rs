//! Nexthop objects: many routes refer to one, so that one message moves them all. Pure.
//!
//! Each set of next hops has a group, and each way out a gate that groups share. A group leaves out
//! what cannot be used now (no link leads there, the link is down, the kernel refuses it) and takes it
//! in again when it can. Ids are kept from process to process: what the kernel holds is read at start.

use super::links::Links;
use super::members::{Members, spread};
use super::message::{Hop, PROTOCOL_BGP};
use super::nexthop::{Body, Doing, Gate, Member, Nexthop, ObjectOp};
use super::socket::Refusal;
use bgp_core::hop_weight::HopWeight;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub(super) type Hops = Arc<[Hop]>;

/// Ids of ours: apart from those that other programs count up from one.
const IDS: std::ops::Range<u32> = 0x6000_0000..0x7000_0000;

/// Fewer routes over a single gateway name it themselves, and are moved one by one.
pub(super) const MANY: usize = 256;

#[derive(Debug)]
pub(super) struct Objects {
    pub(super) links: Links,
    gates: BTreeMap<u32, GateObject>,
    by_gate: HashMap<Gate, u32>,
    groups: BTreeMap<u32, Group>,
    by_hops: HashMap<Hops, u32>,
    /// Groups that may be other than they should be.
    dirty: BTreeSet<u32>,
    next: u32,
    /// Ids in our range that somebody else has.
    taken: HashSet<u32>,
    /// Ids that routes of others, or at other metrics, refer to; and those of other tables.
    elsewhere: HashSet<u32>,
    other_tables: HashSet<u32>,
    /// Something may have become superfluous.
    litter: bool,
}

#[derive(Debug)]
struct GateObject {
    gate: Gate,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Absent,
    Asked,
    Present,
    Refused(String),
}

#[derive(Debug)]
struct Group {
    /// What it stands for.
    hops: Hops,
    /// The gates in it, while the kernel has it.
    members: Option<Vec<Member>>,
    /// How many routes in the kernel refer to it.
    routes: usize,
    refused: bool,
}

/// What routes of one set of next hops can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StandIn {
    Ready(u32),
    /// [`Objects::ops`] comes first.
    Pending,
    /// No way out that the kernel would take.
    Nothing,
}

impl Objects {
    /// Ids that routes in other tables refer to are left as they are.
    pub(super) fn new(other_tables: HashSet<u32>) -> Self {
        Self {
            links: Links::default(),
            gates: BTreeMap::new(),
            by_gate: HashMap::new(),
            groups: BTreeMap::new(),
            by_hops: HashMap::new(),
            dirty: BTreeSet::new(),
            next: IDS.start,
            taken: HashSet::new(),
            elsewhere: HashSet::new(),
            other_tables,
            litter: false,
        }
    }

    /// What the object stands for; `None`: it is none of ours.
    pub(super) fn stands_for(&self, id: u32) -> Option<&Hops> {
        self.groups.get(&id).map(|group| &group.hops)
    }

    /// Whether routes over these are better led to an object: there are many of them, or more next
    /// hops than one, or the next hop is on no link.
    pub(super) fn serves(&self, hops: &Hops) -> bool {
        let [hop] = &**hops else { return true };
        // Each route that wants them has its share in the list.
        Arc::strong_count(hops) > MANY
            || self.links.gates(hop).first().is_some_and(|gate| gate.via != hop.via)
    }

    pub(super) fn stand_in(&mut self, hops: &Hops) -> StandIn {
        let Some(id) = self.by_hops.get(hops) else {
            let id = self.new_id();
            let hops = Arc::clone(hops);
            self.by_hops.insert(Arc::clone(&hops), id);
            self.groups.insert(id, Group { hops, members: None, routes: 0, refused: false });
            self.dirty.insert(id);
            return StandIn::Pending;
        };
        match self.groups.get(id) {
            Some(group) if group.members.is_some() => StandIn::Ready(*id),
            Some(_) if self.dirty.contains(id) => StandIn::Pending,
            _ => StandIn::Nothing,
        }
    }

    /// How many routes in the kernel refer to it.
    pub(super) fn routes(&self, id: u32) -> usize {
        self.groups.get(&id).map_or(0, |group| group.routes)
    }

    /// A route in the kernel refers to it from now on.
    pub(super) fn arrive(&mut self, id: u32) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.routes += 1;
        }
    }

    pub(super) fn leave(&mut self, id: u32) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.routes = group.routes.saturating_sub(1);
            self.litter |= group.routes == 0;
        }
    }

    /// Whether one of these can be reached, as far as is known.
    pub(super) fn reaches(&self, hops: &[Hop]) -> bool {
        let refused = |gate: &Gate| {
            let known = self.by_gate.get(gate).and_then(|id| self.gates.get(id));
            known.is_some_and(|g| matches!(g.state, State::Refused(_)))
        };
        hops.iter().flat_map(|hop| self.links.gates(hop)).any(|gate| !refused(&gate))
    }

    /// From now on the object stands for these, and all its routes with it.
    pub(super) fn turn(&mut self, id: u32, hops: &Hops) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let old = std::mem::replace(&mut group.hops, Arc::clone(hops));
        self.dirty.insert(id);
        self.by_hops.entry(Arc::clone(hops)).or_insert(id);
        self.point_elsewhere(&old, id);
    }

    /// No route that is new is to be led to `id` for these.
    fn point_elsewhere(&mut self, hops: &Hops, id: u32) {
        if self.by_hops.get(hops) != Some(&id) {
            return;
        }
        let twin = self.groups.iter().find(|(other, g)| **other != id && g.hops == *hops);
        match twin.map(|(other, _)| *other) {
            Some(twin) => self.by_hops.insert(Arc::clone(hops), twin),
            None => self.by_hops.remove(hops),
        };
    }

    /// What to ask the kernel next. `hold`: groups that stand are not changed yet.
    pub(super) fn ops(&mut self, limit: usize, hold: bool) -> Vec<ObjectOp> {
        let mut ops = Vec::new();
        for id in self.dirty.iter().copied().collect::<Vec<_>>() {
            if ops.len() >= limit {
                break;
            }
            self.advance(id, hold, &mut ops);
        }
        ops
    }

    fn advance(&mut self, id: u32, hold: bool, ops: &mut Vec<ObjectOp>) {
        let Some(hops) = self.groups.get(&id).map(|g| Arc::clone(&g.hops)) else {
            self.dirty.remove(&id);
            return;
        };
        let gates: Vec<(Gate, HopWeight, usize)> =
            hops.iter().flat_map(|hop| spread(hop, self.links.gates(hop))).collect();
        let mut waits = false;
        let mut members = Members::default();
        for (gate, weight, among) in gates {
            let gate = self.id_of(gate);
            let Some(object) = self.gates.get_mut(&gate) else { continue };
            match object.state {
                State::Absent => {
                    object.state = State::Asked;
                    let body = Body::Gate(object.gate);
                    ops.push(ObjectOp { id: gate, doing: Doing::Create, body });
                    waits = true;
                }
                State::Asked => waits = true,
                State::Present => members.add(gate, weight, among),
                State::Refused(_) => {}
            }
        }
        if !waits {
            self.bring(id, members.weighed(), hold, ops);
        }
    }

    /// All gates that can be had are there: the group is next.
    fn bring(&mut self, id: u32, members: Vec<Member>, hold: bool, ops: &mut Vec<ObjectOp>) {
        let Some(group) = self.groups.get(&id) else { return };
        let doing = match &group.members {
            _ if members.is_empty() || group.refused => None,
            Some(present) if *present == members => None,
            Some(_) if hold => return,
            Some(_) => Some(Doing::Replace),
            None => Some(Doing::Create),
        };
        self.dirty.remove(&id);
        let body = Body::Group(members);
        ops.extend(doing.map(|doing| ObjectOp { id, doing, body }));
    }

    fn id_of(&mut self, gate: Gate) -> u32 {
        if let Some(id) = self.by_gate.get(&gate) {
            return *id;
        }
        let id = self.new_id();
        self.by_gate.insert(gate, id);
        self.gates.insert(id, GateObject { gate, state: State::Absent });
        id
    }

    fn new_id(&mut self) -> u32 {
        loop {
            let id = self.next;
            self.next = if id + 1 < IDS.end { id + 1 } else { IDS.start };
            let known = self.gates.contains_key(&id) || self.groups.contains_key(&id);
            if !known && !self.taken.contains(&id) {
                return id;
            }
        }
    }

    /// Notes how the kernel answered; the id of a group whose routes are not where they should be.
    pub(super) fn settle(&mut self, op: &ObjectOp, refusal: Option<&Refusal>) -> Option<u32> {
        if let Some(Refusal { errno: libc::EEXIST, .. }) = refusal
            && op.doing == Doing::Create
        {
            self.give_up_id(op.id);
            return None;
        }
        match (&op.body, op.doing) {
            (_, Doing::Delete) | (Body::Other, _) => {}
            (Body::Gate(_), _) => {
                if let Some(object) = self.gates.get_mut(&op.id) {
                    let refused = |r: &Refusal| State::Refused(r.to_string());
                    object.state = refusal.map_or(State::Present, refused);
                }
            }
            (Body::Group(members), _) => {
                let group = self.groups.get_mut(&op.id)?;
                match refusal {
                    None => {
                        group.members = Some(members.clone());
                        self.litter |= op.doing == Doing::Replace;
                    }
                    Some(_) if op.doing == Doing::Create => group.refused = true,
                    Some(_) => return self.turn_back(op.id),
                }
            }
        }
        None
    }

    /// Somebody else has it: another one takes its place.
    fn give_up_id(&mut self, id: u32) {
        self.taken.insert(id);
        if let Some(gate) = self.gates.remove(&id) {
            self.by_gate.remove(&gate.gate);
        }
        if let Some(group) = self.groups.remove(&id) {
            self.dirty.remove(&id);
            self.point_elsewhere(&group.hops, id);
        }
    }

    /// The group could not be changed: it stands for what is in it.
    fn turn_back(&mut self, id: u32) -> Option<u32> {
        let members = self.groups.get(&id)?.members.clone()?;
        let hops = self.hops_of(&members)?;
        self.turn(id, &hops);
        self.dirty.remove(&id);
        Some(id)
    }

    /// What these gates lead to, as the speaker would say it.
    fn hops_of(&self, members: &[Member]) -> Option<Hops> {
        let hop = |member: &Member| {
            self.gates.get(&member.gate).map(|object| {
                let Gate { via, dev } = object.gate;
                Hop { weight: member.weight, ..Hop::new(via, Some(dev)) }.portable()
            })
        };
        let mut hops = members.iter().map(hop).collect::<Option<Vec<Hop>>>()?;
        hops.sort_unstable();
        hops.dedup();
        Some(hops.into())
    }

    /// What may be used now that could not be before is tried again.
    pub(super) fn retry(&mut self) {
        for object in self.gates.values_mut().filter(|o| o.state != State::Present) {
            object.state = State::Absent;
        }
        for (id, group) in &mut self.groups {
            group.refused = false;
            self.dirty.insert(*id);
        }
    }

    /// Everything that the kernel holds. Routes are counted anew.
    pub(super) fn resync(&mut self, seen: Vec<Nexthop>, elsewhere: HashSet<u32>) {
        self.gates.values_mut().for_each(|object| object.state = State::Absent);
        for group in self.groups.values_mut() {
            (group.members, group.routes) = (None, 0);
        }
        self.elsewhere = elsewhere;
        self.elsewhere.extend(&self.other_tables);
        let (ours, others): (Vec<Nexthop>, _) = seen
            .into_iter()
            .filter(|n| IDS.contains(&n.id))
            .partition(|n| n.protocol == PROTOCOL_BGP && n.body != Body::Other);
        self.taken = others.iter().map(|n| n.id).collect();
        let highest = ours.iter().map(|n| n.id).max().unwrap_or(IDS.start);
        self.next = self.next.max(highest + 1).min(IDS.end - 1);
        for nexthop in &ours {
            if let Body::Gate(gate) = nexthop.body {
                self.gates.insert(nexthop.id, GateObject { gate, state: State::Present });
                self.by_gate.entry(gate).or_insert(nexthop.id);
            }
        }
        for nexthop in ours {
            if let Body::Group(members) = nexthop.body {
                self.found(nexthop.id, members);
            }
        }
        self.litter = true;
        self.dirty.extend(self.groups.keys());
        self.groups.values_mut().for_each(|group| group.refused = false);
    }

    fn found(&mut self, id: u32, members: Vec<Member>) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.members = Some(members);
        } else if let Some(hops) = self.hops_of(&members) {
            self.by_hops.entry(Arc::clone(&hops)).or_insert(id);
            let group = Group { hops, members: Some(members), routes: 0, refused: false };
            self.groups.insert(id, group);
        } else {
            self.taken.insert(id);
        }
    }

    /// Whether there is something to ask or to sweep.
    pub(super) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && !self.litter
    }

    /// What no route refers to leaves the kernel: groups first, then gates.
    pub(super) fn sweep(&mut self) -> Vec<ObjectOp> {
        if !std::mem::take(&mut self.litter) {
            return Vec::new();
        }
        let idle: Vec<u32> = self
            .groups
            .iter()
            .filter(|(id, group)| group.routes == 0 && !self.elsewhere.contains(id))
            .map(|(id, _)| *id)
            .collect();
        let mut gone = Vec::new();
        for id in idle {
            let Some(group) = self.groups.remove(&id) else { continue };
            self.dirty.remove(&id);
            self.point_elsewhere(&group.hops, id);
            gone.extend(group.members.map(|_| id));
        }
        gone.extend(self.idle_gates());
        let op = |id| ObjectOp { id, doing: Doing::Delete, body: Body::Other };
        gone.into_iter().map(op).collect()
    }

    fn idle_gates(&mut self) -> Vec<u32> {
        let members = self.groups.values().flat_map(|g| g.members.iter().flatten());
        let members = members.map(|member| member.gate);
        let mut used: HashSet<u32> = members.chain(self.elsewhere.iter().copied()).collect();
        let wanted = self.groups.values().flat_map(|g| g.hops.iter());
        let wanted = wanted.flat_map(|hop| self.links.gates(hop));
        let wanted = wanted.filter_map(|gate| self.by_gate.get(&gate));
        used.extend(wanted);
        let idle: Vec<u32> = self.gates.keys().filter(|id| !used.contains(id)).copied().collect();
        let mut gone = Vec::new();
        for id in idle {
            let Some(object) = self.gates.remove(&id) else { continue };
            if self.by_gate.get(&object.gate) == Some(&id) {
                self.by_gate.remove(&object.gate);
            }
            if object.state == State::Present {
                gone.push(id);
            }
        }
        gone
    }

    /// Next hops that groups in use have to do without, and why.
    pub(super) fn left_out(&self) -> BTreeMap<Hop, String> {
        let used = self.groups.values().filter(|group| group.members.is_some());
        used.flat_map(|group| group.hops.iter())
            .filter_map(|hop| Some((Hop::new(hop.via, hop.dev), self.why_not(hop)?)))
            .collect()
    }

    fn why_not(&self, hop: &Hop) -> Option<String> {
        let refused = |gate: &Gate| match &self.gates.get(self.by_gate.get(gate)?)?.state {
            State::Refused(why) => Some(why.clone()),
            _ => None,
        };
        let gates = self.links.gates(hop);
        let why: Vec<String> = gates.iter().filter_map(refused).collect();
        match why.first() {
            _ if gates.is_empty() => Some("no link and no route leads to it".into()),
            Some(why_not) if why.len() == gates.len() => Some(why_not.clone()),
            _ => None,
        }
    }
}
