//! The table of slots and its indexes. Every change of a slot passes through `place`, `release` or
//! `forget`, which keep slots, attachments, owners and pools in step; a table opened from the
//! records it wrote equals the one that wrote them.

use crate::block::Block;
use crate::error::CheckError;
use crate::identity::Attachment;
use crate::index::{Entries, Index};
use crate::policy::Policy;
use crate::pool::{Periods, Pool, Shelf};
use crate::record::{BlockRecord, Kept, Record, Slot, Stamp, State};
use crate::report::{Report, Why};
use crate::settings::{Reservation, Settings};
use crate::slots::Slots;
use crate::time::{Clock, Moment, Now};
use crate::withheld::Withheld;
use mainstay_prefix::Prefix;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// How many held slots of a pool are remembered; past it the least recently released are forgotten
/// once they are cool. More than a /16 has, so that it only ever bounds huge IPv6 blocks.
const REMEMBERED: usize = 65_536;
/// More leases than are ever decided before the first of them is durable: a crash may lose so many,
/// and their numbers may have been seen.
const IN_FLIGHT: u64 = 1024;

/// What an event leads to, apart from its reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// To be persisted, in this order, as one.
    pub records: Vec<Record>,
    pub reports: Vec<Report>,
}

#[derive(Debug, Clone)]
pub struct Ipam {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    /// Every slot that is not free.
    pub(crate) slots: Slots,
    pub(crate) index: Index,
    pub(crate) pools: Vec<Pool>,
    /// Slots that no pool of this node can hand out now: their block was moved away.
    pub(crate) strays: BTreeSet<IpAddr>,
    /// What keeps addresses from being handed out, besides their slots.
    pub(crate) withheld: BTreeMap<IpAddr, Withheld>,
    /// What was seen of addresses released just now: their sandbox is being taken down.
    pub(crate) traces: BTreeMap<IpAddr, String>,
    /// Every block of the settings, and since when it is this node's.
    pub(crate) blocks: BTreeMap<Prefix, Option<Stamp>>,
    pub(crate) reservations: HashMap<Reservation, Vec<IpAddr>>,
    /// Leases that a runtime has called invalid while they lived: told of already.
    pub(crate) outlived_gc: HashSet<u64>,
    next_seq: u64,
}

impl Ipam {
    /// Goes on from what was persisted. The records in `Effects` have to be durable before anything
    /// else is asked.
    #[must_use]
    pub fn open(settings: Settings, kept: Kept, now: Now) -> (Self, Effects) {
        let (latest, highest) = kept.slots.latest_and_highest();
        let clock = Clock::open(kept.clock, kept.latest(latest), now);
        let since = OpenedWith::new(&kept);
        let next = kept.clock.map_or(0, |clock| clock.next_seq).max(highest + 1);
        let mut ipam = Self {
            settings,
            clock,
            slots: kept.slots.compact(),
            index: Index::default(),
            pools: Vec::new(),
            strays: BTreeSet::new(),
            withheld: kept.withheld.into_iter().collect(),
            traces: BTreeMap::new(),
            blocks: kept.blocks.into_iter().map(|block| (block.prefix, block.since)).collect(),
            reservations: HashMap::new(),
            outlived_gc: HashSet::new(),
            next_seq: if kept.clock.is_some() { next + IN_FLIGHT } else { next },
        };
        let mut out = Effects::default();
        let opened = ipam.stamp(now);
        ipam.account_blocks(|prefix| (!since.was_ours(prefix)).then_some(opened), &mut out);
        ipam.index();
        out.records.push(ipam.clock_record(now));
        (ipam, out)
    }

    /// Applies another configuration and says what changed. No lease is lost by it: a slot whose
    /// block is gone keeps its owner until DEL and is forgotten after its cooldown. The addresses
    /// of a block that comes cool first: another node may have handed them out until now.
    pub fn reconfigure(&mut self, settings: Settings, now: Now, out: &mut Effects) -> Vec<String> {
        let changes = self.settings.changes(&settings);
        self.settings = settings;
        let since = self.stamp(now);
        self.account_blocks(|_| Some(since), out);
        self.index();
        changes
    }

