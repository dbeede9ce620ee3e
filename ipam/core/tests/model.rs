//! Random lives of a node's addresses against a naive model that scans everything: ADD, repeats,
//! late DELs, takeovers, GC, time, restarts, reboots, crashes that lose unsynced records, blocks
//! that move away and return.

#![allow(clippy::unwrap_used)]

use ipam_core::*;
use mainstay_prefix::Prefix;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const COOLDOWN: u64 = 10;
const STICKINESS: u64 = 30;

#[derive(Debug, Clone)]
enum Op {
    Add {
        container: u8,
        pod: u8,
        uid: u8,
        key: u8,
        ask: Option<u8>,
    },
    Del {
        container: u8,
    },
    Gc {
        keep: Vec<u8>,
    },
    Pass {
        seconds: u64,
    },
    Tick,
    /// A crash of the daemon; of the records not yet synced the last `lost` are gone.
    Crash {
        lost: usize,
    },
    /// The same with the machine, which stays off for a while.
    Reboot {
        lost: usize,
        off: u64,
    },
    /// Block 1 of the first pool moves away, or back.
    Move {
        away: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u8..12, 0u8..5, 0u8..3, 0u8..4, prop::option::weighted(0.1, 0u8..20))
            .prop_map(|(container, pod, uid, key, ask)| Op::Add { container, pod, uid, key, ask }),
        6 => (0u8..12).prop_map(|container| Op::Del { container }),
        1 => prop::collection::vec(0u8..12, 0..8).prop_map(|keep| Op::Gc { keep }),
        4 => (0u64..15).prop_map(|seconds| Op::Pass { seconds }),
        1 => Just(Op::Tick),
        1 => (0usize..4).prop_map(|lost| Op::Crash { lost }),
        1 => (0usize..4, 0u64..40).prop_map(|(lost, off)| Op::Reboot { lost, off }),
        1 => any::<bool>().prop_map(|away| Op::Move { away }),
    ]
}

fn settings(away: bool) -> Settings {
    let pool = |name: &str, cidr: &str, blocks: &[&str]| {
        let blocks = blocks.iter().map(|b| b.parse().unwrap()).collect();
        PoolSettings::new(name, cidr.parse().unwrap(), blocks)
    };
    let main: &[&str] = if away { &["10.0.0.0/30"] } else { &["10.0.0.0/30", "10.0.0.8/29"] };
    Settings {
        pools: vec![
            pool("main", "10.0.0.0/24", main),
            pool("six", "fd00::/64", &["fd00::/125"]),
            pool("spare", "10.1.0.0/24", &["10.1.0.4/31"]),
        ],
        cooldown: Duration::from_secs(COOLDOWN),
        stickiness: Policy::Ttl(Duration::from_secs(STICKINESS)),
    }
}

fn add_of(container: u8, pod: u8, uid: u8, key: u8, ask: Option<u8>) -> Add {
    // Pod 4 is a bare container; uid 0 and key 0 are unknown.
    let known = |prefix: &str, n: u8| if n == 0 { String::new() } else { format!("{prefix}{n}") };
    let owner = if pod == 4 {
        Owner::default()
    } else {
        Owner {
            namespace: "ns".into(),
            name: format!("pod-{pod}"),
            uid: if uid == 0 { String::new() } else { format!("{pod}-{uid}") },
            sticky_key: known("key", key / 2),
            workload: None,
        }
    };
    let requested = ask.map(|n| IpAddr::from([10, 0, 0, n])).into_iter().collect();
    let netns = "/run/netns/x".into();
    Add { attachment: attachment(container), owner, netns, requested, ..Add::default() }
}

fn attachment(container: u8) -> Attachment {
    Attachment {
        network: "pods".into(),
        container_id: format!("c{container}"),
        ifname: "eth0".into(),
    }
}

/// What is known of one address, with the true time of its release.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    add: Add,
    released: Option<Moment>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    slots: BTreeMap<IpAddr, Entry>,
    /// When the block that moves came back, if it ever did.
    came_back: Option<Moment>,
}

/// The block that moves away and comes back.
fn mover() -> Prefix {
    "10.0.0.8/29".parse().unwrap()
}

