//! What one peer has been told, and the UPDATEs that bring it up to date (RFC 4271 §3.2, §9.2).
//!
//! Nothing is queued when a route changes. When the socket has room, a batch of prefixes is taken
//! from where this peer stands in the Loc-RIB's journal; each is compared with what the peer
//! holds, and the differences are grouped by attributes into UPDATEs. So a route that has changed
//! ten times in between is told once, a slow peer costs no memory, and a fast one gets full
//! messages. A new session, a ROUTE-REFRESH or a new export policy adds a walk over the whole
//! table, in portions as well.

use super::attrs::Interner;
use super::export::Exporter;
use super::loc_rib::LocRib;
use super::prefix_map::PrefixMap;
use super::told::{Record, Told, Writer};
use super::{Path, PerFamily, Source};
use crate::session::agree::Agreed;
use crate::types::{Family, NextHop, Prefix};
use crate::wire::{self, Attributes, Context, Origin, RefreshMark};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct AdjOut {
    /// What the peer holds, or will when `groups` are sent.
    held: PrefixMap<Arc<Attributes>>,
    counts: PerFamily<usize>,
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

/// Prefixes with one and the same news.
#[derive(Debug)]
struct Group {
    family: Family,
    /// `None`: withdrawn.
    attrs: Option<Arc<Attributes>>,
    prefixes: Vec<Prefix>,
    /// How many of the prefixes have been sent.
    sent: usize,
}

/// The marker after the first full table (RFC 4724 §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum EndOfRib {
    #[default]
    NotOwed,
    Owed,
    Sent,
}

/// How far the answer to a ROUTE-REFRESH is, if the peer wants it marked (RFC 7313 §4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Refresh {
    #[default]
    Idle,
    /// BoRR has to be sent, but never before the EoR, nor while something told by an earlier
    /// process may still be confirmed: the EoRR would remove it.
    Asked,
    /// Between BoRR and EoRR.
    Telling,
}

