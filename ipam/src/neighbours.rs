//! Flushes what the kernel remembers of released addresses: a bridge may remember the old pod's MAC
//! address for longer than the cooldown lasts, if unrelated traffic keeps the entry alive, and a
//! flow that was translated to the old pod would go to the new one.

use crate::evidence::conntrack;
use futures_util::TryStreamExt;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Error, Handle};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// The plugin that asked for the DEL removes the interface next, and most entries with it.
const PAUSE: Duration = Duration::from_millis(500);

/// Of the time a look at the flows has taken: what to wait before the next, so that a node that has
/// very many spends little on it.
const SHARE: u32 = 50;
const LONGEST: Duration = Duration::from_secs(30);

/// Ends when the daemon does.
pub(crate) async fn flush(handle: Handle, mut released: UnboundedReceiver<IpAddr>) {
    let (mut pause, mut failed) = (PAUSE, false);
    while let Some(first) = released.recv().await {
        tokio::time::sleep(pause).await;
        let mut addresses = HashSet::from([first]);
        while let Ok(more) = released.try_recv() {
            addresses.insert(more);
        }
        if let Err(error) = forget(&handle, &addresses).await {
            tracing::warn!(%error, "cannot flush the neighbour entries of released addresses");
        }
        pause = forget_flows(addresses, &mut failed).await.clamp(PAUSE, LONGEST);
    }
}

/// Returns how long to leave the table alone then.
async fn forget_flows(addresses: HashSet<IpAddr>, failed: &mut bool) -> Duration {
    let began = Instant::now();
    let forget = tokio::task::spawn_blocking(move || conntrack::forget(&addresses));
    match forget.await.map_err(std::io::Error::other).flatten() {
        Ok(0) => {}
        Ok(flows) => tracing::debug!(flows, "flows of released addresses flushed"),
        // A kernel without a connection table has none each time; once is enough.
        Err(error) if !std::mem::replace(failed, true) => {
            tracing::warn!(%error, "cannot flush the flows of released addresses");
        }
        Err(error) => tracing::debug!(%error, "cannot flush the flows of released addresses"),
    }
    began.elapsed() * SHARE
}

async fn forget(handle: &Handle, addresses: &HashSet<IpAddr>) -> Result<(), Error> {
    let known: Vec<_> = handle.neighbours().get().execute().try_collect().await?;
    for entry in known {
        let stale = destination(&entry).filter(|address| addresses.contains(address));
        let Some(address) = stale.filter(|_| is_learned(&entry)) else { continue };
        // It may have gone by itself.
        if handle.neighbours().del(entry).execute().await.is_ok() {
            tracing::debug!(%address, "neighbour entry flushed");
        }
    }
    Ok(())
}

/// What an administrator entered is not ours to remove.
fn is_learned(entry: &NeighbourMessage) -> bool {
    !matches!(entry.header.state, NeighbourState::Permanent | NeighbourState::Noarp)
}

pub(crate) fn destination(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })
}
