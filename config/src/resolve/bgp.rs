//! One node's speaker.

mod options;

use super::policy::rules;
use super::{families, family_list, labels, mode, selects};
use crate::file::{self, BfdKey, File, ListenKey, Node};
use crate::model::{
    AddPaths, Bfd, Bgp, Fib, GracefulRestart, Listen, Mode, Peer, PeerAs, PeerSession, PolicyRef,
    Range,
};
use crate::read::{At, Items};
use crate::scalar::{AddPaths as Ways, Name, PeerAs as Wanted, RouterId, TABLE_MAIN};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const PORT: u16 = 179;
const HOLD_TIME: Duration = Duration::from_secs(90);
const RESTART_TIME: Duration = Duration::from_secs(120);
/// The restart time of the capability has 12 bits (RFC 4724 §3).
pub(crate) const LONGEST_RESTART: Duration = Duration::from_secs(4095);
const STALE_TIME: Duration = Duration::from_secs(360);
const CONNECT_RETRY: Duration = Duration::from_secs(5);
const BFD_INTERVAL: Duration = Duration::from_millis(300);
const BFD_MULTIPLIER: u8 = 3;
const RANGE_LIMIT: usize = 100;
const ADD_PATHS_LIMIT: u8 = 8;
/// Below the kernel's own IPv6 routes (1024) and above static ones (0).
const METRIC: u32 = 32;

pub(crate) fn resolve(file: &File, name: &str, node: Option<&Node>) -> Bgp {
    let bgp = file.bgp.as_ref().map(|b| &b.value);
    let router_id = router_id(bgp, name, node);
    let Some(bgp) = bgp.filter(|_| mode(file) == Mode::Bgp) else {
        return silent(bgp, router_id);
    };
    let mut peers = peers(file, bgp, node);
    peers.extend(mesh(file, bgp, name));
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    Bgp {
        asn: asn(bgp),
        router_id,
        listen: listen(bgp),
        graceful_restart: graceful_restart(bgp, None),
        connect_retry: value(&bgp.connect_retry, CONNECT_RETRY),
        peers,
        ranges: ranges(file, bgp, node),
        policies: bgp.policies.items().iter().map(|p| (p.name.0.clone(), rules(bgp, p))).collect(),
        originate: bgp.originate.items().iter().map(|p| p.value).collect(),
        fib: fib(bgp.fib.as_ref().map(|fib| &fib.value)),
        multipath: options::multipath(Some(bgp)),
        med: options::med(Some(bgp)),
        rpki: super::collect::rpki(bgp),
        bmp: super::collect::bmp(bgp),
        mrt: super::collect::mrt(bgp),
    }
}

/// A speaker with nobody to speak to, for a node whose mode is not bgp.
fn silent(bgp: Option<&file::Bgp>, router_id: Ipv4Addr) -> Bgp {
    Bgp {
        asn: bgp.map_or(0, asn),
        router_id,
        listen: None,
        graceful_restart: GracefulRestart { enabled: false, ..restarts([None; 2]) },
        connect_retry: CONNECT_RETRY,
        peers: Vec::new(),
        ranges: Vec::new(),
        policies: BTreeMap::new(),
        originate: Vec::new(),
        fib: Fib { install: false, ..fib(None) },
        multipath: options::multipath(None),
        med: options::med(None),
        rpki: Vec::new(),
        bmp: Vec::new(),
        mrt: crate::model::Mrt::default(),
    }
}

pub(super) fn value<T: Copy>(given: &Option<At<T>>, default: T) -> T {
    given.as_ref().map_or(default, |given| given.value)
}

fn asn(bgp: &file::Bgp) -> u32 {
    bgp.asn.as_ref().map_or(0, |asn| asn.0)
}

/// The node's own, the file's, the node's address, else a number its name always gives.
pub(crate) fn router_id(bgp: Option<&file::Bgp>, name: &str, node: Option<&Node>) -> Ipv4Addr {
    let own = node.and_then(|n| n.router_id.as_ref());
    let given = own.or_else(|| bgp.and_then(|b| b.router_id.as_ref()));
    if let Some(At { value: RouterId::Given(id), .. }) = given {
        return *id;
    }
    match node.and_then(|n| n.address.as_ref()).map(|a| a.value) {
        Some(IpAddr::V4(address)) => address,
        _ => Ipv4Addr::from(fnv1a(name).max(1)),
    }
}

/// FNV-1a, 32 bit: stable across versions and machines, which the standard hasher is not.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

fn listen(bgp: &file::Bgp) -> Option<Listen> {
    match bgp.listen.as_ref().map(|l| &l.value) {
        Some(ListenKey::Off) => None,
        Some(ListenKey::On(listen)) => Some(Listen {
            port: port(listen.port.as_ref().map(|p| p.0)),
            addresses: listen.addresses.items().iter().map(|a| a.value).collect(),
        }),
        None => Some(Listen { port: PORT, addresses: Vec::new() }),
    }
}

