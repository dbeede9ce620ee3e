//! The speaker: timers, peers, policies.

use super::{NOT_YET, address, in_use, unique};
use crate::fault::{Log, Place, one_of};
use crate::file::{Bgp, File, GracefulRestart, ListenKey, Node, Peer, Policy, PrefixMatch};
use crate::model::Mode;
use crate::read::{At, Items};
use crate::resolve::{families, is_built_in, labels, mode, selects};
use crate::scalar::{AddPaths, Name};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

/// The restart time of the capability has 12 bits (RFC 4724 §3).
const LONGEST_RESTART: Duration = Duration::from_secs(4095);
const LONGEST_HOLD: Duration = Duration::from_secs(65535);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

pub(super) fn check(file: &File, log: &mut Log) {
    let Some(bgp) = &file.bgp else {
        if mode(file) == Mode::Bgp {
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
    policies(bgp, log);
    for prefix in bgp.originate.items() {
        in_use(file, prefix, log);
    }
    unique(log, bgp.originate.items().iter(), |prefix| prefix.value);
}

fn timers(bgp: &Bgp, log: &mut Log) {
    if let Some(time) = &bgp.hold_time {
        hold_time(time, log);
    }
    if let Some(retry) = &bgp.connect_retry
        && !(Duration::from_secs(1)..=LONGEST_RETRY).contains(&retry.value)
    {
        log.error(&retry.place, format!("{} is not within 1s to 1h", time(retry.value)));
    }
    if let Some(restart) = &bgp.graceful_restart {
        graceful_restart(restart, log);
    }
}

/// RFC 4271 §4.2: zero or at least three seconds, in two octets.
fn hold_time(hold: &At<Duration>, log: &mut Log) {
    let given = time(hold.value);
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
            let given = time(at.value);
            log.error(&at.place, format!("{given} is not within 1s to 4095s, in whole seconds"));
        }
    }
    if let Some(at) = restart.notification.as_ref().filter(|on| on.value) {
        log.warn(&at.place, format!("true {NOT_YET}: a NOTIFICATION ends the session for good"));
    }
    if let Some(at) = restart.long_lived.as_ref().filter(|t| !t.value.is_zero()) {
        let given = time(at.value);
        log.warn(&at.place, format!("{given} {NOT_YET}: stale routes go after restart_time"));
    }
}

fn mesh(file: &File, bgp: &Bgp, log: &mut Log) {
    let Some(mesh) = &bgp.mesh else { return };
    if let Some(select) = mesh.reflectors.as_ref().and_then(|r| r.select.as_ref()) {
        log.warn(&select.place, format!("{NOT_YET}: the mesh is a full one"));
    }
    let Some(enabled) = mesh.enabled.as_ref().filter(|on| on.value) else { return };
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
            let text = format!("{} may not start with mesh-, as the mesh's own peers do", peer.name.0);
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
    let known: HashSet<_> = bgp.policies.items().iter().map(|p| p.name.0.as_str()).collect();
    for peer in peers {
        endpoint(bgp, peer, log);
        session(file, bgp, peer, log);
        not_yet(peer, log);
        for policy in [&peer.import, &peer.export].into_iter().flatten() {
            reference(policy, &known, log);
        }
        selects_someone(file, peer, log);
    }
    same_endpoint(file, bgp, log);
}

fn endpoint(bgp: &Bgp, peer: &At<Peer>, log: &mut Log) {
    let nobody_listens = matches!(bgp.listen.as_ref().map(|l| &l.value), Some(ListenKey::Off));
    match (&peer.address, &peer.listen_range) {
        (Some(_), Some(range)) => {
            log.error(&range.place, "a peer has an address or a listen_range, not both");
        }
        (None, None) if !log.has(&peer.place.below("address"))
            && !log.has(&peer.place.below("listen_range")) =>
        {
            log.error(&peer.place, "the key address is missing (or listen_range)");
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
                log.error(&peer.place, "passive, while bgp.listen is false: it would never connect");
            }
        }
        (None, None) => {}
    }
}

