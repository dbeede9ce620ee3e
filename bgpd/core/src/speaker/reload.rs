//! A new configuration as a difference from the old one.
//!
//! What ends a session is settled in [`difference`]; everything else is applied to what stands, or
//! kept for the next session (RFC 4271 has no word for it; operators have).

use super::Speaker;
use super::policies::compile;
use crate::config::{PeerConfig, SessionConfig, SpeakerConfig};
use crate::difference::{self, Change, Effect};
use crate::event::Action;
use crate::peer::Peer;
use crate::report::Report;
use crate::session::Session;
use crate::session::agree::Agreed;
use crate::types::{Family, PeerId};
use crate::wire::{Notification, cease};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

impl Speaker {
    pub(super) fn configure(&mut self, new: SpeakerConfig, now: Instant, out: &mut Vec<Action>) {
        let old = std::mem::replace(&mut self.config, new);
        self.origins.own_asn = self.config.asn;
        self.programs = compile(&self.config.policies, &self.programs);
        let changes = difference::between(&old, &self.config);
        let resets = Resets::of(&changes);
        if resets.all {
            let ids: Vec<PeerId> = self.peers.keys().copied().collect();
            let hard = old.asn != self.config.asn;
            ids.into_iter().for_each(|id| self.reset(id, hard, now, out));
        }
        self.change_peers(&old, &resets, now, out);
        self.change_ranges(&old, &resets, now, out);
        if old.med != self.config.med {
            let ids: Vec<PeerId> = self.peers.keys().copied().collect();
            ids.into_iter().for_each(|id| self.requalify(id, out));
        }
        self.change_policies(out);
        self.originate(now, out);
        self.change_fib(&old, out);
        let changes = changes.iter().map(ToString::to_string).collect();
        out.push(Action::Report(Report::Reconfigured { changes }));
    }

    fn change_peers(
        &mut self,
        old: &SpeakerConfig,
        resets: &Resets,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let before: BTreeMap<&str, &PeerConfig> =
            old.peers.iter().map(|p| (p.name.as_str(), p)).collect();
        let wanted = self.config.peers.clone();
        let names: BTreeSet<&str> = wanted.iter().map(|p| p.name.as_str()).collect();
        for name in before.keys().filter(|name| !names.contains(*name)) {
            if let Some(id) = self.id_of(name) {
                self.remove_peer(id, now, out);
            }
        }
        for peer in &wanted {
            match (before.get(peer.name.as_str()), self.id_of(&peer.name)) {
                (Some(old), Some(id)) => self.change_peer(id, (old, peer), resets, now, out),
                _ => {
                    self.displace(peer, now, out);
                    self.add_peer(peer, now);
                }
            }
        }
    }

    fn change_peer(
        &mut self,
        id: PeerId,
        (old, new): (&PeerConfig, &PeerConfig),
        resets: &Resets,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.change_settings(id, &new.session);
        if resets.peers.contains(&new.name) {
            let asn = |peer: &PeerConfig| peer.session.options.local_as.map(|local| local.asn);
            let hard = old.session.asn != new.session.asn
                || (old.address, &old.interface) != (new.address, &new.interface)
                || asn(old) != asn(new);
            self.reset(id, hard, now, out);
        }
        let moved = (old.address, &old.interface) != (new.address, &new.interface);
        if moved {
            self.displace(new, now, out);
            self.leave_address(old.address, id);
            self.enter_address(new.address, id);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            if moved {
                peer.move_to(new);
            }
            peer.port = new.port;
            if old != new {
                peer.forgive(now);
            }
        }
        self.change_rules(id, &old.session, &new.session, out);
    }

    /// Other rules for the routes of a session that goes on.
    fn change_rules(
        &mut self,
        id: PeerId,
        old: &SessionConfig,
        new: &SessionConfig,
        out: &mut Vec<Action>,
    ) {
        let client = old.route_reflector_client != new.route_reflector_client;
        if client || old.options != new.options {
            self.requalify(id, out);
        }
        // What is kept of one that is away.
        if old.options != new.options && self.peers.get(&id).is_some_and(|p| p.up.is_none()) {
            self.judge_again(id, true, out);
        }
    }

