//! What `mainstay peer-config` prints, loaded into the daemons it is printed for.

use crate::pair::{NODE, PEER, Pair, config};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::proc::tool;
use mainstay_tests::scratch::Scratch;
use mainstay_tests::wait::{eventually, until};
use std::process::Command;

const OURS: [&str; 2] = ["198.18.7.0/24", "2001:db8:7::/48"];

/// The placeholder that the output has for every key.
const KEY: &str = "REPLACE-WITH-THE-KEY";

/// A pair whose file has the peer `tor` with these further keys, and the policies they name.
fn pair(keys: &str) -> Pair {
    Pair::new(&format!(
        "  connect_retry: 1s
  originate: [198.18.7.0/24, '2001:db8:7::/48']
  peers:
    - {{name: tor, address: 192.0.2.1, asn: 65001, hold_time: 30s, {keys}}}
"
    ))
}

fn printed(pair: &Pair, platform: &str, more: &[&str]) -> String {
    let words = [&["peer-config", "--platform", platform, "--peer", "tor"], more].concat();
    let out = pair.node.cli(&words);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn with_key(pair: &Pair, text: &str) -> String {
    pair.node.dir.write("tor.key", "a-key-of-two-sides\n");
    assert!(text.contains(KEY) && !text.contains("a-key-of-two-sides"), "{text}");
    text.replace(KEY, "a-key-of-two-sides")
}

/// The path of a key that `with_key` writes; the node's directory is not known before.
fn key_of(pair: &Pair, keys: &str) -> String {
    let path = pair.node.dir.path().join("tor.key");
    let file = config(&format!(
        "  connect_retry: 1s
  originate: [198.18.7.0/24, '2001:db8:7::/48']
  peers:
    - {{name: tor, address: 192.0.2.1, asn: 65001, password_file: {}{keys}}}
",
        path.display()
    ));
    pair.node.configure(&file);
    file
}

/// Both sides have what the other announces: our prefixes there, a default route here.
fn exchanged(pair: &Pair, has_route: impl Fn(&str) -> bool) {
    until(20, "the switch has what we originate", || OURS.iter().all(|r| has_route(r)));
    eventually(20, "we have a default route of each family", || {
        let kernel = pair.kernel();
        let defaults = kernel.lines().filter(|l| l.starts_with("default via")).count();
        if defaults == 2 { Ok(()) } else { Err(kernel) }
    });
    let tor = pair.tor().unwrap();
    assert_eq!(tor["graceful_restart"]["negotiated"], true, "{tor}");
}

#[test]
fn frr_takes_what_is_printed_for_it_and_is_our_helper() {
    let pair = pair("graceful_restart: {restart_time: 77s}");
    let frr = Frr::start(&pair.peer, &printed(&pair, "frr", &[]));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    exchanged(&pair, |r| frr.has_route(r));
    let json = frr.json(&format!("show bgp neighbors {NODE}")).unwrap();
    let seen = &json[NODE];
    assert_eq!(seen["bgpTimerHoldTimeMsecs"], 30_000, "{seen}");
    let restart = &seen["gracefulRestartInfo"];
    assert!(restart["localGrMode"].as_str().is_some_and(|m| m.contains("Helper")), "{restart}");
    assert_eq!(restart["timers"]["receivedRestartTimer"], 77, "{restart}");
    assert_eq!(restart["ipv4Unicast"]["timers"]["stalePathTimer"], 360, "{restart}");
}

const SECURED: &str = "ttl_security: true, role: customer, role_strict: true";

fn secured(pair: &Pair) {
    eventually(40, "both sides send with TTL 255, and the switch has said its role", || {
        let tor = pair.tor()?;
        let good = tor["state"] == "Established"
            && tor["capabilities"].to_string().contains("role provider");
        if good { Ok(()) } else { Err(tor.to_string()) }
    });
}

#[test]
fn frr_takes_the_role_and_the_ttl_that_are_printed_for_it() {
    let pair = pair(SECURED);
    let frr = Frr::start(&pair.peer, &printed(&pair, "frr", &[]));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 40);
    secured(&pair);
}

#[test]
fn bird_takes_the_role_and_the_ttl_that_are_printed_for_it() {
    let pair = pair(SECURED);
    let bird = Bird::start(&pair.peer, &(BIRD.to_owned() + &printed(&pair, "bird", &[])));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("mainstay_tor_node_a", 40);
    secured(&pair);
}

