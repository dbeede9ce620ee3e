//! Which address of one family somebody gets: one asked for, one reserved, one that is its own
//! already, one held for it, or the one that has been nobody's for the longest.

use crate::add::Add;
use crate::error::{AddError, Full};
use crate::identity::{Key, Rung};
use crate::ipam::{Effects, Ipam};
use crate::pool::{Periods, Pool};
use crate::record::Slot;
use crate::report::{How, Report};
use crate::settings::Reservation;
use std::net::IpAddr;

/// How many addresses of one key are looked at for one that may be had.
const CLOSEST: usize = 16;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) address: IpAddr,
    pub(crate) rung: Rung,
    pub(crate) how: How,
}

/// Somebody of the same name or sticky key who still has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    pub address: IpAddr,
    /// Which of its leases.
    pub seq: u64,
    pub netns: String,
}

/// Who asks, and what it may be answered with.
struct Asking<'a> {
    add: &'a Add,
    ipv4: bool,
    /// What it is known by, best first.
    keys: Vec<Key<'a>>,
    /// The pools it may have an address of, in the order they are tried.
    pools: Vec<&'a Pool>,
    periods: Periods,
}

impl Asking<'_> {
    fn may_use(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.block_of(address).is_some())
    }
}

impl Ipam {
    /// Whose addresses `add` would get if their old sandboxes were proven gone: the shell looks at
    /// the network namespaces, and says in [`Add::rival_gone`] which is.
    #[must_use]
    pub fn rivals(&self, add: &Add) -> Vec<Rival> {
        if self.attached(&add.attachment).next().is_some() {
            return Vec::new();
        }
        let rivals = |ipv4| {
            let keys = add.owner.keys(&add.attachment, ipv4);
            let fight = self.same_uid(add, &keys).is_none();
            let rivals = self.of_same_name(add, &keys).filter(|_| fight);
            let rival = |(_, slot): (Rung, Slot)| Rival {
                address: slot.address,
                seq: slot.seq,
                netns: slot.netns,
            };
            rivals.map(rival).collect::<Vec<_>>()
        };
        let mut all = rivals(true);
        all.append(&mut rivals(false));
        all
    }

    pub(crate) fn choose_family(
        &self,
        add: &Add,
        ipv4: bool,
        periods: Periods,
        out: &mut Effects,
    ) -> Result<Option<Choice>, AddError> {
        let pools = self.admitting(add, ipv4)?;
        let keys = add.owner.keys(&add.attachment, ipv4);
        let asking = Asking { add, ipv4, keys, pools, periods };
        if let Some(&address) = add.requested.iter().find(|a| a.is_ipv4() == ipv4) {
            return self.choose_named(address, How::Requested, &asking).map(Some);
        }
        if asking.pools.is_empty() {
            return Ok(None);
        }
        if let Some(address) = self.reserved_for(&asking) {
            return self.choose_named(address, How::Reserved, &asking).map(Some);
        }
        self.choose_any(&asking, out).map(Some)
    }

    /// The pools of a family with a block here that `add` may have an address of: the one it names,
    /// else those of its namespace, else those of everybody.
    fn admitting(&self, add: &Add, ipv4: bool) -> Result<Vec<&Pool>, AddError> {
        let namespace = &add.owner.namespace;
        let family = self.pools.iter().filter(|pool| pool.is_ipv4() == ipv4);
        let mut named = family.clone().filter(|pool| add.pools.contains(&pool.name));
        let wanted: Vec<&Pool> = match (named.next(), named.next()) {
            (Some(a), Some(b)) => {
                return Err(AddError::TwoPools(a.name.clone(), b.name.clone()));
            }
            (Some(pool), None) if !pool.admits(namespace) => {
                let (pool, namespace) = (pool.name.clone(), namespace.clone());
                return Err(AddError::NotAdmitted { pool, namespace });
            }
            (Some(pool), None) => vec![pool],
            (None, _) => {
                let own = family.clone().filter(|p| p.is_dedicated() && p.admits(namespace));
                let own: Vec<_> = own.collect();
                let all = family.filter(|pool| !pool.is_dedicated());
                if own.is_empty() { all.collect() } else { own }
            }
        };
        let here: Vec<_> = wanted.iter().copied().filter(|pool| pool.has_blocks()).collect();
        let meant = wanted.iter().find(|p| p.is_dedicated() || add.pools.contains(&p.name));
        match meant.filter(|_| here.is_empty()) {
            Some(pool) => Err(AddError::NoBlockOf(pool.name.clone())),
            None => Ok(here),
        }
    }

