//! Tests of the [`Table`](super::table::Table) where routes refer to nexthop objects, against a
//! kernel of a few lines.

use super::message::{Hop, PROTOCOL_BGP, Route, Verb, Way};
use super::nexthop::{Body, Doing, Gate, Member, Nexthop, ObjectOp};
use super::objects::Objects;
use super::socket::Refusal;
use super::table::{Op, Seen, Settled, Step, Table};
use bgp_core::hop_weight::HopWeight;
use bgp_core::types::Prefix;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// What a kernel does with what it is asked; links whose carrier is lost take no gates.
#[derive(Default)]
struct Kernel {
    objects: BTreeMap<u32, Body>,
    routes: BTreeMap<Prefix, Way>,
    dead: HashSet<IpAddr>,
    /// What it was asked, in order.
    log: Vec<String>,
}

impl Kernel {
    /// Answers until nothing is left to be done.
    fn run(&mut self, table: &mut Table) -> Vec<String> {
        for _ in 0..100 {
            for step in table.steps(1000) {
                match step {
                    Step::Do(op) => {
                        let refusal = self.route(&op);
                        assert_eq!(table.settle(&op, refusal), Settled::Done, "{op:?}");
                    }
                    Step::Object(op) => {
                        let refusal = self.object(&op);
                        table.settle_object(&op, refusal.as_ref());
                    }
                    Step::Blocked { prefix, .. } => panic!("{prefix} is blocked"),
                }
            }
            if table.is_settled() {
                return std::mem::take(&mut self.log);
            }
        }
        panic!("it never settles");
    }

    fn route(&mut self, op: &Op) -> Option<Refusal> {
        self.log.push(format!("{:?} route", op.verb));
        match &op.way {
            _ if op.verb == Verb::Delete => drop(self.routes.remove(&op.prefix)),
            Way::Object(id) if !self.objects.contains_key(id) => return refusal(libc::EINVAL),
            way => drop(self.routes.insert(op.prefix, way.clone())),
        }
        None
    }

    fn object(&mut self, op: &ObjectOp) -> Option<Refusal> {
        let kind = if matches!(op.body, Body::Gate(_)) { "gate" } else { "group" };
        self.log.push(format!("{:?} {kind}", op.doing));
        match (&op.body, op.doing) {
            (_, Doing::Delete) => {
                self.objects.remove(&op.id);
                let used = self.routes.values().any(|way| *way == Way::Object(op.id));
                assert!(!used, "routes would go with it");
            }
            (Body::Gate(gate), _) if self.dead.contains(&gate.via) => {
                return refusal(libc::ENETDOWN);
            }
            (body, _) => drop(self.objects.insert(op.id, body.clone())),
        }
        None
    }

    /// Where packets to the prefix go.
    fn ways(&self, prefix: Prefix) -> Vec<String> {
        let Way::Object(id) = &self.routes[&prefix] else { panic!("no object: {prefix}") };
        let Body::Group(members) = &self.objects[id] else { panic!("no group: {id}") };
        let gate = |member: &Member| match &self.objects[&member.gate] {
            Body::Gate(gate) => gate.via.to_string(),
            other => panic!("{other:?}"),
        };
        let mut ways: Vec<String> = members.iter().map(gate).collect();
        ways.sort();
        ways
    }

    fn weights(&self, prefix: Prefix) -> Vec<u8> {
        let Way::Object(id) = &self.routes[&prefix] else { panic!("no object: {prefix}") };
        let Body::Group(members) = &self.objects[id] else { panic!("no group: {id}") };
        members.iter().map(|member| member.weight.number()).collect()
    }

