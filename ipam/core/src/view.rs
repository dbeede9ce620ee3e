//! What the table looks like from outside: counts by pool and block, and every lease.

use crate::block::Block;
use crate::ipam::Ipam;
use crate::policy::Policy;
use crate::pool::{Periods, Pool, Share, Shelf};
use crate::record::{Slot, Stamp, State};
use crate::time::Now;
use crate::withheld::Withheld;
use mainstay_prefix::Prefix;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// That can be handed out.
    pub addresses: u64,
    pub assigned: u64,
    /// Released and remembered, cooling ones included.
    pub held: u64,
    /// Nobody else may have them yet: released within the cooldown, or come with a block that came
    /// within it.
    pub cooling: u64,
    /// Of the held: kept for their owners until somebody says otherwise.
    pub kept: u64,
    /// In the configuration for one pod or sticky key, on this node.
    pub reserved: u64,
    /// On hold or in quarantine.
    pub withheld: u64,
    /// Of the withheld: somebody uses them, or did so within the cooldown.
    pub quarantined: u64,
    /// Can be handed to anyone now.
    pub free: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    pub name: String,
    pub cidr: Prefix,
    pub blocks: usize,
    pub counts: Counts,
    /// Absent when an address is free now, or none will be by itself.
    pub next_free: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockView {
    pub block: Block,
    pub pool: String,
    pub counts: Counts,
    /// Not this node's any more; it stands only as long as it has leases.
    pub leaving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    Assigned,
    /// Held, past the cooldown.
    Held,
    /// Held, within the cooldown.
    Cooling,
}

impl LeaseState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Held => "held",
            Self::Cooling => "cooling",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithheldView<'a> {
    pub withheld: &'a Withheld,
    pub hold_ago: Option<Duration>,
    pub in_use_ago: Option<Duration>,
    pub gone_ago: Option<Duration>,
    pub quarantine_left: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView<'a> {
    pub slot: Slot,
    pub state: LeaseState,
    pub policy: Policy,
    /// Its owner has it for itself until somebody says otherwise.
    pub kept_for_good: bool,
    /// For how long it is still kept for its owner, if it is not for good.
    pub kept_left: Option<Duration>,
    pub withheld: Option<WithheldView<'a>>,
    pub assigned_ago: Duration,
    pub released_ago: Option<Duration>,
    pub cooldown_left: Option<Duration>,
}

impl Ipam {
    /// The pools with a block on this node, in the order they are tried.
    pub fn pool_views(&mut self, now: Now) -> Vec<PoolView> {
        let periods = self.periods(now);
        let here = self.pools.iter().filter(|pool| pool.has_blocks());
        here.map(|pool| self.pool_view(pool, periods)).collect()
    }

    fn pool_view(&self, pool: &Pool, periods: Periods) -> PoolView {
        let (withheld, quarantined) = self.withheld_among(|a| pool.block_of(a).is_some());
        let counts = Counts {
            addresses: pool.addresses(),
            assigned: pool.assigned,
            held: pool.held(),
            cooling: pool.cooling(periods),
            kept: pool.for_good,
            reserved: pool.reserved.len() as u64,
            withheld,
            quarantined,
            free: pool.free(periods),
        };
        PoolView {
            name: pool.name.clone(),
            cidr: pool.cidr,
            blocks: pool.blocks().count(),
            counts,
            next_free: pool.next_free(periods),
        }
    }

    fn withheld_among(&self, here: impl Fn(IpAddr) -> bool) -> (u64, u64) {
        let mut counts = (0, 0);
        for (_, withheld) in self.withheld.iter().filter(|(address, _)| here(**address)) {
            counts.0 += 1;
            counts.1 += u64::from(withheld.in_use.is_some());
        }
        counts
    }

    /// Every block with its counts, by prefix; also those that moved away but still have leases.
    pub fn block_views(&mut self, now: Now) -> Vec<BlockView> {
        let periods = self.periods(now);
        let ours = self.pools.iter().flat_map(|pool| pool.shares().map(move |s| (pool, s)));
        let ours = ours.map(|(pool, share)| BlockView {
            block: share.block,
            pool: pool.name.clone(),
            counts: self.count_share(pool, share, periods),
            leaving: false,
        });
        let mut views: Vec<_> = ours.chain(self.leaving(periods)).collect();
        views.sort_by_key(|view| (view.block.prefix, view.leaving));
        views
    }

