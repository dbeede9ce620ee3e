//! What the kernel shows of addresses that are nobody's: somebody uses them all the same, and they
//! are not handed out. The rules stand in docs/internals/cooldown.md.
//!
//! Routes, neighbours and flows are read again and again, so seldom that it costs at most a
//! fiftieth of one core; sandboxes each minute. What could not be read counts as unchanged.

pub(crate) mod conntrack;
mod neighbours;
mod routes;
mod sandboxes;

use crate::daemon::Daemon;
use ipam_core::Block;
use rtnetlink::Handle;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first look is over before the first address is handed out, unless it takes longer.
const FIRST: Duration = Duration::from_secs(10);
const OFTEN: Duration = Duration::from_secs(2);
const SELDOM: Duration = Duration::from_secs(10);
const SANDBOXES: Duration = Duration::from_secs(60);
/// Of the time a look has taken: what to wait until the next.
const SHARE: u32 = 50;
/// The kernel's clocks of flows have seconds.
const SECOND: Duration = Duration::from_secs(1);

type Seen = BTreeMap<IpAddr, String>;

/// What was seen, by source.
#[derive(Default)]
pub(crate) struct Evidence {
    sandboxes: Watched,
    routes: Watched,
    neighbours: Watched,
    flows: Watched,
    /// When the flows seen last would have ended, had nothing more been heard.
    ends: HashMap<u32, Instant>,
}

#[derive(Default)]
struct Watched {
    seen: Seen,
    due: Option<Instant>,
    failed: bool,
}

impl Watched {
    fn is_due(&self) -> bool {
        self.due.is_none_or(|due| due <= Instant::now())
    }

    /// After a look that began then.
    fn looked<E: std::fmt::Display>(
        &mut self,
        what: &str,
        result: Result<Seen, E>,
        began: Instant,
        least: Duration,
    ) {
        let took = began.elapsed();
        tracing::debug!(what, ?took, "looked at who uses addresses");
        self.due = Some(Instant::now() + (took * SHARE).max(least));
        match result {
            Ok(seen) => (self.seen, self.failed) = (seen, false),
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(%error, "cannot see who uses addresses by their {what}");
                }
            }
        }
    }
}

/// The addresses that this node hands out.
#[derive(Clone)]
struct Ours(Arc<[Block]>);

impl Ours {
    fn have(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.hands_out(address))
    }
}

/// Before anybody is served.
pub(crate) async fn first(handle: &Handle, daemon: &Daemon) -> Evidence {
    let mut evidence = Evidence::default();
    if tokio::time::timeout(FIRST, evidence.look(handle, daemon)).await.is_err() {
        tracing::warn!("not all of the kernel's tables could be looked at in time; going on");
    }
    evidence
}

/// Ends when the daemon does.
pub(crate) async fn watch(handle: Handle, daemon: Arc<Daemon>, mut evidence: Evidence) {
    let mut ticks = tokio::time::interval(OFTEN);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        evidence.look(&handle, &daemon).await;
    }
}

impl Evidence {
    async fn look(&mut self, handle: &Handle, daemon: &Daemon) {
        let blocks = daemon.state().ipam.settings().blocks().map(|(_, b)| Block::new(b)).collect();
        let ours = Ours(blocks);
        let began = Instant::now();
        if self.routes.is_due() {
            let seen = routes::host_routes(handle, |a| ours.have(a)).await;
            self.routes.looked("routes", seen, began, OFTEN);
        }
        let began = Instant::now();
        if self.neighbours.is_due() {
            let seen = neighbours::reachable(handle, |a| ours.have(a)).await;
            self.neighbours.looked("neighbour entries", seen, began, OFTEN);
        }
        if self.sandboxes.is_due() {
            self.look_at_sandboxes(daemon, ours.clone()).await;
        }
        if self.flows.is_due() {
            self.look_at_flows(daemon, ours).await;
        }
        self.tell(daemon);
    }

    async fn look_at_sandboxes(&mut self, daemon: &Daemon, ours: Ours) {
        let began = Instant::now();
        let known = daemon.state().ipam.namespaces_left().into_iter().map(PathBuf::from).collect();
        let look = move || sandboxes::addresses(known, move |address| ours.have(address));
        let found = tokio::task::spawn_blocking(look).await.map_err(std::io::Error::other);
        let text = |path: PathBuf| format!("configured in network namespace {}", path.display());
        let seen = found
            .flatten()
            .map(|found| found.into_iter().map(|(address, path)| (address, text(path))).collect());
        self.sandboxes.looked("sandboxes", seen, began, SANDBOXES);
    }

    /// A flow counts that is new, or that something was heard of since the last look.
    async fn look_at_flows(&mut self, daemon: &Daemon, ours: Ours) {
        let began = Instant::now();
        let assigned: HashSet<IpAddr> = daemon.state().ipam.assigned().collect();
        let nobodys = move |address| ours.have(address) && !assigned.contains(&address);
        let look = move || {
            let flows = conntrack::flows(&nobodys)?;
            Ok((flows, nobodys))
        };
        let found = tokio::task::spawn_blocking(look).await.map_err(std::io::Error::other);
        let seen = found.flatten().map(|(flows, nobodys)| {
            let mut seen = Seen::new();
            let mut ends = HashMap::new();
            for flow in flows {
                let end = began + flow.left;
                let before = self.ends.get(&flow.id);
                ends.insert(flow.id, before.map_or(end, |before| end.max(*before)));
                if before.is_none_or(|before| end > *before + SECOND) {
                    let addresses = flow.addresses.iter().filter(|a| nobodys(**a));
                    seen.extend(addresses.map(|a| (*a, "a flow of it is alive".to_owned())));
                }
            }
            self.ends = ends;
            seen
        });
        self.flows.looked("flows", seen, began, SELDOM);
    }

    fn tell(&self, daemon: &Daemon) {
        let sources = [&self.flows, &self.neighbours, &self.routes, &self.sandboxes];
        // Of several the last says most.
        let all: BTreeMap<&IpAddr, &String> =
            sources.into_iter().flat_map(|source| &source.seen).collect();
        let told = daemon.change(|ipam, now, out| {
            for address in ipam.believed_in_use() {
                if !all.contains_key(&address) {
                    ipam.unseen(address, now, out);
                }
            }
            all.iter().for_each(|(address, what)| ipam.seen(**address, what, now, out));
            ipam.lift(now, out);
        });
        if let Err(stopped) = told {
            tracing::debug!(%stopped, "nobody to tell what was seen");
        }
    }
}