    fn reserved_for(&self, asking: &Asking<'_>) -> Option<IpAddr> {
        if self.reservations.is_empty() {
            return None;
        }
        let owner = &asking.add.owner;
        let of = |whose: &Reservation| {
            let addresses = self.reservations.get(whose).into_iter().flatten().copied();
            let mut mine = addresses.filter(|a| a.is_ipv4() == asking.ipv4 && asking.may_use(*a));
            mine.next()
        };
        let (namespace, name) = (owner.namespace.clone(), owner.name.clone());
        let key = owner.sticky_key.clone();
        let by_key = || of(&Reservation::StickyKey { namespace: owner.namespace.clone(), key });
        let by_name = of(&Reservation::Pod { namespace, name });
        by_name.or_else(by_key)
    }

    /// One certain address: it, or the reason why not.
    fn choose_named(
        &self,
        address: IpAddr,
        how: How,
        asking: &Asking<'_>,
    ) -> Result<Choice, AddError> {
        self.named_may_be_used(address, how, asking)?;
        let choice = Choice { address, rung: asking.add.owner.rung(), how };
        let Some(slot) = self.slots.get(address) else {
            let since = self.home(address).and_then(|(pool, _)| pool.since(address));
            return match since.and_then(|since| asking.periods.cooling(since)) {
                Some(left) => Err(AddError::BlockCooling { address, left }),
                None => Ok(choice),
            };
        };
        let its_own = self.returns_to(&slot, asking);
        let Some(released) = slot.released() else {
            let gone = asking.add.rivals_gone.contains(&slot.seq);
            return match its_own {
                Some(rung) if gone || slot.is_same_pod(&asking.add.owner) => {
                    let rung = if gone { rung } else { Rung::PodUid };
                    Ok(Choice { rung, how: How::TakenOver, ..choice })
                }
                _ => Err(AddError::Taken { address, owner: slot.describe_owner() }),
            };
        };
        if let Some(rung) = its_own {
            return Ok(Choice { rung, ..choice });
        }
        if let Some(evidence) = self.evidence(address) {
            return Err(AddError::InUse { address, evidence: evidence.into() });
        }
        let owner = slot.describe_owner();
        let from = self.counts_from(&slot, released);
        match asking.periods.cooling(from) {
            Some(left) => Err(AddError::Cooling { address, owner, left }),
            None if self.is_kept_for_good(&slot) => Err(AddError::Kept { address, owner }),
            None => Ok(choice),
        }
    }

    fn named_may_be_used(
        &self,
        address: IpAddr,
        how: How,
        asking: &Asking<'_>,
    ) -> Result<(), AddError> {
        let (pool, _) = self.home(address).ok_or(AddError::NotHere(address))?;
        if !asking.may_use(address) {
            let (pool, namespace) = (pool.name.clone(), asking.add.owner.namespace.clone());
            return Err(AddError::OtherPool { address, pool, namespace });
        }
        if pool.excludes(address) {
            return Err(AddError::Excluded(address));
        }
        let reserved = pool.reserved.get(&address).filter(|_| how != How::Reserved);
        if let Some(whose) = reserved.filter(|_| self.reserved_for(asking) != Some(address)) {
            return Err(AddError::ReservedFor { address, whose: whose.to_string() });
        }
        self.not_on_hold(address)?;
        match self.in_use(address) {
            Some(evidence) => Err(AddError::InUse { address, evidence: evidence.into() }),
            None => Ok(()),
        }
    }

    fn not_on_hold(&self, address: IpAddr) -> Result<(), AddError> {
        match self.withheld.get(&address).and_then(|w| w.hold.as_ref()) {
            Some(hold) => Err(AddError::OnHold { address, why: hold.why.clone() }),
            None => Ok(()),
        }
    }

    /// Why nobody can have it, its owner included: somebody else is using it right now; and others
    /// for a cooldown after.
    fn in_use(&self, address: IpAddr) -> Option<&str> {
        let in_use = self.withheld.get(&address)?.in_use.as_ref()?;
        let owner_may = in_use.gone.is_some() && self.slots.contains(address);
        (!owner_may).then_some(&in_use.evidence)
    }

    /// What keeps the address from others than its owner, though it is nobody's.
    fn evidence(&self, address: IpAddr) -> Option<&str> {
        let in_use = || Some(&self.withheld.get(&address)?.in_use.as_ref()?.evidence);
        self.traces.get(&address).or_else(in_use).map(String::as_str)
    }

    fn choose_any(&self, asking: &Asking<'_>, out: &mut Effects) -> Result<Choice, AddError> {
        if let Some(choice) = self.take_over(asking)? {
            return Ok(choice);
        }
        if let Some(choice) = self.back(asking, out)? {
            return Ok(choice);
        }
        let address = pick(asking).ok_or_else(|| self.full(asking))?;
        self.report_in_use(asking, out);
        Ok(Choice { address, rung: asking.add.owner.rung(), how: How::New })
    }

