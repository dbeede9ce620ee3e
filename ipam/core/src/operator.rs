//! What comes from elsewhere than a runtime: an operator's word, the kernel's evidence, news of
//! owners that are gone for good.

use crate::error::{HoldError, ReleaseError};
use crate::ipam::{Effects, Ipam};
use crate::policy::Policy;
use crate::record::Slot;
use crate::report::{Report, Why};
use crate::time::{Moment, Now};
use crate::withheld::{Hold, InUse, TAKING_DOWN, Withheld};
use crate::workload::Kind;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// An owner that will not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerGone {
    Pod { namespace: String, name: String },
    Workload { namespace: String, kind: Kind, name: String },
}

impl OwnerGone {
    fn is_of(&self, slot: &Slot) -> bool {
        let owner = &slot.owner;
        match self {
            Self::Pod { namespace, name } => owner.namespace == *namespace && owner.name == *name,
            Self::Workload { namespace, kind, name } => {
                let its = |w: &crate::Workload| w.kind == *kind && w.name == *name;
                owner.namespace == *namespace && owner.workload.as_ref().is_some_and(its)
            }
        }
    }
}

impl Ipam {
    /// Takes an address from whoever has it or is it kept for. The cooldown begins, or goes on: it
    /// is not an operator's to shorten. `seq` is the lease that is meant.
    pub fn release(
        &mut self,
        address: IpAddr,
        seq: u64,
        now: Now,
        out: &mut Effects,
    ) -> Result<(), ReleaseError> {
        self.may_release(address, seq)?;
        if self.slots.get(address).is_some_and(|slot| slot.is_assigned()) {
            self.release_one(address, Why::Operator, now, out);
        }
        self.let_go(address, Why::Operator, out);
        Ok(())
    }

    /// Whether [`Ipam::release`] would do what it is asked.
    pub fn may_release(&self, address: IpAddr, seq: u64) -> Result<(), ReleaseError> {
        let slot = self.slots.get(address).ok_or(ReleaseError::Free(address))?;
        if slot.seq == seq {
            return Ok(());
        }
        let owner = slot.describe_owner();
        Err(ReleaseError::Stale { address, asked: seq, is: slot.seq, owner })
    }

    /// Gives what was kept while these owners existed back to the pool.
    pub fn owner_gone(&mut self, gone: &OwnerGone, out: &mut Effects) {
        let kept = |slot: &Slot| {
            self.policy_of(slot) == Policy::WhileOwnerExists && gone.is_of(slot) && !slot.let_go
        };
        let addresses: Vec<_> = self.slots.iter().filter(kept).map(|slot| slot.address).collect();
        for address in addresses {
            self.let_go(address, Why::OwnerGone, out);
        }
    }

    fn let_go(&mut self, address: IpAddr, why: Why, out: &mut Effects) {
        if let Some(slot) = self.change(address, out, |slot| slot.let_go = true) {
            out.reports.push(Report::LetGo { slot: Box::new(slot), why });
        }
    }

    /// What counts for a slot: its pod's wish, else its pool's rule.
    pub(crate) fn policy_of(&self, slot: &Slot) -> Policy {
        let of_pool = || self.home(slot.address).map(|(pool, _)| pool.policy);
        slot.policy.or_else(of_pool).unwrap_or(self.settings.stickiness)
    }

    /// Nobody gets this address until [`Ipam::unhold`]; who has it keeps it.
    pub fn hold(
        &mut self,
        address: IpAddr,
        why: &str,
        now: Now,
        out: &mut Effects,
    ) -> Result<(), HoldError> {
        if self.home(address).is_none() && !self.slots.contains(address) {
            return Err(HoldError::NotHere(address));
        }
        let since = self.stamp(now);
        let hold = Hold { why: why.into(), since };
        self.withhold(address, out, |withheld| withheld.hold = Some(hold));
        out.reports.push(Report::OnHold { address, why: why.into() });
        Ok(())
    }

    pub fn unhold(&mut self, address: IpAddr, out: &mut Effects) -> Result<(), HoldError> {
        if self.withheld.get(&address).is_none_or(|w| w.hold.is_none()) {
            return Err(HoldError::NotHeld(address));
        }
        self.withhold(address, out, |withheld| withheld.hold = None);
        out.reports.push(Report::OffHold { address });
        Ok(())
    }

