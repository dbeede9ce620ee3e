//! What clients and operators do to the running speaker: leases of injected routes, resets, watching.

use crate::run::Run;
use crate::watch::Wanted;
use bgp_core::event::{Action, Reset};
use bgp_core::inject::{InjectError, InjectedRoute, Injection, KeptLease, LeaseView};
use bgp_core::speaker::{Done, Speaker};
use bgp_core::types::{Family, PeerId};
use mainstay_proto::bgp::v1::WatchEvent;
use std::time::Instant;
use tokio::sync::mpsc;

impl Run {
    pub(crate) fn inject(&mut self, asked: Injection) -> Result<LeaseView, InjectError> {
        let renewal = asked.announce.is_empty() && asked.withdraw.is_empty() && !asked.replace;
        let lease = self.operate(|speaker, now, out| speaker.inject(asked, now, out))?;
        if !renewal || self.lease_files.is_old(&lease, mainstay_daemon::boottime()) {
            self.keep_lease(&lease);
        }
        Ok(lease)
    }

    /// Leases of an earlier process go on: before anything is announced, or taken from the kernel.
    pub(crate) fn restore(&mut self, kept: Vec<KeptLease>) {
        if !kept.is_empty() {
            let routes: usize = kept.iter().map(|lease| lease.routes.len()).sum();
            tracing::info!(leases = kept.len(), routes, "injected routes go on");
            self.operate(|speaker, now, out| speaker.restore(kept, now, out));
        }
    }

    pub(crate) fn hold_lease(&mut self, client: &str) -> bool {
        let held = self.speaker.hold_lease(client);
        self.keep_lease_of(client);
        held
    }

    pub(crate) fn let_lease_run(&mut self, client: &str) {
        self.speaker.let_lease_run(client, Instant::now());
        self.keep_lease_of(client);
    }

    pub(crate) fn release_lease(&mut self, client: &str) -> Option<usize> {
        self.operate(|speaker, now, out| speaker.release_lease(client, now, out))
    }

    pub(crate) fn leases(
        &self,
        client: Option<&str>,
        routes: bool,
    ) -> Vec<(LeaseView, Vec<InjectedRoute>)> {
        let mut leases = self.speaker.leases(Instant::now());
        leases.retain(|lease| client.is_none_or(|client| lease.client == client));
        let with_routes = |lease: LeaseView| {
            let routes = if routes { self.speaker.injected(&lease.client) } else { Vec::new() };
            (lease, routes)
        };
        leases.into_iter().map(with_routes).collect()
    }

    /// A line for each peer; `None`: there is no such peer.
    pub(crate) fn reset(&mut self, peer: &str, how: &Reset) -> Option<Vec<String>> {
        let peers: Vec<(PeerId, String)> =
            self.speaker.peers(Instant::now()).into_iter().map(|p| (p.id, p.name)).collect();
        let only = match peer {
            "" => None,
            peer => Some(self.speaker.find_peer(peer)?),
        };
        let peers = peers.into_iter().filter(|(id, _)| only.is_none_or(|only| *id == only));
        let mut done = Vec::new();
        for (id, name) in peers {
            let how = how.clone();
            let reset = self.operate(|speaker, now, out| speaker.reset_peer(id, how, now, out));
            done.extend(reset.map(|reset| format!("{name}: {}", words(&reset))));
        }
        Some(done)
    }

    pub(crate) fn watch(&mut self, wanted: Wanted) -> Option<mpsc::Receiver<WatchEvent>> {
        let events = self.tables.watchers.add(wanted);
        self.follow_routes();
        events
    }

    /// What has happened to routes goes to those who watch them.
    pub(crate) fn tell_watchers(&mut self) {
        if self.tables.follows_routes {
            let changes = self.speaker.take_route_changes(Instant::now());
            self.tables.watchers.routes(changes);
            self.follow_routes();
        }
    }

    fn follow_routes(&mut self) {
        let wanted = self.tables.watchers.want_routes();
        if self.tables.follows_routes != wanted {
            self.tables.follows_routes = wanted;
            self.speaker.watch_routes(wanted);
        }
    }

    fn operate<T>(&mut self, what: impl FnOnce(&mut Speaker, Instant, &mut Vec<Action>) -> T) -> T {
        let mut actions = std::mem::take(&mut self.tables.actions);
        let answer = what(&mut self.speaker, Instant::now(), &mut actions);
        self.carry_out(actions);
        self.pump_woken();
        self.tell_watchers();
        answer
    }

    fn keep_lease_of(&mut self, client: &str) {
        if let Some(lease) = self.speaker.lease(client, Instant::now()) {
            self.keep_lease(&lease);
        }
    }

    fn keep_lease(&mut self, lease: &LeaseView) {
        let had = self.lease_files.warning();
        let routes = self.speaker.injected(&lease.client);
        self.lease_files.write(lease, &routes, mainstay_daemon::boottime());
        if let Some(warning) = self.lease_files.warning().filter(|_| had.is_none()) {
            tracing::warn!("{warning}");
        }
    }
}

fn words(done: &Done) -> String {
    let all = |families: &[Family]| {
        let names: Vec<String> = families.iter().map(ToString::to_string).collect();
        names.join(" and ")
    };
    match done {
        Done::NotUp => "the session is not up".into(),
        Done::Ended => "the session has been ended (administrative reset)".into(),
        Done::Asked(families) => format!("asked for its routes of {} again", all(families)),
        Done::JudgedAgain => {
            "does not know ROUTE-REFRESH; what it has told has been judged again".into()
        }
        Done::Telling(families) => format!("is told all our routes of {} again", all(families)),
    }
}