    /// A link is lost: its gate, and what then leads nowhere.
    fn lose(&mut self, via: &str) {
        let via: IpAddr = via.parse().unwrap();
        self.dead.insert(via);
        let gone = |body: &Body| matches!(body, Body::Gate(gate) if gate.via == via);
        let gone = self.objects.iter().find(|(_, body)| gone(body)).map(|(id, _)| *id);
        self.objects.remove(&gone.unwrap());
        for body in self.objects.values_mut() {
            if let Body::Group(members) = body {
                members.retain(|member| Some(member.gate) != gone);
            }
        }
        self.objects.retain(|_, body| *body != Body::Group(Vec::new()));
        let objects = &self.objects;
        self.routes.retain(|_, way| matches!(way, Way::Object(id) if objects.contains_key(id)));
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        seen.links.note(&link("192.0.2.0/24"), true);
        for (prefix, way) in &self.routes {
            let (object, hops) = match way {
                Way::Object(id) => (Some(*id), Vec::new()),
                Way::Hops(hops) => (None, hops.to_vec()),
            };
            seen.routes.push(Route { object, hops, dev: None, ..route(*prefix) });
        }
        let nexthop = |(id, body): (&u32, &Body)| Nexthop {
            id: *id,
            protocol: PROTOCOL_BGP,
            body: body.clone(),
        };
        seen.objects = self.objects.iter().map(nexthop).collect();
        seen
    }

    /// What another process finds.
    fn table(&self) -> Table {
        let mut table = Table::new(254, 20, Some(Objects::new(HashSet::new())));
        table.adopt(self.seen(), &[]);
        table
    }
}

fn refusal(errno: i32) -> Option<Refusal> {
    Some(Refusal { errno, words: None })
}

fn route(prefix: Prefix) -> Route {
    Route {
        prefix,
        table: 254,
        protocol: PROTOCOL_BGP,
        kind: libc::RTN_UNICAST,
        metric: 20,
        onlink: false,
        hops: Vec::new(),
        object: None,
        dev: None,
    }
}

fn link(prefix: &str) -> Route {
    Route { protocol: 2, metric: 0, dev: Some(2), ..route(prefix.parse().unwrap()) }
}

fn nth(n: u128) -> Prefix {
    "10.0.0.0/8".parse::<Prefix>().unwrap().subnet(24, n).unwrap()
}

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const C: &str = "192.0.2.3";

fn want(table: &mut Table, which: std::ops::Range<u128>, via: &[&str]) {
    let hop = |via: &&str| Hop::new(via.parse().unwrap(), None);
    let hops = (!via.is_empty()).then(|| table.share(&via.iter().map(hop).collect::<Vec<_>>()));
    table.set(which.map(|n| (nth(n), hops.clone())));
}

/// `count` routes over A and B.
fn wide(count: u128) -> (Kernel, Table) {
    let mut kernel = Kernel::default();
    let mut table = kernel.table();
    want(&mut table, 0..count, &[A, B]);
    kernel.run(&mut table);
    (kernel, table)
}

#[test]
fn routes_share_one_group_and_each_gate_is_made_once() {
    let (mut kernel, mut table) = wide(100);
    want(&mut table, 100..1100, &[A]);
    let log = kernel.run(&mut table);
    assert_eq!(log.iter().filter(|l| l.contains("gate")).count(), 0, "{log:?}");
    assert_eq!(kernel.objects.len(), 4, "two gates, two groups");
    assert_eq!(kernel.ways(nth(0)), [A, B]);
    assert_eq!(kernel.ways(nth(100)), [A]);
}

#[test]
fn the_loss_of_one_of_two_next_hops_is_one_message_for_all_routes() {
    let (mut kernel, mut table) = wide(1000);
    want(&mut table, 0..1000, &[B]);
    let log = kernel.run(&mut table);
    assert_eq!(log, ["Replace group", "Delete group"], "the other is the gate that is left over");
    assert_eq!(kernel.ways(nth(999)), [B]);
    want(&mut table, 0..1000, &[A, B]);
    assert_eq!(kernel.run(&mut table), ["Create gate", "Replace group"]);
    assert_eq!(kernel.ways(nth(999)), [A, B]);
}

fn want_weighed(table: &mut Table, which: std::ops::Range<u128>, via: &[(&str, u32)]) {
    let hop = |(via, weight): &(&str, u32)| Hop {
        weight: HopWeight::new(*weight),
        ..Hop::new(via.parse().unwrap(), None)
    };
    let hops = table.share(&via.iter().map(hop).collect::<Vec<_>>());
    table.set(which.map(|n| (nth(n), Some(hops.clone()))));
}

