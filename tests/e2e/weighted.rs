//! Traffic over two ways by the bandwidths that BIRD and FRR tell of theirs (RFC 10005), and what is
//! said of a way that cannot be used.

use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::frr::Frr;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::eventually;

const PREFIX: &str = "198.51.100.0/24";

/// 10 Gbit/s, as octets a second in a float; of AS 65001, transitive, since BIRD tells an external
/// peer of no other.
const BIRD: &str = "router id 192.0.2.1;
protocol device {}
protocol static { ipv4; route 198.51.100.0/24 blackhole; }
filter wide { bgp_ext_community.add((generic, 0x0004fde9, 0x4e9502f9)); accept; }
protocol bgp peer {
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.2 as 64512;
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 2;
  ipv4 { import all; export filter wide; };
}
";

/// 25 Gbit/s.
const FRR: &str = "ip route 198.51.100.0/24 blackhole
route-map wide permit 10
 set extcommunity bandwidth 25000
router bgp 65001
 bgp router-id 192.0.3.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.3.2 remote-as 64512
 neighbor 192.0.3.2 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
  neighbor 192.0.3.2 route-map wide out
 exit-address-family
";

const NODE: &str = "  connect_retry: 1s
  originate: [198.18.7.0/24]
  policies:
    - {name: wide, rules: [{set: {link_bandwidth: 10G}, action: accept}]}
  peers:
    - {name: bird, address: 192.0.2.1, asn: 65001, import: all, export: node}
    - {name: frr, address: 192.0.3.1, asn: 65001, import: all, export: wide}
";

/// BIRD by eth0 of the node, FRR by eth1, and both tell of the prefix.
struct Ways {
    node: Node,
    bgpd: Proc,
    bird: Bird,
    frr: Frr,
    _keeper: Proc,
    _peers: [Netns; 2],
}

fn ways() -> Ways {
    let (left, right, host) = (Netns::new("left"), Netns::new("right"), Netns::new("node"));
    for (peer, n) in [(&left, 0), (&right, 1)] {
        veth((peer, "eth0"), (&host, &format!("eth{n}")));
        peer.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        host.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let node = Node::new("node-a", host, &crate::pair::config(NODE));
    let (bird, frr) = (Bird::start(&left, BIRD), Frr::start(&right, FRR));
    let keeper = node.start(Daemon::Keeper);
    let bgpd = node.start(Daemon::Bgpd);
    Ways { node, bgpd, bird, frr, _keeper: keeper, _peers: [left, right] }
}

impl Ways {
    fn kernel(&self) -> String {
        self.node.host.ip(&format!("route show {PREFIX}"))
    }

    /// The kernel's route has these next hops and no others, each with its weight.
    #[track_caller]
    fn becomes(&self, ways: &[(&str, u32)]) {
        eventually(30, &format!("the route has {ways:?}"), || {
            let text = self.kernel();
            let has = |(via, weight): &(&str, u32)| {
                let line = text.lines().find(|l| l.split(' ').any(|word| word == *via));
                let weight = format!("weight {weight} ");
                line.is_some_and(|l| ways.len() == 1 || format!("{l} ").contains(&weight))
            };
            let right = ways.iter().all(has) && text.matches("via ").count() == ways.len();
            if right { Ok(()) } else { Err(text) }
        });
    }

    #[track_caller]
    fn explains(&self, words: &str) {
        eventually(30, &format!("explained: {words}"), || {
            let text = self.node.cli_text(&["bgp", "explain", PREFIX]);
            if text.contains(words) { Ok(()) } else { Err(text) }
        });
    }
}

#[test]
fn bandwidths_told_by_bird_and_frr_become_weights_that_outlive_the_speaker() {
    let mut ways = ways();
    let both = [("192.0.2.1", 2), ("192.0.3.1", 5)];
    ways.becomes(&both);
    ways.explains("installed via 192.0.2.1 (weight 2) and 192.0.3.1 (weight 5)");
    eventually(30, "FRR hears of our bandwidth", || {
        let text = ways.frr.ask("show bgp ipv4 unicast 198.18.7.0/24")?;
        if text.contains("LB:64512:1250000000") { Ok(()) } else { Err(text) }
    });

    // Nothing of it moves when the speaker dies and another one comes.
    let objects = ways.node.host.ip("nexthop show proto 96");
    let routes = RouteMonitor::start(&ways.node.host);
    ways.bgpd.kill();
    ways.bgpd = ways.node.start(Daemon::Bgpd);
    eventually(30, "the routes are confirmed", || {
        let status = ways.node.json(&["status"])?;
        let fib = &status["bgpd"]["fib"];
        let right = fib["stale"] == 0 && fib["installed"] == 1 && fib["failed"] == 0;
        if right { Ok(()) } else { Err(status.to_string()) }
    });
    ways.explains("weight 5");
    ways.becomes(&both);
    assert_eq!(ways.node.host.ip("nexthop show proto 96"), objects);
    assert_eq!(routes.of(PREFIX), [""; 0]);

    // Without one of the communities they are equal.
    let no_word = ["route-map wide permit 10", "no set extcommunity bandwidth"];
    ways.frr.configure(&no_word).unwrap();
    ways.becomes(&[("192.0.2.1", 1), ("192.0.3.1", 1)]);
    ways.frr.configure(&["route-map wide permit 10", "set extcommunity bandwidth 20000"]).unwrap();
    ways.becomes(&[("192.0.2.1", 1), ("192.0.3.1", 2)]);
    ways.bird.ask("disable static1").unwrap();
    ways.becomes(&[("192.0.3.1", 1)]);
}

#[test]
fn why_a_way_is_left_out_of_the_kernels_route_is_answered_by_one_command() {
    let ways = ways();
    let both = [("192.0.2.1", 2), ("192.0.3.1", 5)];
    ways.becomes(&both);
    ways.node.host.ip("link set eth1 down");
    ways.becomes(&[("192.0.2.1", 1)]);
    let why = "no link and no route leads to it";
    ways.explains(&format!("installed via 192.0.2.1; without 192.0.3.1: {why}"));
    ways.explains(&format!("not in the kernel's route: {why}"));
    let explained = ways.node.json(&["bgp", "explain", PREFIX]).unwrap();
    let hops = &explained["kernel"]["hops"];
    assert_eq!((&hops[0]["left_out"], &hops[1]["left_out"]), (&"".into(), &why.into()), "{hops}");
    ways.node.host.ip("link set eth1 up");
    ways.becomes(&both);
    ways.explains("installed via 192.0.2.1 (weight 2) and 192.0.3.1 (weight 5)\n");
}
