//! What each platform is told, in golden text: `insta` has the files.

use super::side::{SideError, Wanted, sides};
use super::*;
use mainstay_config::{Cluster, parse};

const FILE: &str = "
nodes:
  - {name: node-a, address: 192.0.2.11, labels: {rack: r1}}
  - {name: node-b, address: 192.0.2.12, labels: {rack: r1}}
  - {name: node-c, address: 192.0.2.13, labels: {rack: r2}}
network: {mode: bgp, families: [ipv4, ipv6]}
bgp:
  asn: 64512
  originate: [203.0.113.7/32]
  graceful_restart: {restart_time: 120s, notification: true}
  mesh: {enabled: true}
  peers:
    - {name: tor-a, select: {rack: r1}, address: 192.0.2.1, asn: 65001, password_file: /etc/mainstay/tor.key, bfd: {min_tx: 250ms, min_rx: 400ms, multiplier: 5}}
    - name: rr.far
      address: 2001:db8:ff::1
      asn: 64512
      import: no-bogons
      graceful_restart: {long_lived: 24h}
      local_address: 2001:db8::11
      select: {rack: r2}
    - {name: far, address: 198.51.100.1, asn: 65002, multihop: 3, select: {rack: r2}, families: [ipv4], hold_time: 30s, bfd: true}
    - {name: leaf, address: 192.0.2.4, asn: 65004, role: customer, role_strict: true, ttl_security: true, tcp_ao: [{send_id: 1, receive_id: 2, file: /etc/mainstay/leaf.key}], select: {rack: r2}, families: [ipv4]}
    - {name: quiet, address: 192.0.2.3, asn: 65003, passive: true, graceful_restart: {enabled: false}, select: {rack: r2}}
  policies:
    - {name: no-bogons, rules: [{match: {prefix: [{in: 10.0.0.0/8, ge: 8}, {in: 2001:db8::/32, le: 48}]}, action: reject}, {action: accept}]}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 26}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 122}
";

fn cluster(text: &str) -> Cluster {
    parse("mainstay.yaml", text).unwrap()
}

fn told(peer: &str, platform: Platform, range: Option<&str>) -> String {
    let listen_range = range.map(|r| r.parse().unwrap());
    let wanted = Wanted { peer: Some(peer), node: None, listen_range };
    platform.render(&sides(&cluster(FILE), &wanted).unwrap()[0])
}

fn error(text: &str, wanted: &Wanted<'_>) -> String {
    let error: SideError = sides(&cluster(text), wanted).unwrap_err();
    error.to_string()
}

#[test]
fn every_platform_is_told_the_same_in_its_own_words() {
    for platform in Platform::value_variants() {
        let mut all = told("tor-a", *platform, None);
        for (peer, range) in [
            ("tor-a", Some("192.0.2.0/24")),
            ("rr.far", None),
            ("far", None),
            ("leaf", None),
            ("quiet", None),
        ] {
            all.push('\n');
            all.push_str(&told(peer, *platform, range));
        }
        insta::assert_snapshot!(platform.name(), all);
    }
}

#[test]
fn a_key_is_never_printed() {
    for platform in Platform::value_variants() {
        let text = told("tor-a", *platform, None);
        let comment = if text.starts_with('!') { '!' } else { '#' };
        assert!(text.contains(write::KEY), "{text}");
        let path = |l: &&str| l.contains("tor.key") && !l.trim_start().starts_with(comment);
        assert_eq!(text.lines().find(path), None);
    }
}

#[test]
fn the_mesh_is_no_switch_and_all_peers_are_told_unless_one_is_named() {
    let all = sides(&cluster(FILE), &Wanted::default()).unwrap();
    let names: Vec<_> = all.iter().map(|s| s.peer.as_str()).collect();
    assert_eq!(names, ["far", "leaf", "quiet", "rr.far", "tor-a"]);
    let one = Wanted { node: Some("node-b"), ..Wanted::default() };
    let of_b = sides(&cluster(FILE), &one).unwrap();
    assert_eq!(of_b.len(), 1);
    assert_eq!(of_b[0].neighbors.len(), 1);
}

#[test]
fn stale_paths_are_kept_longer_than_a_restart_may_take() {
    let text = FILE.replace("restart_time: 120s", "restart_time: 600s");
    let wanted = Wanted { peer: Some("tor-a"), ..Wanted::default() };
    let side = sides(&cluster(&text), &wanted).unwrap().remove(0);
    assert_eq!(side.stale_time(), Some(720));
    assert!(frr::render(&side).contains("stalepath-time 720"));
    assert!(junos::render(&side).contains("stale-routes-time 600"), "as much as it takes");
}

