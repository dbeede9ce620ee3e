//! UPDATEs into the RIBs, own prefixes, and from the Loc-RIB to the FIB.

use super::{OwnAddresses, Speaker};
use crate::config::{Multipath, SessionConfig, SpeakerConfig};
use crate::event::{Action, Link};
use crate::fib::Fib;
use crate::hop_weight;
use crate::peer::{Peer, Up};
use crate::report::Report;
use crate::rib::attrs::Interner;
use crate::rib::by_path::PathKey;
use crate::rib::export::Exporter;
use crate::rib::import::{Importer, Verdict};
use crate::rib::loc_rib::{Change, LocRib};
use crate::rib::numbers::PrefixId;
use crate::rib::policy::Filter;
use crate::rib::{Kind, Path, PerFamily, Source};
use crate::rpki;
use crate::types::{Family, NextHop, PeerId, Prefix, Protocol, Role};
use crate::wire::{Attributes, Context, Origin, Update};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Instant;

/// The Loc-RIB and what follows from it.
pub(super) struct Tables<'a> {
    pub(super) rib: &'a mut LocRib,
    pub(super) fib: &'a mut Fib,
    pub(super) max_paths: usize,
    pub(super) multipath: Multipath,
    pub(super) own: &'a OwnAddresses,
    /// What the RPKI says of origins.
    pub(super) origins: &'a rpki::Known,
    pub(super) out: &'a mut Vec<Action>,
}

impl Tables<'_> {
    pub(super) fn set(&mut self, id: PrefixId, path: Path) {
        if self.rib.set(id, path) == Change::Selection {
            self.install(id);
        }
    }

    pub(super) fn remove(&mut self, key: PathKey, peer: Option<PeerId>) {
        if self.rib.remove(key, peer) == Change::Selection {
            self.install(key.prefix);
        }
    }

    pub(super) fn remove_prefix(&mut self, prefix: &Prefix, peer: Option<PeerId>) {
        if let Some(id) = self.rib.find(prefix) {
            self.remove(id.into(), peer);
        }
    }

    /// A route through ourselves would be a loop.
    pub(super) fn install(&mut self, id: PrefixId) {
        if !self.fib.installs() {
            return;
        }
        let Some(prefix) = self.rib.prefix(id) else { return };
        let ours = self.rib.at(id).filter(|r| r.best().is_some_and(Path::is_installable));
        let mut hops =
            ours.map(|r| r.next_hops(self.max_paths, self.multipath)).unwrap_or_default();
        let all = hops.len();
        hops.retain(|hop| !self.own.contains(hop.next_hop.addr(), hop.scope));
        if hops.len() < all {
            hop_weight::reduce(&mut hops, |hop| &mut hop.weight);
        }
        self.fib.want(prefix, &hops, self.out);
    }
}

/// The speaker taken apart, so that a peer and the tables can be changed side by side.
pub(super) struct Parts<'a> {
    pub(super) peer: &'a mut Peer,
    pub(super) interner: &'a mut Interner,
    pub(super) config: &'a SpeakerConfig,
    pub(super) tables: Tables<'a>,
}

impl Speaker {
    pub(super) fn tables<'a>(&'a mut self, out: &'a mut Vec<Action>) -> Tables<'a> {
        Tables {
            rib: &mut self.rib,
            fib: &mut self.fib,
            max_paths: self.config.max_paths.max(1),
            multipath: self.config.multipath,
            own: &self.own_addresses,
            origins: &self.origins,
            out,
        }
    }