#[test]
fn routes_of_one_weight_share_a_group_and_move_by_one_message() {
    let mut kernel = Kernel::default();
    let mut table = kernel.table();
    want_weighed(&mut table, 0..1000, &[(A, 2), (B, 5)]);
    kernel.run(&mut table);
    assert_eq!(kernel.weights(nth(0)), [2, 5]);
    assert_eq!(kernel.objects.len(), 3, "two gates, one group");
    want_weighed(&mut table, 0..1000, &[(A, 1), (B, 4)]);
    assert_eq!(kernel.run(&mut table), ["Replace group"]);
    assert_eq!(kernel.weights(nth(999)), [1, 4]);
    want(&mut table, 0..1000, &[B]);
    let log = kernel.run(&mut table);
    assert_eq!(log, ["Replace group", "Delete group"], "one of two is lost");
    assert_eq!(kernel.weights(nth(999)), [1]);
}

#[test]
fn another_process_finds_the_weights_and_mends_those_that_somebody_has_changed() {
    let mut kernel = Kernel::default();
    let mut table = kernel.table();
    want_weighed(&mut table, 0..10, &[(A, 2), (B, 5)]);
    kernel.run(&mut table);
    let mut table = kernel.table();
    want_weighed(&mut table, 0..10, &[(A, 2), (B, 5)]);
    assert_eq!(kernel.run(&mut table), [""; 0]);
    for body in kernel.objects.values_mut() {
        if let Body::Group(members) = body {
            members.iter_mut().for_each(|member| member.weight = HopWeight::ONE);
        }
    }
    table.resync(kernel.seen());
    assert_eq!(kernel.run(&mut table), ["Replace group"]);
    assert_eq!(kernel.weights(nth(0)), [2, 5]);
}

#[test]
fn the_loss_of_the_only_next_hop_moves_all_routes_to_the_backup_by_one_message() {
    let (mut kernel, mut table) = wide(0);
    want(&mut table, 0..1000, &[A]);
    kernel.run(&mut table);
    want(&mut table, 0..1000, &[C]);
    let log = kernel.run(&mut table);
    assert_eq!(log[..2], ["Create gate", "Replace group"], "{log:?}");
    assert!(log.iter().all(|l| !l.contains("route")), "{log:?}");
    assert_eq!(kernel.ways(nth(7)), [C]);
}

#[test]
fn the_few_that_go_elsewhere_leave_before_the_many_are_moved() {
    let (mut kernel, mut table) = wide(1000);
    let hop = |via: &str| Hop::new(via.parse().unwrap(), None);
    let (b, bc) = (table.share(&[hop(B)]), table.share(&[hop(B), hop(C)]));
    table.set((0..900).map(|n| {
        let hops = if n < 800 { b.clone() } else { bc.clone() };
        (nth(n), Some(hops))
    }));
    let log = kernel.run(&mut table);
    let moved = log.iter().position(|l| l == "Replace group").unwrap();
    let before = log[..moved].iter().filter(|l| l.contains("route")).count();
    assert_eq!((before, log.iter().filter(|l| l.contains("route")).count()), (200, 200), "{log:?}");
    assert_eq!(kernel.ways(nth(0)), [B]);
    assert_eq!(kernel.ways(nth(850)), [B, C]);
    assert_eq!(kernel.ways(nth(950)), [A, B]);
}

#[test]
fn few_routes_over_one_gateway_name_it_themselves_and_are_left_alone_when_they_are_many() {
    let mut kernel = Kernel::default();
    let mut table = kernel.table();
    want(&mut table, 0..10, &[A]);
    assert_eq!(kernel.run(&mut table), ["Add route"; 10]);
    assert!(kernel.objects.is_empty());
    want(&mut table, 10..1000, &[A]);
    kernel.run(&mut table);
    assert_eq!(kernel.ways(nth(10)), [A]);
    table.retry();
    assert!(kernel.run(&mut table).is_empty(), "the first ones are right as they are");
}

#[test]
fn a_dead_next_hop_is_left_out_and_taken_in_when_it_lives() {
    let mut kernel = Kernel { dead: [A.parse().unwrap()].into(), ..Kernel::default() };
    let mut table = kernel.table();
    want(&mut table, 0..10, &[A, B]);
    kernel.run(&mut table);
    assert_eq!(kernel.ways(nth(0)), [B]);
    assert!(table.left_out().contains_key(&Hop::new(A.parse().unwrap(), None)));
    kernel.dead.clear();
    table.retry();
    assert_eq!(kernel.run(&mut table), ["Create gate", "Replace group"]);
    assert_eq!(kernel.ways(nth(0)), [A, B]);
    assert!(table.left_out().is_empty());
}