impl Model {
    fn hands_out(settings: &Settings) -> Vec<Vec<IpAddr>> {
        let of_pool = |pool: &PoolSettings| {
            let blocks = pool.blocks.iter().map(|b| Block::new(*b));
            let all = |b: Block| (0..b.prefix.size()).filter_map(move |n| b.prefix.nth(n));
            blocks.flat_map(|b| all(b).filter(move |a| b.hands_out(*a))).collect()
        };
        settings.pools.iter().map(of_pool).collect()
    }

    fn ids(add: &Add) -> [Option<String>; 4] {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let Owner { name, uid, sticky_key, .. } = &add.owner;
        [some(sticky_key), some(uid), some(name), some(&add.attachment.container_id)]
    }

    /// From when the cooldown of an address counts.
    fn from(&self, address: IpAddr, released: Moment) -> Moment {
        let came_back = self.came_back.filter(|_| mover().contains(address));
        came_back.map_or(released, |at| at.max(released))
    }

    /// The address of one family that `add` should get, `None` if it should fail.
    fn choose(&self, add: &Add, ipv4: bool, settings: &Settings, now: Moment) -> Option<IpAddr> {
        let pools = Self::hands_out(settings);
        let ours: Vec<IpAddr> =
            pools.concat().into_iter().filter(|a| a.is_ipv4() == ipv4).collect();
        let cooled = |a: IpAddr, m: Moment| now.since(self.from(a, m)) >= settings.cooldown;
        // The exemption counts from the last time the block was here.
        let here_since = |a: IpAddr, m: Moment| {
            let came_back = self.came_back.filter(|_| mover().contains(a));
            came_back.is_none_or(|at| m > at) || cooled(a, m)
        };
        let block_cooled = |a: IpAddr| {
            let came_back = self.came_back.filter(|_| mover().contains(a));
            came_back.is_none_or(|at| now.since(at) >= settings.cooldown)
        };
        if let Some(&ask) = add.requested.iter().find(|a| a.is_ipv4() == ipv4) {
            let shares = |e: &Entry| {
                let (a, b) = (Self::ids(&e.add), Self::ids(add));
                a.iter().zip(&b).any(|(a, b)| a.is_some() && a == b)
            };
            let free = match self.slots.get(&ask) {
                None => block_cooled(ask),
                Some(e) => match e.released {
                    Some(m) => (shares(e) && here_since(ask, m)) || cooled(ask, m),
                    None => !add.owner.uid.is_empty() && e.add.owner.uid == add.owner.uid,
                },
            };
            return (ours.contains(&ask) && free).then_some(ask);
        }
        let here = || self.slots.iter().filter(|(a, _)| ours.contains(a));
        let same_uid = |e: &Entry| !add.owner.uid.is_empty() && e.add.owner.uid == add.owner.uid;
        if let Some((a, _)) = here().find(|(_, e)| e.released.is_none() && same_uid(e)) {
            return Some(*a);
        }
        for rung in 0..4 {
            let id = &Self::ids(add)[rung];
            let held = here().filter(|(a, e)| {
                e.released.is_some_and(|m| here_since(**a, m))
                    && id.is_some()
                    && Self::ids(&e.add)[rung] == *id
            });
            // Under a sticky key the pod's own comes first, then its name's.
            let rank = |e: &Entry| match rung {
                0 if same_uid(e) => 2,
                0 => u8::from(e.add.owner.name == add.owner.name),
                _ => 0,
            };
            let best = held.max_by_key(|(_, e)| (rank(e), e.released));
            if let Some((a, _)) = best {
                return Some(*a);
            }
        }
        let fresh = |a: &&IpAddr| !self.slots.contains_key(a) && block_cooled(**a);
        if let Some(a) = ours.iter().find(fresh) {
            return Some(*a);
        }
        let mut cool: Vec<(bool, Moment, IpAddr)> = here()
            .filter_map(|(a, e)| Some((e, e.released?, *a)))
            .filter(|(_, m, a)| cooled(*a, *m))
            .map(|(e, m, a)| {
                let m = self.from(a, m);
                let kept = e.add.owner.is_known() && now.since(m) < Duration::from_secs(STICKINESS);
                (kept, m, a)
            })
            .collect();
        cool.sort();
        cool.first().map(|(_, _, a)| *a)
    }