    /// What stands goes on as it was agreed; what comes is told this.
    fn change_settings(&mut self, id: PeerId, new: &SessionConfig) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.settings = new.clone();
        }
    }

    /// The same paths from another kind of neighbour.
    fn requalify(&mut self, id: PeerId, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let Some(up) = peer.up.as_ref().and_then(|up| self.up(peer, up.conn)) else { return };
        let source = Rc::clone(&up.source);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.source = Some(source);
            peer.up = Some(up);
        }
        self.judge_again(id, true, out);
        for peer in self.peers.values_mut().filter(|p| p.up.is_some()) {
            peer.adj_out.reconsider(&self.rib);
        }
    }

    fn change_ranges(
        &mut self,
        old: &SpeakerConfig,
        resets: &Resets,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let new = self.config.ranges.clone();
        for range in &new {
            let Some(before) = old.ranges.iter().find(|r| r.name == range.name) else { continue };
            for id in self.members(&range.name) {
                if !self.peers.get(&id).is_some_and(|p| range.range.contains(p.address)) {
                    self.remove_peer(id, now, out);
                    continue;
                }
                self.change_settings(id, &range.session);
                if let Some(peer) = self.peers.get_mut(&id).filter(|_| before != range) {
                    peer.forgive(now);
                }
                if resets.peers.contains(&range.name) {
                    self.reset(id, before.session.asn != range.session.asn, now, out);
                }
                self.change_rules(id, &before.session, &range.session, out);
            }
        }
        for range in old.ranges.iter().filter(|r| !new.iter().any(|n| n.name == r.name)) {
            for id in self.members(&range.name) {
                self.remove_peer(id, now, out);
            }
        }
    }

    fn members(&self, range: &str) -> Vec<PeerId> {
        let members = self.peers.values().filter(|p| p.range.as_deref() == Some(range));
        members.map(|p| p.id).collect()
    }

    fn change_fib(&mut self, old: &SpeakerConfig, out: &mut Vec<Action>) {
        let install = self.config.install;
        if old.install != install {
            self.fib.set_install(install, out);
        }
        if old.install != install
            || old.max_paths != self.config.max_paths
            || old.multipath != self.config.multipath
        {
            let all: Vec<_> = self.rib.ids().collect();
            let mut tables = self.tables(out);
            for id in all {
                tables.install(id);
            }
        }
    }

    /// A static peer takes an address from a dynamic one that happens to be there.
    fn displace(&mut self, peer: &PeerConfig, now: Instant, out: &mut Vec<Action>) {
        if let Some(id) = self.peer_at(peer.address, peer.interface.as_deref())
            && self.peers.get(&id).is_some_and(|p| p.range.is_some())
        {
            self.remove_peer(id, now, out);
        }
    }

    fn remove_peer(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        self.end_all(id, &Notification::cease(cease::PEER_DECONFIGURED), true, now, out);
        for family in Family::ALL {
            self.flush(id, family, false, out);
        }
        self.spoken_for_good(id, out);
        if let Some(peer) = self.peers.remove(&id) {
            self.leave_address(peer.address, id);
        }
    }

    /// Another peer may have got the address in the same reload already.
    pub(super) fn leave_address(&mut self, address: IpAddr, id: PeerId) {
        if self.by_address.get(&address) == Some(&id) {
            self.by_address.remove(&address);
        }
    }

    /// The session ends because what it was agreed on no longer holds; it comes back at once.
    ///
    /// Where both sides have the N bit, both keep each other's routes meanwhile (RFC 8538 §4), but
    /// for families that will not come back. `hard`: it will be a session with somebody else, and
    /// nothing is kept.
    fn reset(&mut self, id: PeerId, hard: bool, now: Instant, out: &mut Vec<Action>) {
        let why = Notification::cease(cease::OTHER_CONFIGURATION_CHANGE);
        self.end_all(id, &why, hard, now, out);
        for family in Family::ALL {
            let stays = |p: &Peer| p.settings.families.contains(&family);
            if hard || !self.peers.get(&id).is_some_and(stays) {
                self.flush(id, family, false, out);
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.forgive(now);
        }
    }

    /// `hard`: also a peer that keeps routes across NOTIFICATIONs is not to keep them (RFC 8538 §3.1).
    pub(super) fn end_all(
        &mut self,
        id: PeerId,
        why: &Notification,
        hard: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(conn) = peer.dialling.take() {
            self.conns.remove(&conn);
            out.push(Action::Close { conn });
        }
        let keeps =
            |s: &Session| s.is_established() && s.agreed().is_some_and(Agreed::notification);
        let conns: Vec<_> = peer.sessions.iter().map(|s| (s.conn, hard && keeps(s))).collect();
        for (conn, hard) in conns {
            let said = if hard { why.clone().hard() } else { why.clone() };
            self.end(id, conn, said, now, out);
        }
    }

    fn id_of(&self, name: &str) -> Option<PeerId> {
        self.peers.values().find(|p| p.range.is_none() && p.name == name).map(|p| p.id)
    }
}

/// Whose sessions have to end for it.
struct Resets {
    all: bool,
    /// Names of peers and ranges.
    peers: BTreeSet<String>,
}

impl Resets {
    fn of(changes: &[Change]) -> Self {
        let resets = changes.iter().filter(|c| c.effect == Effect::Resets);
        Self {
            all: changes.iter().any(|c| c.effect == Effect::ResetsAll),
            peers: resets.filter_map(|c| c.peer.clone()).collect(),
        }
    }
}