const BFD: &str = "bfd: {min_tx: 200ms, min_rx: 150ms, multiplier: 4}";

/// How we see a BFD whose other side has the printed timers.
fn bfd_as_printed(pair: &Pair) {
    eventually(20, "BFD is up and at the speed of the file", || {
        let bfd = pair.tor()?["bfd"].clone();
        let fits = bfd["state"] == "Up" && bfd["interval_ms"] == 200 && bfd["detect_ms"] == 600;
        if fits { Ok(()) } else { Err(bfd.to_string()) }
    });
}

#[test]
fn frrs_bfd_has_the_timers_that_are_printed_for_it() {
    let pair = pair(BFD);
    let text = printed(&pair, "frr", &[]);
    // What vtysh gives to bfdd, and what to bgpd.
    let (before, rest) = text.split_once("\nbfd\n").unwrap();
    let (profile, after) = rest.split_once("\nexit\n").unwrap();
    let config = format!("{before}\n{after}");
    let frr = Frr::start_with_bfd(&pair.peer, &config, &format!("bfd\n{profile}\nexit\n"));
    let _keeper = pair.node.start(Daemon::Keeper);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    bfd_as_printed(&pair);
    let seen = frr.bfd(NODE).unwrap();
    assert_eq!(
        (&seen["transmit-interval"], &seen["receive-interval"], &seen["detect-multiplier"]),
        (&150.into(), &200.into(), &4.into()),
        "{seen}"
    );
}

#[test]
fn birds_bfd_has_the_timers_that_are_printed_for_it() {
    let pair = pair(BFD);
    let text = format!("{BIRD}protocol bfd {{ }}\n{}", printed(&pair, "bird", &[]));
    let bird = Bird::start(&pair.peer, &text);
    let _keeper = pair.node.start(Daemon::Keeper);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("mainstay_tor_node_a", 20);
    bfd_as_printed(&pair);
    let seen = bird.ask("show bfd sessions").unwrap();
    assert!(seen.contains("0.800"), "four times the 200 ms that we send in: {seen}");
}

#[test]
fn frr_takes_whoever_dials_in_from_the_printed_range_with_the_key() {
    let pair = pair("");
    key_of(&pair, "");
    let text = printed(&pair, "frr", &["--listen-range", "192.0.2.0/24"]);
    let frr = Frr::start(&pair.peer, &with_key(&pair, &text));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    exchanged(&pair, |r| frr.has_route(r));
}

/// What every BIRD has of its own: a router ID, the kernel, a default route to tell.
const BIRD: &str = "router id 192.0.2.1;
protocol device {}
protocol kernel { ipv4 { export where source = RTS_BGP; }; merge paths on; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; merge paths on; }
protocol static { ipv4; route 0.0.0.0/0 blackhole; route 198.51.100.0/24 blackhole; }
protocol static { ipv6; route ::/0 blackhole; }
";

#[test]
fn bird_takes_what_is_printed_for_it_and_is_our_helper() {
    let pair = pair("graceful_restart: {restart_time: 77s}");
    let bird = Bird::start(&pair.peer, &(BIRD.to_owned() + &printed(&pair, "bird", &[])));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("mainstay_tor_node_a", 20);
    exchanged(&pair, |r| bird.has_route(r));
    let seen = bird.ask("show protocols all mainstay_tor_node_a").unwrap();
    assert!(seen.contains("Graceful restart") && seen.contains("Restart time: 77"), "{seen}");
    assert!(!pair.kernel().contains("198.51.100.0/24"), "a default route and nothing else");
}

#[test]
fn bird_takes_whoever_dials_in_from_the_printed_range_with_the_key() {
    let pair = pair("");
    key_of(&pair, "");
    let text = printed(&pair, "bird", &["--listen-range", "192.0.2.0/24"]);
    let bird = Bird::start(&pair.peer, &(BIRD.to_owned() + &with_key(&pair, &text)));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(20);
    exchanged(&pair, |r| bird.has_route(r));
}

#[test]
fn a_node_that_waits_is_dialled_by_the_switch_that_was_told_so() {
    let pair = pair("passive: true");
    let frr = Frr::start(&pair.peer, &printed(&pair, "frr", &[]));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 60);
    assert_eq!(pair.tor().unwrap()["address"], PEER);
}

