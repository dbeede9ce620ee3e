//! Views for the API. Nothing here changes anything.

use super::Speaker;
use crate::hop_weight::HopWeight;
use crate::peer::Peer;
use crate::rib::adj_in::{AdjIn, InPath};
use crate::rib::attrs::{Attrs, AttrsId};
use crate::rib::by_path::PathKey;
use crate::rib::loc_rib::Route;
use crate::rib::{Path, decision};
use crate::session::Session;
use crate::types::{Family, Gateway, Prefix};
use crate::view::{
    GracefulRestartView, LongLivedView, Overview, PathView, PeerFamilyView, PeerView, RouteView,
};
use crate::wire::{Attributes, Capability, LongLivedFamily};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Speaker {
    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview {
            asn: self.config.asn,
            router_id: self.config.router_id,
            peers: self.peers.len(),
            established: self.peers.values().filter(|p| p.up.is_some()).count(),
            loc_rib: Family::ALL.map(|f| (f, self.rib.len(f))),
            originated: self.originated.keys().copied().collect(),
            fib: self.fib.view(),
            restarting: self.start.restarting && !self.recovery.is_over(),
            drain: self.drain_view(),
            warnings: self.warnings(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let slow = self.peers.values().filter_map(slow_restart);
        slow.chain(self.peers.values().flat_map(Peer::limit_warnings)).collect()
    }

    /// Ordered by name.
    #[must_use]
    pub fn peers(&self, now: Instant) -> Vec<PeerView> {
        let mut views: Vec<PeerView> =
            self.peers.values().map(|p| self.peer_view(p, now)).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    fn peer_view(&self, peer: &Peer, now: Instant) -> PeerView {
        let session = peer.established().or_else(|| peer.sessions.first());
        let agreed = session.and_then(Session::agreed);
        let hold_time = agreed.map_or(peer.settings.hold_time, |a| a.hold_time);
        let families = agreed.map_or(&peer.settings.families, |a| &a.families);
        PeerView {
            id: peer.id,
            name: peer.name.clone(),
            address: peer.address,
            local_address: session.map(|s| s.link.local.ip()),
            local_asn: self.own_asn(peer),
            remote_asn: peer.asn(),
            interface: peer.interface.clone(),
            state: peer.state(),
            in_state: now.saturating_duration_since(peer.history.state_since),
            dynamic: peer.range.is_some(),
            passive: peer.settings.passive || peer.range.is_some(),
            remote_router_id: agreed.map(|a| a.router_id),
            hold_time,
            keepalive: hold_time / 3,
            send_hold_time: session.and_then(Session::send_hold_time).unwrap_or_default(),
            established_count: peer.history.established,
            last_error: peer.history.last_error.clone(),
            families: families.iter().map(|f| family_view(peer, *f)).collect(),
            graceful_restart: restart_view(peer, now),
            route_refresh: agreed.is_some_and(|a| a.refresh),
            enhanced_refresh: agreed.is_some_and(|a| a.enhanced_refresh),
            received: peer.history.received,
            sent: peer.history.sent,
            capabilities: peer.history.capabilities.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn loc_view(&self, prefix: &Prefix, now: Instant) -> Option<RouteView> {
        let route = self.rib.get(prefix)?;
        let mut paths = route.paths().to_vec();
        let reasons = decision::explain(&mut paths);
        let hops = route.next_hops(self.config.max_paths.max(1), self.config.multipath);
        let views = paths.iter().zip(reasons).enumerate().map(|(i, (path, reason))| {
            let best = i == 0;
            let used = self.is_used(route, path);
            PathView {
                best,
                multipath: used && !best,
                reason: reason.map(decision::Step::reason),
                installed: used && self.fib.has(prefix, &path.gateway()),
                left_out: self.left_out(route, i, path, used),
                hop_weight: hop_weight(&hops, path).filter(|_| used),
                ..self.path_view(prefix, path, now)
            }
        });
        Some(RouteView { prefix: *prefix, paths: views.collect() })
    }

    fn is_used(&self, route: &Route, path: &Path) -> bool {
        path.is_installable()
            && route.used(self.config.max_paths.max(1), self.config.multipath).any(|p| p == path)
    }

    /// Why packets do not take a path that is as good as the best.
    fn left_out(&self, route: &Route, at: usize, path: &Path, used: bool) -> Option<String> {
        let gateway = path.gateway();
        let (max, rules) = (self.config.max_paths.max(1), self.config.multipath);
        if !path.is_installable() || !self.fib.installs() {
            None
        } else if !used {
            route.unused(at, max, rules).map(str::to_owned)
        } else if self.own_addresses.contains(gateway.next_hop.addr(), gateway.scope) {
            Some("its next hop is this node".into())
        } else {
            self.fib.left_out(&gateway).map(str::to_owned)
        }
    }

    fn path_view(&self, prefix: &Prefix, path: &Path, now: Instant) -> PathView {
        let peer = path.source.peer.and_then(|id| self.peers.get(&id));
        let adj_in = peer.map(|p| p.adj_in.get(Family::of(prefix)));
        let id = self.rib.find(prefix);
        let received = adj_in
            .and_then(|table| Some((table, table.get(PathKey { prefix: id?, path: path.id })?)));
        let injected = path.source.peer.and_then(|id| self.leases.announcer(id, prefix));
        let own = || injected.map(|(_, at)| at).or_else(|| self.originated.get(prefix).copied());
        let since = received.map_or_else(own, |(table, path)| table.since(path));
        PathView {
            peer: peer.map(|p| p.name.clone()),
            injected_by: injected.map(|(client, _)| client.to_owned()),
            best: false,
            multipath: false,
            stale: received.is_some_and(|(table, path)| table.is_stale(path)),
            rejected: false,
            installed: false,
            left_out: None,
            hop_weight: None,
            attributes: Arc::new(path.attrs.unpack()),
            path_id: path.id,
            reason: None,
            said: None,
            age: since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
        }
    }

    pub(super) fn adj_in_view(
        &self,
        peer: &Peer,
        prefix: &Prefix,
        now: Instant,
    ) -> Option<RouteView> {
        let table = peer.adj_in.get(Family::of(prefix));
        let mut received = table.of(self.rib.find(prefix)?).peekable();
        received.peek()?;
        let selected = self.loc_view(prefix, now).map(|r| r.paths).unwrap_or_default();
        let view = |(key, received): (PathKey, &InPath)| {
            let is_it =
                |p: &&PathView| p.path_id == key.path && p.peer.as_ref() == Some(&peer.name);
            let chosen = selected.iter().find(|p| received.verdict.accepted() && is_it(p));
            // As it came, and not as a policy has changed it.
            let came = bare_view(self.interner.get(received.attrs)?);
            let attributes = Arc::clone(&came.attributes);
            let refused = || refused_view(peer, (table, received), came, now);
            let path = chosen.cloned().unwrap_or_else(refused);
            Some(PathView { attributes, path_id: key.path, ..path })
        };
        Some(RouteView { prefix: *prefix, paths: received.filter_map(view).collect() })
    }

    /// What a peer holds of a prefix.
    pub(super) fn told(&self, peer: &Peer, prefix: &Prefix) -> Vec<(u32, Arc<Attributes>)> {
        let Some(id) = self.rib.find(prefix) else { return Vec::new() };
        let unpacked = |(key, attrs): (PathKey, AttrsId)| {
            Some((key.path, Arc::new(self.interner.get(attrs)?.unpack())))
        };
        peer.adj_out.of(id).filter_map(unpacked).collect()
    }

    pub(super) fn adj_out_view(
        &self,
        peer: &Peer,
        prefix: &Prefix,
        now: Instant,
    ) -> Option<RouteView> {
        let id = self.rib.find(prefix)?;
        let source = self.loc_view(prefix, now).and_then(|r| r.paths.into_iter().next());
        let view = |(key, attrs): (PathKey, AttrsId)| {
            // Of several paths the log does not say whose they are.
            let source = source.as_ref().filter(|_| key.path == 0);
            Some(PathView {
                peer: source.and_then(|p| p.peer.clone()),
                injected_by: source.and_then(|p| p.injected_by.clone()),
                age: source.map_or(Duration::ZERO, |p| p.age),
                best: key.path == 0,
                path_id: key.path,
                ..bare_view(self.interner.get(attrs)?)
            })
        };
        let paths: Vec<PathView> = peer.adj_out.of(id).filter_map(view).collect();
        (!paths.is_empty()).then_some(RouteView { prefix: *prefix, paths })
    }
}

fn hop_weight(hops: &[Gateway], path: &Path) -> Option<HopWeight> {
    let gateway = path.gateway();
    hops.iter().find(|hop| hop.way_out() == gateway.way_out()).map(|hop| hop.weight)
}

fn refused_view(
    peer: &Peer,
    (table, path): (&AdjIn, &InPath),
    came: PathView,
    now: Instant,
) -> PathView {
    let since = table.since(path);
    PathView {
        peer: Some(peer.name.clone()),
        stale: table.is_stale(path),
        rejected: true,
        reason: path.verdict.reason(),
        age: since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
        ..came
    }
}

fn bare_view(attributes: &Attrs) -> PathView {
    PathView {
        peer: None,
        injected_by: None,
        best: false,
        multipath: false,
        stale: false,
        rejected: false,
        installed: false,
        left_out: None,
        hop_weight: None,
        attributes: Arc::new(attributes.unpack()),
        path_id: 0,
        reason: None,
        said: None,
        age: Duration::ZERO,
    }
}

fn family_view(peer: &Peer, family: Family) -> PeerFamilyView {
    let adj_in = peer.adj_in.get(family);
    PeerFamilyView {
        family,
        received: adj_in.len(),
        accepted: adj_in.accepted(),
        advertised: peer.adj_out.count(family),
        stale: adj_in.stale(),
        eor_received: *peer.end_of_rib.get(family),
        eor_sent: peer.adj_out.end_of_rib_sent(family),
        limits: peer.limits_view(family),
    }
}

fn restart_view(peer: &Peer, now: Instant) -> GracefulRestartView {
    let last = peer.history.restart.as_ref();
    let said = peer.history.capabilities.iter().rev().find_map(|c| match c {
        Capability::GracefulRestart(said) => Some(said),
        _ => None,
    });
    GracefulRestartView {
        negotiated: last.is_some(),
        notification: last.is_some_and(|r| r.notification),
        peer_capable: said.is_some(),
        peer_notification: said.is_some_and(|said| said.notification),
        peer_restarted: said.is_some_and(|said| said.restarting),
        peer_restart_time: last.map_or(Duration::ZERO, |r| r.time),
        peer_restarting: peer.is_awaited(),
        families: last.map(|r| r.families.clone()).unwrap_or_default(),
        long_lived: long_lived_view(peer, now),
    }
}

fn long_lived_view(peer: &Peer, now: Instant) -> Vec<LongLivedView> {
    let said = peer.history.capabilities.iter().rev().find_map(|c| match c {
        Capability::LongLived(said) => Some(said.as_slice()),
        _ => None,
    });
    let view = |said: &LongLivedFamily| {
        let family = said.family.family()?;
        let until = *peer.long_lived_until.get(family);
        Some(LongLivedView {
            family,
            forwarding: said.forwarding,
            stale_time: Duration::from_secs(said.stale_time.into()),
            granted: peer.long_lived_time(family).unwrap_or_default(),
            left: until.map(|at| at.saturating_duration_since(now)),
        })
    };
    said.unwrap_or_default().iter().filter_map(view).collect()
}

fn slow_restart(peer: &Peer) -> Option<String> {
    let took = peer.history.slow_restart?.as_secs_f32();
    let time = peer.settings.graceful_restart?.time.as_secs();
    let name = &peer.name;
    Some(format!(
        "peer {name}: graceful_restart.restart_time {time}s is short: the last restart took {took:.1}s \
         from its start until the session was up, and peers count from its end"
    ))
}
