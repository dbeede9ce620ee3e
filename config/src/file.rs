//! What may be written: every key of the file, its kind and its description.
//!
//! The comments on keys are what an editor shows; they speak to the operator.

mod collect;
mod policy;

pub(crate) use collect::{BmpStation, Mrt, Rpki, RpkiServer};
pub(crate) use policy::*;

use crate::fault::{Log, Place};
use crate::model::{AoAlgorithm, Family, HopWeights, Mode, NextHopRule, OverLimit, Role, Speaker};
use crate::read::{At, Labels, List, Value, table};
use crate::scalar::{
    AddPaths, Asn, ClaimSource, File as FilePath, Glob, Int, Interface, Name, Namespaced, PeerAs,
    Percent, RemovePrivate, RouteTable, RouterId, Size, Span, StickyPolicy, TtlSecurity,
};
use crate::yaml::{Kind, Yaml};
use mainstay_prefix::Prefix;
use schemars::{Schema, SchemaGenerator};
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
    /// A BGP peer, or a range of addresses from which peers may dial in.
    Peer {
        /// How the peer is called in commands, logs and metrics.
        name: At<Name>,
        /// Labels of the nodes that have this peer. Default: every node.
        select: Option<At<Labels>>,
        /// The peer's address. A node whose own address it is leaves this peer out.
        address: Option<At<IpAddr>>,
        /// Instead of an address: whoever dials in from here is a peer.
        listen_range: Option<At<Prefix>>,
        /// The interface of a link-local address. Without an address: the peer is whoever is found at
        /// the other end of this link, by its router advertisements (an unnumbered peer).
        interface: Option<At<Interface>>,
        /// The peer's TCP port. Default: 179.
        #[schemars(extend("default" = 179))]
        port: Option<At<Int<1, 65535>>>,
        /// The peer's AS number; the nodes' own makes it an iBGP peer. internal: the nodes' own.
        /// external: any other.
        asn: At<PeerAs>,
        /// Wait for the peer to connect. Default: false.
        #[schemars(extend("default" = false))]
        passive: Option<At<bool>>,
        /// How long the peer may be silent. Default: bgp.hold_time.
        hold_time: Option<At<Duration>>,
        /// The address families of the session. Default: network.families.
        families: List<Family>,
        /// The file with the session's TCP MD5 key (RFC 2385).
        password_file: Option<At<FilePath>>,
        /// The session's TCP-AO keys (RFC 5925), instead of a password_file: the first one signs, all of
        /// them are understood. It needs a kernel with CONFIG_TCP_AO; without it the peer stays down.
        tcp_ao: List<AoKey>,
        /// Watch the path to the peer by BFD (RFC 5880): true, false, or differences from bgp.bfd.
        /// It needs mainstay-keeper. Default: false.
        #[schemars(extend("default" = false))]
        bfd: Option<At<BfdKey>>,
        /// Which of the peer's routes are used: all, none, node or a policy.
        /// Default: all for iBGP; node for eBGP, which is at most a default route.
        import: Option<At<Name>>,
        /// Which routes the peer is told: all, none, node or a policy.
        /// Default: all for iBGP; node for eBGP, which is the node's own blocks.
        export: Option<At<Name>>,
        /// Reflect routes to and from this iBGP peer (RFC 4456). Default: false.
        #[schemars(extend("default" = false))]
        route_reflector_client: Option<At<bool>>,
        /// Several paths for a prefix (RFC 7911): none, receive, send or both. What is sent is every
        /// path that the peer may have, the best first. Default: none.
        #[schemars(extend("default" = "none"))]
        add_paths: Option<At<AddPaths>>,
        /// How many paths of a prefix are sent at most. Default: 8.
        #[schemars(extend("default" = 8))]
        add_paths_limit: Option<At<Int<1, 255>>>,
        /// Differences from bgp.graceful_restart.
        graceful_restart: Option<At<GracefulRestart>>,
        /// The address our connections come from. Default: what the kernel chooses.
        local_address: Option<At<IpAddr>>,
        /// For an eBGP peer that is not on a shared link: how many hops away it may be.
        multihop: Option<At<Int<1, 255>>>,
        /// How many peers a listen_range may have at once. Default: 100.
        #[schemars(extend("default" = 100))]
        limit: Option<At<Int<1, 10000>>>,
        /// Offer messages of up to 65535 octets instead of 4096 (RFC 8654). Default: true.
        #[schemars(extend("default" = true))]
        extended_messages: Option<At<bool>>,
        /// Offer IPv6 next hops for IPv4 prefixes (RFC 8950). Default: true where the session runs over
        /// IPv6.
        extended_next_hop: Option<At<bool>>,
        /// What the node is to this eBGP peer: provider, customer, peer, rs or rs-client (RFC 9234).
        /// Routes that leak are refused and not sent.
        role: Option<At<Role>>,
        /// No session with a peer that does not say its own role. Default: false.
        #[schemars(extend("default" = false))]
        role_strict: Option<At<bool>>,
        /// How often the nodes' own AS may stand in a path of this peer, 0 to 10. Default: 0.
        #[schemars(extend("default" = 0))]
        allow_as_in: Option<At<Int<0, 10>>>,
        /// Refuse paths of an eBGP peer that do not start with its AS. Default: true, but not towards a
        /// route server (role: rs-client).
        enforce_first_as: Option<At<bool>>,
        /// Tell an eBGP peer our AS number where its own stands in a path. Default: false.
        #[schemars(extend("default" = false))]
        as_override: Option<At<bool>>,
        /// Another AS number for the node towards this eBGP peer, as while an AS is renumbered (RFC 7705).
        local_as: Option<At<LocalAs>>,
        /// Take private AS numbers out of what an eBGP peer is told. true: where there are no others.
        /// all: always. replace: put ours in their place. The peer's own stays. Default: false.
        #[schemars(extend("default" = false))]
        remove_private: Option<At<RemovePrivate>>,
        /// The preference of this peer's paths that have none. Default: 100.
        #[schemars(extend("default" = 100))]
        default_local_pref: Option<At<Int<0, { u32::MAX }>>>,
        /// The next hop that the peer is told. auto: the node, but for what is reflected inside the AS.
        /// self: the node. unchanged: as it came, but for the node's own prefixes. Default: auto.
        #[schemars(extend("default" = "auto"))]
        next_hop: Option<At<NextHopRule>>,
        /// Tell the peer the communities of a path. Default: true.
        #[schemars(extend("default" = true))]
        send_communities: Option<At<bool>>,
        /// Take packets of this peer alone that have come over no more hops than these: true is 1, or a
        /// number up to 254 (RFC 5082). The other side needs the same. Default: false.
        #[schemars(extend("default" = false))]
        ttl_security: Option<At<TtlSecurity>>,
        /// How many prefixes of a family the peer may tell, and is told.
        max_prefixes: Option<At<MaxPrefixes>>,
        /// How long the peer may leave unread what it is sent. Default: bgp.send_hold_time.
        send_hold_time: Option<At<Duration>>,
    }
}

