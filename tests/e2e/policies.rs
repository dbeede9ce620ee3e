//! Policies as the peers see them: BIRD outside, FRR inside, and the node between them.

use crate::pair::{BIRD, FRR, config};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::frr::Frr;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::{eventually, until};

/// AS 65001 at 192.0.2.1, and another machine of our AS at 192.0.3.1.
const PEERS: &str = "  connect_retry: 1s
  originate: [198.18.7.0/24]
  peers:
    - {name: bird, address: 192.0.2.1, asn: 65001, import: from-bird, export: to-bird}
    - {name: frr, address: 192.0.3.1, asn: 64512, import: none, export: to-frr}
  sets:
    - {name: wanted, prefix: [198.51.101.0/24]}
";

const POLICIES: &str = "  policies:
    - name: from-bird
      rules:
        - match: {prefix: [set:wanted], as_path: ^65001$, source: ebgp, peer: bird, interface: eth0}
          set: {local_pref: 200, weight: 7, community: {add: ['64512:7', '64512:1:2']}}
          action: accept
    - name: to-bird
      rules:
        - {match: {source: local}, set: {prepend: 2, med: 50, community: {add: [65001:3]}}, action: accept}
    - name: to-frr
      rules:
        - {match: {source: bgp, community: ['64512:*']}, set: {med: 5}, action: accept}
";

fn text(policies: &str) -> String {
    config(&(PEERS.to_owned() + policies))
}

#[test]
fn what_policies_set_is_what_peers_see_and_a_change_of_them_resets_nothing() {
    let (left, right, host) = (Netns::new("bird"), Netns::new("frr"), Netns::new("node"));
    for (peer, n) in [(&left, 0), (&right, 1)] {
        veth((peer, "eth0"), (&host, &format!("eth{n}")));
        peer.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        host.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let node = Node::new("node-a", host, &text(POLICIES));
    let bird = Bird::start(&left, &BIRD.replace("198.51.100.", "198.51.101."));
    let frr = Frr::start(&right, &FRR.replace("65001", "64512").replace("192.0.2.", "192.0.3."));
    let _bgpd = node.start(Daemon::Bgpd);
    bird.established("peer", 30);
    frr.established("192.0.3.2", 30);

    sees(&frr, 200);
    let told = || bird.ask("show route all 198.18.7.0/24");
    eventually(20, "BIRD has our route as the policy makes it", || {
        let text = told()?;
        let marks = ["64512 64512 64512", "BGP.med: 50", "(65001,3)"];
        if marks.iter().all(|mark| text.contains(mark)) { Ok(()) } else { Err(text) }
    });
    let kernel = node.host.ip("-4 route show proto 96");
    assert!(kernel.contains("198.51.101.0/24 via 192.0.2.1"), "{kernel}");
    assert!(!kernel.contains("default"), "no rule lets it in: {kernel}");

    let (outside, inside) = (bird.since("peer"), frr.since("192.0.3.2"));
    node.configure(&text(&POLICIES.replace("local_pref: 200", "local_pref: 300")));
    assert!(node.cli(&["reload"]).status.success());
    sees(&frr, 300);
    node.configure(&text(&POLICIES.replace("prepend: 2", "prepend: 1")));
    assert!(node.cli(&["reload"]).status.success());
    until(20, "BIRD has the shorter path", || {
        told().is_ok_and(|t| t.contains("64512 64512") && !t.contains("64512 64512 64512"))
    });
    sees(&frr, 200);
    assert_eq!(bird.since("peer"), outside);
    assert_eq!(frr.since("192.0.3.2"), inside);
}

#[test]
fn a_policy_is_tried_on_a_route_as_it_stands() {
    let (left, host) = (Netns::new("bird"), Netns::new("node"));
    veth((&left, "eth0"), (&host, "eth0"));
    left.ip("addr add 192.0.2.1/24 dev eth0");
    host.ip("addr add 192.0.2.2/24 dev eth0");
    let node = Node::new("node-a", host, &text(POLICIES));
    let bird = Bird::start(&left, &BIRD.replace("198.51.100.", "198.51.101."));
    let _bgpd = node.start(Daemon::Bgpd);
    bird.established("peer", 30);

    let tried = |words: &[&str]| node.json(&[&["policy", "test", "--route"], words].concat());
    eventually(20, "the policy in force is tried on what BIRD has told", || {
        let reply = tried(&["198.51.101.0/24", "--from", "bird"])?;
        let trial = &reply["trials"][0];
        let right = reply["policy"] == "from-bird"
            && trial["accepted"] == true
            && trial["decided_by"] == 1
            && trial["before"]["as_path"] == "65001"
            && trial["before"]["communities"] == serde_json::json!([])
            && trial["after"]["local_pref"] == 200
            && trial["after"]["weight"] == 7
            && trial["after"]["communities"] == serde_json::json!(["64512:7"]);
        if right { Ok(()) } else { Err(reply.to_string()) }
    });
    // What it refuses too, another policy, and the way out.
    let refused = tried(&["0.0.0.0/0", "--from", "192.0.2.1"]).unwrap();
    assert_eq!(refused["trials"][0]["accepted"], false, "{refused}");
    assert_eq!(refused["trials"][0]["rules"][0]["passed_over"], "its prefix is another");
    let node_policy =
        node.json(&["policy", "test", "node", "--route", "0.0.0.0/0", "--from", "bird"]);
    assert_eq!(node_policy.unwrap()["trials"][0]["accepted"], true);
    let out = tried(&["198.18.7.0/24", "--to", "bird"]).unwrap();
    assert_eq!(out["trials"][0]["after"]["med"], 50, "{out}");
    assert_eq!(out["trials"][0]["after"]["communities"], serde_json::json!(["65001:3"]), "{out}");
    let back = tried(&["198.51.101.0/24", "--to", "bird"]).unwrap();
    assert_eq!(back["trials"][0]["refused"], "it came from this peer", "{back}");
    let text = node.cli(&["policy", "test", "--route", "198.51.101.0/24", "--from", "bird"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("is accepted by rule 1 of policy from-bird"), "{text}");
    let nobody = node.cli(&["policy", "test", "--route", "10.0.0.0/8", "--from", "bird"]);
    assert_eq!(nobody.status.code(), Some(1), "there is no such route");
}

/// The route from BIRD, with what the import policy has set.
#[track_caller]
fn sees(frr: &Frr, local_pref: u32) {
    eventually(20, "FRR has the route as the policies make it", || {
        let route = frr.json("show bgp ipv4 unicast 198.51.101.0/24")?;
        let path = &route["paths"][0];
        let right = path["locPrf"] == local_pref
            && (path["metric"] == 5 || path["med"] == 5)
            && path["community"]["string"] == "64512:7"
            && path["largeCommunity"]["string"] == "64512:1:2";
        if right { Ok(()) } else { Err(route.to_string()) }
    });
}
