//! Replies as the daemons give them, for the tests of what is made of them.

use mainstay_proto::bgp::v1::{
    Bfd, ExplainReply, Export, FamilyCount, FibStatus, GracefulRestart, InjectedRoute, KernelRoute,
    Lease as BgpLease, ListLeasesReply, ListPeersReply, LongLived, Messages, Path, Peer,
    PeerFamily, Route, StatusReply, WatchEvent,
};
use mainstay_proto::{ipam, netmon};

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

pub(crate) fn speaker() -> StatusReply {
    let routes = |family: &str, routes| FamilyCount { family: family.into(), routes };
    StatusReply {
        node: "node-a".into(),
        version: "0.1.0".into(),
        pid: 4711,
        uptime_seconds: 11_520.0,
        asn: 64512,
        router_id: "192.0.2.11".into(),
        listen: strings(&["0.0.0.0:179", "[::]:179"]),
        peers_configured: 2,
        peers_established: 1,
        loc_rib: vec![routes("ipv4-unicast", 4), routes("ipv6-unicast", 3)],
        originated: strings(&["10.244.0.0/26", "fd00:10:244::/122"]),
        fib: Some(FibStatus {
            install: true,
            table: 254,
            installed: 5,
            adopted: 5,
            ..Default::default()
        }),
        restarting: false,
        survival: "graceful-restart".into(),
        intent: "serving".into(),
        keeper: None,
        warnings: strings(&["mainstay.yaml:15:116: warning: bgp.peers[0].bfd: true has no effect"]),
    }
}

fn family(name: &str, received: u64) -> PeerFamily {
    PeerFamily {
        family: name.into(),
        received,
        accepted: received.min(2),
        advertised: 1,
        stale: 0,
        eor_received: true,
        eor_sent: true,
        limit_in: (received > 2).then_some(3),
        limit_in_state: if received > 2 { "near" } else { "below" }.into(),
        discarded: 0,
        limit_out: (received > 2).then_some(1),
        limit_out_state: if received > 2 { "over" } else { "below" }.into(),
        left_out: if received > 2 { 4 } else { 0 },
    }
}

pub(crate) fn peers() -> ListPeersReply {
    let up = Peer {
        name: "tor-a".into(),
        address: "192.0.2.1".into(),
        local_asn: 64512,
        remote_asn: 65001,
        state: "Established".into(),
        state_seconds: 11_500.0,
        remote_router_id: "192.0.2.1".into(),
        hold_time_seconds: 90,
        keepalive_seconds: 30,
        send_hold_time_seconds: 480,
        established_count: 1,
        last_error: "connection refused".into(),
        families: vec![family("ipv4-unicast", 1200), family("ipv6-unicast", 2)],
        graceful_restart: Some(GracefulRestart {
            negotiated: true,
            peer_restart_time_seconds: 120,
            peer_restarting: false,
            families: strings(&["ipv4-unicast (F)", "ipv6-unicast"]),
            notification: true,
            peer_capable: true,
            peer_notification: true,
            long_lived: vec![LongLived {
                family: "ipv4-unicast".into(),
                forwarding: true,
                stale_time_seconds: 86_400,
                granted_seconds: 3600,
                left_seconds: None,
            }],
            ..Default::default()
        }),
        received: Some(Messages { open: 1, update: 12, keepalive: 384, ..Default::default() }),
        sent: Some(Messages { open: 1, update: 3, keepalive: 384, ..Default::default() }),
        local_address: "192.0.2.11".into(),
        capabilities: strings(&["multiprotocol ipv4-unicast", "route refresh", "4-octet AS"]),
        bfd: Some(Bfd {
            state: "Up".into(),
            diagnostic: "none".into(),
            remote_state: "Up".into(),
            remote_diagnostic: "none".into(),
            remote_c_bit: true,
            detect_ms: 900,
            interval_ms: 300,
            up_count: 1,
            fault: String::new(),
        }),
        ..Default::default()
    };
    let down = Peer {
        name: "pods/192.0.2.77".into(),
        address: "192.0.2.77".into(),
        local_asn: 64512,
        remote_asn: 4_200_000_000,
        state: "Active".into(),
        state_seconds: 3.5,
        dynamic: true,
        passive: true,
        // What a peer sends as its shutdown message (RFC 9003) may try to paint the terminal.
        last_error: "received NOTIFICATION 6/2 (administrative shutdown): \u{1b}[31mbye\nnow"
            .into(),
        ..Default::default()
    };
    ListPeersReply { peers: vec![up, down] }
}

