//! Injected routes: candidates like any other, of a source of this node, for as long as the lease of
//! their client lasts.

use super::Speaker;
use crate::event::Action;
use crate::inject::{
    DEFAULT_TTL, InjectError, InjectedRoute, Injection, KeptLease, LONGEST_TTL, LeaseView,
    MAX_LEASES, MAX_ROUTES, SHORTEST_TTL,
};
use crate::report::{LeaseEnd, Report};
use crate::rib::{Path, Source};
use crate::types::{Family, PeerId, Prefix, Protocol};
use crate::wire::{Attributes, Origin};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// By client, and whose each prefix is.
#[derive(Debug, Default)]
pub(super) struct Leases {
    clients: BTreeMap<String, Lease>,
    owners: HashMap<Prefix, PeerId>,
}

#[derive(Debug)]
struct Lease {
    /// Among sources of paths a client stands as a peer does.
    source: PeerId,
    ttl: Duration,
    /// Counts only while nobody holds it.
    until: Instant,
    holders: usize,
    since: Instant,
    routes: BTreeMap<Prefix, (InjectedRoute, Instant)>,
}

impl Leases {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.clients.values().filter(|l| l.holders == 0).map(|l| l.until).min()
    }

    fn by_source(&self, source: PeerId) -> Option<(&String, &Lease)> {
        self.clients.iter().find(|(_, lease)| lease.source == source)
    }

    /// The client behind a path's source, and since when it has announced the prefix.
    pub(super) fn announcer(&self, source: PeerId, prefix: &Prefix) -> Option<(&str, Instant)> {
        let (client, lease) = self.by_source(source)?;
        Some((client, lease.routes.get(prefix)?.1))
    }
}

impl Lease {
    fn view(&self, client: &str, now: Instant) -> LeaseView {
        let left = self.until.saturating_duration_since(now);
        LeaseView {
            client: client.to_owned(),
            ttl: self.ttl,
            left: (self.holders == 0).then_some(left),
            age: now.saturating_duration_since(self.since),
            routes: self.routes.len(),
        }
    }
}

