//! The speaker: timers, peers, policies.

mod options;
mod policy;

use super::select::Selector;
use super::{address, in_use, some_family, unique};
use crate::fault::{Log, Place, one_of};
use crate::file::{Bfd, BfdKey, Bgp, File, GracefulRestart, ListenKey, Peer};
use crate::model::Mode;
use crate::read::{At, Items};
use crate::resolve::{LONGEST_RESTART, families, is_built_in, mode};
use crate::scalar::{AddPaths, Name};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

/// The stale time of the capability has 24 bits (RFC 9494 §3.1): a bit less than that.
const LONGEST_LONG_LIVED: Duration = Duration::from_secs(4660 * 3600);
const LONGEST_HOLD: Duration = Duration::from_secs(65535);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// How many policies a message names.
const MOST_NAMED: usize = 20;

pub(super) fn check(file: &File, log: &mut Log) {
    let Some(bgp) = &file.bgp else {
        if mode(file) == Mode::Bgp && !log.has(&Place::new(1, 1, "network.mode")) {
            let text = "the key bgp is missing; network.mode bgp needs it, with at least bgp.asn";
            log.error(&Place::new(1, 1, ""), text);
        }
        return;
    };
    if bgp.asn.is_none() && mode(file) == Mode::Bgp && !log.has(&bgp.place.below("asn")) {
        log.error(&bgp.place, "the key asn is missing, the nodes' AS number");
    }
    timers(bgp, log);
    mesh(file, bgp, log);
    peers(file, bgp, log);
    policy::check(bgp, log);
    super::collect::check(bgp, log);
    for prefix in bgp.originate.items() {
        in_use(file, prefix, log);
    }
    unique(log, bgp.originate.items().iter(), |prefix| prefix.value);
}

fn timers(bgp: &Bgp, log: &mut Log) {
    for time in [&bgp.hold_time, &bgp.send_hold_time].into_iter().flatten() {
        hold_time(time, log);
    }
    if let Some(retry) = &bgp.connect_retry
        && !(Duration::from_secs(1)..=LONGEST_RETRY).contains(&retry.value)
    {
        log.error(&retry.place, format!("{} is not within 1s to 1h", retry.text));
    }
    if let Some(restart) = &bgp.graceful_restart {
        graceful_restart(restart, log);
    }
    if let Some(defaults) = &bgp.bfd {
        bfd(defaults, log);
    }
}

/// RFC 4271 §4.2: zero or at least three seconds, in two octets.
fn hold_time(hold: &At<Duration>, log: &mut Log) {
    let given = &hold.text;
    if hold.value.subsec_nanos() != 0 {
        log.error(&hold.place, format!("{given} is not in whole seconds"));
    } else if matches!(hold.value.as_secs(), 1 | 2) {
        log.error(&hold.place, format!("{given} is neither 0s nor at least 3s"));
    } else if hold.value > LONGEST_HOLD {
        log.error(&hold.place, format!("{given} is more than 65535s"));
    }
}

fn graceful_restart(restart: &GracefulRestart, log: &mut Log) {
    if let Some(at) = &restart.restart_time {
        let whole = at.value.subsec_nanos() == 0;
        if !whole || !(Duration::from_secs(1)..=LONGEST_RESTART).contains(&at.value) {
            let given = &at.text;
            log.error(&at.place, format!("{given} is not within 1s to 4095s, in whole seconds"));
        }
    }
    if let Some(at) = restart.long_lived.as_ref()
        && (at.value.subsec_nanos() != 0 || at.value > LONGEST_LONG_LIVED)
    {
        let given = &at.text;
        log.error(&at.place, format!("{given} is not within 0s to 4660h, in whole seconds"));
    }
    let (least, most) = (&restart.min_peer_restart_time, &restart.max_peer_restart_time);
    for at in [least, most].into_iter().flatten().filter(|at| at.value > LONGEST_RESTART) {
        log.error(&at.place, format!("{} is not within 0s to 4095s", at.text));
    }
    if let (Some(least), Some(most)) = (least, most)
        && least.value > most.value
    {
        let text = format!("{} is more than max_peer_restart_time, {}", least.text, most.text);
        log.error(&least.place, text);
    }
    if let Some(at) = &restart.stale_time
        && !(Duration::from_secs(1)..=LONGEST_RESTART).contains(&at.value)
    {
        log.error(&at.place, format!("{} is not within 1s to 4095s", at.text));
    }
}