pub(crate) fn routes() -> Vec<Route> {
    let path = Path {
        peer: "tor-a".into(),
        best: true,
        next_hop: "192.0.2.1".into(),
        origin: "IGP".into(),
        as_path: "65001 65010".into(),
        local_pref: Some(100),
        communities: strings(&["65001:100", "65535:0"]),
        large_communities: strings(&["65001:1:2"]),
        installed: true,
        age_seconds: 185.0,
        ..Default::default()
    };
    let beside = Path {
        peer: "tor-b".into(),
        best: false,
        multipath: true,
        next_hop: "192.0.2.129".into(),
        ..path.clone()
    };
    let stale = Path {
        peer: "tor-c".into(),
        multipath: false,
        installed: false,
        stale: true,
        rejected: true,
        med: Some(50),
        as_path: "65003 65002 {65010 65011}".into(),
        reason: "longer AS path".into(),
        communities: vec![],
        large_communities: vec![],
        ..beside.clone()
    };
    let own = Path {
        peer: String::new(),
        best: true,
        origin: "IGP".into(),
        age_seconds: 11_520.0,
        ..Default::default()
    };
    vec![
        Route { prefix: "10.244.0.0/26".into(), paths: vec![own] },
        Route { prefix: "198.51.100.0/24".into(), paths: vec![path.clone(), beside, stale] },
        Route {
            prefix: "2001:db8:51::/48".into(),
            paths: vec![Path { next_hop: "2001:db8::1".into(), ..path }],
        },
    ]
}

pub(crate) fn explanation() -> ExplainReply {
    let mut route = routes().remove(1);
    let lost = route.paths.remove(2);
    let refused = Path { reason: "own AS in the path".into(), rejected: true, ..lost.clone() };
    route.paths.push(Path { rejected: false, ..lost });
    let kernel = KernelRoute {
        state: "refused".into(),
        reason: "Network is unreachable (os error 101)".into(),
        next_hops: strings(&["192.0.2.1", "192.0.2.129"]),
        attempts: 3,
        hops: Vec::new(),
    };
    let export = |peer: &str, state: &str, reason: &str| Export {
        peer: peer.into(),
        state: state.into(),
        reason: reason.into(),
        path: None,
        rule: String::new(),
        paths: Vec::new(),
    };
    let told = Path {
        next_hop: "192.0.2.11".into(),
        as_path: "64512 65001 65010".into(),
        origin: "IGP".into(),
        ..Default::default()
    };
    ExplainReply {
        asked: "198.51.100.7/32".into(),
        route: Some(route),
        refused: vec![Route { prefix: "198.51.100.0/25".into(), paths: vec![refused] }],
        exports: vec![
            Export { path: Some(told), ..export("rr", "told", "") },
            export("tor-a", "withheld", "it came from this peer"),
            Export {
                rule: "policy node: a default route in, prefixes of this node out".into(),
                ..export("tor-b", "withheld", "refused by the export policy")
            },
            export("tor-c", "down", "the session is not up"),
        ],
        kernel: Some(kernel),
    }
}

pub(crate) fn events() -> Vec<WatchEvent> {
    let event = |topic: &str, what: &str, peer: &str, cause: &str| WatchEvent {
        unix_seconds: 1_700_000_000.25,
        topic: topic.into(),
        what: what.into(),
        peer: peer.into(),
        cause: cause.into(),
        ..Default::default()
    };
    let path = routes().remove(1).paths.into_iter().next();
    let prefix = || "198.51.100.0/24".to_owned();
    vec![
        event("session", "down", "tor-a", "hold timer expired; 12 routes kept"),
        WatchEvent {
            prefix: prefix(),
            path,
            ..event("route", "announced", "tor-a", "received from tor-a")
        },
        WatchEvent { prefix: prefix(), lost: 17, ..event("route", "withdrawn", "", "a timer") },
        WatchEvent { prefix: prefix(), ..event("kernel", "refused", "", "Network is unreachable") },
        event("lease", "ended", "", "lb\u{1b}[2J: nobody renewed it; 2 routes withdrawn"),
    ]
}

pub(crate) fn leases_of_bgp() -> ListLeasesReply {
    let vip = InjectedRoute {
        prefix: "198.18.0.1/32".into(),
        communities: strings(&["64512:80", "no-export"]),
        med: Some(5),
        ..Default::default()
    };
    let through = InjectedRoute {
        prefix: "203.0.113.0/24".into(),
        next_hop: "192.0.2.77".into(),
        install: true,
        local_pref: Some(200),
        ..Default::default()
    };
    let lease = BgpLease {
        client: "lb".into(),
        ttl_seconds: 30.0,
        left_seconds: 21.5,
        routes: 2,
        age_seconds: 185.0,
        route: vec![vip, through],
        ..Default::default()
    };
    let held =
        BgpLease { client: "egress".into(), held: true, routes: 0, route: vec![], ..lease.clone() };
    ListLeasesReply { leases: vec![lease, held] }
}

