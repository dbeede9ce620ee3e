//! One blackhole route for each block: what tells bgpd to announce it, and what drops packets to
//! addresses of ours that nobody has instead of sending them back up the default route.
//!
//! The routes are wanted state: put back when somebody removes them, removed when the block is no
//! longer ours and has no leases, and left standing when the daemon stops.

use crate::daemon::Daemon;
use futures_util::TryStreamExt;
use mainstay_prefix::Prefix;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Error, Handle, RouteMessageBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// `mainstay-ipam` in `/etc/iproute2/rt_protos.d/`. Nothing of another protocol is ever touched.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(97);
/// The worst of two bytes: any other route of the same prefix is to win. A bridge with the block's
/// gateway address, for one, brings a connected route of the same prefix at metric 0 (IPv6: 256).
const METRIC: u32 = 65_535;
/// How soon a route that somebody removed is back. Asking is one message a block.
const PERIOD: Duration = Duration::from_secs(1);

/// Which blocks have their route, and what is wrong with the others.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<BTreeMap<Prefix, Result<(), String>>>);

impl Standing {
    pub(crate) fn stands(&self, block: Prefix) -> bool {
        self.all().get(&block).is_some_and(Result::is_ok)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let all = self.all();
        let failed = all.iter().filter_map(|(block, r)| Some((block, r.as_ref().err()?)));
        failed.map(|(block, why)| format!("no blackhole route for {block}: {why}")).collect()
    }

    /// What was known of this block before.
    fn set(&self, block: Prefix, result: Result<(), String>) -> Option<Result<(), String>> {
        self.all().insert(block, result)
    }

    fn retain(&self, wanted: &BTreeSet<Prefix>) {
        self.all().retain(|block, _| wanted.contains(block));
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<Prefix, Result<(), String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the routes as they should be, until the daemon ends.
pub(crate) async fn keep(handle: Handle, daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => put_up(&handle, &daemon).await,
            () = daemon.blocks_changed.notified() => reconcile(&handle, &daemon).await,
        }
    }
}

/// Puts up what is missing and removes what is ours no more.
pub(crate) async fn reconcile(handle: &Handle, daemon: &Daemon) {
    put_up(handle, daemon).await;
    let wanted: BTreeSet<_> = daemon.state().ipam.routed_blocks().into_iter().collect();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let standing = match present(handle, family).await {
            Ok(standing) => standing,
            Err(error) => {
                tracing::warn!(?family, %error, "cannot list the blackhole routes");
                continue;
            }
        };
        for route in standing.difference(&wanted) {
            match handle.route().del(message(*route)).execute().await {
                Ok(()) => tracing::info!(block = %route, "blackhole route removed"),
                Err(error) => {
                    tracing::warn!(block = %route, %error, "cannot remove a blackhole route");
                }
            }
        }
    }
    daemon.standing.retain(&wanted);
}

async fn put_up(handle: &Handle, daemon: &Daemon) {
    let wanted = daemon.state().ipam.routed_blocks();
    for block in wanted {
        // Without "replace" an existing route is an error that changes nothing.
        match handle.route().add(message(block)).execute().await {
            Ok(()) => match daemon.standing.set(block, Ok(())) {
                Some(Ok(())) => tracing::warn!(%block, "blackhole route was gone; put back"),
                _ => tracing::info!(%block, "blackhole route added"),
            },
            Err(error) if exists(&error) => drop(daemon.standing.set(block, Ok(()))),
            Err(error) => {
                let error = error.to_string();
                if daemon.standing.set(block, Err(error.clone())) != Some(Err(error.clone())) {
                    tracing::warn!(%block, error, "cannot add a blackhole route");
                }
            }
        }
    }
}

fn exists(error: &Error) -> bool {
    let Error::NetlinkError(error) = error else { return false };
    error.code.is_some_and(|code| code.get() == -rustix::io::Errno::EXIST.raw_os_error())
}

fn message(block: Prefix) -> RouteMessage {
    let route = match block.addr() {
        IpAddr::V4(addr) => {
            let route = RouteMessageBuilder::<std::net::Ipv4Addr>::new();
            route.destination_prefix(addr, block.len()).build()
        }
        IpAddr::V6(addr) => {
            let route = RouteMessageBuilder::<std::net::Ipv6Addr>::new();
            route.destination_prefix(addr, block.len()).build()
        }
    };
    let mut route = route;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = PROTOCOL;
    route.header.kind = RouteType::BlackHole;
    route.attributes.push(RouteAttribute::Priority(METRIC));
    route
}

/// The blackhole routes of our protocol in the main table.
async fn present(handle: &Handle, family: AddressFamily) -> Result<BTreeSet<Prefix>, Error> {
    let mut ask = RouteMessage::default();
    ask.header.address_family = family;
    ask.header.protocol = PROTOCOL;
    let routes: Vec<_> = handle.route().get(ask).execute().try_collect().await?;
    Ok(routes.iter().filter_map(ours).collect())
}

fn ours(route: &RouteMessage) -> Option<Prefix> {
    let RouteHeader { table, protocol, kind, destination_prefix_length, .. } = route.header;
    let ours = table == RouteHeader::RT_TABLE_MAIN
        && protocol == PROTOCOL
        && kind == RouteType::BlackHole
        && route.attributes.contains(&RouteAttribute::Priority(METRIC));
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    });
    Prefix::containing(destination.filter(|_| ours)?, destination_prefix_length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_routes_are_recognised() {
        for text in ["10.244.0.0/26", "fd00:244::/122"] {
            let block: Prefix = text.parse().unwrap();
            assert_eq!(ours(&message(block)), Some(block));
            let mut other = message(block);
            other.header.protocol = RouteProtocol::Static;
            assert_eq!(ours(&other), None);
            let mut other = message(block);
            other.header.kind = RouteType::Unicast;
            assert_eq!(ours(&other), None);
            let mut other = message(block);
            other.header.table = 100;
            assert_eq!(ours(&other), None);
        }
    }
}
