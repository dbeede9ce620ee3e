//! Finds leases whose container is gone without a DEL. What counts as proof is decided in
//! [`ipam_core::Evidence`]; here it is gathered: network namespaces, the host's routes, the runtime's
//! sandboxes and its memory of results. `inside` is the other way round: who lives though a runtime
//! calls it invalid.

mod evidence;
mod inside;
mod sandboxes;

pub(crate) use inside::alive;

use crate::daemon::Daemon;
use evidence::Places;
use ipam_core::{Evidence, Leased, Suspects};
use mainstay_config::Gc;
use mainstay_prefix::Prefix;
use rtnetlink::Handle;
use std::sync::Arc;

/// Addresses looked at under one lock.
const PAGE: usize = 4096;

/// Looks now and then, until the daemon ends.
pub(crate) async fn keep(handle: Handle, daemon: Arc<Daemon>) {
    let mut suspects = Suspects::default();
    loop {
        let gc = daemon.state().gc.clone();
        tokio::select! {
            () = tokio::time::sleep(gc.interval) => {}
            () = daemon.gc_wanted.notified() => {}
        }
        if gc.enabled {
            look(&handle, &daemon, &gc, &mut suspects).await;
        }
    }
}

async fn look(handle: &Handle, daemon: &Daemon, gc: &Gc, suspects: &mut Suspects) {
    // Asked once: who came after it looks leaked at this look alone, and one look proves nothing.
    let places = places(gc).await;
    let (mut leaked, mut from) = (Vec::new(), Some(Prefix::DEFAULT_V4.addr()));
    while let Some(at) = from {
        let (leases, next) = daemon.state().ipam.leased(at, PAGE);
        leaked.extend(self::leaked(handle, &places, leases).await);
        from = next;
    }
    for lease in &leaked {
        tracing::debug!(container = lease.attachment.container_id, "looks leaked");
    }
    let due = suspects.look(leaked, daemon.now().boottime, gc.grace);
    daemon.counters.looked_for_leaks(suspects.len());
    if due.is_empty() {
        return;
    }
    // Right before the release, with a fresh list of the runtime's.
    for lease in self::leaked(handle, &self::places(gc).await, due).await {
        let at = &lease.attachment;
        tracing::warn!(
            container = at.container_id,
            ifname = at.ifname,
            network = at.network,
            netns = lease.netns,
            grace = ?gc.grace,
            "no DEL came and the container is gone; released"
        );
        if daemon.release_leaked(&lease).is_err() {
            return;
        }
    }
}

/// What the runtime says now, and where the rest is.
async fn places(gc: &Gc) -> Arc<Places> {
    let sandboxes = match sandboxes::list(&gc.runtime).await {
        Ok(list) => Some(list),
        Err(error) => {
            tracing::debug!(socket = %gc.runtime.display(), error, "the runtime tells no sandboxes");
            None
        }
    };
    Arc::new(Places { sandboxes, results: gc.results.clone() })
}

/// Those of the leases that look leaked now.
async fn leaked(handle: &Handle, places: &Arc<Places>, leases: Vec<Leased>) -> Vec<Leased> {
    if leases.is_empty() {
        return leases;
    }
    let places = Arc::clone(places);
    // File systems may be slow, and ADDs are served on this thread.
    let judged = tokio::task::spawn_blocking(move || places.judge(leases)).await;
    let mut leaked = Vec::new();
    for (lease, evidence) in judged.unwrap_or_default() {
        let evidence = Evidence { route: evidence::route(handle, &lease).await, ..evidence };
        if evidence.proves_a_leak() {
            leaked.push(lease);
        }
    }
    leaked
}
