//! What a session does differently from others.

use super::value;
use crate::file::{self, Peer};
use crate::model::{
    AoAlgorithm, AoKey, HopWeights, LocalAs, MaxPrefixes, MedRules, Multipath, NextHopRule,
    OverLimit, Role, SessionOptions,
};
use crate::read::{At, Items};
use crate::scalar::Int;
use std::time::Duration;

const LOCAL_PREF: u32 = 100;

/// With a peer of the file.
pub(super) fn of(bgp: &file::Bgp, peer: &Peer) -> SessionOptions {
    let none = defaults(bgp, is_ipv6(peer));
    let is = |key: &Option<At<bool>>, default| value(key, default);
    let role = peer.role.as_ref().map(|role| role.value);
    let allowed = peer.allow_as_in.as_ref().and_then(|n| u8::try_from(n.0).ok());
    let preference = peer.default_local_pref.as_ref().map(|n| n.0);
    // A route server leaves its own number out (RFC 7947 §2.2.2.1).
    let by_server = role == Some(Role::RsClient);
    SessionOptions {
        extended_messages: is(&peer.extended_messages, none.extended_messages),
        extended_next_hop: is(&peer.extended_next_hop, none.extended_next_hop),
        role,
        role_strict: is(&peer.role_strict, none.role_strict),
        allow_as_in: allowed.unwrap_or(none.allow_as_in),
        enforce_first_as: is(&peer.enforce_first_as, !by_server),
        as_override: is(&peer.as_override, none.as_override),
        local_as: local_as(peer),
        remove_private: peer.remove_private.as_ref().and_then(|how| how.value.0),
        default_local_pref: preference.unwrap_or(none.default_local_pref),
        next_hop: value(&peer.next_hop, none.next_hop),
        send_communities: is(&peer.send_communities, none.send_communities),
        max_prefixes: peer.max_prefixes.as_ref().map_or(none.max_prefixes, |m| max_prefixes(m)),
        ttl_security: peer.ttl_security.as_ref().and_then(|hops| hops.value.0),
        send_hold_time: peer.send_hold_time.as_ref().map(|t| t.value).or(none.send_hold_time),
    }
}

/// `ipv6`: the session runs over it.
pub(super) fn defaults(bgp: &file::Bgp, ipv6: bool) -> SessionOptions {
    SessionOptions {
        extended_messages: true,
        extended_next_hop: ipv6,
        role: None,
        role_strict: false,
        allow_as_in: 0,
        enforce_first_as: true,
        as_override: false,
        local_as: None,
        remove_private: None,
        default_local_pref: LOCAL_PREF,
        next_hop: NextHopRule::Auto,
        send_communities: true,
        ttl_security: None,
        max_prefixes: MAX_PREFIXES,
        send_hold_time: bgp.send_hold_time.as_ref().map(|t| t.value),
    }
}

const MAX_PREFIXES: MaxPrefixes = MaxPrefixes {
    most: None,
    out: None,
    warn: 80,
    action: OverLimit::Restart,
    restart: Duration::from_secs(300),
};

fn max_prefixes(given: &file::MaxPrefixes) -> MaxPrefixes {
    let none = MAX_PREFIXES;
    MaxPrefixes {
        most: given.r#in.as_ref().map(|n| n.0),
        out: given.out.as_ref().map(|n| n.0),
        warn: given.warn.as_ref().map_or(none.warn, |percent| percent.0),
        action: value(&given.action, none.action),
        restart: value(&given.restart, none.restart),
    }
}

pub(super) fn ao_keys(peer: &Peer) -> Vec<AoKey> {
    let id = |n: &At<Int<0, 255>>| u8::try_from(n.0).unwrap_or_default();
    let key = |key: &file::AoKey| AoKey {
        send_id: id(&key.send_id),
        receive_id: id(&key.receive_id),
        file: key.file.0.clone(),
        algorithm: value(&key.algorithm, AoAlgorithm::HmacSha1),
    };
    peer.tcp_ao.items().iter().map(|at| key(at)).collect()
}

pub(super) fn multipath(bgp: Option<&file::Bgp>) -> Multipath {
    let given = bgp.and_then(|bgp| bgp.multipath.as_ref());
    let most = |key: fn(&file::Multipath) -> &Option<At<Int<1, 16>>>| {
        given.and_then(|m| key(m).as_ref()).map(|n| n.0)
    };
    Multipath {
        ebgp: most(|m| &m.ebgp),
        ibgp: most(|m| &m.ibgp),
        relax: given.is_none_or(|m| value(&m.relax, true)),
        weights: given
            .map_or(HopWeights::LinkBandwidth, |m| value(&m.weights, HopWeights::LinkBandwidth)),
    }
}

pub(super) fn med(bgp: Option<&file::Bgp>) -> MedRules {
    let given = bgp.and_then(|bgp| bgp.med.as_ref());
    let is =
        |key: fn(&file::MedRules) -> &Option<At<bool>>| given.is_some_and(|m| value(key(m), false));
    MedRules {
        always_compare: is(|m| &m.always_compare),
        missing_as_worst: is(|m| &m.missing_as_worst),
    }
}

fn local_as(peer: &Peer) -> Option<LocalAs> {
    let local = peer.local_as.as_ref()?;
    Some(LocalAs {
        asn: local.asn.0,
        no_prepend: value(&local.no_prepend, false),
        replace_as: value(&local.replace_as, false),
    })
}

/// Without an address it is found on a link, by its link-local one.
fn is_ipv6(peer: &Peer) -> bool {
    let address = peer.address.as_ref().map(|a| a.value.is_ipv4());
    let range = || peer.listen_range.as_ref().map(|range| range.value.is_ipv4());
    !address.or_else(range).unwrap_or_default()
}
