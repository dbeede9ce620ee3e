//! One pool on this node: which of its addresses were never used, and which are held, in the order
//! in which they may be given to somebody else. Every question costs O(log n).

use crate::block::Block;
use crate::ordered::{Ordered, moment, nanos};
use crate::policy::Policy;
use crate::ranges::Ranges;
use crate::settings::{PoolSettings, Reservation, Settings};
use crate::time::Moment;
use mainstay_prefix::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) cidr: Prefix,
    namespaces: Vec<String>,
    /// What becomes of addresses whose pods do not say it themselves.
    pub(crate) policy: Policy,
    /// By first address; they do not overlap.
    blocks: BTreeMap<IpAddr, Share>,
    /// The first addresses of the blocks that have any never-used one.
    open: BTreeSet<IpAddr>,
    excluded: Ranges,
    pub(crate) reserved: BTreeMap<IpAddr, Reservation>,
    /// Held for nobody, by the time of release.
    nobodys: Ordered<1>,
    /// Held for their owners, and others may have them sooner or later: by the time of release, and
    /// by the time at which they are no longer kept.
    owned: Ordered<1>,
    unstuck: Ordered<2>,
    /// Held for their owners until somebody says otherwise.
    pub(crate) for_good: u64,
    /// Held, and not to be handed out whoever asks.
    barred: u64,
    pub(crate) assigned: u64,
}

/// One block of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) block: Block,
    /// Since when this node holds it, if another may have had it before.
    since: Option<Moment>,
    fresh: Ranges,
    /// That can be handed out.
    pub(crate) addresses: u64,
}

/// Where a held address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// Kept for nobody.
    Nobodys,
    /// Kept for its owner until then; after the cooldown another gets it sooner if there is no
    /// other address left.
    Owned(Moment),
    ForGood,
    /// Excluded, reserved or withheld.
    Barred,
}

/// Until when others keep away from a held address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Periods {
    pub(crate) now: Moment,
    pub(crate) cooldown: Duration,
}

impl Periods {
    pub(crate) const fn new(settings: &Settings, now: Moment) -> Self {
        Self { now, cooldown: settings.cooldown }
    }

    /// How much of the cooldown is left; nothing: anybody may have it.
    pub(crate) fn cooling(&self, released: Moment) -> Option<Duration> {
        let left = self.cooldown.saturating_sub(self.now.since(released));
        (!left.is_zero()).then_some(left)
    }

    /// Whoever was released then or before is cool; nothing, as long as nobody can be.
    pub(crate) fn cooled_at(&self) -> Option<Moment> {
        self.now.0.checked_sub(self.cooldown).map(Moment)
    }

    pub(crate) fn cooled(&self, released: Moment) -> bool {
        self.cooling(released).is_none()
    }
}

impl Share {
    fn new(prefix: Prefix, since: Option<Moment>) -> Self {
        let block = Block::new(prefix);
        let mut fresh = Ranges::default();
        fresh.insert(block.first, block.last);
        Self { block, since, fresh, addresses: 0 }
    }

    fn cooled(&self, periods: Periods) -> bool {
        self.since.is_none_or(|since| periods.cooled(since))
    }

    pub(crate) fn never_used(&self) -> u64 {
        self.fresh.count()
    }

    /// Never used by this node, but perhaps by the one that had the block before.
    pub(crate) fn cooling(&self, periods: Periods) -> u64 {
        if self.cooled(periods) { 0 } else { self.never_used() }
    }
}

