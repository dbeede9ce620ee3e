//! What somebody beside the peers is told of (BMP, MRT): see [`crate::monitor`].

use super::Speaker;
use crate::monitor::{Batch, Heard, Monitor, Seen, SessionView, Watch};
use crate::peer::Peer;
use crate::report::Cause;
use crate::rib::Path;
use crate::rib::attrs::Attrs;
use crate::rib::by_path::PathKey;
use crate::rib::loc_rib::Route;
use crate::rib::numbers::PrefixId;
use crate::session::Session;
use crate::types::{ConnId, Family, PeerId, Prefix};
use crate::wire::{self, Context, Message, PathIds, Update};

impl Speaker {
    /// From now on this is seen, and told by [`take_seen`](Self::take_seen) after each event.
    pub fn watch(&mut self, watch: Watch) {
        self.monitor = watch.is_on().then(|| {
            let read = self.rib.journal().end();
            Box::new(Monitor { watch, read, ..Monitor::default() })
        });
    }

    /// Puts what was seen since the last time in the place of `batch`, which is given for its room.
    pub fn take_seen(&mut self, batch: &mut Batch) {
        batch.clear();
        if let Some(monitor) = &mut self.monitor {
            std::mem::swap(&mut monitor.batch, batch);
        }
    }

    /// Every session that is up.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        let up = self.peers.values().filter_map(|p| Some((p, p.established()?)));
        up.filter_map(|(peer, session)| self.session_view(peer, session)).collect()
    }

    fn session_view(&self, peer: &Peer, session: &Session) -> Option<SessionView> {
        let agreed = session.agreed()?;
        let (mut open_sent, mut open_received) = (Vec::new(), Vec::new());
        wire::open(&session.ours, &mut open_sent);
        wire::open(&agreed.theirs, &mut open_received);
        Some(SessionView {
            peer: peer.id,
            name: peer.name.clone(),
            asn: peer.asn(),
            own_asn: session.ours.asn,
            router_id: agreed.router_id,
            local: session.link.local,
            remote: session.link.remote,
            open_sent,
            open_received,
            four_octet_as: agreed.context.four_octet_as,
            path_ids: agreed.context.paths_in,
            families: agreed.families.clone(),
            since: session.since,
        })
    }

    pub(super) fn see_up(&mut self, id: PeerId, conn: ConnId) {
        if self.monitor.is_none() {
            return;
        }
        let peer = self.peers.get(&id);
        let view = peer.and_then(|p| self.session_view(p, p.session(conn)?));
        if let (Some(monitor), Some(view)) = (&mut self.monitor, view) {
            monitor.batch.seen.push(Seen::Up(Box::new(view)));
        }
    }

    pub(super) fn see_down(&mut self, id: PeerId, session: &Session, cause: &Cause) {
        if self.monitor.is_none() {
            return;
        }
        let view = self.peers.get(&id).and_then(|p| self.session_view(p, session));
        if let (Some(monitor), Some(view)) = (&mut self.monitor, view) {
            let (session, cause) = (Box::new(view), cause.clone());
            monitor.batch.seen.push(Seen::Down { session, cause });
        }
    }

    /// A message of a session that is up, before it takes effect.
    pub(super) fn see_message(
        &mut self,
        id: PeerId,
        conn: ConnId,
        (frame, message): (&[u8], &Message<'_>),
    ) {
        let Some(monitor) = &mut self.monitor else { return };
        let Message::Update(update) = message else { return };
        let peer = self.peers.get(&id);
        let session = peer.and_then(|p| p.session(conn)).filter(|s| s.is_established());
        let Some(session) = session else { return };
        let Monitor { watch, batch: Batch { seen, bytes }, .. } = &mut **monitor;
        if watch.updates {
            let message = put(bytes, |out| out.extend(frame));
            let withdrawn = update.fault.as_ref().is_some_and(|fault| fault.withdraw);
            let context = session.context();
            let effect = withdrawn.then(|| put(bytes, |out| withdrawal(&context, update, out)));
            seen.push(Seen::Update { peer: id, message, effect });
        }
        if watch.accepted {
            let gone = update.withdrawn.iter().flatten().map(|section| section.nlri);
            let told = update.announced.iter().flatten().map(|section| section.nlri);
            for nlri in gone.chain(told) {
                let judged = |(prefix, path)| Seen::Judged { peer: id, prefix, path };
                seen.extend(nlri.paths().map(judged));
            }
        }
    }

    /// Paths that were judged again, or have gone without a message.
    pub(super) fn see_change(&mut self, id: PeerId, keys: &[PathKey], gone: bool) {
        let Some(monitor) = &mut self.monitor else { return };
        if self.peers.get(&id).is_none_or(|p| p.up.is_none()) {
            return;
        }
        let Monitor { watch, batch, .. } = &mut **monitor;
        for key in keys {
            let (Some(prefix), path) = (self.rib.prefix(key.prefix), key.path) else { continue };
            if gone && watch.updates {
                batch.seen.push(Seen::Gone { peer: id, prefix, path });
            }
            if watch.accepted {
                batch.seen.push(Seen::Judged { peer: id, prefix, path });
            }
        }
    }

    /// Before the journal is shortened.
    pub(super) fn see_chosen(&mut self) {
        let Some(monitor) = &mut self.monitor else { return };
        let journal = self.rib.journal();
        if monitor.watch.chosen {
            let news = (monitor.read..journal.end()).filter_map(|n| journal.get(n));
            let prefixes = news.filter_map(|number| self.rib.prefix(number));
            monitor.batch.seen.extend(prefixes.map(Seen::Chosen));
        }
        monitor.read = journal.end();
    }

    /// Walks through what a peer has announced from the end of its table to the beginning: UPDATEs
    /// of what is at `count` numbers from `at` on downwards (`None`: from the end), before policy
    /// and behind it, and where to go on, unless that was the last. What changes on the way is seen
    /// by itself.
    pub fn tell_adj_in(
        &self,
        (peer, family): (PeerId, Family),
        (at, count): (Option<usize>, usize),
        mut before: Option<&mut Vec<u8>>,
        mut behind: Option<&mut Vec<u8>>,
    ) -> Option<usize> {
        let table = self.peers.get(&peer)?.adj_in.get(family);
        let (to, from) = self.stretch(family, at, count);
        let context = self.context_of(peer);
        let (mut came, mut passed) = (Run::new(family, context), Run::new(family, context));
        for number in (to..from).rev().map(|index| PrefixId::new(family, index)) {
            let Some(prefix) = self.rib.prefix(number) else { continue };
            for (key, path) in table.of(number) {
                if let Some(out) = &mut before
                    && let Some(attrs) = self.interner.get(path.attrs)
                {
                    came.add((prefix, key.path), attrs, out);
                }
                if let Some(out) = &mut behind
                    && let Some(accepted) = self.path_of(peer, key)
                {
                    passed.add((prefix, key.path), &accepted.attrs, out);
                }
            }
        }
        before.into_iter().for_each(|out| came.end(out));
        behind.into_iter().for_each(|out| passed.end(out));
        (to > 0).then_some(to)
    }

    /// The same of the best paths of the Loc-RIB.
    pub fn tell_routes(
        &self,
        family: Family,
        (at, count): (Option<usize>, usize),
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let (to, from) = self.stretch(family, at, count);
        let mut best = Run::new(family, CONTEXT);
        for number in (to..from).rev().map(|index| PrefixId::new(family, index)) {
            let path = self.rib.at(number).and_then(Route::best);
            if let (Some(prefix), Some(path)) = (self.rib.prefix(number), path) {
                best.add((prefix, 0), &path.attrs, out);
            }
        }
        best.end(out);
        (to > 0).then_some(to)
    }

    /// The same: each route with all of its paths, the best first.
    pub fn walk_routes(
        &self,
        family: Family,
        (at, count): (Option<usize>, usize),
        each: &mut dyn FnMut(&Prefix, Vec<Heard>),
    ) -> Option<usize> {
        let (to, from) = self.stretch(family, at, count);
        for number in (to..from).rev().map(|index| PrefixId::new(family, index)) {
            let Some(prefix) = self.rib.prefix(number) else { continue };
            let Some(route) = self.rib.at(number) else { continue };
            each(&prefix, route.paths().iter().map(|p| self.path_heard(&prefix, p)).collect());
        }
        (to > 0).then_some(to)
    }

    fn stretch(&self, family: Family, at: Option<usize>, count: usize) -> (usize, usize) {
        let from = at.unwrap_or(usize::MAX).min(self.rib.numbers().slots(family));
        (from.saturating_sub(count), from)
    }

    fn path_heard(&self, prefix: &Prefix, path: &Path) -> Heard {
        // What a client has injected is originated here.
        let told = path.source.peer.and_then(|id| self.peers.get(&id));
        let peer = told.map(|p| p.id);
        let since = told.and_then(|p| {
            let table = p.adj_in.get(Family::of(prefix));
            table.since(table.get(PathKey { prefix: self.rib.find(prefix)?, path: path.id })?)
        });
        let own = || self.originated.get(prefix).copied();
        let since = since.or_else(own).unwrap_or(self.began);
        Heard { peer, id: path.id, attributes: path.attrs.unpack(), since }
    }

    /// UPDATEs of the best path of a prefix as it is now, or of its withdrawal.
    pub fn tell_chosen(&self, prefix: &Prefix, out: &mut Vec<u8>) {
        tell(&CONTEXT, (*prefix, 0), self.rib.get(prefix).and_then(Route::best), out);
    }

    /// Of what the import policy has made of a peer's path.
    pub fn tell_accepted(&self, peer: PeerId, listed: (Prefix, u32), out: &mut Vec<u8>) {
        let key = self.rib.find(&listed.0).map(|prefix| PathKey { prefix, path: listed.1 });
        let path = key.and_then(|key| self.path_of(peer, key));
        tell(&self.context_of(peer), listed, path, out);
    }

    /// Of a peer's path that is gone.
    pub fn tell_gone(&self, peer: PeerId, listed: (Prefix, u32), out: &mut Vec<u8>) {
        tell(&self.context_of(peer), listed, None, out);
    }

    fn path_of(&self, peer: PeerId, key: PathKey) -> Option<&Path> {
        let of = |path: &&Path| path.source.peer == Some(peer) && path.id == key.path;
        self.rib.at(key.prefix)?.paths().iter().find(of)
    }

    /// Path identifiers stand where they stand in the peer's own messages (RFC 7911 §4).
    fn context_of(&self, peer: PeerId) -> Context {
        let session = self.peers.get(&peer).and_then(Peer::established);
        let paths_out = session.map_or(PathIds::NONE, |s| s.context().paths_in);
        Context { paths_out, ..CONTEXT }
    }
}