    /// Under which rung, if any, a slot goes back to who asks at once.
    fn returns_to(&self, slot: &Slot, asking: &Asking<'_>) -> Option<Rung> {
        let keys = slot.keys();
        // Of an address that is kept for nobody, only the container's own key counts.
        let recognised = slot.is_assigned() || self.policy_of(slot).recognises();
        let counts = |key: &&Key| recognised || key.rung == Rung::None;
        let same = asking.keys.iter().filter(counts).find(|key| keys.contains(key))?;
        let proven = slot.owner.is_proven() && asking.add.owner.is_proven();
        let soft = same.rung == Rung::Owner && !proven;
        let came_back = slot.released().is_some_and(|released| {
            // Its block was elsewhere meanwhile, and so perhaps was the address.
            let home = self.home(slot.address);
            let since = home.and_then(|(pool, _)| pool.since(slot.address));
            since.is_some_and(|since| since >= released && !asking.periods.cooled(since))
        });
        // Kept for good is kept for that very owner, not for others of its workload.
        let anothers = same.rung == Rung::Owner && self.is_kept_for_good(slot);
        (!soft && !anothers && !came_back).then_some(same.rung)
    }

    /// The same pod in a new sandbox, after a reboot for one: the address moves with it, and the
    /// DEL of the old container, should it ever come, finds nothing. Another pod of its name takes
    /// the address over once the old one's network namespace is proven gone.
    fn take_over(&self, asking: &Asking<'_>) -> Result<Option<Choice>, AddError> {
        let same = self.same_uid(asking.add, &asking.keys).map(|slot| (Rung::PodUid, slot));
        let gone = |slot: &Slot| {
            let open = self.home(slot.address).is_some_and(|(pool, _)| !pool.bars(slot.address));
            open && asking.may_use(slot.address) && asking.add.rivals_gone.contains(&slot.seq)
        };
        let rival = || self.of_same_name(asking.add, &asking.keys).find(|(_, slot)| gone(slot));
        let Some((rung, slot)) = same.or_else(rival) else { return Ok(None) };
        self.not_on_hold(slot.address)?;
        Ok(Some(Choice { address: slot.address, rung, how: How::TakenOver }))
    }

