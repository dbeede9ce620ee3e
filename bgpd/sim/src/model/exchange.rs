//! What a node lets in and what it tells (RFC 4271 §9.1.1, §9.1.3, §5; RFC 4456; RFC 9234).

use super::rules::{Passed, apply};
use super::{
    Candidate, GRACEFUL_SHUTDOWN, LLGR_STALE, Neighbour, Plain, Presence, Told, own_address,
};
use bgp_core::config::PolicyName;
use bgp_core::types::{Prefix, Role};
use std::net::IpAddr;

const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;

/// What becomes of a path that a neighbour tells; `None`: it is refused.
pub(crate) fn admit(
    me: &Plain<'_>,
    from: &Neighbour<'_>,
    prefix: &Prefix,
    told: &Told,
) -> Option<Told> {
    let other = from.options.local_as.map(|local| local.asn.0);
    let ours = |asn: &&u32| **asn == me.asn() || Some(**asn) == other;
    if told.as_path.iter().filter(ours).count() > usize::from(from.options.allow_as_in) {
        return None;
    }
    if from.internal {
        if told.originator == Some(me.id()) || told.clusters.contains(&me.id()) {
            return None;
        }
    } else if told.as_path.first() != Some(&from.asn) {
        return None;
    }
    let is_ours = |hop: IpAddr| me.neighbours.iter().any(|n| n.own.contains(&hop));
    if told.next_hop.is_some_and(is_ours) {
        return None;
    }
    let mut told = told.clone();
    match from.options.role.filter(|_| !from.internal) {
        // The neighbour is below: what went down does not come up again.
        Some(Role::Provider) if told.only_to_customer.is_some() => return None,
        Some(Role::Customer) => {
            told.only_to_customer.get_or_insert(from.asn);
        }
        Some(Role::Provider) | None => {}
        Some(other) => panic!("the model does not know the role {other:?}"),
    }
    // RFC 7705 §3.1.
    if let Some(local) = from.options.local_as.filter(|local| !local.no_prepend) {
        told.as_path.insert(0, local.asn.0);
    }
    match from.import {
        PolicyName::None => None,
        PolicyName::Node if !prefix.is_default() => None,
        name => Some(apply(&me.config.policies, name, prefix, &told, None)?.told),
    }
}

/// All that a neighbour is told of a prefix, with identifiers.
pub(crate) fn told_to(
    me: &Plain<'_>,
    to: usize,
    prefix: &Prefix,
    ranked: &[Candidate],
) -> Vec<(u32, Told)> {
    let neighbour = &me.neighbours[to];
    let Some(most) = neighbour.several else {
        let best = ranked.first().and_then(|p| tell(me, (to, neighbour), prefix, p));
        return best.map(|told| (0, told)).into_iter().collect();
    };
    let mut all: Vec<(u32, Told)> = Vec::new();
    for path in ranked {
        if all.len() == most {
            break;
        }
        let Some(told) = tell(me, (to, neighbour), prefix, path) else { continue };
        let mut id = identifier(me, path);
        while id == 0 || all.iter().any(|(taken, _)| *taken == id) {
            id = id.wrapping_add(1);
        }
        all.push((id, told));
    }
    all
}

/// The next process comes to the same identifiers, and so do we: FNV-1a of whose path it is.
fn identifier(me: &Plain<'_>, path: &Candidate) -> u32 {
    let address = match me.source(path).map(|n| n.address) {
        Some(IpAddr::V4(a)) => a.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(a)) => a.octets(),
        None => std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets(),
    };
    let octets = address.into_iter().chain(path.id.to_be_bytes());
    octets.fold(0x811c_9dc5, |h: u32, o| (h ^ u32::from(o)).wrapping_mul(0x0100_0193))
}

fn tell(
    me: &Plain<'_>,
    (to, neighbour): (usize, &Neighbour<'_>),
    prefix: &Prefix,
    path: &Candidate,
) -> Option<Told> {
    let source = me.source(path);
    let gone = me.presence == Presence::Gone;
    if gone || path.from == Some(to) || !reflects(source, neighbour) {
        return None;
    }
    let communities = &path.told.communities;
    let outside = communities.contains(&NO_EXPORT) && !neighbour.internal;
    let too_old = communities.contains(&LLGR_STALE) && !neighbour.long_lived;
    if communities.contains(&NO_ADVERTISE) || outside || too_old {
        return None;
    }
    let role = neighbour.options.role.filter(|_| !neighbour.internal);
    if role == Some(Role::Customer) && path.told.only_to_customer.is_some() {
        return None;
    }
    match neighbour.export {
        PolicyName::None => return None,
        PolicyName::Node if path.from.is_some() => return None,
        _ => {}
    }
    let own_asn = (!neighbour.internal).then_some(me.asn());
    let passed = apply(&me.config.policies, neighbour.export, prefix, &path.told, own_asn)?;
    let mut told = dress(me, neighbour, source, passed);
    if me.presence == Presence::LastResort {
        step_back(&mut told, neighbour);
    }
    let hop = told.next_hop.unwrap_or_else(|| own_address(neighbour, prefix));
    Some(Told { next_hop: Some(hop), ..told })
}

/// RFC 8326 §4: from outside by the community, from inside by the preference.
fn step_back(told: &mut Told, to: &Neighbour<'_>) {
    if !told.communities.contains(&GRACEFUL_SHUTDOWN) {
        told.communities.push(GRACEFUL_SHUTDOWN);
    }
    if to.internal {
        told.local_pref = Some(0);
    }
}

/// RFC 4456 §6.
fn reflects(source: Option<&Neighbour<'_>>, to: &Neighbour<'_>) -> bool {
    source.is_none_or(|from| !from.internal || !to.internal || from.client || to.client)
}

/// Attributes on their way out; no next hop: ourselves.
fn dress(
    me: &Plain<'_>,
    to: &Neighbour<'_>,
    source: Option<&Neighbour<'_>>,
    passed: Passed,
) -> Told {
    let mut told = Told { weight: 0, ..passed.told };
    let reflected = source.filter(|from| from.internal);
    if to.internal {
        let going = told.communities.contains(&GRACEFUL_SHUTDOWN);
        if going && source.is_some_and(|from| !from.internal) {
            told.local_pref = Some(0);
        }
        told.local_pref.get_or_insert(100);
        if reflected.is_none() {
            told.next_hop = None;
        }
        if let Some(from) = reflected {
            told.originator.get_or_insert(from.id);
            told.clusters.insert(0, me.id());
        }
        return told;
    }
    told.next_hop = None;
    let shown = to.options.local_as.map_or_else(|| me.asn(), |local| local.asn.0);
    if to.options.as_override {
        told.as_path.iter_mut().filter(|asn| **asn == to.asn).for_each(|asn| *asn = shown);
    }
    // RFC 7705 §3.2.
    if to.options.local_as.is_none_or(|local| !local.replace_as) {
        told.as_path.insert(0, me.asn());
    }
    if to.options.local_as.is_some() {
        told.as_path.insert(0, shown);
    }
    if source.is_some() && !passed.med {
        told.med = None;
    }
    if to.options.role == Some(Role::Provider) {
        told.only_to_customer.get_or_insert(shown);
    }
    Told { local_pref: None, originator: None, clusters: Vec::new(), ..told }
}
