//! From a node's configuration to what the table needs of it.

use ipam_core::{Policy, PoolSettings, Settings};
use mainstay_config::{Family, NodeConfig};
use mainstay_prefix::Prefix;

/// Pools of families the network does not have are left out.
pub(crate) fn settings(node: &NodeConfig) -> Settings {
    let family = |prefix: &Prefix| if prefix.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let pools = node.ipam.pools.iter();
    let pools = pools.filter(|pool| node.network.families.contains(&family(&pool.cidr)));
    let pools = pools.map(|pool| PoolSettings::new(&pool.name, pool.cidr, pool.blocks.clone()));
    Settings {
        pools: pools.collect(),
        cooldown: node.ipam.cooldown,
        stickiness: Policy::Ttl(node.ipam.stickiness),
    }
}
