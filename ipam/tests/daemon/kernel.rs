//! What the daemon does to its host.

use crate::client::{Api, Cni, Pod};
use crate::{config, node};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::wait::until;

fn routes(node: &Node) -> Vec<String> {
    let v4 = node.host.ip("-4 route show type blackhole proto 97");
    let v6 = node.host.ip("-6 route show type blackhole proto 97");
    let line = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    v4.lines().chain(v6.lines()).map(line).collect()
}

#[test]
fn each_block_has_a_blackhole_route_that_outlives_the_daemon() {
    let node = node("10.244.0.0/26, 'fd00:244::/122'", "");
    let both = ["blackhole 10.244.0.0/26", "blackhole fd00:244::/122"];
    let mut ipamd = node.start(Daemon::Ipamd);
    assert_eq!(routes(&node), both, "there as soon as the daemon serves");
    ipamd.kill();
    assert_eq!(routes(&node), both);
    let mut ipamd = node.start(Daemon::Ipamd);
    assert!(ipamd.terminate().success());
    assert_eq!(routes(&node), both);
}

#[test]
fn a_route_that_somebody_removes_is_put_back() {
    let node = node("10.244.0.0/26, 'fd00:244::/122'", "");
    let ipamd = node.start(Daemon::Ipamd);
    node.host.ip("route del blackhole 10.244.0.0/26");
    node.host.ip("route del blackhole fd00:244::/122");
    until(5, "both routes are back", || routes(&node).len() == 2);
    until(5, "it is logged", || ipamd.log().contains("blackhole route was gone; put back"));
}

#[test]
fn a_route_goes_with_its_block_and_others_are_not_touched() {
    let node = node("10.244.0.0/26", "  cooldown: 1s");
    node.host.ip("route add blackhole 10.244.0.128/26 proto 97 metric 65535");
    node.host.ip("route add blackhole 10.244.0.192/26 proto static metric 65535");
    node.host.ip("route add blackhole 10.245.0.0/26 proto 97 table 100");
    let _ipamd = node.start(Daemon::Ipamd);
    assert_eq!(routes(&node), ["blackhole 10.244.0.0/26"], "what an earlier run left is swept");
    let (cni, mut api) = (Cni::of(&node), Api::of(&node));
    let pod = Pod::new("a", "c1");
    cni.add(&pod).unwrap();

    node.configure(&config("10.244.0.64/26", "  cooldown: 1s"));
    api.reload().unwrap();
    until(5, "the new block's route", || routes(&node).len() == 2);
    assert_eq!(
        routes(&node),
        ["blackhole 10.244.0.0/26", "blackhole 10.244.0.64/26"],
        "a block that moved away keeps its route while it has leases"
    );
    node.configure(&config("10.244.0.0/26, 10.244.0.64/26", "  cooldown: 1s"));
    api.reload().unwrap();
    node.configure(&config("10.244.0.0/26", "  cooldown: 1s"));
    api.reload().unwrap();
    until(5, "the empty block's route goes", || routes(&node) == ["blackhole 10.244.0.0/26"]);
    assert!(node.host.ip("route show proto static").contains("10.244.0.192/26"));
    assert!(node.host.ip("route show table 100").contains("10.245.0.0/26"));
}

#[test]
fn a_bridge_on_the_block_wins_over_the_blackhole() {
    let node = node("10.244.0.0/26, 'fd00:244::/122'", "");
    let _ipamd = node.start(Daemon::Ipamd);
    node.host.ip("link add cni0 type bridge");
    node.host.ip("link set cni0 up");
    node.host.ip("addr add 10.244.0.1/26 dev cni0");
    node.host.ip("addr add fd00:244::1/122 dev cni0 nodad");
    for address in ["10.244.0.2", "fd00:244::2"] {
        let found = node.host.ip(&format!("route get {address}"));
        assert!(found.contains("dev cni0"), "{found}");
    }
    assert_eq!(routes(&node).len(), 2);
}

#[test]
fn the_neighbour_entry_of_a_released_address_is_flushed() {
    let node = node("10.244.0.0/26, 'fd00:244::/122'", "");
    let _ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    node.host.ip("link add cni0 type bridge");
    node.host.ip("link set cni0 up");
    let (a, b) = (Pod::new("a", "c1"), Pod::new("b", "c2"));
    for pod in [&a, &b] {
        for address in cni.addresses(pod) {
            let entry =
                format!("neigh add {address} lladdr 02:00:00:00:00:02 dev cni0 nud reachable");
            node.host.ip(&entry);
        }
    }
    node.host.ip("neigh add 10.244.0.9 lladdr 02:00:00:00:00:09 dev cni0 nud permanent");
    cni.del(&a);
    let known = || node.host.ip("neigh show dev cni0");
    until(5, "both entries of a are gone", || {
        !known().contains("10.244.0.2 ") && !known().contains("fd00:244::2 ")
    });
    for kept in ["10.244.0.3 ", "fd00:244::3 ", "10.244.0.9 "] {
        assert!(known().contains(kept), "{kept} in {}", known());
    }
}