/// What UPDATEs are made with.
pub(crate) struct Sending<'a> {
    pub(crate) rib: &'a LocRib,
    pub(crate) interner: &'a mut Interner,
    pub(crate) exporter: &'a Exporter,
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

    pub(crate) fn end_of_rib_sent(&self, family: Family) -> bool {
        *self.end_of_rib.get(family) == EndOfRib::Sent
    }

    pub(crate) const fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Prefix, &Arc<Attributes>)> {
        self.held.iter()
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

    /// For a session that an earlier process had: the peer holds what that one has told.
    pub(crate) fn resume(
        &mut self,
        rib: &LocRib,
        agreed: &Agreed,
        told: Told,
        interner: &mut Interner,
    ) {
        self.start(rib, &agreed.families);
        for family in &agreed.families {
            if *told.end_of_rib.get(*family) {
                *self.end_of_rib.get_mut(*family) = EndOfRib::Sent;
            }
            // Cut short: the peer would drop what it was not told again.
            if *told.refreshing.get(*family) {
                self.refresh(rib, *family, agreed.enhanced_refresh);
            }
        }
        for (prefix, attrs) in told.routes.iter() {
            // Nothing we announce has no next hop, so this differs from whatever it is compared to.
            let attrs = attrs.clone().unwrap_or_else(|| interner.intern(unknown(prefix)));
            *self.counts.get_mut(Family::of(prefix)) += 1;
            self.held.insert(*prefix, attrs);
            self.inherited.get_mut(Family::of(prefix)).insert(*prefix, ());
        }
    }

    /// The log that tells the next process what this one has told ([`Told::replay`]).
    pub(crate) fn log(&self, context: &Context) -> Vec<Record> {
        let mut writer = Writer::default();
        let pending: HashSet<Prefix> =
            self.groups.iter().flat_map(Group::unsent).copied().collect();
        for group in &self.groups {
            writer.unsure(context, group.family, group.unsent());
        }
        let mut by_attributes: HashMap<(Family, *const Attributes), Vec<Prefix>> = HashMap::new();
        for (prefix, attrs) in self.held.iter().filter(|(p, _)| !pending.contains(*p)) {
            let key = (Family::of(prefix), Arc::as_ptr(attrs));
            by_attributes.entry(key).or_default().push(*prefix);
        }
        for ((family, _), prefixes) in &by_attributes {
            let Some(attrs) = prefixes.first().and_then(|p| self.held.get(p)) else { continue };
            match **attrs == unknown_of(*family) {
                true => writer.unsure(context, *family, prefixes),
                false => writer.announce(context, *family, attrs, prefixes),
            }
        }
        for family in Family::ALL {
            if self.end_of_rib_sent(family) {
                writer.end_of_rib(family);
            }
            // Asked for and not answered is as good as begun: the next process begins it.
            if *self.refresh.get(family) != Refresh::Idle {
                writer.refresh_begun(family);
            }
        }
        writer.finish()
    }

    /// RFC 2918 §4; `marked`: between BoRR and EoRR (RFC 7313 §4).
    pub(crate) fn refresh(&mut self, rib: &LocRib, family: Family, marked: bool) {
        if marked {
            *self.refresh.get_mut(family) = Refresh::Asked;
        } else {
            self.tell_again(rib, family);
        }
    }

    fn tell_again(&mut self, rib: &LocRib, family: Family) {
        self.walk(rib);
        if let Some(walk) = &mut self.walk {
            *walk.again.get_mut(family) = true;
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

    /// Whether a BoRR or an EoRR can be sent now.
    fn may_mark(&self, family: Family) -> bool {
        match self.refresh.get(family) {
            Refresh::Idle => false,
            Refresh::Asked => {
                *self.end_of_rib.get(family) != EndOfRib::Owed
                    && self.inherited.get(family).len() == 0
            }
            Refresh::Telling => self.walk.is_none(),
        }
    }

    /// With nothing grouped: what was told before stands before a BoRR, all of the table before an
    /// EoRR.
    fn mark_refresh(&mut self, rib: &LocRib, out: &mut Vec<u8>) -> u64 {
        let mut messages = 0;
        for family in Family::ALL.into_iter().filter(|f| self.may_mark(*f)).collect::<Vec<_>>() {
            let (mark, next) = match self.refresh.get(family) {
                Refresh::Asked => (RefreshMark::Begin, Refresh::Telling),
                _ => (RefreshMark::End, Refresh::Idle),
            };
            if next == Refresh::Telling {
                self.tell_again(rib, family);
            }
            wire::refresh_mark(family.into(), mark, out);
            *self.refresh.get_mut(family) = next;
            messages += 1;
        }
        messages
    }

    /// Whether it is settled that some of what an earlier process told is no longer announced.
    fn disowns(&self, family: Family, complete: PerFamily<bool>) -> bool {
        *complete.get(family) && self.inherited.get(family).len() > 0
    }

    /// Has those looked at again, now without mercy; false: there are none.
    fn disinherit(&mut self, complete: PerFamily<bool>) -> bool {
        let mut any = false;
        for family in Family::ALL.into_iter().filter(|f| *complete.get(*f)) {
            let gone = std::mem::take(self.inherited.get_mut(family));
            any |= gone.len() > 0;
            self.extra.extend(gone.keys());
        }
        any
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
        let wanted = path
            .filter(|p| with.exporter.allows(&prefix, p))
            .map(|p| self.memo.attributes(Family::of(&prefix), p, with.exporter, with.interner));
        match (wanted, self.held.get(&prefix)) {
            (Some(new), Some(old)) if Arc::ptr_eq(&new, old) && !again => self.confirm(&prefix),
            (Some(new), old) => {
                *self.counts.get_mut(Family::of(&prefix)) += usize::from(old.is_none());
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

    fn confirm(&mut self, prefix: &Prefix) {
        self.inherited.get_mut(Family::of(prefix)).remove(prefix);
    }

    fn is_inherited(&self, prefix: &Prefix) -> bool {
        self.inherited.get(Family::of(prefix)).get(prefix).is_some()
    }

    fn forget(&mut self, prefix: &Prefix) {
        if self.held.remove(prefix).is_some() {
            *self.counts.get_mut(Family::of(prefix)) -= 1;
        }
    }
}

impl Group {
    fn unsent(&self) -> &[Prefix] {
        self.prefixes.get(self.sent..).unwrap_or_default()
    }
}

/// Stands for what a peer may hold of a prefix, or not.
fn unknown(prefix: &Prefix) -> Attributes {
    unknown_of(Family::of(prefix))
}

fn unknown_of(family: Family) -> Attributes {
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
    };
    Attributes::bare(next_hop, Origin::Incomplete)
}

/// Groups under construction, in the order of their first prefix.
#[derive(Default)]
struct Groups {
    list: Vec<Group>,
    index: HashMap<(Family, Option<*const Attributes>), usize>,
}

impl Groups {
    fn add(&mut self, prefix: Prefix, attrs: Option<Arc<Attributes>>) {
        let family = Family::of(&prefix);
        let key = (family, attrs.as_ref().map(Arc::as_ptr));
        let index = *self.index.entry(key).or_insert_with(|| {
            self.list.push(Group { family, attrs, prefixes: Vec::new(), sent: 0 });
            self.list.len() - 1
        });
        if let Some(group) = self.list.get_mut(index) {
            group.prefixes.push(prefix);
        }
    }
}

/// Exported attributes by the path's own: thousands of prefixes share them, and making them means
/// copying and hashing.
#[derive(Debug, Default)]
struct Memo {
    known: HashMap<(Family, *const Attributes, *const Source), Memoized>,
}

/// The path is kept, so that its address cannot come to mean another one.
#[derive(Debug)]
struct Memoized {
    _path: Path,
    exported: Arc<Attributes>,
}

/// A table in which every route has attributes of its own gains nothing from remembering them.
const MEMO_MAX: usize = 8192;

impl Memo {
    fn attributes(
        &mut self,
        family: Family,
        path: &Path,
        exporter: &Exporter,
        interner: &mut Interner,
    ) -> Arc<Attributes> {
        let key = (family, Arc::as_ptr(&path.attrs), Arc::as_ptr(&path.source));
        if let Some(memoized) = self.known.get(&key) {
            return Arc::clone(&memoized.exported);
        }
        if self.known.len() >= MEMO_MAX {
            self.known.clear();
        }
        let exported = interner.intern(exporter.attributes(family, path));
        let memoized = Memoized { _path: path.clone(), exported: Arc::clone(&exported) };
        self.known.insert(key, memoized);
        exported
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
