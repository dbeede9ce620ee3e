//! Pools, blocks and who holds them.

mod special;

use super::{in_use, unique};
use crate::fault::Log;
use crate::file::{File, Ipam, Node, Pool};
use crate::model::Mode;
use crate::read::{At, Items};
use crate::resolve::{block_size, blocks_per_node, mode};
use crate::scalar::{ClaimSource, StickyPolicy};
use mainstay_prefix::Prefix;
use std::collections::HashMap;
use std::time::Duration;

/// A node's block is a table in memory: at most 65,536 addresses.
const WIDEST_BLOCK: u8 = 16;
/// A look reads the runtime's list of sandboxes.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) fn check(file: &File, log: &mut Log) {
    let none = Vec::new();
    let pools = file.ipam.as_ref().map_or(&none[..], |ipam| ipam.pools.items());
    if let Some(ipam) = &file.ipam {
        times(ipam, log);
        claims(ipam, log);
        unique(log, pools.iter().map(|p| &p.name), |name| name.0.clone());
        overlaps(pools, log);
    }
    for pool in pools {
        in_use(file, &pool.cidr, log);
        if sound(pool, log) {
            wide_enough(file, pool, log);
        }
    }
    explicit_blocks(file, pools, log);
    special::check(pools, log);
}

fn times(ipam: &Ipam, log: &mut Log) {
    let pools = ipam.pools.items().iter().filter_map(|pool| pool.stickiness.as_ref());
    let mut times: Vec<_> = ipam.cooldown.iter().collect();
    for sticky in ipam.stickiness.iter().chain(pools) {
        times.extend(sticky.ttl.as_ref());
        let policy = sticky.policy.as_ref().filter(|policy| policy.value != StickyPolicy::Ttl);
        if let (Some(policy), Some(ttl)) = (policy, &sticky.ttl) {
            let text = format!("has no effect: the policy is {}", policy.text);
            log.error(&ttl.place, text);
        }
    }
    let gc = ipam.gc.as_ref();
    let interval = gc.and_then(|gc| gc.interval.as_ref());
    times.extend(interval);
    times.extend(gc.and_then(|gc| gc.grace.as_ref()));
    for at in times {
        if at.value > YEAR {
            log.error(&at.place, format!("{} is more than a year, 8760h", at.text));
        }
    }
    if let Some(at) = interval.filter(|at| at.value < SHORTEST_LOOK) {
        log.error(&at.place, format!("{} is less than 100ms", at.text));
    }
}

fn claims(ipam: &Ipam, log: &mut Log) {
    let source = ipam.claims.as_ref().and_then(|claims| claims.source.as_ref());
    if let Some(at) = source.filter(|s| s.value != ClaimSource::Static) {
        log.error(&at.place, format!("{} is not in this version; it has static", at.text));
    }
}

fn overlaps(pools: &[At<Pool>], log: &mut Log) {
    let mut sorted: Vec<_> = pools.iter().collect();
    sorted.sort_by_key(|pool| pool.cidr.value);
    let mut widest: Option<&At<Pool>> = None;
    for pool in sorted {
        match widest.filter(|w| w.cidr.overlaps(&pool.cidr)) {
            Some(other) => {
                let (mine, name) = (pool.cidr.value, &other.name.0);
                let text = format!("{mine} overlaps {}, pool {name}", other.cidr.value);
                log.error(&pool.cidr.place, text);
            }
            None => widest = Some(pool),
        }
    }
}

/// Whether blocks can be cut from the pool at all.
fn sound(pool: &Pool, log: &mut Log) -> bool {
    let size = block_size(pool);
    let cidr = pool.cidr.value;
    let width = if cidr.is_ipv4() { 32 } else { 128 };
    let place = pool.block_size.as_ref().map_or(&pool.cidr.place, |size| &size.place);
    let least = cidr.len().max(width - WIDEST_BLOCK);
    if (least..=width).contains(&size) {
        return true;
    }
    let given = if pool.block_size.is_some() { "" } else { " (the default block_size)" };
    let text = format!("{size}{given} is not within {least} to {width}, for blocks of {cidr}");
    log.error(place, text);
    false
}

fn wide_enough(file: &File, pool: &At<Pool>, log: &mut Log) {
    let nodes = file.nodes.items();
    if nodes.is_empty() && mode(file) == Mode::Bgp {
        log.error(&pool.place, "its blocks go to the machines listed in nodes, and there are none");
    }
    let each = blocks_per_node(file);
    let by_place = nodes.iter().rposition(|node| node.blocks.is_none());
    let need = by_place.map_or(0, |last| (last as u128 + 1) * each);
    let size = block_size(pool);
    let have = 1u128.checked_shl(u32::from(size - pool.cidr.len())).unwrap_or(u128::MAX);
    if need > have {
        let text = format!(
            "{} has {have} blocks of /{size}, but {} nodes with {each} each need {need}",
            pool.cidr.value,
            nodes.len(),
        );
        log.error(&pool.cidr.place, text);
    }
}

fn explicit_blocks(file: &File, pools: &[At<Pool>], log: &mut Log) {
    let nodes = file.nodes.items();
    let each = blocks_per_node(file);
    let mut taken: HashMap<Prefix, &At<Node>> = HashMap::new();
    for node in nodes {
        for block in node.blocks.items() {
            let Some(index) = place_in_pool(pools, block, log) else { continue };
            let by_place = usize::try_from(index / each).ok().and_then(|i| nodes.get(i));
            let holder = by_place.filter(|other| other.blocks.is_none());
            let holder = holder.or_else(|| taken.get(&block.value).copied());
            if let Some(other) = holder {
                let text = format!("{} is held by {}", block.value, other.name.0);
                log.error(&block.place, text);
            }
            taken.insert(block.value, node);
        }
    }
}

/// The how manieth block of its pool it is.
fn place_in_pool(pools: &[At<Pool>], block: &At<Prefix>, log: &mut Log) -> Option<u128> {
    let Some(pool) = pools.iter().find(|pool| pool.cidr.covers(block)) else {
        log.error(&block.place, format!("{} is in no pool", block.value));
        return None;
    };
    let size = block_size(pool);
    if block.len() != size {
        let text =
            format!("{} is no block of pool {}: those are /{size}", block.value, pool.name.0);
        log.error(&block.place, text);
        return None;
    }
    let width: u8 = if block.is_ipv4() { 32 } else { 128 };
    let offset = pool.cidr.offset_of(block.addr())?;
    Some(offset.checked_shr(u32::from(width - size)).unwrap_or(0))
}
