//! What may be written: every key of the file, its kind and its description.
//!
//! The comments on keys are what an editor shows; they speak to the operator.

mod bgp;
mod collect;
mod ipam;
mod peer;
mod policy;

pub(crate) use bgp::*;
pub(crate) use collect::{BmpStation, Mrt, Rpki, RpkiServer};
pub(crate) use ipam::*;
pub(crate) use peer::*;
pub(crate) use policy::*;

use crate::model::{Family, Mode};
use crate::read::{At, Labels, List, table};
use crate::scalar::{Name, RouterId};
use mainstay_prefix::Prefix;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

table! {
    /// Configuration of a whole Mainstay cluster; every node has the same file.
    File {
        /// The machines of the cluster. Their order decides who holds which static blocks: add
        /// new ones at the end.
        nodes: List<Node>,
        /// How pods are connected.
        network: Option<At<Network>>,
        /// The BGP speaker of every node.
        bgp: Option<At<Bgp>>,
        /// Addresses of pods.
        ipam: Option<At<Ipam>>,
        /// The network monitor of every node.
        netmon: Option<At<Netmon>>,
        /// The session keeper. Not in this version.
        keeper: Option<At<Keeper>>,
    }
}

table! {
    /// One machine of the cluster.
    Node {
        /// What the machine calls itself: its host name unless --node or $NODE_NAME says otherwise.
        name: At<Name>,
        /// The machine's own address, under which its BGP peers know it.
        address: Option<At<IpAddr>>,
        /// What `select` looks at.
        labels: Option<At<Labels>>,
        /// Address blocks this node holds, instead of those its place in the list gives it.
        blocks: List<Prefix>,
        /// This node's BGP identifier, instead of what bgp.router_id makes of it.
        router_id: Option<At<RouterId>>,
    }
}

table! {
    /// How pods are connected.
    Network {
        /// none: no container network, only host-network pods run. bgp: routes by BGP.
        /// simple is not in this version. Default: bgp.
        #[schemars(extend("default" = "bgp"))]
        mode: Option<At<Mode>>,
        /// The address families in use. Default: both.
        #[schemars(extend("default" = ["ipv4", "ipv6"]))]
        families: List<Family>,
    }
}

table! {
    /// The network monitor of every node.
    Netmon {
        /// Where /metrics is served. Default: 127.0.0.1:9474.
        #[schemars(extend("default" = "127.0.0.1:9474"))]
        listen: Option<At<SocketAddr>>,
    }
}

table! {
    /// The session keeper.
    Keeper {
        /// How long sessions are held while no speaker runs; 0: never. Default: 10m.
        #[schemars(extend("default" = "10m"))]
        max_orphan: Option<At<Duration>>,
    }
}

#[cfg(test)]
mod tests {
    use super::collect::{MrtRib, MrtUpdates};
    use super::*;
    use serde_json::Value as Json;
    use std::collections::BTreeSet;

    fn keys_of(schema: &Json) -> BTreeSet<&str> {
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_schema_and_the_reader_know_the_same_keys() {
        let schema = crate::schema();
        let tables = schema["$defs"].as_object().unwrap();
        let mut seen = BTreeSet::new();
        macro_rules! same {
            ($($table:ident)+) => { $(
                seen.insert(stringify!($table));
                let known: BTreeSet<_> = $table::KEYS.iter().copied().collect();
                assert_eq!(keys_of(&tables[stringify!($table)]), known, stringify!($table));
            )+ };
        }
        same! {
            Node Network Bgp Listen GracefulRestart Bfd Mesh Reflectors Peer PolicySet Policy Rule Match PrefixMatch CommunityMatch AsPathMatch Length Changes CommunityChange Prepend Fib Ipam Gc Pool Reserved Claims Stickiness History Netmon Keeper LocalAs MaxPrefixes AoKey Multipath MedRules
            Rpki RpkiServer BmpStation Mrt MrtUpdates MrtRib
        }
        assert_eq!(keys_of(&schema), File::KEYS.iter().copied().collect());
        assert_eq!(tables.keys().map(String::as_str).collect::<BTreeSet<_>>(), seen);
    }

    #[test]
    fn every_key_is_described_and_no_other_is_allowed() {
        let schema = crate::schema();
        let tables = schema["$defs"].as_object().unwrap();
        for (name, table) in tables.iter().map(|(n, t)| (n.as_str(), t)).chain([("File", &schema)])
        {
            assert_eq!(table["additionalProperties"], Json::Bool(false), "{name}");
            for (key, property) in table["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{name}.{key}");
            }
        }
    }

    #[test]
    fn the_schema_asks_for_what_the_reader_misses() {
        let schema = crate::schema();
        let needed = |table: &str| schema["$defs"][table]["required"].to_string();
        assert_eq!(needed("Peer"), r#"["name","asn"]"#);
        assert_eq!(needed("Node"), r#"["name"]"#);
        assert_eq!(needed("Rule"), r#"["action"]"#);
        assert_eq!(needed("PrefixMatch"), r#"["in"]"#);
        assert_eq!(needed("Bgp"), "null");
    }
}
