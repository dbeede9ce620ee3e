//! What sessions do differently from others, each against a peer that we did not write.

use crate::pair::{BIRD, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::{eventually, until};

/// Prefixes enough for eight UPDATEs of the old length.
const MANY: usize = 8000;

fn many() -> String {
    let prefixes: Vec<_> = (0..MANY).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect();
    tor("import: all").replace("[198.18.7.0/24,", &format!("[{},", prefixes.join(", ")))
}

/// A set of attributes that no message of 4096 octets holds.
fn large_bird() -> String {
    let communities = |n| format!("bgp_large_community.add((65001, 7, {n}));");
    let all: Vec<_> = (0..400).map(communities).collect();
    let filter = format!("filter {{ {} accept; }}", all.join(" "));
    BIRD.replacen(
        "ipv4 { import all; export all; }",
        &format!("ipv4 {{ import all; export {filter}; }}"),
        1,
    )
    .replace("  connect delay", "  enable extended messages on;\n  connect delay")
}

#[test]
fn messages_beyond_4096_octets_go_both_ways_and_outlive_the_speaker() {
    let pair = Pair::new(&many());
    let _keeper = pair.node.start(Daemon::Keeper);
    let bird = Bird::start(&pair.peer, &large_bird());
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let here = |bird: &Bird| {
        let said = bird.ask("show protocols all peer").unwrap_or_default();
        let routes = pair.node.json(&["bgp", "routes", "198.51.100.0/24"])?;
        let large = routes.to_string().matches("65001:7:").count();
        let told = said.contains(&format!("{} imported", MANY));
        if told && large == 400 { Ok(()) } else { Err(format!("{large} communities; {said}")) }
    };
    eventually(20, "each has what the other has told", || here(&bird));
    let updates = pair.tor().unwrap()["sent"]["update"].as_u64().unwrap();
    // Of 4096 octets, eight would be needed for these alone.
    assert!(updates < 11, "{MANY} prefixes in {updates} messages");
    until(10, "the session is held", || pair.tor().is_ok_and(|t| t["survival"] == "tier0"));
    let since = bird.since("peer");
    bgpd.kill();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    eventually(20, "all of it is there again", || here(&bird));
    assert_eq!(bird.since("peer"), since, "BIRD saw its session end");
}

/// The pair of the other tests over IPv6.
fn over_ipv6(keys: &str) -> String {
    tor(keys).replace("address: 192.0.2.1", "address: '2001:db8::1'")
}

#[test]
fn ipv4_routes_have_ipv6_next_hops_both_ways_and_over_a_restart() {
    let pair = Pair::new(&over_ipv6("import: all"));
    let _keeper = pair.node.start(Daemon::Keeper);
    let bird = BIRD
        .replace("local 192.0.2.1", "local 2001:db8::1")
        .replace("neighbor 192.0.2.2", "neighbor 2001:db8::2")
        .replacen("ipv4 { import all;", "ipv4 { extended next hop on; import all;", 1);
    let bird = Bird::start(&pair.peer, &bird);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let here = || {
        let theirs = bird.ask("show route all 198.18.7.0/24")?;
        let ours = pair.node.json(&["bgp", "routes", "198.51.100.0/24"])?.to_string();
        let both = theirs.contains("BGP.next_hop: 2001:db8::2") && ours.contains("2001:db8::1");
        if both { Ok(()) } else { Err(format!("{theirs} {ours}")) }
    };
    eventually(20, "each has the other's IPv4 route over IPv6", here);
    until(10, "the session is held", || pair.tor().is_ok_and(|t| t["survival"] == "tier0"));
    let since = bird.since("peer");
    bgpd.kill();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(20);
    eventually(20, "it is so after a restart", here);
    assert_eq!(bird.since("peer"), since, "BIRD saw its session end");
}

#[test]
fn roles_are_checked_routes_marked_and_leaks_refused() {
    let pair = Pair::with_peer("import: all, role: provider");
    let role = |bird: &str| BIRD.replace("  connect delay", &format!("  {bird}\n  connect delay"));
    let bird = Bird::start(&pair.peer, &role("local role provider;"));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    eventually(20, "two providers do not fit", || {
        let error = pair.tor()?["last_error"].to_string();
        if error.contains("2/11") { Ok(()) } else { Err(error) }
    });
    drop(bird);
    let bird = Bird::start(&pair.peer, &role("local role customer;"));
    bird.established("peer", 40);
    eventually(20, "the customer has our mark", || {
        let text = bird.ask("show route all 198.18.7.0/24")?;
        if text.contains("otc: 64512") { Ok(()) } else { Err(text) }
    });
    drop(bird);
    // Without a role of its own, BIRD says what it should not.
    let leak = BIRD.replacen(
        "ipv4 { import all; export all; }",
        "ipv4 { import all; export filter { bgp_otc = 65009; accept; }; }",
        1,
    );
    let bird = Bird::start(&pair.peer, &leak);
    bird.established("peer", 40);
    eventually(20, "a leak is refused", || {
        let text = pair.node.json(&["bgp", "routes", "--peer", "tor"])?.to_string();
        if text.contains("route leak") { Ok(()) } else { Err(text) }
    });
    let kernel = pair.kernel();
    assert!(!kernel.contains("198.51.100.0/24"), "{kernel}");
}

#[test]
fn packets_from_further_away_than_allowed_are_not_taken() {
    let secured = BIRD.replace("  connect delay", "  ttl security on;\n  connect delay");
    let pair = Pair::with_peer("ttl_security: true, hold_time: 3s");
    let bird = Bird::start(&pair.peer, &secured);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    // Longer than the hold time: what is said on both sides comes through.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
    drop(bird);
    let far = Bird::start(&pair.peer, BIRD);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let text = far.ask("show protocols peer").unwrap();
    assert!(!text.contains("Established"), "packets with TTL 1 were taken: {text}");
    pair.node.configure(&crate::pair::config(&tor("hold_time: 3s")));
    let out = pair.node.cli(&["reload"]);
    assert!(out.status.success(), "{out:?}");
    far.established("peer", 30);
}

/// Two peers of AS 65001 on links of their own; `right` has these keys.
fn between(right: &str) -> String {
    crate::pair::config(&format!(
        "  connect_retry: 1s
  peers:
    - {{name: left, address: 192.0.2.1, asn: 65001, import: all, export: none}}
    - {{name: right, address: 192.0.3.1, asn: 65001, import: none, export: all{right}}}
"
    ))
}

#[test]
fn as_paths_next_hops_and_communities_are_rewritten_as_asked_without_a_reset() {
    let (left, right, host) = (Netns::new("left"), Netns::new("right"), Netns::new("node"));
    for (peer, n) in [(&left, 0), (&right, 1)] {
        veth((peer, "eth0"), (&host, &format!("eth{n}")));
        peer.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        host.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let node = Node::new("node-a", host, &between(", as_override: true"));
    let path = "filter { bgp_path.prepend(65010); bgp_community.add((65001, 7)); accept; }";
    let told = BIRD.replacen("export all;", &format!("export {path};"), 1);
    // BIRD would refuse a path with its own number, which is what overriding is for.
    let _left = Bird::start(&left, &told);
    let bird = Bird::start(&right, &BIRD.replace("192.0.2.", "192.0.3."));
    let _bgpd = node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let since = bird.since("peer");
    let sees = |what: &str, here: &[&str], gone: &[&str]| {
        eventually(20, what, || {
            let text = bird.ask("show route all 198.51.100.0/24 protocol peer")?;
            let good =
                here.iter().all(|t| text.contains(t)) && !gone.iter().any(|t| text.contains(t));
            if good { Ok(()) } else { Err(text) }
        });
    };
    let change = |keys: &str| {
        node.configure(&between(keys));
        let out = node.cli(&["reload"]);
        assert!(out.status.success(), "{out:?}");
    };
    sees(
        "its own number is ours now",
        &["as_path: 64512 64512 65010\n", "(65001,7)", "192.0.3.2"],
        &[],
    );
    change(", as_override: true, remove_private: replace, send_communities: false");
    sees("private numbers are ours", &["as_path: 64512 64512 64512\n"], &["(65001,7)"]);
    change(", as_override: true, remove_private: all, next_hop: self");
    sees("private numbers are gone", &["as_path: 64512 64512\n", "next_hop: 192.0.3.2"], &[]);
    assert_eq!(bird.since("peer"), since, "the session was reset");
    change(", as_override: true, local_as: {asn: 65100, replace_as: true}");
    let other = BIRD.replace("192.0.2.", "192.0.3.").replace("as 64512", "as 65100");
    drop(bird);
    let bird = Bird::start(&right, &other);
    bird.established("peer", 40);
    eventually(20, "we are somebody else", || {
        let text = bird.ask("show route all 198.51.100.0/24 protocol peer")?;
        if text.contains("as_path: 65100 65100 65010\n") { Ok(()) } else { Err(text) }
    });
}

#[test]
fn a_path_with_our_number_is_taken_as_often_as_allowed_and_others_are_preferred() {
    let pair = Pair::with_peer("import: all");
    let ours = "filter { bgp_path.prepend(64512); bgp_path.prepend(65001); accept; }";
    let bird =
        Bird::start(&pair.peer, &BIRD.replacen("export all;", &format!("export {ours};"), 1));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(20, "the other family is there", || pair.kernel().contains("2001:db8:51::/48"));
    assert!(!pair.kernel().contains("198.51.100.0/24"), "{}", pair.kernel());
    let keys = "import: all, allow_as_in: 1, default_local_pref: 300";
    pair.node.configure(&crate::pair::config(&tor(keys)));
    assert!(pair.node.cli(&["reload"]).status.success());
    until(20, "it is there as well", || pair.kernel().contains("198.51.100.0/24"));
    let route = pair.node.json(&["bgp", "routes", "198.51.100.0/24"]).unwrap().to_string();
    assert!(route.contains("300"), "{route}");
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
}

#[test]
fn a_peer_that_tells_too_much_is_warned_of_cut_off_and_let_in_again() {
    let pair = Pair::with_peer("import: all, max_prefixes: {in: 3, warn: 60%, restart: 2s}");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    eventually(20, "two of three are worth a warning", || {
        let status = pair.node.json(&["status"])?.to_string();
        if status.contains("max_prefixes.in is 3") { Ok(()) } else { Err(status) }
    });
    bird.configure(&format!("{BIRD}{MORE}"));
    eventually(20, "BIRD is told why, with family and bound", || {
        let tor = pair.tor()?["last_error"].to_string();
        if tor.contains("6/1") && tor.contains("ipv4-unicast: 3") { Ok(()) } else { Err(tor) }
    });
    until(20, "its routes are gone", || pair.kernel().is_empty());
    bird.configure(BIRD);
    pair.established(60);
    until(20, "it is back", || pair.kernel().contains("198.51.100.0/24"));
}

const MORE: &str = "protocol static more { ipv4; route 198.51.101.0/24 blackhole; route 198.51.102.0/24 blackhole; }\n";

#[test]
fn prefixes_beyond_the_bound_are_discarded_or_stop_the_session_as_asked() {
    let pair = Pair::with_peer("import: all, max_prefixes: {in: 3, action: discard}");
    let bird = Bird::start(&pair.peer, &format!("{BIRD}{MORE}"));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let details = || pair.node.cli_text(&["bgp", "peers", "tor"]);
    eventually(30, "three are kept and one is not", || {
        let text = details();
        let good = text.contains("3 received") && text.contains("at most 3 in (over, 1 discarded)");
        if good { Ok(()) } else { Err(text) }
    });
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
    pair.node
        .configure(&crate::pair::config(&tor("import: all, max_prefixes: {in: 3, action: stop}")));
    assert!(pair.node.cli(&["reload"]).status.success());
    bird.configure(BIRD);
    bird.configure(&format!("{BIRD}{MORE}"));
    eventually(20, "it ends, and the state says why", || {
        let tor = pair.tor()?;
        let barred = tor["state"] == "Idle" && tor["last_error"].to_string().contains("6/1");
        if barred { Ok(()) } else { Err(tor.to_string()) }
    });
    bird.configure(BIRD);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(pair.tor().unwrap()["state"], "Idle", "it stays so until it is configured");
    pair.node.configure(&crate::pair::config(&tor("import: all")));
    assert!(pair.node.cli(&["reload"]).status.success());
    pair.established(60);
}

#[test]
fn no_more_prefixes_are_announced_than_allowed_and_the_others_when_there_is_room() {
    let bgp = |originate: &str, out: u8| {
        tor(&format!("max_prefixes: {{out: {out}}}"))
            .replace("[198.18.7.0/24,", &format!("[{originate},"))
    };
    let five = "198.18.1.0/24, 198.18.2.0/24, 198.18.3.0/24, 198.18.4.0/24, 198.18.5.0/24";
    let pair = Pair::new(&bgp(five, 3));
    // It would end the session if it ever saw a fourth.
    let limited =
        BIRD.replacen("ipv4 { import all;", "ipv4 { import limit 3 action disable; import all;", 1);
    let bird = Bird::start(&pair.peer, &limited);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let since = bird.since("peer");
    let told = |what: &str, count: usize, left: &str| {
        eventually(20, what, || {
            let routes = bird.ask("show route protocol peer")?;
            let text = pair.node.cli_text(&["bgp", "peers", "tor"]);
            let good = routes.matches("198.18.").count() == count && text.contains(left);
            if good { Ok(()) } else { Err(format!("{routes} {text}")) }
        });
    };
    told("three of five are told", 3, "at most 3 out (over, 2 left out)");
    let status = pair.node.json(&["status"]).unwrap().to_string();
    assert!(status.contains("max_prefixes.out is 3"), "{status}");
    let why = pair.node.cli_text(&["bgp", "explain", "198.18.5.0/24"])
        + &pair.node.cli_text(&["bgp", "explain", "198.18.1.0/24"])
        + &pair.node.cli_text(&["bgp", "explain", "198.18.3.0/24"]);
    assert!(why.contains("max_prefixes.out"), "{why}");
    let change = |bgp: &str| {
        pair.node.configure(&crate::pair::config(bgp));
        assert!(pair.node.cli(&["reload"]).status.success());
    };
    change(&bgp("198.18.3.0/24, 198.18.4.0/24, 198.18.5.0/24", 3));
    told("those left out have taken the places", 3, "at most 3 out (near, 0 left out)");
    change(&bgp(five, 2));
    told("a lower bound holds at once", 2, "at most 2 out (over, 3 left out)");
    assert_eq!(bird.since("peer"), since, "BIRD saw its session end");
}

/// The kernels that tests run on are mostly built without it; one that has it has a session of its own.
#[test]
fn without_tcp_ao_in_the_kernel_a_peer_that_needs_it_is_down_and_says_why() {
    let key = std::env::temp_dir().join(format!("mainstay-ao-{}", std::process::id()));
    std::fs::write(&key, "secret").unwrap();
    let ao = format!("tcp_ao: [{{send_id: 1, receive_id: 1, file: {}}}]", key.display());
    let pair = Pair::with_peer(&ao);
    // It dials in as well, and unsigned.
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    eventually(20, "the state says what is missing, or that nobody answers", || {
        let tor = pair.tor()?;
        let error = tor["last_error"].to_string();
        let said = error.contains("this kernel has no TCP-AO (CONFIG_TCP_AO)")
            || error.contains("timed out");
        if said && tor["established_count"] == 0 { Ok(()) } else { Err(tor.to_string()) }
    });
    if pair.tor().unwrap()["last_error"].to_string().contains("CONFIG_TCP_AO") {
        let status = pair.node.json(&["status"]).unwrap().to_string();
        assert!(status.contains("peer tor stays down: this kernel has no TCP-AO"), "{status}");
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    let state = bird.ask("show protocols peer").unwrap();
    assert!(!state.contains("Established"), "an unsigned session: {state}");
    pair.node.configure(&crate::pair::config(&tor("")));
    assert!(pair.node.cli(&["reload"]).status.success());
    bird.established("peer", 30);
    let _ = std::fs::remove_file(&key);
}
