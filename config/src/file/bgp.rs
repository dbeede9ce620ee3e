//! Keys of the speaker, but for its peers and policies.

use super::{BmpStation, Mrt, Peer, Policy, PolicySet, Rpki};
use crate::fault::{Log, Place};
use crate::model::{HopWeights, Speaker};
use crate::read::{At, Labels, List, Value, table};
use crate::scalar::{Asn, Int, RouteTable, RouterId};
use crate::yaml::{Kind, Yaml};
use mainstay_prefix::Prefix;
use schemars::{Schema, SchemaGenerator};
use std::net::IpAddr;
use std::time::Duration;

table! {
    /// The BGP speaker of every node.
    Bgp {
        /// The nodes' AS number. Needed in mode bgp.
        asn: Option<At<Asn>>,
        /// The BGP identifier. auto: the node's IPv4 address if it has one, else made of its name.
        #[schemars(extend("default" = "auto"))]
        router_id: Option<At<RouterId>>,
        /// Where connections are accepted, or false: connect only.
        listen: Option<At<ListenKey>>,
        /// How long a silent peer is believed: 0s (for ever) or at least 3s. Default: 90s.
        #[schemars(extend("default" = "90s"))]
        hold_time: Option<At<Duration>>,
        /// How often a lost or refused connection is tried again. Default: 5s.
        #[schemars(extend("default" = "5s"))]
        connect_retry: Option<At<Duration>>,
        /// What peers are asked to do while a speaker restarts (RFC 4724).
        graceful_restart: Option<At<GracefulRestart>>,
        /// How BFD watches peers that have bfd set.
        bfd: Option<At<Bfd>>,
        /// iBGP sessions among all nodes.
        mesh: Option<At<Mesh>>,
        /// With whom the nodes speak BGP.
        peers: List<Peer>,
        /// Lists of rules that peers' import and export name.
        policies: List<Policy>,
        /// Lists of prefixes and communities that several rules name.
        sets: List<PolicySet>,
        /// Prefixes every node announces by itself, such as a service address.
        originate: List<Prefix>,
        /// What of the routes goes to the kernel.
        fib: Option<At<Fib>>,
        /// Which paths a route may use beside its best.
        multipath: Option<At<Multipath>>,
        /// How MEDs are compared.
        med: Option<At<MedRules>>,
        /// Route origin validation (RFC 6811).
        rpki: Option<At<Rpki>>,
        /// Stations that are told of peers and routes (RFC 7854).
        bmp: List<BmpStation>,
        /// Files of what was heard and of what is known (RFC 6396).
        mrt: Option<At<Mrt>>,
        /// How long a peer may leave unread what it is sent, before its session ends: 0s (for ever) or
        /// at least 3s (RFC 9687). Default: the greater of 8m and twice the agreed hold time.
        send_hold_time: Option<At<Duration>>,
    }
}

table! {
    /// Which paths a route may use beside its best: as good as it up to the tie-break.
    Multipath {
        /// How many, where the best one is an eBGP peer's, 1 to 16. Default: 16.
        #[schemars(extend("default" = 16))]
        ebgp: Option<At<Int<1, 16>>>,
        /// The same of iBGP. Default: 16.
        #[schemars(extend("default" = 16))]
        ibgp: Option<At<Int<1, 16>>>,
        /// Also paths by another neighbour AS, or, of iBGP, with another AS path of the same length.
        /// Default: true.
        #[schemars(extend("default" = true))]
        relax: Option<At<bool>>,
        /// How traffic is spread over them. link_bandwidth: by the bandwidths of their links, where
        /// each path tells one (RFC 10005), else evenly. none: evenly. Default: link_bandwidth.
        #[schemars(extend("default" = "link_bandwidth"))]
        weights: Option<At<HopWeights>>,
    }
}

table! {
    /// How MEDs are compared (RFC 4271 §9.1.2.2 c).
    MedRules {
        /// Also between paths by different neighbour ASes. Default: false.
        #[schemars(extend("default" = false))]
        always_compare: Option<At<bool>>,
        /// A path without one is the worst, and not the best. Default: false.
        #[schemars(extend("default" = false))]
        missing_as_worst: Option<At<bool>>,
    }
}

table! {
    /// Where connections are accepted.
    Listen {
        /// The TCP port. Default: 179.
        #[schemars(extend("default" = 179))]
        port: Option<At<Int<1, 65535>>>,
        /// The node's own addresses to listen on. Default: every one.
        addresses: List<IpAddr>,
    }
}

