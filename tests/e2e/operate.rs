//! The speaker asked, watched and told: `mainstay bgp …` against a real peer.

use crate::pair::{BIRD, FRR, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::proc::{Proc, bin};
use mainstay_tests::scratch::Scratch;
use mainstay_tests::wait::{eventually, until};
use serde_json::Value;

const VIP: &str = "198.18.100.1/32";

fn explain(pair: &Pair, prefix: &str) -> Value {
    pair.node.json(&["bgp", "explain", prefix]).unwrap()
}

fn export(explained: &Value) -> (String, String) {
    let field = |name: &str| explained["exports"][0][name].as_str().unwrap_or_default().to_owned();
    (field("state"), field("reason"))
}

fn said(pair: &Pair, words: &[&str]) -> String {
    let out = pair.node.cli(words);
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A command that goes on: what it says is its log.
fn go_on(pair: &Pair, dir: &Scratch, words: &[&str]) -> Proc {
    let mut command = pair.node.host.command(bin("mainstay"));
    command.arg("--run-dir").arg(pair.node.run_dir()).args(words);
    Proc::start(&words.join(" "), command, &dir.path().join("said"))
}

#[test]
fn one_command_explains_why_a_route_is_best_told_and_installed_or_not() {
    let pair = Pair::with_peer("");
    pair.node.host.ip("route add default dev lo proto static metric 32");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(20, "our prefix is told", || bird.has_route("198.18.7.0/24"));
    let own = explain(&pair, "198.18.7.9");
    assert_eq!(own["route"]["prefix"], "198.18.7.0/24");
    assert_eq!(own["kernel"]["state"], "own");
    assert_eq!(export(&own), ("told".into(), String::new()));
    let learned = eventually(20, "a foreign route is in the way", || {
        let learned = explain(&pair, "198.51.100.7");
        if learned["kernel"]["state"] == "refused" { Ok(learned) } else { Err(learned) }
    });
    assert_eq!(learned["route"]["prefix"], "0.0.0.0/0");
    assert!(learned["kernel"]["reason"].as_str().unwrap().contains("static"), "{learned}");
    assert_eq!(export(&learned), ("withheld".into(), "it came from this peer".into()));
    let refused = &learned["refused"][0];
    assert_eq!(refused["prefix"], "198.51.100.0/24");
    assert!(refused["paths"][0]["reason"].as_str().unwrap().contains("import policy"), "{refused}");
    eventually(20, "the other family's default route is in the kernel", || {
        let six = explain(&pair, "2001:db8:51::1");
        let there = six["kernel"]["state"] == "installed" && six["route"]["prefix"] == "::/0";
        if there { Ok(()) } else { Err(six) }
    });
    let rejected =
        pair.node.json(&["bgp", "routes", "--peer", "tor", "--state", "rejected"]).unwrap();
    assert_eq!(rejected["routes"].as_array().unwrap().len(), 2, "{rejected}");
    let missing = said(&pair, &["bgp", "routes", "--state", "not-installed"]);
    assert!(missing.contains("0.0.0.0/0"), "{missing}");
    let counted = said(&pair, &["bgp", "routes", "--peer", "tor", "--accepted", "--count"]);
    assert_eq!(counted, "2 routes, 2 paths\n");
}

#[test]
fn injected_routes_outlive_a_sigkill_and_leave_when_their_client_is_gone() {
    let pair = Pair::with_peer("");
    let bird = Bird::start(&pair.peer, BIRD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    said(&pair, &["bgp", "inject", "lb", VIP, "--ttl", "10m", "--community", "64512:80"]);
    until(20, "BIRD has it", || bird.has_route(VIP));
    let shown = bird.ask(&format!("show route all {VIP}")).unwrap();
    assert!(shown.contains("(64512,80)"), "{shown}");
    let other = pair.node.cli(&["bgp", "inject", "other", VIP]);
    assert!(!other.status.success());
    let why = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(why.contains("is announced by lb"), "{why}");

    let switch = RouteMonitor::start(&pair.peer);
    bgpd.kill();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    assert!(said(&pair, &["bgp", "leases", "lb"]).contains(VIP), "at once");
    pair.established(20);
    let restarting = || pair.node.json(&["status"]).map(|s| s["bgpd"]["restarting"] == true);
    until(30, "the restart is over", || restarting() == Ok(false));
    assert!(bird.has_route(VIP));
    assert_eq!(switch.of("198.18.100.1"), [""; 0], "the switch's kernel saw nothing");
    said(&pair, &["bgp", "withdraw", "lb", "--all"]);
    until(20, "BIRD has lost it", || !bird.has_route(VIP));

    let dir = Scratch::new("inject");
    let words = ["bgp", "inject", "lb", VIP, "--ttl", "1s", "--hold"];
    let mut client = go_on(&pair, &dir, &words);
    until(20, "BIRD has it again", || bird.has_route(VIP));
    let held = || pair.node.json(&["bgp", "leases"]).map(|l| l["leases"][0]["held"] == true);
    until(20, "the lease is held", || held() == Ok(true));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert!(bird.has_route(VIP), "it does not run while it is held");
    client.kill();
    until(20, "the routes of a client that has vanished leave", || !bird.has_route(VIP));
    assert_eq!(said(&pair, &["bgp", "leases"]), "no leases\n");
}

#[test]
fn an_injected_route_with_a_next_hop_is_in_the_kernel_and_stays_there_over_a_restart() {
    let pair = Pair::with_peer("");
    let frr = Frr::start(&pair.peer, FRR);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(30);
    let prefix = "203.0.113.0/24";
    let next_hop = ["--next-hop", "192.0.2.1", "--ttl", "10m"];
    said(&pair, &[&["bgp", "inject", "egress", prefix][..], &next_hop[..]].concat());
    until(20, "the kernel has it", || pair.kernel().contains("203.0.113.0/24 via 192.0.2.1"));
    until(20, "FRR has it", || frr.has_route(prefix));
    let monitor = RouteMonitor::start(&pair.node.host);
    bgpd.kill();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(30);
    let restarting = || pair.node.json(&["status"]).map(|s| s["bgpd"]["restarting"] == true);
    until(150, "the restart is over", || restarting() == Ok(false));
    assert_eq!(monitor.of(prefix), [""; 0], "the node's kernel saw nothing");
    assert_eq!(explain(&pair, prefix)["route"]["paths"][0]["injected_by"], "egress");
    said(&pair, &["bgp", "withdraw", "egress", prefix]);
    until(20, "the kernel has lost it", || !pair.kernel().contains(prefix));
}

#[test]
fn resets_do_what_they_say_and_whoever_watches_sees_them_with_their_cause() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(20);
    until(20, "its route is there", || pair.kernel().contains("198.51.100.0/24"));
    let dir = Scratch::new("watch");
    let watch = go_on(&pair, &dir, &["bgp", "watch"]);
    // A refresh is answered, so that the watch is known to run.
    until(30, "the watch runs", || {
        said(&pair, &["bgp", "reset", "tor", "--soft", "out"]);
        bird.ask("reload in peer").unwrap();
        watch.log().contains("session refresh tor")
    });
    bird.ask("disable static1").unwrap();
    until(20, "the withdrawal is seen", || {
        watch.log().contains("route withdrawn 198.51.100.0/24 tor: received from tor")
    });
    bird.ask("enable static1").unwrap();
    until(20, "the route is seen", || watch.log().contains("route announced 198.51.100.0/24 tor"));
    assert!(said(&pair, &["bgp", "refresh", "tor"]).contains("asked for its routes"));
    let count = || pair.tor().unwrap()["established_count"].as_u64().unwrap();
    assert_eq!(count(), 1, "nothing so far has ended the session");
    assert!(said(&pair, &["bgp", "reset", "tor"]).contains("has been ended"));
    until(30, "it is up again", || count() == 2);
    until(20, "the reset is seen", || {
        let log = watch.log();
        log.contains("session down tor: sent NOTIFICATION 6/") && log.contains("session up tor")
    });
}