impl Pool {
    /// `since` says of each block when this node came to it.
    pub(crate) fn new(
        settings: &PoolSettings,
        default: Policy,
        since: impl Fn(&Prefix) -> Option<Moment>,
    ) -> Self {
        let mut excluded = Ranges::default();
        settings.exclude.iter().for_each(|(first, last)| excluded.insert(*first, *last));
        let share = |prefix: &Prefix| {
            let mut share = Share::new(*prefix, since(prefix));
            settings.exclude.iter().for_each(|(first, last)| share.fresh.cut(*first, *last));
            share.addresses = share.fresh.count();
            let reserved = settings.reserved.range(share.block.first..=share.block.last);
            for (address, _) in reserved {
                share.fresh.remove(*address);
            }
            (prefix.addr(), share)
        };
        let blocks: BTreeMap<_, _> = settings.blocks.iter().map(share).collect();
        let open = blocks.iter().filter(|(_, share)| share.fresh.lowest().is_some());
        let mut pool = Self {
            name: settings.name.clone(),
            cidr: settings.cidr,
            namespaces: settings.namespaces.clone(),
            policy: settings.stickiness.unwrap_or(default),
            open: open.map(|(first, _)| *first).collect(),
            blocks,
            excluded,
            reserved: BTreeMap::new(),
            nobodys: Ordered::default(),
            owned: Ordered::default(),
            unstuck: Ordered::default(),
            for_good: 0,
            barred: 0,
            assigned: 0,
        };
        // Those of other nodes' blocks are none of ours.
        let here =
            settings.reserved.iter().filter(|(address, _)| pool.share_of(**address).is_some());
        pool.reserved = here.map(|(address, whose)| (*address, whose.clone())).collect();
        pool
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.shares().map(|share| &share.block)
    }

    pub(crate) fn shares(&self) -> impl Iterator<Item = &Share> {
        self.blocks.values()
    }

    pub(crate) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The block that may hand out `addr`.
    pub(crate) fn block_of(&self, addr: IpAddr) -> Option<&Block> {
        self.share_of(addr).map(|share| &share.block)
    }

    fn share_of(&self, addr: IpAddr) -> Option<&Share> {
        let (_, share) = self.blocks.range(..=addr).next_back()?;
        share.block.hands_out(addr).then_some(share)
    }

    /// From when the cooldown of an address counts that was released at `released`: another node
    /// may have used it later, before its block came here.
    pub(crate) fn counts_from(&self, addr: IpAddr, released: Moment) -> Moment {
        self.since(addr).map_or(released, |since| released.max(since))
    }

    /// Since when this node holds the block of `addr`, if another may have had it before.
    pub(crate) fn since(&self, addr: IpAddr) -> Option<Moment> {
        self.share_of(addr)?.since
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.cidr.is_ipv4()
    }

    /// Whether it is for the pods of certain namespaces only.
    pub(crate) fn is_dedicated(&self) -> bool {
        !self.namespaces.is_empty()
    }

    pub(crate) fn admits(&self, namespace: &str) -> bool {
        let fits = |glob: &String| match glob.strip_suffix('*') {
            Some(start) => namespace.starts_with(start),
            None => namespace == glob,
        };
        !self.is_dedicated() || self.namespaces.iter().any(fits)
    }

    pub(crate) fn excludes(&self, addr: IpAddr) -> bool {
        self.excluded.contains(addr)
    }

    /// Whether the configuration keeps it from being handed out to just anybody.
    pub(crate) fn bars(&self, addr: IpAddr) -> bool {
        self.excludes(addr) || self.reserved.contains_key(&addr)
    }

    pub(crate) fn addresses(&self) -> u64 {
        self.shares().map(|share| share.addresses).fold(0, u64::saturating_add)
    }

    /// Takes an address out of the never-used ones.
    pub(crate) fn use_up(&mut self, addr: IpAddr) {
        let Some((&first, share)) = self.blocks.range_mut(..=addr).next_back() else { return };
        share.fresh.remove(addr);
        if share.fresh.lowest().is_none() {
            self.open.remove(&first);
        }
    }

    /// As if never used.
    pub(crate) fn make_fresh(&mut self, addr: IpAddr) {
        if self.bars(addr) {
            return;
        }
        let Some((&first, share)) = self.blocks.range_mut(..=addr).next_back() else { return };
        share.fresh.insert(addr, addr);
        self.open.insert(first);
    }

    pub(crate) fn hold(&mut self, addr: IpAddr, released: Moment, shelf: Shelf) {
        let released = nanos(released);
        match shelf {
            Shelf::Nobodys => self.nobodys.insert([released], addr),
            Shelf::Owned(until) => {
                self.owned.insert([released], addr);
                self.unstuck.insert([nanos(until), released], addr);
            }
            Shelf::ForGood => self.for_good += 1,
            Shelf::Barred => self.barred += 1,
        }
    }

