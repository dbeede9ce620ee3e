//! The kernel side against a real kernel, in hosts of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bgp_core::event::InstalledRoute;
use bgp_core::hop_weight::HopWeight;
use bgp_core::types::{Gateway, NextHop, Prefix};
use mainstay_bgpd::kernel::{self, Found, Handle, Notice, Target};
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::{eventually, until};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const MAIN: Target =
    Target { install: true, table: 254, metric: 20, adopt: Vec::new(), objects: true };

/// A host with a neighbour at 192.0.2.1 to .3 and 2001:db8::1 to ::3.
fn host() -> (Netns, Netns) {
    let (host, peer) = (Netns::new("fib"), Netns::new("peer"));
    veth((&host, "eth0"), (&peer, "eth0"));
    host.ip("addr add 192.0.2.11/24 dev eth0");
    host.ip("addr add 2001:db8::11/64 dev eth0 nodad");
    (host, peer)
}

fn open(host: &Netns, target: Target) -> (Handle, Found, Receiver<Notice>) {
    let (tell, notices) = channel();
    let (handle, found) = host
        .run(move || kernel::open(target, move |notice| drop(tell.send(notice))))
        .expect("the kernel answers");
    (handle, found, notices)
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn via(list: &[&str]) -> Option<Arc<[Gateway]>> {
    let hop = |text: &&str| match text.parse().unwrap() {
        std::net::IpAddr::V4(a) => NextHop::V4(a),
        std::net::IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
    };
    Some(list.iter().map(hop).map(Into::into).collect())
}

fn show(host: &Netns, prefix: &str) -> String {
    host.ip(&format!("{} route show {prefix}", family(prefix))).trim().to_owned()
}

fn family(prefix: &str) -> &str {
    if prefix.contains(':') { "-6" } else { "-4" }
}

#[track_caller]
fn becomes(host: &Netns, prefix: &str, words: &[&str]) {
    eventually(10, &format!("{prefix} has {words:?}"), || {
        let text = show(host, prefix);
        if words.iter().all(|w| text.contains(w)) { Ok(()) } else { Err(text) }
    });
}

#[track_caller]
fn vanishes(host: &Netns, prefix: &str) {
    until(10, &format!("{prefix} is gone"), || show(host, prefix).is_empty());
}

fn refusal(notices: &Receiver<Notice>, of: &str) -> String {
    loop {
        match notices.recv_timeout(Duration::from_secs(10)).expect("a refusal is told") {
            Notice::Refused { prefix: p, why } if p == prefix(of) => return why,
            Notice::Broken(why) => panic!("{why}"),
            _ => {}
        }
    }
}

const BOTH: [(&str, [&str; 3]); 2] = [
    ("10.1.0.0/16", ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
    ("fd00:1::/64", ["2001:db8::1", "2001:db8::2", "2001:db8::3"]),
];

const WITHOUT_OBJECTS: Target =
    Target { install: true, table: 254, metric: 20, adopt: Vec::new(), objects: false };

#[test]
fn a_route_is_added_replaced_in_place_widened_narrowed_and_removed() {
    goes_through_every_change(MAIN);
}

#[test]
fn a_kernel_without_nexthop_objects_is_given_each_route_with_its_gateways() {
    let host = goes_through_every_change(WITHOUT_OBJECTS);
    assert!(!host.ip("route show").contains("nhid"));
    assert_eq!(host.ip("nexthop show"), "");
}

fn goes_through_every_change(target: Target) -> Netns {
    let (host, _peer) = host();
    let (handle, found, notices) = open(&host, target);
    assert_eq!(found.installed, []);
    let monitor = RouteMonitor::start(&host);
    for (p, [a, b, c]) in BOTH {
        handle.set(prefix(p), via(&[a]));
        becomes(&host, p, &[a, "proto 96", "metric 20"]);
        handle.set(prefix(p), via(&[b]));
        becomes(&host, p, &[b]);
        handle.set(prefix(p), via(&[a, b, c]));
        becomes(&host, p, &[a, b, c, "weight 1"]);
        handle.set(prefix(p), via(&[c, b]));
        becomes(&host, p, &[b, c]);
        until(10, "the narrowed route has lost the first hop", || !show(&host, p).contains(a));
        handle.set(prefix(p), via(&[a]));
        becomes(&host, p, &[a]);
        until(10, "one hop is left", || show(&host, p).matches(" via ").count() == 1);
        let events = monitor.of(p);
        assert!(!events.iter().any(|e| e.contains("Deleted")), "replaced in place: {events:#?}");
        handle.set(prefix(p), None);
        vanishes(&host, p);
    }
    assert!(notices.try_iter().next().is_none());
    host
}

/// The nexthop object that a route refers to.
fn object(host: &Netns, prefix: &str) -> Option<String> {
    let text = show(host, prefix);
    Some(text.split_once("nhid ")?.1.split_whitespace().next()?.to_owned())
}

fn many(count: u128) -> Vec<Prefix> {
    (0..count).map(|n| prefix("10.0.0.0/8").subnet(24, n).unwrap()).collect()
}

#[test]
fn the_loss_of_one_of_two_next_hops_moves_all_routes_by_their_object() {
    let (host, _peer) = host();
    let (handle, ..) = open(&host, MAIN);
    let all = many(20_000);
    let tell = |list: &[&str]| {
        let hops = via(list);
        handle.set_all(all.iter().map(|p| (*p, hops.clone())));
    };
    let last = all.last().unwrap().to_string();
    tell(&["192.0.2.1", "192.0.2.2"]);
    becomes(&host, &last, &["192.0.2.1", "192.0.2.2"]);
    let before = object(&host, &last).expect("routes refer to an object");
    let began = Instant::now();
    tell(&["192.0.2.2"]);
    for p in [&all[0].to_string(), &last] {
        becomes(&host, p, &["192.0.2.2"]);
        until(10, "the lost one is gone", || !show(&host, p).contains("192.0.2.1"));
        assert_eq!(object(&host, p).as_ref(), Some(&before), "the object moved, not the route");
    }
    eprintln!("20,000 routes moved: {:?}", began.elapsed());
    let left = |id: &str| host.ip("nexthop show").contains(&format!("id {id} "));
    assert!(left(&before));
    all.iter().for_each(|p| handle.set(*p, None));
    until(10, "no object of ours is left", || host.ip("nexthop show").is_empty());
}

#[test]
fn routes_of_a_release_without_objects_are_given_them_without_a_gap() {
    let (host, _peer) = host();
    let (handle, ..) = open(&host, WITHOUT_OBJECTS);
    for (p, [a, b, _]) in BOTH {
        handle.set(prefix(p), via(&[a, b]));
    }
    handle.set(prefix("10.3.0.0/16"), via(&["192.0.2.1"]));
    handle.stop();
    let monitor = RouteMonitor::start(&host);
    let (handle, found, _notices) = open(&host, MAIN);
    assert_eq!(found.installed.len(), 3);
    for (p, [a, b, _]) in BOTH {
        becomes(&host, p, &["nhid", a, b]);
        assert!(monitor.of(p).iter().all(|e| !e.starts_with("Deleted")), "{:#?}", monitor.of(p));
    }
    assert!(!show(&host, "10.3.0.0/16").contains("nhid"), "one route over one gateway names it");
    handle.stop();
    // And back to that release.
    let (handle, found, _notices) = open(&host, WITHOUT_OBJECTS);
    assert_eq!(found.installed.len(), 3);
    handle.set(prefix("10.3.0.0/16"), via(&["192.0.2.2"]));
    becomes(&host, "10.3.0.0/16", &["192.0.2.2"]);
    assert!(!show(&host, "10.3.0.0/16").contains("nhid"));
}

#[test]
fn objects_removed_behind_our_back_come_back_with_their_routes() {
    let (host, _peer) = host();
    let (handle, ..) = open(&host, MAIN);
    for (p, [a, b, _]) in BOTH {
        handle.set(prefix(p), via(&[a, b]));
        becomes(&host, p, &[a, b]);
    }
    host.ip("nexthop flush");
    for (p, [a, b, _]) in BOTH {
        becomes(&host, p, &["nhid", a, b]);
    }
}

#[test]
fn routes_lost_with_the_carrier_come_back_with_it() {
    let (host, peer) = host();
    let (handle, ..) = open(&host, MAIN);
    for (p, [a, b, _]) in BOTH {
        handle.set(prefix(p), via(&[a, b]));
        becomes(&host, p, &["nhid", a, b]);
    }
    peer.ip("link set eth0 down");
    until(10, "the objects are gone", || host.ip("nexthop show").is_empty());
    peer.ip("link set eth0 up");
    for (p, [a, b, _]) in BOTH {
        becomes(&host, p, &["nhid", a, b, "proto 96"]);
    }
}

#[test]
fn a_dead_next_hop_is_left_out_of_a_new_route_and_taken_in_when_it_lives() {
    let (host, _peer) = host();
    let (handle, _, notices) = open(&host, MAIN);
    handle.set(prefix("10.1.0.0/16"), via(&["192.0.2.1", "198.51.100.1"]));
    becomes(&host, "10.1.0.0/16", &["192.0.2.1", "proto 96"]);
    let told = notices.recv_timeout(Duration::from_secs(10)).unwrap();
    let Notice::LeftOut(hops) = told else { panic!("{told:?}") };
    assert_eq!(hops.len(), 1, "{hops:?}");
    host.ip("addr add 198.51.100.2/24 dev eth0");
    becomes(&host, "10.1.0.0/16", &["192.0.2.1", "198.51.100.1"]);
}

#[test]
fn a_next_hop_that_is_on_no_link_is_reached_by_the_route_that_leads_to_it() {
    let (host, _peer) = host();
    let (handle, _, notices) = open(&host, MAIN);
    for (p, [a, b, c], far) in
        BOTH.map(|(p, hops)| (p, hops, if p.contains(':') { "2001:db8:5::5" } else { "10.5.5.5" }))
    {
        let f = family(p);
        handle.set(prefix(p), via(&[far]));
        assert!(!refusal(&notices, p).is_empty());
        host.ip(&format!("{f} route add {far} via {a}"));
        becomes(&host, p, &[a, "proto 96"]);
        host.ip(&format!("{f} route replace {far} via {b}"));
        becomes(&host, p, &[b]);
        until(10, "it has followed", || !show(&host, p).contains(&format!("{a} ")));
        let object = object(&host, p);
        host.ip(&format!("{f} route replace default via {c}"));
        host.ip(&format!("{f} route del {far}"));
        becomes(&host, p, &[c]);
        assert!(object.is_some() && self::object(&host, p) == object, "the object has moved");
        // A route of ours never holds itself up, nor another.
        let host_route = if far.contains(':') { "2001:db8:5::5/128" } else { "10.5.5.5/32" };
        handle.set(prefix(host_route), via(&[a]));
        becomes(&host, host_route, &[a, "proto 96"]);
        becomes(&host, p, &[c]);
    }
}

#[test]
fn an_ipv4_route_may_lead_to_an_ipv6_next_hop() {
    let link_local = "fe80::1".parse().unwrap();
    for target in [MAIN, WITHOUT_OBJECTS] {
        let (host, _peer) = host();
        let (handle, _, notices) = open(&host, target);
        let dev = host.ip("-o link show eth0").split(':').next().unwrap().trim().parse().unwrap();
        let hop = NextHop::V6 { global: link_local, link_local: Some(link_local) };
        handle.set(prefix("10.1.0.0/16"), Some([Gateway::on(hop, dev)].into()));
        handle.set(prefix("10.2.0.0/16"), via(&["2001:db8::1"]));
        becomes(&host, "10.1.0.0/16", &["via inet6 fe80::1", "dev eth0"]);
        becomes(&host, "10.2.0.0/16", &["via inet6 2001:db8::1", "dev eth0"]);
        assert_eq!(notices.try_iter().next(), None);
    }
}

#[test]
fn what_an_earlier_process_left_is_adopted_and_not_touched_until_told() {
    let (host, _peer) = host();
    let (handle, ..) = open(&host, MAIN);
    for (p, [a, b, _]) in BOTH {
        handle.set(prefix(p), via(&[a, b]));
    }
    handle.set(prefix("10.3.0.0/16"), via(&["192.0.2.1"]));
    handle.stop();
    let monitor = RouteMonitor::start(&host);
    let (handle, found, _notices) = open(&host, MAIN);
    let installed = |p: &str, list: &[&str]| InstalledRoute {
        prefix: prefix(p),
        next_hops: via(list).unwrap().to_vec(),
    };
    let [(p4, [a4, b4, _]), (p6, [a6, b6, _])] = BOTH;
    let three = [
        installed(p4, &[a4, b4]),
        installed("10.3.0.0/16", &["192.0.2.1"]),
        installed(p6, &[a6, b6]),
    ];
    assert_eq!(found.installed, three);
    for (p, [a, b, _]) in BOTH {
        handle.set(prefix(p), via(&[b, a]));
    }
    handle.set(prefix("10.3.0.0/16"), None);
    vanishes(&host, "10.3.0.0/16");
    for (p, _) in BOTH {
        assert_eq!(monitor.of(p), [""; 0], "nothing changes for {p}");
    }
}

#[test]
fn a_change_of_metric_moves_the_routes_without_a_gap() {
    let (host, _peer) = host();
    let (handle, ..) = open(&host, Target { metric: 30, ..MAIN });
    BOTH.iter().for_each(|(p, [a, ..])| handle.set(prefix(p), via(&[a])));
    handle.stop();
    let monitor = RouteMonitor::start(&host);
    let (_handle, found, _notices) = open(&host, MAIN);
    assert_eq!(found.installed.len(), 2);
    for (p, _) in BOTH {
        becomes(&host, p, &["metric 20"]);
        until(10, "the old one goes", || !show(&host, p).contains("metric 30"));
        let events = monitor.of(p);
        assert!(events[0].contains("metric 20") && events[1].contains("Deleted"), "{events:#?}");
    }
}

#[test]
fn routes_of_an_earlier_speaker_become_ours_without_a_gap() {
    let (host, _peer) = host();
    for (p, [a, ..]) in BOTH {
        host.ip(&format!("{} route add {p} via {a} metric 20 proto bird", family(p)));
        // As the fork that Calico ships writes them.
        host.ip(&format!("{} route add {} via {a} proto bird", family(p), other(p)));
    }
    host.ip("route add blackhole 10.244.9.0/26 proto bird");
    let monitor = RouteMonitor::start(&host);
    let target = Target { adopt: vec![12], ..MAIN };
    let (_handle, found, _notices) = open(&host, target);
    assert_eq!((found.installed.len(), found.inherited), (4, 5));
    for (p, [a, ..]) in BOTH {
        becomes(&host, p, &["proto 96", "metric 20", a]);
        becomes(&host, other(p), &["proto 96", "metric 20", a]);
        until(10, "the old one goes", || !show(&host, other(p)).contains("proto bird"));
        let events = monitor.of(p);
        assert!(events.iter().all(|e| !e.starts_with("Deleted")), "{events:#?}");
        let events = monitor.of(other(p));
        assert!(events[0].contains("proto 96") && events[1].contains("Deleted"), "{events:#?}");
    }
    assert!(
        host.ip("route show proto bird").contains("blackhole"),
        "no way out is no route of ours"
    );
}

fn other(prefix: &str) -> &'static str {
    if prefix.contains(':') { "2001:db8:99::/48" } else { "10.99.0.0/16" }
}

#[test]
fn a_foreign_route_is_never_overwritten_and_ours_follows_when_it_goes() {
    let (host, _peer) = host();
    let (handle, _, notices) = open(&host, MAIN);
    for (p, [a, b, _]) in BOTH {
        let f = family(p);
        host.ip(&format!("{f} route add {p} via {b} metric 20 proto static"));
        handle.set(prefix(p), via(&[a]));
        assert_eq!(refusal(&notices, p), "a route of protocol static is in the way");
        let text = show(&host, p);
        assert!(text.contains("proto static") && text.contains(b), "{text}");
        // Neither is one that takes the place of ours.
        host.ip(&format!("{f} route del {p} metric 20 proto static"));
        becomes(&host, p, &["proto 96", a]);
        host.ip(&format!("{f} route replace {p} via {b} metric 20 proto static"));
        assert_eq!(refusal(&notices, p), "a route of protocol static is in the way");
        handle.set(prefix(p), None);
        std::thread::sleep(Duration::from_millis(100));
        assert!(show(&host, p).contains("proto static"), "{}", show(&host, p));
    }
}

#[test]
fn a_route_removed_behind_our_back_is_put_back() {
    let (host, _peer) = host();
    let (handle, ..) = open(&host, MAIN);
    for (p, [a, b, _]) in BOTH {
        handle.set(prefix(p), via(&[a, b]));
        becomes(&host, p, &[a, b]);
        host.ip(&format!("{} route del {p} proto 96", family(p)));
        becomes(&host, p, &[a, b]);
    }
}

#[test]
fn routes_lost_with_their_link_come_back_with_it() {
    let (host, _peer) = host();
    let (handle, _, notices) = open(&host, MAIN);
    for (p, [a, ..]) in BOTH {
        handle.set(prefix(p), via(&[a]));
        becomes(&host, p, &[a]);
    }
    host.ip("link set eth0 down");
    // IPv4 routes go without an event; that they are missed shows that the link's was heard.
    let why = refusal(&notices, "10.1.0.0/16");
    assert!(why.contains("Nexthop has invalid gateway") || why.contains("unreachable"), "{why}");
    host.ip("link set eth0 up");
    host.ip("addr replace 2001:db8::11/64 dev eth0 nodad");
    for (p, [a, ..]) in BOTH {
        becomes(&host, p, &[a, "proto 96"]);
    }
}

#[test]
fn a_next_hop_that_cannot_be_reached_is_told_and_works_once_it_can() {
    let (host, _peer) = host();
    let (handle, _, notices) = open(&host, MAIN);
    for (p, hop, address) in [
        ("10.1.0.0/16", "198.51.100.1", "198.51.100.2/24"),
        ("fd00:1::/64", "2001:db8:9::1", "2001:db8:9::2/64"),
    ] {
        handle.set(prefix(p), via(&[hop]));
        let why = refusal(&notices, p);
        assert!(why.contains("gateway") || why.contains("oute"), "{why}");
        host.ip(&format!("addr add {address} dev eth0"));
        becomes(&host, p, &[hop, "proto 96"]);
    }
}

#[test]
fn blocks_are_read_at_start_and_followed() {
    let (host, _peer) = host();
    host.ip("route add blackhole 10.244.0.0/26 proto 97");
    host.ip("-6 route add unreachable fd00:244::/122 proto 97");
    host.ip("route add blackhole 10.9.0.0/26 proto static");
    let (_handle, found, notices) = open(&host, MAIN);
    let set = |list: &[&str]| list.iter().map(|p| prefix(p)).collect::<BTreeSet<_>>();
    assert_eq!(found.blocks, set(&["10.244.0.0/26", "fd00:244::/122"]));
    host.ip("route add blackhole 10.244.0.64/26 proto 97");
    host.ip("-6 route del unreachable fd00:244::/122 proto 97");
    let next = notices.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(next, Notice::Blocks(set(&["10.244.0.0/26", "10.244.0.64/26"])));
}

#[test]
fn a_reflector_leaves_the_kernel_alone() {
    let (host, _peer) = host();
    host.ip("route add 10.7.0.0/16 via 192.0.2.1 proto 96 metric 20");
    let (handle, found, _notices) = open(&host, Target { install: false, ..MAIN });
    assert_eq!(found.installed, []);
    handle.set(prefix("10.1.0.0/16"), via(&["192.0.2.1"]));
    handle.set(prefix("10.7.0.0/16"), None);
    handle.stop();
    assert!(show(&host, "10.1.0.0/16").is_empty());
    assert!(!show(&host, "10.7.0.0/16").is_empty());
}

#[test]
fn ten_thousand_routes_a_family_go_in_over_and_out() {
    let (host, _peer) = host();
    let table = Target { table: 1000, ..MAIN };
    let (handle, ..) = open(&host, table.clone());
    let all: Vec<Prefix> = [("10.0.0.0/8", 24), ("fd00::/32", 48)]
        .iter()
        .flat_map(|(p, len)| (0..10_000).map(|n| prefix(p).subnet(*len, n).unwrap()))
        .collect();
    let tell = |v4: &[&str], v6: &[&str]| {
        for p in &all {
            handle.set(*p, via(if p.is_ipv4() { v4 } else { v6 }));
        }
    };
    let began = Instant::now();
    tell(&["192.0.2.1"], &["2001:db8::1"]);
    tell(&["192.0.2.2", "192.0.2.3"], &["2001:db8::2", "2001:db8::3"]);
    let count = |words: &str| {
        ["-4", "-6"].map(|f| {
            let text = host.try_ip(&format!("-o {f} route show table 1000 {words}"));
            text.unwrap_or_default().lines().count()
        })
    };
    until(10, "all are in", || count("proto 96") == [10_000; 2]);
    let text = host.ip("-o -6 route show table 1000 fd00:0:1::/48");
    assert!(text.contains("2001:db8::2") && text.contains("2001:db8::3"), "{text}");
    eprintln!("20,000 routes, told twice: {:?}", began.elapsed());
    handle.stop();
    let (handle, found, _notices) = open(&host, table);
    assert_eq!(found.installed.len(), 20_000);
    all.iter().for_each(|p| handle.set(*p, None));
    handle.stop();
    assert_eq!(count(""), [0; 2]);
}

/// By these, each with its weight.
fn weighed(list: &[(&str, u32)]) -> Option<Arc<[Gateway]>> {
    let all = via(&list.iter().map(|(hop, _)| *hop).collect::<Vec<_>>())?;
    let weight = |(hop, (_, weight)): (&Gateway, &(&str, u32))| Gateway {
        weight: HopWeight::new(*weight),
        ..*hop
    };
    Some(all.iter().zip(list).map(weight).collect())
}

#[test]
fn weights_are_in_the_kernel_as_asked_and_another_process_finds_them_there() {
    for objects in [true, false] {
        let (host, _peer) = host();
        let target = Target { objects, ..MAIN };
        let (handle, ..) = open(&host, target.clone());
        for (p, [a, b, _]) in BOTH {
            handle.set(prefix(p), weighed(&[(a, 2), (b, 5)]));
            becomes(&host, p, &[a, "weight 2", b, "weight 5"]);
        }
        handle.stop();
        let monitor = RouteMonitor::start(&host);
        let (handle, found, _) = open(&host, target);
        for (p, [a, b, _]) in BOTH {
            let installed = found.installed.iter().find(|route| route.prefix == prefix(p));
            let weights = installed.unwrap().next_hops.iter().map(|hop| hop.weight.number());
            assert_eq!(weights.collect::<Vec<_>>(), [2, 5]);
            handle.set(prefix(p), weighed(&[(a, 2), (b, 5)]));
        }
        // What is told last is done last.
        handle.set(prefix("10.99.0.0/16"), via(&["192.0.2.1"]));
        becomes(&host, "10.99.0.0/16", &["192.0.2.1"]);
        for (p, [a, b, _]) in BOTH {
            assert_eq!(monitor.of(p), [""; 0], "objects: {objects}");
            handle.set(prefix(p), weighed(&[(a, 4), (b, 1)]));
            becomes(&host, p, &[a, "weight 4", b, "weight 1"]);
            handle.set(prefix(p), via(&[a, b]));
            eventually(10, "all are equal again", || {
                let text = show(&host, p);
                let equal = text.matches("weight 1").count() == 2;
                if equal { Ok(()) } else { Err(text) }
            });
        }
    }
}
