//! From a node's configuration to what the table needs of it.

use ipam_core::{Policy, PoolSettings, Reservation, Settings};
use mainstay_config::{Family, NodeConfig, Pool, Stickiness, Whose};
use mainstay_prefix::Prefix;

/// Pools of families the network does not have are left out.
pub(crate) fn settings(node: &NodeConfig) -> Settings {
    let family = |prefix: &Prefix| if prefix.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let pools = node.ipam.pools.iter();
    let pools = pools.filter(|pool| node.network.families.contains(&family(&pool.cidr)));
    Settings {
        pools: pools.map(pool_settings).collect(),
        cooldown: node.ipam.cooldown,
        stickiness: policy(node.ipam.stickiness),
    }
}

fn pool_settings(pool: &Pool) -> PoolSettings {
    let reserved = pool.reserved.iter().map(|r| (r.address, reservation(r.whose.clone())));
    PoolSettings {
        namespaces: pool.namespaces.clone(),
        stickiness: pool.stickiness.map(policy),
        exclude: pool.exclude.clone(),
        reserved: reserved.collect(),
        ..PoolSettings::new(&pool.name, pool.cidr, pool.blocks.clone())
    }
}

fn reservation(whose: Whose) -> Reservation {
    match whose {
        Whose::Pod { namespace, name } => Reservation::Pod { namespace, name },
        Whose::StickyKey { namespace, key } => Reservation::StickyKey { namespace, key },
    }
}

const fn policy(given: Stickiness) -> Policy {
    match given {
        Stickiness::Ttl(ttl) => Policy::Ttl(ttl),
        Stickiness::Never => Policy::Never,
        Stickiness::WhileOwnerExists => Policy::WhileOwnerExists,
    }
}
