//! Addresses of a pool that are not for everybody: excluded and reserved ones, and whole pools.

use crate::fault::Log;
use crate::file::{Pool, Reserved};
use crate::read::{At, Items};
use crate::scalar::{Namespaced, Span};
use std::collections::HashMap;
use std::net::IpAddr;

pub(super) fn check(pools: &[At<Pool>], log: &mut Log) {
    let mut taken = HashMap::new();
    let mut owners = HashMap::new();
    for pool in pools {
        for span in pool.exclude.items() {
            if !(pool.cidr.contains(span.first) && pool.cidr.contains(span.last)) {
                let text = format!("{} is not within the pool, {}", span.text, pool.cidr.value);
                log.error(&span.place, text);
            }
        }
        for reserved in pool.reserved.items() {
            check_address(pool, reserved, &mut taken, log);
            check_owner(pool, reserved, &mut owners, log);
        }
    }
    everybody(pools, log);
}

fn check_address(
    pool: &Pool,
    reserved: &At<Reserved>,
    taken: &mut HashMap<IpAddr, usize>,
    log: &mut Log,
) {
    let at = &reserved.address;
    if !pool.cidr.contains(at.value) {
        let text = format!("{} is not within the pool, {}", at.value, pool.cidr.value);
        log.error(&at.place, text);
    }
    let excludes = |span: &&At<Span>| (span.first..=span.last).contains(&at.value);
    if let Some(span) = pool.exclude.items().iter().find(excludes) {
        log.error(&at.place, format!("{} is excluded by {}", at.value, span.text));
    }
    if let Some(line) = taken.insert(at.value, at.place.line) {
        log.error(&at.place, format!("{} is reserved on line {line} already", at.value));
    }
}

fn check_owner<'a>(
    pool: &Pool,
    reserved: &'a At<Reserved>,
    owners: &mut HashMap<(bool, bool, &'a Namespaced), usize>,
    log: &mut Log,
) {
    let owner = match (&reserved.pod, &reserved.sticky_key) {
        (Some(pod), None) => pod,
        (None, Some(key)) => key,
        (None, None) => {
            return log.error(&reserved.place, "whom it is for is missing: pod or sticky_key");
        }
        (Some(_), Some(key)) => {
            return log.error(&key.place, "is for a pod already; it is for the one or the other");
        }
    };
    let id = (reserved.address.is_ipv4(), reserved.pod.is_some(), &owner.value);
    if let Some(line) = owners.insert(id, owner.place.line) {
        let text = format!("{} has an address of this family on line {line} already", owner.text);
        log.error(&owner.place, text);
    }
    if !admits(pool, &owner.namespace) {
        let text = format!("the pool is not for namespace {}", owner.namespace);
        log.error(&owner.place, text);
    }
}

fn admits(pool: &Pool, namespace: &str) -> bool {
    let globs = pool.namespaces.items();
    let fits = |glob: &str| match glob.strip_suffix('*') {
        Some(start) => namespace.starts_with(start),
        None => namespace == glob,
    };
    globs.is_empty() || globs.iter().any(|glob| fits(&glob.0))
}

/// Pods of other namespaces would have no address.
fn everybody(pools: &[At<Pool>], log: &mut Log) {
    for ipv4 in [true, false] {
        let mut family = pools.iter().filter(|pool| pool.cidr.is_ipv4() == ipv4);
        let Some(first) = family.next() else { continue };
        let dedicated = |pool: &At<Pool>| !pool.namespaces.items().is_empty();
        if dedicated(first) && family.all(dedicated) {
            let family = if ipv4 { "IPv4" } else { "IPv6" };
            let text = format!("no {family} pool is for pods of other namespaces");
            log.warn(&first.place, text);
        }
    }
}
