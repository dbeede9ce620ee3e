//! What the table looks like from outside: counts by pool and block, and every lease.

use crate::block::Block;
use crate::ipam::Ipam;
use crate::pool::{Periods, Pool};
use crate::record::{Slot, State};
use crate::time::{Moment, Now};
use mainstay_prefix::Prefix;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// That can be handed out.
    pub addresses: u64,
    pub assigned: u64,
    /// Released and remembered, cooling ones included.
    pub held: u64,
    /// Of the held: within the cooldown.
    pub cooling: u64,
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
pub struct LeaseView<'a> {
    pub slot: &'a Slot,
    pub state: LeaseState,
    pub assigned_ago: Duration,
    pub released_ago: Option<Duration>,
    pub cooldown_left: Option<Duration>,
}

impl Ipam {
    /// The pools with a block on this node, in the order they are tried.
    pub fn pool_views(&mut self, now: Now) -> Vec<PoolView> {
        let periods = self.periods(now);
        let here = self.pools.iter().filter(|pool| pool.blocks().next().is_some());
        here.map(|pool| pool_view(pool, periods)).collect()
    }

    /// Every block with its counts, by prefix; also those that moved away but still have leases.
    pub fn block_views(&mut self, now: Now) -> Vec<BlockView> {
        let periods = self.periods(now);
        let ours = self.pools.iter().flat_map(|pool| pool.blocks().map(move |b| (pool, b)));
        let ours = ours.map(|(pool, block)| BlockView {
            block: *block,
            pool: pool.name.clone(),
            counts: count(self.slots_in(block.first..=block.last), block.addresses(), periods),
            leaving: false,
        });
        let mut views: Vec<_> = ours.chain(self.leaving(periods)).collect();
        views.sort_by_key(|view| (view.block.prefix, view.leaving));
        views
    }

    /// Every slot that is not free, in address order, from `from` on.
    pub fn leases(&mut self, from: IpAddr, now: Now) -> impl Iterator<Item = LeaseView<'_>> {
        let periods = self.periods(now);
        self.slots.range(from..).map(move |(_, slot)| lease_view(slot, periods, now))
    }

    /// How many slots are not free.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.slots.len()
    }

    /// The prefixes that need a route here: every block of ours, and every one that has leases.
    #[must_use]
    pub fn routed_blocks(&self) -> Vec<Prefix> {
        let ours = self.pools.iter().flat_map(|pool| pool.blocks().map(|block| block.prefix));
        let strays = self.strays.iter().filter_map(|a| self.slots.get(a)).map(|slot| slot.block);
        let mut all: Vec<_> = ours.chain(strays).collect();
        all.sort();
        all.dedup();
        all
    }

    /// What an operator should have a look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut leaving = BTreeMap::<Prefix, usize>::new();
        for slot in self.strays.iter().filter_map(|address| self.slots.get(address)) {
            *leaving.entry(slot.block).or_default() += 1;
        }
        let leaving = leaving.into_iter().map(|(block, leases)| {
            let word = if leases == 1 { "lease" } else { "leases" };
            format!(
                "block {block} is not this node's any more but has {leases} {word}; \
                 nothing new is handed out of it"
            )
        });
        let none = self.pools.iter().all(|pool| pool.blocks().next().is_none());
        let none = none.then(|| "this node holds no address block".to_owned());
        leaving.chain(none).collect()
    }

    fn slots_in(&self, range: RangeInclusive<IpAddr>) -> impl Iterator<Item = &Slot> {
        self.slots.range(range).map(|(_, slot)| slot)
    }

    fn leaving(&self, periods: Periods) -> Vec<BlockView> {
        let mut blocks = BTreeMap::<(Prefix, &str), Vec<&Slot>>::new();
        for slot in self.strays.iter().filter_map(|address| self.slots.get(address)) {
            blocks.entry((slot.block, &slot.pool)).or_default().push(slot);
        }
        let views = blocks.into_iter().map(|((prefix, pool), slots)| BlockView {
            block: Block::new(prefix),
            pool: pool.into(),
            counts: Counts { free: 0, ..count(slots.into_iter(), 0, periods) },
            leaving: true,
        });
        views.collect()
    }
}

fn pool_view(pool: &Pool, periods: Periods) -> PoolView {
    let (addresses, assigned) = (pool.addresses(), pool.assigned);
    let (held, cooling) = (pool.held() as u64, pool.cooling(periods));
    let free = addresses.saturating_sub(assigned).saturating_sub(cooling);
    PoolView {
        name: pool.name.clone(),
        cidr: pool.cidr,
        blocks: pool.blocks().count(),
        counts: Counts { addresses, assigned, held, cooling, free },
        next_free: pool.next_free(periods),
    }
}

fn count<'a>(slots: impl Iterator<Item = &'a Slot>, addresses: u64, periods: Periods) -> Counts {
    let mut counts = Counts { addresses, ..Counts::default() };
    for slot in slots {
        match slot.released() {
            None => counts.assigned += 1,
            Some(released) => {
                counts.held += 1;
                counts.cooling += u64::from(periods.cooling(released).is_some());
            }
        }
    }
    counts.free = addresses.saturating_sub(counts.assigned).saturating_sub(counts.cooling);
    counts
}

fn lease_view(slot: &Slot, periods: Periods, now: Now) -> LeaseView<'_> {
    let ago = |moment: Moment, wall: Duration| {
        // Over a reboot the moments count less than has passed; the wall clock may know better.
        periods.now.since(moment).max(now.wall.saturating_sub(wall))
    };
    let cooldown_left = slot.released().and_then(|released| periods.cooling(released));
    let state = match (slot.state, cooldown_left) {
        (State::Assigned, _) => LeaseState::Assigned,
        (State::Held { .. }, None) => LeaseState::Held,
        (State::Held { .. }, Some(_)) => LeaseState::Cooling,
    };
    let released_ago = match slot.state {
        State::Assigned => None,
        State::Held { released } => Some(ago(released.moment, released.wall)),
    };
    let assigned_ago = ago(slot.assigned.moment, slot.assigned.wall);
    LeaseView { slot, state, assigned_ago, released_ago, cooldown_left }
}
