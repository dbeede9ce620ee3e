//! Peers by link-local addresses (RFC 4291 §2.5.6): the same one may be another peer on each link.
//! Unnumbered peers have no address at all until the link says who is there.
//!
//! What the link says is believed where nothing speaks against it: a session that is up stays, also
//! when its peer is no longer heard of on the link or another one is. BGP and BFD know better whether
//! the peer lives. Whom the link has named meanwhile is dialled when the session is over. An interface
//! that is gone is another matter: its sessions can never say a word again.

use super::Speaker;
use crate::event::{Action, Link, is_link_local};
use crate::peer::Peer;
use crate::report::Cause;
use crate::types::{ConnId, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// Numbers of interfaces, by name.
pub(super) type Interfaces = BTreeMap<String, u32>;

/// Every address that a connection has shown to be ours, a link-local one with its interface.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses(BTreeSet<(IpAddr, u32)>);

impl OwnAddresses {
    pub(crate) fn insert(&mut self, address: IpAddr, scope: u32) {
        self.0.insert(scoped(address, scope));
    }

    pub(crate) fn contains(&self, address: IpAddr, scope: u32) -> bool {
        self.0.contains(&scoped(address, scope))
    }
}

fn scoped(address: IpAddr, scope: u32) -> (IpAddr, u32) {
    (address, if is_link_local(address) { scope } else { 0 })
}

/// The peer behind a link-local address on the interface of that number; 0: on any. Where nobody
/// knows the address yet, it is the unnumbered peer's.
pub(super) fn on_link(
    peers: &BTreeMap<PeerId, Peer>,
    interfaces: &Interfaces,
    address: IpAddr,
    scope: u32,
) -> Option<PeerId> {
    let number = |peer: &Peer| interfaces.get(peer.interface.as_deref()?).copied();
    let there = |peer: &&Peer| match number(peer) {
        Some(number) => scope == 0 || number == scope,
        None => peer.address == address,
    };
    let known = |peer: &&Peer| peer.address == address;
    let unnumbered = |peer: &&Peer| peer.unnumbered && peer.address.is_unspecified();
    let on_it = || peers.values().filter(|p| p.interface.is_some()).filter(there);
    on_it().find(known).or_else(|| on_it().find(unnumbered)).map(|p| p.id)
}

impl Speaker {
    /// The peer with that address; `zone`: the interface of a link-local one, where it is known.
    pub(super) fn peer_at(&self, address: IpAddr, zone: Option<&str>) -> Option<PeerId> {
        if !is_link_local(address) {
            return self.by_address.get(&address).copied();
        }
        let on = |p: &&Peer| zone.is_none() || p.interface.as_deref() == zone;
        self.peers.values().filter(on).find(|p| p.address == address).map(|p| p.id)
    }

    /// Whose connection that is. On an unnumbered peer's link it is the peer's, from whichever
    /// address: it may have got another one, and its OPEN will tell who it is.
    pub(super) fn peer_from(&self, link: &Link) -> Option<PeerId> {
        let zone = link.zone();
        let unnumbered =
            |p: &&Peer| p.unnumbered && zone.is_some() && p.interface.as_deref() == zone;
        let known = self.peer_at(link.remote.ip(), zone);
        known.or_else(|| self.peers.values().find(unnumbered).map(|p| p.id))
    }

    pub(super) fn enter_address(&mut self, address: IpAddr, id: PeerId) {
        if !is_link_local(address) && !address.is_unspecified() {
            self.by_address.insert(address, id);
        }
    }

    /// An interface has come, or gone; under another number it is another one.
    pub(super) fn interface(
        &mut self,
        name: String,
        index: Option<u32>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let lost: Vec<(PeerId, ConnId)> = self
            .peers
            .values()
            .filter(|p| p.interface.as_ref() == Some(&name))
            .flat_map(|p| p.sessions.iter().map(|s| (p.id, s)))
            .filter(|(_, s)| s.link.scope != 0 && Some(s.link.scope) != index)
            .map(|(id, s)| (id, s.conn))
            .collect();
        for (id, conn) in lost {
            out.push(Action::Close { conn });
            let cause = Cause::Closed(format!("the interface {name} is gone"));
            self.lose(id, conn, cause, now, out);
        }
        match index {
            Some(index) => self.interfaces.insert(name, index),
            None => self.interfaces.remove(&name),
        };
    }

    /// The link says who is there.
    pub(super) fn neighbour(
        &mut self,
        interface: &str,
        address: Option<Ipv6Addr>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let on_it = self
            .peers
            .values_mut()
            .find(|p| p.unnumbered && p.interface.as_deref() == Some(interface));
        let Some(peer) = on_it else { return };
        peer.heard = address;
        let id = peer.id;
        self.meet(id, now, out);
    }

    /// Takes up whom the link has named, unless somebody else is still spoken with.
    pub(super) fn meet(&mut self, id: PeerId, now: Instant, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let address = peer.heard.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6);
        if !peer.unnumbered || !peer.sessions.is_empty() || peer.address == address {
            return;
        }
        peer.address = address;
        if let Some(conn) = peer.dialling.take() {
            self.conns.remove(&conn);
            out.push(Action::Close { conn });
        }
        if !peer.settings.passive && peer.heard.is_some() {
            peer.redial_at = Some(now);
        }
    }
}

impl Peer {
    /// A session with it is open: that is where it is.
    pub(crate) fn is_at(&mut self, link: &Link) {
        if self.unnumbered {
            self.address = link.remote.ip();
        }
    }

    /// Another place in the configuration.
    pub(crate) fn move_to(&mut self, place: &crate::config::PeerConfig) {
        self.address = place.address;
        self.interface.clone_from(&place.interface);
        self.unnumbered = place.address.is_unspecified();
        self.heard = None;
    }
}
