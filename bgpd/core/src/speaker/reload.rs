//! A new configuration as a difference from the old one.
//!
//! Only what BGP itself makes part of the OPENs, or of the connection, ends a session; everything
//! else is applied to what stands (RFC 4271 has no word for it; operators have).

use super::Speaker;
use crate::config::{PeerConfig, SessionConfig, SpeakerConfig};
use crate::event::Action;
use crate::report::Report;
use crate::types::{ConnId, Family, PeerId, Prefix};
use crate::wire::{Notification, cease};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Speaker {
    pub(super) fn configure(&mut self, new: SpeakerConfig, now: Instant, out: &mut Vec<Action>) {
        let old = std::mem::replace(&mut self.config, new);
        let mut changes = Vec::new();
        self.change_speaker(&old, now, &mut changes, out);
        self.change_peers(&old, now, &mut changes, out);
        self.change_ranges(&old, now, &mut changes, out);
        self.change_filters(&old, &mut changes, out);
        self.originate(now, out);
        self.change_fib(&old, &mut changes, out);
        out.push(Action::Report(Report::Reconfigured { changes }));
    }

    /// Who we are is in every OPEN.
    fn change_speaker(
        &mut self,
        old: &SpeakerConfig,
        now: Instant,
        changes: &mut Vec<String>,
        out: &mut Vec<Action>,
    ) {
        let before = changes.len();
        let new = &self.config;
        note(changes, "bgp.asn", old.asn, new.asn, "resets every session");
        note(changes, "bgp.router_id", old.router_id, new.router_id, "resets every session");
        let resets = changes.len() > before;
        let retry = (shown(old.connect_retry), shown(new.connect_retry));
        note(changes, "bgp.connect_retry", retry.0, retry.1, "");
        if old.originate != new.originate {
            changes.push(format!("bgp.originate: {}", listed(&old.originate, &new.originate)));
        }
        if resets {
            let ids: Vec<PeerId> = self.peers.keys().copied().collect();
            for id in ids {
                self.reset(id, now, out);
            }
        }
    }

    fn change_peers(
        &mut self,
        old: &SpeakerConfig,
        now: Instant,
        changes: &mut Vec<String>,
        out: &mut Vec<Action>,
    ) {
        let before: BTreeMap<&str, &PeerConfig> =
            old.peers.iter().map(|p| (p.name.as_str(), p)).collect();
        let wanted = self.config.peers.clone();
        for name in before.keys().filter(|n| !wanted.iter().any(|p| p.name == **n)) {
            changes.push(format!("bgp.peers {name}: removed"));
            if let Some(id) = self.id_of(name) {
                self.remove_peer(id, now, out);
            }
        }
        for peer in &wanted {
            match (before.get(peer.name.as_str()), self.id_of(&peer.name)) {
                (Some(old), Some(id)) => self.change_peer(id, old, peer, now, (changes, out)),
                _ => {
                    changes.push(format!("bgp.peers {}: added", peer.name));
                    self.displace(peer, now, out);
                    self.add_peer(peer, now);
                }
            }
        }
    }

    fn change_peer(
        &mut self,
        id: PeerId,
        old: &PeerConfig,
        new: &PeerConfig,
        now: Instant,
        (changes, out): (&mut Vec<String>, &mut Vec<Action>),
    ) {
        let what = format!("bgp.peers {}", new.name);
        let mut resets = self.change_settings(id, &what, &old.session, &new.session, changes);
        if old.address != new.address {
            note(changes, &format!("{what}: address"), old.address, new.address, RESETS);
            resets = true;
        }
        note(changes, &format!("{what}: port"), old.port, new.port, LATER);
        if resets {
            self.reset(id, now, out);
        }
        if old.address != new.address {
            self.displace(new, now, out);
            self.leave_address(old.address, id);
            self.by_address.insert(new.address, id);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.address = new.address;
            peer.port = new.port;
            if old != new {
                peer.forgive(now);
            }
        }
        if old.session.route_reflector_client != new.session.route_reflector_client {
            self.requalify(id, out);
        }
    }

    /// Takes over the settings and says what differs; whether the session has to end for it.
    fn change_settings(
        &mut self,
        id: PeerId,
        what: &str,
        old: &SessionConfig,
        new: &SessionConfig,
        changes: &mut Vec<String>,
    ) -> bool {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.settings = new.clone();
        }
        describe(what, old, new, changes)
    }

    /// The same paths from another kind of neighbour.
    fn requalify(&mut self, id: PeerId, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let Some(up) = peer.up.as_ref().and_then(|up| self.up(peer, up.conn)) else { return };
        let source = Arc::clone(&up.source);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.source = Some(source);
            peer.up = Some(up);
        }
        self.tell_again(id, out);
        for peer in self.peers.values_mut().filter(|p| p.up.is_some()) {
            peer.adj_out.reconsider(&self.rib);
        }
    }

    fn change_ranges(
        &mut self,
        old: &SpeakerConfig,
        now: Instant,
        changes: &mut Vec<String>,
        out: &mut Vec<Action>,
    ) {
        let new = self.config.ranges.clone();
        for range in &new {
            let what = format!("bgp.peers {}", range.name);
            let Some(before) = old.ranges.iter().find(|r| r.name == range.name) else {
                changes.push(format!("{what}: added"));
                continue;
            };
            note(changes, &format!("{what}: listen_range"), before.range, range.range, "");
            note(changes, &format!("{what}: limit"), before.limit, range.limit, "");
            let resets = describe(&what, &before.session, &range.session, changes);
            for id in self.members(&range.name) {
                if !self.peers.get(&id).is_some_and(|p| range.range.contains(p.address)) {
                    self.remove_peer(id, now, out);
                    continue;
                }
                self.change_settings(id, &what, &before.session, &range.session, &mut Vec::new());
                if resets {
                    self.reset(id, now, out);
                }
                if before.session.route_reflector_client != range.session.route_reflector_client {
                    self.requalify(id, out);
                }
            }
        }
        for range in old.ranges.iter().filter(|r| !new.iter().any(|n| n.name == r.name)) {
            changes.push(format!("bgp.peers {}: removed", range.name));
            for id in self.members(&range.name) {
                self.remove_peer(id, now, out);
            }
        }
    }

    fn members(&self, range: &str) -> Vec<PeerId> {
        let members = self.peers.values().filter(|p| p.range.as_deref() == Some(range));
        members.map(|p| p.id).collect()
    }

    /// Policies are applied to what stands on both sides; nobody has to tell anything again.
    fn change_filters(
        &mut self,
        old: &SpeakerConfig,
        changes: &mut Vec<String>,
        out: &mut Vec<Action>,
    ) {
        for (name, policy) in &self.config.policies {
            match old.policies.get(name) {
                None => changes.push(format!("bgp.policies {name}: added")),
                Some(before) if before != policy => {
                    changes.push(format!("bgp.policies {name}: changed"));
                }
                Some(_) => {}
            }
        }
        let gone = old.policies.keys().filter(|n| !self.config.policies.contains_key(*n));
        changes.extend(gone.map(|name| format!("bgp.policies {name}: removed")));
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.change_filters_of(id, out);
        }
    }

    fn change_filters_of(&mut self, id: PeerId, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (import, export) = self.filters(&peer.settings);
        let kind = self.kind_of(peer);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.export != export {
            peer.export = export.clone();
            if let Some(up) = &mut peer.up {
                up.exporter.filter = export;
                peer.adj_out.reconsider(&self.rib);
            }
        }
        if peer.import != import {
            peer.import = import;
            self.judge_again(id, kind, out);
        }
    }

    fn change_fib(
        &mut self,
        old: &SpeakerConfig,
        changes: &mut Vec<String>,
        out: &mut Vec<Action>,
    ) {
        let new = &self.config;
        note(changes, "bgp.fib.install", old.install, new.install, "");
        note(changes, "bgp.max_paths", old.max_paths, new.max_paths, "");
        let install = new.install;
        if old.install != install {
            self.fib.set_install(install, out);
        }
        if old.install != install || old.max_paths != self.config.max_paths {
            let all: Vec<_> = self.rib.iter().map(|(p, _)| *p).collect();
            let mut tables = self.tables(out);
            for prefix in all {
                tables.install(prefix);
            }
        }
    }

    /// A static peer takes an address from a dynamic one that happens to be there.
    fn displace(&mut self, peer: &PeerConfig, now: Instant, out: &mut Vec<Action>) {
        if let Some(id) = self.by_address.get(&peer.address).copied()
            && self.peers.get(&id).is_some_and(|p| p.range.is_some())
        {
            self.remove_peer(id, now, out);
        }
    }

    fn remove_peer(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        self.end_all(id, cease::PEER_DECONFIGURED, now, out);
        for family in Family::ALL {
            self.flush(id, family, false, out);
        }
        self.spoken_for_good(id, out);
        if let Some(peer) = self.peers.remove(&id) {
            self.leave_address(peer.address, id);
        }
    }

    /// Another peer may have got the address in the same reload already.
    fn leave_address(&mut self, address: IpAddr, id: PeerId) {
        if self.by_address.get(&address) == Some(&id) {
            self.by_address.remove(&address);
        }
    }

    /// The session ends because what it was agreed on no longer holds; it comes back at once.
    fn reset(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        self.end_all(id, cease::OTHER_CONFIGURATION_CHANGE, now, out);
        for family in Family::ALL {
            self.flush(id, family, false, out);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.forgive(now);
        }
    }

    fn end_all(&mut self, id: PeerId, subcode: u8, now: Instant, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(conn) = peer.dialling.take() {
            self.conns.remove(&conn);
            out.push(Action::Close { conn });
        }
        let conns: Vec<ConnId> = peer.sessions.iter().map(|s| s.conn).collect();
        for conn in conns {
            self.end(id, conn, Notification::cease(subcode), now, out);
        }
    }

    fn id_of(&self, name: &str) -> Option<PeerId> {
        self.peers.values().find(|p| p.range.is_none() && p.name == name).map(|p| p.id)
    }
}

