//! What a session does differently from others.

use bgp_core::config::{MedRules, Multipath};
use bgp_core::options::{LocalAs, MaxPrefixes, NextHopRule, Options, OverLimit, RemovePrivate};
use bgp_core::types::Asn;
use mainstay_config as config;

pub(super) fn options(o: &config::SessionOptions) -> Options {
    Options {
        extended_messages: o.extended_messages,
        extended_next_hop: o.extended_next_hop,
        role: o.role.map(super::role),
        role_strict: o.role_strict,
        allow_as_in: o.allow_as_in,
        enforce_first_as: o.enforce_first_as,
        as_override: o.as_override,
        local_as: o.local_as.map(|local| LocalAs {
            asn: Asn(local.asn),
            no_prepend: local.no_prepend,
            replace_as: local.replace_as,
        }),
        remove_private: o.remove_private.map(|how| match how {
            config::RemovePrivate::Alone => RemovePrivate::Alone,
            config::RemovePrivate::All => RemovePrivate::All,
            config::RemovePrivate::Replace => RemovePrivate::Replace,
        }),
        default_local_pref: o.default_local_pref,
        next_hop: match o.next_hop {
            config::NextHopRule::Auto => NextHopRule::Auto,
            config::NextHopRule::OurSelf => NextHopRule::OurSelf,
            config::NextHopRule::Unchanged => NextHopRule::Unchanged,
        },
        send_communities: o.send_communities,
        max_prefixes: max_prefixes(&o.max_prefixes),
        send_hold_time: o.send_hold_time,
    }
}

pub(super) fn multipath(given: &config::Multipath) -> Multipath {
    let most = |n: Option<u32>| n.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    Multipath {
        external: most(given.ebgp),
        internal: most(given.ibgp),
        relax: given.relax,
        weighted: given.weights == config::HopWeights::LinkBandwidth,
    }
}

pub(super) const fn med(given: &config::MedRules) -> MedRules {
    MedRules { always_compare: given.always_compare, missing_as_worst: given.missing_as_worst }
}

const fn max_prefixes(limit: &config::MaxPrefixes) -> MaxPrefixes {
    let action = match limit.action {
        config::OverLimit::Warn => OverLimit::Warn,
        config::OverLimit::Discard => OverLimit::Discard,
        config::OverLimit::Restart => OverLimit::Restart(limit.restart),
        config::OverLimit::Stop => OverLimit::Stop,
    };
    MaxPrefixes { most: limit.most, warn: limit.warn, action, out: limit.out }
}
