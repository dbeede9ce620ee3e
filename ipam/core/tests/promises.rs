//! The cooldown guarantee (docs/internals/cooldown.md) against random lives of a node: every event
//! there is, judged by true time and true owners alone. Unlike the model it does not foretell which
//! address somebody gets; it says which ones nobody may get.

#![allow(clippy::unwrap_used)]

use ipam_core::*;
use mainstay_prefix::Prefix;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Longer and shorter than a sandbox may take to be taken down.
const COOLDOWNS: [u64; 2] = [12, 4];

#[derive(Debug, Clone)]
enum Op {
    Add(Asking),
    Del(u8),
    Gc(Vec<u8>),
    Pass(u64),
    Tick,
    Lift,
    /// The process ends; of the records that may be lost the last so many are.
    Crash(usize),
    /// The machine does, and stays off for a while; its wall clock says anything afterwards.
    Reboot(usize, u64),
    Move(bool),
    Seen(u8),
    Unseen(u8),
    Hold(u8),
    Unhold(u8),
    Release(u8, bool),
    OwnerGone(u8),
}

#[derive(Debug, Clone)]
struct Asking {
    container: u8,
    pod: u8,
    uid: u8,
    key: u8,
    workload: u8,
    policy: u8,
    ask: Option<u8>,
    rivals_gone: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let host = || 0u8..18;
    let asking = (
        (0u8..9, 0u8..5, 0u8..3, 0u8..3),
        (0u8..4, 0u8..4, prop::option::weighted(0.15, host()), prop::bool::weighted(0.2)),
    );
    let asking = asking.prop_map(|((container, pod, uid, key), rest)| {
        let (workload, policy, ask, rivals_gone) = rest;
        Asking { container, pod, uid, key, workload, policy, ask, rivals_gone }
    });
    prop_oneof![
        10 => asking.prop_map(Op::Add),
        8 => (0u8..9).prop_map(Op::Del),
        1 => prop::collection::vec(0u8..9, 0..8).prop_map(Op::Gc),
        6 => (1u64..9).prop_map(Op::Pass),
        1 => Just(Op::Tick),
        3 => Just(Op::Lift),
        1 => (0usize..4).prop_map(Op::Crash),
        1 => (0usize..4, 0u64..40).prop_map(|(lost, off)| Op::Reboot(lost, off)),
        1 => any::<bool>().prop_map(Op::Move),
        2 => host().prop_map(Op::Seen),
        2 => host().prop_map(Op::Unseen),
        1 => host().prop_map(Op::Hold),
        1 => host().prop_map(Op::Unhold),
        1 => (host(), any::<bool>()).prop_map(|(n, stale)| Op::Release(n, stale)),
        1 => (0u8..5).prop_map(Op::OwnerGone),
    ]
}

/// 2 in a block of its own; 10 to 14 in the one that moves; of these 12 is excluded and 13 reserved.
fn settings(away: bool, cooldown: u64) -> Settings {
    let blocks: &[&str] = if away { &["10.0.0.0/30"] } else { &["10.0.0.0/30", "10.0.0.8/29"] };
    let blocks = blocks.iter().map(|b| b.parse().unwrap()).collect();
    let main = PoolSettings {
        exclude: vec![(ip(12), ip(12))],
        reserved: [(ip(13), Reservation::Pod { namespace: "ns".into(), name: "pod-1".into() })]
            .into(),
        ..PoolSettings::new("main", "10.0.0.0/24".parse().unwrap(), blocks)
    };
    Settings {
        pools: vec![main],
        cooldown: Duration::from_secs(cooldown),
        stickiness: Policy::Ttl(Duration::from_secs(30)),
    }
}

fn mover() -> Prefix {
    "10.0.0.8/29".parse().unwrap()
}

