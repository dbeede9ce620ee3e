//! What the kernel shows of addresses: nobody gets one that somebody uses, and a released one leaves
//! nothing behind.

use crate::client::{Api, Cni, Pod};
use crate::node;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::until;

fn quarantined(api: &mut Api) -> Vec<String> {
    let in_use = api.withheld().into_iter().filter(|w| !w.in_use.is_empty());
    in_use.map(|w| format!("{} {}", w.address, w.in_use)).collect()
}

fn flow(node: &Node, source: &str, destination: &str) {
    let words = format!(
        "-I -s {source} -d {destination} -p tcp --sport 4711 --dport 80 --state ESTABLISHED \
         -t 3600 -u SEEN_REPLY,ASSURED"
    );
    let words: Vec<_> = words.split_whitespace().collect();
    node.host.output("conntrack", &words).unwrap();
}

fn flows(node: &Node) -> String {
    let v4 = node.host.output("conntrack", &["-L"]).unwrap();
    v4 + &node.host.output("conntrack", &["-L", "-f", "ipv6"]).unwrap()
}

#[test]
fn flows_of_a_released_address_are_flushed_in_both_directions_and_others_stay() {
    let node = node("10.244.0.0/26, 'fd00:244::/122'", "");
    let _ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    let (a, b) = (Pod::new("a", "c1"), Pod::new("b", "c2"));
    assert_eq!(cni.addresses(&a), ["10.244.0.2", "fd00:244::2"]);
    assert_eq!(cni.addresses(&b), ["10.244.0.3", "fd00:244::3"]);
    flow(&node, "10.244.0.2", "192.0.2.1");
    flow(&node, "192.0.2.1", "10.244.0.2");
    flow(&node, "fd00:244::2", "2001:db8::1");
    flow(&node, "10.244.0.3", "192.0.2.1");
    flow(&node, "192.0.2.7", "192.0.2.8");
    cni.del(&a);
    until(20, "no flow of a is left", || {
        let left = flows(&node);
        !left.contains("=10.244.0.2 ") && !left.contains("=fd00:244::2 ")
    });
    let left = flows(&node);
    assert!(left.contains("=10.244.0.3 ") && left.contains("=192.0.2.7 "), "{left}");
}

#[test]
fn an_address_that_somebody_uses_is_not_handed_out_though_the_store_says_free() {
    let node = node("10.244.0.0/28", "  cooldown: 2s");
    node.host.ip("link add cni0 type bridge");
    node.host.ip("link set cni0 up");
    node.host.ip("addr add 10.244.0.1/28 dev cni0");
    // Of these somebody uses 2 (a route), 3 (a neighbour), 4 (a flow), 5 (a sandbox), 8 (another,
    // whose link stands on one of the host's).
    node.host.ip("route add 10.244.0.2/32 dev cni0");
    node.host.ip("neigh add 10.244.0.3 lladdr 02:00:00:00:00:03 dev cni0 nud reachable");
    flow(&node, "10.244.0.4", "192.0.2.1");
    let leaked = Netns::new("leaked");
    veth((&node.host, "veth0"), (&leaked, "eth0"));
    leaked.ip("addr add 10.244.0.5/32 dev eth0");
    let macvlan = Netns::new("macvlan");
    let words = "link add mv0 link veth0 netns NAME type macvlan mode bridge";
    node.host.ip(&words.replace("NAME", macvlan.name()));
    macvlan.ip("addr add 10.244.0.8/28 dev mv0");
    // Of these nobody does: what others believe, or have lost, or have for themselves.
    let elsewhere = Netns::new("elsewhere");
    elsewhere.ip("addr add 10.244.0.9/32 dev lo");
    node.host.ip("neigh add 10.244.0.6 lladdr 02:00:00:00:00:06 dev cni0 nud permanent");
    node.host.ip("neigh add 10.244.0.7 lladdr 02:00:00:00:00:07 dev cni0 nud stale");

    let ipamd = node.start(Daemon::Ipamd);
    let (cni, mut api) = (Cni::of(&node), Api::of(&node));
    let got = cni.addresses(&Pod::new("a", "c1"));
    assert_eq!(got, ["10.244.0.6"], "the first address that nobody uses");
    assert_eq!(
        quarantined(&mut api),
        [
            "10.244.0.2 a host route leads to it",
            "10.244.0.3 a neighbour answers for it",
            "10.244.0.4 a flow of it is alive",
            &format!("10.244.0.5 configured in network namespace /run/netns/{}", leaked.name()),
            &format!("10.244.0.8 configured in network namespace /run/netns/{}", macvlan.name()),
        ]
    );
    let said = "somebody uses an address that is nobody's";
    until(30, "it is in the log", || ipamd.log().contains(said));
    let pool = &api.status().pools[0];
    assert_eq!((pool.quarantined, pool.assigned, pool.free), (5, 1, 7));

    // Nobody uses 2 any longer; after a full cooldown it is handed out.
    node.host.ip("route del 10.244.0.2/32 dev cni0");
    until(30, "10.244.0.2 is out of quarantine", || {
        !quarantined(&mut api).iter().any(|line| line.starts_with("10.244.0.2 "))
    });
    assert_eq!(cni.addresses(&Pod::new("b", "c2")), ["10.244.0.2"]);
    assert_eq!(cni.addresses(&Pod::new("a", "c1")), got, "who has one keeps it");
}