table! {
    /// How many prefixes of a family a peer may tell, and is told.
    MaxPrefixes {
        /// So many it may tell. Default: any number.
        r#in: Option<At<Int<1, { u32::MAX }>>>,
        /// So many it is told, those that came first; the others when there is room. Default: all.
        out: Option<At<Int<1, { u32::MAX }>>>,
        /// From this share of either on there is a warning in log and status. Default: 80%.
        #[schemars(extend("default" = "80%"))]
        warn: Option<At<Percent>>,
        /// What happens when it tells more. warn: nothing else. discard: those beyond are not taken.
        /// restart: the session ends and comes back after `restart`. stop: it ends until the
        /// configuration of the peer changes. Default: restart.
        #[schemars(extend("default" = "restart"))]
        action: Option<At<OverLimit>>,
        /// How long the session is away then, 1s to 24h. Default: 5m.
        #[schemars(extend("default" = "5m"))]
        restart: Option<At<Duration>>,
    }
}

table! {
    /// A TCP-AO key (RFC 5925 §3.1); the other side has its two numbers the other way round.
    AoKey {
        /// The KeyID in what the node sends.
        send_id: At<Int<0, 255>>,
        /// The KeyID in what the peer sends.
        receive_id: At<Int<0, 255>>,
        /// The file with the master key.
        file: At<FilePath>,
        /// How packets are signed (RFC 5926): hmac-sha-1-96 or aes-128-cmac-96. Default: hmac-sha-1-96.
        #[schemars(extend("default" = "hmac-sha-1-96"))]
        algorithm: Option<At<AoAlgorithm>>,
    }
}

