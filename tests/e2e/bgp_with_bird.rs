//! The speaker against BIRD 2.

use crate::pair::{BIRD, NODE, PEER, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::{eventually, until};

fn up(pair: &Pair, bird: &str) -> (Bird, Proc) {
    let bird = Bird::start(&pair.peer, bird);
    let bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    pair.established(20);
    (bird, bgpd)
}

#[test]
fn routes_of_both_families_go_both_ways_over_one_session() {
    let pair = Pair::with_peer("import: all");
    let (bird, _bgpd) = up(&pair, BIRD);
    until(10, "BIRD has what we originate", || {
        bird.has_route("198.18.7.0/24") && bird.has_route("2001:db8:7::/48")
    });
    eventually(10, "the kernel has what BIRD announces", || {
        let kernel = pair.kernel();
        let all =
            ["198.51.100.0/24 via 192.0.2.1", "default via 192.0.2.1", "2001:db8:51::/48 via"]
                .iter()
                .all(|r| kernel.contains(r));
        if all { Ok(()) } else { Err(kernel) }
    });
    let text = bird.ask("show route all 198.18.7.0/24").unwrap();
    assert!(text.contains("BGP.as_path: 64512"), "{text}");
    assert!(text.contains("BGP.next_hop: 192.0.2.2"), "{text}");
    assert!(text.contains("BGP.origin: IGP"), "{text}");
    let text = bird.ask("show route all 2001:db8:7::/48").unwrap();
    assert!(text.contains("BGP.next_hop: 2001:db8::2"), "{text}");
}

#[test]
fn by_default_an_external_peer_gives_a_default_route_and_gets_own_blocks_alone() {
    let pair = Pair::with_peer("");
    let (bird, _bgpd) = up(&pair, BIRD);
    until(10, "the default routes are in the kernel", || {
        pair.kernel().matches("default via").count() == 2
    });
    until(10, "BIRD has our block", || bird.has_route("198.18.7.0/24"));
    let kernel = pair.kernel();
    assert!(!kernel.contains("198.51.100.0/24") && !kernel.contains("2001:db8:51::"), "{kernel}");
}

#[test]
fn a_withdrawn_route_leaves_the_kernel_and_a_changed_one_is_replaced_in_place() {
    let pair = Pair::with_peer("import: all");
    let (bird, _bgpd) = up(&pair, BIRD);
    until(10, "the route is there", || pair.kernel().contains("198.51.100.0/24"));
    bird.ask("disable static1").unwrap();
    until(10, "the route is gone", || !pair.kernel().contains("198.51.100.0/24"));
    bird.ask("enable static1").unwrap();
    until(10, "the route is back", || pair.kernel().contains("198.51.100.0/24"));
    assert!(pair.kernel().contains("2001:db8:51::/48"), "the other family was not touched");
}

#[test]
fn blocks_of_the_kernel_are_announced_as_they_come_and_go() {
    let pair = Pair::with_peer("");
    let (bird, _bgpd) = up(&pair, BIRD);
    pair.node.host.ip("route add blackhole 10.244.9.0/26 proto 97");
    pair.node.host.ip("-6 route add blackhole fd00:10:244::40/122 proto 97");
    pair.node.host.ip("route add blackhole 10.99.0.0/16 proto static");
    until(10, "BIRD has the blocks", || {
        bird.has_route("10.244.9.0/26") && bird.has_route("fd00:10:244::40/122")
    });
    assert!(!bird.has_route("10.99.0.0/16"), "a route of another protocol was announced");
    pair.node.host.ip("route del blackhole 10.244.9.0/26 proto 97");
    until(10, "BIRD has lost the block", || !bird.has_route("10.244.9.0/26"));
    assert!(bird.has_route("fd00:10:244::40/122"));
}

#[test]
fn a_passive_peer_waits_and_an_md5_key_is_needed_on_both_sides() {
    let pair = Pair::new("");
    let key = pair.node.dir.write("tor.key", "correct horse\n").display().to_string();
    let text = tor(&format!("passive: true, password_file: {key}"));
    pair.node.configure(&crate::pair::config(&text));
    let (_bird, _bgpd) =
        up(&pair, &BIRD.replace("connect delay", "password \"correct horse\";\n  connect delay"));
    assert_eq!(pair.tor().unwrap()["passive"], true);

    let wrong = Pair::new("");
    let key = wrong.node.dir.write("tor.key", "battery staple\n").display().to_string();
    wrong.node.configure(&crate::pair::config(&tor(&format!("password_file: {key}"))));
    let bird = Bird::start(
        &wrong.peer,
        &BIRD.replace("connect delay", "password \"correct horse\";\n  connect delay"),
    );
    let _bgpd = wrong.node.start(Daemon::Bgpd);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let text = bird.ask("show protocols peer").unwrap();
    assert!(!text.contains("Established"), "{text}");
}

#[test]
fn both_sides_dialling_at_once_end_with_one_session() {
    // BIRD and we dial within the same second; collision detection keeps one connection.
    for _ in 0..3 {
        let pair = Pair::with_peer("import: all");
        let bgpd = pair.node.start(Daemon::Bgpd);
        let bird =
            Bird::start(&pair.peer, &BIRD.replace("connect delay time 1", "connect delay time 0"));
        bird.established("peer", 20);
        pair.established(20);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(pair.tor().unwrap()["established_count"], 1, "{}", bgpd.log());
    }
}

#[test]
fn a_silent_peer_is_dropped_when_the_hold_time_is_over() {
    let pair = Pair::with_peer("hold_time: 3s, graceful_restart: {enabled: false}");
    let (mut bird, _bgpd) = up(&pair, BIRD);
    until(10, "the default route is there", || pair.kernel().contains("default"));
    bird.proc().signal(rustix::process::Signal::STOP);
    until(10, "the session is dropped", || {
        pair.tor().is_ok_and(|tor| {
            tor["last_error"].as_str().unwrap_or("").contains("hold timer expired")
        })
    });
    until(5, "its routes are gone", || pair.kernel().is_empty());
    bird.proc().signal(rustix::process::Signal::CONT);
    pair.established(20);
}

#[test]
fn two_equal_paths_become_one_route_with_two_next_hops() {
    let (left, right, host) = (Netns::new("left"), Netns::new("right"), Netns::new("node"));
    for (peer, n) in [(&left, 0), (&right, 1)] {
        veth((peer, "eth0"), (&host, &format!("eth{n}")));
        peer.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        host.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let text = crate::pair::config(
        "  connect_retry: 1s
  peers:
    - {name: left, address: 192.0.2.1, asn: 65001, import: all}
    - {name: right, address: 192.0.3.1, asn: 65001, import: all}
",
    );
    let node = mainstay_tests::daemons::Node::new("node-a", host, &text);
    let other = BIRD.replace("192.0.2.", "192.0.3.");
    let birds = [Bird::start(&left, BIRD), Bird::start(&right, &other)];
    let _bgpd = node.start(Daemon::Bgpd);
    for bird in &birds {
        bird.established("peer", 20);
    }
    let route = || node.host.ip("route show 198.51.100.0/24");
    eventually(10, "the route has two next hops", || {
        let text = route();
        let both = text.contains("via 192.0.2.1") && text.contains("via 192.0.3.1");
        if both { Ok(()) } else { Err(text) }
    });
    birds[1].ask("disable static1").unwrap();
    until(10, "one next hop is left", || {
        let text = route();
        text.contains("via 192.0.2.1") && !text.contains("192.0.3.1")
    });
}

#[test]
fn a_peer_may_dial_in_from_a_range() {
    let pair = Pair::new(
        "  peers:
    - {name: rack, listen_range: 192.0.2.0/24, asn: 65001, passive: true}
  originate: [198.18.7.0/24]
",
    );
    let (bird, _bgpd) = up(&pair, BIRD);
    let tor = pair.tor().unwrap();
    assert_eq!((&tor["dynamic"], &tor["address"]), (&true.into(), &PEER.into()), "{tor}");
    until(10, "BIRD has our route", || bird.has_route("198.18.7.0/24"));
}

#[test]
fn a_route_of_somebody_else_is_never_overwritten() {
    let pair = Pair::with_peer("import: all");
    pair.node.host.ip("route add 198.51.100.0/24 dev lo proto static metric 32");
    pair.node.host.ip("route add default dev lo proto static");
    let (_bird, mut bgpd) = up(&pair, BIRD);
    until(10, "the other routes are there", || pair.kernel().contains("2001:db8:51::/48"));
    let all = pair.node.host.ip("route show");
    assert!(all.contains("198.51.100.0/24 dev lo proto static"), "{all}");
    assert!(all.contains("default dev lo proto static"), "{all}");
    bgpd.terminate();
    let all = pair.node.host.ip("route show");
    assert!(all.contains("198.51.100.0/24 dev lo proto static"), "{all}");
}

#[test]
fn a_pure_reflector_installs_nothing() {
    let pair = Pair::new(&(tor("import: all") + "  fib: {install: false}\n"));
    let (_bird, _bgpd) = up(&pair, BIRD);
    until(10, "the route is in the Loc-RIB", || {
        pair.node.json(&["bgp", "routes"]).is_ok_and(|j| j.to_string().contains("198.51.100.0/24"))
    });
    assert_eq!(pair.kernel(), "");
}

#[test]
fn connect_only_leaves_port_179_to_others() {
    let pair = Pair::new(&(tor("import: all") + "  listen: false\n"));
    let holder = pair.node.host.run(|| std::net::TcpListener::bind("0.0.0.0:179")).unwrap();
    let (_bird, _bgpd) = up(&pair, BIRD);
    drop(holder);
    assert_eq!(pair.tor().unwrap()["address"], PEER);
    assert!(pair.tor().unwrap()["local_address"].as_str().unwrap_or("").starts_with(NODE));
}