    fn of(&self, attachment: &Attachment) -> Vec<IpAddr> {
        let its = |e: &Entry| e.released.is_none() && e.add.attachment == *attachment;
        self.slots.iter().filter(|(_, e)| its(e)).map(|(a, _)| *a).collect()
    }

    fn release(&mut self, gone: impl Fn(&Attachment) -> bool, now: Moment) {
        for entry in self.slots.values_mut() {
            if entry.released.is_none() && gone(&entry.add.attachment) {
                entry.released = Some(now);
            }
        }
    }
}

/// A node: the table, what is on its disk, its clocks, and the truth.
struct Node {
    ipam: Ipam,
    model: Model,
    disk: Vec<Record>,
    /// Records written but not synced, each with the model as it was before.
    unsynced: Vec<(Vec<Record>, Model)>,
    boot: u128,
    booted: u64,
    truth: u64,
    /// Who was the last to have an address, and the true time it was released.
    last: BTreeMap<IpAddr, (Add, Option<u64>)>,
    away: bool,
    /// The true time at which the block that moves came back.
    moved: Option<u64>,
}

impl Node {
    fn new() -> Self {
        let now = Now { boot: BootId(1), boottime: Duration::from_secs(50), wall: Duration::ZERO };
        let (ipam, effects) = Ipam::open(settings(false), Kept::default(), now);
        Self {
            ipam,
            model: Model::default(),
            disk: effects.records,
            unsynced: Vec::new(),
            boot: 1,
            booted: 0,
            truth: 50,
            last: BTreeMap::new(),
            away: false,
            moved: None,
        }
    }

    fn now(&self) -> Now {
        let boottime = Duration::from_secs(self.truth - self.booted);
        Now { boot: BootId(self.boot), boottime, wall: Duration::from_secs(999 - self.truth % 7) }
    }

    fn sync(&mut self) {
        for (records, _) in self.unsynced.drain(..) {
            self.disk.extend(records);
        }
    }

    fn step(&mut self, op: &Op) {
        let now = self.now();
        let mut out = Effects::default();
        let before = self.model.clone();
        match op {
            Op::Add { container, pod, uid, key, ask } => {
                self.add(&add_of(*container, *pod, *uid, *key, *ask));
            }
            Op::Del { container } => {
                let gone = attachment(*container);
                self.released(|a| *a == gone);
                self.ipam.del(&gone, now, &mut out);
            }
            Op::Gc { keep } => {
                let keep: Vec<_> = keep.iter().map(|c| attachment(*c)).collect();
                self.released(|a| !keep.contains(a));
                let valid: Vec<_> =
                    keep.iter().map(|a| (a.container_id.clone(), a.ifname.clone())).collect();
                let left_out = self.ipam.left_out("pods", &valid).into_iter();
                let dead: Vec<_> = left_out.map(|lease| (lease, None)).collect();
                self.ipam.gc(&dead, now, &mut out);
                assert!(self.ipam.left_out("other", &[]).is_empty());
            }
            Op::Pass { seconds } => self.truth += seconds,
            Op::Tick => self.tick(&mut out),
            Op::Crash { lost } => self.crash(*lost),
            Op::Reboot { lost, off } => {
                self.truth += off;
                (self.boot, self.booted) = (self.boot + 1, self.truth);
                self.truth += 3;
                self.crash(*lost);
            }
            Op::Move { away } => {
                if self.away && !*away {
                    self.model.came_back = Some(self.ipam.moment(now));
                    self.moved = Some(self.truth);
                }
                self.away = *away;
                self.ipam.reconfigure(settings(*away), now, &mut out);
                // Whoever reloads waits until that is durable.
                self.sync();
                self.disk.append(&mut out.records);
            }
        }
        if !out.records.is_empty() {
            self.unsynced.push((out.records, before));
        }
    }

    fn tick(&mut self, out: &mut Effects) {
        let now = self.now();
        let moment = self.ipam.moment(now);
        let settings = settings(self.away);
        let ours = Model::hands_out(&settings).concat();
        self.model.slots.retain(|a, e| {
            ours.contains(a) || e.released.is_none_or(|m| moment.since(m) < settings.cooldown)
        });
        self.ipam.tick(now, out);
    }

