//! Long-lived graceful restart (RFC 9494) in both roles.

use crate::pair::{BIRD, NODE, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::gobgp::GoBgp;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::wait::until;
use std::time::Duration;

const THEIRS: &str = "198.51.100.0/24";
const OURS: &str = "198.18.7.0/24";

/// What our Loc-RIB says of BIRD's route.
fn communities(pair: &Pair) -> String {
    let routes = pair.node.json(&["bgp", "routes", THEIRS]).unwrap_or_default();
    routes.to_string()
}

#[test]
fn a_bird_that_is_away_for_long_is_kept_as_the_last_resort_and_taken_back() {
    let pair =
        Pair::new(&format!("  graceful_restart: {{long_lived: 1h}}\n{}", tor("import: all")));
    let text = BIRD.replace(
        "connect delay time 1;",
        "connect delay time 1;
  graceful restart on;
  graceful restart time 2;
  long lived graceful restart on;
  long lived stale time 600;",
    );
    let mut bird = Bird::start(&pair.peer, &text);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "the route stands", || pair.kernel().contains(THEIRS));
    let asked = pair.tor().unwrap()["graceful_restart"]["long_lived"][0].clone();
    assert_eq!(asked["stale_time_seconds"], 600, "{asked}");
    assert_eq!(asked["granted_seconds"], 600, "{asked}");
    let here = RouteMonitor::start(&pair.node.host);
    bird.proc().kill();
    drop(bird);
    until(10, "its restart time is over", || communities(&pair).contains("llgr-stale"));
    assert!(pair.kernel().contains(THEIRS));
    let bird = Bird::restart(&pair.peer, &text);
    bird.established("peer", 20);
    until(10, "the route is as good as new", || {
        let said = communities(&pair);
        said.contains(THEIRS) && !said.contains("llgr-stale")
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(here.of(THEIRS), Vec::<String>::new(), "the kernel has seen nothing of it");
}

#[test]
fn bird_keeps_our_routes_beyond_the_restart_time_and_takes_us_back() {
    let own = "  graceful_restart: {restart_time: 2s, long_lived: 10m}\n";
    let pair = Pair::new(&format!("{own}{}", tor("import: all")));
    let text = BIRD.replace(
        "connect delay time 1;",
        "connect delay time 1;\n  graceful restart aware;\n  long lived graceful restart aware;",
    );
    let bird = Bird::start(&pair.peer, &text);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "BIRD's kernel has ours", || pair.peer.ip("route show").contains(OURS));
    let there = RouteMonitor::start(&pair.peer);
    bgpd.kill();
    let shown = || bird.ask(&format!("show route {OURS} all")).unwrap_or_default();
    until(10, "BIRD holds it as stale for long", || shown().contains("(65535,6)"));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "BIRD has it anew", || shown().contains(OURS) && !shown().contains("(65535,6)"));
    std::thread::sleep(Duration::from_millis(500));
    let lost: Vec<_> =
        there.of(OURS).into_iter().filter(|event| event.starts_with("Deleted")).collect();
    assert_eq!(lost, Vec::<String>::new());
}

#[test]
fn without_long_lived_our_routes_go_when_the_restart_time_is_over() {
    let own = "  graceful_restart: {restart_time: 2s}\n";
    let pair = Pair::new(&format!("{own}{}", tor("")));
    let bird = Bird::start(&pair.peer, BIRD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "BIRD has ours", || bird.has_route(OURS));
    bgpd.kill();
    until(10, "it is gone", || !bird.has_route(OURS));
}

const GOBGP: &str = "[global.config]
  as = 65001
  router-id = \"192.0.2.1\"
[[neighbors]]
  [neighbors.config]
    neighbor-address = \"192.0.2.2\"
    peer-as = 64512
  [neighbors.timers.config]
    connect-retry = 1
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 2
    notification-enabled = true
    long-lived-enabled = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv4-unicast\"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
    [neighbors.afi-safis.long-lived-graceful-restart.config]
      enabled = true
      restart-time = 500
";

#[test]
fn a_gobgp_that_is_away_for_long_is_kept_as_the_last_resort() {
    let pair =
        Pair::new(&format!("  graceful_restart: {{long_lived: 5m}}\n{}", tor("import: all")));
    let mut gobgp = GoBgp::start(&pair.peer, GOBGP);
    gobgp.ask(&format!("global rib add {THEIRS}")).unwrap();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    gobgp.established(NODE, 20);
    until(10, "the route stands", || pair.kernel().contains(THEIRS));
    let gr = pair.tor().unwrap()["graceful_restart"].clone();
    assert_eq!(gr["notification"], true, "{gr}");
    assert_eq!(gr["long_lived"][0]["stale_time_seconds"], 500, "{gr}");
    assert_eq!(gr["long_lived"][0]["granted_seconds"], 300, "no more than we grant: {gr}");
    gobgp.proc().kill();
    until(10, "its restart time is over", || communities(&pair).contains("llgr-stale"));
    assert!(pair.kernel().contains(THEIRS));
}