table! {
    /// What peers are asked to do while a speaker restarts (RFC 4724), and granted while they do.
    GracefulRestart {
        /// Whether the capability is sent and heeded. Default: true.
        #[schemars(extend("default" = true))]
        enabled: Option<At<bool>>,
        /// How long peers keep our routes while we are away, 1s to 4095s. Default: 120s.
        #[schemars(extend("default" = "120s"))]
        restart_time: Option<At<Duration>>,
        /// Keep routes across NOTIFICATIONs and an expired hold timer too, where the peer does so as
        /// well (RFC 8538). Default: true.
        #[schemars(extend("default" = true))]
        notification: Option<At<bool>>,
        /// For how long stale routes are kept at lowest preference once the restart time is over, ours
        /// by peers and theirs by us, 0s to 4660h; 0s: not at all (RFC 9494). Default: 0s.
        #[schemars(extend("default" = "0s"))]
        long_lived: Option<At<Duration>>,
        /// A peer that asks for less time than this gets this much, 0s to 4095s. Default: 0s.
        #[schemars(extend("default" = "0s"))]
        min_peer_restart_time: Option<At<Duration>>,
        /// A peer that asks for more time than this gets no more, 0s to 4095s. Default: 4095s.
        #[schemars(extend("default" = "4095s"))]
        max_peer_restart_time: Option<At<Duration>>,
        /// How long a peer that is back may take to tell its routes again, 1s to 4095s. Default: 360s.
        #[schemars(extend("default" = "360s"))]
        stale_time: Option<At<Duration>>,
    }
}

table! {
    /// How BFD watches the path to a peer (RFC 5880). Over several hops (RFC 5883) where the BGP
    /// session may be: iBGP, and eBGP with multihop.
    Bfd {
        /// How often we would send, 50ms to 60s. Default: 300ms.
        #[schemars(extend("default" = "300ms"))]
        min_tx: Option<At<Duration>>,
        /// How often the peer may send, 50ms to 60s. Default: 300ms.
        #[schemars(extend("default" = "300ms"))]
        min_rx: Option<At<Duration>>,
        /// So many packets in a row may be lost. Default: 3.
        #[schemars(extend("default" = 3))]
        multiplier: Option<At<Int<1, 255>>>,
        /// No BGP session before BFD is up. Default: false.
        #[schemars(extend("default" = false))]
        strict: Option<At<bool>>,
    }
}

table! {
    /// iBGP sessions among all nodes.
    Mesh {
        /// Every node with every other. Default: false.
        #[schemars(extend("default" = false))]
        enabled: Option<At<bool>>,
        /// Nodes that reflect routes (RFC 4456): they have a session with every node, the others with them alone.
        reflectors: Option<At<Reflectors>>,
    }
}

table! {
    /// Which nodes reflect routes.
    Reflectors {
        /// Labels that a reflector has. Default: every node, which is a full mesh.
        select: Option<At<Labels>>,
    }
}

table! {
    /// What of the routes goes to the kernel.
    Fib {
        /// false: none; the speaker only passes routes on. Default: true.
        #[schemars(extend("default" = true))]
        install: Option<At<bool>>,
        /// The kernel's routing table, main or a number. Default: main.
        #[schemars(extend("default" = "main"))]
        table: Option<At<RouteTable>>,
        /// The metric of our routes. Default: 32.
        #[schemars(extend("default" = 32))]
        metric: Option<At<Int<1, { u32::MAX }>>>,
        /// Whose routes are taken over when bgpd starts, without a gap: bird, zebra or bgp. Default: nobody's.
        adopt: List<Speaker>,
        /// Many routes share one of the kernel's nexthop objects, where it has them, and move with it; false: each names its own gateways, as routes did before Linux 5.3. Default: true.
        #[schemars(extend("default" = true))]
        nexthop_objects: Option<At<bool>>,
    }
}

/// `listen: {…}` or `listen: false`.
#[derive(Debug, Clone)]
pub(crate) enum ListenKey {
    Off,
    On(Listen),
}

impl Value for ListenKey {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        match &yaml.kind {
            Kind::Scalar { text, plain: true } if text == "false" => Some(Self::Off),
            Kind::Scalar { .. } | Kind::List(_) if !yaml.is_empty() => {
                log.error(place, format!("{} is neither {{port: …}} nor false", yaml.shown()));
                None
            }
            _ => Listen::read(yaml, place, log).map(Self::On),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let table = <Listen as Value>::schema(generator);
        schemars::json_schema!({"anyOf": [{"const": false}, table]})
    }
}

/// `bfd: true`, `bfd: false` or `bfd: {…}`.
#[derive(Debug, Clone)]
pub(crate) enum BfdKey {
    Off,
    /// With or without differences from `bgp.bfd`.
    On(Option<Box<Bfd>>),
}

impl Value for BfdKey {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        match &yaml.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Some(Self::On(None)),
            Kind::Scalar { text, plain: true } if text == "false" => Some(Self::Off),
            Kind::Scalar { .. } | Kind::List(_) => {
                let shown = yaml.shown();
                log.error(place, format!("{shown} is neither true, false nor {{min_tx: …}}"));
                None
            }
            Kind::Map(_) => Bfd::read(yaml, place, log).map(|bfd| Self::On(Some(Box::new(bfd)))),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let table = <Bfd as Value>::schema(generator);
        schemars::json_schema!({"anyOf": [{"type": "boolean"}, table]})
    }
}
