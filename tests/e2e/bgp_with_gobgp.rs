//! The speaker against GoBGP.

use crate::pair::{NODE, Pair};
use mainstay_tests::daemons::Daemon;
use mainstay_tests::gobgp::GoBgp;
use mainstay_tests::wait::until;

const GOBGP: &str = "[global.config]
  as = 65001
  router-id = \"192.0.2.1\"
[[neighbors]]
  [neighbors.config]
    neighbor-address = \"192.0.2.2\"
    peer-as = 64512
  [neighbors.timers.config]
    connect-retry = 1
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv4-unicast\"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv6-unicast\"
";

#[test]
fn routes_go_both_ways() {
    let pair = Pair::with_peer("import: all");
    let gobgp = GoBgp::start(&pair.peer, GOBGP);
    gobgp.ask("global rib add 198.51.100.0/24").unwrap();
    gobgp.ask("global rib add -a ipv6 2001:db8:51::/48 nexthop 2001:db8::1").unwrap();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    gobgp.established(NODE, 20);
    until(10, "the kernel has GoBGP's routes", || {
        let kernel = pair.kernel();
        kernel.contains("198.51.100.0/24 via 192.0.2.1") && kernel.contains("2001:db8:51::/48 via")
    });
    until(10, "GoBGP has ours", || {
        gobgp.has_route("198.18.7.0/24") && gobgp.has_route("2001:db8:7::/48")
    });
    gobgp.ask("global rib del 198.51.100.0/24").unwrap();
    until(10, "the route is gone", || !pair.kernel().contains("198.51.100.0/24"));
}
