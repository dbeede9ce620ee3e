//! The speaker against FRR.

use crate::pair::{FRR, NODE, PEER, Pair, config, tor};
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::wait::{eventually, until};

#[test]
fn routes_of_both_families_go_both_ways_over_one_session() {
    let pair = Pair::with_peer("import: all");
    let frr = Frr::start(&pair.peer, FRR);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(10, "FRR has what we originate", || {
        frr.has_route("198.18.7.0/24") && frr.has_route("2001:db8:7::/48")
    });
    eventually(10, "the kernel has what FRR announces", || {
        let kernel = pair.kernel();
        let all =
            ["198.51.100.0/24 via 192.0.2.1", "default via 192.0.2.1", "2001:db8:51::/48 via"]
                .iter()
                .all(|r| kernel.contains(r));
        if all { Ok(()) } else { Err(kernel) }
    });
    let route = frr.json("show bgp ipv4 unicast 198.18.7.0/24").unwrap();
    assert_eq!(route["paths"][0]["aspath"]["string"], "64512", "{route}");
}

#[test]
fn frr_sees_the_capabilities_we_promise() {
    let pair = Pair::with_peer("hold_time: 30s, graceful_restart: {restart_time: 77s}");
    let frr = Frr::start(&pair.peer, FRR);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    let json = frr.json(&format!("show bgp neighbors {NODE}")).unwrap();
    let seen = &json[NODE];
    let capabilities = &seen["neighborCapabilities"];
    assert_eq!(capabilities["4byteAs"], "advertisedAndReceived", "{capabilities}");
    assert_eq!(capabilities["routeRefresh"], "advertisedAndReceivedNew", "{capabilities}");
    assert_eq!(capabilities["gracefulRestartRemoteTimerMsecs"], 77_000, "{capabilities}");
    let families = &capabilities["multiprotocolExtensions"];
    for family in ["ipv4Unicast", "ipv6Unicast"] {
        assert_eq!(families[family]["advertisedAndReceived"], true, "{families}");
    }
    assert_eq!(seen["bgpTimerHoldTimeMsecs"], 30_000, "{seen}");
}

#[test]
fn a_route_refresh_is_answered_with_the_whole_table() {
    let pair = Pair::with_peer("");
    let frr = Frr::start(&pair.peer, FRR);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(10, "FRR has our route", || frr.has_route("198.18.7.0/24"));
    let updates = || pair.tor().unwrap()["sent"]["update"].as_u64().unwrap();
    let before = updates();
    frr.ask(&format!("clear bgp ipv4 unicast {NODE} in")).unwrap();
    until(10, "the table is sent again", || updates() > before);
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
    assert!(frr.has_route("198.18.7.0/24"));
}

#[test]
fn a_notification_of_the_peer_is_told_in_words() {
    let pair = Pair::with_peer("import: all");
    let frr = Frr::start(&pair.peer, FRR);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(10, "the routes are there", || pair.kernel().contains("198.51.100.0/24"));
    frr.ask("configure terminal\nrouter bgp 65001\nneighbor 192.0.2.2 shutdown message maintenance tonight").unwrap();
    eventually(10, "we say what the peer said", || {
        let tor = pair.tor()?;
        let error = tor["last_error"].as_str().unwrap_or_default().to_owned();
        if error.contains("6/2") && error.contains("maintenance tonight") {
            Ok(())
        } else {
            Err(error)
        }
    });
    until(10, "its routes are gone", || pair.kernel().is_empty());
}

#[test]
fn an_internal_mesh_of_two_nodes_learns_each_others_blocks() {
    // FRR plays the other node: iBGP, same AS.
    let pair = Pair::new(
        "  connect_retry: 1s
  originate: [198.18.7.0/24]
  peers:
    - {name: other, address: 192.0.2.1, asn: 64512}
",
    );
    let frr = Frr::start(&pair.peer, &FRR.replace("65001", "64512"));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    until(10, "its route is in the kernel", || {
        pair.kernel().contains("198.51.100.0/24 via 192.0.2.1")
    });
    until(10, "it has ours", || frr.has_route("198.18.7.0/24"));
    let route = frr.json("show bgp ipv4 unicast 198.18.7.0/24").unwrap();
    assert_eq!(route["paths"][0]["locPrf"], 100, "{route}");
    assert_eq!(route["paths"][0]["aspath"]["length"], 0, "{route}");
}

#[test]
fn a_wrong_as_number_is_refused_and_the_reason_is_shown() {
    let pair = Pair::new(&tor("").replace("65001", "65099"));
    pair.node.configure(&config(&tor("").replace("65001", "65099")));
    let frr = Frr::start(&pair.peer, FRR);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    eventually(15, "we say what is wrong", || {
        let tor = pair.tor()?;
        let error = tor["last_error"].as_str().unwrap_or_default().to_owned();
        if error.contains("2/2") { Ok(()) } else { Err(error) }
    });
    assert!(frr.json(&format!("show bgp neighbors {NODE}")).is_ok());
    assert_eq!(pair.tor().unwrap()["address"], PEER);
}