    /// Every slot that is not free, in address order, from `from` on.
    pub fn leases(&mut self, from: IpAddr, now: Now) -> impl Iterator<Item = LeaseView<'_>> {
        let periods = self.periods(now);
        let ipam = &*self;
        ipam.slots.range(from..).map(move |slot| ipam.lease_view(slot, periods, now))
    }

    /// The lease of one address.
    pub fn lease(&mut self, address: IpAddr, now: Now) -> Option<LeaseView<'_>> {
        let periods = self.periods(now);
        let slot = self.slots.get(address)?;
        Some(self.lease_view(slot, periods, now))
    }

    /// Every address that is withheld, in order, with what keeps it.
    pub fn withheld_views(&mut self, now: Now) -> Vec<(IpAddr, WithheldView<'_>)> {
        let periods = self.periods(now);
        let all = self.withheld.iter();
        all.map(|(address, w)| (*address, withheld_view(w, periods, now))).collect()
    }

    /// How many records there are of slots, withheld addresses and blocks.
    #[must_use]
    pub fn records(&self) -> usize {
        self.slots.len() + self.withheld.len() + self.blocks.len()
    }

    /// The prefixes that need a route here: every block of ours, and every one that has leases.
    #[must_use]
    pub fn routed_blocks(&self) -> Vec<Prefix> {
        let ours = self.pools.iter().flat_map(|pool| pool.blocks().map(|block| block.prefix));
        let strays = self.strays.iter().filter_map(|a| self.slots.get(*a)).map(|slot| slot.block);
        let mut all: Vec<_> = ours.chain(strays).collect();
        all.sort();
        all.dedup();
        all
    }

    /// What an operator should have a look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut leaving = BTreeMap::<Prefix, usize>::new();
        for slot in self.strays.iter().filter_map(|address| self.slots.get(*address)) {
            *leaving.entry(slot.block).or_default() += 1;
        }
        let leaving = leaving.into_iter().map(|(block, leases)| {
            let word = if leases == 1 { "lease" } else { "leases" };
            format!(
                "block {block} is not this node's any more but has {leases} {word}; \
                 nothing new is handed out of it"
            )
        });
        let none = !self.pools.iter().any(Pool::has_blocks);
        let none = none.then(|| "this node holds no address block".to_owned());
        leaving.chain(none).collect()
    }

    fn leaving(&self, periods: Periods) -> Vec<BlockView> {
        let mut blocks = BTreeMap::<(Prefix, String), Vec<Slot>>::new();
        for slot in self.strays.iter().filter_map(|address| self.slots.get(*address)) {
            blocks.entry((slot.block, slot.pool.clone())).or_default().push(slot);
        }
        let views = blocks.into_iter().map(|((prefix, pool), slots)| BlockView {
            block: Block::new(prefix),
            pool,
            counts: count(&slots, periods),
            leaving: true,
        });
        views.collect()
    }

    fn count_share(&self, pool: &Pool, share: &Share, periods: Periods) -> Counts {
        let block = share.block;
        let range = block.first..=block.last;
        let fresh = share.cooling(periods);
        let (withheld, quarantined) = self.withheld_among(|a| range.contains(&a));
        let mut counts = Counts {
            addresses: share.addresses,
            reserved: pool.reserved.range(range.clone()).count() as u64,
            withheld,
            quarantined,
            cooling: fresh,
            free: share.never_used() - fresh,
            ..Counts::default()
        };
        counts.assigned = self.slots.assigned_in(range.clone());
        for slot in self.slots.held_in(range) {
            let Some((released, shelf)) = self.shelf_of(&slot) else { continue };
            counts.held += 1;
            let releasable = matches!(shelf, Shelf::Nobodys | Shelf::Owned(_));
            counts.kept += u64::from(shelf == Shelf::ForGood);
            let cooled = periods.cooled(released);
            counts.cooling += u64::from(releasable && !cooled);
            counts.free += u64::from(releasable && cooled);
        }
        counts
    }

    fn lease_view(&self, slot: Slot, periods: Periods, now: Now) -> LeaseView<'_> {
        let ago = |stamp| ago(stamp, periods, now);
        let shelf = self.shelf_of(&slot);
        let cooldown_left = slot
            .released()
            .and_then(|released| periods.cooling(shelf.map_or(released, |(from, _)| from)));
        let state = match (slot.state, cooldown_left) {
            (State::Assigned, _) => LeaseState::Assigned,
            (State::Held { .. }, None) => LeaseState::Held,
            (State::Held { .. }, Some(_)) => LeaseState::Cooling,
        };
        let released_ago = match slot.state {
            State::Assigned => None,
            State::Held { released } => Some(ago(released)),
        };
        let kept_left = match shelf {
            Some((_, Shelf::Owned(until))) => Some(until.since(periods.now)),
            _ => None,
        };
        LeaseView {
            state,
            policy: self.policy_of(&slot),
            kept_for_good: matches!(shelf, Some((_, Shelf::ForGood))),
            kept_left: kept_left.filter(|left| !left.is_zero()),
            withheld: self.withheld.get(&slot.address).map(|w| withheld_view(w, periods, now)),
            assigned_ago: ago(slot.assigned),
            released_ago,
            cooldown_left,
            slot,
        }
    }
}

fn withheld_view(withheld: &Withheld, periods: Periods, now: Now) -> WithheldView<'_> {
    let ago = |stamp| ago(stamp, periods, now);
    let in_use = withheld.in_use.as_ref();
    let gone = in_use.and_then(|in_use| in_use.gone);
    WithheldView {
        withheld,
        hold_ago: withheld.hold.as_ref().map(|hold| ago(hold.since)),
        in_use_ago: in_use.map(|in_use| ago(in_use.since)),
        gone_ago: gone.map(ago),
        quarantine_left: gone.and_then(|gone| periods.cooling(gone.moment)),
    }
}

/// Over a reboot the moments count less than has passed; the wall clock may know better.
fn ago(stamp: Stamp, periods: Periods, now: Now) -> Duration {
    periods.now.since(stamp.moment).max(now.wall.saturating_sub(stamp.wall))
}

fn count(slots: &[Slot], periods: Periods) -> Counts {
    let mut counts = Counts::default();
    for slot in slots {
        match slot.released() {
            None => counts.assigned += 1,
            Some(released) => {
                counts.held += 1;
                counts.cooling += u64::from(periods.cooling(released).is_some());
            }
        }
    }
    counts
}