    fn released(&mut self, gone: impl Fn(&Attachment) -> bool) {
        for address in self.model.slots.iter().filter(|(_, e)| e.released.is_none()) {
            if gone(&address.1.add.attachment) {
                self.last.insert(*address.0, (address.1.add.clone(), Some(self.truth)));
            }
        }
        let moment = self.ipam.moment(self.now());
        self.model.release(gone, moment);
    }

    fn crash(&mut self, lost: usize) {
        let kept = self.unsynced.len().saturating_sub(lost);
        if let Some((_, model)) = self.unsynced.get(kept) {
            self.model = model.clone();
        }
        let nothing_lost = kept == self.unsynced.len();
        self.unsynced.truncate(kept);
        self.sync();
        let (ipam, effects) = Ipam::open(settings(self.away), on_disk(&self.disk), self.now());
        if nothing_lost {
            assert!(ipam == self.ipam, "a table opened from its records differs from the live one");
        }
        self.ipam = ipam;
        self.disk.extend(effects.records);
    }

    fn add(&mut self, add: &Add) {
        let (now, settings) = (self.now(), settings(self.away));
        let moment = self.ipam.moment(now);
        let mut out = Effects::default();
        let before = self.ipam.clone();
        let had = self.model.of(&add.attachment);
        let result = self.ipam.add(add, now, &mut out);
        self.sync();
        self.disk.extend(out.records.iter().cloned());
        if !had.is_empty() {
            assert!(out.records.is_empty(), "a repeat writes nothing");
            match result {
                Ok(grants) => assert_eq!(addresses(&grants), had, "a repeat gets the same answer"),
                Err(_) => assert!(add.requested.iter().any(|a| !had.contains(a))),
            }
            return;
        }
        let expected: Option<Vec<IpAddr>> =
            [true, false].iter().map(|v4| self.model.choose(add, *v4, &settings, moment)).collect();
        let Ok(grants) = result else {
            assert_eq!(expected, None, "refused: {result:?}");
            assert!(out.records.is_empty() && before == self.ipam, "a refusal leaves a trace");
            return;
        };
        assert_eq!(Some(addresses(&grants)), expected);
        for grant in &grants {
            self.granted(add, grant);
        }
    }

    /// The promises, by true time and true owners.
    fn granted(&mut self, add: &Add, grant: &Grant) {
        let address = grant.address;
        if let Some(moved) = self.moved.filter(|_| mover().contains(address)) {
            // As far as can be known: the DEL may have been lost that came while it was elsewhere.
            let came_back = self.model.came_back;
            let known = self.model.slots.get(&address);
            let since = known.is_some_and(|e| e.released.is_none_or(|m| Some(m) > came_back));
            assert!(since || self.truth - moved >= COOLDOWN, "{address} came back too lately");
        }
        if let Some((old, released)) = self.last.get(&address) {
            let shares =
                Model::ids(old).iter().zip(&Model::ids(add)).any(|(a, b)| a.is_some() && a == b);
            match released {
                None => assert_eq!(old.owner.uid, add.owner.uid, "{address} was stolen"),
                Some(at) => assert!(
                    shares || self.truth - at >= COOLDOWN,
                    "{address} to another owner {} s after its release",
                    self.truth - at
                ),
            }
        }
        self.last.insert(address, (add.clone(), None));
        self.model.slots.insert(address, Entry { add: add.clone(), released: None });
    }

    fn assert_in_step(&mut self) {
        let now = self.now();
        let seen: BTreeMap<IpAddr, Entry> = self
            .ipam
            .leases(Prefix::DEFAULT_V4.addr(), now)
            .map(|lease| {
                let s = lease.slot;
                let add = Add {
                    attachment: s.attachment.clone(),
                    owner: s.owner.clone(),
                    netns: s.netns.clone(),
                    ..Add::default()
                };
                (s.address, Entry { add, released: s.released() })
            })
            .collect();
        let mut model = self.model.slots.clone();
        model.values_mut().for_each(|e| e.add.requested.clear());
        assert_eq!(seen, model);
        self.assert_counts(now);
    }

