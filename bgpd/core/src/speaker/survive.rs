//! Sessions that outlive the process: what the next one needs, and how it goes on.
//!
//! The OPENs say what was agreed on. What we have told the peer is in a log ([`Record`]), so that
//! only differences are told. What the peer has told us is asked for again (RFC 2918); until it has
//! come, the kernel's routes through this peer stand still, as they do in a graceful restart: what
//! an EoR is there, the end of the refresh is here.

use super::Speaker;
use crate::event::{Action, Resumed, Survivor};
use crate::peer::Peer;
use crate::report::Report;
use crate::rib::told::{Record, Told};
use crate::session::Session;
use crate::session::agree::agree;
use crate::types::{ConnId, Family, PeerId};
use crate::wire::{self, Context, Message, Notification, Open, cease};
use std::time::Instant;

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
        if !agreed.refresh {
            return Err(
                "the peer does not speak ROUTE-REFRESH (RFC 2918), so its routes could not \
                        be asked for again",
            );
        }
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

    /// Everything this peer has been told, as a log that stands in for all that was sent so far.
    #[must_use]
    pub fn told(&self, conn: ConnId) -> Vec<Record> {
        let peer = self.peer_of(conn).and_then(|id| self.peers.get(&id));
        let Some((peer, session)) = peer.and_then(|p| Some((p, p.session(conn)?))) else {
            return Vec::new();
        };
        peer.adj_out.log(&session.context())
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
            Ok(id) => self.go_on(id, conn, now, out),
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

    fn take_up(&mut self, conn: ConnId, resumed: Resumed, now: Instant) -> Result<PeerId, Refusal> {
        let Resumed { link, open_sent, open_received, age, silent, told } = resumed;
        let unreadable = |what: &str| Refusal::Unreadable(format!("{what} cannot be read"));
        let ours = open(&open_sent).ok_or_else(|| unreadable("our OPEN"))?;
        let theirs = open(&open_received).ok_or_else(|| unreadable("the peer's OPEN"))?;
        let id = self.admit(link.remote, now).map_err(|why| {
            let gone = Notification::cease(cease::PEER_DECONFIGURED);
            let agreed = agree(&ours, &theirs, theirs.asn);
            let hard = agreed.is_ok_and(|a| a.ends_hard(&gone));
            Refusal::Unwanted(why, if hard { gone.hard() } else { gone })
        })?;
        let fits = self.peers.get(&id).is_some_and(|peer| self.fits(peer, &ours, &theirs));
        let agreed = agree(&ours, &theirs, theirs.asn).ok().filter(|_| fits);
        let Some(agreed) = agreed else {
            self.drop_if_over(id);
            return Err(Refusal::Unwanted(
                "the configuration has changed in what the OPENs have settled",
                Notification::cease(cease::OTHER_CONFIGURATION_CHANGE),
            ));
        };
        let told = Told::replay(&told, &agreed.context, &mut self.interner);
        let told = told.map_err(|e| Refusal::Unreadable(format!("what the peer was told: {e}")))?;
        self.note_own_addresses(&link);
        let Self { peers, rib, interner, .. } = self;
        let Some(peer) = peers.get_mut(&id) else { return Err(unreadable("the peer")) };
        peer.adj_out.resume(rib, &agreed, told, interner);
        peer.history.capabilities.clone_from(&agreed.theirs.capabilities);
        let session = Session::resume(conn, link, ours, agreed, (age, silent), now);
        peer.history.state_since = session.since;
        peer.history.state = session.state.name();
        peer.sessions.push(session);
        self.conns.insert(conn, id);
        Ok(id)
    }

    /// Whether this process would have said the same where it cannot be changed any more.
    fn fits(&self, peer: &Peer, ours: &Open, theirs: &Open) -> bool {
        let now = self.offer(peer).message();
        let same = now.asn == ours.asn
            && now.router_id == ours.router_id
            && now.families() == ours.families()
            && peer.settings.asn == theirs.asn;
        same && peer.established().is_none()
    }

    fn go_on(&mut self, id: PeerId, conn: ConnId, now: Instant, out: &mut Vec<Action>) {
        let Some(up) = self.peers.get(&id).and_then(|p| self.up(p, conn)) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.session(conn) else { return };
        let (age, agreed) = (now.saturating_duration_since(session.since), session.agreed());
        let Some(agreed) = agreed.cloned() else { return };
        peer.history.established += 1;
        peer.history.restart.clone_from(&agreed.restart);
        peer.source = Some(std::sync::Arc::clone(&up.source));
        peer.up = Some(up);
        let name = peer.name.clone();
        out.push(Action::Established { conn });
        out.push(Action::Report(Report::PeerResumed { peer: id, name, age }));
        for family in Family::ALL {
            if agreed.families.contains(&family) {
                self.retell(id, family, now);
            } else {
                self.spoken(id, family, out);
            }
        }
    }
}

fn open(message: &[u8]) -> Option<Open> {
    match wire::decode(message, &Context::default()) {
        Ok(Message::Open(open)) => Some(open),
        _ => None,
    }
}