    /// Brings the blocks on record in step with the settings.
    fn account_blocks(&mut self, since: impl Fn(Prefix) -> Option<Stamp>, out: &mut Effects) {
        let wanted: BTreeSet<Prefix> = self.settings.blocks().map(|(_, prefix)| prefix).collect();
        let gone: Vec<_> = self.blocks.keys().filter(|b| !wanted.contains(b)).copied().collect();
        for prefix in gone {
            self.blocks.remove(&prefix);
            out.records.push(Record::ForgetBlock(prefix));
        }
        for prefix in wanted {
            if let Entry::Vacant(new) = self.blocks.entry(prefix) {
                let since = *new.insert(since(prefix));
                out.records.push(Record::Block(BlockRecord { prefix, since }));
            }
        }
    }

    /// The time that has passed, and the number of the next lease.
    fn clock_record(&mut self, now: Now) -> Record {
        Record::Clock(self.clock.record(now, self.next_seq))
    }

    pub(crate) fn next_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Releases what this attachment has; nothing, if it has nothing: a late or repeated DEL is fine.
    pub fn del(&mut self, attachment: &Attachment, now: Now, out: &mut Effects) {
        self.release_all(attachment, Why::Del, now, out);
    }

    /// Whether the attachment has an address, and `expected` are all its own.
    pub fn check(&self, attachment: &Attachment, expected: &[IpAddr]) -> Result<(), CheckError> {
        let Attachment { network, container_id, ifname } = attachment.clone();
        let has: Vec<IpAddr> = self.attached(attachment).map(|slot| slot.address).collect();
        if has.is_empty() {
            return Err(CheckError::Unknown { container_id, ifname, network });
        }
        match expected.iter().find(|address| !has.contains(address)) {
            None => Ok(()),
            Some(&address) => Err(CheckError::NotItsOwn { address, container_id, ifname }),
        }
    }

    /// To be called each minute and before stopping: persists the time that has passed, and forgets
    /// slots that nothing needs to be remembered of.
    pub fn tick(&mut self, now: Now, out: &mut Effects) {
        out.records.push(self.clock_record(now));
        self.lift(now, out);
        let periods = self.periods(now);
        let held = |address: &IpAddr| self.slots.get(*address)?.released();
        let cool = |address: &IpAddr| held(address).is_some_and(|r| periods.cooling(r).is_none());
        let gone: Vec<IpAddr> = self.strays.iter().copied().filter(cool).collect();
        for address in gone {
            self.forget(address, out);
        }
        for pool in 0..self.pools.len() {
            self.forget_beyond(REMEMBERED, pool, periods, out);
        }
    }

    /// The moment `now` stands for.
    pub fn moment(&mut self, now: Now) -> Moment {
        self.clock.read(now)
    }

    pub(crate) fn periods(&mut self, now: Now) -> Periods {
        Periods::new(&self.settings, self.clock.read(now))
    }

    pub(crate) fn stamp(&mut self, now: Now) -> Stamp {
        Stamp { moment: self.clock.read(now), wall: now.wall }
    }

    /// The pool and block that may hand out `address`.
    pub(crate) fn home(&self, address: IpAddr) -> Option<(&Pool, &Block)> {
        let homes = self.pools.iter().map(|pool| (pool, pool.block_of(address)));
        homes.filter_map(|(pool, block)| Some((pool, block?))).next()
    }

    /// What an attachment has.
    pub(crate) fn attached(&self, attachment: &Attachment) -> impl Iterator<Item = Slot> {
        let slots = self.index.attached(attachment).filter_map(|address| self.slots.get(address));
        slots.filter(move |slot| slot.attachment == *attachment)
    }

    /// Puts an assigned slot into the table, whatever stood in its place.
    pub(crate) fn place(&mut self, slot: Slot, out: &mut Effects) {
        if let Some(old) = self.slots.remove(slot.address) {
            self.unindex(&old);
        }
        self.end_quarantine(slot.address, out);
        self.index_slot(&slot);
        self.slots.insert(&slot);
        out.records.push(Record::Slot(Box::new(slot)));
    }

    pub(crate) fn release_all(
        &mut self,
        attachment: &Attachment,
        why: Why,
        now: Now,
        out: &mut Effects,
    ) {
        let has: Vec<IpAddr> = self.attached(attachment).map(|slot| slot.address).collect();
        for address in has {
            self.release_one(address, why, now, out);
        }
    }

    pub(crate) fn release_one(&mut self, address: IpAddr, why: Why, now: Now, out: &mut Effects) {
        let released = self.stamp(now);
        let changed = self.change(address, out, |slot| slot.state = State::Held { released });
        if let Some(slot) = changed {
            out.reports.push(Report::Released { slot: Box::new(slot), why });
        }
    }

