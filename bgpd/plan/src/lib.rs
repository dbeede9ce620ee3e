//! From this node's configuration to what its speaker is told, and what a change of it does.
//!
//! Without IO: `mainstay-bgpd` runs by it, and `mainstay config diff` tells by it beforehand what a
//! reload will do. Keys of password files, sockets and the kernel's table are the daemon's.

#![forbid(unsafe_code)]

mod difference;
mod options;
mod policy;

pub use difference::{Change, Effect, changes};
pub use policy::{policy, provenance, role, validity};

use bgp_core::config::{
    AddPaths, PeerAs, PeerConfig, PolicyName, RangeConfig, RestartConfig, SessionConfig,
    SpeakerConfig,
};
use bgp_core::types::{Asn, Family, RouterId};
use mainstay_config as config;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Next hops of one route at most: more than a node has uplinks.
pub const MAX_PATHS: usize = 16;

/// Where connections are accepted; empty: nowhere.
#[must_use]
pub fn listen(bgp: &config::Bgp) -> Vec<SocketAddr> {
    let Some(listen) = &bgp.listen else { return Vec::new() };
    let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let addresses: &[IpAddr] =
        if listen.addresses.is_empty() { &wildcards } else { &listen.addresses };
    addresses.iter().map(|a| SocketAddr::new(*a, listen.port)).collect()
}

/// All that the core is told of it.
#[must_use]
pub fn speaker(bgp: &config::Bgp) -> SpeakerConfig {
    SpeakerConfig {
        asn: Asn(bgp.asn),
        router_id: RouterId(bgp.router_id),
        connect_retry: bgp.connect_retry,
        peers: bgp.peers.iter().map(peer).collect(),
        ranges: bgp.ranges.iter().map(range).collect(),
        policies: bgp.policies.iter().map(|(name, p)| (name.clone(), policy(bgp.asn, p))).collect(),
        originate: bgp.originate.clone(),
        install: bgp.fib.install,
        max_paths: MAX_PATHS,
        multipath: options::multipath(&bgp.multipath),
        med: options::med(&bgp.med),
    }
}

fn peer(peer: &config::Peer) -> PeerConfig {
    PeerConfig {
        name: peer.name.clone(),
        address: peer.address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        interface: peer.interface.clone(),
        port: peer.port,
        session: session(&peer.session),
    }
}

fn range(range: &config::Range) -> RangeConfig {
    RangeConfig {
        name: range.name.clone(),
        range: range.range,
        limit: range.limit,
        session: session(&range.session),
    }
}

fn session(s: &config::PeerSession) -> SessionConfig {
    let restart = &s.graceful_restart;
    SessionConfig {
        asn: match s.asn {
            config::PeerAs::Number(asn) => PeerAs::Is(Asn(asn)),
            config::PeerAs::External => PeerAs::External,
        },
        passive: s.passive,
        hold_time: s.hold_time,
        families: s.families.iter().map(family).collect(),
        graceful_restart: restart.enabled.then(|| graceful_restart(restart)),
        route_reflector_client: s.route_reflector_client,
        import: policy_name(&s.import),
        export: policy_name(&s.export),
        add_paths: AddPaths { receive: s.add_paths.receive, send: s.add_paths.send },
        local_address: s.local_address,
        waits_for_bfd: s.bfd.is_some_and(|bfd| bfd.strict),
        options: options::options(&s.options),
    }
}

const fn graceful_restart(restart: &config::GracefulRestart) -> RestartConfig {
    RestartConfig {
        time: restart.restart_time,
        notification: restart.notification,
        long_lived: restart.long_lived,
        min_peer_time: restart.min_peer_restart_time,
        max_peer_time: restart.max_peer_restart_time,
        stale_time: restart.stale_time,
    }
}

const fn family(family: &config::Family) -> Family {
    match family {
        config::Family::Ipv4 => Family::Ipv4Unicast,
        config::Family::Ipv6 => Family::Ipv6Unicast,
    }
}

fn policy_name(policy: &config::PolicyRef) -> PolicyName {
    match policy {
        config::PolicyRef::All => PolicyName::All,
        config::PolicyRef::None => PolicyName::None,
        config::PolicyRef::Node => PolicyName::Node,
        config::PolicyRef::Named(name) => PolicyName::Named(name.clone()),
    }
}

/// An external peer is one hop away, and packets that go further are lost on purpose, unless it
/// is said to be further away (RFC 4271 §5.1.3; the practice of all routers). `None`: the host's
/// default.
#[must_use]
pub fn hops(asn: u32, session: &config::PeerSession) -> Option<u8> {
    let external = !session.asn.is_internal(asn);
    let far = || external.then(|| session.multihop.unwrap_or(1));
    session.options.ttl_security.or_else(far)
}

/// What our packets begin with: all there is where the peer may look at what is left of it
/// (RFC 5082 §3).
#[must_use]
pub fn ttl(asn: u32, session: &config::PeerSession) -> Option<u8> {
    let secured = session.options.ttl_security.map(|_| u8::MAX);
    secured.or_else(|| hops(asn, session))
}

/// What has to be left of the peer's, which begin with 255; 0: anything.
#[must_use]
pub fn least_ttl(session: &config::PeerSession) -> u8 {
    session.options.ttl_security.map_or(0, |hops| 0u8.wrapping_sub(hops))
}