    fn same_uid(&self, add: &Add, keys: &[Key<'_>]) -> Option<Slot> {
        let uid = keys.iter().find(|key| key.rung == Rung::PodUid)?;
        self.assigned_to(uid).find(|slot| slot.is_same_pod(&add.owner))
    }

    /// Older pods of the same name or sticky key that still have their addresses.
    fn of_same_name<'a>(
        &'a self,
        add: &'a Add,
        keys: &'a [Key<'a>],
    ) -> impl Iterator<Item = (Rung, Slot)> {
        let of = |rung| {
            let key = keys.iter().find(move |key| key.rung == rung);
            let assigned = key.into_iter().flat_map(|key| self.assigned_to(key).take(CLOSEST));
            assigned.map(move |slot| (rung, slot))
        };
        let others = |(_, slot): &(Rung, Slot)| slot.attachment != add.attachment;
        of(Rung::Name).chain(of(Rung::StickyKey)).filter(others)
    }

    /// The address held for this owner, of several the most recently released.
    fn back(&self, asking: &Asking<'_>, out: &mut Effects) -> Result<Option<Choice>, AddError> {
        for key in &asking.keys {
            let shared = key.rung == Rung::StickyKey;
            let own = shared.then(|| self.own_of_shared(asking)).into_iter().flatten();
            for slot in own.chain(self.held_for(key, asking)) {
                let address = slot.address;
                if !self.may_return(&slot, key.rung, asking) {
                    continue;
                }
                match self.not_on_hold(address) {
                    // Another of its owner's will do.
                    Err(_) if key.rung == Rung::Owner => continue,
                    on_hold => on_hold?,
                }
                if key.rung == Rung::Owner && self.evidence(address).is_some() {
                    continue;
                }
                if let Some(evidence) = self.kept_out(address) {
                    let (owner, evidence) = (slot.describe_owner(), evidence.into());
                    out.reports.push(Report::KeptOut { address, owner, evidence });
                    continue;
                }
                return Ok(Some(Choice { address, rung: key.rung, how: How::Returned }));
            }
        }
        Ok(None)
    }

    /// Those of a key that may be worth a look: on a guessed owner's rung, only what is cool.
    fn held_for(&self, key: &Key<'_>, asking: &Asking<'_>) -> impl Iterator<Item = Slot> {
        let soft = key.rung == Rung::Owner && !asking.add.owner.is_proven();
        let last = if soft { asking.periods.cooled_at() } else { Some(asking.periods.now) };
        let held = last.map(|last| self.index.held_until(key, last));
        self.answering(held.into_iter().flatten(), key).take(CLOSEST)
    }

    fn assigned_to(&self, key: &Key<'_>) -> impl Iterator<Item = Slot> {
        self.answering(self.index.assigned(key), key)
    }

    /// Of what an index names the slots that do answer to the key.
    fn answering(
        &self,
        addresses: impl Iterator<Item = IpAddr>,
        key: &Key<'_>,
    ) -> impl Iterator<Item = Slot> {
        let slots = addresses.filter_map(|address| self.slots.get(address));
        slots.filter(move |slot| slot.answers_to(key))
    }

    fn may_return(&self, slot: &Slot, rung: Rung, asking: &Asking<'_>) -> bool {
        let Some((pool, _)) = self.home(slot.address) else { return false };
        let Some(released) = slot.released() else { return false };
        let cooled = asking.periods.cooled(self.counts_from(slot, released));
        let mine = self.returns_to(slot, asking).is_some()
            || (rung == Rung::Owner && cooled && self.policy_of(slot).recognises());
        // Kept for good is kept for that very owner, not for others of its workload.
        let anothers = rung == Rung::Owner && self.is_kept_for_good(slot);
        mine && !anothers && asking.may_use(slot.address) && !pool.bars(slot.address)
    }

    fn kept_out(&self, address: IpAddr) -> Option<&str> {
        let in_use = self.withheld.get(&address)?.in_use.as_ref()?;
        in_use.gone.is_none().then_some(&in_use.evidence)
    }

    fn is_kept_for_good(&self, slot: &Slot) -> bool {
        !slot.let_go && slot.owner.is_known() && self.policy_of(slot).is_for_good()
    }

    fn counts_from(&self, slot: &Slot, released: crate::Moment) -> crate::Moment {
        let home = self.home(slot.address);
        home.map_or(released, |(pool, _)| pool.counts_from(slot.address, released))
    }

    /// Replicas may share a sticky key: of its addresses those this very pod had, then those a pod
    /// of this name had, so that they do not swap theirs.
    fn own_of_shared<'a>(&'a self, asking: &'a Asking<'_>) -> impl Iterator<Item = Slot> + 'a {
        let owner = &asking.add.owner;
        let shared = |slot: &Slot| {
            slot.owner.sticky_key == owner.sticky_key && slot.owner.namespace == owner.namespace
        };
        let closer = asking.keys.iter().filter(|k| matches!(k.rung, Rung::PodUid | Rung::Name));
        let held = |key| self.answering(self.index.held(key), key).take(CLOSEST);
        closer.flat_map(held).filter(shared)
    }

    fn full(&self, asking: &Asking<'_>) -> AddError {
        let (pools, periods) = (&asking.pools, asking.periods);
        let sum = |of: &dyn Fn(&Pool) -> u64| {
            pools.iter().map(|pool| of(pool)).fold(0, u64::saturating_add)
        };
        let mut withheld =
            self.withheld.iter().filter(|(a, _)| asking.may_use(**a)).map(|(_, w)| w);
        let soonest = withheld.clone().filter_map(|w| w.free_in(periods)).min();
        let next_free = pools.iter().filter_map(|pool| pool.next_free(periods)).min();
        AddError::Full(Full {
            pools: pools.iter().map(|pool| pool.name.clone()).collect(),
            addresses: sum(&Pool::addresses),
            assigned: sum(&|pool| pool.assigned),
            cooling: sum(&|pool| pool.cooling(periods)),
            kept: sum(&|pool| pool.for_good),
            reserved: sum(&|pool| pool.reserved.len() as u64),
            withheld: withheld.by_ref().count() as u64,
            next_free: next_free.into_iter().chain(soonest).min(),
        })
    }

    /// Somebody of the same name still has an address: it is not stolen, and that is worth a word.
    fn report_in_use(&self, asking: &Asking<'_>, out: &mut Effects) {
        let add = asking.add;
        let mut named =
            self.of_same_name(add, &asking.keys).filter(|(rung, _)| *rung == Rung::Name);
        let Some((_, slot)) = named.next().filter(|(_, s)| self.policy_of(s).recognises()) else {
            return;
        };
        out.reports.push(Report::InUse {
            address: slot.address,
            owner: add.owner.describe(&add.attachment),
            container_id: slot.attachment.container_id.clone(),
        });
    }
}

/// For somebody new: never used, then kept for nobody, then kept for others; never cooling.
fn pick(asking: &Asking<'_>) -> Option<IpAddr> {
    let (pools, periods) = (asking.pools.iter(), asking.periods);
    let never_used = pools.clone().find_map(|pool| pool.never_used(periods));
    let idle = || pools.clone().filter_map(|pool| pool.idle(periods)).min();
    let kept = || pools.clone().filter_map(|pool| pool.kept(periods)).min();
    never_used.or_else(|| idle().or_else(kept).map(|(_, address)| address))
}
