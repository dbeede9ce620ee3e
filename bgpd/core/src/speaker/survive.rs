//! Sessions that outlive the process: what the next one needs, and how it goes on.
//!
//! The OPENs say what was agreed on. What was said since is in a log ([`Record`]): what we have told
//! the peer, so that only differences are told, and what the peer has told us, so that it is asked
//! for nothing. When that is replayed, the kernel's routes through this peer are those we want,
//! unless the log begins in the middle of a restart: then its EoR is waited for, as ever.

use super::Speaker;
use crate::event::{Action, Resumed, Survivor};
use crate::peer::Peer;
use crate::report::Report;
use crate::rib::adj_in::InPath;
use crate::rib::attrs::AttrsId;
use crate::rib::by_path::PathKey;
use crate::rib::told::{BadRecord, Record, Said, Told, all, each};
use crate::session::Session;
use crate::session::agree::agree;
use crate::types::{ConnId, Family, PeerAs, PeerId, Prefix};
use crate::wire::{self, AfiSafi, Context, Message, Notification, Open, RefreshMark, cease};
use hashbrown::HashMap;
use std::rc::Rc;
use std::time::Instant;

/// A path with its identifier.
type Listing = (Prefix, u32);

/// Why a session cannot go on.
enum Refusal {
    /// This process is not to have it: the peer is told.
    Unwanted(&'static str, Notification),
    /// What the earlier process has left is of no use: as if it had never been there.
    Unreadable(String),
}

impl Speaker {
    /// The connection of the session that is up with this peer.
    #[must_use]
    pub fn connection(&self, peer: PeerId) -> Option<ConnId> {
        self.peers.get(&peer)?.established().map(|s| s.conn)
    }

    /// What must be kept for this session to outlive the process, or why it cannot.
    pub fn survivor(&self, conn: ConnId) -> Result<Survivor, &'static str> {
        let peer = self.peer_of(conn).and_then(|id| self.peers.get(&id));
        let session = peer.and_then(|p| p.session(conn)).filter(|s| s.is_established());
        let (Some(peer), Some(session)) = (peer, session) else { return Err("it is not up") };
        let Some(agreed) = session.agreed() else { return Err("it is not up") };
        let (mut open_sent, mut open_received) = (Vec::new(), Vec::new());
        wire::open(&session.ours, &mut open_sent);
        wire::open(&agreed.theirs, &mut open_received);
        Ok(Survivor {
            peer: peer.name.clone(),
            hold_time: agreed.hold_time,
            keepalive: agreed.keepalive(),
            open_sent,
            open_received,
        })
    }

    /// Everything that was said in this session and still counts, as a log that stands in for all
    /// that was sent and received so far.
    #[must_use]
    pub fn log(&self, conn: ConnId) -> Vec<Record> {
        let peer = self.peer_of(conn).and_then(|id| self.peers.get(&id));
        let Some((peer, session)) = peer.and_then(|p| Some((p, p.session(conn)?))) else {
            return Vec::new();
        };
        let context = session.context();
        let mut log = peer.adj_out.log(&context, &self.rib, &self.interner);
        log.push(Record::Heard(self.heard(peer, &context)));
        log
    }

    /// How much that log would say, and how much that was said no longer counts.
    #[must_use]
    pub fn said(&self, conn: ConnId) -> Said {
        let peer = self.peer_of(conn).and_then(|id| self.peers.get(&id));
        peer.map_or_else(Said::default, |peer| {
            let families = Family::ALL.map(|f| (peer.adj_in.get(f), peer.adj_out.count(f)));
            let routes = families.iter().map(|(heard, told)| heard.len() + told).sum();
            let heard: u64 = families.iter().map(|(heard, _)| heard.outdated()).sum();
            Said { routes, outdated: peer.adj_out.outdated() + heard }
        })
    }