fn port(given: Option<u32>) -> u16 {
    given.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT)
}

fn graceful_restart(bgp: &file::Bgp, peer: Option<&file::GracefulRestart>) -> GracefulRestart {
    restarts([peer, bgp.graceful_restart.as_ref().map(|gr| &gr.value)])
}

/// The first of the layers that has a key decides it.
fn restarts(layers: [Option<&file::GracefulRestart>; 2]) -> GracefulRestart {
    let is_on = |key: fn(&file::GracefulRestart) -> &Option<At<bool>>| {
        layers.iter().flatten().find_map(|gr| key(gr).as_ref()).is_none_or(|on| on.value)
    };
    let time = |key: fn(&file::GracefulRestart) -> &Option<At<Duration>>, default| {
        let given = layers.iter().flatten().find_map(|gr| key(gr).as_ref());
        given.map_or(default, |time| time.value)
    };
    GracefulRestart {
        enabled: is_on(|gr| &gr.enabled),
        restart_time: time(|gr| &gr.restart_time, RESTART_TIME),
        notification: is_on(|gr| &gr.notification),
        long_lived: time(|gr| &gr.long_lived, Duration::ZERO),
        min_peer_restart_time: time(|gr| &gr.min_peer_restart_time, Duration::ZERO),
        max_peer_restart_time: time(|gr| &gr.max_peer_restart_time, LONGEST_RESTART),
        stale_time: time(|gr| &gr.stale_time, STALE_TIME),
    }
}

fn bfd(bgp: &file::Bgp, peer: &file::Peer) -> Option<Bfd> {
    let own = match &peer.bfd.as_ref()?.value {
        BfdKey::Off => return None,
        BfdKey::On(own) => own.as_deref(),
    };
    let layers = [own, bgp.bfd.as_ref().map(|bfd| &bfd.value)];
    let layers = || layers.iter().flatten();
    let multiplier = layers().find_map(|bfd| bfd.multiplier.as_ref());
    let multiplier = multiplier.and_then(|n| u8::try_from(n.0).ok());
    Some(Bfd {
        min_tx: layers().find_map(|bfd| bfd.min_tx.as_ref()).map_or(BFD_INTERVAL, |t| t.value),
        min_rx: layers().find_map(|bfd| bfd.min_rx.as_ref()).map_or(BFD_INTERVAL, |t| t.value),
        multiplier: multiplier.unwrap_or(BFD_MULTIPLIER),
        strict: layers().find_map(|bfd| bfd.strict.as_ref()).is_some_and(|on| on.value),
    })
}

/// The peers that this node's labels select, but never the node itself.
fn selected<'f>(
    bgp: &'f file::Bgp,
    node: Option<&'f Node>,
) -> impl Iterator<Item = &'f file::Peer> {
    static NONE: crate::read::Labels = crate::read::Labels::new();
    let own = node.and_then(|n| n.address.as_ref()).map(|a| a.value);
    let labels = node.map_or(&NONE, labels);
    let peers = bgp.peers.items().iter().map(|peer| &peer.value);
    peers.filter(move |p| {
        let itself = own.is_some() && p.address.as_ref().map(|a| a.value) == own;
        selects(p.select.as_ref(), labels) && !itself
    })
}

fn peers(file: &File, bgp: &file::Bgp, node: Option<&Node>) -> Vec<Peer> {
    let fixed = |p: &file::Peer| {
        if p.listen_range.is_some() || p.address.is_none() && p.interface.is_none() {
            return None;
        }
        Some(Peer {
            name: p.name.0.clone(),
            address: p.address.as_ref().map(|at| at.value),
            interface: p.interface.as_ref().map(|i| i.0.clone()),
            port: port(p.port.as_ref().map(|port| port.0)),
            session: session(file, bgp, p),
        })
    };
    selected(bgp, node).filter_map(fixed).collect()
}

fn ranges(file: &File, bgp: &file::Bgp, node: Option<&Node>) -> Vec<Range> {
    let range = |p: &file::Peer| {
        let limit = p.limit.as_ref().and_then(|limit| usize::try_from(limit.0).ok());
        Some(Range {
            name: p.name.0.clone(),
            range: p.listen_range.as_ref()?.value,
            limit: limit.unwrap_or(RANGE_LIMIT),
            session: PeerSession { passive: true, ..session(file, bgp, p) },
        })
    };
    let mut ranges: Vec<_> = selected(bgp, node).filter_map(range).collect();
    ranges.sort_by(|a, b| a.name.cmp(&b.name));
    ranges
}

