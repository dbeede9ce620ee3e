//! Neighbours that have answered lately.

use super::Seen;
use crate::neighbours::destination;
use futures_util::TryStreamExt;
use netlink_packet_route::neighbour::{NeighbourMessage, NeighbourState};
use rtnetlink::{Error, Handle};
use std::net::IpAddr;

/// The addresses that `wanted` picks and that were confirmed by whoever has them. An entry that is
/// stale, being probed, failed or incomplete confirms nothing, and a permanent one is somebody's
/// belief.
pub(super) async fn reachable(
    handle: &Handle,
    wanted: impl Fn(IpAddr) -> bool,
) -> Result<Seen, Error> {
    let mut seen = Seen::new();
    let mut entries = handle.neighbours().get().execute();
    while let Some(entry) = entries.try_next().await? {
        if let Some(address) = confirmed(&entry).filter(|address| wanted(*address)) {
            seen.insert(address, "a neighbour answers for it".to_owned());
        }
    }
    Ok(seen)
}

fn confirmed(entry: &NeighbourMessage) -> Option<IpAddr> {
    if entry.header.state == NeighbourState::Reachable { destination(entry) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};

    #[test]
    fn only_an_answer_confirms_a_neighbour() {
        let mut entry = NeighbourMessage::default();
        let address = NeighbourAddress::Inet([10, 0, 0, 5].into());
        entry.attributes.push(NeighbourAttribute::Destination(address));
        for (state, counts) in [
            (NeighbourState::Reachable, true),
            (NeighbourState::Stale, false),
            (NeighbourState::Delay, false),
            (NeighbourState::Probe, false),
            (NeighbourState::Failed, false),
            (NeighbourState::Incomplete, false),
            (NeighbourState::Permanent, false),
            (NeighbourState::Noarp, false),
        ] {
            entry.header.state = state;
            assert_eq!(confirmed(&entry).is_some(), counts, "{state:?}");
        }
    }
}
