//! Flushes the neighbour entries of released addresses: a bridge may remember the old pod's MAC
//! address for longer than the cooldown lasts, if unrelated traffic keeps the entry alive.

use futures_util::TryStreamExt;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Error, Handle};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// The plugin that asked for the DEL removes the interface next, and most entries with it.
const PAUSE: Duration = Duration::from_millis(500);

/// Ends when the daemon does.
pub(crate) async fn flush(handle: Handle, mut released: UnboundedReceiver<IpAddr>) {
    while let Some(first) = released.recv().await {
        tokio::time::sleep(PAUSE).await;
        let mut addresses = HashSet::from([first]);
        while let Ok(more) = released.try_recv() {
            addresses.insert(more);
        }
        if let Err(error) = forget(&handle, &addresses).await {
            tracing::warn!(%error, "cannot flush the neighbour entries of released addresses");
        }
    }
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

fn destination(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })
}