    pub(crate) fn unhold(&mut self, addr: IpAddr, released: Moment, shelf: Shelf) {
        let released = nanos(released);
        match shelf {
            Shelf::Nobodys => self.nobodys.remove([released], addr),
            Shelf::Owned(until) => {
                self.owned.remove([released], addr);
                self.unstuck.remove([nanos(until), released], addr);
            }
            Shelf::ForGood => self.for_good -= 1,
            Shelf::Barred => self.barred -= 1,
        }
    }

    pub(crate) fn held(&self) -> u64 {
        self.releasable() as u64 + self.for_good + self.barred
    }

    /// Held, and others may have them sooner or later.
    pub(crate) fn releasable(&self) -> usize {
        self.nobodys.len() + self.owned.len()
    }

    pub(crate) fn never_used(&self, periods: Periods) -> Option<IpAddr> {
        let open = self.open.iter().filter_map(|first| self.blocks.get(first));
        let mut cooled = open.filter(|share| share.cooled(periods));
        cooled.next().and_then(|share| share.fresh.lowest())
    }

    /// The least recently released that is kept for nobody (any more).
    pub(crate) fn idle(&self, periods: Periods) -> Option<(Moment, IpAddr)> {
        let nobodys = first(&self.nobodys).filter(|(released, _)| periods.cooled(*released));
        let unstuck = self.unstuck.first().filter(|([until, _], _)| *until <= nanos(periods.now));
        let unstuck = unstuck.map(|([_, released], addr)| (moment(released), addr));
        nobodys.into_iter().chain(unstuck).min()
    }

    /// The least recently released of those still kept for their owners, past the cooldown.
    pub(crate) fn kept(&self, periods: Periods) -> Option<(Moment, IpAddr)> {
        first(&self.owned).filter(|(released, _)| periods.cooled(*released))
    }

    /// How many nobody else may have yet: they, or their block, are within the cooldown.
    pub(crate) fn cooling(&self, periods: Periods) -> u64 {
        let fresh = self.shares().map(|share| share.cooling(periods)).fold(0, u64::saturating_add);
        self.cooling_held(periods).saturating_add(fresh)
    }

    fn cooling_held(&self, periods: Periods) -> u64 {
        let cooling = |set: &Ordered<1>| {
            let newest_first = set.iter().rev().map(|([released], _)| moment(released));
            newest_first.take_while(|released| !periods.cooled(*released)).count() as u64
        };
        cooling(&self.nobodys) + cooling(&self.owned)
    }

    /// How many anybody may have now.
    pub(crate) fn free(&self, periods: Periods) -> u64 {
        let fresh = self.shares().filter(|share| share.cooled(periods)).map(Share::never_used);
        let held = self.releasable() as u64 - self.cooling_held(periods);
        fresh.fold(held, u64::saturating_add)
    }

    /// When the next address is free for anybody; nothing if one is now or none ever will be.
    pub(crate) fn next_free(&self, periods: Periods) -> Option<Duration> {
        let held = first(&self.nobodys).into_iter().chain(first(&self.owned)).min();
        let open = self.open.iter().filter_map(|first| self.blocks.get(first));
        let fresh = open.map(|share| share.since.unwrap_or_default());
        let first = fresh.chain(held.map(|(released, _)| released)).min()?;
        if self.never_used(periods).is_some() { None } else { periods.cooling(first) }
    }
}

/// The least recently released.
fn first(set: &Ordered<1>) -> Option<(Moment, IpAddr)> {
    set.first().map(|([released], addr)| (moment(released), addr))
}

impl Shelf {
    /// For the owner or whoever comes after it, once released at `released`.
    pub(crate) fn kept(policy: Policy, released: Moment, cooldown: Duration) -> Self {
        match policy.ttl() {
            Some(Duration::ZERO) => Self::Nobodys,
            Some(ttl) => Self::Owned(Moment(released.0.saturating_add(ttl.max(cooldown)))),
            None => Self::ForGood,
        }
    }
}
