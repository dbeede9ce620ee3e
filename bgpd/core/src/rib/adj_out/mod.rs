//! What one peer has been told, and the UPDATEs that bring it up to date (RFC 4271 §3.2, §9.2).
//!
//! Nothing is queued when a route changes. When the socket has room, a batch of prefixes is taken
//! from where this peer stands in the Loc-RIB's journal; each is compared with what the peer
//! holds, and the differences are grouped by attributes into UPDATEs. So a route that has changed
//! ten times in between is told once, a slow peer costs no memory, and a fast one gets full
//! messages. A new session, a ROUTE-REFRESH or a new export policy adds a walk over the whole
//! table, in portions as well.
//!
//! - `group`: prefixes with the same news
//! - `memo`: what paths become on the way out
//! - `refresh`: everything told again (RFC 2918, RFC 7313)
//! - `log`: what an earlier process has told, and what the next one must know

mod group;
mod log;
mod memo;
mod refresh;

use super::PerFamily;
use super::attrs::Interner;
use super::export::Exporter;
use super::loc_rib::LocRib;
use super::prefix_map::PrefixMap;
use crate::policy::Origins;
use crate::types::{Family, Prefix};
use crate::wire::{self, Attributes, Context};
use group::{Group, Groups};
use memo::{Making, Memo};
use refresh::Refresh;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct AdjOut {
    /// What the peer holds, or will when `groups` are sent.
    held: PrefixMap<Arc<Attributes>>,
    counts: PerFamily<usize>,
    outdated: u64,
    /// The number of the next journal entry to read.
    cursor: u64,
    walk: Option<Walk>,
    /// Prefixes to look at besides.
    extra: Vec<Prefix>,
    groups: VecDeque<Group>,
    end_of_rib: PerFamily<EndOfRib>,
    refresh: PerFamily<Refresh>,
    /// Told by an earlier process and not wanted by this one so far: withdrawn when everybody has
    /// spoken who might still want it.
    inherited: PerFamily<PrefixMap<()>>,
    memo: Memo,
}

/// A pass over the Loc-RIB from above; see [`PrefixMap`].
#[derive(Debug)]
struct Walk {
    /// Entries below this index are still to be visited.
    below: usize,
    /// Families of which everything is told again, changed or not (RFC 2918).
    again: PerFamily<bool>,
}

/// The marker after the first full table (RFC 4724 §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum EndOfRib {
    #[default]
    NotOwed,
    Owed,
    Sent,
}

/// What UPDATEs are made with.
pub(crate) struct Sending<'a> {
    pub(crate) rib: &'a LocRib,
    pub(crate) interner: &'a mut Interner,
    pub(crate) exporter: &'a Exporter,
    pub(crate) origins: &'a dyn Origins,
    pub(crate) context: Context,
    /// Families whose EoR would be true now.
    pub(crate) complete: PerFamily<bool>,
}

/// How many changes are looked at in one go: enough to fill messages, and a bound on what is held
/// ready for a peer that does not read.
const BATCH: usize = 2048;

impl AdjOut {
    pub(crate) fn count(&self, family: Family) -> usize {
        *self.counts.get(family)
    }

    /// How many announcements another one or a withdrawal has made void.
    pub(crate) const fn outdated(&self) -> u64 {
        self.outdated
    }

    pub(crate) fn end_of_rib_sent(&self, family: Family) -> bool {
        *self.end_of_rib.get(family) == EndOfRib::Sent
    }