impl Speaker {
    /// Does all that a client asks for, or nothing; its lease is renewed.
    pub fn inject(
        &mut self,
        asked: Injection,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Result<LeaseView, InjectError> {
        self.may_inject(&asked)?;
        let gone = self.to_withdraw(&asked);
        let mark = self.mark_cause(&format!("injected by {}", asked.client));
        let ttl = asked.ttl.map(|ttl| ttl.clamp(SHORTEST_TTL, LONGEST_TTL));
        self.renew(&asked.client, ttl, now, out);
        for prefix in gone {
            self.take_back(&asked.client, prefix, out);
        }
        for route in asked.announce {
            self.put(&asked.client, route, now, out);
        }
        self.note_routes(mark);
        self.finish(now, out);
        self.lease(&asked.client, now).ok_or(InjectError::TooManyLeases)
    }

    /// Before [`Event::Adopted`](crate::event::Event::Adopted): leases of an earlier process go on.
    pub fn restore(&mut self, kept: Vec<KeptLease>, now: Instant, out: &mut Vec<Action>) {
        for lease in kept.into_iter().take(MAX_LEASES) {
            self.renew(&lease.client, Some(lease.ttl), now, &mut Vec::new());
            if let Some(restored) = self.leases.clients.get_mut(&lease.client) {
                restored.until = now + lease.left;
            }
            for route in lease.routes {
                if !self.leases.owners.contains_key(&route.prefix) {
                    self.put(&lease.client, route, now, out);
                }
            }
        }
    }

    /// From now on the lease does not run; false: there is none.
    pub fn hold_lease(&mut self, client: &str) -> bool {
        let lease = self.leases.clients.get_mut(client);
        lease.is_some_and(|lease| {
            lease.holders += 1;
            true
        })
    }

    /// One who held it does so no longer: it has its whole time left.
    pub fn let_lease_run(&mut self, client: &str, now: Instant) {
        if let Some(lease) = self.leases.clients.get_mut(client) {
            lease.holders = lease.holders.saturating_sub(1);
            lease.until = now + lease.ttl;
        }
    }

    /// Withdraws all of it at once; `None`: there is no such lease.
    pub fn release_lease(
        &mut self,
        client: &str,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Option<usize> {
        let mark = self.mark_cause(&format!("lease of {client} released"));
        let withdrawn = self.end_lease(client, LeaseEnd::Released, out)?;
        self.note_routes(mark);
        self.finish(now, out);
        Some(withdrawn)
    }

    /// By name.
    #[must_use]
    pub fn leases(&self, now: Instant) -> Vec<LeaseView> {
        self.leases.clients.iter().map(|(client, lease)| lease.view(client, now)).collect()
    }

    #[must_use]
    pub fn lease(&self, client: &str, now: Instant) -> Option<LeaseView> {
        Some(self.leases.clients.get(client)?.view(client, now))
    }

    /// What a client announces, in prefix order.
    #[must_use]
    pub fn injected(&self, client: &str) -> Vec<InjectedRoute> {
        let lease = self.leases.clients.get(client);
        lease.map(|l| l.routes.values().map(|(r, _)| r.clone()).collect()).unwrap_or_default()
    }

    pub(super) fn leases_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        let clients = self.leases.clients.iter();
        let over = clients.filter(|(_, l)| l.holders == 0 && l.until <= now);
        let over: Vec<String> = over.map(|(client, _)| client.clone()).collect();
        for client in over {
            self.end_lease(&client, LeaseEnd::Expired, out);
        }
    }

    fn may_inject(&self, asked: &Injection) -> Result<(), InjectError> {
        let lease = self.leases.clients.get(&asked.client);
        if lease.is_none() && self.leases.clients.len() >= MAX_LEASES {
            return Err(InjectError::TooManyLeases);
        }
        let source = lease.map(|l| l.source);
        for InjectedRoute { prefix, .. } in &asked.announce {
            let owner = self.leases.owners.get(prefix).copied();
            if let Some(other) = owner.filter(|_| owner != source) {
                let owner = self.leases.by_source(other).map_or("?", |(name, _)| name).to_owned();
                return Err(InjectError::Taken { prefix: *prefix, owner });
            }
            if self.originated.contains_key(prefix) {
                return Err(InjectError::Own { prefix: *prefix });
            }
        }
        let new: HashSet<&Prefix> = asked.announce.iter().map(|r| &r.prefix).collect();
        let new = new.into_iter().filter(|p| !self.leases.owners.contains_key(*p)).count();
        let gone = self.to_withdraw(asked).len();
        if (self.leases.owners.len() + new).saturating_sub(gone) > MAX_ROUTES {
            return Err(InjectError::TooManyRoutes);
        }
        Ok(())
    }

    /// What the client has and is to lose; what it announces anew stays.
    fn to_withdraw(&self, asked: &Injection) -> Vec<Prefix> {
        let Some(lease) = self.leases.clients.get(&asked.client) else { return Vec::new() };
        let kept: HashSet<Prefix> = asked.announce.iter().map(|r| r.prefix).collect();
        let withdrawn: HashSet<Prefix> = asked.withdraw.iter().copied().collect();
        let goes = |p: &&Prefix| (asked.replace || withdrawn.contains(*p)) && !kept.contains(*p);
        lease.routes.keys().filter(goes).copied().collect()
    }

    fn renew(&mut self, client: &str, ttl: Option<Duration>, now: Instant, out: &mut Vec<Action>) {
        if let Some(lease) = self.leases.clients.get_mut(client) {
            lease.ttl = ttl.unwrap_or(lease.ttl);
            lease.until = now + lease.ttl;
            return;
        }
        let (source, ttl) = (self.new_peer_id(), ttl.unwrap_or(DEFAULT_TTL));
        let (holders, routes) = (0, BTreeMap::new());
        let lease = Lease { source, ttl, until: now + ttl, holders, since: now, routes };
        self.leases.clients.insert(client.to_owned(), lease);
        out.push(Action::Report(Report::LeaseBegun { client: client.to_owned(), ttl }));
    }

    fn put(&mut self, client: &str, route: InjectedRoute, now: Instant, out: &mut Vec<Action>) {
        let own = self.own_source(Protocol::Injected);
        let Some(lease) = self.leases.clients.get_mut(client) else { return };
        let prefix = route.prefix;
        let attrs = self.interner.intern(&attributes(&route));
        let since = lease.routes.get(&prefix).filter(|(r, _)| *r == route).map(|(_, at)| *at);
        lease.routes.insert(prefix, (route, since.unwrap_or(now)));
        self.leases.owners.insert(prefix, lease.source);
        let source = Rc::new(Source { peer: Some(lease.source), ..own });
        let id = self.rib.number(&prefix);
        self.tables(out).set(id, Path { source, attrs, id: 0 });
    }

    fn take_back(&mut self, client: &str, prefix: Prefix, out: &mut Vec<Action>) {
        let Some(lease) = self.leases.clients.get_mut(client) else { return };
        let source = lease.source;
        if lease.routes.remove(&prefix).is_some() {
            self.leases.owners.remove(&prefix);
            self.tables(out).remove_prefix(&prefix, Some(source));
        }
    }

    fn end_lease(&mut self, client: &str, why: LeaseEnd, out: &mut Vec<Action>) -> Option<usize> {
        let lease = self.leases.clients.remove(client)?;
        for prefix in lease.routes.keys() {
            self.leases.owners.remove(prefix);
            self.tables(out).remove_prefix(prefix, Some(lease.source));
        }
        let (client, routes) = (client.to_owned(), lease.routes.len());
        out.push(Action::Report(Report::LeaseEnded { client, routes, why }));
        Some(routes)
    }
}

fn attributes(route: &InjectedRoute) -> Attributes {
    let own = super::routes::own_attributes(Family::of(&route.prefix));
    Attributes {
        next_hop: route.next_hop.unwrap_or(own.next_hop),
        communities: route.communities.clone(),
        large_communities: route.large_communities.clone(),
        local_pref: route.local_pref,
        med: route.med,
        ..Attributes::bare(own.next_hop, Origin::Igp)
    }
}
