//! One node's addresses.

use super::mode;
use crate::file::{self, File};
use crate::model::{Gc, Ipam, Mode, Pool, Reserved, Stickiness, Whose};
use crate::read::{At, Items};
use crate::scalar::{File as FilePath, StickyPolicy};
use mainstay_prefix::Prefix;
use std::time::Duration;

const STICKINESS: Duration = Duration::from_secs(24 * 60 * 60);
/// A little more than the 120 s for which conntrack remembers a closed TCP connection.
const COOLDOWN: Duration = Duration::from_secs(130);
const GC_INTERVAL: Duration = Duration::from_secs(60);
/// Longer than a kubelet that is upgraded takes to send the DELs it owes.
const GC_GRACE: Duration = Duration::from_secs(600);

/// Some 100,000 events.
const HISTORY: u64 = 32 << 20;

pub(crate) fn resolve(file: &File, index: Option<usize>) -> Ipam {
    let ipam = file.ipam.as_ref().map(|ipam| &ipam.value);
    let sticky = ipam.and_then(|i| i.stickiness.as_ref());
    let cooldown = ipam.and_then(|i| i.cooldown.as_ref());
    let history = ipam.and_then(|i| i.history.as_ref()).and_then(|h| h.max_size.as_ref());
    let pools = ipam.filter(|_| mode(file) == Mode::Bgp).map_or(&[][..], |i| i.pools.items());
    Ipam {
        pools: pools.iter().map(|pool| resolve_pool(file, pool, index)).collect(),
        stickiness: sticky.map_or(Stickiness::Ttl(STICKINESS), |s| stickiness(s)),
        cooldown: cooldown.map_or(COOLDOWN, |cooldown| cooldown.value),
        history_max_size: history.map_or(HISTORY, |size| size.value.0),
        gc: resolve_gc(ipam.and_then(|ipam| ipam.gc.as_ref()).map(|gc| &gc.value)),
    }
}

fn resolve_gc(gc: Option<&file::Gc>) -> Gc {
    let path = |at: Option<&At<FilePath>>, default: &str| {
        at.map_or_else(|| default.into(), |at| at.0.clone())
    };
    Gc {
        enabled: gc.and_then(|gc| gc.enabled.as_ref()).is_none_or(|at| at.value),
        interval: gc.and_then(|gc| gc.interval.as_ref()).map_or(GC_INTERVAL, |at| at.value),
        grace: gc.and_then(|gc| gc.grace.as_ref()).map_or(GC_GRACE, |at| at.value),
        results: path(gc.and_then(|gc| gc.results.as_ref()), "/var/lib/cni/results"),
        runtime: path(gc.and_then(|gc| gc.runtime.as_ref()), "/run/containerd/containerd.sock"),
    }
}

fn resolve_pool(file: &File, pool: &file::Pool, index: Option<usize>) -> Pool {
    Pool {
        name: pool.name.0.clone(),
        cidr: pool.cidr.value,
        blocks: index.map(|i| blocks(file, pool, i)).unwrap_or_default(),
        namespaces: pool.namespaces.items().iter().map(|glob| glob.0.clone()).collect(),
        stickiness: pool.stickiness.as_ref().map(|s| stickiness(s)),
        exclude: pool.exclude.items().iter().map(|span| (span.first, span.last)).collect(),
        reserved: pool.reserved.items().iter().filter_map(|at| reserved(at)).collect(),
    }
}

fn stickiness(given: &file::Stickiness) -> Stickiness {
    match given.policy.as_ref().map(|policy| policy.value) {
        None | Some(StickyPolicy::Ttl) => {
            Stickiness::Ttl(given.ttl.as_ref().map_or(STICKINESS, |ttl| ttl.value))
        }
        Some(StickyPolicy::Never) => Stickiness::Never,
        Some(StickyPolicy::WhileOwnerExists) => Stickiness::WhileOwnerExists,
    }
}

/// A checked file names either a pod or a key.
fn reserved(given: &file::Reserved) -> Option<Reserved> {
    let pod = given.pod.as_ref().map(|at| at.value.clone());
    let pod = pod.map(|pod| Whose::Pod { namespace: pod.namespace, name: pod.name });
    let key = given.sticky_key.as_ref().map(|at| at.value.clone());
    let key = key.map(|key| Whose::StickyKey { namespace: key.namespace, key: key.name });
    Some(Reserved { address: given.address.value, whose: pod.or(key)? })
}

/// The node's own list if it has one, else what its place in `nodes` gives it.
fn blocks(file: &File, pool: &file::Pool, index: usize) -> Vec<Prefix> {
    let node = file.nodes.items().get(index);
    if let Some(given) = node.and_then(|n| n.blocks.as_ref()) {
        return given.iter().map(|b| b.value).filter(|b| pool.cidr.covers(b)).collect();
    }
    let each = blocks_per_node(file);
    let first = index as u128 * each;
    (first..first + each).filter_map(|i| pool.cidr.subnet(block_size(pool), i)).collect()
}

pub(crate) fn block_size(pool: &file::Pool) -> u8 {
    let default = if pool.cidr.is_ipv4() { 26 } else { 122 };
    let given = pool.block_size.as_ref();
    given.and_then(|size| u8::try_from(size.0).ok()).unwrap_or(default)
}

pub(crate) fn blocks_per_node(file: &File) -> u128 {
    let claims = file.ipam.as_ref().and_then(|ipam| ipam.claims.as_ref());
    let given = claims.and_then(|claims| claims.blocks_per_node.as_ref());
    given.map_or(1, |n| n.0.into())
}
