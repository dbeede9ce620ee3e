//! Leases that another allocator made: taken over as they are, all of them or none.

use crate::error::Conflict;
use crate::identity::{Attachment, Owner};
use crate::ipam::{Effects, Ipam};
use crate::pool::{Periods, Pool};
use crate::record::{Slot, Stamp, State};
use crate::report::{How, Report};
use crate::time::Now;
use crate::withheld::Hold;
use std::collections::HashMap;
use std::net::IpAddr;

/// What another allocator knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Import {
    pub leases: Vec<(IpAddr, Adopted)>,
    /// Addresses in use by something that is no container, and what that is.
    pub holds: Vec<(IpAddr, String)>,
}

/// Who has an address already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Adopted {
    pub attachment: Attachment,
    pub netns: String,
    pub owner: Owner,
}

/// What an import does, address by address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    pub adopted: Vec<IpAddr>,
    /// Its own here already.
    pub known: Vec<IpAddr>,
    /// Was its own here, and was released since: what is imported is older than that.
    pub released: Vec<IpAddr>,
    pub held: Vec<IpAddr>,
}

enum Verdict {
    Adopt,
    Known,
    Released,
}

impl Ipam {
    /// What [`Ipam::import`] would do, or everything that is against it.
    pub fn may_import(&mut self, import: &Import, now: Now) -> Result<Imported, Vec<Conflict>> {
        let periods = self.periods(now);
        let mut done = Imported::default();
        let mut conflicts = twice(import);
        for (address, adopted) in &import.leases {
            match self.judge(*address, adopted, periods) {
                Ok(Verdict::Adopt) if done.adopted.contains(address) => {}
                Ok(Verdict::Adopt) => done.adopted.push(*address),
                Ok(Verdict::Known) => done.known.push(*address),
                Ok(Verdict::Released) => done.released.push(*address),
                Err(conflict) => conflicts.push(conflict),
            }
        }
        for (address, _) in &import.holds {
            if !self.has_in_a_block(*address) {
                conflicts.push(Conflict::NotHere(*address));
            } else if self.is_on_hold(*address) {
                done.known.push(*address);
            } else {
                done.held.push(*address);
            }
        }
        if conflicts.is_empty() { Ok(done) } else { Err(conflicts) }
    }

    /// Takes over what another allocator has handed out. Nothing changes if anything is against it.
    pub fn import(
        &mut self,
        import: &Import,
        now: Now,
        out: &mut Effects,
    ) -> Result<Imported, Vec<Conflict>> {
        let done = self.may_import(import, now)?;
        let since = self.stamp(now);
        let mut adopt = done.adopted.clone();
        for (address, adopted) in &import.leases {
            if let Some(at) = adopt.iter().position(|a| a == address) {
                adopt.swap_remove(at);
                self.adopt(*address, adopted, since, out);
            }
        }
        for (address, why) in &import.holds {
            if done.held.contains(address) {
                let hold = Hold { why: why.clone(), since };
                self.withhold(*address, out, |withheld| withheld.hold = Some(hold));
                out.reports.push(Report::OnHold { address: *address, why: why.clone() });
            }
        }
        Ok(done)
    }

    /// Also one that is never handed out here, as a block's first: another allocator may use it, and
    /// has to be told so when it gets its blocks back.
    fn has_in_a_block(&self, address: IpAddr) -> bool {
        self.pools.iter().flat_map(Pool::blocks).any(|block| block.prefix.contains(address))
    }

    fn is_on_hold(&self, address: IpAddr) -> bool {
        self.withheld.get(&address).is_some_and(|withheld| withheld.hold.is_some())
    }

    fn judge(
        &self,
        address: IpAddr,
        adopted: &Adopted,
        periods: Periods,
    ) -> Result<Verdict, Conflict> {
        let slot = self.slots.get(address);
        if let Some(slot) = slot.as_ref().filter(|slot| slot.attachment == adopted.attachment) {
            return Ok(if slot.is_assigned() { Verdict::Known } else { Verdict::Released });
        }
        if self.home(address).is_none() {
            return Err(Conflict::NotHere(address));
        }
        if let Some(hold) = self.withheld.get(&address).and_then(|w| w.hold.as_ref()) {
            return Err(Conflict::OnHold { address, why: hold.why.clone() });
        }
        let mut has = self.attached(&adopted.attachment).map(|slot| slot.address);
        if let Some(has) = has.find(|has| has.is_ipv4() == address.is_ipv4()) {
            return Err(Conflict::HasAnother { address, has });
        }
        match slot {
            Some(slot) => self.judge_owned(&slot, adopted, periods),
            None => Ok(Verdict::Adopt),
        }
    }

    /// Somebody else has the address here, or had.
    fn judge_owned(
        &self,
        slot: &Slot,
        adopted: &Adopted,
        periods: Periods,
    ) -> Result<Verdict, Conflict> {
        let (address, owner) = (slot.address, slot.describe_owner());
        let Some((released, _)) = self.shelf_of(slot) else {
            return Err(Conflict::Taken { address, owner });
        };
        let keys = slot.keys();
        let mine = adopted.owner.keys(&adopted.attachment, address.is_ipv4());
        if mine.iter().any(|key| keys.contains(key)) {
            return Ok(Verdict::Adopt);
        }
        match periods.cooling(released) {
            Some(left) => Err(Conflict::Cooling { address, owner, left }),
            None => Ok(Verdict::Adopt),
        }
    }

    fn adopt(&mut self, address: IpAddr, adopted: &Adopted, since: Stamp, out: &mut Effects) {
        let Some((pool, block)) = self.home(address) else { return };
        let (pool, block) = (pool.name.clone(), block.prefix);
        let slot = Slot {
            address,
            seq: self.next_seq(),
            block,
            pool,
            attachment: adopted.attachment.clone(),
            netns: adopted.netns.clone(),
            owner: adopted.owner.clone(),
            rung: adopted.owner.rung(),
            policy: None,
            let_go: false,
            assigned: since,
            state: State::Assigned,
        };
        out.reports.push(Report::Assigned { slot: Box::new(slot.clone()), how: How::Adopted });
        self.place(slot, out);
    }
}

/// What contradicts itself.
fn twice(import: &Import) -> Vec<Conflict> {
    let mut of_address = HashMap::new();
    let mut of_attachment = HashMap::new();
    let mut conflicts = Vec::new();
    for (address, adopted) in &import.leases {
        let attachment = &adopted.attachment;
        if *of_address.entry(*address).or_insert(attachment) != attachment {
            conflicts.push(Conflict::TwoOwners(*address));
        }
        let family = (attachment, address.is_ipv4());
        let has = *of_attachment.entry(family).or_insert(*address);
        if has != *address {
            conflicts.push(Conflict::HasAnother { address: *address, has });
        }
    }
    let held = import.holds.iter().map(|(address, _)| *address);
    conflicts.extend(held.filter(|a| of_address.contains_key(a)).map(Conflict::TwoOwners));
    conflicts
}
