//! Views for the API. Nothing here changes anything.

use super::Speaker;
use crate::peer::Peer;
use crate::rib::adj_in::InPath;
use crate::rib::loc_rib::Route;
use crate::rib::{Kind, Path, decision};
use crate::session::Session;
use crate::types::{Family, Prefix};
use crate::view::{
    GracefulRestartView, LongLivedView, Match, Overview, PathView, PeerFamilyView, PeerView,
    RibKind, RouteQuery, RouteView,
};
use crate::wire::{Attributes, Capability, LongLivedFamily};
use std::collections::BinaryHeap;
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
            warnings: self.peers.values().filter_map(slow_restart).collect(),
        }
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
            local_asn: self.config.asn,
            remote_asn: peer.settings.asn,
            state: peer.state(),
            in_state: now.saturating_duration_since(peer.history.state_since),
            dynamic: peer.range.is_some(),
            passive: peer.settings.passive || peer.range.is_some(),
            remote_router_id: agreed.map(|a| a.router_id),
            hold_time,
            keepalive: hold_time / 3,
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

    /// One page of routes in prefix order: at most `limit`, those that come behind `after`. Empty
    /// if the query's peer does not exist; ask [`find_peer`](Self::find_peer) first.
    ///
    /// A page costs a pass over the table: ask for large ones.
    #[must_use]
    pub fn routes(
        &self,
        query: &RouteQuery,
        after: Option<Prefix>,
        limit: usize,
        now: Instant,
    ) -> Vec<RouteView> {
        let peer = query.peer.as_ref().and_then(|p| self.find_peer(p));
        let peer = peer.and_then(|id| self.peers.get(&id));
        match (query.rib, peer) {
            (RibKind::Loc, _) => self.page(query, after, limit, |p| self.loc_view(p, now)),
            (RibKind::AdjIn, Some(peer)) => {
                self.page(query, after, limit, |p| self.adj_in_view(peer, p, now))
            }
            (RibKind::AdjOut, Some(peer)) => {
                self.page(query, after, limit, |p| self.adj_out_view(peer, p, now))
            }
            (_, None) => Vec::new(),
        }
    }

    fn page(
        &self,
        query: &RouteQuery,
        after: Option<Prefix>,
        limit: usize,
        view: impl Fn(&Prefix) -> Option<RouteView>,
    ) -> Vec<RouteView> {
        let behind = |p: &Prefix| after.is_none_or(|after| *p > after);
        match query.prefix {
            Some((prefix, Match::Exact)) => {
                view(&prefix).filter(|_| behind(&prefix)).into_iter().take(limit).collect()
            }
            Some((prefix, Match::Longest)) => {
                let shorter = (0..=prefix.len()).rev();
                let covering =
                    shorter.filter_map(|len| Prefix::containing(prefix.addr(), len).ok());
                let found = covering.into_iter().find_map(|p| view(&p));
                found.filter(|r| behind(&r.prefix)).into_iter().take(limit).collect()
            }
            Some((within, Match::Covered)) => {
                let wanted = |p: &&Prefix| behind(p) && within.covers(p);
                let page = first(self.prefixes(query).filter(wanted), limit);
                page.iter().filter_map(view).collect()
            }
            None => {
                let page = first(self.prefixes(query).filter(|p| behind(p)), limit);
                page.iter().filter_map(view).collect()
            }
        }
    }

    /// All of the queried table, in no order.
    fn prefixes(&self, query: &RouteQuery) -> Box<dyn Iterator<Item = &Prefix> + '_> {
        let peer = query.peer.as_ref().and_then(|p| self.find_peer(p));
        let peer = peer.and_then(|id| self.peers.get(&id));
        let family = query.family;
        let wanted = move |p: &&Prefix| family.is_none_or(|f| f == Family::of(p));
        match (query.rib, peer) {
            (RibKind::Loc, _) => Box::new(self.rib.iter().map(|(p, _)| p).filter(wanted)),
            (RibKind::AdjIn, Some(peer)) => {
                let all = Family::ALL.into_iter().flat_map(|f| peer.adj_in.get(f).iter());
                Box::new(all.map(|(p, _)| p).filter(wanted))
            }
            (RibKind::AdjOut, Some(peer)) => {
                Box::new(peer.adj_out.iter().map(|(p, _)| p).filter(wanted))
            }
            (_, None) => Box::new(std::iter::empty()),
        }
    }

    fn loc_view(&self, prefix: &Prefix, now: Instant) -> Option<RouteView> {
        let route = self.rib.get(prefix)?;
        let mut paths = route.paths().to_vec();
        let reasons = decision::explain(&mut paths);
        let views = paths.iter().zip(reasons).enumerate().map(|(i, (path, reason))| {
            let best = i == 0;
            let used = self.is_used(route, path);
            PathView {
                best,
                multipath: used && !best,
                reason: reason.map(decision::Step::reason),
                installed: used && self.fib.has(prefix, &path.attrs.next_hop),
                ..self.path_view(prefix, path, now)
            }
        });
        Some(RouteView { prefix: *prefix, paths: views.collect() })
    }

    fn is_used(&self, route: &Route, path: &Path) -> bool {
        let local = path.source.kind == Kind::Local;
        !local && route.used(self.config.max_paths.max(1)).any(|p| p == path)
    }

    fn path_view(&self, prefix: &Prefix, path: &Path, now: Instant) -> PathView {
        let peer = path.source.peer.and_then(|id| self.peers.get(&id));
        let adj_in = peer.map(|p| p.adj_in.get(Family::of(prefix)));
        let received = adj_in.and_then(|table| Some((table, table.get(prefix)?)));
        let since =
            received.map_or_else(|| self.originated.get(prefix).copied(), |(_, p)| Some(p.since));
        PathView {
            peer: peer.map(|p| p.name.clone()),
            best: false,
            multipath: false,
            stale: received.is_some_and(|(table, path)| table.is_stale(path)),
            rejected: false,
            installed: false,
            attributes: Arc::clone(&path.attrs),
            reason: None,
            age: since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
        }
    }

    fn adj_in_view(&self, peer: &Peer, prefix: &Prefix, now: Instant) -> Option<RouteView> {
        let table = peer.adj_in.get(Family::of(prefix));
        let received = table.get(prefix)?;
        let stale = table.is_stale(received);
        let selected = self.loc_view(prefix, now).into_iter().flat_map(|r| r.paths);
        let mut from_peer =
            selected.filter(|p| received.verdict.accepted() && p.peer.as_ref() == Some(&peer.name));
        let path = from_peer.next().unwrap_or_else(|| refused_view(peer, received, stale, now));
        Some(RouteView { prefix: *prefix, paths: vec![path] })
    }

    fn adj_out_view(&self, peer: &Peer, prefix: &Prefix, now: Instant) -> Option<RouteView> {
        let attributes = peer.adj_out.get(prefix)?;
        let source = self.loc_view(prefix, now).and_then(|r| r.paths.into_iter().next());
        let path = PathView {
            peer: source.as_ref().and_then(|p| p.peer.clone()),
            age: source.map_or(Duration::ZERO, |p| p.age),
            best: true,
            ..bare_view(attributes)
        };
        Some(RouteView { prefix: *prefix, paths: vec![path] })
    }
}

fn refused_view(peer: &Peer, path: &InPath, stale: bool, now: Instant) -> PathView {
    PathView {
        peer: Some(peer.name.clone()),
        stale,
        rejected: true,
        reason: path.verdict.reason(),
        age: now.saturating_duration_since(path.since),
        ..bare_view(&path.attrs)
    }
}

fn bare_view(attributes: &Arc<Attributes>) -> PathView {
    PathView {
        peer: None,
        best: false,
        multipath: false,
        stale: false,
        rejected: false,
        installed: false,
        attributes: Arc::clone(attributes),
        reason: None,
        age: Duration::ZERO,
    }
}

/// The least `limit` of them, in order, without sorting all the others.
fn first<'a>(prefixes: impl Iterator<Item = &'a Prefix>, limit: usize) -> Vec<Prefix> {
    let mut page = BinaryHeap::new();
    for prefix in prefixes {
        if page.len() < limit {
            page.push(*prefix);
        } else if let Some(mut greatest) = page.peek_mut()
            && *prefix < *greatest
        {
            *greatest = *prefix;
        }
    }
    page.into_sorted_vec()
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
