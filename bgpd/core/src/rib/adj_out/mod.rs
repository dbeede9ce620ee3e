//! What one peer has been told, and the UPDATEs that bring it up to date (RFC 4271 §3.2, §9.2).
//!
//! Nothing is queued when a route changes. When the socket has room, a batch of prefixes is taken
//! from where this peer stands in the Loc-RIB's journal; each is compared with what the peer
//! holds, and the differences are grouped by attributes into UPDATEs. So a route that has changed
//! ten times in between is told once, a slow peer costs no memory, and a fast one gets full
//! messages. A new session, a ROUTE-REFRESH or a new export policy adds a walk over the whole
//! table, in portions as well.
//!
//! - `bound`: no more than a peer is to be told
//! - `group`: prefixes with the same news
//! - `memo`: what paths become on the way out
//! - `refresh`: everything told again (RFC 2918, RFC 7313)
//! - `log`: what an earlier process has told, and what the next one must know

mod bound;
mod group;
mod log;
mod memo;
mod refresh;

use super::Path;
use super::PerFamily;
use super::attrs::{Attrs, AttrsId, Interner};
use super::by_path::{ByPath, PathKey};
use super::export::Exporter;
use super::loc_rib::{Journal, LocRib, Route};
use super::numbers::PrefixId;
use crate::policy::Origins;
use crate::types::{Family, Prefix};
use crate::wire::{self, Context, PathIds};
use bound::Bound;
use group::{Batch, Builder};
pub(crate) use memo::{Memo, Memos};
use refresh::Refresh;
use std::net::IpAddr;

#[derive(Debug)]
pub(crate) struct AdjOut {
    /// The families of which the peer is told several paths a prefix (RFC 7911).
    several: PathIds,
    /// What the peer holds, or will when `batch` is sent.
    held: PerFamily<ByPath<AttrsId>>,
    outdated: u64,
    /// The number of the next journal entry to read.
    cursor: u64,
    walk: Option<Walk>,
    /// Prefixes to look at besides.
    extra: Vec<PrefixId>,
    batch: Batch,
    end_of_rib: PerFamily<EndOfRib>,
    refresh: PerFamily<Refresh>,
    /// Told by an earlier process and not wanted by this one so far: withdrawn when everybody has
    /// spoken who might still want it.
    inherited: PerFamily<ByPath<()>>,
    bound: Bound,
}

impl Default for AdjOut {
    fn default() -> Self {
        Self {
            several: PathIds::NONE,
            held: PerFamily::new(ByPath::new),
            outdated: 0,
            cursor: 0,
            walk: None,
            extra: Vec::new(),
            batch: Batch::default(),
            end_of_rib: PerFamily::default(),
            refresh: PerFamily::default(),
            inherited: PerFamily::new(ByPath::new),
            bound: Bound::default(),
        }
    }
}

/// A pass over the Loc-RIB from above. What comes to the table on the way stands in the journal.
#[derive(Debug)]
struct Walk {
    /// Routes below these numbers are still to be visited.
    below: PerFamily<usize>,
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
    /// Of the exporter's rules.
    pub(crate) memo: &'a mut Memo,
    pub(crate) context: Context,
    /// How many paths of a prefix are told at most, where several are.
    pub(crate) most_paths: usize,
    /// Families whose EoR would be true now.
    pub(crate) complete: PerFamily<bool>,
}

/// How many changes are looked at in one go: enough to fill messages, and a bound on what is held
/// ready for a peer that does not read.
const BATCH: usize = 2048;