/// Faster than that, a busy node would take its peers for dead; slower, nobody needs it.
fn bfd(bfd: &Bfd, log: &mut Log) {
    for at in [&bfd.min_tx, &bfd.min_rx].into_iter().flatten() {
        if !(Duration::from_millis(50)..=Duration::from_secs(60)).contains(&at.value) {
            log.error(&at.place, format!("{} is not within 50ms to 60s", at.text));
        }
    }
}

fn mesh(file: &File, bgp: &Bgp, log: &mut Log) {
    let Some(mesh) = &bgp.mesh else { return };
    let reflectors = mesh.reflectors.as_ref().and_then(|r| r.select.as_ref());
    let Some(enabled) = mesh.enabled.as_ref().filter(|on| on.value) else {
        if let Some(select) = reflectors {
            log.warn(&select.place, "this has no effect: bgp.mesh is not enabled");
        }
        return;
    };
    if let Some(select) = reflectors
        && Selector::new(file.nodes.items()).nodes(Some(select)).next().is_none()
    {
        log.error(&select.place, "no node has these labels, so no node would reflect routes");
    }
    if matches!(bgp.listen.as_ref().map(|l| &l.value), Some(ListenKey::Off)) {
        log.error(&enabled.place, "a mesh needs nodes that listen, but bgp.listen is false");
    }
    if file.nodes.items().is_empty() {
        log.error(&enabled.place, "a mesh needs the machines listed in nodes, and there are none");
    }
    for node in file.nodes.items().iter().filter(|node| node.address.is_none()) {
        log.error(&node.place, "the key address is missing; bgp.mesh needs one of every node");
    }
    let nodes: HashMap<_, _> =
        file.nodes.items().iter().filter_map(|n| Some((address(n)?, n))).collect();
    for peer in bgp.peers.items() {
        if peer.name.0.starts_with("mesh-") {
            let text =
                format!("{} may not start with mesh-, as the mesh's own peers do", peer.name.0);
            log.error(&peer.name.place, text);
        }
        if let Some(at) = &peer.address
            && let Some(node) = nodes.get(&at.value)
        {
            let text = format!("{} is node {}, a peer by the mesh already", at.value, node.name.0);
            log.error(&at.place, text);
        }
    }
}

fn peers(file: &File, bgp: &Bgp, log: &mut Log) {
    let peers = bgp.peers.items();
    unique(log, peers.iter().map(|p| &p.name), |name| name.0.clone());
    let selector = Selector::new(file.nodes.items());
    for peer in peers {
        endpoint(bgp, peer, log);
        session(file, bgp, peer, log);
        paths(peer, log);
        options::check(bgp, peer, log);
        if let Some(select) = &peer.select
            && selector.nodes(Some(select)).next().is_none()
        {
            log.warn(&select.place, "no node has these labels, so no node has this peer");
        }
    }
    same_endpoint(file, &selector, peers, log);
    shared_keys(peers, log);
}

