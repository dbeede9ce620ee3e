//! From the cluster's file to what one node ends up with. The file has been checked: what is read
//! here fits, and a default stands here and nowhere else.

mod bgp;
mod collect;
mod ipam;
mod policy;

use crate::file::{File, Node};
use crate::model::{Family, Keeper, Mode, Netmon, Network, NodeConfig};
use crate::read::{At, Items, Labels};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(crate) use bgp::{LONGEST_RESTART, is_built_in, router_id};
pub(crate) use ipam::{block_size, blocks_per_node};

/// Where netmon serves, as Prometheus would reach it through a node's own agent.
const NETMON_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9474);

/// Longer than an upgrade takes, and shorter than anybody would leave a dead speaker unnoticed.
const MAX_ORPHAN: Duration = Duration::from_secs(600);

/// The machine at `index`, or one called `name` that the file says nothing about.
pub(crate) fn resolve(file: &File, name: &str, index: Option<usize>) -> NodeConfig {
    let node = index.and_then(|i| file.nodes.items().get(i)).map(|node| &node.value);
    let network = Network { mode: mode(file), families: families(file) };
    NodeConfig {
        name: name.into(),
        address: node.and_then(|n| n.address.as_ref()).map(|a| a.value),
        labels: node.map(labels).cloned().unwrap_or_default(),
        bgp: bgp::resolve(file, name, node),
        ipam: ipam::resolve(file, index),
        netmon: Netmon { listen: netmon_listen(file) },
        keeper: Keeper { max_orphan: max_orphan(file) },
        network,
    }
}

pub(crate) fn mode(file: &File) -> Mode {
    let network = file.network.as_ref();
    network.and_then(|n| n.mode.as_ref()).map_or(Mode::Bgp, |mode| mode.value)
}

/// Ordered, none twice, never empty.
pub(crate) fn families(file: &File) -> Vec<Family> {
    let given = file.network.as_ref().map_or(&[][..], |n| n.families.items());
    family_list(given).unwrap_or_else(|| vec![Family::Ipv4, Family::Ipv6])
}

fn family_list(given: &[At<Family>]) -> Option<Vec<Family>> {
    let mut families: Vec<_> = given.iter().map(|f| f.value).collect();
    families.sort();
    families.dedup();
    (!families.is_empty()).then_some(families)
}

fn netmon_listen(file: &File) -> SocketAddr {
    let netmon = file.netmon.as_ref();
    netmon.and_then(|n| n.listen.as_ref()).map_or(NETMON_LISTEN, |listen| listen.value)
}

fn max_orphan(file: &File) -> Duration {
    let keeper = file.keeper.as_ref();
    keeper.and_then(|k| k.max_orphan.as_ref()).map_or(MAX_ORPHAN, |time| time.value)
}

pub(crate) fn labels(node: &Node) -> &Labels {
    static NONE: Labels = Labels::new();
    node.labels.as_ref().map_or(&NONE, |labels| &labels.value)
}

/// Whether `labels` has all that `select` asks for; absent, it asks for nothing.
pub(crate) fn selects(select: Option<&At<Labels>>, labels: &Labels) -> bool {
    select.is_none_or(|s| s.value.iter().all(|(key, value)| labels.get(key) == Some(value)))
}
