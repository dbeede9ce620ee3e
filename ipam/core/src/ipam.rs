//! The table of slots and its indexes. Every change of a slot passes through `place`, `release` or
//! `forget`, which keep slots, attachments, owners and pools in step; a table opened from the
//! records it wrote equals the one that wrote them.

use crate::block::Block;
use crate::error::CheckError;
use crate::identity::Attachment;
use crate::owners::{Owners, remove_from};
use crate::pool::{Periods, Pool};
use crate::record::{Record, Slot, Stamp, State};
use crate::report::{Report, Why};
use crate::settings::Settings;
use crate::time::{Clock, ClockRecord, Moment, Now};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// How many held slots of a pool are remembered; past it the least recently released are forgotten
/// once they are cool. More than a /16 has, so that it only ever bounds huge IPv6 blocks.
const REMEMBERED: usize = 65_536;

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
    pub(crate) slots: BTreeMap<IpAddr, Slot>,
    pub(crate) attached: HashMap<Attachment, BTreeSet<IpAddr>>,
    /// The slots that can go back to their owners: those of the pools.
    pub(crate) owners: Owners,
    pub(crate) pools: Vec<Pool>,
    /// Slots that no pool of this node can hand out now: their block was moved away.
    pub(crate) strays: BTreeSet<IpAddr>,
}

impl Ipam {
    /// Goes on from what was persisted. The records in `Effects` have to be durable before anything
    /// else is asked.
    #[must_use]
    pub fn open(
        settings: Settings,
        slots: Vec<Slot>,
        clock: Option<ClockRecord>,
        now: Now,
    ) -> (Self, Effects) {
        let latest = slots.iter().map(Slot::latest).max().unwrap_or_default();
        let mut ipam = Self {
            settings,
            clock: Clock::open(clock, latest, now),
            slots: slots.into_iter().map(|slot| (slot.address, slot)).collect(),
            attached: HashMap::new(),
            owners: Owners::default(),
            pools: Vec::new(),
            strays: BTreeSet::new(),
        };
        ipam.index();
        let records = vec![Record::Clock(ipam.clock.record(now))];
        (ipam, Effects { records, reports: Vec::new() })
    }

    /// Applies another configuration and says what changed. No lease is lost by it: a slot whose
    /// block is gone keeps its owner until DEL and is forgotten after its cooldown.
    pub fn reconfigure(&mut self, settings: Settings) -> Vec<String> {
        let changes = self.settings.changes(&settings);
        self.settings = settings;
        self.index();
        changes
    }

    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Releases what this attachment has; nothing, if it has nothing: a late or repeated DEL is fine.
    pub fn del(&mut self, attachment: &Attachment, now: Now, out: &mut Effects) {
        self.release_all(attachment, Why::Del, now, out);
    }

    /// Releases every attachment of `network` that is not among `valid`.
    pub fn gc(&mut self, network: &str, valid: &[(String, String)], now: Now, out: &mut Effects) {
        let valid: HashSet<(&str, &str)> = valid.iter().map(|(c, i)| (&**c, &**i)).collect();
        let of_network = self.attached.keys().filter(|a| a.network == network);
        let gone = of_network.filter(|a| !valid.contains(&(&*a.container_id, &*a.ifname)));
        let mut gone: Vec<_> = gone.cloned().collect();
        gone.sort();
        for attachment in gone {
            self.release_all(&attachment, Why::Gc, now, out);
        }
    }

    /// Whether the attachment has an address, and `expected` are all its own.
    pub fn check(&self, attachment: &Attachment, expected: &[IpAddr]) -> Result<(), CheckError> {
        let Attachment { network, container_id, ifname } = attachment.clone();
        let Some(has) = self.attached.get(attachment) else {
            return Err(CheckError::Unknown { container_id, ifname, network });
        };
        match expected.iter().find(|address| !has.contains(address)) {
            None => Ok(()),
            Some(&address) => Err(CheckError::NotItsOwn { address, container_id, ifname }),
        }
    }

