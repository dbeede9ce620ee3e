//! All sources together: one look at the node.

use crate::export::{Samples, metrics};
use crate::sources::daemon::Daemon;
use crate::sources::feed::{Feed, Spec};
use crate::sources::flows::{self, Promise, Totals, Watch};
use crate::sources::refresh::{Outcome, Refresh};
use crate::sources::{Health, SourceError, bgp, conntrack, ipam, links, process, routes};
use mainstay_config::Mode;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// How old what another daemon said may be.
const DAEMON_EVERY: Duration = Duration::from_secs(1);

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const NFNLGRP_CONNTRACK_DESTROY: u32 = 3;

const ROUTE_EVENTS: Spec = Spec {
    name: "route_events",
    protocol: NETLINK_ROUTE,
    groups: &[RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE],
    buffer: 4 << 20,
    reliable: false,
};

const FLOW_EVENTS: Spec = Spec {
    name: "flow_events",
    protocol: NETLINK_NETFILTER,
    groups: &[NFNLGRP_CONNTRACK_DESTROY],
    buffer: 8 << 20,
    reliable: true,
};

/// Everything netmon watches.
pub(crate) struct Monitor {
    mode: RwLock<Mode>,
    routes: Refresh,
    links: Refresh,
    conntrack: Refresh,
    bgp: (Daemon, Refresh),
    ipam: (Daemon, Refresh),
    route_events: Arc<Feed>,
    flow_events: Arc<Feed>,
    changes: Arc<routes::Changes>,
    flows: Arc<Totals>,
    watch: Mutex<(Promise, u64)>,
}

/// What one look at the node saw.
pub(crate) struct Look {
    pub(crate) samples: Samples,
    pub(crate) health: Vec<Health>,
}

impl Monitor {
    /// Subscribes to the kernel's events; `run_dir` is where the other daemons serve.
    pub(crate) fn start(mode: Mode, run_dir: &Path) -> io::Result<Self> {
        let changes = Arc::new(routes::Changes::default());
        let flows = Arc::new(Totals::default());
        let board = Arc::new(Mutex::new(links::Board::default()));
        account();
        let route_events = {
            let (changes, board) = (Arc::clone(&changes), Arc::clone(&board));
            Feed::start(ROUTE_EVENTS, move |m| match m.kind {
                links::RTM_DELLINK => {
                    if let Some(link) = links::parse(m.body)? {
                        board.lock().unwrap_or_else(PoisonError::into_inner).removed(link);
                    }
                    Ok(())
                }
                _ => changes.observe(m),
            })?
        };
        let flow_events = {
            let flows = Arc::clone(&flows);
            Feed::start(FLOW_EVENTS, move |m| flows.observe(m))?
        };
        Ok(Self {
            mode: RwLock::new(mode),
            routes: Refresh::blocking("routes", routes::read),
            links: Refresh::blocking("links", move || {
                // Held over the dump, so that farewells come before or after it.
                let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
                board.update(links::read()?);
                Ok(board.samples())
            }),
            conntrack: Refresh::blocking("conntrack", conntrack::read),
            bgp: asked("bgp", Daemon::new("bgpd", run_dir.join("bgpd.sock")), bgp::read),
            ipam: asked("ipam", Daemon::new("ipamd", run_dir.join("ipamd.sock")), ipam::read),
            route_events,
            flow_events,
            changes,
            flows,
            watch: Mutex::new((Promise::new(), 0)),
        })
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        *self.mode.write().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Asks every source at once. Takes no longer than the slowest may.
    pub(crate) async fn look(&self) -> Look {
        let (routes, links, conntrack, bgp, ipam) = tokio::join!(
            self.routes.get(),
            self.links.get(),
            self.conntrack.get(),
            self.ask(&self.bgp, |mode| mode == Mode::Bgp),
            self.ask(&self.ipam, |mode| mode != Mode::None),
        );
        let asked = [Some(routes), Some(links), Some(conntrack), bgp, ipam];
        let mut look = Look { samples: Samples::default(), health: Vec::new() };
        for outcome in asked.into_iter().flatten() {
            if let Some(samples) = &outcome.samples {
                look.samples.extend(samples);
            }
            look.health.push(outcome.health);
        }
        look.health.push(self.route_events.health());
        look.health.push(self.flow_events.health());
        self.own(&mut look);
        look
    }

    /// A daemon that the mode does not need is asked only where it runs.
    async fn ask(
        &self,
        (daemon, source): &(Daemon, Refresh),
        needed: impl Fn(Mode) -> bool,
    ) -> Option<Outcome> {
        let mode = *self.mode.read().unwrap_or_else(PoisonError::into_inner);
        if needed(mode) || daemon.runs().await { Some(source.get().await) } else { None }
    }

    /// What netmon counts itself.
    fn own(&self, look: &mut Look) {
        let samples = &mut look.samples;
        self.changes.export(samples);
        self.flows.export(samples);
        for (name, feed) in
            [("route_events", &self.route_events), ("flow_events", &self.flow_events)]
        {
            samples.add(&metrics::NETLINK_OVERRUNS, &[name], feed.overruns());
            samples.add(&metrics::NETLINK_MALFORMED, &[name], feed.malformed());
        }
        samples.add(&metrics::FLOW_EVENTS_RELIABLE, &[], self.flow_events.reliable());
        samples.add(&metrics::BUILD_INFO, &[mainstay_daemon::VERSION], true);
        if let Err(error) = process::export(samples) {
            tracing::warn!(error = mainstay_daemon::chain(&error), "cannot tell of this process");
        }
        for health in &look.health {
            samples.add(&metrics::SOURCE_UP, &[health.name], health.ok());
            if let Some(last) = &health.last_success {
                samples.add(&metrics::SOURCE_LAST_SUCCESS, &[health.name], last.unix());
            }
        }
    }

    /// Ended connections since the start, and their bytes.
    pub(crate) fn flow_sums(&self) -> (u64, u64) {
        self.flows.sums()
    }

    /// Keeps the reader of flow events from filling the connection table; called every
    /// [`Promise::EVERY`].
    pub(crate) fn watch_flows(&self) {
        let (turns, busy) = self.flow_events.progress();
        let overruns = self.flow_events.overruns();
        let usage = conntrack::Usage::read().ok();
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let (promise, before) = &mut *watch;
        let late = overruns - std::mem::replace(before, overruns);
        let Some(keep) = promise.look(Watch { turns, busy, overruns: late, usage }) else {
            return;
        };
        if keep {
            tracing::info!("flow events are complete again");
        } else {
            tracing::warn!(
                "netmon is too slow for the connections that end; some will not be counted"
            );
        }
        if let Err(error) = self.flow_events.set_reliable(keep) {
            tracing::error!(%error, "cannot change how the kernel delivers flow events");
        }
    }
}

fn asked<F, A>(name: &'static str, daemon: Daemon, read: F) -> (Daemon, Refresh)
where
    F: Fn(Daemon) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Samples, SourceError>> + Send + 'static,
{
    let from = daemon.clone();
    (daemon, Refresh::new(name, DAEMON_EVERY, move || read(from.clone())))
}

/// Without it flows are counted, but not their bytes.
fn account() {
    match flows::account() {
        Ok(true) => tracing::info!(
            "turned on nf_conntrack_acct: bytes are counted for connections from now on"
        ),
        Ok(false) => {}
        Err(error) => tracing::warn!(
            error = mainstay_daemon::chain(&error),
            "flows will have no bytes: cannot turn on nf_conntrack_acct"
        ),
    }
}