    /// Changes a slot, its record and its place in every index; returns what it is now.
    pub(crate) fn change(
        &mut self,
        address: IpAddr,
        out: &mut Effects,
        how: impl FnOnce(&mut Slot),
    ) -> Option<Slot> {
        let mut slot = self.slots.remove(address)?;
        self.unindex(&slot);
        how(&mut slot);
        out.records.push(Record::Slot(Box::new(slot.clone())));
        self.index_slot(&slot);
        self.slots.insert(&slot);
        Some(slot)
    }

    /// Withholds an address, or no longer; keeps its slot and its pool in step.
    pub(crate) fn withhold(
        &mut self,
        address: IpAddr,
        out: &mut Effects,
        how: impl FnOnce(&mut Withheld),
    ) {
        self.reindexed(address, |ipam| {
            let mut withheld = ipam.withheld.remove(&address).unwrap_or_default();
            how(&mut withheld);
            out.records.push(withheld.record(address));
            if !withheld.is_empty() {
                ipam.withheld.insert(address, withheld);
            }
        });
    }

    /// Changes what else is known of an address; keeps its slot and its pool in step.
    pub(crate) fn reindexed(&mut self, address: IpAddr, change: impl FnOnce(&mut Self)) {
        let slot = self.slots.get(address);
        match &slot {
            Some(slot) => self.unindex(slot),
            None => self.use_up(address),
        }
        change(self);
        match slot {
            Some(slot) => self.index_slot(&slot),
            None if self.keeps_back(address) => {}
            None => self.make_fresh(address),
        }
    }

    /// Whether something besides its slot keeps an address from others.
    fn keeps_back(&self, address: IpAddr) -> bool {
        self.withheld.contains_key(&address) || self.traces.contains_key(&address)
    }

    fn use_up(&mut self, address: IpAddr) {
        if let Some(pool) = self.pool_mut(address) {
            pool.use_up(address);
        }
    }

    fn make_fresh(&mut self, address: IpAddr) {
        if let Some(pool) = self.pool_mut(address) {
            pool.make_fresh(address);
        }
    }

    fn pool_mut(&mut self, address: IpAddr) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.block_of(address).is_some())
    }

    fn forget(&mut self, address: IpAddr, out: &mut Effects) {
        let Some(slot) = self.slots.remove(address) else { return };
        self.unindex(&slot);
        out.records.push(Record::Forget(address));
    }

    fn forget_beyond(&mut self, most: usize, pool: usize, periods: Periods, out: &mut Effects) {
        while let Some(pool) = self.pools.get(pool).filter(|pool| pool.releasable() > most) {
            let Some((_, address)) = pool.idle(periods).or_else(|| pool.kept(periods)) else {
                return;
            };
            self.forget(address, out);
        }
    }

    /// Builds every index anew from the settings and the slots.
    fn index(&mut self) {
        let default = self.settings.stickiness;
        let since = |prefix: &Prefix| Some(self.blocks.get(prefix).copied()??.moment);
        let pool = |pool| Pool::new(pool, default, since);
        self.pools = self.settings.pools.iter().map(pool).collect();
        self.reservations = HashMap::new();
        for (address, whose) in self.settings.pools.iter().flat_map(|pool| &pool.reserved) {
            self.reservations.entry(whose.clone()).or_default().push(*address);
        }
        self.strays.clear();
        let withheld: Vec<IpAddr> = self.withheld.keys().copied().collect();
        withheld.into_iter().for_each(|address| self.use_up(address));
        let slots = std::mem::take(&mut self.slots);
        let mut entries = Entries::default();
        slots.each(|slot| entries.add(slot, self.shelve(slot)));
        (self.slots, self.index) = (slots, entries.into());
    }

    fn index_slot(&mut self, slot: &Slot) {
        let policy = self.shelve(slot);
        self.index.insert(slot, policy);
    }

    /// Puts a slot in its place in its pool; returns what counts there.
    fn shelve(&mut self, slot: &Slot) -> Option<Policy> {
        let address = slot.address;
        let Some((at, policy)) = self.pool_and_policy(slot) else {
            self.strays.insert(address);
            return None;
        };
        let shelf = slot.released().map(|released| self.shelf(at, slot, policy, released));
        let pool = self.pools.get_mut(at)?;
        pool.use_up(address);
        match shelf {
            None => pool.assigned += 1,
            Some((released, shelf)) => pool.hold(address, released, shelf),
        }
        Some(policy)
    }

    /// The opposite of `index_slot`: the address is as if never used.
    fn unindex(&mut self, slot: &Slot) {
        let address = slot.address;
        self.strays.remove(&address);
        let home = self.pool_and_policy(slot);
        self.index.remove(slot, home.map(|(_, policy)| policy));
        let Some((at, policy)) = home else { return };
        let shelf = slot.released().map(|released| self.shelf(at, slot, policy, released));
        let kept_back = self.keeps_back(address);
        let Some(pool) = self.pools.get_mut(at) else { return };
        match shelf {
            None => pool.assigned -= 1,
            Some((released, shelf)) => pool.unhold(address, released, shelf),
        }
        if !kept_back {
            pool.make_fresh(address);
        }
    }

    fn pool_and_policy(&self, slot: &Slot) -> Option<(usize, Policy)> {
        let at = self.pools.iter().position(|pool| pool.block_of(slot.address).is_some())?;
        Some((at, slot.policy.unwrap_or(self.pools.get(at)?.policy)))
    }

    /// Of a held slot of a pool: where it stands there, and from when its cooldown counts.
    pub(crate) fn shelf_of(&self, slot: &Slot) -> Option<(Moment, Shelf)> {
        let released = slot.released()?;
        let Some((at, policy)) = self.pool_and_policy(slot) else {
            return Some((released, Shelf::Barred));
        };
        Some(self.shelf(at, slot, policy, released))
    }

    /// Where a held slot stands in its pool, and from when its cooldown counts.
    fn shelf(&self, at: usize, slot: &Slot, policy: Policy, released: Moment) -> (Moment, Shelf) {
        let Some(pool) = self.pools.get(at) else { return (released, Shelf::Barred) };
        let from = pool.counts_from(slot.address, released);
        let shelf = if pool.bars(slot.address) || self.keeps_back(slot.address) {
            Shelf::Barred
        } else if slot.let_go || !slot.owner.is_known() {
            Shelf::Nobodys
        } else {
            Shelf::kept(policy, from, self.settings.cooldown)
        };
        (from, shelf)
    }
}

