//! BMP: what pmacct's pmbmpd understands of what it is told.

use crate::pair::{BIRD, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::pmbmpd::{PORT, Pmbmpd};
use mainstay_tests::wait::{eventually, until};
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;

fn pair(station: &str) -> Pair {
    Pair::new(&(tor("import: all") + &format!("  bmp: [{{{station}}}]\n")))
}

fn route(kind: &str, prefix: &str, post: u8) -> [(&'static str, Value); 4] {
    [
        ("bmp_msg_type", json!("route_monitor")),
        ("log_type", json!(kind)),
        ("ip_prefix", json!(prefix)),
        ("is_post", json!(post)),
    ]
}

/// The same of a route that was chosen (RFC 9069).
fn chosen(kind: &str, prefix: &str) -> [(&'static str, Value); 5] {
    [
        ("bmp_msg_type", json!("route_monitor")),
        ("log_type", json!(kind)),
        ("ip_prefix", json!(prefix)),
        ("is_loc", json!(1)),
        ("peer_ip", json!("0.0.0.0")),
    ]
}

/// Its peer is the node itself, its routes are those of the peer and the node's own.
fn loc_rib_is_seen(heard: &Pmbmpd) {
    until(30, "the Loc-RIB is up as a peer of its own type", || {
        heard.has_heard(&[
            ("bmp_msg_type", json!("peer_up")),
            ("peer_type", json!(3)),
            ("is_loc", json!(1)),
            ("is_filtered", json!(0)),
            ("peer_asn", json!(64512)),
            ("bgp_id", json!("192.0.2.2")),
            // The VRF/Table Name TLV: "global" (RFC 9069 §5.2.1).
            ("bmp_peer_up_info_3", json!("67-6C-6F-62-61-6C")),
        ])
    });
    for prefix in ["198.51.100.0/24", "2001:db8:51::/48", "198.18.7.0/24", "2001:db8:7::/48"] {
        until(30, prefix, || heard.has_heard(&chosen("update", prefix)));
    }
    until(30, "its size is told", || {
        heard.has_heard(&[
            ("bmp_msg_type", json!("stats")),
            ("peer_type", json!(3)),
            ("counter_type", json!(8)),
            ("counter_value", json!(6)),
        ])
    });
}

/// What stands behind the per-peer header of each Route Monitoring message about the Loc-RIB, as
/// RFC 7854 §4 and RFC 9069 §4 lay them out, until both families have ended.
fn loc_rib_updates(mut station: impl Read) -> Vec<Vec<u8>> {
    let mut updates: Vec<Vec<u8>> = Vec::new();
    while !ENDS.iter().all(|end| updates.iter().any(|u| u == end)) {
        let mut head = [0; 6];
        station.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 3, "the version");
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; length as usize - head.len()];
        station.read_exact(&mut body).unwrap();
        if head[5] == 0 && body[0] == 3 {
            assert_eq!(body[1..26], [0; 25], "no flag, distinguisher, address");
            assert_eq!(body[26..30], 64512_u32.to_be_bytes());
            assert_eq!(body[30..34], [192, 0, 2, 2]);
            updates.push(body[42..].to_vec());
        }
    }
    updates
}

/// RFC 4724 §2, of IPv4 and of IPv6.
const ENDS: [&[u8]; 2] = [
    &[M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, 0, 23, 2, 0, 0, 0, 0],
    &[M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, 0, 29, 2, 0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1],
];
const M: u8 = 0xff;

#[test]
fn the_loc_rib_is_told_family_by_family_up_to_its_end_of_rib() {
    let pair = pair("address: \"127.0.0.1:1791\", adj_in_pre: false, loc_rib: true");
    let listener = pair.node.host.run(|| std::net::TcpListener::bind("127.0.0.1:1791").unwrap());
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(30, "the routes stand", || pair.kernel().contains("198.51.100.0/24"));
    // The first one is told while the routes come: what is known is told to the next one.
    drop(listener.accept().unwrap());
    let (station, _) = listener.accept().unwrap();
    station.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let updates = loc_rib_updates(station);
    let at =
        |wanted: &[u8]| updates.iter().position(|u| u.windows(wanted.len()).any(|w| w == wanted));
    let ipv4: [&[u8]; 2] = [&[24, 198, 18, 7], &[24, 198, 51, 100]];
    let ipv6: [&[u8]; 2] = [&[48, 0x20, 1, 0xd, 0xb8, 0, 7], &[48, 0x20, 1, 0xd, 0xb8, 0, 0x51]];
    for (prefixes, end) in [ipv4, ipv6].into_iter().zip(ENDS) {
        for prefix in prefixes {
            assert!(at(prefix).is_some() && at(prefix) < at(end), "{prefix:?}: {updates:02x?}");
        }
    }
}

fn station(pair: &Pair) -> Result<Value, String> {
    let said = pair.node.json(&["bgp", "outlets"])?;
    said["stations"].get(0).cloned().ok_or_else(|| said.to_string())
}

#[test]
fn a_station_is_told_of_peers_and_routes_as_they_come_and_go() {
    let pair = pair(&format!(
        "address: \"192.0.2.1:{PORT}\", adj_in_post: true, loc_rib: true, statistics: 1s"
    ));
    let heard = Pmbmpd::start(&pair.peer, "192.0.2.1");
    let bird = Bird::start(&pair.peer, BIRD);
    let bgpd = pair.node.start(Daemon::Bgpd);
    until(30, "the station knows the node", || {
        heard.has_heard(&[
            ("bmp_msg_type", json!("init")),
            ("bmp_init_info_sysname", json!("node-a")),
        ])
    });
    until(30, "and the peer", || {
        let up = [
            ("bmp_msg_type", json!("peer_up")),
            ("peer_ip", json!("192.0.2.1")),
            ("peer_asn", json!(65001)),
            ("local_ip", json!("192.0.2.2")),
        ];
        heard.has_heard(&up)
    });
    for (prefix, post) in [("198.51.100.0/24", 0), ("2001:db8:51::/48", 0), ("198.51.100.0/24", 1)]
    {
        until(30, prefix, || heard.has_heard(&route("update", prefix, post)));
    }
    let update = heard.messages().into_iter().find(|m| m["ip_prefix"] == "198.51.100.0/24");
    let update = update.unwrap();
    assert_eq!(
        (&update["as_path"], &update["bgp_nexthop"]),
        (&json!("65001"), &json!("192.0.2.1"))
    );
    until(30, "counters come", || {
        heard.has_heard(&[("bmp_msg_type", json!("stats")), ("counter_value", json!(4))])
    });
    loc_rib_is_seen(&heard);
    bird.ask("disable static1").unwrap();
    until(30, "withdrawn", || heard.has_heard(&route("withdraw", "198.51.100.0/24", 0)));
    until(30, "also behind the policy", || {
        heard.has_heard(&route("withdraw", "198.51.100.0/24", 1))
    });
    until(30, "and from the Loc-RIB", || heard.has_heard(&chosen("withdraw", "198.51.100.0/24")));
    bird.ask("disable peer").unwrap();
    until(30, "the session has ended by a NOTIFICATION of the peer", || {
        heard.has_heard(&[("bmp_msg_type", json!("peer_down")), ("reason_type", json!(3))])
    });
    drop(bgpd);
}

#[test]
fn a_station_that_comes_later_or_again_is_told_what_is_known() {
    let pair = pair(&format!("address: \"192.0.2.1:{PORT}\""));
    let bird = Bird::start(&pair.peer, BIRD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(30, "the routes stand", || pair.kernel().contains("198.51.100.0/24"));
    for _ in 0..2 {
        let mut heard = Pmbmpd::start(&pair.peer, "192.0.2.1");
        until(30, "it is told what is known", || {
            heard.has_heard(&[("bmp_msg_type", json!("peer_up"))])
                && heard.has_heard(&route("update", "198.51.100.0/24", 0))
                && heard.has_heard(&route("update", "2001:db8:51::/48", 0))
        });
        eventually(30, "all of it", || {
            let station = station(&pair)?;
            let done = station["state"] == "up" && station["syncing"] == false;
            if done { Ok(()) } else { Err(station.to_string()) }
        });
        heard.stop();
        until(30, "it is missed", || station(&pair).is_ok_and(|s| s["state"] == "connecting"));
    }
    let heard = Pmbmpd::start(&pair.peer, "192.0.2.1");
    until(30, "it is back", || heard.has_heard(&[("bmp_msg_type", json!("peer_up"))]));
    bgpd.terminate();
    until(30, "the end is told", || heard.has_heard(&[("bmp_msg_type", json!("term"))]));
}

#[test]
fn a_station_that_does_not_read_is_cut_off_and_delays_nobody() {
    let pair = pair("address: \"127.0.0.1:1791\", buffer: 64KiB");
    // What waits in the kernel is not ours to bound: it is little.
    pair.node.host.sysctl("net/ipv4/tcp_wmem", "4096 16384 65536");
    pair.node.host.sysctl("net/ipv4/tcp_rmem", "4096 16384 65536");
    // Takes connections and reads nothing.
    let listener = pair.node.host.run(|| std::net::TcpListener::bind("127.0.0.1:1791").unwrap());
    let bird = Bird::start(&pair.peer, &many_routes(20_000));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let (mut deaf, _) = listener.accept().unwrap();
    deaf.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    until(60, "routes are there, whoever listens", || {
        pair.tor().is_ok_and(|t| t["families"][0]["received"].as_u64() >= Some(20_000))
    });
    eventually(60, "the deaf one is cut off", || {
        bird.ask("reload out peer")?;
        let station = station(&pair)?;
        if station["cut_off"].as_u64() >= Some(1) { Ok(()) } else { Err(station.to_string()) }
    });
    let mut first = [0; 6];
    deaf.read_exact(&mut first).unwrap();
    assert_eq!((first[0], first[5]), (3, 4), "an Initiation message of version 3");
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
}

fn many_routes(count: u32) -> String {
    let route = |n: u32| format!("route 10.{}.{}.0/24 blackhole; ", n >> 8, n & 255);
    let routes: String = (0..count).map(route).collect();
    BIRD.replace("route 198.51.100.0/24 blackhole;", &routes)
}
