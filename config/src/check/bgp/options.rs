//! What is wrong with what a session does differently from others.

use crate::fault::{Log, Place};
use crate::file::{Bgp, MaxPrefixes, Peer};
use crate::read::{At, Items};
use crate::scalar::PeerAs;
use std::collections::BTreeSet;
use std::time::Duration;

const LONGEST_BAR: Duration = Duration::from_secs(24 * 3600);

pub(super) fn check(bgp: &Bgp, peer: &Peer, log: &mut Log) {
    let internal = bgp.asn.as_ref().map(|own| peer.asn.is_internal(own.0));
    if let Some(strict) = peer.role_strict.as_ref().filter(|on| on.value && peer.role.is_none()) {
        log.error(&strict.place, "is of no use without a role");
    }
    if internal == Some(true) {
        for (place, text) in external(peer) {
            log.error(place, format!("{text} is of no use: this is for eBGP peers"));
        }
    }
    if let (Some(secured), Some(hops)) = (&peer.ttl_security, &peer.multihop)
        && secured.value.0.is_some()
    {
        let text = format!("write the number of hops here, and not multihop: {}", hops.text);
        log.error(&secured.place, text);
    }
    ao_keys(peer, log);
    if let Some(limit) = &peer.max_prefixes {
        max_prefixes(limit, log);
    }
    if let Some(local) = &peer.local_as {
        let (own, theirs) = (bgp.asn.as_ref().map(|asn| asn.0), peer.asn.value);
        let given = &local.asn;
        if Some(given.0) == own {
            log.error(&given.place, format!("{} is bgp.asn already", given.0));
        } else if PeerAs::Number(given.0) == theirs {
            log.error(&given.place, format!("{} is the peer's own number", given.0));
        }
    }
}

fn ao_keys(peer: &Peer, log: &mut Log) {
    let keys = peer.tcp_ao.items();
    if let (Some(first), Some(_)) = (keys.first(), &peer.password_file) {
        log.error(&first.place, "a session is signed by tcp_ao or by password_file, not by both");
    }
    let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
    for key in keys {
        for (id, seen) in [(&key.send_id, &mut sent), (&key.receive_id, &mut received)] {
            if !seen.insert(id.0) {
                log.error(&id.place, format!("{} is the number of another key of the peer", id.0));
            }
        }
    }
}

fn max_prefixes(limit: &At<MaxPrefixes>, log: &mut Log) {
    let given = |key: bool, name| key || log.has(&limit.place.below(name));
    let (taken, told) = (given(limit.r#in.is_some(), "in"), given(limit.out.is_some(), "out"));
    if !taken && !told {
        log.error(&limit.place, "the key in or the key out is missing: how many there may be");
    }
    if let Some(at) = limit.action.as_ref().filter(|_| !taken) {
        log.error(&at.place, "is of no use without the key in");
    }
    if let Some(at) = &limit.restart
        && !(Duration::from_secs(1)..=LONGEST_BAR).contains(&at.value)
    {
        log.error(&at.place, format!("{} is not within 1s to 24h", at.text));
    }
}

/// What means nothing inside an AS.
fn external(peer: &Peer) -> impl Iterator<Item = (&Place, &str)> {
    fn set<T>(key: &Option<At<T>>) -> Option<(&Place, &str)> {
        key.as_ref().map(|at| (&at.place, at.text.as_str()))
    }
    let on = |key: &'_ Option<At<bool>>| key.as_ref().is_some_and(|on| on.value);
    let switches = [&peer.enforce_first_as, &peer.as_override].into_iter().filter(move |k| on(k));
    [set(&peer.role), set(&peer.local_as), set(&peer.remove_private)]
        .into_iter()
        .chain(switches.map(set))
        .flatten()
}
