//! One pool on this node: which of its addresses were never used, and which are held, in the order
//! in which they may be given to somebody else. Every question costs O(log n).

use crate::block::Block;
use crate::ranges::Ranges;
use crate::settings::{PoolSettings, Settings};
use crate::time::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) cidr: mainstay_prefix::Prefix,
    /// By first address; they do not overlap.
    blocks: BTreeMap<IpAddr, Block>,
    fresh: Ranges,
    /// Held, by the time of release.
    nobodys: BTreeSet<(Moment, IpAddr)>,
    owned: BTreeSet<(Moment, IpAddr)>,
    pub(crate) assigned: u64,
}

/// Until when others keep away from a held address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Periods {
    pub(crate) now: Moment,
    pub(crate) cooldown: Duration,
    pub(crate) stickiness: Duration,
}

impl Periods {
    pub(crate) const fn new(settings: &Settings, now: Moment) -> Self {
        Self { now, cooldown: settings.cooldown, stickiness: settings.stickiness }
    }

    /// How much of the cooldown is left; nothing: anybody may have it.
    pub(crate) fn cooling(&self, released: Moment) -> Option<Duration> {
        let left = self.cooldown.saturating_sub(self.now.since(released));
        (!left.is_zero()).then_some(left)
    }

    fn cooled(&self, released: Moment) -> bool {
        self.cooling(released).is_none()
    }

    fn unstuck(&self, released: Moment) -> bool {
        self.cooled(released) && self.now.since(released) >= self.stickiness
    }
}

impl Pool {
    pub(crate) fn new(settings: &PoolSettings) -> Self {
        let blocks = settings.blocks.iter().map(|prefix| (prefix.addr(), Block::new(*prefix)));
        let blocks: BTreeMap<_, _> = blocks.collect();
        let mut fresh = Ranges::default();
        for block in blocks.values() {
            fresh.insert(block.first, block.last);
        }
        let (name, cidr) = (settings.name.clone(), settings.cidr);
        let (nobodys, owned) = (BTreeSet::new(), BTreeSet::new());
        Self { name, cidr, blocks, fresh, nobodys, owned, assigned: 0 }
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values()
    }

    /// The block that may hand out `addr`.
    pub(crate) fn block_of(&self, addr: IpAddr) -> Option<&Block> {
        let (_, block) = self.blocks.range(..=addr).next_back()?;
        block.hands_out(addr).then_some(block)
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.cidr.is_ipv4()
    }

    pub(crate) fn addresses(&self) -> u64 {
        self.blocks().map(Block::addresses).fold(0, u64::saturating_add)
    }

    /// Takes an address out of the never-used ones.
    pub(crate) fn use_up(&mut self, addr: IpAddr) {
        self.fresh.remove(addr);
    }

    pub(crate) fn hold(&mut self, addr: IpAddr, released: Moment, owned: bool) {
        let set = if owned { &mut self.owned } else { &mut self.nobodys };
        set.insert((released, addr));
    }

    pub(crate) fn unhold(&mut self, addr: IpAddr, released: Moment) {
        self.nobodys.remove(&(released, addr));
        self.owned.remove(&(released, addr));
    }

    /// As if never used.
    pub(crate) fn make_fresh(&mut self, addr: IpAddr) {
        self.fresh.insert(addr, addr);
    }

    pub(crate) fn held(&self) -> usize {
        self.nobodys.len() + self.owned.len()
    }

    pub(crate) fn never_used(&self) -> Option<IpAddr> {
        self.fresh.lowest()
    }

    /// The least recently released that is kept for nobody (any more).
    pub(crate) fn idle(&self, periods: Periods) -> Option<(Moment, IpAddr)> {
        let nobodys = self.nobodys.first().filter(|(released, _)| periods.cooled(*released));
        let owned = self.owned.first().filter(|(released, _)| periods.unstuck(*released));
        nobodys.into_iter().chain(owned).min().copied()
    }

    /// The least recently released of those still kept for their owners, past the cooldown.
    pub(crate) fn kept(&self, periods: Periods) -> Option<(Moment, IpAddr)> {
        self.owned.first().filter(|(released, _)| periods.cooled(*released)).copied()
    }

    /// How many are within the cooldown.
    pub(crate) fn cooling(&self, periods: Periods) -> u64 {
        let cooling = |set: &BTreeSet<(Moment, IpAddr)>| {
            let newest_first = set.iter().rev();
            newest_first.take_while(|(released, _)| !periods.cooled(*released)).count() as u64
        };
        cooling(&self.nobodys) + cooling(&self.owned)
    }

    /// When the next address is free for anybody; nothing if one is now or none ever will be.
    pub(crate) fn next_free(&self, periods: Periods) -> Option<Duration> {
        if self.never_used().is_some() {
            return None;
        }
        let first = self.nobodys.first().into_iter().chain(self.owned.first()).min()?;
        periods.cooling(first.0)
    }
}
