//! ADD: which addresses an attachment gets. Chosen first, for every family, and only then taken:
//! half a success leaves no trace.

use crate::block::Block;
use crate::error::{AddError, Full};
use crate::identity::{Attachment, Key, Owner, Rung};
use crate::ipam::{Effects, Ipam};
use crate::pool::{Periods, Pool};
use crate::record::{Slot, Stamp, State};
use crate::report::{How, Report};
use crate::time::Now;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    pub attachment: Attachment,
    pub owner: Owner,
    pub netns: String,
    /// Addresses asked for; at most one of a family.
    pub requested: Vec<IpAddr>,
}

/// How many addresses of a pod's uid or name are looked at for one under its sticky key.
const CLOSEST: usize = 16;

/// One address of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub address: IpAddr,
    /// Length of the block's prefix.
    pub len: u8,
    pub gateway: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Choice {
    address: IpAddr,
    rung: Rung,
    how: How,
}

impl Ipam {
    /// One address for each family this node has blocks of, or none at all. The same attachment
    /// gets the same answer again.
    pub fn add(&mut self, add: &Add, now: Now, out: &mut Effects) -> Result<Vec<Grant>, AddError> {
        if let Some(has) = self.repeat(add)? {
            return Ok(has);
        }
        let periods = self.periods(now);
        let choices = self.choose(add, periods, out)?;
        let assigned = self.stamp(now);
        let grants = choices.into_iter().filter_map(|choice| self.take(add, choice, assigned, out));
        Ok(grants.collect())
    }

    fn repeat(&self, add: &Add) -> Result<Option<Vec<Grant>>, AddError> {
        let Some(has) = self.attached.get(&add.attachment) else { return Ok(None) };
        for &requested in &add.requested {
            let same_family = has.iter().find(|a| a.is_ipv4() == requested.is_ipv4());
            match same_family {
                Some(&has) if has != requested => {
                    return Err(AddError::HasAnother { requested, has });
                }
                Some(_) => {}
                None => return Err(AddError::NotHere(requested)),
            }
        }
        Ok(Some(has.iter().filter_map(|a| self.slots.get(a)).map(grant).collect()))
    }

    fn choose(
        &self,
        add: &Add,
        periods: Periods,
        out: &mut Effects,
    ) -> Result<Vec<Choice>, AddError> {
        let mut choices = Vec::new();
        for ipv4 in [true, false] {
            let mut requested = add.requested.iter().filter(|a| a.is_ipv4() == ipv4);
            let first = requested.next().copied();
            if let (Some(first), Some(&second)) = (first, requested.next()) {
                return Err(AddError::TwoOfAFamily(first, second));
            }
            if let Some(address) = first {
                choices.push(self.choose_requested(address, add, periods)?);
            } else if self.serves(ipv4) {
                choices.push(self.choose_any(ipv4, add, periods, out)?);
            }
        }
        if choices.is_empty() { Err(AddError::NoPool) } else { Ok(choices) }
    }

    fn serves(&self, ipv4: bool) -> bool {
        self.family(ipv4).next().is_some()
    }

    /// The pools of a family that have a block here.
    fn family(&self, ipv4: bool) -> impl Iterator<Item = &Pool> + Clone {
        let here = |pool: &&Pool| pool.blocks().next().is_some();
        self.pools.iter().filter(move |pool| pool.is_ipv4() == ipv4).filter(here)
    }

    fn choose_requested(
        &self,
        address: IpAddr,
        add: &Add,
        periods: Periods,
    ) -> Result<Choice, AddError> {
        if self.home(address).is_none() {
            return Err(AddError::NotHere(address));
        }
        let choice = Choice { address, rung: add.owner.rung(), how: How::Requested };
        let Some(slot) = self.slots.get(&address) else { return Ok(choice) };
        let its_own = self.returns_to(slot, add);
        match slot.released() {
            None if its_own.is_some_and(|_| slot.is_same_pod(&add.owner)) => {
                Ok(Choice { rung: Rung::PodUid, how: How::TakenOver, ..choice })
            }
            None => Err(AddError::Taken { address, owner: slot.describe_owner() }),
            Some(released) => match (its_own, periods.cooling(released)) {
                (Some(rung), _) => Ok(Choice { rung, ..choice }),
                (None, None) => Ok(choice),
                (None, Some(left)) => {
                    Err(AddError::Cooling { address, owner: slot.describe_owner(), left })
                }
            },
        }
    }

    fn choose_any(
        &self,
        ipv4: bool,
        add: &Add,
        periods: Periods,
        out: &mut Effects,
    ) -> Result<Choice, AddError> {
        let known = self.known_to(add, ipv4);
        if let Some(choice) = self.take_over(ipv4, add).or_else(|| self.back(add, &known)) {
            return Ok(choice);
        }
        let address = self.pick(ipv4, periods).ok_or_else(|| self.full(ipv4, periods))?;
        self.report_in_use(add, &known, out);
        Ok(Choice { address, rung: add.owner.rung(), how: How::New })
    }

