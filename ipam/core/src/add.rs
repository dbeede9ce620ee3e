//! ADD: which addresses an attachment gets. Chosen first, for every family, and only then taken:
//! half a success leaves no trace.

use crate::block::Block;
use crate::choose::Choice;
use crate::error::AddError;
use crate::identity::{Attachment, Owner};
use crate::ipam::{Effects, Ipam};
use crate::policy::Policy;
use crate::pool::Periods;
use crate::record::{Slot, Stamp, State};
use crate::report::Report;
use crate::time::Now;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Add {
    pub attachment: Attachment,
    pub owner: Owner,
    pub netns: String,
    /// Addresses asked for; at most one of a family.
    pub requested: Vec<IpAddr>,
    /// Pools asked for by name; at most one of a family.
    pub pools: Vec<String>,
    /// For how long to keep the address, if the pod says so itself.
    pub policy: Option<Policy>,
    /// The leases whose network namespaces are proven gone: see [`Ipam::rivals`].
    pub rivals_gone: Vec<u64>,
}

/// One address of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub address: IpAddr,
    /// Length of the block's prefix.
    pub len: u8,
    pub gateway: Option<IpAddr>,
}

impl Ipam {
    /// One address for each family this node has blocks of, or none at all. The same attachment
    /// gets the same answer again.
    pub fn add(&mut self, add: &Add, now: Now, out: &mut Effects) -> Result<Vec<Grant>, AddError> {
        if let Some(has) = self.repeat(add)? {
            self.learn_netns(add, out);
            return Ok(has);
        }
        let periods = self.periods(now);
        let choices = self.choose(add, periods, out)?;
        let assigned = self.stamp(now);
        let grants = choices.into_iter().filter_map(|choice| self.take(add, choice, assigned, out));
        Ok(grants.collect())
    }

    fn repeat(&self, add: &Add) -> Result<Option<Vec<Grant>>, AddError> {
        let has: Vec<Slot> = self.attached(&add.attachment).collect();
        if has.is_empty() {
            return Ok(None);
        }
        for &requested in &add.requested {
            let mut addresses = has.iter().map(|slot| slot.address);
            match addresses.find(|a| a.is_ipv4() == requested.is_ipv4()) {
                Some(has) if has != requested => {
                    return Err(AddError::HasAnother { requested, has });
                }
                Some(_) => {}
                None => return Err(AddError::NotHere(requested)),
            }
        }
        Ok(Some(has.iter().map(grant).collect()))
    }

    /// A lease that was taken over may not know its namespace: by what its container's next ADD
    /// tells, it is later seen to live or proven to be gone.
    fn learn_netns(&mut self, add: &Add, out: &mut Effects) {
        if add.netns.is_empty() {
            return;
        }
        let unknown = self.attached(&add.attachment).filter(|slot| slot.netns.is_empty());
        for address in unknown.map(|slot| slot.address).collect::<Vec<_>>() {
            self.change(address, out, |slot| slot.netns.clone_from(&add.netns));
        }
    }

    fn choose(
        &self,
        add: &Add,
        periods: Periods,
        out: &mut Effects,
    ) -> Result<Vec<Choice>, AddError> {
        self.check_asked(add)?;
        let mut choices = Vec::new();
        for ipv4 in [true, false] {
            choices.extend(self.choose_family(add, ipv4, periods, out)?);
        }
        if choices.is_empty() { Err(AddError::NoPool) } else { Ok(choices) }
    }

    /// What is wrong with the request whatever the table says.
    fn check_asked(&self, add: &Add) -> Result<(), AddError> {
        for ipv4 in [true, false] {
            let mut requested = add.requested.iter().filter(|a| a.is_ipv4() == ipv4);
            if let (Some(&first), Some(&second)) = (requested.next(), requested.next()) {
                return Err(AddError::TwoOfAFamily(first, second));
            }
        }
        let unknown = |name: &&String| !self.pools.iter().any(|pool| pool.name == **name);
        match add.pools.iter().find(unknown) {
            Some(name) => Err(AddError::UnknownPool {
                name: name.clone(),
                known: self.pools.iter().map(|pool| pool.name.clone()).collect(),
            }),
            None => Ok(()),
        }
    }

    fn take(
        &mut self,
        add: &Add,
        choice: Choice,
        assigned: Stamp,
        out: &mut Effects,
    ) -> Option<Grant> {
        let seq = self.next_seq();
        let (pool, block) = self.home(choice.address)?;
        let slot = Slot {
            address: choice.address,
            seq,
            block: block.prefix,
            pool: pool.name.clone(),
            attachment: add.attachment.clone(),
            netns: add.netns.clone(),
            owner: add.owner.clone(),
            rung: choice.rung,
            policy: add.policy,
            let_go: false,
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
