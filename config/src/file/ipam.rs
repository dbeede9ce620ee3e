//! Keys of the addresses of pods.

use crate::read::{At, List, table};
use crate::scalar::{
    ClaimSource, File as FilePath, Glob, Int, Name, Namespaced, Size, Span, StickyPolicy,
};
use mainstay_prefix::Prefix;
use std::net::IpAddr;
use std::time::Duration;

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