fn dials_nobody(peer: &Peer, log: &mut Log) {
    let places = [
        peer.port.as_ref().map(|at| &at.place),
        peer.interface.as_ref().map(|at| &at.place),
        peer.local_address.as_ref().map(|at| &at.place),
    ];
    for place in places.into_iter().flatten() {
        log.error(place, "a listen_range dials nobody; take this away");
    }
    if let Some(passive) = peer.passive.as_ref().filter(|p| !p.value) {
        log.error(&passive.place, "a listen_range is always passive; take this away");
    }
}

fn dialled(peer: &Peer, at: &At<IpAddr>, log: &mut Log) {
    let link_local = matches!(at.value, IpAddr::V6(a) if a.is_unicast_link_local());
    match &peer.interface {
        None if link_local => {
            log.error(&at.place, format!("{} is link-local; give its interface too", at.value));
        }
        Some(interface) if !link_local => {
            log.error(&interface.place, "an interface is for a link-local address (fe80::/10) only");
        }
        _ => {}
    }
    if let Some(local) = &peer.local_address
        && local.is_ipv4() != at.is_ipv4()
    {
        let text = format!("{} is not of the family of {}", local.value, at.value);
        log.error(&local.place, text);
    }
    if let Some(limit) = &peer.limit {
        log.error(&limit.place, "a limit is for a listen_range only");
    }
}

fn session(file: &File, bgp: &Bgp, peer: &Peer, log: &mut Log) {
    if let Some(time) = &peer.hold_time {
        hold_time(time, log);
    }
    if let Some(restart) = &peer.graceful_restart {
        graceful_restart(restart, log);
    }
    let all = families(file);
    for family in peer.families.items().iter().filter(|f| !all.contains(&f.value)) {
        log.error(&family.place, "is not among network.families");
    }
    let internal = bgp.asn.as_ref().map(|own| own.0 == peer.asn.0);
    if internal == Some(false)
        && let Some(client) = peer.route_reflector_client.as_ref().filter(|c| c.value)
    {
        let text = format!("AS {} is an eBGP peer; only iBGP peers are reflected", peer.asn.0);
        log.error(&client.place, text);
    }
    if internal == Some(true)
        && let Some(hops) = &peer.multihop
    {
        log.warn(&hops.place, "has no effect: an iBGP peer may be any number of hops away");
    }
}

fn not_yet(peer: &Peer, log: &mut Log) {
    if let Some(bfd) = peer.bfd.as_ref().filter(|on| on.value) {
        log.warn(&bfd.place, format!("true {NOT_YET}: a dead peer is noticed by its hold time"));
    }
    if let Some(paths) = peer.add_paths.as_ref().filter(|p| p.value != AddPaths::None) {
        log.warn(&paths.place, format!("{NOT_YET}: one path for a prefix is sent and received"));
    }
}

fn reference(policy: &At<Name>, known: &HashSet<&str>, log: &mut Log) {
    let name = policy.0.as_str();
    if is_built_in(name) || known.contains(name) {
        return;
    }
    let mut names: Vec<_> = ["all", "none", "node"].into_iter().chain(known.iter().copied()).collect();
    names[3..].sort_unstable();
    names.truncate(20);
    log.error(&policy.place, format!("there is no policy {name}; it is one of {}", one_of(names)));
}

fn selects_someone(file: &File, peer: &Peer, log: &mut Log) {
    let nodes = file.nodes.items();
    if let Some(select) = &peer.select
        && !nodes.iter().any(|node| selects(Some(select), labels(node)))
    {
        log.warn(&select.place, "no node has these labels, so no node has this peer");
    }
}

