//! Every metric netmon can export, with its labels and how many values each label can take.
//!
//! `docs/metrics.md` is this file as a table; a test keeps the two equal, and another checks
//! the dashboards and alerts in `deploy/` against it.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal)*) => {
        $(pub(crate) static $id: Metric = Metric {
            name: concat!("mainstay_", $name),
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        #[cfg(test)]
        pub(crate) static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    // routes
    FIB_ROUTES Gauge "fib_routes" ["family", "protocol", "table"]
        "Routes in the kernel."
    FIB_ROUTE_CHANGES Counter "fib_route_changes_total" ["op", "family", "protocol"]
        "Route changes the kernel announced since netmon started. It announces no IPv4 route that a link took with it."
    NETLINK_OVERRUNS Counter "netlink_overruns_total" ["source"]
        "Times netmon was late and the kernel had no room for its events. For flow_events nothing is lost by it while mainstay_flow_events_reliable is 1."
    NETLINK_MALFORMED Counter "netlink_malformed_total" ["source"]
        "Events of the kernel that netmon could not read."

    // links
    LINK_RECEIVE_BYTES Counter "link_receive_bytes_total" ["interface"] "Bytes received."
    LINK_RECEIVE_PACKETS Counter "link_receive_packets_total" ["interface"] "Packets received."
    LINK_RECEIVE_ERRORS Counter "link_receive_errors_total" ["interface"] "Packets received bad."
    LINK_RECEIVE_DROPPED Counter "link_receive_dropped_total" ["interface"] "Packets received and dropped."
    LINK_TRANSMIT_BYTES Counter "link_transmit_bytes_total" ["interface"] "Bytes sent."
    LINK_TRANSMIT_PACKETS Counter "link_transmit_packets_total" ["interface"] "Packets sent."
    LINK_TRANSMIT_ERRORS Counter "link_transmit_errors_total" ["interface"] "Packets that could not be sent."
    LINK_TRANSMIT_DROPPED Counter "link_transmit_dropped_total" ["interface"] "Packets dropped before they were sent."
    LINK_UP Gauge "link_up" ["interface"] "1 if the link is up and running. Not for interfaces that share a label."
    LINKS Gauge "links" ["kind", "state"] "Links by kind and state (up, down)."

    // bgp
    BGP_SESSIONS Gauge "bgp_sessions" ["state"] "Peers by session state."
    BGP_SESSION_UP Gauge "bgp_session_up" ["peer"] "1 if the session is Established."
    BGP_SESSION_STATE Gauge "bgp_session_state" ["peer"]
        "Session state as in RFC 4273: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established; 0 unknown."
    BGP_SESSION_INFO Gauge "bgp_session_info" ["peer", "address", "remote_asn"] "Always 1: who the peer is."
    BGP_SESSION_ESTABLISHED_SECONDS Gauge "bgp_session_established_seconds" ["peer"]
        "How long the session has been Established; 0 while it is not."
    BGP_SESSION_ESTABLISHED Counter "bgp_session_established_total" ["peer"]
        "Times the session reached Established since bgpd started."
    BGP_BFD_UP Gauge "bgp_bfd_up" ["peer"]
        "1 while BFD finds the path to the peer up; only of peers that are to be watched."
    BGP_BFD_UPS Counter "bgp_bfd_up_total" ["peer"] "Times BFD with the peer has come up."
    BGP_BFD_DETECT Gauge "bgp_bfd_detection_seconds" ["peer"]
        "After so long a silence BFD takes the peer for dead."
    BGP_PREFIXES Gauge "bgp_prefixes" ["peer", "family", "kind"]
        "Prefixes of a peer: received, accepted by the import policy, advertised to it, stale (kept while it restarts), discarded and left_out (beyond max_prefixes in and out)."
    BGP_MESSAGES Counter "bgp_messages_total" ["peer", "direction", "type"]
        "BGP messages received and sent since bgpd started."
    BGP_LOC_RIB_ROUTES Gauge "bgp_loc_rib_routes" ["family"] "Routes chosen by bgpd."
    BGP_FIB_ROUTES Gauge "bgp_fib_routes" ["state"]
        "Routes bgpd has in the kernel: installed (all of them), stale (of these, not confirmed by a peer yet), failed (wanted, refused by the kernel)."
    BGP_KEEPER_CONNECTED Gauge "bgp_keeper_connected" []
        "1 if the session keeper answers bgpd: sessions outlive it."
    BGP_SESSIONS_HELD Gauge "bgp_sessions_held" [] "Sessions that would go on if bgpd ended now."
    BGP_SESSIONS_RESUMED Gauge "bgp_sessions_resumed" [] "Sessions of the last bgpd that this one went on with at its start."
    BGP_SESSIONS_UNRESUMED Gauge "bgp_sessions_unresumed" [] "Held sessions of the last bgpd that this one could not go on with."
    BGP_CONNECTIONS_UNSHARED Counter "bgp_connections_unshared_total" []
        "Connections for which there was no memory that the keeper could hold."
    BGP_WARNINGS Gauge "bgp_warnings" []
        "What bgpd warns of now, as mainstay status tells it: a disk that is full, a file that others may read."
    BGP_RESTARTING Gauge "bgp_restarting" []
        "1 from the start of bgpd until its peers have sent all their routes."

    // ipam
    IPAM_ADDRESSES Gauge "ipam_addresses" ["pool", "state"]
        "Addresses of this node by state: assigned, cooling (released; nobody else may have it yet), held (past the cooldown, kept for its owner while others last), kept (for its owner until somebody says otherwise), withheld (on hold, in quarantine or reserved), free (never used). The states add up to mainstay_ipam_pool_size."
    IPAM_POOL_SIZE Gauge "ipam_pool_size" ["pool"] "Addresses this node can hand out."
    IPAM_QUARANTINED Gauge "ipam_quarantined" ["pool"]
        "Addresses that somebody uses, or used within the cooldown, though they are nobody's: not handed out. `mainstay ipam show` and the log have the evidence."
    IPAM_POOL_BLOCKS Gauge "ipam_pool_blocks" ["pool"] "Blocks this node holds."
    IPAM_NEXT_FREE_SECONDS Gauge "ipam_next_free_seconds" ["pool"]
        "Time until the next address can be handed out. Absent when one can now, or when none ever will by itself."
    IPAM_DISK_FULL Gauge "ipam_disk_full" []
        "1 while the disk under ipamd's state is full: leases are kept and released, none is handed out."
    IPAM_ADDS Counter "ipam_adds_total" [] "CNI ADDs answered with addresses since ipamd started."
    IPAM_DELS Counter "ipam_dels_total" [] "CNI DELs since ipamd started."
    IPAM_ADD_FAILURES Counter "ipam_add_failures_total" [] "CNI ADDs refused since ipamd started."
    IPAM_STICKY_HITS Counter "ipam_sticky_hits_total" []
        "CNI ADDs answered with the address the owner had before, since ipamd started."
    IPAM_GC_SCANS Counter "ipam_gc_scans_total" [] "Looks for leaked leases since ipamd started."
    IPAM_GC_SUSPECTS Gauge "ipam_gc_suspects" []
        "Leases whose container looked gone at the last look; released after the grace period."
    IPAM_GC_RELEASED Counter "ipam_gc_released_total" []
        "Leaked leases released by garbage collection since ipamd started."
    IPAM_GC_OUTLIVED Counter "ipam_gc_outlived_total" []
        "Addresses kept though a runtime's GC left them out, since ipamd started: the kernel shows their container alive."
    IPAM_SPOOLED_DELS Counter "ipam_spooled_dels_total" []
        "CNI DELs that came while ipamd was away, applied since it started."
    IPAM_HISTORY_LOST Counter "ipam_history_lost_total" []
        "Events missing in the history of addresses since ipamd started: its disk did not take them, or it was too slow. Leases are not affected."

    // conntrack
    CONNTRACK_ENTRIES Gauge "conntrack_entries" [] "Connections tracked."
    CONNTRACK_LIMIT Gauge "conntrack_limit" [] "Connections that can be tracked."
    CONNTRACK_FOUND Counter "conntrack_found_total" [] "Packets that matched a tracked connection where none was expected."
    CONNTRACK_INVALID Counter "conntrack_invalid_total" [] "Packets that could not be tracked."
    CONNTRACK_INSERT Counter "conntrack_insert_total" [] "Connections inserted by the slow path."
    CONNTRACK_INSERT_FAILED Counter "conntrack_insert_failed_total" []
        "Connections that could not be inserted; their packets were dropped."
    CONNTRACK_DROP Counter "conntrack_drop_total" []
        "Packets dropped because the connection table was full and nothing could be evicted."
    CONNTRACK_EARLY_DROP Counter "conntrack_early_drop_total" []
        "Connections evicted to make room: the first sign of a full table."
    CONNTRACK_ERROR Counter "conntrack_error_total" [] "ICMP errors that could not be tracked."
    CONNTRACK_SEARCH_RESTART Counter "conntrack_search_restart_total" []
        "Lookups started over because the table was being resized."
    CONNTRACK_CLASH_RESOLVE Counter "conntrack_clash_resolve_total" []
        "Races between two packets of one new connection that were resolved."
    CONNTRACK_CHAIN_TOO_LONG Counter "conntrack_chain_too_long_total" []
        "Connections not inserted because their hash chain was too long."

    // flows
    FLOWS Counter "flows_total" ["family", "protocol"]
        "Connections that ended since netmon started, by conntrack."
    FLOW_BYTES Counter "flow_bytes_total" ["family", "protocol", "direction"]
        "Bytes of the connections that ended, IP headers included. Only connections born after netmon turned accounting on."
    FLOW_PACKETS Counter "flow_packets_total" ["family", "protocol", "direction"]
        "Packets of the connections that ended, as conntrack counts them: one for a run of segments handled as one."
    FLOW_EVENTS_RELIABLE Gauge "flow_events_reliable" []
        "1 while the kernel keeps the end of a connection until netmon has read it; 0 while netmon has given that up because it was too late."

    // daemons and netmon itself
    DAEMON_INFO Gauge "daemon_info" ["daemon", "version"] "Always 1: which release runs."
    DAEMON_UPTIME Gauge "daemon_uptime_seconds" ["daemon"] "How long the daemon has been running."
    SOURCE_UP Gauge "netmon_source_up" ["source"] "1 if the source answered this scrape."
    SOURCE_LAST_SUCCESS Gauge "netmon_source_last_success_timestamp_seconds" ["source"]
        "When the source last answered, in Unix time."
    BUILD_INFO Gauge "build_info" ["version"] "Always 1: the release of netmon."
}

macro_rules! process_metrics {
    ($($id:ident $kind:ident $name:literal $help:literal)*) => {
        $(pub(crate) static $id: Metric = Metric {
            name: concat!("process_", $name),
            kind: Kind::$kind,
            labels: &[],
            help: $help,
        };)*
        #[cfg(test)]
        pub(crate) static PROCESS: &[&Metric] = &[$(&$id),*];
    };
}

// The names every Prometheus client library gives these.
process_metrics! {
    PROCESS_CPU Counter "cpu_seconds_total" "Total user and system CPU time spent in seconds."
    PROCESS_OPEN_FDS Gauge "open_fds" "Number of open file descriptors."
    PROCESS_MAX_FDS Gauge "max_fds" "Maximum number of open file descriptors."
    PROCESS_VIRTUAL_MEMORY Gauge "virtual_memory_bytes" "Virtual memory size in bytes."
    PROCESS_RESIDENT_MEMORY Gauge "resident_memory_bytes" "Resident memory size in bytes."
    PROCESS_THREADS Gauge "threads" "Number of OS threads in the process."
    PROCESS_START_TIME Gauge "start_time_seconds" "Start time of the process since unix epoch in seconds."
}

/// What a label says, and how many values it can take on one node.
#[cfg(test)]
pub(crate) static LABELS: &[(&str, &str)] = &[
    ("address", "the peer's address; one per peer"),
    ("daemon", "bgpd, ipamd"),
    ("direction", "of messages: received, sent; of flows: original (from who opened it), reply"),
    ("family", "ipv4, ipv6"),
    (
        "interface",
        "name of the link; at most 64 links and, of veths, the 8 oldest; further ones add up under ~veth and ~other",
    ),
    (
        "kind",
        "of prefixes: received, accepted, advertised, stale, discarded, left_out; of links: the kernel's name for the type, or device; at most 16, then ~other",
    ),
    ("op", "add, replace, delete"),
    (
        "peer",
        "the peer's name in the configuration; at most 256, those that are not Established first",
    ),
    ("pool", "the pool's name in the configuration"),
    (
        "protocol",
        "of routes: as in rt_protos, or its number; at most 256. Of flows: tcp, udp, sctp, icmp or icmpv6, other",
    ),
    ("remote_asn", "the peer's AS; one per peer"),
    (
        "source",
        "routes, route_events, links, conntrack, flow_events, bgp, ipam; of netlink_*: route_events, flow_events",
    ),
    (
        "state",
        "of sessions: as in BGP; of addresses: assigned, cooling, held, kept, withheld, free; of FIB routes: installed, stale, failed; of links: up, down",
    ),
    ("table", "main, local, default, else the number; at most 16 numbers, then ~other"),
    ("type", "open, update, notification, keepalive, route_refresh"),
    ("version", "of the release; one"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> impl Iterator<Item = &'static Metric> {
        ALL.iter().chain(PROCESS).copied()
    }

    fn reference() -> String {
        let mut text = String::from(
            "# Metrics of mainstay-netmon\n\nWritten by `make golden` from `netmon/src/export/metrics.rs`; a test \
             compares the two.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
        );
        for m in all() {
            let kind = if m.kind == Kind::Counter { "counter" } else { "gauge" };
            text.push_str(&format!(
                "| `{}` | {kind} | {} | {} |\n",
                m.name,
                m.labels.join(", "),
                m.help
            ));
        }
        text.push_str("\n| label | values |\n|---|---|\n");
        for (label, values) in LABELS {
            text.push_str(&format!("| `{label}` | {values} |\n"));
        }
        text
    }

    #[test]
    fn the_reference_lists_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let want = reference();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &want).unwrap();
        }
        let have = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            have == want,
            "docs/metrics.md is out of date (make golden); it should read:\n{want}"
        );
    }

    #[test]
    fn names_are_unique_and_counters_end_in_total() {
        let names: BTreeSet<_> = all().map(|m| m.name).collect();
        assert_eq!(names.len(), all().count());
        for m in all() {
            assert_eq!(m.name.ends_with("_total"), m.kind == Kind::Counter, "{}", m.name);
            assert!(m.help.ends_with('.'), "{}", m.name);
        }
    }

    #[test]
    fn every_label_is_explained_with_its_bound() {
        let used: BTreeSet<_> = all().flat_map(|m| m.labels).copied().collect();
        let told: BTreeSet<_> = LABELS.iter().map(|(label, _)| *label).collect();
        assert_eq!(used, told);
    }
}
