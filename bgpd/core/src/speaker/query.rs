//! Questions about whole tables, answered in portions: first which prefixes there are, by a walk that
//! may be taken up again after any event, then the routes of some of them at a time.

use super::Speaker;
use crate::peer::Peer;
use crate::rib::numbers::PrefixId;
use crate::types::{Family, Gateway, Prefix};
use crate::view::{Match, PathFilter, PathState, PathView, RibKind, RouteQuery, RouteView};
use crate::wire::{Attributes, Origin};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far a walk over a table has come. Entries that stay in the table all the while are met at
/// least once; those that come on the way may be missed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    /// The parts before this one are done.
    part: usize,
    /// Of the part, entries below this index are still to be visited; `None`: all.
    below: Option<usize>,
    over: bool,
}

impl Scan {
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }
}

/// The families are tables of their own.
const PARTS: usize = 2;

impl Speaker {
    /// Puts names where the query may have addresses; the peer that there is not, if so.
    pub fn resolve(&self, query: &mut RouteQuery) -> Result<(), String> {
        for peer in [&mut query.peer, &mut query.filter.from].into_iter().flatten() {
            let id = self.find_peer(peer).ok_or_else(|| peer.clone())?;
            if let Some(found) = self.peers.get(&id) {
                peer.clone_from(&found.name);
            }
        }
        Ok(())
    }

    /// Visits the next `steps` entries of the queried table and answers the prefixes that fit, in
    /// no order. A query about certain prefixes is answered at once.
    #[must_use]
    pub fn scan(&self, query: &RouteQuery, scan: &mut Scan, steps: usize) -> Vec<Prefix> {
        if let Some(certain) = certain(query) {
            scan.over = true;
            return certain;
        }
        let peer = self.queried_peer(query);
        let mut found = Vec::new();
        for _ in 0..steps {
            let slots = self.slots(query, scan.part);
            let next = scan.below.map_or(slots, |below| below.min(slots)).checked_sub(1);
            if let Some(index) = next {
                scan.below = next;
                let prefix = self.slot(query, peer, scan.part, index);
                found.extend(prefix.filter(|p| fits(query, p)));
                continue;
            }
            (scan.part, scan.below) = (scan.part + 1, None);
            scan.over = scan.part >= PARTS;
            if scan.over {
                break;
            }
        }
        found
    }

    /// The routes of these prefixes, as far as they are there and the query wants them.
    #[must_use]
    pub fn look(&self, query: &RouteQuery, prefixes: &[Prefix], now: Instant) -> Vec<RouteView> {
        let peer = self.queried_peer(query);
        let view = |prefix: &Prefix| {
            let mut route = match (query.rib, peer) {
                (RibKind::Loc, _) => self.loc_view(prefix, now)?,
                (RibKind::Fib, _) => self.fib_view(prefix)?,
                (RibKind::AdjIn, Some(peer)) if query.post_policy => {
                    self.admitted_view(peer, prefix, now)?
                }
                (RibKind::AdjIn, Some(peer)) => self.adj_in_view(peer, prefix, now)?,
                (RibKind::AdjOut, Some(peer)) => self.adj_out_view(peer, prefix, now)?,
                (_, None) => return None,
            };
            route.paths.retain(|path| query.filter.admits(path, query));
            (!route.paths.is_empty()).then_some(route)
        };
        let views = prefixes.iter().filter_map(view);
        match query.prefix {
            Some((_, Match::Longest)) => views.take(1).collect(),
            _ => views.collect(),
        }
    }

    /// All at once, in prefix order: at most `limit`, those that come behind `after`.
    #[must_use]
    pub fn routes(
        &self,
        query: &RouteQuery,
        after: Option<Prefix>,
        limit: usize,
        now: Instant,
    ) -> Vec<RouteView> {
        let mut prefixes = self.scan(query, &mut Scan::default(), usize::MAX);
        if !matches!(query.prefix, Some((_, Match::Longest))) {
            prefixes.sort_unstable();
        }
        let mut routes = self.look(query, &prefixes, now);
        routes.retain(|route| after.is_none_or(|after| route.prefix > after));
        routes.truncate(limit);
        routes
    }

    fn queried_peer(&self, query: &RouteQuery) -> Option<&Peer> {
        self.peers.get(&self.find_peer(query.peer.as_ref()?)?)
    }