    /// Somebody uses this address. Of an assigned one that is as it should be; of one released
    /// just now it may be a sandbox that is being taken down.
    pub fn seen(&mut self, address: IpAddr, evidence: &str, now: Now, out: &mut Effects) {
        let moment = self.moment(now);
        let released = match self.slots.get(address) {
            Some(slot) if slot.is_assigned() => return,
            Some(slot) => slot.released(),
            None if self.home(address).is_some() => None,
            None => return,
        };
        let known = self.withheld.get(&address).and_then(|w| w.in_use.as_ref());
        if known.is_some_and(|in_use| in_use.gone.is_none()) || self.traces.contains_key(&address) {
            return;
        }
        if known.is_none() && released.is_some_and(|at| moment.since(at) < TAKING_DOWN) {
            self.reindexed(address, |ipam| drop(ipam.traces.insert(address, evidence.into())));
        } else {
            self.quarantine(address, evidence.into(), now, out);
        }
    }

    fn quarantine(&mut self, address: IpAddr, evidence: String, now: Now, out: &mut Effects) {
        let (since, text) = (self.stamp(now), evidence.clone());
        let mut again = false;
        self.withhold(address, out, |withheld| {
            again = withheld.in_use.is_some();
            let since = withheld.in_use.take().map_or(since, |in_use| in_use.since);
            withheld.in_use = Some(InUse { evidence, since, gone: None });
        });
        if !again {
            out.reports.push(Report::Quarantined { address, evidence: text });
        }
    }

    /// The evidence is gone: from now on a full cooldown has to pass.
    pub fn unseen(&mut self, address: IpAddr, now: Now, out: &mut Effects) {
        let moment = self.moment(now);
        self.outstayed(moment, now, out);
        if self.traces.contains_key(&address) {
            self.reindexed(address, |ipam| drop(ipam.traces.remove(&address)));
        }
        let in_use = self.withheld.get(&address).and_then(|w| w.in_use.as_ref());
        if in_use.is_none_or(|in_use| in_use.gone.is_some()) {
            return;
        }
        let gone = Some(self.stamp(now));
        self.withhold(address, out, |withheld| {
            if let Some(in_use) = &mut withheld.in_use {
                in_use.gone = gone;
            }
        });
    }

    /// Begins the quarantine of addresses whose traces have outstayed their sandbox, and ends that
    /// of those whose evidence was gone for a full cooldown. To be called every few seconds.
    pub fn lift(&mut self, now: Now, out: &mut Effects) {
        let periods = self.periods(now);
        self.outstayed(periods.now, now, out);
        let over = |withheld: &Withheld| {
            let gone = withheld.in_use.as_ref().and_then(|in_use| in_use.gone);
            gone.is_some_and(|gone| periods.cooled(gone.moment))
        };
        let over: Vec<IpAddr> =
            self.withheld.iter().filter(|(_, w)| over(w)).map(|(address, _)| *address).collect();
        for address in over {
            self.withhold(address, out, |withheld| withheld.in_use = None);
            out.reports.push(Report::Cleared { address });
        }
    }

    fn outstayed(&mut self, moment: Moment, now: Now, out: &mut Effects) {
        let released = |address: &IpAddr| self.slots.get(*address)?.released();
        let late =
            |address: &IpAddr| released(address).is_none_or(|at| moment.since(at) >= TAKING_DOWN);
        let late: Vec<IpAddr> = self.traces.keys().copied().filter(late).collect();
        for address in late {
            let mut evidence = None;
            self.reindexed(address, |ipam| evidence = ipam.traces.remove(&address));
            self.quarantine(address, evidence.unwrap_or_default(), now, out);
        }
    }

    /// Every address that counts as used by somebody right now.
    #[must_use]
    pub fn believed_in_use(&self) -> Vec<IpAddr> {
        let live = |withheld: &Withheld| withheld.in_use.as_ref().is_some_and(|u| u.gone.is_none());
        let quarantined = self.withheld.iter().filter(|(_, withheld)| live(withheld));
        let quarantined = quarantined.map(|(address, _)| *address);
        self.traces.keys().copied().chain(quarantined).collect()
    }

    /// The network namespaces that addresses were released in: they may still be there.
    #[must_use]
    pub fn namespaces_left(&self) -> BTreeSet<String> {
        let held = self.slots.held_in(..).map(|slot| slot.netns);
        held.filter(|netns| !netns.is_empty()).collect()
    }

    /// Every address that is somebody's.
    pub fn assigned(&self) -> impl Iterator<Item = IpAddr> {
        self.slots.assigned_addresses()
    }

    /// What an owner has taken back is no longer somebody else's. Its slot is in no index now.
    pub(crate) fn end_quarantine(&mut self, address: IpAddr, out: &mut Effects) {
        self.traces.remove(&address);
        let Some(mut withheld) = self.withheld.remove(&address) else { return };
        if withheld.in_use.take().is_some() {
            out.records.push(withheld.record(address));
        }
        if !withheld.is_empty() {
            self.withheld.insert(address, withheld);
        }
    }
}