/// Every kind of peer the file can describe.
const VARIANTS: &str = "nodes:
  - {name: node-a, address: 192.0.2.2, labels: {v: '4'}}
  - {name: node-b, address: '2001:db8::2', labels: {v: '6'}, router_id: 10.0.0.6}
network: {mode: bgp, families: [ipv4, ipv6]}
bgp:
  asn: 64512
  originate: [198.18.7.0/24]
  graceful_restart: {notification: true}
  peers:
    - {name: plain, select: {v: '4'}, address: 192.0.2.1, asn: 65001}
    - {name: key, select: {v: '4'}, address: 192.0.2.3, asn: 65003, password_file: /etc/mainstay/tor.key}
    - {name: bfd, select: {v: '4'}, address: 192.0.2.4, asn: 65004, bfd: true}
    - {name: six, select: {v: '6'}, address: '2001:db8::1', asn: 65005, password_file: /etc/mainstay/tor.key, bfd: true}
    - {name: far, select: {v: '4'}, address: 198.51.100.1, asn: 65006, multihop: 3, families: [ipv4]}
    - {name: inside, select: {v: '4'}, address: 192.0.2.7, asn: 64512, graceful_restart: {long_lived: 24h}, import: some}
    - {name: waits, select: {v: '4'}, address: 192.0.2.8, asn: 65008, passive: true, graceful_restart: {enabled: false}}
    - {name: none.at-all, select: {v: '4'}, address: 192.0.2.9, asn: 4200000001, import: none, export: none}
    - {name: near, select: {v: '4'}, address: 192.0.2.11, asn: 65011, ttl_security: true, role: customer}
    - {name: hops, select: {v: '4'}, address: 198.51.100.2, asn: 65012, ttl_security: 3, role: rs-client}
    - {name: pods, select: {v: '4'}, listen_range: 203.0.113.0/24, asn: 65010}
  policies:
    - {name: some, rules: [{match: {prefix: [{in: 10.0.0.0/8, ge: 8}, {in: '2001:db8::/32', le: 48}]}, action: reject}, {action: accept}]}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 26}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 122}
";

/// The text for each peer, and for a range where that is possible.
fn variants(platform: &str) -> Vec<(String, String)> {
    let host = mainstay_tests::netns::Netns::new("node");
    let node = mainstay_tests::daemons::Node::new("node-a", host, VARIANTS);
    let mut all = Vec::new();
    for range in
        [&[][..], &["--listen-range", "192.0.2.0/24"], &["--listen-range", "2001:db8::/64"]]
    {
        for peer in [
            "plain",
            "key",
            "bfd",
            "six",
            "far",
            "inside",
            "waits",
            "none.at-all",
            "near",
            "hops",
            "pods",
        ] {
            let words = [&["peer-config", "--platform", platform, "--peer", peer], range].concat();
            let out = node.cli(&words);
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let (v6, waits) = (peer == "six", ["waits", "pods"].contains(&peer));
            let fits = range.is_empty() || (!waits && v6 == range[1].contains(':'));
            assert_eq!(out.status.success(), fits, "{words:?}: {said}");
            if fits {
                all.push((format!("{words:?}"), text));
            }
        }
    }
    assert!(all.len() > 14, "{}", all.len());
    all
}

#[test]
fn every_variant_is_a_file_that_bird_reads() {
    let dir = Scratch::new("bird");
    let read = |text: &str| {
        let file = dir.write("bird.conf", text);
        Command::new(tool("bird", "bird2")).arg("-p").arg("-c").arg(file).output().unwrap()
    };
    assert!(!read("router id 192.0.2.1;\nfrobnicate;\n").status.success());
    for (what, text) in variants("bird") {
        let out =
            read(&format!("router id 192.0.2.1;\nprotocol device {{}}\nprotocol bfd {{}}\n{text}"));
        assert!(out.status.success(), "{what}: {}{text}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn every_variant_is_a_file_that_frr_reads() {
    let dir = Scratch::new("frr");
    let read = |text: &str| {
        let file = dir.write("frr.conf", text);
        // vtysh knows the commands of all daemons, bfdd's too.
        Command::new(tool("vtysh", "frr")).arg("-C").arg("-f").arg(file).output().unwrap()
    };
    assert!(!read("router bgp 65001\n frobnicate\n").status.success());
    for (what, text) in variants("frr").into_iter().chain(variants("sonic")) {
        let out = read(&text);
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{what}: {said}{text}");
    }
}
