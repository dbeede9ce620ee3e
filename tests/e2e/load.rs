//! Sessions under the load of large tables.

use crate::pair::config;
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::eventually;
use std::fmt::Write;

const ROUTES: usize = 100_000;

#[test]
fn a_hold_time_of_three_seconds_is_kept_while_a_hundred_thousand_routes_come_and_go() {
    let (left, right, host) = (Netns::new("left"), Netns::new("right"), Netns::new("node"));
    for (peer, n) in [(&left, 0), (&right, 1)] {
        veth((peer, "eth0"), (&host, &format!("eth{n}")));
        peer.ip(&format!("addr add 192.0.{}.1/24 dev eth0", n + 2));
        host.ip(&format!("addr add 192.0.{}.2/24 dev eth{n}", n + 2));
    }
    let text = config(
        "  hold_time: 3s
  fib: {install: false}
  peers:
    - {name: left, address: 192.0.2.1, asn: 65001, passive: true, import: all, export: none}
    - {name: right, address: 192.0.3.1, asn: 65002, passive: true, import: none, export: all}
",
    );
    let node = Node::new("node-a", host, &text);
    let _bgpd = node.start(Daemon::Bgpd);
    let peer = |n: u8, rules: &str| {
        format!(
            "router id 192.0.{n}.1;
protocol device {{}}
protocol bgp peer {{ local 192.0.{n}.1 as {}; neighbor 192.0.{n}.2 as 64512;
  hold time 3; keepalive time 1; connect delay time 1; ipv4 {{ {rules} }}; }}
",
            64999 + u32::from(n)
        )
    };
    let mut routes = peer(2, "import none; export all;") + "protocol static many { ipv4;\n";
    for n in 0..ROUTES {
        let [_, a, b, c] = u32::try_from(n * 256).unwrap().to_be_bytes();
        let net = 20 + n / 65536;
        writeln!(routes, "route {net}.{a}.{b}.{c}/24 blackhole;").unwrap();
    }
    let (left, right) = (
        Bird::start(&left, &(routes + "}\n")),
        Bird::start(&right, &peer(3, "import all; export none;")),
    );
    left.established("peer", 30);
    right.established("peer", 30);
    let since = (left.since("peer"), right.since("peer"));
    let has = |count: usize| {
        eventually(60, "the other side has them all", || {
            let text = right.ask("show route count")?;
            if text.contains(&format!("{count} of {count} routes")) { Ok(()) } else { Err(text) }
        });
    };
    for _ in 0..3 {
        has(ROUTES);
        left.ask("disable many").unwrap();
        has(0);
        left.ask("enable many").unwrap();
    }
    has(ROUTES);
    let held = left.ask("show protocols all peer").unwrap();
    assert!(held.contains("/3"), "the hold timer is of three seconds: {held}");
    assert_eq!((left.since("peer"), right.since("peer")), since, "no session was lost");
}