    /// The Adj-RIB-In as messages. What a restarting peer has not told again yet (RFC 4724) is none
    /// of this session's; what is stale for the sake of a refresh is told before its BoRR.
    fn heard(&self, peer: &Peer, context: &Context) -> Vec<u8> {
        let mut out = Vec::new();
        for family in Family::ALL {
            let adj_in = peer.adj_in.get(family);
            if peer.refreshing.get(family).is_under_way() {
                let stale = adj_in.iter().filter(|(_, path)| adj_in.is_stale(path));
                self.write_paths(context, family, stale, &mut out);
                wire::refresh_mark(family.into(), RefreshMark::Begin, &mut out);
            }
            let fresh = adj_in.iter().filter(|(_, path)| !adj_in.is_stale(path));
            self.write_paths(context, family, fresh, &mut out);
            if self.is_whole(peer, family) {
                wire::end_of_rib(family, &mut out);
            }
        }
        out
    }

    fn write_paths<'a>(
        &self,
        context: &Context,
        family: Family,
        paths: impl Iterator<Item = (PathKey, &'a InPath)>,
        out: &mut Vec<u8>,
    ) {
        let mut by_attributes: HashMap<AttrsId, Vec<Listing>> = HashMap::new();
        // As the peer has written it.
        let context = &context.mirrored();
        for (key, path) in paths {
            let group = by_attributes.entry(path.attrs).or_default();
            group.extend(self.rib.prefix(key.prefix).map(|prefix| (prefix, key.path)));
        }
        for (attrs, prefixes) in &by_attributes {
            let Some(attrs) = self.interner.get(*attrs) else { continue };
            all(prefixes, |rest| attrs.announce(context, family, rest, out));
        }
    }

    /// Nothing but what this session has brought can be in the kernel by this peer, so that the next
    /// process need not wait for its EoR.
    fn is_whole(&self, peer: &Peer, family: Family) -> bool {
        let waits = self.start.restarting && !self.recovery.has_spoken(peer.id, family);
        let refreshing = peer.refreshing.get(family).is_under_way();
        *peer.end_of_rib.get(family)
            || !waits && (refreshing || peer.adj_in.get(family).stale() == 0)
    }

    pub(super) fn left(&mut self, conn: ConnId) {
        if let Some(peer) = self.conns.remove(&conn).and_then(|id| self.peers.get_mut(&id)) {
            peer.sessions.retain(|s| s.conn != conn);
        }
    }

    pub(super) fn resumed(
        &mut self,
        conn: ConnId,
        resumed: Resumed,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let remote = resumed.link.remote;
        match self.take_up(conn, resumed, now) {
            Ok((id, heard)) => self.go_on(id, conn, &heard, now, out),
            Err(refusal) => {
                let why = match refusal {
                    Refusal::Unwanted(why, notification) => {
                        let mut farewell = Vec::new();
                        wire::notification(&notification, &mut farewell);
                        self.closing.insert(conn, farewell);
                        why.to_owned()
                    }
                    Refusal::Unreadable(why) => why,
                };
                out.push(Action::Close { conn });
                out.push(Action::Report(Report::NotResumed { remote, why }));
            }
        }
    }

    fn take_up(
        &mut self,
        conn: ConnId,
        resumed: Resumed,
        now: Instant,
    ) -> Result<(PeerId, Vec<Record>), Refusal> {
        let Resumed { link, open_sent, open_received, age, silent, log } = resumed;
        let unreadable = |what: &str| Refusal::Unreadable(format!("{what} cannot be read"));
        let ours = open(&open_sent).ok_or_else(|| unreadable("our OPEN"))?;
        let theirs = open(&open_received).ok_or_else(|| unreadable("the peer's OPEN"))?;
        let id = self.admit(&link, now).map_err(|why| {
            let gone = Notification::cease(cease::PEER_DECONFIGURED);
            let agreed = agree(&ours, &theirs, PeerAs::Is(theirs.asn));
            let hard = agreed.is_ok_and(|a| a.ends_hard(&gone));
            Refusal::Unwanted(why, if hard { gone.hard() } else { gone })
        })?;
        let fits = self.peers.get(&id).is_some_and(|peer| self.fits(peer, &ours, &theirs));
        let agreed = agree(&ours, &theirs, PeerAs::Is(theirs.asn)).ok();
        let Some(agreed) = agreed.as_ref().filter(|_| fits).cloned() else {
            let changed = Notification::cease(cease::OTHER_CONFIGURATION_CHANGE);
            let same = self.peers.get(&id).is_some_and(|p| self.is_between(p, &ours, &theirs));
            let hard = !same && agreed.is_some_and(|a| a.notification());
            self.drop_if_over(id);
            return Err(Refusal::Unwanted(
                "the configuration has changed in what the OPENs have settled",
                if hard { changed.hard() } else { changed },
            ));
        };
        let bad = |e| Refusal::Unreadable(format!("the log of the session: {e}"));
        let told = Told::replay(&log, &agreed.context, &mut self.interner).map_err(bad)?;
        let heard: Vec<Record> =
            log.into_iter().filter(|r| matches!(r, Record::Heard(_))).collect();
        check(&heard, &agreed.context).map_err(bad)?;
        self.note_own_addresses(&link);
        let Self { peers, rib, interner, .. } = self;
        let Some(peer) = peers.get_mut(&id) else { return Err(unreadable("the peer")) };
        peer.is_at(&link);
        peer.adj_out.resume(rib, &agreed, told, interner);
        peer.history.capabilities.clone_from(&agreed.theirs.capabilities);
        let session = Session::resume(conn, link, ours, agreed, (age, silent), now)
            .with_send_hold(peer.settings.options.send_hold_time);
        peer.history.state_since = session.since;
        peer.history.state = session.state.name();
        peer.sessions.push(session);
        self.conns.insert(conn, id);
        Ok((id, heard))
    }