fn endpoint(bgp: &Bgp, peer: &At<Peer>, log: &mut Log) {
    let nobody_listens = matches!(bgp.listen.as_ref().map(|l| &l.value), Some(ListenKey::Off));
    match (&peer.address, &peer.listen_range) {
        (Some(_), Some(range)) => {
            log.error(&range.place, "a peer has an address or a listen_range, not both");
        }
        (None, None) if peer.interface.is_some() => unnumbered(peer, log),
        (None, None)
            if !log.has(&peer.place.below("address"))
                && !log.has(&peer.place.below("listen_range")) =>
        {
            log.error(&peer.place, "the key address is missing (or listen_range, or interface)");
        }
        (None, Some(range)) => {
            if nobody_listens {
                log.error(&range.place, "nobody can dial in while bgp.listen is false");
            }
            dials_nobody(peer, log);
        }
        (Some(at), None) => {
            dialled(peer, at, log);
            if nobody_listens && peer.passive.as_ref().is_some_and(|p| p.value) {
                log.error(
                    &peer.place,
                    "passive, while bgp.listen is false: it would never connect",
                );
            }
        }
        (None, None) => {}
    }
}

fn dials_nobody(peer: &Peer, log: &mut Log) {
    let dialling = [
        peer.port.as_ref().map(|at| (&at.place, &at.text)),
        peer.interface.as_ref().map(|at| (&at.place, &at.text)),
        peer.local_address.as_ref().map(|at| (&at.place, &at.text)),
        peer.passive.as_ref().filter(|p| !p.value).map(|at| (&at.place, &at.text)),
    ];
    for (place, text) in dialling.into_iter().flatten() {
        log.error(place, format!("{text} is of no use: a listen_range never dials"));
    }
}

/// Whoever is at the other end of a link, by a link-local address that nobody has written down.
fn unnumbered(peer: &Peer, log: &mut Log) {
    if let Some(hops) = &peer.multihop {
        let text = "is of no use: an unnumbered peer is on the link of its interface";
        log.error(&hops.place, format!("{} {text}", hops.text));
    }
    if let Some(local) = &peer.local_address
        && !matches!(local.value, IpAddr::V6(a) if a.is_unicast_link_local())
    {
        let text = "is not link-local (fe80::/10), as an unnumbered peer's address is";
        log.error(&local.place, format!("{} {text}", local.value));
    }
    no_limit(peer, log);
}

fn no_limit(peer: &Peer, log: &mut Log) {
    if let Some(limit) = &peer.limit {
        let text = "is of no use: a limit is for a listen_range";
        log.error(&limit.place, format!("{} {text}", limit.text));
    }
}

fn dialled(peer: &Peer, at: &At<IpAddr>, log: &mut Log) {
    let link_local = matches!(at.value, IpAddr::V6(a) if a.is_unicast_link_local());
    match &peer.interface {
        None if link_local && !log.has(&at.place.beside("interface")) => {
            log.error(&at.place, format!("{} is link-local; give its interface too", at.value));
        }
        Some(interface) if !link_local => {
            let text = "is of no use: only a link-local address (fe80::/10) needs an interface";
            log.error(&interface.place, format!("{} {text}", interface.text));
        }
        _ => {}
    }
    if let Some(local) = &peer.local_address
        && local.is_ipv4() != at.is_ipv4()
    {
        let text = format!("{} is not of the family of {}", local.value, at.value);
        log.error(&local.place, text);
    }
    no_limit(peer, log);
}

fn session(file: &File, bgp: &Bgp, peer: &Peer, log: &mut Log) {
    for time in [&peer.hold_time, &peer.send_hold_time].into_iter().flatten() {
        hold_time(time, log);
    }
    if let Some(restart) = &peer.graceful_restart {
        graceful_restart(restart, log);
    }
    if let Some(At { value: BfdKey::On(Some(own)), .. }) = &peer.bfd {
        bfd(own, log);
    }
    some_family(&peer.families, log);
    let all = families(file);
    for family in peer.families.items().iter().filter(|f| !all.contains(&f.value)) {
        log.error(&family.place, format!("{} is not among network.families", family.text));
    }
    let internal = bgp.asn.as_ref().map(|own| peer.asn.is_internal(own.0));
    if internal == Some(false)
        && let Some(client) = peer.route_reflector_client.as_ref().filter(|c| c.value)
    {
        let text = format!("AS {} is an eBGP peer; only iBGP peers are reflected", peer.asn.text);
        log.error(&client.place, text);
    }
    if internal == Some(true)
        && let Some(hops) = &peer.multihop
    {
        let text = "has no effect: an iBGP peer may be any number of hops away";
        log.warn(&hops.place, format!("{} {text}", hops.text));
    }
}