    /// To be called each minute and before stopping: persists the time that has passed, and forgets
    /// slots that nothing needs to be remembered of.
    pub fn tick(&mut self, now: Now, out: &mut Effects) {
        out.records.push(Record::Clock(self.clock.record(now)));
        let periods = self.periods(now);
        let held = |address: &IpAddr| self.slots.get(address).and_then(Slot::released);
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

    /// Puts an assigned slot into the table, whatever stood in its place.
    pub(crate) fn place(&mut self, slot: Slot, out: &mut Effects) {
        if let Some(old) = self.slots.remove(&slot.address) {
            self.unindex(&old);
        }
        out.records.push(Record::Slot(Box::new(slot.clone())));
        self.index_slot(&slot);
        self.slots.insert(slot.address, slot);
    }

    fn release_all(&mut self, attachment: &Attachment, why: Why, now: Now, out: &mut Effects) {
        let released = self.stamp(now);
        for address in self.attached.get(attachment).cloned().unwrap_or_default() {
            let Some(mut slot) = self.slots.remove(&address) else { continue };
            self.unindex(&slot);
            slot.state = State::Held { released };
            out.records.push(Record::Slot(Box::new(slot.clone())));
            out.reports.push(Report::Released { slot: Box::new(slot.clone()), why });
            self.index_slot(&slot);
            self.slots.insert(address, slot);
        }
    }

    fn forget(&mut self, address: IpAddr, out: &mut Effects) {
        let Some(slot) = self.slots.remove(&address) else { return };
        self.unindex(&slot);
        out.records.push(Record::Forget(address));
    }

    fn forget_beyond(&mut self, most: usize, pool: usize, periods: Periods, out: &mut Effects) {
        while let Some(pool) = self.pools.get(pool).filter(|pool| pool.held() > most) {
            let Some((_, address)) = pool.idle(periods).or_else(|| pool.kept(periods)) else {
                return;
            };
            self.forget(address, out);
        }
    }

    /// Builds every index anew from the settings and the slots.
    fn index(&mut self) {
        self.pools = self.settings.pools.iter().map(Pool::new).collect();
        (self.attached, self.owners) = (HashMap::new(), Owners::default());
        self.strays.clear();
        let slots = std::mem::take(&mut self.slots);
        for slot in slots.values() {
            self.index_slot(slot);
        }
        self.slots = slots;
    }

    fn index_slot(&mut self, slot: &Slot) {
        let address = slot.address;
        if slot.is_assigned() {
            self.attached.entry(slot.attachment.clone()).or_default().insert(address);
        }
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.block_of(address).is_some()) else {
            self.strays.insert(address);
            return;
        };
        self.owners.insert(slot);
        pool.use_up(address);
        match slot.released() {
            None => pool.assigned += 1,
            Some(released) => pool.hold(address, released, slot.owner.is_known()),
        }
    }

    /// The opposite of `index_slot`: the address is as if never used.
    fn unindex(&mut self, slot: &Slot) {
        let address = slot.address;
        if slot.is_assigned() {
            remove_from(&mut self.attached, &slot.attachment, &address);
        }
        self.strays.remove(&address);
        self.owners.remove(slot);
        let pool = self.pools.iter_mut().find(|pool| pool.block_of(address).is_some());
        let Some(pool) = pool else { return };
        match slot.released() {
            None => pool.assigned -= 1,
            Some(released) => pool.unhold(address, released),
        }
        pool.make_fresh(address);
    }
}

/// Two tables are the same when they hold the same and would decide the same.
impl PartialEq for Ipam {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
            && self.slots == other.slots
            && self.attached == other.attached
            && self.owners == other.owners
            && self.pools == other.pools
            && self.strays == other.strays
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add::Add;
    use crate::identity::Owner;
    use crate::settings::PoolSettings;
    use crate::time::BootId;
    use std::time::Duration;

    #[test]
    fn what_is_held_beyond_the_bound_is_forgotten_oldest_first_and_never_while_cooling() {
        let cidr = "fd00::/64".parse().unwrap();
        let pool = PoolSettings { name: "six".into(), cidr, blocks: vec![cidr] };
        let (cooldown, stickiness) = (Duration::from_secs(10), Duration::from_secs(100));
        let settings = Settings { pools: vec![pool], cooldown, stickiness };
        let at = |seconds| Now {
            boot: BootId(1),
            boottime: Duration::from_secs(seconds),
            wall: Duration::ZERO,
        };
        let (mut ipam, mut out) = Ipam::open(settings, Vec::new(), None, at(0));
        let add = |n: u64| Add {
            attachment: Attachment {
                network: "pods".into(),
                container_id: n.to_string(),
                ifname: "eth0".into(),
            },
            owner: Owner::default(),
            netns: String::new(),
            requested: Vec::new(),
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