    pub(super) fn parts<'a>(
        &'a mut self,
        id: PeerId,
        out: &'a mut Vec<Action>,
    ) -> Option<Parts<'a>> {
        let Self { peers, interner, config, rib, fib, own_addresses: own, origins, .. } = self;
        let max_paths = config.max_paths.max(1);
        let multipath = config.multipath;
        let tables = Tables { rib, fib, max_paths, multipath, own, origins, out };
        Some(Parts { peer: peers.get_mut(&id)?, interner, config, tables })
    }

    /// RFC 4271 §9.
    pub(super) fn update(
        &mut self,
        id: PeerId,
        update: &Update<'_>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let withdrawn = self.withdraw(id, update, out);
        if let Some(attributes) = &update.attributes {
            self.announce(id, update, attributes, now, out);
        }
        self.heed_limits(id, now, out);
        if let Some(fault) = &update.fault
            && let Some(peer) = self.peers.get(&id)
        {
            let (name, error) = (peer.name.clone(), fault.text.clone());
            let withdrawn = if fault.withdraw { withdrawn } else { 0 };
            out.push(Action::Report(Report::UpdateError { peer: id, name, error, withdrawn }));
        }
        if let Some(family) = update.end_of_rib {
            self.end_of_rib(id, family, out);
        }
    }

    fn withdraw(&mut self, id: PeerId, update: &Update<'_>, out: &mut Vec<Action>) -> usize {
        let Some(Parts { peer, mut tables, .. }) = self.parts(id, out) else { return 0 };
        let mut count = 0;
        for section in update.withdrawn.iter().flatten() {
            for (prefix, path) in section.nlri.paths() {
                let Some(prefix) = tables.rib.find(&prefix) else { continue };
                let key = PathKey { prefix, path };
                let was = peer.adj_in.get_mut(section.family).remove(key);
                count += usize::from(was.is_some());
                if was.is_some_and(Verdict::accepted) {
                    tables.remove(key, Some(id));
                }
            }
        }
        count
    }

    fn announce(
        &mut self,
        id: PeerId,
        update: &Update<'_>,
        attributes: &Attributes,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(Parts { peer, interner, config, mut tables }) = self.parts(id, out) else {
            return;
        };
        let Some(up) = &peer.up else { return };
        let rules = (&peer.settings, &peer.import);
        let importer = importer(config, rules, &up.source, &tables);
        for section in update.announced.iter().flatten() {
            // RFC 4760 §7: a family nobody agreed on.
            if !up.exporter.families.get(section.family) {
                continue;
            }
            let attrs = interner.intern_with(attributes, section.next_hop);
            let mut gate = importer.gate(&attrs, attributes, section.family, interner);
            let (room, discarded) = (peer.room(), peer.discarded.get_mut(section.family));
            let adj_in = peer.adj_in.get_mut(section.family);
            for (prefix, path) in section.nlri.paths() {
                let key = PathKey { prefix: tables.rib.number(&prefix), path };
                if adj_in.len() >= room && adj_in.get(key).is_none() {
                    *discarded += 1;
                    continue;
                }
                let admitted = gate.admit(&prefix, &importer, interner);
                let verdict = admitted.as_ref().map_or_else(|no| *no, |_| Verdict::Accepted);
                let was = adj_in.set(key, attrs.id(), verdict, now);
                match admitted {
                    Ok(attrs) => {
                        let source = Rc::clone(&up.source);
                        tables.set(key.prefix, Path { source, attrs, id: path });
                    }
                    Err(_) if was.is_some_and(Verdict::accepted) => {
                        tables.remove(key, Some(id));
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Brings what we originate in line with the kernel's blocks and the configuration.
    pub(super) fn originate(&mut self, now: Instant, out: &mut Vec<Action>) {
        let mut wanted: BTreeSet<Prefix> = self.config.originate.iter().copied().collect();
        wanted.extend(self.blocks.iter().flatten());
        let gone: Vec<Prefix> =
            self.originated.keys().filter(|p| !wanted.contains(p)).copied().collect();
        for prefix in gone {
            self.originated.remove(&prefix);
            self.tables(out).remove_prefix(&prefix, None);
        }
        let configured: BTreeSet<Prefix> = self.config.originate.iter().copied().collect();
        let sources = [Protocol::Local, Protocol::Block].map(|p| Rc::new(self.own_source(p)));
        for prefix in wanted {
            let [local, block] = &sources;
            let source = if configured.contains(&prefix) { local } else { block };
            if self.own_path(&prefix).is_some_and(|p| p.source == *source) {
                continue;
            }
            self.originated.entry(prefix).or_insert(now);
            let attrs = self.interner.intern(&own_attributes(Family::of(&prefix)));
            let source = Rc::clone(source);
            let id = self.rib.number(&prefix);
            self.tables(out).set(id, Path { source, attrs, id: 0 });
        }
    }

    fn own_path(&self, prefix: &Prefix) -> Option<&Path> {
        self.rib.get(prefix)?.paths().iter().find(|p| p.source.peer.is_none())
    }

    pub(super) fn own_source(&self, protocol: Protocol) -> Source {
        Source {
            peer: None,
            kind: Kind::Local,
            asn: self.config.asn,
            router_id: self.config.router_id,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            med: self.config.med,
            name: "".into(),
            role: None,
            interface: None,
            scope: 0,
            protocol,
        }
    }

    /// The routes of one family from a peer are gone: all of them, or those that are stale.
    pub(super) fn flush(
        &mut self,
        id: PeerId,
        family: Family,
        only_stale: bool,
        out: &mut Vec<Action>,
    ) -> usize {
        let Some(Parts { peer, mut tables, .. }) = self.parts(id, out) else { return 0 };
        let adj_in = peer.adj_in.get_mut(family);
        let gone = if only_stale { adj_in.stale_keys() } else { adj_in.keys() };
        for key in &gone {
            if adj_in.remove(*key).is_some_and(Verdict::accepted) {
                tables.remove(*key, Some(id));
            }
        }
        if adj_in.len() == 0 {
            adj_in.clear();
        }
        self.see_change(id, &gone, true);
        gone.len()
    }

    /// What an established session fixes for paths from and to the peer.
    pub(super) fn up(&self, peer: &Peer, conn: crate::types::ConnId) -> Option<Up> {
        let session = peer.session(conn)?;
        let agreed = session.agreed()?;
        let kind = self.kind_of(peer);
        let source = Rc::new(Source {
            peer: Some(peer.id),
            kind,
            asn: agreed.theirs.asn,
            router_id: agreed.router_id,
            address: session.link.remote.ip(),
            med: self.config.med,
            name: peer.name.as_str().into(),
            role: peer.settings.options.role.map(Role::counterpart),
            interface: session.link.interface.as_deref().map(Into::into),
            scope: session.link.scope,
            protocol: Protocol::Bgp,
        });
        let exporter = Exporter {
            peer: peer.id,
            kind,
            own_asn: self.config.asn,
            own_id: self.config.router_id,
            next_hops: PerFamily::new(|f| own_next_hop(f, &session.link, kind, &agreed.context)),
            families: PerFamily::new(|f| agreed.families.contains(&f)),
            filter: peer.export.clone(),
            long_lived: agreed.hears_long_lived(),
            presence: self.drain.presence(),
            peer_asn: agreed.theirs.asn,
            extended_next_hop: agreed.context.extended_next_hop,
            options: peer.settings.options.clone(),
        };
        Some(Up { conn, source, exporter })
    }
}

/// `rules`: the peer's settings and its import policy.
pub(super) fn importer<'a>(
    config: &SpeakerConfig,
    rules: (&'a SessionConfig, &'a Filter),
    source: &'a Source,
    tables: &Tables<'a>,
) -> Importer<'a> {
    Importer {
        kind: source.kind,
        peer_asn: source.asn,
        own_asn: config.asn,
        own_id: config.router_id,
        own: tables.own,
        filter: rules.1,
        source,
        origins: tables.origins,
        options: &rules.0.options,
    }
}

/// Ourselves, as a peer on this link may reach us (RFC 4271 §5.1.3, RFC 2545 §3).
fn own_next_hop(family: Family, link: &Link, kind: Kind, context: &Context) -> Option<NextHop> {
    let ipv4 = || link.ipv4.map(NextHop::V4);
    match family {
        Family::Ipv4Unicast => match link.local.ip() {
            IpAddr::V4(own) => Some(NextHop::V4(own)),
            // RFC 8950 §4: packets go the way that the session goes.
            IpAddr::V6(_) if context.extended_next_hop => own_ipv6(link, kind).or_else(ipv4),
            IpAddr::V6(_) => ipv4(),
        },
        Family::Ipv6Unicast => own_ipv6(link, kind),
    }
}

/// The link-local address goes along where the session itself runs over one, and stands alone only
/// on a link that the peer shares with us: where the session runs over it, or the peer is external.
fn own_ipv6(link: &Link, kind: Kind) -> Option<NextHop> {
    let local = match link.local.ip() {
        IpAddr::V6(own) => Some(own),
        IpAddr::V4(_) => None,
    };
    let over_link_local = local.filter(Ipv6Addr::is_unicast_link_local);
    let global = local.filter(|a| !a.is_unicast_link_local()).or(link.ipv6);
    match (global, over_link_local.or(link.ipv6_link_local)) {
        (Some(global), _) => Some(NextHop::V6 { global, link_local: over_link_local }),
        (None, Some(only)) if kind == Kind::External || over_link_local.is_some() => {
            Some(NextHop::V6 { global: only, link_local: Some(only) })
        }
        _ => None,
    }
}

pub(super) fn own_attributes(family: Family) -> Attributes {
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
    };
    Attributes::bare(next_hop, Origin::Igp)
}