    /// Indexes of a part are below this.
    fn slots(&self, query: &RouteQuery, part: usize) -> usize {
        match (query.rib, Family::ALL.get(part)) {
            (RibKind::Fib, _) if part == 0 => self.fib.slots(),
            (RibKind::Fib, _) | (_, None) => 0,
            (_, Some(family)) => self.rib.numbers().slots(*family),
        }
    }

    /// Of the RIBs' numbers not each is in each table.
    fn slot(
        &self,
        query: &RouteQuery,
        peer: Option<&Peer>,
        part: usize,
        index: usize,
    ) -> Option<Prefix> {
        let id = PrefixId::new(*Family::ALL.get(part)?, index);
        let is_there = match (query.rib, peer) {
            (RibKind::Fib, _) => return self.fib.at(index).copied(),
            (RibKind::Loc, _) => self.rib.at(id).is_some(),
            (RibKind::AdjIn, Some(peer)) => peer.adj_in.get(id.family()).of(id).next().is_some(),
            (RibKind::AdjOut, Some(peer)) => peer.adj_out.get(id).is_some(),
            (_, None) => false,
        };
        self.rib.prefix(id).filter(|_| is_there)
    }

    /// As import has let it in.
    fn admitted_view(&self, peer: &Peer, prefix: &Prefix, now: Instant) -> Option<RouteView> {
        let mut route = self.loc_view(prefix, now)?;
        route.paths.retain(|path| path.peer.as_ref() == Some(&peer.name));
        Some(route)
    }

    /// A path for each next hop, of the kernel or, where it has refused, of what it should have.
    fn fib_view(&self, prefix: &Prefix) -> Option<RouteView> {
        let fib = self.fib.route(prefix);
        let refused = fib.refused.is_some();
        let hops = if refused && !fib.wanted.is_empty() { &fib.wanted } else { &fib.present };
        let why = |hop: &Gateway| {
            fib.left_out.iter().find(|(out, _)| out == hop).map(|(_, why)| why.clone())
        };
        let path = |hop: &Gateway| PathView {
            peer: None,
            injected_by: None,
            best: true,
            multipath: hops.len() > 1,
            stale: fib.awaited.iter().any(|awaited| awaited.way_out() == hop.way_out()),
            rejected: false,
            installed: !refused && why(hop).is_none(),
            left_out: why(hop),
            hop_weight: Some(hop.weight),
            attributes: Arc::new(Attributes::bare(hop.next_hop, Origin::Igp)),
            path_id: 0,
            reason: None,
            said: fib.refused.as_ref().map(|(why, _)| why.clone()),
            age: Duration::ZERO,
        };
        let paths: Vec<PathView> = hops.iter().map(path).collect();
        (!paths.is_empty()).then_some(RouteView { prefix: *prefix, paths })
    }
}

/// The prefixes that alone can answer, the most specific first; `None`: the table has to be walked.
fn certain(query: &RouteQuery) -> Option<Vec<Prefix>> {
    let wanted = |p: &Prefix| query.family.is_none_or(|f| f == Family::of(p));
    let (prefix, how) = query.prefix?;
    let all = match how {
        Match::Exact => vec![prefix],
        Match::Longest | Match::Covering => super::explain::covering(&prefix).collect(),
        Match::Covered => return None,
    };
    Some(all.into_iter().filter(wanted).collect())
}

fn fits(query: &RouteQuery, prefix: &Prefix) -> bool {
    query.family.is_none_or(|f| f == Family::of(prefix))
        && query.prefix.is_none_or(|(within, _)| within.covers(prefix))
}

impl PathFilter {
    fn admits(&self, path: &PathView, query: &RouteQuery) -> bool {
        let attrs = &path.attributes;
        self.from.as_ref().is_none_or(|from| path.peer.as_ref() == Some(from))
            && self.community.is_none_or(|c| attrs.communities.contains(&c))
            && self.large_community.is_none_or(|c| attrs.large_communities.contains(&c))
            && self.asn.is_none_or(|asn| attrs.as_path.contains(asn))
            && !(query.post_policy && path.rejected)
            && self.state.is_none_or(|state| state.is_of(path))
    }
}

impl PathState {
    fn is_of(self, path: &PathView) -> bool {
        let learned = path.peer.is_some() || path.said.is_some();
        match self {
            Self::Stale => path.stale,
            Self::Rejected => path.rejected,
            Self::NotInstalled => path.best && learned && !path.installed,
        }
    }
}