fn paths(peer: &Peer, log: &mut Log) {
    let sends = peer.add_paths.as_ref().map(|p| p.value);
    if !matches!(sends, Some(AddPaths::Send | AddPaths::Both))
        && let Some(limit) = &peer.add_paths_limit
    {
        log.warn(&limit.place, "has no effect without add_paths: send or both");
    }
}

fn reference(policy: &At<Name>, known: &HashSet<&str>, log: &mut Log) {
    let name = policy.0.as_str();
    if is_built_in(name) || known.contains(name) {
        return;
    }
    let mut names: Vec<_> = known.iter().copied().filter(|name| !is_built_in(name)).collect();
    names.sort_unstable();
    names.truncate(MOST_NAMED);
    let names = ["all", "none", "node"].into_iter().chain(names);
    log.error(&policy.place, format!("there is no policy {name}; it is one of {}", one_of(names)));
}

/// One address may be many peers, as each rack's gateway is, but not of one node; a link-local one
/// means another peer on each interface.
fn same_endpoint<'f>(
    file: &'f File,
    selector: &Selector<'f>,
    peers: &'f [At<Peer>],
    log: &mut Log,
) {
    let nodes = file.nodes.items();
    let mut groups: HashMap<String, Vec<&At<Peer>>> = HashMap::new();
    for peer in peers {
        if let Some(endpoint) = endpoint_text(peer) {
            groups.entry(endpoint).or_default().push(peer);
        }
    }
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let mut taken: HashMap<Option<usize>, &At<Peer>> = HashMap::new();
        for peer in group {
            // Without a list of nodes there is the one that nothing is known of.
            let unlisted = (nodes.is_empty() && peer.select.is_none()).then_some(None);
            for node in selector.nodes(peer.select.as_ref()).map(Some).chain(unlisted) {
                if let Some(other) = taken.insert(node, peer) {
                    let node = node.map_or(String::new(), |i| format!(" of {}", nodes[i].name.0));
                    let place = peer.address.as_ref().map_or(&peer.place, |a| &a.place);
                    log.error(place, format!("the same as peer {}{node}", other.name.0));
                    break;
                }
            }
        }
    }
}

fn endpoint_text(peer: &Peer) -> Option<String> {
    let interface = peer.interface.as_ref().map_or("", |i| i.0.as_str());
    match (&peer.address, &peer.listen_range) {
        (Some(at), _) => Some(format!("{}%{interface}", at.value)),
        (None, Some(range)) => Some(range.value.to_string()),
        (None, None) if !interface.is_empty() => Some(format!("%{interface}")),
        (None, None) => None,
    }
}

/// A key is the kernel's for an address, whichever the interface.
fn shared_keys(peers: &[At<Peer>], log: &mut Log) {
    let key = |p: &Peer| p.password_file.as_ref().map(|file| file.0.clone());
    for (i, peer) in peers.iter().enumerate() {
        let Some(at) = &peer.address else { continue };
        let twin = |other: &&At<Peer>| other.address.as_ref().is_some_and(|a| a.value == at.value);
        let other = peers.get(..i).unwrap_or_default().iter().find(twin);
        if let Some(other) = other.filter(|o| o.select.is_none() && peer.select.is_none())
            && key(peer) != key(other)
        {
            let text = "has another password_file with the same address; the kernel keeps one key";
            log.error(&at.place, format!("peer {} {text}", other.name.0));
        }
    }
}