fn ip(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn attachment(container: u8) -> Attachment {
    let (network, ifname) = ("pods".into(), "eth0".into());
    Attachment { network, container_id: format!("c{container}"), ifname }
}

fn add_of(asking: &Asking) -> Add {
    let known = |prefix: &str, n: u8| if n == 0 { String::new() } else { format!("{prefix}{n}") };
    let workload = match asking.workload {
        1 => Workload::proven("daemonset/agent"),
        2 => Workload::proven("deployment/web"),
        3 => Workload::guess("web-7d4b9c6f5-x2x4z"),
        _ => None,
    };
    let owner = Owner {
        namespace: "ns".into(),
        name: known("pod-", asking.pod),
        uid: if asking.uid == 0 { String::new() } else { format!("{}-{}", asking.pod, asking.uid) },
        sticky_key: known("key", asking.key),
        workload,
    };
    let policy = match asking.policy {
        1 => Some(Policy::Ttl(Duration::from_secs(20))),
        2 => Some(Policy::Never),
        3 => Some(Policy::WhileOwnerExists),
        _ => None,
    };
    let requested = asking.ask.map(ip).into_iter().collect();
    let attachment = attachment(asking.container);
    Add { attachment, owner, requested, policy, ..Add::default() }
}

/// Whether the cooldown does not count between these two: they are one owner, beyond a guess.
fn same_owner(a: &Add, b: &Add) -> bool {
    let both = |a: &str, b: &str| !a.is_empty() && a == b;
    let (x, y) = (&a.owner, &b.owner);
    let proven = |o: &Owner| o.workload.clone().filter(|w| w.proven);
    both(&x.name, &y.name)
        || both(&x.uid, &y.uid)
        || both(&x.sticky_key, &y.sticky_key)
        || a.attachment == b.attachment
        || proven(x).is_some_and(|w| proven(y) == Some(w))
}

/// The same without those who merely stand for one another.
fn very_owner(a: &Add, b: &Add) -> bool {
    let is = |add: &Add| add.owner.workload.as_ref().is_some_and(|w| w.kind == Kind::DaemonSet);
    let bare = |add: &Add| {
        let mut add = add.clone();
        if !is(&add) {
            add.owner.workload = None;
        }
        add
    };
    same_owner(&bare(a), &bare(b))
}

/// What is true of one address, whatever the table believes.
#[derive(Debug, Clone, Default)]
struct Truth {
    /// Who had it last, and when it was released.
    last: Option<(Add, Option<u64>)>,
    on_hold: bool,
    /// Somebody uses it; or did so until then.
    in_use: bool,
    gone: Option<u64>,
    /// An operator has released it, or its owner is gone, since it was assigned.
    let_go: bool,
}

struct Node {
    cooldown: u64,
    ipam: Ipam,
    disk: Vec<Record>,
    unsynced: Vec<Vec<Record>>,
    truths: BTreeMap<IpAddr, Truth>,
    seqs: BTreeSet<u64>,
    boot: u128,
    booted: u64,
    time: u64,
    away: bool,
    came_back: Option<(u64, Moment)>,
}

impl Node {
    fn new(cooldown: u64) -> Self {
        let now = Now { boot: BootId(1), boottime: Duration::from_secs(50), wall: Duration::ZERO };
        let (ipam, first) = Ipam::open(settings(false, cooldown), Kept::default(), now);
        Self {
            cooldown,
            ipam,
            disk: first.records,
            unsynced: Vec::new(),
            truths: BTreeMap::new(),
            seqs: BTreeSet::new(),
            boot: 1,
            booted: 0,
            time: 50,
            away: false,
            came_back: None,
        }
    }

    fn now(&self) -> Now {
        let boottime = Duration::from_secs(self.time - self.booted);
        // The wall clock jumps, back and forth and by years.
        let wall = Duration::from_secs((self.time * 7919) % 1_000_000_007);
        Now { boot: BootId(self.boot), boottime, wall }
    }

    fn truth(&mut self, address: IpAddr) -> &mut Truth {
        self.truths.entry(address).or_default()
    }

    fn sync(&mut self) {
        self.disk.extend(self.unsynced.drain(..).flatten());
    }

    fn durable(&mut self, out: Effects) {
        self.sync();
        self.disk.extend(out.records);
    }

    fn step(&mut self, op: &Op) {
        let now = self.now();
        let mut out = Effects::default();
        match op {
            Op::Add(asking) => return self.add(asking),
            Op::Del(container) => {
                self.truly_released(|a| *a == attachment(*container));
                self.ipam.del(&attachment(*container), now, &mut out);
            }
            Op::Gc(keep) => {
                let keep: Vec<_> = keep.iter().map(|c| attachment(*c)).collect();
                self.truly_released(|a| !keep.contains(a));
                let valid: Vec<_> = keep.into_iter().map(|a| (a.container_id, a.ifname)).collect();
                let left_out = self.ipam.left_out("pods", &valid).into_iter();
                let dead: Vec<_> = left_out.map(|lease| (lease, None)).collect();
                self.ipam.gc(&dead, now, &mut out);
            }
            Op::Pass(seconds) => {
                self.time += seconds;
                return self.look();
            }
            Op::Tick => self.ipam.tick(now, &mut out),
            Op::Lift => self.ipam.lift(now, &mut out),
            Op::Crash(lost) => self.crash(*lost),
            Op::Reboot(lost, off) => {
                self.time += off;
                (self.boot, self.booted) = (self.boot + 1, self.time);
                self.time += 3;
                self.crash(*lost);
            }
            Op::Move(away) => {
                if self.away && !*away {
                    self.came_back = Some((self.time, self.ipam.moment(now)));
                }
                // What was kept here is another node's now.
                let theirs =
                    self.truths.iter_mut().filter(|(address, _)| mover().contains(**address));
                theirs.for_each(|(_, truth)| truth.let_go |= *away);
                self.away = *away;
                self.ipam.reconfigure(settings(*away, self.cooldown), now, &mut out);
                return self.durable(out);
            }
            Op::OwnerGone(pod) => {
                let gone = OwnerGone::Pod { namespace: "ns".into(), name: format!("pod-{pod}") };
                self.ipam.owner_gone(&gone, &mut out);
                for truth in self.truths.values_mut() {
                    let its = |add: &Add| {
                        add.owner.name == format!("pod-{pod}")
                            && add.policy == Some(Policy::WhileOwnerExists)
                    };
                    truth.let_go |= truth.last.as_ref().is_some_and(|(add, _)| its(add));
                }
            }
            Op::Seen(_) | Op::Unseen(_) => return self.evidence(op),
            Op::Hold(_) | Op::Unhold(_) | Op::Release(..) => return self.operator(op),
        }
        self.unsynced.push(out.records);
    }

    /// The daemon hands these to the disk within a millisecond, and tells them again at each start.
    fn evidence(&mut self, op: &Op) {
        let (now, time) = (self.now(), self.time);
        let mut out = Effects::default();
        match op {
            Op::Seen(n) => {
                let truth = self.truth(ip(*n));
                truth.in_use = true;
                self.ipam.seen(ip(*n), "a test says so", now, &mut out);
            }
            Op::Unseen(n) if self.truth(ip(*n)).in_use => {
                let truth = self.truth(ip(*n));
                (truth.in_use, truth.gone) = (false, Some(time));
                self.ipam.unseen(ip(*n), now, &mut out);
            }
            _ => {}
        }
        self.durable(out);
    }

    fn operator(&mut self, op: &Op) {
        let now = self.now();
        let mut out = Effects::default();
        match op {
            Op::Hold(n) => {
                let done = self.ipam.hold(ip(*n), "a test says so", now, &mut out).is_ok();
                self.truth(ip(*n)).on_hold |= done;
            }
            Op::Unhold(n) => {
                let done = self.ipam.unhold(ip(*n), &mut out).is_ok();
                assert_eq!(done, std::mem::take(&mut self.truth(ip(*n)).on_hold));
            }
            Op::Release(n, stale) => {
                let Some(seq) = self.ipam.lease(ip(*n), now).map(|lease| lease.slot.seq) else {
                    return;
                };
                let done = self.ipam.release(ip(*n), seq + u64::from(*stale), now, &mut out);
                assert_eq!(done.is_err(), *stale, "a stale number releases nothing");
                if !*stale {
                    let time = self.time;
                    let truth = self.truth(ip(*n));
                    truth.let_go = true;
                    if let Some((_, released @ None)) = &mut truth.last {
                        *released = Some(time);
                    }
                }
            }
            _ => {}
        }
        self.durable(out);
    }

    fn truly_released(&mut self, gone: impl Fn(&Attachment) -> bool) {
        for truth in self.truths.values_mut() {
            if let Some((add, released @ None)) = &mut truth.last
                && gone(&add.attachment)
            {
                *released = Some(self.time);
            }
        }
    }

    fn crash(&mut self, lost: usize) {
        let keep = self.unsynced.len().saturating_sub(lost);
        self.unsynced.truncate(keep);
        self.sync();
        let (ipam, first) =
            Ipam::open(settings(self.away, self.cooldown), on_disk(&self.disk), self.now());
        self.ipam = ipam;
        self.disk.extend(first.records);
        self.look();
    }

    /// At the kernel, as the daemon does at its start and every few seconds.
    fn look(&mut self) {
        let now = self.now();
        let mut out = Effects::default();
        for address in self.ipam.believed_in_use() {
            if !self.truth(address).in_use {
                self.ipam.unseen(address, now, &mut out);
            }
        }
        let in_use = self.truths.iter().filter(|(_, truth)| truth.in_use);
        in_use.for_each(|(address, _)| self.ipam.seen(*address, "still", now, &mut out));
        self.ipam.lift(now, &mut out);
        if out.records.is_empty() {
            return;
        }
        self.durable(out);
    }

    fn add(&mut self, asking: &Asking) {
        let mut add = add_of(asking);
        let now = self.now();
        if asking.rivals_gone {
            add.rivals_gone = self.ipam.rivals(&add).iter().map(|rival| rival.seq).collect();
        }
        let has = |lease: &LeaseView<'_>| {
            lease.state == LeaseState::Assigned && lease.slot.attachment == add.attachment
        };
        let all: Vec<_> = self.ipam.leases(ip(0), now).map(|l| (has(&l), l.slot.clone())).collect();
        let had: Vec<_> = all.iter().filter(|(has, _)| *has).map(|(_, s)| s.address).collect();
        let mut out = Effects::default();
        let before = self.ipam.clone();
        let answer = self.ipam.add(&add, now, &mut out);
        let Ok(grants) = answer else {
            assert!(out.records.is_empty() && before == self.ipam, "a refusal leaves a trace");
            return;
        };
        let got: Vec<_> = grants.iter().map(|grant| grant.address).collect();
        if !had.is_empty() {
            assert_eq!(got, had, "a repeat gets the same answer");
            assert!(out.records.is_empty(), "a repeat writes nothing");
            return;
        }
        for address in got {
            let rival = all.iter().find(|(_, slot)| slot.address == address);
            let slot = rival.map(|(_, slot)| slot);
            let moment = self.ipam.moment(now);
            let lately = |at: Moment| moment.since(at) < TAKING_DOWN;
            let taken_down = slot.and_then(Slot::released).is_some_and(lately);
            self.judge(&add, address, slot, taken_down);
            let seq = self.ipam.lease(address, now).unwrap().slot.seq;
            assert!(self.seqs.insert(seq), "lease {seq} was given twice");
            let truth = self.truth(address);
            (truth.last, truth.let_go) = (Some((add.clone(), None)), false);
            (truth.in_use, truth.gone) = (false, None);
        }
        self.durable(out);
    }

    /// The guarantee.
    fn judge(&mut self, add: &Add, address: IpAddr, slot: Option<&Slot>, taken_down: bool) {
        let rival = slot.filter(|slot| slot.is_assigned());
        let sandbox_gone = rival.is_some_and(|slot| add.rivals_gone.contains(&slot.seq));
        let time = self.time;
        let since = |then: u64| time - then;
        let truth = self.truth(address).clone();
        let (owner, very_owner, released) = match &truth.last {
            Some((last, released)) => (same_owner(last, add), very_owner(last, add), *released),
            None => (false, false, None),
        };
        match (&truth.last, released) {
            (None, _) => {}
            (Some((last, _)), None) => {
                let same_pod = !add.owner.uid.is_empty() && last.owner.uid == add.owner.uid;
                assert!(same_pod || sandbox_gone, "{address} was stolen");
            }
            (Some(_), Some(at)) => {
                assert!(owner || since(at) >= self.cooldown, "{address} after {} s", since(at));
            }
        }
        if let Some((last, Some(_))) = &truth.last {
            let recognised = !last.owner.name.is_empty()
                || !last.owner.uid.is_empty()
                || !last.owner.sticky_key.is_empty();
            let for_good = recognised && last.policy.is_some_and(Policy::is_for_good);
            assert!(!for_good || truth.let_go || very_owner, "{address} is kept for good");
        }
        assert!(!truth.on_hold, "{address} is on hold");
        // By its own clock: how long a machine was off is not known to it.
        let taken_down = owner && taken_down;
        // Its own, also if its DEL was lost.
        let live = rival.is_some();
        assert!(!truth.in_use || taken_down || live, "{address} is in use by somebody");
        if let Some(gone) = truth.gone {
            let its_own = owner || released.is_some_and(|at| at >= gone);
            // How long a machine was off is not known to it.
            let within = released
                .is_some_and(|at| gone - at.min(gone) < TAKING_DOWN.as_secs() || at <= self.booted);
            let cool = since(gone) >= self.cooldown || within;
            assert!(cool || its_own || live, "{address} was in use {} s ago", since(gone));
        }
        if let Some((back, at)) = self.came_back.filter(|_| mover().contains(address)) {
            // Also if the DEL was lost that came while the block was elsewhere.
            let ours = slot.is_some_and(|slot| slot.released().is_none_or(|m| m > at));
            assert!(ours || since(back) >= self.cooldown, "{address} was elsewhere");
        }
        assert_ne!(address, ip(12), "it is excluded");
        assert!(address != ip(13) || add.owner.name == "pod-1", "it is reserved for pod-1");
    }

    fn assert_counts(&mut self) {
        let now = self.now();
        let blocks = self.ipam.block_views(now);
        let pool = self.ipam.pool_views(now).remove(0);
        let ours = blocks.iter().filter(|block| !block.leaving).map(|block| block.counts);
        let sum = ours.fold(Counts::default(), |a, b| Counts {
            addresses: a.addresses + b.addresses,
            assigned: a.assigned + b.assigned,
            held: a.held + b.held,
            cooling: a.cooling + b.cooling,
            kept: a.kept + b.kept,
            reserved: a.reserved + b.reserved,
            withheld: a.withheld + b.withheld,
            quarantined: a.quarantined + b.quarantined,
            free: a.free + b.free,
        });
        assert_eq!(sum, pool.counts);
        assert!(pool.next_free.is_none() || pool.counts.free == 0);
    }
}

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nobody_gets_an_address_before_its_deadline_whatever_happens(
        ops in prop::collection::vec(op(), 1..140),
        cooldown in prop::sample::select(COOLDOWNS.to_vec()),
    ) {
        let mut node = Node::new(cooldown);
        for op in &ops {
            node.step(op);
            node.assert_counts();
        }
    }
}