/// One address may be many peers, as each rack's gateway is, but not of one node.
fn same_endpoint(file: &File, bgp: &Bgp, log: &mut Log) {
    let mut by_endpoint: HashMap<String, Vec<&At<Peer>>> = HashMap::new();
    for peer in bgp.peers.items() {
        let interface = peer.interface.as_ref().map_or("", |i| i.0.as_str());
        let address = peer.address.as_ref().map(|a| format!("{}%{interface}", a.value));
        let range = peer.listen_range.as_ref().map(|r| r.to_string());
        if let Some(endpoint) = address.or(range) {
            by_endpoint.entry(endpoint).or_default().push(peer);
        }
    }
    for peers in by_endpoint.into_values().filter(|peers| peers.len() > 1) {
        for (i, peer) in peers.iter().enumerate() {
            if let Some((other, node)) = rival(file, &peers[..i], peer) {
                let whose = node.map_or(String::new(), |n| format!(" of node {}", n.name.0));
                let text = format!("the same address as peer {}{whose}", other.name.0);
                let place = peer.address.as_ref().map_or(&peer.place, |a| &a.place);
                log.error(place, text);
            }
        }
    }
}

/// An earlier peer that some node would have beside this one.
fn rival<'f>(
    file: &'f File,
    earlier: &[&'f At<Peer>],
    peer: &Peer,
) -> Option<(&'f At<Peer>, Option<&'f At<Node>>)> {
    let both = |other: &Peer, node: &At<Node>| {
        selects(peer.select.as_ref(), labels(node)) && selects(other.select.as_ref(), labels(node))
    };
    let nodes = file.nodes.items();
    earlier.iter().find_map(|other| match nodes.iter().find(|node| both(other, node)) {
        Some(node) => Some((*other, Some(node))),
        None => (peer.select.is_none() && other.select.is_none()).then_some((*other, None)),
    })
}

fn policies(bgp: &Bgp, log: &mut Log) {
    let policies = bgp.policies.items();
    unique(log, policies.iter().map(|p| &p.name), |name| name.0.clone());
    for policy in policies {
        if is_built_in(&policy.name.0) {
            let text = format!("{} is built in; take another name", policy.name.0);
            log.error(&policy.name.place, text);
        }
        rules(policy, log);
    }
}

fn rules(policy: &Policy, log: &mut Log) {
    if policy.rules.is_empty() {
        log.error(&policy.rules.place, "no rules; for a policy that rejects all, write none");
    }
    let mut all = None;
    for rule in policy.rules.iter() {
        if let Some(line) = all {
            log.warn(&rule.place, format!("never reached: the rule on line {line} matches all"));
            break;
        }
        let matches = rule.r#match.as_ref();
        let prefix = matches.and_then(|m| m.prefix.as_ref());
        if let Some(list) = prefix.filter(|list| list.is_empty()) {
            log.error(&list.place, "an empty list matches nothing; leave match out to match all");
        }
        if prefix.is_none() {
            all = Some(rule.place.line);
        }
        for item in prefix.iter().flat_map(|list| list.iter()) {
            lengths(item, log);
        }
    }
}

fn lengths(item: &PrefixMatch, log: &mut Log) {
    let within = &item.r#in.value;
    let longest: u32 = if within.is_ipv4() { 32 } else { 128 };
    let least = u32::from(within.len());
    for length in [&item.ge, &item.le].into_iter().flatten() {
        if !(least..=longest).contains(&length.0) {
            let text = format!("{} is not within {least} to {longest}, for {within}", length.0);
            log.error(&length.place, text);
        }
    }
    if let (Some(ge), Some(le)) = (&item.ge, &item.le)
        && ge.0 > le.0
    {
        log.error(&le.place, format!("{} is less than ge, {}", le.0, ge.0));
    }
}

/// As the operator would have written it.
pub(super) fn time(duration: Duration) -> String {
    let millis = duration.subsec_millis();
    let seconds = duration.as_secs();
    if millis == 0 { format!("{seconds}s") } else { format!("{}ms", duration.as_millis()) }
}