#[test]
fn a_lost_link_costs_its_gate_and_comes_back_as_one() {
    let (mut kernel, mut table) = wide(500);
    kernel.lose(A);
    table.resync(kernel.seen());
    let log = kernel.run(&mut table);
    assert_eq!(log, ["Create gate"], "tried, and refused");
    assert_eq!(kernel.ways(nth(0)), [B]);
    kernel.dead.clear();
    table.retry();
    assert_eq!(kernel.run(&mut table), ["Create gate", "Replace group"]);
    assert_eq!(kernel.ways(nth(0)), [A, B]);
}

#[test]
fn with_all_their_links_lost_routes_are_put_back_when_one_returns() {
    let (mut kernel, mut table) = wide(50);
    kernel.lose(A);
    kernel.lose(B);
    assert!(kernel.routes.is_empty() && kernel.objects.is_empty());
    kernel.dead.remove(&B.parse::<IpAddr>().unwrap());
    table.resync(kernel.seen());
    kernel.run(&mut table);
    assert_eq!((kernel.routes.len(), kernel.ways(nth(0))), (50, vec![B.to_owned()]));
}

#[test]
fn another_process_finds_the_objects_and_touches_nothing() {
    let (mut kernel, _) = wide(50);
    let ids: Vec<u32> = kernel.objects.keys().copied().collect();
    let mut table = kernel.table();
    assert_eq!(kernel.run(&mut table), [""; 0]);
    want(&mut table, 0..50, &[A, B]);
    assert_eq!(kernel.run(&mut table), [""; 0]);
    assert_eq!(kernel.objects.keys().copied().collect::<Vec<_>>(), ids);
}

#[test]
fn what_a_killed_process_left_over_is_swept_and_what_others_use_is_not() {
    let (mut kernel, _) = wide(50);
    let gate = |via: &str| Body::Gate(Gate { via: via.parse().unwrap(), dev: 2 });
    kernel.objects.insert(0x6000_0100, gate(C));
    kernel.objects.insert(
        0x6000_0101,
        Body::Group(vec![Member { gate: 0x6000_0100, weight: HopWeight::ONE }]),
    );
    kernel.objects.insert(0x6000_0200, gate("192.0.2.9"));
    kernel.objects.insert(7, gate("192.0.2.9"));
    let mut table = Table::new(254, 20, Some(Objects::new([0x6000_0200].into())));
    table.adopt(kernel.seen(), &[]);
    kernel.run(&mut table);
    let left: Vec<u32> = kernel.objects.keys().copied().collect();
    assert_eq!(left.len(), 5, "{left:x?}");
    assert!(left.contains(&7) && left.contains(&0x6000_0200), "{left:x?}");
}

#[test]
fn routes_without_objects_are_given_them_in_place() {
    let mut kernel = Kernel::default();
    let hops = [A, B].map(|via| Hop::new(via.parse().unwrap(), Some(2)));
    for n in 0..3 {
        kernel.routes.insert(nth(n), Way::Hops(hops.into()));
    }
    let mut table = kernel.table();
    let log = kernel.run(&mut table);
    let routes: Vec<_> = log.iter().filter(|l| l.contains("route")).collect();
    assert_eq!(routes, ["Replace route"; 3]);
    assert_eq!(kernel.ways(nth(0)), [A, B]);
}

#[test]
fn an_id_that_somebody_else_has_taken_is_passed_over() {
    let mut kernel = Kernel::default();
    let mut table = kernel.table();
    want(&mut table, 0..1, &[A, B]);
    let mut steps = table.steps(9).into_iter();
    let Some(Step::Object(op)) = steps.next() else { panic!("a gate comes first") };
    table.settle_object(&op, refusal(libc::EEXIST).as_ref());
    for step in steps {
        let Step::Object(op) = step else { panic!("{step:?}") };
        let refusal = kernel.object(&op);
        table.settle_object(&op, refusal.as_ref());
    }
    kernel.run(&mut table);
    assert_eq!(kernel.ways(nth(0)), [A, B]);
    assert!(!kernel.objects.contains_key(&op.id));
}