#[test]
fn a_sandbox_that_a_released_lease_names_is_looked_into_wherever_it_is() {
    let node = node("10.244.0.0/28", "  cooldown: 1s");
    let mut ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    // No link joins it with the host, and its path is not among those that have names.
    let sandbox = Netns::new("sandbox");
    sandbox.ip("addr add 10.244.0.2/32 dev lo");
    let mut process = sandbox.command("sleep").arg("300").spawn().unwrap();
    let path = format!("/proc/{}/ns/net", process.id());
    let pod = Pod { netns: path.clone(), ..Pod::new("a", "c1") };
    assert_eq!(cni.addresses(&pod), ["10.244.0.2"]);
    cni.del(&pod);
    assert!(ipamd.terminate().success());
    let _ipamd = node.start(Daemon::Ipamd);
    let mut api = Api::of(&node);
    let line = format!("10.244.0.2 configured in network namespace {path}");
    until(60, "it is seen to live on", || quarantined(&mut api) == [line.as_str()]);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn what_a_sandbox_leaves_while_it_is_taken_down_keeps_others_out_but_not_its_owner() {
    let node = node("10.244.0.0/29", "  cooldown: 1s");
    node.host.ip("link add cni0 type bridge");
    node.host.ip("link set cni0 up");
    let _ipamd = node.start(Daemon::Ipamd);
    let (cni, mut api) = (Cni::of(&node), Api::of(&node));
    let web = |container| Pod::new("web-0", container);
    let others: Vec<_> = (0..4).map(|n| Pod::new(&format!("o{n}"), &format!("o{n}"))).collect();
    assert_eq!(cni.addresses(&web("c1")), ["10.244.0.2"]);
    others.iter().for_each(|pod| drop(cni.add(pod).unwrap()));
    node.host.ip("route add 10.244.0.2/32 dev cni0");
    cni.del(&web("c1"));
    assert_eq!(cni.addresses(&web("c2")), ["10.244.0.2"], "its owner is back at once");
    cni.del(&web("c2"));
    until(30, "its route has outstayed it", || !quarantined(&mut api).is_empty());
    let refused = cni.add(&Pod::new("new", "n1")).unwrap_err();
    assert_eq!(refused.code, 11);
    assert!(refused.msg.contains("1 withheld"), "{}", refused.msg);
    node.host.ip("route del 10.244.0.2/32 dev cni0");
    assert!(
        cni.add(&web("c3")).is_err() || api.leases("assigned", "10.244.0.2").unwrap().len() == 1
    );
    until(30, "the address is somebody's again", || cni.add(&web("c3")).is_ok());
}

#[test]
fn an_operator_holds_releases_and_lets_go() {
    let node = node("10.244.0.0/29", "  cooldown: 1s");
    let mut ipamd = node.start(Daemon::Ipamd);
    let (cni, mut api) = (Cni::of(&node), Api::of(&node));
    let web = |container| Pod::new("web-0", container);
    assert_eq!(cni.addresses(&web("c1")), ["10.244.0.2"]);
    api.hold("10.244.0.2", "under investigation").unwrap();
    api.hold("10.244.0.3", "a printer has it").unwrap();
    assert_eq!(api.hold("10.9.0.1", "x").unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(api.hold("10.244.0.4", "").unwrap_err().code(), tonic::Code::InvalidArgument);
    assert_eq!(cni.addresses(&web("c1")), ["10.244.0.2"], "who has it keeps it");
    assert_eq!(cni.addresses(&Pod::new("b", "c2")), ["10.244.0.4"]);
    cni.del(&web("c1"));

    // Both holds and the numbers of leases outlive the daemon.
    let lease = api.leases("", "10.244.0.4").unwrap().remove(0);
    ipamd.kill();
    let _ipamd = node.start(Daemon::Ipamd);
    let mut api = Api::of(&node);
    // A DEL that the kill has undone only prolongs the lease; the runtime asks again.
    cni.del(&web("c1"));
    let refused = cni.add(&web("c3")).unwrap_err();
    assert_eq!(
        (refused.code, refused.msg.as_str()),
        (11, "address 10.244.0.2 is on hold by an operator: under investigation")
    );
    api.unhold("10.244.0.2").unwrap();
    assert_eq!(api.unhold("10.244.0.2").unwrap_err().code(), tonic::Code::FailedPrecondition);
    assert_eq!(cni.addresses(&web("c3")), ["10.244.0.2"]);

    let stale = api.release("10.244.0.4", lease.seq + 1, false).unwrap_err();
    assert_eq!(stale.code(), tonic::Code::FailedPrecondition);
    assert!(stale.message().contains("is lease"), "{}", stale.message());
    api.release("10.244.0.4", lease.seq, true).unwrap();
    assert_eq!(api.leases("", "10.244.0.4").unwrap()[0].state, "assigned", "a dry run");
    let before = api.release("10.244.0.4", lease.seq, false).unwrap();
    assert_eq!(before.unwrap().state, "assigned");
    let after = api.leases("", "10.244.0.4").unwrap().remove(0);
    assert!(after.let_go && after.state != "assigned", "{after:?}");
    assert_eq!(api.release("10.244.0.5", 1, false).unwrap_err().code(), tonic::Code::NotFound);
}
