//! The whole speaker: peers, RIBs and FIB behind one door.
//!
//! - `bfd`: what follows from what BFD finds (RFC 5882)
//! - `connections`: dialling, accepting, collisions; what ends a session
//! - `messages`: bytes to messages to what they mean
//! - `routes`: UPDATEs into the RIBs, own prefixes, the FIB
//! - `links`: peers by link-local addresses, whichever the link
//! - `monitor`: what somebody beside the peers is told of
//! - `origins`: routes judged again when the RPKI says something else
//! - `refresh`: everything told again, in both roles (RFC 2918, RFC 7313)
//! - `limits`: how much a peer may tell
//! - `restart`: graceful restart in both roles (RFC 4724)
//! - `survive`: sessions of an earlier process
//! - `long_lived`: what is stale for longer (RFC 9494)
//! - `policies`: compiled once, tried, and applied again to what stands
//! - `drain`: before this node goes (RFC 8326)
//! - `reload`: a new configuration as a difference
//! - `show`: views for the API
//! - `query`: questions about whole tables
//! - `explain`: why one route is, or is not, what it might be
//! - `watch`: what has become of routes
//! - `inject`: routes of other programs
//! - `trial`: what a policy would do
//! - `reset`: what an operator does to a session
//! - `sweep`: what no table uses any more
//!
//! Sending is pulled: a change wakes the connections it concerns, and the UPDATEs are made when
//! the socket has room.

mod bfd;
mod connections;
mod drain;
mod explain;
mod inject;
pub(crate) mod limits;
mod links;
mod long_lived;
mod messages;
mod monitor;
pub(crate) mod origins;
mod policies;
mod query;
pub(crate) mod refresh;
mod reload;
mod reset;
mod restart;
mod routes;
mod show;
mod survive;
mod sweep;
#[cfg(test)]
mod tests;
mod trial;
mod watch;

pub use query::Scan;
pub use reset::Done;
pub use trial::{Trial, TrialError, TrialOf};

use crate::config::{SessionConfig, SpeakerConfig};
use crate::event::{Action, Event, Start};
use crate::fib::Fib;
use crate::monitor::Monitor;
use crate::peer::Peer;
use crate::policy::Program;
use crate::report::{Cause, Report};
use crate::rib::adj_out::Memos;
use crate::rib::attrs::Interner;
use crate::rib::loc_rib::LocRib;
use crate::rib::policy::Filter;
use crate::rpki;
use crate::session::Session;
use crate::types::{ConnId, Family, PeerId, Prefix};
pub(crate) use links::OwnAddresses;

use drain::Drain;
use hashbrown::HashMap;
use inject::Leases;
use links::Interfaces;
use restart::Recovery;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use watch::RouteWatch;

/// A BGP speaker without IO. One event in, any number of actions out.
///
/// After [`Speaker::new`] tell it `Adopted` (unless there is no kernel to look at) and `Blocks`
/// (an empty set if nobody else owns blocks here) as soon as they are known, then go on with
/// whatever happens. `deadline` is set from the start: the first `Due` begins the dialling. Before
/// the first `Blocks` sessions come up, but no UPDATE leaves: what we announce first must be all we
/// have, or a peer that kept our routes over a restart would drop some of them at our EoR.
#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    /// Of the configuration's policies, each compiled once.
    programs: BTreeMap<String, Arc<Program>>,
    start: Start,
    began: Instant,
    drain: Drain,
    peers: BTreeMap<PeerId, Peer>,
    /// But for link-local ones, which mean something on one interface alone.
    by_address: HashMap<IpAddr, PeerId>,
    /// As far as peers are on them, with their numbers.
    interfaces: Interfaces,
    /// Every connection that belongs to a peer, those being dialled included.
    conns: HashMap<ConnId, PeerId>,
    /// Ended, with the last words still to be sent.
    closing: HashMap<ConnId, Vec<u8>>,
    rib: LocRib,
    interner: Interner,
    memos: Memos,
    fib: Fib,
    /// What the RPKI says of origins.
    origins: rpki::Known,
    recovery: Recovery,
    /// `None`: nobody watches.
    monitor: Option<Box<Monitor>>,
    /// The kernel's blocks; `None`: not told yet.
    blocks: Option<BTreeSet<Prefix>>,
    originated: BTreeMap<Prefix, Instant>,
    leases: Leases,
    watch: RouteWatch,
    /// Every address that a connection has shown to be ours.
    own_addresses: OwnAddresses,
    next_conn: u64,
    next_peer: u32,
    stopped: bool,
}

