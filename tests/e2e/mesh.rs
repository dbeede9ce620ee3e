//! A mesh of nodes with route reflectors; some nodes are BIRD and FRR.

use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::frr::Frr;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::{eventually, until};

const CONFIG: &str = "
nodes:
  - {name: a, address: 192.0.2.1, labels: {role: rr}}
  - {name: b, address: 192.0.2.2}
  - {name: c, address: 192.0.2.3}
  - {name: d, address: 192.0.2.4}
network: {mode: bgp, families: [ipv4]}
ipam: {pools: [{name: default, cidr: 10.244.0.0/16}]}
bgp:
  asn: 64512
  connect_retry: 1s
  mesh: {enabled: true, reflectors: {select: {role: rr}}}
";

const BIRD: &str = "
router id 192.0.2.3;
protocol device {}
protocol static { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp reflector {
  local as 64512; neighbor 192.0.2.1 as 64512;
  ipv4 { import all; export all; };
}
";

const FRR: &str = "
router bgp 64512
 bgp router-id 192.0.2.4
 neighbor 192.0.2.1 remote-as 64512
 neighbor 192.0.2.1 timers connect 1
";

#[test]
fn nodes_with_a_reflector_among_them_learn_from_it_what_the_others_have() {
    let switch = Netns::new("switch");
    switch.ip("link add br0 type bridge");
    switch.ip("link set br0 up");
    let [a, b, c, d] = [1, 2, 3, 4].map(|n| {
        let host = Netns::new("node");
        veth((&host, "eth0"), (&switch, &format!("port{n}")));
        switch.ip(&format!("link set port{n} master br0"));
        host.ip(&format!("addr add 192.0.2.{n}/24 dev eth0"));
        host
    });
    let (a, b) = (Node::new("a", a, CONFIG), Node::new("b", b, CONFIG));
    let _bird = Bird::start(&c, BIRD);
    let frr = Frr::start(&d, FRR);
    let _reflector = a.start(Daemon::Bgpd);
    let _client = b.start(Daemon::Bgpd);
    eventually(30, "the node has a session with the reflector, and with nobody else", || {
        let peers = b.json(&["bgp", "peers"])?;
        match peers["peers"].as_array().map(Vec::as_slice) {
            Some([one]) if one["name"] == "mesh-a" && one["state"] == "Established" => Ok(()),
            _ => Err(peers.to_string()),
        }
    });
    until(20, "packets to BIRD's network go straight to BIRD", || {
        b.host.ip("route show").contains("198.51.100.0/24 via 192.0.2.3")
    });
    eventually(20, "FRR has been told by the reflector whose route it is", || {
        let route = frr.json("show bgp ipv4 unicast 198.51.100.0/24")?;
        let path = &route["paths"][0];
        let right = path["nexthops"][0]["ip"] == "192.0.2.3" && path["originatorId"] == "192.0.2.3";
        if right { Ok(()) } else { Err(route.to_string()) }
    });
}