pub(crate) fn pools() -> Vec<ipam::v1::PoolStatus> {
    vec![ipam::v1::PoolStatus {
        name: "default".into(),
        cidr: "10.244.0.0/16".into(),
        blocks: 1,
        addresses: 62,
        assigned: 2,
        held: 3,
        cooling: 1,
        free: 59,
        ..Default::default()
    }]
}

pub(crate) fn blocks() -> Vec<ipam::v1::Block> {
    vec![ipam::v1::Block {
        cidr: "10.244.0.0/26".into(),
        pool: "default".into(),
        gateway: "10.244.0.1".into(),
        addresses: 62,
        assigned: 2,
        held: 3,
        cooling: 1,
        free: 59,
        route: true,
        ..Default::default()
    }]
}

pub(crate) fn leases() -> Vec<ipam::v1::Lease> {
    let web = ipam::v1::Lease {
        address: "10.244.0.2".into(),
        pool: "default".into(),
        block: "10.244.0.0/26".into(),
        state: "assigned".into(),
        owner: "pod default/web-0".into(),
        rung: "name".into(),
        container_id: "3f2a9c".into(),
        ifname: "eth0".into(),
        network: "mainstay".into(),
        netns: "/var/run/netns/cni-1".into(),
        assigned_seconds: 352_800.0,
        ..Default::default()
    };
    let old = ipam::v1::Lease {
        address: "10.244.0.3".into(),
        state: "cooling".into(),
        owner: "pod default/web-1".into(),
        released_seconds: Some(58.0),
        cooldown_left_seconds: Some(72.0),
        ..web.clone()
    };
    vec![web, old]
}

pub(crate) fn ipamd() -> ipam::v1::StatusReply {
    ipam::v1::StatusReply {
        node: "node-a".into(),
        version: "0.1.0".into(),
        pid: 4712,
        uptime_seconds: 11_519.0,
        pools: pools(),
        cooldown_seconds: 130.0,
        stickiness_seconds: 86_400.0,
        store: "sled 0.34.7, format 2, 65 records".into(),
        adds: 7,
        dels: 5,
        add_failures: 1,
        sticky_hits: 2,
        warnings: speaker().warnings,
        stickiness: "ttl=86400s".into(),
        disk_full: false,
        gc_scans: 190,
        gc_suspects: 1,
        gc_released: 2,
        gc_outlived: 0,
        spooled_dels: 1,
        ..Default::default()
    }
}

pub(crate) fn netmon() -> netmon::v1::StatusReply {
    let source = |name: &str| netmon::v1::Source {
        name: name.into(),
        ok: true,
        error: String::new(),
        age_seconds: 0.4,
    };
    netmon::v1::StatusReply {
        node: "node-a".into(),
        version: "0.1.0".into(),
        pid: 4713,
        uptime_seconds: 42.0,
        listen: "127.0.0.1:9474".into(),
        sources: ["routes", "links", "bgp", "ipam", "conntrack"].map(source).into(),
        flows_total: 1,
        flow_bytes_total: 2048,
        conntrack_entries: 17,
        conntrack_limit: 262_144,
        warnings: vec![],
    }
}

pub(crate) fn imported() -> ipam::v1::ImportReply {
    ipam::v1::ImportReply {
        adopted: strings(&["10.244.0.7", "10.244.0.8"]),
        known: strings(&["10.244.0.2"]),
        released: strings(&["10.244.0.9"]),
        held: vec![],
        conflicts: vec![],
    }
}

/// Of a day in 2026.
pub(crate) fn history() -> ipam::v1::HistoryReply {
    let assigned = ipam::v1::HistoryEvent {
        at: 1_795_402_800.25,
        what: "assigned".into(),
        why: "new".into(),
        address: "10.244.0.2".into(),
        seq: 7,
        owner: "pod default/web-0".into(),
        container_id: "3f2a9c".into(),
        ifname: "eth0".into(),
        network: "mainstay".into(),
        pod_uid: "uid-1".into(),
        rung: "name".into(),
    };
    let released = ipam::v1::HistoryEvent {
        at: 1_795_403_520.0,
        what: "released".into(),
        why: "del".into(),
        ..assigned.clone()
    };
    let spell = ipam::v1::Spell {
        address: "10.244.0.2".into(),
        seq: 7,
        owner: "pod default/web-0".into(),
        container_id: "3f2a9c".into(),
        from: assigned.at,
        until: Some(released.at),
        ended: "del".into(),
        pod_uid: "uid-1".into(),
    };
    ipam::v1::HistoryReply {
        events: vec![assigned, released],
        more: true,
        begins: Some(1_795_300_000.0),
        lost: 0,
        spells: vec![spell],
    }
}