/// The journal is looked after when it has grown by this much.
const JOURNAL_SLACK: usize = 1 << 16;

impl Speaker {
    #[must_use]
    pub fn new(config: SpeakerConfig, start: Start, now: Instant) -> Self {
        let mut speaker = Self {
            programs: policies::compile(&config.policies, &BTreeMap::new()),
            fib: Fib::new(config.install),
            start,
            began: now,
            drain: if start.drained { Drain::withdrawn(now) } else { Drain::Serving },
            peers: BTreeMap::new(),
            by_address: HashMap::new(),
            interfaces: Interfaces::new(),
            conns: HashMap::new(),
            closing: HashMap::new(),
            rib: LocRib::default(),
            interner: Interner::default(),
            memos: Memos::default(),
            origins: rpki::Known { table: Arc::default(), own_asn: config.asn },
            recovery: Recovery::new(&config, now),
            monitor: None,
            blocks: None,
            originated: BTreeMap::new(),
            leases: Leases::default(),
            watch: RouteWatch::default(),
            own_addresses: OwnAddresses::default(),
            next_conn: 0,
            next_peer: 0,
            stopped: false,
            config,
        };
        for peer in speaker.config.peers.clone() {
            speaker.add_peer(&peer, now);
        }
        speaker.originate(now, &mut Vec::new());
        speaker
    }