    /// Whether this process would have said the same where it cannot be changed any more.
    fn fits(&self, peer: &Peer, ours: &Open, theirs: &Open) -> bool {
        let now = self.offer(peer).message();
        let same = now.router_id == ours.router_id && now.families() == ours.families();
        same && self.is_between(peer, ours, theirs) && peer.established().is_none()
    }

    /// Whether it was a session between the two that are configured now.
    fn is_between(&self, peer: &Peer, ours: &Open, theirs: &Open) -> bool {
        self.own_asn(peer) == ours.asn && peer.settings.asn.admits(theirs.asn, ours.asn)
    }

    fn go_on(
        &mut self,
        id: PeerId,
        conn: ConnId,
        heard: &[Record],
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(up) = self.peers.get(&id).and_then(|p| self.up(p, conn)) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session(conn) else { return };
        let (age, agreed) = (now.saturating_duration_since(session.since), session.agreed());
        let Some(agreed) = agreed.cloned() else { return };
        peer.history.established += 1;
        peer.history.restart.clone_from(&agreed.restart);
        peer.source = Some(Rc::clone(&up.source));
        peer.up = Some(up);
        let name = peer.name.clone();
        self.see_up(id, conn);
        out.push(Action::Established { conn });
        out.push(Action::Report(Report::PeerResumed { peer: id, name, age }));
        self.fib.pause();
        for record in heard {
            let Record::Heard(messages) = record else { continue };
            let _ = each(messages, &agreed.context, |message| match message {
                Message::Update(update) => self.update(id, update, now, out),
                Message::RefreshMark(of, mark) => self.mark_heard(id, *of, *mark, now, out),
                _ => {}
            });
        }
        for family in Family::ALL.into_iter().filter(|f| !agreed.families.contains(f)) {
            self.spoken(id, family, out);
        }
        let swept = self.fib.unpause(out);
        for family in Family::ALL {
            let routes = *swept.get(family);
            if routes > 0 {
                out.push(Action::Report(Report::FibSwept { family, routes }));
            }
        }
    }
}

impl Speaker {
    /// A BoRR that was heard counts, also where its EoR stands behind it now.
    fn mark_heard(
        &mut self,
        id: PeerId,
        of: AfiSafi,
        mark: RefreshMark,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        match (of.family(), mark) {
            (Some(family), RefreshMark::Begin) => self.refresh_begun(id, family, now),
            _ => self.refresh_mark(id, of, mark, now, out),
        }
    }
}

/// Before anything takes effect: every message can be read.
fn check(heard: &[Record], context: &Context) -> Result<(), BadRecord> {
    for record in heard {
        if let Record::Heard(messages) = record {
            each(messages, context, |_| {})?;
        }
    }
    if heard.is_empty() { Err(BadRecord::Unheard) } else { Ok(()) }
}

fn open(message: &[u8]) -> Option<Open> {
    match wire::decode(message, &Context::default()) {
        Ok(Message::Open(open)) => Some(open),
        _ => None,
    }
}