    pub(crate) const fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Prefix, &Arc<Attributes>)> {
        self.held.iter()
    }

    /// For walks from above (see [`PrefixMap`]).
    pub(crate) fn at(&self, index: usize) -> Option<&Prefix> {
        self.held.at(index).map(|(prefix, _)| prefix)
    }

    pub(crate) fn slots(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn get(&self, prefix: &Prefix) -> Option<&Arc<Attributes>> {
        self.held.get(prefix)
    }

    /// For a session that has just come up: the peer holds nothing of ours that we know of.
    pub(crate) fn start(&mut self, rib: &LocRib, families: &[Family]) {
        *self = Self::default();
        self.walk_from_now(rib);
        for family in families {
            *self.end_of_rib.get_mut(*family) = EndOfRib::Owed;
        }
    }

    /// Compares everything again: the rules of export have changed.
    pub(crate) fn reconsider(&mut self, rib: &LocRib) {
        self.memo = Memo::default();
        self.walk(rib);
    }

    /// The journal has become too long to be kept for this peer: a walk instead of it.
    pub(crate) fn skip_journal(&mut self, rib: &LocRib) {
        self.walk_from_now(rib);
        self.extra = self.held.keys().filter(|p| rib.get(p).is_none()).copied().collect();
    }

    fn walk_from_now(&mut self, rib: &LocRib) {
        self.cursor = rib.journal().end();
        self.walk(rib);
    }

    fn walk(&mut self, rib: &LocRib) {
        let again = self.walk.as_ref().map(|w| w.again).unwrap_or_default();
        self.walk = Some(Walk { below: rib.slots(), again });
    }

    /// Whether `pull` would have anything to say.
    pub(crate) fn has_news(&self, rib: &LocRib, complete: PerFamily<bool>) -> bool {
        !self.groups.is_empty()
            || self.walk.is_some()
            || !self.extra.is_empty()
            || self.cursor < rib.journal().end()
            || Family::ALL
                .into_iter()
                .any(|f| self.owes(f, complete) || self.may_mark(f) || self.disowns(f, complete))
    }

    fn owes(&self, family: Family, complete: PerFamily<bool>) -> bool {
        *self.end_of_rib.get(family) == EndOfRib::Owed && *complete.get(family)
    }

    /// Appends UPDATEs until there is no news or `out` is `limit` octets long; how many they are.
    pub(crate) fn pull(&mut self, with: &mut Sending<'_>, limit: usize, out: &mut Vec<u8>) -> u64 {
        let mut messages = 0;
        while out.len() < limit {
            if self.groups.is_empty() {
                messages += self.mark_refresh(with.rib, out);
            }
            if self.groups.is_empty() && !self.take_batch(with) {
                if self.disinherit(with.complete) {
                    continue;
                }
                messages += self.end_ribs(with.complete, out);
                self.memo = Memo::default();
                break;
            }
            messages += self.send_one(with.context, out);
        }
        messages
    }

    /// The markers stand behind everything else.
    fn end_ribs(&mut self, complete: PerFamily<bool>, out: &mut Vec<u8>) -> u64 {
        let mut messages = 0;
        for family in Family::ALL {
            if self.owes(family, complete) {
                wire::end_of_rib(family, out);
                *self.end_of_rib.get_mut(family) = EndOfRib::Sent;
                messages += 1;
            }
        }
        messages
    }

    fn send_one(&mut self, context: Context, out: &mut Vec<u8>) -> u64 {
        let Some(group) = self.groups.front_mut() else { return 0 };
        let rest = group.unsent();
        let written = match &group.attrs {
            Some(attrs) => wire::announce(&context, group.family, attrs, rest, out),
            None => wire::withdraw(&context, group.family, rest, out),
        };
        group.sent += written;
        if written == 0 {
            self.give_up();
        } else if group.sent >= group.prefixes.len() {
            self.groups.pop_front();
        }
        u64::from(written > 0)
    }

    /// Attributes that no message can hold cannot be told; the peer must not go on with older ones.
    fn give_up(&mut self) {
        let Some(group) = self.groups.pop_front() else { return };
        let rest = group.unsent().to_vec();
        if group.attrs.is_none() || rest.is_empty() {
            return;
        }
        for prefix in &rest {
            self.forget(prefix);
        }
        self.groups.push_front(Group { attrs: None, prefixes: rest, sent: 0, ..group });
    }

    /// Looks at the next prefixes and makes groups of what is new; false: there are none to look at.
    fn take_batch(&mut self, with: &mut Sending<'_>) -> bool {
        let mut groups = Groups::default();
        let mut looked = 0;
        while looked < BATCH {
            let Some((prefix, again)) = self.next_prefix(with.rib) else { break };
            looked += 1;
            self.compare(prefix, again, with, &mut groups);
        }
        self.groups.extend(groups.list);
        looked > 0
    }

    fn next_prefix(&mut self, rib: &LocRib) -> Option<(Prefix, bool)> {
        if let Some(prefix) = self.extra.pop() {
            return Some((prefix, false));
        }
        if let Some(walk) = &mut self.walk {
            let next = walk.below.min(rib.slots()).checked_sub(1);
            if let Some((index, (prefix, _))) = next.and_then(|i| rib.at(i).map(|r| (i, r))) {
                walk.below = index;
                return Some((*prefix, *walk.again.get(Family::of(prefix))));
            }
            self.walk = None;
        }
        let prefix = rib.journal().get(self.cursor)?;
        self.cursor += 1;
        Some((prefix, false))
    }

    fn compare(
        &mut self,
        prefix: Prefix,
        again: bool,
        with: &mut Sending<'_>,
        groups: &mut Groups,
    ) {
        let path = with.rib.get(&prefix).and_then(|r| r.best());
        let Sending { exporter, interner, origins, .. } = with;
        let mut making = Making { exporter, interner, origins: *origins };
        let wanted = path
            .filter(|p| exporter.allows(&prefix, p))
            .and_then(|p| self.memo.attributes(&prefix, p, &mut making));
        match (wanted, self.held.get(&prefix)) {
            (Some(new), Some(old)) if Arc::ptr_eq(&new, old) && !again => self.confirm(&prefix),
            (Some(new), old) => {
                *self.counts.get_mut(Family::of(&prefix)) += usize::from(old.is_none());
                self.outdated += u64::from(old.is_some());
                self.held.insert(prefix, Arc::clone(&new));
                groups.add(prefix, Some(new));
                self.confirm(&prefix);
            }
            (None, Some(_)) if self.is_inherited(&prefix) => {}
            (None, Some(_)) => {
                self.forget(&prefix);
                groups.add(prefix, None);
            }
            (None, None) => {}
        }
    }

    fn forget(&mut self, prefix: &Prefix) {
        if self.held.remove(prefix).is_some() {
            *self.counts.get_mut(Family::of(prefix)) -= 1;
            self.outdated += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::NoOrigins;
    use crate::rib::Kind;
    use crate::rib::export::Presence;
    use crate::rib::policy::Filter;
    use crate::testing::{PathSpec, path, prefix, router_id};
    use crate::types::{Asn, NextHop, PeerId};

    struct Peer {
        rib: LocRib,
        interner: Interner,
        exporter: Exporter,
        out: AdjOut,
    }

    impl Peer {
        fn new() -> Self {
            let own = NextHop::V4([192, 0, 2, 100].into());
            let exporter = Exporter {
                peer: PeerId(9),
                kind: Kind::External,
                own_asn: Asn(64512),
                own_id: router_id(100),
                next_hops: PerFamily::new(|f| (f == Family::Ipv4Unicast).then_some(own)),
                families: PerFamily::new(|_| true),
                filter: Filter::All,
                long_lived: false,
                presence: Presence::Full,
            };
            let mut peer = Self {
                rib: LocRib::default(),
                interner: Interner::default(),
                exporter,
                out: AdjOut::default(),
            };
            peer.out.start(&peer.rib, &[]);
            peer
        }

        /// Announced and withdrawn prefixes, by message.
        fn pull(&mut self, limit: usize) -> Vec<(usize, usize)> {
            let mut bytes = Vec::new();
            let context = Context { four_octet_as: true, internal: false };
            let mut with = Sending {
                rib: &self.rib,
                interner: &mut self.interner,
                exporter: &self.exporter,
                origins: &NoOrigins,
                context,
                complete: PerFamily::new(|_| true),
            };
            self.out.pull(&mut with, limit, &mut bytes);
            let mut framer = wire::Framer::new();
            framer.push(&bytes);
            let mut messages = Vec::new();
            while let Some(frame) = framer.next().unwrap() {
                let Ok(wire::Message::Update(update)) = wire::decode(frame, &context) else {
                    panic!("not an UPDATE");
                };
                let come = update.announced.iter().flatten().map(|a| a.nlri.len()).sum();
                let gone = update.withdrawn.iter().flatten().map(|w| w.nlri.len()).sum();
                messages.push((come, gone));
            }
            messages
        }
    }

    #[test]
    fn prefixes_with_equal_attributes_share_messages() {
        let mut peer = Peer::new();
        let one = path(&PathSpec::default());
        let two = path(&PathSpec { peer: 2, as_path: vec![65002], ..PathSpec::default() });
        for n in 0..200 {
            let path = if n % 2 == 0 { &one } else { &two };
            peer.rib.set(prefix(&format!("10.{n}.0.0/16")), path.clone());
        }
        assert_eq!(peer.pull(1 << 20), [(100, 0), (100, 0)]);
        assert_eq!(peer.pull(1 << 20), []);
    }

    #[test]
    fn a_small_room_ends_a_pull_early_and_the_next_one_goes_on() {
        let mut peer = Peer::new();
        for n in 0..250 {
            let path = path(&PathSpec { as_path: vec![65001, 100 + n], ..PathSpec::default() });
            peer.rib.set(prefix(&format!("10.{n}.0.0/16")), path);
        }
        assert_eq!(peer.pull(1), [(1, 0)]);
        assert_eq!(peer.pull(1 << 20).len(), 249);
    }

    #[test]
    fn attributes_that_fit_no_message_are_withdrawn_if_older_ones_were_told() {
        let mut peer = Peer::new();
        let p = prefix("10.0.0.0/8");
        peer.rib.set(p, path(&PathSpec::default()));
        assert_eq!(peer.pull(1 << 20), [(1, 0)]);
        let long = PathSpec { as_path: vec![65001; 1100], ..PathSpec::default() };
        peer.rib.set(p, path(&long));
        assert_eq!(peer.pull(1 << 20), [(0, 1)]);
        assert_eq!(peer.out.count(Family::Ipv4Unicast), 0);
        peer.rib.set(p, path(&PathSpec::default()));
        assert_eq!(peer.pull(1 << 20), [(1, 0)]);
    }

    #[test]
    fn a_reader_sent_past_the_journal_still_withdraws_what_is_gone() {
        let mut peer = Peer::new();
        let (gone, stays) = (prefix("10.0.0.0/8"), prefix("11.0.0.0/8"));
        for p in [gone, stays] {
            peer.rib.set(p, path(&PathSpec::default()));
        }
        peer.pull(1 << 20);
        peer.rib.remove(&gone, Some(PeerId(1)));
        let end = peer.rib.journal().end();
        peer.out.skip_journal(&peer.rib);
        peer.rib.journal_mut().forget_before(end);
        assert_eq!(peer.pull(1 << 20), [(0, 1)]);
    }
}