    /// Under which rung, if any, a held slot goes back to who asks.
    fn returns_to(&self, slot: &Slot, add: &Add) -> Option<Rung> {
        let keys = slot.keys();
        let known = self.known_to(add, slot.address.is_ipv4());
        known.into_iter().find(|key| keys.contains(key)).map(|key| key.rung)
    }

    /// The keys that count: all of them, or with stickiness off the container's own.
    fn known_to(&self, add: &Add, ipv4: bool) -> Vec<Key> {
        let mut keys = add.owner.keys(&add.attachment, ipv4);
        if self.settings.stickiness.is_zero() {
            keys.retain(|key| key.rung == Rung::None);
        }
        keys
    }

    /// The same pod in a new sandbox, after a reboot for one: the address moves with it, and the
    /// DEL of the old container, should it ever come, finds nothing.
    fn take_over(&self, ipv4: bool, add: &Add) -> Option<Choice> {
        let keys = add.owner.keys(&add.attachment, ipv4);
        let uid = keys.iter().find(|key| key.rung == Rung::PodUid)?;
        let address = self.owners.assigned(uid)?;
        Some(Choice { address, rung: Rung::PodUid, how: How::TakenOver })
    }

    /// The address held for this owner, of several the most recently released.
    fn back(&self, add: &Add, known: &[Key]) -> Option<Choice> {
        known.iter().find_map(|key| {
            let address = match key.rung {
                Rung::StickyKey => self.own_of_shared(add, known),
                _ => None,
            };
            let address = address.or_else(|| self.owners.held(key).next())?;
            Some(Choice { address, rung: key.rung, how: How::Returned })
        })
    }

    /// Replicas may share a sticky key: of its addresses the one this very pod had, then the one a
    /// pod of this name had, so that they do not swap theirs.
    fn own_of_shared(&self, add: &Add, known: &[Key]) -> Option<IpAddr> {
        let shared = |address: &IpAddr| {
            self.slots.get(address).is_some_and(|slot| {
                slot.owner.sticky_key == add.owner.sticky_key
                    && slot.owner.namespace == add.owner.namespace
            })
        };
        let closer = known.iter().filter(|key| matches!(key.rung, Rung::PodUid | Rung::Name));
        closer.flat_map(|key| self.owners.held(key).take(CLOSEST)).find(shared)
    }

    /// For somebody new: never used, then kept for nobody, then kept for others; never cooling.
    fn pick(&self, ipv4: bool, periods: Periods) -> Option<IpAddr> {
        let pools = self.family(ipv4);
        let never_used = pools.clone().find_map(Pool::never_used);
        let idle = || pools.clone().filter_map(|pool| pool.idle(periods)).min();
        let kept = || pools.clone().filter_map(|pool| pool.kept(periods)).min();
        never_used.or_else(|| idle().or_else(kept).map(|(_, address)| address))
    }

    fn full(&self, ipv4: bool, periods: Periods) -> AddError {
        let pools = self.family(ipv4);
        AddError::Full(Full {
            pools: pools.clone().map(|pool| pool.name.clone()).collect(),
            addresses: pools.clone().map(Pool::addresses).fold(0, u64::saturating_add),
            assigned: pools.clone().map(|pool| pool.assigned).sum(),
            cooling: pools.clone().map(|pool| pool.cooling(periods)).sum(),
            next_free: pools.filter_map(|pool| pool.next_free(periods)).min(),
        })
    }

    /// Somebody of the same name still has an address: it is not stolen, and that is worth a word.
    fn report_in_use(&self, add: &Add, known: &[Key], out: &mut Effects) {
        let named = known.iter().find(|key| key.rung == Rung::Name);
        let address = named.and_then(|key| self.owners.assigned(key));
        let Some(slot) = address.and_then(|address| self.slots.get(&address)) else { return };
        out.reports.push(Report::InUse {
            address: slot.address,
            owner: add.owner.describe(&add.attachment),
            container_id: slot.attachment.container_id.clone(),
        });
    }

    fn take(
        &mut self,
        add: &Add,
        choice: Choice,
        assigned: Stamp,
        out: &mut Effects,
    ) -> Option<Grant> {
        let (pool, block) = self.home(choice.address)?;
        let slot = Slot {
            address: choice.address,
            block: block.prefix,
            pool: pool.name.clone(),
            attachment: add.attachment.clone(),
            netns: add.netns.clone(),
            owner: add.owner.clone(),
            rung: choice.rung,
            assigned,
            state: State::Assigned,
        };
        let grant = grant(&slot);
        out.reports.push(Report::Assigned { slot: Box::new(slot.clone()), how: choice.how });
        self.place(slot, out);
        Some(grant)
    }
}

fn grant(slot: &Slot) -> Grant {
    let gateway = Block::new(slot.block).gateway;
    Grant { address: slot.address, len: slot.block.len(), gateway }
}
