//! Which of a node's paths is the best (RFC 4271 §9.1.2, RFC 4456 §9), by sorting and counting.

use super::{Candidate, GRACEFUL_SHUTDOWN, LLGR_STALE, Plain};
use std::net::{IpAddr, Ipv4Addr};

/// Candidates in their order, the best first.
pub(crate) struct Ranking {
    pub(crate) paths: Vec<Candidate>,
    /// Those of them whose next hops are used.
    pub(crate) used: Vec<bool>,
}

/// The steps before the tie-break, then those of it.
const STEPS: usize = 11;
const TIE_BREAK: usize = 8;

/// Takes away at each step who is worse than another one still in. Who stays longer stands before
/// who went earlier; of those that went together, the lower address.
pub(crate) fn rank(me: &Plain<'_>, mut paths: Vec<Candidate>) -> Ranking {
    paths.sort_by_key(|p| (address(me, p), p.id));
    let mut left: Vec<usize> = (0..paths.len()).collect();
    let mut gone_at = vec![STEPS; paths.len()];
    let mut equal = left.clone();
    for step in 0..STEPS {
        let stays: Vec<usize> = left
            .iter()
            .copied()
            .filter(|i| !left.iter().any(|j| beats(me, step, &paths[*j], &paths[*i])))
            .collect();
        for i in left.iter().filter(|i| !stays.contains(i)) {
            gone_at[*i] = step;
        }
        left = stays;
        if step < TIE_BREAK {
            equal.clone_from(&left);
        }
    }
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(gone_at[*i]), *i));
    let equal: Vec<bool> = order.iter().map(|i| equal.contains(i)).collect();
    let paths: Vec<Candidate> = order.iter().map(|i| paths[*i].clone()).collect();
    let used = used(me, &paths, &equal);
    Ranking { paths, used }
}

fn address(me: &Plain<'_>, path: &Candidate) -> IpAddr {
    me.source(path).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |n| n.address)
}

/// Whether `a` puts `b` out at this step.
fn beats(me: &Plain<'_>, step: usize, a: &Candidate, b: &Candidate) -> bool {
    let less = |key: &dyn Fn(&Candidate) -> u64| key(a) < key(b);
    match step {
        0 => less(&|p| u64::from(p.from.is_some())),
        1 => less(&|p| u64::from(p.told.communities.contains(&LLGR_STALE))),
        2 => less(&|p| u64::from(u32::MAX - p.told.weight)),
        3 => less(&|p| u64::from(u32::MAX - preference(me, p))),
        4 => less(&|p| p.told.as_path.len() as u64),
        5 => less(&|p| u64::from(p.told.origin)),
        6 => {
            let comparable =
                me.config.med.always_compare || a.told.as_path.first() == b.told.as_path.first();
            comparable && med(me, a) < med(me, b)
        }
        7 => less(&|p| u64::from(me.source(p).is_some_and(|n| n.internal))),
        8 => less(&|p| {
            let id = me.source(p).map_or_else(|| me.id(), |n| n.id);
            p.told.originator.unwrap_or(id).into()
        }),
        9 => less(&|p| p.told.clusters.len() as u64),
        _ => (address(me, a), a.id) < (address(me, b), b.id),
    }
}

/// Nobody goes by way of an external neighbour that is about to go (RFC 8326 §4).
fn preference(me: &Plain<'_>, path: &Candidate) -> u32 {
    let external = me.source(path).is_some_and(|n| !n.internal);
    if external && path.told.communities.contains(&GRACEFUL_SHUTDOWN) {
        return 0;
    }
    path.told.local_pref.unwrap_or(100)
}

fn med(me: &Plain<'_>, path: &Candidate) -> u32 {
    path.told.med.unwrap_or(if me.config.med.missing_as_worst { u32::MAX } else { 0 })
}

/// The best one, and beside it those that lost by the tie-break alone, each with a next hop of its
/// own, as many as the configuration allows.
fn used(me: &Plain<'_>, paths: &[Candidate], equal: &[bool]) -> Vec<bool> {
    let internal = paths.first().and_then(|p| me.source(p)).is_some_and(|n| n.internal);
    let rules = me.config.multipath;
    let most = if internal { rules.internal } else { rules.external };
    let most = most.min(me.config.max_paths.max(1));
    let mut hops = Vec::new();
    let mut used = Vec::new();
    for (path, equal) in paths.iter().zip(equal) {
        let own = path.from.is_none();
        let fresh = !own && !hops.contains(&path.told.next_hop);
        let takes = *equal && fresh && hops.len() < most;
        if takes {
            hops.push(path.told.next_hop);
        }
        used.push(takes);
    }
    used
}