/// Which blocks were this node's before it was started.
struct OpenedWith {
    /// The very first start: nobody can have had any of its blocks as far as it can know.
    first_start: bool,
    /// Of a release that kept no record of its blocks: those it has handed out of.
    used: BTreeSet<Prefix>,
}

impl OpenedWith {
    fn new(kept: &Kept) -> Self {
        let used = kept.slots.brief().map(|slot| slot.block);
        let used = if kept.blocks.is_empty() { used.collect() } else { BTreeSet::new() };
        Self { first_start: kept.is_first_start(), used }
    }

    fn was_ours(&self, prefix: Prefix) -> bool {
        self.first_start || self.used.contains(&prefix)
    }
}

/// Two tables are the same when they hold the same and would decide the same.
impl PartialEq for Ipam {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
            && self.slots == other.slots
            && self.index == other.index
            && self.pools == other.pools
            && self.strays == other.strays
            && self.withheld == other.withheld
            && self.blocks == other.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add::Add;
    use crate::settings::PoolSettings;
    use crate::time::BootId;
    use std::time::Duration;

    #[test]
    fn what_is_held_beyond_the_bound_is_forgotten_oldest_first_and_never_while_cooling() {
        let cidr = "fd00::/64".parse().unwrap();
        let pool = PoolSettings::new("six", cidr, vec![cidr]);
        let stickiness = Policy::Ttl(Duration::from_secs(100));
        let settings =
            Settings { pools: vec![pool], cooldown: Duration::from_secs(10), stickiness };
        let at = |seconds| Now {
            boot: BootId(1),
            boottime: Duration::from_secs(seconds),
            wall: Duration::ZERO,
        };
        let (mut ipam, mut out) = Ipam::open(settings, Kept::default(), at(0));
        let add = |n: u64| Add {
            attachment: Attachment {
                network: "pods".into(),
                container_id: n.to_string(),
                ifname: "eth0".into(),
            },
            ..Add::default()
        };
        for n in 0..4 {
            ipam.add(&add(n), at(0), &mut out).unwrap();
        }
        for n in 0..4 {
            ipam.del(&add(n).attachment, at(n), &mut out);
        }
        let mut out = Effects::default();
        let periods = ipam.periods(at(11));
        ipam.forget_beyond(0, 0, periods, &mut out);
        let gone = ["fd00::2", "fd00::3"].map(|a| Record::Forget(a.parse().unwrap()));
        assert_eq!(out.records, gone, "the others are cooling");
        assert_eq!(ipam.add(&add(9), at(11), &mut out).unwrap()[0].address.to_string(), "fd00::2");
    }
}