/// What is made of the RIB: AS numbers of four octets, LOCAL_PREF told.
const CONTEXT: Context =
    Context { four_octet_as: true, internal: true, extended_next_hop: true, ..Context::BARE };

fn tell(context: &Context, listed: (Prefix, u32), path: Option<&Path>, out: &mut Vec<u8>) {
    let family = Family::of(&listed.0);
    match path {
        Some(path) => path.attrs.announce(context, family, &[listed], out),
        None => wire::withdraw(context, family, &[listed], out),
    };
}

/// Paths in a row with the same attributes, which go into UPDATEs together.
struct Run {
    family: Family,
    context: Context,
    attrs: Option<Attrs>,
    prefixes: Vec<(Prefix, u32)>,
}

impl Run {
    const fn new(family: Family, context: Context) -> Self {
        Self { family, context, attrs: None, prefixes: Vec::new() }
    }

    fn add(&mut self, prefix: (Prefix, u32), attrs: &Attrs, out: &mut Vec<u8>) {
        if self.attrs.as_ref() != Some(attrs) {
            self.end(out);
            self.attrs = Some(attrs.clone());
        }
        self.prefixes.push(prefix);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let Some(attrs) = self.attrs.take() else { return };
        let mut rest = self.prefixes.as_slice();
        while !rest.is_empty() {
            let count = attrs.announce(&self.context, self.family, rest, out);
            // Attributes that leave no room for a prefix cannot be told.
            rest = rest.get(count.max(1)..).unwrap_or_default();
        }
        self.prefixes.clear();
    }
}

fn put(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> std::ops::Range<usize> {
    let start = bytes.len();
    write(bytes);
    start..bytes.len()
}

/// What a malformed UPDATE comes to.
fn withdrawal(context: &Context, update: &Update<'_>, out: &mut Vec<u8>) {
    // As the peer would have written it.
    let context = context.mirrored();
    for section in update.withdrawn.iter().flatten() {
        let paths: Vec<(Prefix, u32)> = section.nlri.paths().collect();
        let mut rest = paths.as_slice();
        while !rest.is_empty() {
            let count = wire::withdraw(&context, section.family, rest, out);
            match rest.get(count..) {
                Some(less) if count > 0 => rest = less,
                _ => return,
            }
        }
    }
}
