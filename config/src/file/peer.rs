//! Keys of a peer.

use super::{BfdKey, GracefulRestart};
use crate::model::{AoAlgorithm, Family, NextHopRule, OverLimit, Role};
use crate::read::{At, Labels, List, table};
use crate::scalar::{
    AddPaths, Asn, File as FilePath, Int, Interface, Name, PeerAs, Percent, RemovePrivate,
    TtlSecurity,
};
use mainstay_prefix::Prefix;
use std::net::IpAddr;
use std::time::Duration;

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
