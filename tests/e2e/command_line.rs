//! `mainstay` as an operator types it.

use crate::pair::{BIRD, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::wait::{eventually, until};

fn text(out: &std::process::Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn the_verbs_answer_in_text_and_in_json() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let _ipamd = pair.node.start(Daemon::Ipamd);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let _netmon = pair.node.start(Daemon::Netmon);
    bird.established("peer", 20);
    until(10, "routes stand", || pair.kernel().contains("198.51.100.0/24"));

    let status = eventually(10, "all is well", || {
        let out = pair.node.cli(&["status"]);
        if out.status.success() { Ok(text(&out)) } else { Err(text(&out)) }
    });
    for word in ["bgpd", "ipamd", "netmon", "64512"] {
        assert!(status.contains(word), "{status}");
    }
    let peers = text(&pair.node.cli(&["bgp", "peers"]));
    assert!(
        peers.contains("tor") && peers.contains("Established") && peers.contains("65001"),
        "{peers}"
    );
    let routes = text(&pair.node.cli(&["bgp", "routes"]));
    assert!(routes.contains("198.51.100.0/24") && routes.contains("192.0.2.1"), "{routes}");
    let one = text(&pair.node.cli(&["bgp", "routes", "198.51.100.7/32", "--longest"]));
    assert!(one.contains("198.51.100.0/24") && !one.contains("2001:db8:51::"), "{one}");
    let sent = text(&pair.node.cli(&["bgp", "routes", "--peer", "tor", "--advertised"]));
    assert!(sent.contains("198.18.7.0/24") && !sent.contains("198.51.100.0/24"), "{sent}");
    let blocks = text(&pair.node.cli(&["ipam", "show"]));
    assert!(blocks.contains("10.244.0.0/26"), "{blocks}");

    let json = pair.node.json(&["status"]).unwrap();
    assert_eq!(json["bgpd"]["asn"], 64512, "{json}");
    let json = pair.node.json(&["bgp", "routes"]).unwrap();
    assert!(json["routes"].as_array().is_some_and(|r| r.len() >= 4), "{json}");
    assert!(pair.node.json(&["ipam", "show"]).unwrap()["blocks"].is_array());
}

#[test]
fn a_daemon_that_does_not_run_is_named_and_the_exit_code_says_so() {
    let pair = Pair::with_peer("");
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let out = pair.node.cli(&["status"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out).contains("ipamd"), "{}", text(&out));
    let out = pair.node.cli(&["ipam", "show"]);
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("mainstay-ipamd") && said.contains("running?"), "{said}");
    assert_eq!(pair.node.cli(&["frobnicate"]).status.code(), Some(2));
}

#[test]
fn the_shipped_example_is_valid_and_shows_what_a_node_ends_up_with() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/mainstay.yaml");
    let text_of = std::fs::read_to_string(example).unwrap();
    let node = Node::new("node-a", Netns::new("node"), &text_of);
    let path = node.config().display().to_string();
    let out = node.cli(&["config", "check", &path]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let out = node.cli(&["config", "show", "--node", "node-a", &path]);
    assert!(text(&out).contains("hold_time"), "{}", text(&out));
    let schema: serde_json::Value =
        serde_json::from_slice(&node.cli(&["config", "schema"]).stdout).unwrap();
    assert!(schema["properties"]["bgp"].is_object() || schema["$defs"].is_object(), "{schema}");
}