fn session(file: &File, bgp: &file::Bgp, peer: &file::Peer) -> PeerSession {
    let internal = peer.asn.value.is_internal(asn(bgp));
    let own = peer.graceful_restart.as_ref().map(|gr| &gr.value);
    PeerSession {
        asn: match peer.asn.value {
            Wanted::Number(number) => PeerAs::Number(number),
            Wanted::Internal => PeerAs::Number(asn(bgp)),
            Wanted::External => PeerAs::External,
        },
        passive: value(&peer.passive, false),
        hold_time: value(&peer.hold_time, value(&bgp.hold_time, HOLD_TIME)),
        password_file: peer.password_file.as_ref().map(|file| file.0.clone()),
        tcp_ao: options::ao_keys(peer),
        families: family_list(peer.families.items()).unwrap_or_else(|| families(file)),
        graceful_restart: graceful_restart(bgp, own),
        route_reflector_client: value(&peer.route_reflector_client, false),
        add_paths: add_paths(peer),
        import: policy(peer.import.as_ref(), internal),
        export: policy(peer.export.as_ref(), internal),
        local_address: peer.local_address.as_ref().map(|a| a.value),
        multihop: peer
            .multihop
            .as_ref()
            .filter(|_| !internal)
            .and_then(|hops| u8::try_from(hops.0).ok()),
        bfd: bfd(bgp, peer),
        options: options::of(bgp, peer),
    }
}

const BUILT_IN: [(&str, PolicyRef); 3] =
    [("all", PolicyRef::All), ("none", PolicyRef::None), ("node", PolicyRef::Node)];

pub(crate) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
}

fn add_paths(peer: &file::Peer) -> AddPaths {
    let ways = value(&peer.add_paths, Ways::None);
    let limit = peer.add_paths_limit.as_ref().and_then(|limit| u8::try_from(limit.0).ok());
    AddPaths {
        receive: matches!(ways, Ways::Receive | Ways::Both),
        send: match ways {
            Ways::Send | Ways::Both => limit.unwrap_or(ADD_PATHS_LIMIT),
            Ways::None | Ways::Receive => 0,
        },
    }
}

/// RFC 8212: nothing in or out of eBGP that nobody asked for, but the node's own.
fn policy(given: Option<&At<Name>>, internal: bool) -> PolicyRef {
    let Some(name) = given.map(|name| name.0.as_str()) else {
        return if internal { PolicyRef::All } else { PolicyRef::Node };
    };
    let built_in = BUILT_IN.into_iter().find(|(built_in, _)| *built_in == name);
    built_in.map_or_else(|| PolicyRef::Named(name.into()), |(_, policy)| policy)
}

fn fib(fib: Option<&file::Fib>) -> Fib {
    let on = |key: Option<&At<bool>>| key.is_none_or(|on| on.value);
    Fib {
        install: on(fib.and_then(|f| f.install.as_ref())),
        table: fib.and_then(|f| f.table.as_ref()).map_or(TABLE_MAIN, |table| table.0),
        metric: fib.and_then(|f| f.metric.as_ref()).map_or(METRIC, |metric| metric.0),
        adopt: fib.map_or_else(Vec::new, |f| f.adopt.items().iter().map(|who| who.value).collect()),
        nexthop_objects: on(fib.and_then(|f| f.nexthop_objects.as_ref())),
    }
}

/// A session with every other node that has an address, on the port they all listen on. Where some
/// reflect routes (RFC 4456), the others have sessions with those alone.
fn mesh(file: &File, bgp: &file::Bgp, name: &str) -> Vec<Peer> {
    let Some(mesh) = bgp.mesh.as_ref().filter(|m| m.enabled.as_ref().is_some_and(|on| on.value))
    else {
        return Vec::new();
    };
    let nodes = file.nodes.items();
    let reflectors = mesh.reflectors.as_ref().and_then(|r| r.select.as_ref());
    let reflects = |node: &Node| reflectors.is_some() && selects(reflectors, labels(node));
    let own = nodes.iter().find(|node| node.name.0 == name).is_some_and(|node| reflects(node));
    let port = listen(bgp).map_or(PORT, |listen| listen.port);
    let session = |address: IpAddr, client: bool| PeerSession {
        asn: PeerAs::Number(asn(bgp)),
        passive: false,
        hold_time: value(&bgp.hold_time, HOLD_TIME),
        password_file: None,
        tcp_ao: Vec::new(),
        families: families(file),
        graceful_restart: graceful_restart(bgp, None),
        route_reflector_client: client,
        add_paths: AddPaths::default(),
        import: PolicyRef::All,
        export: PolicyRef::All,
        local_address: None,
        multihop: None,
        bfd: None,
        options: options::defaults(bgp, address.is_ipv6()),
    };
    let peer = |node: &At<Node>| {
        let address = node.address.as_ref()?.value;
        Some(Peer {
            name: format!("mesh-{}", node.name.0),
            address: Some(address),
            interface: None,
            port,
            session: session(address, own && !reflects(node)),
        })
    };
    let meets = |node: &&At<Node>| reflectors.is_none() || own || reflects(node);
    let others = nodes.iter().filter(|node| node.name.0 != name);
    others.filter(meets).filter_map(peer).collect()
}