#[test]
fn a_switch_may_send_as_often_as_nodes_listen_and_no_platform_has_other_timers() {
    for platform in Platform::value_variants() {
        let text = told("tor-a", *platform, None);
        let line = |word: &str| text.lines().find(|l| l.contains(word)).unwrap_or_default();
        let (tx, rx, multiplier) = match platform {
            Platform::Frr | Platform::Sonic => {
                (line("transmit-interval"), line("receive-interval"), line("detect-multiplier"))
            }
            Platform::Junos => (
                line("transmit-interval minimum-interval"),
                line("minimum-receive-interval"),
                line("detection multiplier"),
            ),
            Platform::Bird => {
                (line("min tx interval"), line("min rx interval"), line("multiplier"))
            }
            _ => (line("bfd interval"), line("bfd interval"), line("bfd interval")),
        };
        let has = |text: &str, number: &str| text.split([' ', ';']).any(|word| word == number);
        assert!(has(tx, "400") && has(rx, "250") && has(multiplier, "5"), "{platform:?}: {text}");
    }
}

#[test]
fn frr_takes_no_multiplier_of_one_and_is_told_the_least_it_takes() {
    let text = FILE.replace("multiplier: 5", "multiplier: 1");
    let wanted = Wanted { peer: Some("tor-a"), ..Wanted::default() };
    let side = sides(&cluster(&text), &wanted).unwrap().remove(0);
    assert!(frr::render(&side).contains("  detect-multiplier 2\n"));
    assert!(bird::render(&side).contains("multiplier 1;"));
}

#[test]
fn many_neighbours_in_one_subnet_are_worth_a_hint() {
    let nodes: String = (20..40)
        .map(|n| format!("  - {{name: n{n}, address: 192.0.2.{n}, labels: {{rack: r1}}}}\n"))
        .collect();
    let text = FILE.replace("network:", &format!("{nodes}network:"));
    let wanted = Wanted { peer: Some("tor-a"), ..Wanted::default() };
    let side = sides(&cluster(&text), &wanted).unwrap().remove(0);
    let text = frr::render(&side);
    assert!(text.contains("--listen-range 192.0.2.0/26 "), "{text}");
    assert!(text.contains("maximum-paths 32"), "{text}");
}

#[test]
fn what_the_file_does_not_say_is_asked_for() {
    let none = Wanted::default();
    assert_eq!(
        error(FILE, &Wanted { peer: Some("tor-x"), ..none }),
        "no peer tor-x; there is far, leaf, quiet, rr.far, tor-a"
    );
    let unknown = error(FILE, &Wanted { node: Some("node-x"), ..none });
    assert!(unknown.starts_with("no node node-x in mainstay.yaml"), "{unknown}");
    let no_mode = error("network: {mode: none}", &none);
    assert!(no_mode.starts_with("network.mode is none"), "{no_mode}");
    let no_peers = error("bgp: {asn: 64512}", &none);
    assert!(no_peers.starts_with("no peers"), "{no_peers}");
    let bare = "bgp: {asn: 64512, peers: [{name: tor, address: 192.0.2.1, asn: 65001}]}";
    assert!(error(bare, &none).contains("lists no nodes"));
    let range = Wanted { listen_range: Some("192.0.2.0/24".parse().unwrap()), ..none };
    assert_eq!(sides(&cluster(bare), &range).unwrap()[0].range, range.listen_range);
    let v6 = FILE.replace("local_address: 2001:db8::11", "hold_time: 90s");
    let v6 = error(&v6, &Wanted { peer: Some("rr.far"), ..none });
    assert!(v6.contains("does not say which IPv6 address node-c has"), "{v6}");
    let small = Some("192.0.2.8/30".parse().unwrap());
    let outside = error(FILE, &Wanted { peer: Some("tor-a"), listen_range: small, ..none });
    assert!(outside.ends_with("does not contain node-b's address 192.0.2.12"), "{outside}");
    let waits = error(FILE, &Wanted { peer: Some("quiet"), listen_range: small, ..none });
    assert!(waits.contains("wait for the switch to dial"), "{waits}");
    let link = bare.replace("192.0.2.1", "'fe80::1', interface: eth0");
    assert!(error(&link, &none).contains("link-local"));
}