    pub fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<Action>) {
        if self.stopped {
            return;
        }
        let mark = self.mark_event(&event);
        match event {
            Event::Accepted { conn, link } => self.accepted(conn, link, now, out),
            Event::Connected { conn, link } => self.connected(conn, link, now, out),
            Event::ConnectFailed { conn, why } => {
                self.ended(conn, Cause::ConnectFailed(why), now, out);
            }
            Event::Received { conn, bytes } => self.received(conn, bytes, now, out),
            Event::Resumed { conn, session } => self.resumed(conn, *session, now, out),
            Event::Left { conn } => self.left(conn),
            Event::Closed { conn, why } => self.ended(conn, Cause::Closed(why), now, out),
            Event::Due => self.due(now, out),
            Event::Path { peer, interface, path } => {
                self.path((peer, interface.as_deref()), path, now, out);
            }
            Event::Interface { name, index } => self.interface(name, index, now, out),
            Event::Neighbour { interface, address } => {
                self.neighbour(&interface, address, now, out);
            }
            Event::Blocks(blocks) => {
                self.blocks = Some(blocks);
                self.originate(now, out);
            }
            Event::Adopted(routes) => self.adopted(routes, out),
            Event::FibLeftOut(hops) => self.fib.leaves_out(hops),
            Event::FibFailed { prefix, why } => {
                self.fib.failed(prefix, &why, now);
                out.push(Action::Report(Report::FibFailed { prefix, why }));
            }
            Event::Origins(table) => self.origins(table, out),
            Event::Configure(config) => self.configure(*config, now, out),
            Event::Drain { wait } => self.begin_drain(wait, false, now, out),
            Event::Undrain => self.undrain(out),
            Event::Leave { wait } => self.begin_drain(wait, true, now, out),
            Event::Stop => self.stop(now, out),
        }
        self.note_routes(mark);
        self.finish(now, out);
    }

    /// When to come back with [`Event::Due`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let peers = self.peers.values().filter_map(Peer::deadline);
        let own = [
            self.fib.deadline(),
            self.recovery.deadline(),
            self.drain_deadline(),
            self.leases.deadline(),
        ];
        peers.chain(own.into_iter().flatten()).min()
    }

    /// The peer of that name or address.
    #[must_use]
    pub fn find_peer(&self, name_or_address: &str) -> Option<PeerId> {
        let (address, zone) = match name_or_address.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (name_or_address, None),
        };
        let address = address.parse().ok().and_then(|a| self.peer_at(a, zone));
        let named = || self.peers.values().find(|p| p.name == name_or_address).map(|p| p.id);
        address.or_else(named)
    }

    /// After each event: who has something to send, and who has got into another state.
    fn finish(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.recovery_over_if_all(out);
        self.see_chosen();
        self.tend_journal();
        self.tend_tables();
        let waking: Vec<ConnId> = self
            .peers
            .values()
            .flat_map(|p| p.sessions.iter().map(move |s| (p, s)))
            .filter(|(peer, session)| !session.woken && self.has_news(peer, session))
            .map(|(_, session)| session.conn)
            .collect();
        for conn in waking {
            if self.session_mut(conn).is_some_and(|s| s.wake(now)) {
                out.push(Action::Wake { conn });
            }
        }
        for peer in self.peers.values_mut() {
            let to = peer.state();
            let from = std::mem::replace(&mut peer.history.state, to);
            if from != to {
                peer.history.state_since = now;
                let name = peer.name.clone();
                out.push(Action::Report(Report::StateChanged { peer: peer.id, name, from, to }));
            }
        }
    }

    /// Drops what everybody has read. A peer that is far behind reads the table instead, so the
    /// journal is never much longer than the table.
    fn tend_journal(&mut self) {
        let slots: usize = Family::ALL.into_iter().map(|f| self.rib.slots(f)).sum();
        let bound = slots * 2 + JOURNAL_SLACK;
        self.tend_every(bound);
        if self.rib.journal().len() <= bound {
            return;
        }
        let end = self.rib.journal().end();
        let keep_from = end.saturating_sub(bound as u64 / 2);
        let mut read = end;
        let readers = self.peers.values_mut().filter(|p| p.up.is_some());
        for peer in readers.filter(|p| !p.adj_out.reads_every()) {
            if peer.adj_out.cursor() < keep_from {
                peer.adj_out.skip_journal(&self.rib);
            }
            read = read.min(peer.adj_out.cursor());
        }
        self.rib.journal_mut().forget_before(read);
    }

    /// The same with the journal of those who are told several paths a prefix, while there are any.
    fn tend_every(&mut self, bound: usize) {
        let end = self.rib.every().end();
        let mut readers = self.peers.values_mut().filter(|p| p.adj_out.reads_every()).peekable();
        if readers.peek().is_none() {
            self.rib.keep_every(false);
            return self.rib.every_mut().forget_before(end);
        }
        if self.rib.every().len() <= bound {
            return;
        }
        let mut read = end;
        for peer in readers {
            if peer.adj_out.cursor() < end.saturating_sub(bound as u64 / 2) {
                peer.adj_out.skip_journal(&self.rib);
            }
            read = read.min(peer.adj_out.cursor());
        }
        self.rib.every_mut().forget_before(read);
    }

    fn add_peer(&mut self, config: &crate::config::PeerConfig, now: Instant) -> PeerId {
        let id = self.new_peer_id();
        let peer = Peer::fixed(id, config, now);
        self.recovery.expect(id, &config.session.families);
        self.insert_peer(peer)
    }

    fn insert_peer(&mut self, mut peer: Peer) -> PeerId {
        let id = peer.id;
        peer.salt = self.config.router_id.0.to_bits();
        (peer.import, peer.export) = self.filters(&peer.settings);
        self.enter_address(peer.address, id);
        self.peers.insert(id, peer);
        id
    }

    fn new_peer_id(&mut self) -> PeerId {
        self.next_peer += 1;
        PeerId(self.next_peer)
    }

    fn filters(&self, settings: &SessionConfig) -> (Filter, Filter) {
        let programs = &self.programs;
        (Filter::new(&settings.import, programs), Filter::new(&settings.export, programs))
    }

    fn peer_of(&self, conn: ConnId) -> Option<PeerId> {
        self.conns.get(&conn).copied()
    }

    fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        let id = self.peer_of(conn)?;
        self.peers.get_mut(&id)?.session_mut(conn)
    }
}