table! {
    /// Another AS number for the node (RFC 7705).
    LocalAs {
        /// What the peer knows the node by.
        asn: At<Asn>,
        /// Do not put it in front of the peer's paths. Default: false.
        #[schemars(extend("default" = false))]
        no_prepend: Option<At<bool>>,
        /// Tell the peer this number alone, without bgp.asn behind it. Default: false.
        #[schemars(extend("default" = false))]
        replace_as: Option<At<bool>>,
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

table! {
    /// Addresses of pods.
    Ipam {
        /// Where addresses come from. A pod gets one of each family that has a pool.
        pools: List<Pool>,
        /// How nodes come to their blocks.
        claims: Option<At<Claims>>,
        /// Addresses that stay with their owner.
        stickiness: Option<At<Stickiness>>,
        /// How long nobody else gets a released address. Default: 130s.
        #[schemars(extend("default" = "130s"))]
        cooldown: Option<At<Duration>>,
        /// What happened to addresses: mainstay ipam history.
        history: Option<At<History>>,
        /// What becomes of leases whose container is gone without a DEL.
        gc: Option<At<Gc>>,
    }
}

table! {
    /// The log of what happened to addresses.
    History {
        /// How large it may grow, such as 32MiB; 0: none is kept. Default: 32MiB.
        #[schemars(extend("default" = "32MiB"))]
        max_size: Option<At<Size>>,
    }
}

table! {
    /// What becomes of leases whose container is gone without a DEL: they are released once that is
    /// proven. A lease with a live network namespace, a live host route or a sandbox never is.
    Gc {
        /// false: they stay until somebody releases them. Default: true.
        #[schemars(extend("default" = true))]
        enabled: Option<At<bool>>,
        /// How often ipamd looks for them. Default: 60s.
        #[schemars(extend("default" = "60s"))]
        interval: Option<At<Duration>>,
        /// For how long a container has to look gone, at every look. Default: 10m.
        #[schemars(extend("default" = "10m"))]
        grace: Option<At<Duration>>,
        /// Where the runtime remembers the results of its ADDs. Default: /var/lib/cni/results.
        #[schemars(extend("default" = "/var/lib/cni/results"))]
        results: Option<At<FilePath>>,
        /// Where the runtime answers CRI. Where nobody does, nothing is concluded from it. Default:
        /// /run/containerd/containerd.sock.
        #[schemars(extend("default" = "/run/containerd/containerd.sock"))]
        runtime: Option<At<FilePath>>,
    }
}

table! {
    /// A range of addresses for pods.
    Pool {
        /// How it is called.
        name: At<Name>,
        /// All of its addresses.
        cidr: At<Prefix>,
        /// The prefix length of the blocks that nodes hold. Default: 26 for IPv4, 122 for IPv6.
        block_size: Option<At<Int<0, 128>>>,
        /// The namespaces whose pods it is for; a `*` at the end stands for any end. Their pods get
        /// no other addresses of its family, unless the annotation mainstay.io/pool names a pool
        /// that is for them too. Default: it is for every pod whose namespace has no pool of its own.
        namespaces: List<Glob>,
        /// As ipam.stickiness, for its addresses.
        stickiness: Option<At<Stickiness>>,
        /// Never handed out: addresses, prefixes, and ranges written 10.0.0.5-10.0.0.9.
        exclude: List<Span>,
        /// Addresses for one pod or sticky key only, on the node that holds their block.
        reserved: List<Reserved>,
    }
}

table! {
    /// An address and whom it is for. It needs either pod or sticky_key.
    Reserved {
        /// The address.
        address: At<IpAddr>,
        /// The pod, written NAMESPACE/NAME.
        pod: Option<At<Namespaced>>,
        /// The sticky key (annotation mainstay.io/sticky-key), written NAMESPACE/KEY.
        sticky_key: Option<At<Namespaced>>,
    }
}

table! {
    /// How nodes come to their blocks.
    Claims {
        /// static: by their place in `nodes`. etcd and kubernetes are not in this version.
        #[schemars(extend("default" = "static"))]
        source: Option<At<ClaimSource>>,
        /// How many blocks of each pool a node holds. Default: 1.
        #[schemars(extend("default" = 1))]
        blocks_per_node: Option<At<Int<1, 1024>>>,
    }
}

table! {
    /// Addresses that stay with their owner. A pod's annotation mainstay.io/sticky-policy goes
    /// before its pool's, and that before ipam.stickiness.
    Stickiness {
        /// ttl: for that time, and longer while others are free. never: for nobody else until
        /// `mainstay ipam release`. while-owner-exists: as never, until the owner is known to be
        /// gone for good. Default: ttl.
        #[schemars(extend("default" = "ttl"))]
        policy: Option<At<StickyPolicy>>,
        /// How long a released address is kept for its owner, while others are free. Default: 24h.
        #[schemars(extend("default" = "24h"))]
        ttl: Option<At<Duration>>,
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