impl AdjOut {
    pub(crate) fn count(&self, family: Family) -> usize {
        self.held.get(family).len()
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PathKey, AttrsId)> + '_ {
        let all = Family::ALL.into_iter().flat_map(|f| self.held.get(f).iter());
        all.map(|(key, attrs)| (key, *attrs))
    }

    /// All paths that the peer holds of a prefix.
    pub(crate) fn of(&self, prefix: PrefixId) -> impl Iterator<Item = (PathKey, AttrsId)> + '_ {
        self.held.get(prefix.family()).of(prefix).map(|(key, attrs)| (key, *attrs))
    }

    pub(crate) fn get(&self, prefix: PrefixId) -> Option<AttrsId> {
        self.of(prefix).next().map(|(_, attrs)| attrs)
    }

    /// Every number of a prefix that means something here.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PrefixId> + '_ {
        let inherited = Family::ALL.into_iter().flat_map(|f| self.inherited.get(f).iter());
        let batch = self.batch.unsent().flat_map(|(_, keys)| keys.iter().copied());
        let held = self.iter().map(|(key, _)| key);
        let keys = held.chain(inherited.map(|(key, ())| key)).chain(batch);
        keys.map(|key| key.prefix).chain(self.extra.iter().copied())
    }

    /// The journal that this peer reads.
    fn journal<'a>(&self, rib: &'a LocRib) -> &'a Journal {
        if self.several.any() { rib.every() } else { rib.journal() }
    }

    pub(crate) const fn reads_every(&self) -> bool {
        self.several.any()
    }

    /// For a session that has just come up: the peer holds nothing of ours that we know of.
    /// `several`: the families of which it is told several paths a prefix.
    pub(crate) fn start(&mut self, rib: &mut LocRib, families: &[Family], several: PathIds) {
        *self = Self { several, ..Self::default() };
        if several.any() {
            rib.keep_every(true);
        }
        self.walk_from_now(rib);
        for family in families {
            *self.end_of_rib.get_mut(*family) = EndOfRib::Owed;
        }
    }

    /// Compares everything again: the rules of export have changed.
    pub(crate) fn reconsider(&mut self, rib: &LocRib) {
        self.walk(rib);
    }

    /// The journal has become too long to be kept for this peer: a walk instead of it.
    pub(crate) fn skip_journal(&mut self, rib: &LocRib) {
        self.walk_from_now(rib);
        self.bound.forget_all();
        self.extra =
            self.iter().map(|(key, _)| key.prefix).filter(|id| rib.at(*id).is_none()).collect();
    }

    fn walk_from_now(&mut self, rib: &LocRib) {
        self.cursor = self.journal(rib).end();
        self.walk(rib);
    }

    fn walk(&mut self, rib: &LocRib) {
        let again = self.walk.as_ref().map(|w| w.again).unwrap_or_default();
        self.walk = Some(Walk { below: PerFamily::new(|f| rib.slots(f)), again });
    }

    /// Whether `pull` would have anything to say.
    pub(crate) fn has_news(&self, rib: &LocRib, complete: PerFamily<bool>) -> bool {
        !self.batch.is_empty()
            || self.walk.is_some()
            || !self.extra.is_empty()
            || self.cursor < self.journal(rib).end()
            || self.is_out_of_bounds()
            || Family::ALL
                .into_iter()
                .any(|f| self.owes(f, complete) || self.may_mark(f) || self.disowns(f, complete))
    }

    fn owes(&self, family: Family, complete: PerFamily<bool>) -> bool {
        *self.end_of_rib.get(family) == EndOfRib::Owed && *complete.get(family)
    }

    /// Appends UPDATEs until there is no news or `out` is `limit` octets long; how many they are.
    pub(crate) fn pull(&mut self, with: &mut Sending<'_>, limit: usize, out: &mut Vec<u8>) -> u64 {
        self.bound.set(with.exporter.options.max_prefixes.out);
        let mut messages = 0;
        while out.len() < limit {
            if self.batch.is_empty() {
                messages += self.mark_refresh(with.rib, out);
            }
            if self.batch.is_empty() && !self.take_batch(with) {
                if self.disinherit(with.complete) {
                    continue;
                }
                messages += self.end_ribs(with.complete, out);
                self.batch = Batch::default();
                break;
            }
            messages += self.send_one(with, out);
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

    fn send_one(&mut self, with: &Sending<'_>, out: &mut Vec<u8>) -> u64 {
        let Some((group, keys)) = self.batch.front() else { return 0 };
        let listed = |key: &PathKey| Some((with.rib.prefix(key.prefix)?, key.path));
        let prefixes: Vec<(Prefix, u32)> = keys.iter().filter_map(listed).collect();
        let (context, family) = (&with.context, group.family);
        let written = match &group.attrs {
            Some(attrs) => attrs.announce(context, family, &prefixes, out),
            None => wire::withdraw(context, family, &prefixes, out),
        };
        if written == 0 {
            self.give_up();
        }
        self.batch.sent(written);
        u64::from(written > 0)
    }

    /// Attributes that no message can hold cannot be told; the peer must not go on with older ones.
    fn give_up(&mut self) {
        for key in self.batch.withdraw_front() {
            self.forget(key);
        }
    }

    /// Looks at the next prefixes and makes groups of what is new; false: there are none to look at.
    fn take_batch(&mut self, with: &mut Sending<'_>) -> bool {
        let mut batch = Builder::default();
        let mut looked = self.keep_within_bound(&mut batch);
        while looked < BATCH {
            let Some((id, again)) = self.next_id(with.rib) else { break };
            looked += 1;
            self.compare(id, again, with, &mut batch);
        }
        self.batch = batch.finish();
        looked > 0
    }

    fn next_id(&mut self, rib: &LocRib) -> Option<(PrefixId, bool)> {
        if let Some(id) = self.extra.pop() {
            return Some((id, false));
        }
        if let Some(walk) = &mut self.walk {
            if let Some(next) = walk.next(rib) {
                return Some(next);
            }
            self.walk = None;
        }
        if let Some(id) = self.journal(rib).get(self.cursor) {
            self.cursor += 1;
            return Some((id, false));
        }
        self.bound.next().map(|id| (id, false))
    }

    fn compare(&mut self, id: PrefixId, again: bool, with: &mut Sending<'_>, batch: &mut Builder) {
        self.bound.forget(id);
        if !self.several.of(id.family()) {
            let wanted = with.wanted(id);
            return self.settle(id.into(), wanted, again, batch);
        }
        let wanted = with.wanted_paths(id);
        let held: Vec<PathKey> = self.of(id).map(|(key, _)| key).collect();
        for key in held.into_iter().filter(|key| !wanted.iter().any(|(k, _)| k == key)) {
            self.settle(key, None, again, batch);
        }
        for (key, attrs) in wanted {
            self.settle(key, Some(attrs), again, batch);
        }
    }

    /// Brings one path that the peer holds, or does not, to what it is to be.
    fn settle(&mut self, key: PathKey, wanted: Option<Attrs>, again: bool, batch: &mut Builder) {
        let family = key.prefix.family();
        let held = self.held.get(family).get(key).copied();
        match (wanted, held) {
            (Some(new), Some(old)) if new.id() == old && !again => self.confirm(key),
            (Some(_), None) if !self.bound.admits(key.prefix) => {}
            (Some(new), old) => {
                self.outdated += u64::from(old.is_some());
                self.held.get_mut(family).insert(key, new.id());
                batch.add(key, Some(new));
                self.confirm(key);
            }
            (None, Some(_)) if self.is_inherited(key) => {}
            (None, Some(_)) => {
                self.forget(key);
                batch.add(key, None);
            }
            (None, None) => {}
        }
    }

    fn forget(&mut self, key: PathKey) {
        if self.held.get_mut(key.prefix.family()).remove(key).is_some() {
            self.outdated += 1;
        }
    }
}

impl Walk {
    /// The next route, and whether it is told again in any case.
    fn next(&mut self, rib: &LocRib) -> Option<(PrefixId, bool)> {
        for family in Family::ALL.into_iter().rev() {
            let below = self.below.get_mut(family);
            while let Some(index) = below.checked_sub(1) {
                *below = index;
                let id = PrefixId::new(family, index);
                if rib.at(id).is_some() {
                    return Some((id, *self.again.get(family)));
                }
            }
        }
        None
    }
}

impl Sending<'_> {
    /// All paths that the peer is to hold of a prefix, the best first.
    fn wanted_paths(&mut self, id: PrefixId) -> Vec<(PathKey, Attrs)> {
        let mut wanted: Vec<(PathKey, Attrs)> = Vec::new();
        let (Some(route), Some(prefix)) = (self.rib.at(id), self.rib.prefix(id)) else {
            return wanted;
        };
        for path in route.paths() {
            if wanted.len() >= self.most_paths {
                break;
            }
            if !self.exporter.allows(&prefix, path) {
                continue;
            }
            let attrs = self.memo.attributes(&prefix, path, self.interner, self.origins);
            let Some(attrs) = attrs else { continue };
            let mut key = PathKey { prefix: id, path: path_id(path) };
            while key.path == 0 || wanted.iter().any(|(taken, _)| *taken == key) {
                key.path = key.path.wrapping_add(1);
            }
            wanted.push((key, attrs));
        }
        wanted
    }

    /// What the peer is to hold of a prefix.
    fn wanted(&mut self, id: PrefixId) -> Option<Attrs> {
        let path = self.rib.at(id).and_then(Route::best)?;
        let prefix = self.rib.prefix(id)?;
        if !self.exporter.allows(&prefix, path) {
            return None;
        }
        self.memo.attributes(&prefix, path, self.interner, self.origins)
    }
}

