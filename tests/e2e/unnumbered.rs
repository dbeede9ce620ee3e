//! Unnumbered peers: links without addresses but the link-local ones, which each side learns from the
//! other's router advertisements (RFC 4861). IPv4 goes over IPv6 next hops (RFC 8950).

use crate::pair::config;
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::frr::Frr;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::{eventually, until};
use rustix::process::Signal;

const FRR: &str = "ip route 198.51.100.0/24 blackhole
router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor eth0 interface remote-as external
 neighbor eth0 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:51::/48
  neighbor eth0 activate
 exit-address-family
";

/// Announces 198.51.100.0/24 and takes sessions from whoever is on the link.
fn bird(asn: u32, id: &str) -> String {
    format!(
        "router id {id};
protocol device {{}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route 198.51.100.0/24 blackhole; }}
protocol radv {{ interface \"eth0\" {{ min ra interval 3; max ra interval 5; }}; }}
protocol bgp peer {{
  local as {asn};
  neighbor range fe80::/10 external;
  interface \"eth0\";
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 2;
  graceful restart off;
  ipv4 {{ import all; export all; extended next hop; }};
  ipv6 {{ import all; export all; }};
}}
"
    )
}

/// What BIRD calls the first session of a range.
const DYNAMIC: &str = "dynbgp1";

fn leaf(peers: &[(&str, &str)]) -> String {
    let mut bgp = "  connect_retry: 1s\n  originate: [198.18.7.0/24]\n  peers:\n".to_owned();
    for (name, interface) in peers {
        let peer = format!("name: {name}, interface: {interface}, asn: external, import: all");
        bgp += &format!("    - {{{peer}}}\n");
    }
    config(&bgp)
}

/// A node whose own address is 198.18.7.1, and a switch with 198.51.100.1; the link between them has
/// no address that anybody has given it.
fn link() -> (Netns, Node) {
    let (switch, host) = (Netns::new("switch"), Netns::new("node"));
    veth((&switch, "eth0"), (&host, "eth0"));
    host.ip("addr add 198.18.7.1/32 dev lo");
    switch.ip("addr add 198.51.100.1/32 dev lo");
    (switch, Node::new("node-a", host, &leaf(&[("tor", "eth0")])))
}

fn peer(node: &Node, name: &str) -> Result<serde_json::Value, String> {
    let all = node.json(&["bgp", "peers"])?;
    let peers = all["peers"].as_array().cloned().unwrap_or_default();
    peers.into_iter().find(|p| p["name"] == name).ok_or_else(|| format!("no {name}: {all}"))
}

fn warnings(node: &Node) -> Result<String, String> {
    Ok(node.json(&["status"])?["bgpd"]["warnings"].to_string())
}

#[track_caller]
fn established(node: &Node, name: &str) {
    eventually(60, &format!("{name} is Established"), || {
        let peer = peer(node, name)?;
        if peer["state"] == "Established" { Ok(()) } else { Err(peer.to_string()) }
    });
}

#[track_caller]
fn kernel_has(host: &Netns, prefix: &str, words: &[&str]) {
    eventually(30, &format!("{prefix} has {words:?}"), || {
        let text = host.ip(&format!("route show {prefix}"));
        if words.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
    });
}

/// Both kernels carry packets both ways.
#[track_caller]
fn pings(host: &Netns) {
    until(30, "the node reaches what is behind the switch", || {
        host.output("ping", &["-c1", "-W1", "-I", "198.18.7.1", "198.51.100.1"]).is_ok()
    });
}

#[test]
fn a_session_with_frr_comes_by_router_advertisements_alone_and_carries_ipv4_over_ipv6() {
    let (switch, node) = link();
    let frr = Frr::start(&switch, FRR);
    let _bgpd = node.start(Daemon::Bgpd);
    frr.established("eth0", 60);
    established(&node, "tor");
    let tor = peer(&node, "tor").unwrap();
    assert_eq!((&tor["interface"], &tor["remote_asn"]), (&"eth0".into(), &65001.into()), "{tor}");
    assert!(tor["address"].as_str().unwrap_or_default().starts_with("fe80::"), "{tor}");
    kernel_has(&node.host, "198.51.100.0/24", &["via inet6 fe80::", "dev eth0", "proto 96"]);
    until(20, "FRR has what we originate", || frr.has_route("198.18.7.0/24"));
    kernel_has(&switch, "198.18.7.0/24", &["inet6 fe80::", "dev eth0"]);
    pings(&node.host);
    // The other end is told of us, and no host of the link takes us for its default router.
    let neighbours = switch.ip("-6 route show default");
    assert!(!neighbours.contains("eth0"), "{neighbours}");
}

#[test]
fn bird_is_found_by_what_it_advertises_and_the_session_outlives_the_speaker() {
    let (switch, node) = link();
    let bird = Bird::start(&switch, &bird(65001, "192.0.2.1"));
    let _keeper = node.start(Daemon::Keeper);
    let mut bgpd = node.start(Daemon::Bgpd);
    established(&node, "tor");
    kernel_has(&node.host, "198.51.100.0/24", &["via inet6 fe80::", "dev eth0"]);
    pings(&node.host);
    eventually(20, "the session is held", || {
        let tor = peer(&node, "tor")?;
        if tor["survival"] == "tier0" { Ok(()) } else { Err(tor.to_string()) }
    });
    let since = bird.since(DYNAMIC);
    let monitor = RouteMonitor::start(&node.host);
    bgpd.kill();
    // It goes on by the session itself: the neighbour says nothing.
    bird.ask("disable radv1").unwrap();
    let _bgpd = node.start(Daemon::Bgpd);
    established(&node, "tor");
    assert_eq!(bird.since(DYNAMIC), since, "BIRD saw its session end");
    assert_eq!(monitor.of("198.51.100.0/24"), [""; 0]);
    pings(&node.host);
}

#[test]
fn the_same_link_local_address_on_two_links_is_two_peers_and_two_ways_out() {
    let host = Netns::new("node");
    host.ip("addr add 198.18.7.1/32 dev lo");
    let spines: Vec<(Netns, Bird)> = [("a", "eth0", 65001), ("b", "eth1", 65002)]
        .into_iter()
        .map(|(name, interface, asn)| {
            let spine = Netns::new(name);
            veth((&spine, "eth0"), (&host, interface));
            spine.ip("link set eth0 addrgenmode none");
            spine.ip("link set eth0 down");
            spine.ip("link set eth0 up");
            spine.ip("addr add fe80::1/64 dev eth0 nodad");
            let bird = Bird::start(&spine, &bird(asn, &format!("192.0.2.{}", asn - 65000)));
            (spine, bird)
        })
        .collect();
    let node = Node::new("node-a", host, &leaf(&[("left", "eth0"), ("right", "eth1")]));
    let _keeper = node.start(Daemon::Keeper);
    let mut bgpd = node.start(Daemon::Bgpd);
    established(&node, "left");
    established(&node, "right");
    let both = ["via inet6 fe80::1 dev eth0", "via inet6 fe80::1 dev eth1"];
    kernel_has(&node.host, "198.51.100.0/24", &both);
    let peers = [peer(&node, "left").unwrap(), peer(&node, "right").unwrap()];
    assert!(peers.iter().all(|p| p["address"] == "fe80::1"), "{peers:?}");
    for name in ["left", "right"] {
        eventually(20, "the session is held", || {
            let peer = peer(&node, name)?;
            if peer["survival"] == "tier0" { Ok(()) } else { Err(peer.to_string()) }
        });
    }
    let since: Vec<_> = spines.iter().map(|(_, bird)| bird.since(DYNAMIC)).collect();
    let monitor = RouteMonitor::start(&node.host);
    bgpd.kill();
    let _bgpd = node.start(Daemon::Bgpd);
    established(&node, "left");
    established(&node, "right");
    let now: Vec<_> = spines.iter().map(|(_, bird)| bird.since(DYNAMIC)).collect();
    assert_eq!(now, since, "BIRD saw its session end");
    assert_eq!(monitor.of("198.51.100.0/24"), [""; 0]);
    // One of them has nothing more to say.
    spines[1].1.ask("disable static1").unwrap();
    eventually(20, "one way is left", || {
        let text = node.host.ip("route show 198.51.100.0/24");
        let one = text.contains("via inet6 fe80::1 dev eth0") && !text.contains("eth1");
        if one { Ok(()) } else { Err(text) }
    });
}

#[test]
fn an_interface_may_come_late_and_be_made_again_under_another_number() {
    let (switch, host) = (Netns::new("switch"), Netns::new("node"));
    host.ip("addr add 198.18.7.1/32 dev lo");
    let node = Node::new("node-a", host, &leaf(&[("tor", "eth0")]));
    let _bgpd = node.start(Daemon::Bgpd);
    eventually(20, "the status says what is missing", || {
        let said = warnings(&node)?;
        if said.contains("peer tor: there is no interface eth0 yet") { Ok(()) } else { Err(said) }
    });
    veth((&switch, "eth0"), (&node.host, "eth0"));
    let _bird = Bird::start(&switch, &bird(65001, "192.0.2.1"));
    established(&node, "tor");
    kernel_has(&node.host, "198.51.100.0/24", &["via inet6 fe80::", "dev eth0"]);
    // Another number for what comes next.
    node.host.ip("link del eth0");
    node.host.ip("link add spare0 type veth peer name spare1");
    eventually(20, "the session is over at once, long before its hold time", || {
        let tor = peer(&node, "tor")?;
        if tor["state"] == "Established" { Err(tor.to_string()) } else { Ok(()) }
    });
    veth((&switch, "eth0"), (&node.host, "eth0"));
    established(&node, "tor");
    kernel_has(&node.host, "198.51.100.0/24", &["via inet6 fe80::", "dev eth0"]);
}

#[test]
fn ipv6_that_is_switched_off_on_the_link_is_named() {
    let (_switch, node) = link();
    node.host.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
    let _bgpd = node.start(Daemon::Bgpd);
    eventually(20, "the status says why", || {
        let said = warnings(&node)?;
        if said.contains("IPv6 is switched off on eth0") { Ok(()) } else { Err(said) }
    });
    node.host.sysctl("net/ipv6/conf/eth0/disable_ipv6", "0");
    eventually(20, "it is used as soon as it is there", || {
        let said = warnings(&node)?;
        if said.contains("no router advertisement is heard on eth0") { Ok(()) } else { Err(said) }
    });
}

#[test]
fn bfd_watches_whoever_is_found_on_the_link() {
    let (switch, node) = link();
    let text = bird(65001, "192.0.2.1").replace("  graceful", "  bfd yes;\n  graceful");
    let timers = "interval 1 s; multiplier 5;";
    let bird = Bird::start(
        &switch,
        &format!("{text}protocol bfd {{ interface \"eth0\" {{ {timers} }}; }}\n"),
    );
    let timers = "bfd: {min_tx: 1s, min_rx: 1s, multiplier: 5}";
    node.configure(
        &leaf(&[("tor", "eth0")]).replace("asn: external", &format!("{timers}, asn: external")),
    );
    let _keeper = node.start(Daemon::Keeper);
    let _bgpd = node.start(Daemon::Bgpd);
    established(&node, "tor");
    eventually(60, "BFD finds the path up", || {
        let tor = peer(&node, "tor")?;
        if tor["bfd"]["state"] == "Up" { Ok(()) } else { Err(tor.to_string()) }
    });
    bird.signal(Signal::STOP);
    eventually(60, "the session ends long before its hold time", || {
        let tor = peer(&node, "tor")?;
        let said = tor["last_error"].as_str().unwrap_or_default();
        if said.starts_with("BFD down") { Ok(()) } else { Err(tor.to_string()) }
    });
    bird.signal(Signal::CONT);
    established(&node, "tor");
}

#[test]
fn whoever_is_found_on_the_link_has_to_know_the_key_to_get_in() {
    let (switch, node) = link();
    let key = node.dir.write("key", "open-sesame");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    // It is FRR that dials: our listening socket has to know of a key for an address that nobody has
    // written down.
    let keys = format!("passive: true, password_file: {}", key.display());
    let leaf =
        |keys: &str| leaf(&[("tor", "eth0")]).replace("import: all", &format!("import: all{keys}"));
    node.configure(&leaf(&format!(", {keys}")));
    let bgpd = node.start(Daemon::Bgpd);
    let frr = Frr::start(&switch, FRR);
    eventually(60, "FRR is found", || {
        let log = bgpd.log();
        if log.contains("neighbour found") { Ok(()) } else { Err(log) }
    });
    // It tries every second.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let tor = peer(&node, "tor").unwrap();
    assert_eq!(
        (&tor["established_count"], &tor["received"]["open"]),
        (&0.into(), &0.into()),
        "{tor}"
    );
    frr.configure(&["router bgp 65001", "neighbor eth0 password open-sesame"]).unwrap();
    established(&node, "tor");
    kernel_has(&node.host, "198.51.100.0/24", &["via inet6 fe80::", "dev eth0"]);
}