    fn assert_counts(&mut self, now: Now) {
        let blocks = self.ipam.block_views(now);
        for pool in self.ipam.pool_views(now) {
            let own = blocks.iter().filter(|b| b.pool == pool.name && !b.leaving);
            let sum = own.fold(Counts::default(), |a, b| Counts {
                addresses: a.addresses + b.counts.addresses,
                assigned: a.assigned + b.counts.assigned,
                held: a.held + b.counts.held,
                cooling: a.cooling + b.counts.cooling,
                free: a.free + b.counts.free,
                ..Counts::default()
            });
            assert_eq!(sum, pool.counts);
            assert!(pool.next_free.is_none() || pool.counts.free == 0);
        }
    }
}

/// What a disk with these records says at the next start.
fn on_disk(disk: &[Record]) -> Kept {
    let (mut kept, mut slots) = (Kept::default(), BTreeMap::new());
    let (mut withheld, mut blocks) = (BTreeMap::new(), BTreeMap::new());
    for record in disk {
        match record {
            Record::Clock(record) => kept.clock = Some(*record),
            Record::Slot(slot) => drop(slots.insert(slot.address, Slot::clone(slot))),
            Record::Forget(address) => drop(slots.remove(address)),
            Record::Withheld(address, w) => drop(withheld.insert(*address, Withheld::clone(w))),
            Record::Unwithheld(address) => drop(withheld.remove(address)),
            Record::Block(block) => drop(blocks.insert(block.prefix, *block)),
            Record::ForgetBlock(prefix) => drop(blocks.remove(prefix)),
        }
    }
    kept.slots = slots.into_values().collect();
    kept.withheld = withheld.into_iter().collect();
    kept.blocks = blocks.into_values().collect();
    kept
}

fn addresses(grants: &[Grant]) -> Vec<IpAddr> {
    grants.iter().map(|grant| grant.address).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_life_of_a_node_breaks_a_promise(ops in prop::collection::vec(op(), 1..120)) {
        let mut node = Node::new();
        for op in &ops {
            node.step(op);
            node.assert_in_step();
        }
        node.crash(0);
        node.assert_in_step();
    }
}

/// Found by the property above: the pod's own address nearest in time is on a block that came back
/// and may not return yet, and the next of its own must go before those of others under its key.
#[test]
fn of_a_shared_key_s_addresses_a_pod_gets_its_own_also_when_the_nearest_may_not_return() {
    let add = |container, pod, key| Op::Add { container, pod, uid: 0, key, ask: None };
    let mut node = Node::new();
    for op in [
        add(1, 0, 0),
        add(4, 0, 0),
        add(2, 0, 0),
        add(0, 0, 0),
        add(0, 0, 0),
        add(3, 3, 0),
        Op::Gc { keep: vec![] },
        add(7, 2, 2),
        Op::Pass { seconds: 10 },
        add(8, 1, 2),
        add(2, 0, 0),
        add(0, 2, 2),
        Op::Move { away: true },
        Op::Move { away: false },
        Op::Gc { keep: vec![] },
        Op::Add { container: 0, pod: 0, uid: 0, key: 0, ask: Some(0) },
        add(8, 0, 2),
        Op::Del { container: 8 },
        add(0, 2, 2),
    ] {
        node.step(&op);
        node.assert_in_step();
    }
}

#[test]
fn a_large_block_costs_no_scan() {
    let blocks = vec!["10.0.0.0/12".parse().unwrap()];
    let pool = PoolSettings::new("big", "10.0.0.0/8".parse().unwrap(), blocks);
    let big = Settings { pools: vec![pool], ..settings(false) };
    let now = Now { boot: BootId(1), boottime: Duration::ZERO, wall: Duration::ZERO };
    let (mut ipam, _) = Ipam::open(big, Kept::default(), now);
    let mut out = Effects::default();
    // All of one name and one sticky key: the worst an index could be given.
    let mut add = add_of(0, 1, 0, 2, None);
    let count = 20_000u32;
    for n in 0..count {
        add.attachment.container_id = n.to_string();
        let mut out = Effects::default();
        ipam.add(&add, now, &mut out).unwrap();
        assert!(out.reports.len() <= 2, "reports grow with the table");
    }
    for n in 0..count {
        add.attachment.container_id = n.to_string();
        ipam.del(&add.attachment, now, &mut out);
    }
    for n in 0..count {
        add.attachment.container_id = format!("again-{n}");
        ipam.add(&add, now, &mut out).unwrap();
    }
    assert_eq!(ipam.pool_views(now)[0].counts.assigned, u64::from(count));
}