/// The identifier under which a path is told (RFC 7911 §3), made of who has told it to us and under
/// which one: the next process of this speaker comes to the same. Those that collide within a prefix
/// take the next ones.
fn path_id(path: &Path) -> u32 {
    let octets = match path.source.address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    };
    // FNV-1a.
    let all = octets.into_iter().chain(path.id.to_be_bytes());
    all.fold(0x811c_9dc5, |hash: u32, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::policy::NoOrigins;
    use crate::rib::Kind;
    use crate::rib::export::Presence;
    use crate::rib::policy::Filter;
    use crate::testing::{PathSpec, path, prefix, router_id};
    use crate::types::{Asn, NextHop, PeerId};

    pub(super) struct Peer {
        pub(super) rib: LocRib,
        interner: Interner,
        pub(super) exporter: Exporter,
        memos: Memos,
        pub(super) out: AdjOut,
    }

    impl Peer {
        pub(super) fn new() -> Self {
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
                peer_asn: Asn(65001),
                extended_next_hop: false,
                options: Options::default(),
            };
            let mut peer = Self {
                rib: LocRib::default(),
                interner: Interner::default(),
                exporter,
                memos: Memos::default(),
                out: AdjOut::default(),
            };
            peer.out.start(&mut peer.rib, &[], PathIds::NONE);
            peer
        }

        pub(super) fn set(&mut self, prefix: &Prefix, spec: &PathSpec) {
            let id = self.rib.number(prefix);
            self.rib.set(id, path(spec));
        }

        /// Announced and withdrawn prefixes, by message.
        pub(super) fn pull(&mut self, limit: usize) -> Vec<(usize, usize)> {
            let mut bytes = Vec::new();
            let context = Context { four_octet_as: true, internal: false, ..Context::BARE };
            let mut with = Sending {
                rib: &self.rib,
                interner: &mut self.interner,
                exporter: &self.exporter,
                origins: &NoOrigins,
                memo: self.memos.of(&self.exporter).unwrap(),
                context,
                most_paths: 8,
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
        let one = PathSpec::default();
        let two = PathSpec { peer: 2, as_path: vec![65002], ..PathSpec::default() };
        for n in 0..200 {
            let spec = if n % 2 == 0 { &one } else { &two };
            peer.set(&prefix(&format!("10.{n}.0.0/16")), spec);
        }
        assert_eq!(peer.pull(1 << 20), [(100, 0), (100, 0)]);
        assert_eq!(peer.pull(1 << 20), []);
    }

    #[test]
    fn a_small_room_ends_a_pull_early_and_the_next_one_goes_on() {
        let mut peer = Peer::new();
        for n in 0..250 {
            let spec = PathSpec { as_path: vec![65001, 100 + n], ..PathSpec::default() };
            peer.set(&prefix(&format!("10.{n}.0.0/16")), &spec);
        }
        assert_eq!(peer.pull(1), [(1, 0)]);
        assert_eq!(peer.pull(1 << 20).len(), 249);
    }

    #[test]
    fn attributes_that_fit_no_message_are_withdrawn_if_older_ones_were_told() {
        let mut peer = Peer::new();
        let p = prefix("10.0.0.0/8");
        peer.set(&p, &PathSpec::default());
        assert_eq!(peer.pull(1 << 20), [(1, 0)]);
        let long = PathSpec { as_path: vec![65001; 1100], ..PathSpec::default() };
        peer.set(&p, &long);
        assert_eq!(peer.pull(1 << 20), [(0, 1)]);
        assert_eq!(peer.out.count(Family::Ipv4Unicast), 0);
        peer.set(&p, &PathSpec::default());
        assert_eq!(peer.pull(1 << 20), [(1, 0)]);
    }

    #[test]
    fn a_reader_sent_past_the_journal_still_withdraws_what_is_gone() {
        let mut peer = Peer::new();
        let (gone, stays) = (prefix("10.0.0.0/8"), prefix("11.0.0.0/8"));
        for p in [gone, stays] {
            peer.set(&p, &PathSpec::default());
        }
        peer.pull(1 << 20);
        let id = peer.rib.find(&gone).unwrap();
        peer.rib.remove(id.into(), Some(PeerId(1)));
        let end = peer.rib.journal().end();
        peer.out.skip_journal(&peer.rib);
        peer.rib.journal_mut().forget_before(end);
        assert_eq!(peer.pull(1 << 20), [(0, 1)]);
    }
}
