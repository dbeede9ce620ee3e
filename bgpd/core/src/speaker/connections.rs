//! Dialling, accepting, collisions, and what follows when a session ends.

use super::Speaker;
use crate::event::{Action, Link};
use crate::peer::{Peer, dialled_stays};
use crate::report::{Cause, Report};
use crate::rib::Kind;
use crate::session::agree::{Offer, RestartOffer};
use crate::session::timers::Timer;
use crate::session::{Input, Session, State, Step};
use crate::types::{Asn, ConnId, PeerAs, PeerId};
use crate::wire::{self, Notification, cease};
use std::net::IpAddr;
use std::time::{Duration, Instant};

impl Speaker {
    /// Everything whose time has come.
    pub(super) fn due(&mut self, now: Instant, out: &mut Vec<Action>) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.peer_due(id, now, out);
        }
        self.recovery_due(now, out);
        self.drain_due(now, out);
        self.leases_due(now, out);
        self.fib.retry(now, out);
    }

    fn peer_due(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        while let Some((conn, timer)) = self.take_due(id, now) {
            self.timer_due(id, conn, timer, now, out);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.leave_idle(now);
        peer.lift_bar(now);
        if peer.wants_to_dial(now) {
            self.dial(id, out);
        }
        self.refresh_due(id, now, out);
        self.stale_due(id, now, out);
        self.long_lived_due(id, now, out);
        self.limits_due(id, out);
        self.drop_if_over(id);
    }

    fn take_due(&mut self, id: PeerId, now: Instant) -> Option<(ConnId, Timer)> {
        let peer = self.peers.get_mut(&id)?;
        peer.sessions.iter_mut().find_map(|s| Some((s.conn, s.timers.take_due(now)?)))
    }

    fn timer_due(
        &mut self,
        id: PeerId,
        conn: ConnId,
        timer: Timer,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let step = self.session_mut(conn).map(|s| s.step(Input::Due(timer), now));
        if let Some(Step::Down(cause)) = step {
            self.lose(id, conn, cause, now, out);
        }
    }

    fn dial(&mut self, id: PeerId, out: &mut Vec<Action>) {
        self.next_conn += 1;
        let conn = ConnId::dialled(self.next_conn);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.redial_at = None;
        peer.dialling = Some(conn);
        self.conns.insert(conn, id);
        let (remote, local) = (peer.remote(), peer.settings.local_address);
        let interface = peer.interface.clone();
        out.push(Action::Connect { conn, peer: id, remote, interface, local });
    }

    pub(super) fn connected(
        &mut self,
        conn: ConnId,
        link: Link,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let id = self.peer_of(conn);
        match id.and_then(|id| self.peers.get_mut(&id)) {
            Some(peer) if peer.dialling == Some(conn) => {
                peer.dialling = None;
                let id = peer.id;
                self.open(id, conn, link, now);
            }
            // Given up in the meantime.
            _ => out.push(Action::Close { conn }),
        }
    }

    /// The end of a connection that never was, or of one that is no longer: whichever the shell
    /// calls it, what stands here decides.
    pub(super) fn ended(
        &mut self,
        conn: ConnId,
        cause: Cause,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.closing.remove(&conn);
        let Some(id) = self.peer_of(conn) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.dialling != Some(conn) {
            let cause = Cause::Closed(cause.why());
            return self.lose(id, conn, cause, now, out);
        }
        self.conns.remove(&conn);
        peer.dialling = None;
        peer.history.last_error = cause.text();
        peer.plan_retry(&cause, Duration::ZERO, self.config.connect_retry, now);
        let name = peer.name.clone();
        out.push(Action::Report(Report::SessionFailed { peer: id, name, cause }));
        self.meet(id, now, out);
    }

    pub(super) fn accepted(
        &mut self,
        conn: ConnId,
        link: Link,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        match self.admit(&link, now).and_then(|id| self.may_begin(id)) {
            Ok(id) => {
                self.conns.insert(conn, id);
                self.open(id, conn, link, now);
            }
            Err(why) => {
                let mut farewell = Vec::new();
                let rejected = Notification::cease(cease::CONNECTION_REJECTED);
                wire::notification(&rejected, &mut farewell);
                self.closing.insert(conn, farewell);
                out.push(Action::Close { conn });
                let remote = link.remote;
                out.push(Action::Report(Report::ConnectionRefused { remote, why }));
            }
        }
    }

    /// The peer a connection from there belongs to.
    pub(super) fn admit(&mut self, link: &Link, now: Instant) -> Result<PeerId, &'static str> {
        if let Some(peer) = self.peer_from(link).and_then(|id| self.peers.get(&id)) {
            return peer.refuses().map_or(Ok(peer.id), Err);
        }
        self.admit_dynamic(link, now)
    }

    fn admit_dynamic(&mut self, link: &Link, now: Instant) -> Result<PeerId, &'static str> {
        let address = link.remote.ip();
        let fitting = self.config.ranges.iter().filter(|r| r.range.contains(address));
        let Some(range) = fitting.max_by_key(|r| r.range.len()) else {
            return Err("no peer is configured at this address");
        };
        let members = self.peers.values().filter(|p| p.range.as_ref() == Some(&range.name)).count();
        if members >= range.limit {
            return Err("the range has as many peers as it may have");
        }
        let range = range.clone();
        let id = self.new_peer_id();
        self.recovery.expect(id, &range.session.families);
        Ok(self.insert_peer(Peer::dynamic(id, &range, link, now)))
    }

    fn open(&mut self, id: PeerId, conn: ConnId, link: Link, now: Instant) {
        self.note_own_addresses(&link);
        let Some(peer) = self.peers.get(&id) else { return };
        let session = Session::open(conn, link, &self.offer(peer), now);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.sessions.push(session);
        }
    }

    pub(super) fn offer(&self, peer: &Peer) -> Offer {
        let restart = peer.settings.graceful_restart.map(|own| RestartOffer {
            time: own.time,
            notification: own.notification,
            long_lived: own.long_lived,
            restarting: self.start.restarting && self.recovery.waits_for(peer.id),
            forwarding: self.forwarding_kept(peer),
        });
        Offer {
            asn: self.own_asn(peer),
            router_id: self.config.router_id,
            peer_as: peer.settings.asn,
            hold_time: peer.settings.hold_time,
            families: peer.settings.families.clone(),
            restart,
            options: peer.settings.options.clone(),
            add_paths: peer.settings.add_paths,
        }
    }

    /// What the peer knows us by.
    pub(super) fn own_asn(&self, peer: &Peer) -> Asn {
        peer.settings.options.own_asn(self.config.asn)
    }

    pub(super) fn kind_of(&self, peer: &Peer) -> Kind {
        let client = peer.settings.route_reflector_client;
        if peer.settings.asn == PeerAs::Is(self.config.asn) {
            Kind::Internal { client }
        } else {
            Kind::External
        }
    }

    /// The OPENs of this connection agree; another one may be further (RFC 4271 §6.8).
    pub(super) fn opened(&mut self, id: PeerId, conn: ConnId, now: Instant, out: &mut Vec<Action>) {
        let own_asn = self.peers.get(&id).map_or(self.config.asn, |peer| self.own_asn(peer));
        let own = (self.config.router_id, own_asn);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(agreed) = peer.session(conn).and_then(Session::agreed) else { return };
        let theirs = (agreed.router_id, agreed.theirs.asn);
        let restarted = agreed.peer_restarting();
        let Some(other) = peer.sessions.iter_mut().find(|s| s.conn != conn) else { return };
        let other_conn = other.conn;
        let loser = match &other.state {
            State::OpenSent => return,
            State::OpenConfirm(_) if conn.is_dialled() == dialled_stays(own, theirs) => other_conn,
            State::OpenConfirm(_) => conn,
            // RFC 4724 §5: it has restarted, and the end of its old connection did not reach us.
            State::Established(agreed) if restarted && agreed.restart.is_some() => {
                let cause = Cause::Closed("the peer has restarted and dialled anew".into());
                out.push(Action::Close { conn: other_conn });
                return self.lose(id, other_conn, cause, now, out);
            }
            State::Established(_) => {
                // If the peer no longer knows that connection, this makes its host say so.
                if other.outbox.is_empty() {
                    wire::keepalive(&mut other.outbox);
                }
                conn
            }
        };
        self.end(id, loser, Notification::cease(cease::CONNECTION_COLLISION), now, out);
    }

    /// Ends a session with a NOTIFICATION of ours.
    pub(super) fn end(
        &mut self,
        id: PeerId,
        conn: ConnId,
        notification: Notification,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(session) = self.session_mut(conn) else { return };
        let said = if session.ends_hard(&notification) {
            notification.hard()
        } else {
            notification.clone()
        };
        wire::notification(&said, &mut session.outbox);
        let cause = match notification {
            Notification { code: 6, subcode: cease::CONNECTION_COLLISION, .. } => Cause::Collision,
            Notification { code: 6, subcode: cease::PEER_DECONFIGURED, .. } => Cause::Deconfigured,
            _ => Cause::Sent(said),
        };
        self.lose(id, conn, cause, now, out);
    }

    pub(super) fn lose(
        &mut self,
        id: PeerId,
        conn: ConnId,
        cause: Cause,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let retry = self.config.connect_retry;
        self.conns.remove(&conn);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(at) = peer.sessions.iter().position(|s| s.conn == conn) else { return };
        let session = peer.sessions.remove(at);
        if !matches!(cause, Cause::Closed(_)) {
            if !cause.is_silent() {
                peer.history.sent.count_sent(&session.outbox);
                self.closing.insert(conn, session.outbox.clone());
            }
            out.push(Action::Close { conn });
        }
        peer.history.last_error = cause.text().or_else(|| peer.history.last_error.take());
        let lived = if session.is_established() { now - session.since } else { Duration::ZERO };
        if peer.sessions.is_empty() {
            peer.plan_retry(&cause, lived, retry, now);
        }
        if session.is_established() {
            self.went_down(id, &session, cause, now, out);
        } else {
            let name = peer.name.clone();
            out.push(Action::Report(Report::SessionFailed { peer: id, name, cause }));
        }
        self.meet(id, now, out);
        self.drop_if_over(id);
    }

    /// One session is up: no other connection with this peer is wanted.
    pub(super) fn keep_only(
        &mut self,
        id: PeerId,
        conn: ConnId,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let others: Vec<ConnId> =
            peer.sessions.iter().map(|s| s.conn).filter(|c| *c != conn).collect();
        if let Some(dialling) = peer.dialling.take() {
            self.conns.remove(&dialling);
            out.push(Action::Close { conn: dialling });
        }
        for other in others {
            self.end(id, other, Notification::cease(cease::CONNECTION_COLLISION), now, out);
        }
    }

    /// A dynamic peer that nobody would miss is forgotten.
    pub(super) fn drop_if_over(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get(&id).filter(|p| p.is_over()) {
            let address = peer.address;
            self.leave_address(address, id);
            self.peers.remove(&id);
        }
    }

    pub(super) fn note_own_addresses(&mut self, link: &Link) {
        let further = [link.ipv4.map(IpAddr::V4), link.ipv6.map(IpAddr::V6)];
        let link_local = link.ipv6_link_local.map(IpAddr::V6);
        for own in further.into_iter().chain([link_local, Some(link.local.ip())]).flatten() {
            self.own_addresses.insert(own, link.scope);
        }
    }

    /// The last event. Peers that help us restart keep our routes if they hear nothing (RFC 4724
    /// §4); the others are told why we go.
    pub(super) fn stop(&mut self, now: Instant, out: &mut Vec<Action>) {
        // The kernel's routes stay, whatever becomes of their sessions.
        self.fib.let_go();
        let sessions: Vec<(PeerId, ConnId, bool)> = self
            .peers
            .values()
            .flat_map(|p| p.sessions.iter().map(move |s| (p.id, s.conn, leaves_silently(p, s))))
            .collect();
        for (id, conn, silently) in sessions {
            if silently {
                self.lose(id, conn, Cause::Stopped, now, out);
            } else {
                let goodbye = Notification::cease(cease::ADMINISTRATIVE_SHUTDOWN);
                self.end(id, conn, goodbye, now, out);
            }
        }
        for peer in self.peers.values_mut() {
            out.extend(peer.dialling.take().map(|conn| Action::Close { conn }));
        }
        self.stopped = true;
    }
}

fn leaves_silently(peer: &Peer, session: &Session) -> bool {
    match session.agreed() {
        Some(agreed) => agreed.restart.is_some(),
        None => peer.settings.graceful_restart.is_some(),
    }
}
