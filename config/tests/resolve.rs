//! From the cluster's file to one node.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mainstay_config::{Cluster, PolicyRef, parse};

fn cluster(text: &str) -> Cluster {
    parse("mainstay.yaml", text).unwrap()
}

#[test]
fn an_unknown_node_is_told_which_nodes_there_are_and_how_it_finds_itself() {
    let text = "nodes: [{name: node-a}, {name: node-b}]\nnetwork: {mode: none}";
    let error = cluster(text).resolve("node-x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no node node-x in mainstay.yaml, which has node-a, node-b; a node finds itself by --node, \
         else $NODE_NAME, else its host name"
    );
}

#[test]
fn an_error_does_not_name_five_thousand_nodes() {
    let nodes: Vec<_> = (0..5000).map(|i| format!("{{name: n{i}}}")).collect();
    let text = format!("nodes: [{}]\nnetwork: {{mode: none}}", nodes.join(", "));
    let error = cluster(&text).resolve("x").unwrap_err().to_string();
    assert!(error.contains("n0, n1") && error.contains("n11 and 4988 more;"), "{error}");
}

#[test]
fn a_file_without_nodes_fits_every_node() {
    let node = cluster("bgp: {asn: 64512}").resolve("anything").unwrap();
    assert_eq!((node.name.as_str(), node.address, node.bgp.asn), ("anything", None, 64512));
}

#[test]
fn a_node_without_ipv4_address_has_a_router_id_that_stays() {
    let text = "nodes: [{name: a, address: '2001:db8::1'}, {name: b}]\nbgp: {asn: 1}";
    let id = |node| cluster(text).resolve(node).unwrap().bgp.router_id.to_string();
    assert_eq!([id("a"), id("b")], ["228.12.41.44", "231.12.45.229"]);
}

#[test]
fn ebgp_has_the_policy_node_and_ibgp_all_unless_the_file_says_otherwise() {
    let text = "bgp: {asn: 1, peers: [
        {name: e, address: 192.0.2.1, asn: 2}, {name: i, address: 192.0.2.2, asn: 1},
        {name: x, address: 192.0.2.3, asn: 2, import: all, export: none}]}";
    let node = cluster(text).resolve("n").unwrap();
    let policies: Vec<_> =
        node.bgp.peers.iter().map(|p| (&p.session.import, &p.session.export)).collect();
    assert_eq!(
        policies,
        [
            (&PolicyRef::Node, &PolicyRef::Node),
            (&PolicyRef::All, &PolicyRef::All),
            (&PolicyRef::All, &PolicyRef::None)
        ]
    );
}

#[test]
fn blocks_go_by_place_in_the_list_and_a_node_s_own_list_takes_none_of_them() {
    let text = "nodes: [{name: a}, {name: b, blocks: [10.0.9.0/24]}, {name: c}]
bgp: {asn: 1}
ipam: {pools: [{name: p, cidr: 10.0.0.0/20, block_size: 24}], claims: {blocks_per_node: 2}}";
    let blocks = |node| {
        let node = cluster(text).resolve(node).unwrap();
        node.ipam.pools[0].blocks.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(blocks("a"), ["10.0.0.0/24", "10.0.1.0/24"]);
    assert_eq!(blocks("b"), ["10.0.9.0/24"]);
    assert_eq!(blocks("c"), ["10.0.4.0/24", "10.0.5.0/24"]);
}

#[test]
fn a_peer_that_is_the_node_itself_is_left_out() {
    let text = "nodes: [{name: rr, address: 192.0.2.1}, {name: a, address: 192.0.2.2}]
bgp: {asn: 1, peers: [{name: rr, address: 192.0.2.1, asn: 1}]}";
    let peers = |node| cluster(text).resolve(node).unwrap().bgp.peers.len();
    assert_eq!((peers("rr"), peers("a")), (0, 1));
}
