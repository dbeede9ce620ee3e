//! What does not fit together, though each value alone is fine.

mod bgp;
mod collect;
mod ipam;
mod select;

use crate::fault::{Log, Place};
use crate::file::{File, Node};
use crate::model::{Family, Mode};
use crate::read::{At, Items, List};
use crate::resolve::{families, router_id};
use crate::scalar::RouterId;
use mainstay_prefix::Prefix;
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;

pub(crate) fn check(file: &File, log: &mut Log) {
    network(file, log);
    nodes(file, log);
    router_ids(file, log);
    bgp::check(file, log);
    ipam::check(file, log);
}

fn network(file: &File, log: &mut Log) {
    let Some(network) = &file.network else { return };
    some_family(&network.families, log);
    let Some(mode) = &network.mode else { return };
    match mode.value {
        Mode::Simple => {
            log.error(&mode.place, "simple is not in this version; it has none and bgp");
        }
        Mode::None if file.bgp.is_some() || file.ipam.is_some() => {
            log.warn(&mode.place, "while it is none, bgp and ipam below have no effect");
        }
        Mode::None | Mode::Bgp => {}
    }
}

pub(crate) fn some_family(families: &List<Family>, log: &mut Log) {
    if let Some(empty) = families.as_ref().filter(|list| list.is_empty()) {
        log.error(&empty.place, "no family; leave the key out for the default");
    }
}

fn nodes(file: &File, log: &mut Log) {
    let nodes = || file.nodes.items().iter();
    unique(log, nodes().map(|n| &n.name), |name| name.0.clone());
    unique(log, nodes().filter_map(|n| n.address.as_ref()), |a| a.value);
}

/// Two speakers of one AS with one identifier refuse each other (RFC 6286 §2.2).
fn router_ids(file: &File, log: &mut Log) {
    let bgp = file.bgp.as_ref().map(|bgp| &bgp.value);
    let nodes = file.nodes.items();
    if let Some(all) = bgp.and_then(|bgp| bgp.router_id.as_ref())
        && matches!(all.value, RouterId::Given(_))
        && nodes.iter().filter(|node| node.router_id.is_none()).count() > 1
    {
        log.warn(&all.place, "every node has this one; write auto, or nodes[].router_id");
        return;
    }
    let mut first: HashMap<_, &At<Node>> = HashMap::new();
    for node in nodes {
        let id = router_id(bgp, &node.name.0, Some(node));
        if let Some(other) = first.insert(id, node)
            && other.name.0 != node.name.0
            && (address(other).is_none() || address(other) != address(node))
        {
            let text = format!("its router ID is {id}, as is that of {}; give one", other.name.0);
            log.error(&node.place.below("router_id"), text);
        }
    }
}

fn address(node: &Node) -> Option<IpAddr> {
    node.address.as_ref().map(|address| address.value)
}

/// Tells every value that an earlier one equals.
fn unique<'a, T: 'a, K: Hash + Eq + Display>(
    log: &mut Log,
    values: impl Iterator<Item = &'a At<T>>,
    key: impl Fn(&At<T>) -> K,
) {
    let mut first: HashMap<K, &Place> = HashMap::new();
    for value in values {
        let key = key(value);
        if let Some(place) = first.get(&key) {
            let text = format!("{key} is taken by {} on line {}", place.path, place.line);
            log.error(&value.place, text);
        } else {
            first.insert(key, &value.place);
        }
    }
}

/// A prefix of a family the network does not have would be announced to nobody.
fn in_use(file: &File, prefix: &At<Prefix>, log: &mut Log) {
    if !families(file).contains(&family(prefix.addr())) {
        let name = if prefix.is_ipv4() { "ipv4" } else { "ipv6" };
        let text = format!("{} is {name}, which is not among network.families", prefix.value);
        log.error(&prefix.place, text);
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
}