const RESETS: &str = "resets the session";
const LATER: &str = "from the next session on";

/// Says what differs; whether the session has to end for it.
fn describe(
    what: &str,
    old: &SessionConfig,
    new: &SessionConfig,
    changes: &mut Vec<String>,
) -> bool {
    // Every field by its name, so that a new one cannot be forgotten here.
    let SessionConfig {
        asn,
        passive,
        hold_time,
        families,
        graceful_restart,
        route_reflector_client: client,
        import,
        export,
        local_address,
    } = new;
    let mut say = |key: &str, from: String, to: String, when: &str| {
        note(changes, &format!("{what}: {key}"), from, to, when)
    };
    let restarts = (restart(old.graceful_restart), restart(*graceful_restart));
    let locals = (local(old.local_address), local(*local_address));
    let mut resets = say("asn", old.asn.to_string(), asn.to_string(), RESETS);
    resets |= say("families", named(&old.families), named(families), RESETS);
    resets |= say("graceful_restart", restarts.0, restarts.1, RESETS);
    resets |= say("local_address", locals.0, locals.1, RESETS);
    say("hold_time", shown(old.hold_time), shown(*hold_time), LATER);
    say("passive", old.passive.to_string(), passive.to_string(), "");
    let was_client = old.route_reflector_client.to_string();
    say("route_reflector_client", was_client, client.to_string(), "");
    say("import", old.import.to_string(), import.to_string(), "");
    say("export", old.export.to_string(), export.to_string(), "");
    resets
}

/// Adds a line if the two differ; whether they do.
fn note(
    changes: &mut Vec<String>,
    what: &str,
    old: impl Display,
    new: impl Display,
    when: &str,
) -> bool {
    let (old, new) = (old.to_string(), new.to_string());
    if old == new {
        return false;
    }
    let when = if when.is_empty() { String::new() } else { format!(" ({when})") };
    changes.push(format!("{what} {old} -> {new}{when}"));
    true
}

fn shown(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

fn restart(time: Option<Duration>) -> String {
    time.map_or_else(|| "off".into(), shown)
}

fn local(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "any".into(), |a| a.to_string())
}

fn named(families: &[Family]) -> String {
    families.iter().map(Family::to_string).collect::<Vec<_>>().join(",")
}

fn listed(old: &[Prefix], new: &[Prefix]) -> String {
    let gone = old.iter().filter(|p| !new.contains(p)).map(|p| format!("-{p}"));
    let come = new.iter().filter(|p| !old.contains(p)).map(|p| format!("+{p}"));
    gone.chain(come).collect::<Vec<_>>().join(" ")
}
