//! Addresses by the standard plugins, the real daemon and its store.

use mainstay_tests::cni::{Attachment, Failure, Runtime};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::pods::{Pods, addresses};
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::until;
use serde_json::{Value, json};
use std::net::IpAddr;

fn config(v4: &str, cooldown: &str) -> String {
    format!(
        "nodes: [{{name: node-a, address: 192.0.2.2}}]
network: {{mode: bgp, families: [ipv4, ipv6]}}
bgp: {{asn: 64512}}
ipam:
  pools:
    - {v4}
    - {{name: default6, cidr: 'fd00:10:244::/48', block_size: 122}}
  cooldown: {cooldown}
"
    )
}

const POOL: &str = "{name: default, cidr: 10.244.0.0/16, block_size: 26}";
/// Eight addresses of which five can be handed out.
const SMALL: &str = "{name: default, cidr: 10.244.0.0/29, block_size: 29}";

struct Host {
    node: Node,
    ipamd: Proc,
}

fn host(v4: &str, cooldown: &str) -> Host {
    let node = Node::new("node-a", Netns::new("node"), &config(v4, cooldown));
    let ipamd = node.start(Daemon::Ipamd);
    Host { node, ipamd }
}

impl Host {
    /// The IPAM plugin alone, as a main plugin calls it: no interface is made.
    fn ipam(&self, version: &str) -> Runtime {
        let socket = self.node.run_dir().join("cni.sock");
        Runtime::new(json!({
            "cniVersion": version,
            "name": "mainstay",
            "plugins": [{"type": "mainstay-ipam", "ipam": {"type": "mainstay-ipam", "socket": socket}}],
        }))
    }

    fn add(&self, at: &Attachment) -> Result<Vec<IpAddr>, Failure> {
        self.ipam("1.0.0").add(&self.node.host, at).map(|result| addresses(&result))
    }

    fn del(&self, at: &Attachment) {
        self.ipam("1.0.0").del(&self.node.host, at).expect("DEL succeeds");
    }
}

fn pod(name: &str, container: &str) -> Attachment {
    Attachment::pod(
        container,
        "/run/netns/none".as_ref(),
        "default",
        name,
        &format!("uid-{container}"),
    )
}

#[test]
fn a_pod_has_an_address_of_each_family_and_reaches_its_neighbour() {
    let host = host(POOL, "130s");
    let pods = Pods::new(&host.node, Default::default());
    let (a, b) = (pods.create("a").unwrap(), pods.create("b").unwrap());
    assert_ne!(a.v4, b.v4);
    for address in [Some(b.v4), b.v6].into_iter().flatten() {
        until(5, "a pings b", || a.host.pings(&address.to_string()));
    }
    pods.runtime().check(&host.node.host, &a.at).expect("CHECK finds what ADD made");
    let routes = host.node.host.ip("route show proto 97");
    assert!(routes.contains("blackhole 10.244.0.0/26"), "{routes}");
    assert!(host.node.host.ip("-6 route show proto 97").contains("blackhole fd00:10:244::/122"));
    pods.delete(a).unwrap();
    pods.delete(b).unwrap();
}

#[test]
fn add_repeated_gives_the_same_answer_and_del_may_be_repeated() {
    let host = host(POOL, "130s");
    let at = pod("web-0", "c1");
    let first = host.add(&at).unwrap();
    assert_eq!(host.add(&at).unwrap(), first);
    host.del(&at);
    host.del(&at);
    host.del(&pod("never", "seen"));
}

#[test]
fn a_pod_created_again_gets_its_address_back_within_the_cooldown_and_nobody_else_does() {
    let host = host(SMALL, "1h");
    let old = host.add(&pod("web-0", "c1")).unwrap();
    host.del(&pod("web-0", "c1"));
    // Everybody else takes all there is, and the cooling address is not among it.
    for n in 0..4 {
        let other = host.add(&pod(&format!("other-{n}"), &format!("o{n}"))).unwrap();
        assert_ne!(other[0], old[0]);
    }
    let failure = host.add(&pod("one-too-many", "o9")).unwrap_err();
    assert_eq!(failure.code, 11, "{failure}");
    assert!(failure.msg.contains("full") && failure.to_string().contains("free in"), "{failure}");
    assert_eq!(host.add(&pod("web-0", "c2")).unwrap()[0], old[0]);
}

#[test]
fn a_late_del_of_the_old_sandbox_does_not_take_the_new_ones_address() {
    let host = host(POOL, "130s");
    let (old, new) = (pod("web-0", "c1"), pod("web-0", "c2"));
    let mut new = new;
    // The same pod object, a new sandbox: after a reboot there was no DEL.
    new.args = old.args.replace("K8S_POD_INFRA_CONTAINER_ID=c1", "K8S_POD_INFRA_CONTAINER_ID=c2");
    let address = host.add(&old).unwrap();
    assert_eq!(host.add(&new).unwrap(), address, "the same UID takes its address over");
    host.del(&old);
    let other = host.add(&pod("other", "c3")).unwrap();
    assert_ne!(other, address);
    host.ipam("1.0.0").add(&host.node.host, &new).unwrap();
    let lease = host.node.json(&["ipam", "show", &address[0].to_string()]).unwrap();
    assert!(lease.to_string().contains("\"assigned\""), "{lease}");
}

#[test]
fn after_the_cooldown_the_address_is_free_for_others() {
    let host = host(SMALL, "1s");
    let old = host.add(&pod("web-0", "c1")).unwrap();
    host.del(&pod("web-0", "c1"));
    let mut seen = Vec::new();
    for n in 0..4 {
        seen.extend(host.add(&pod(&format!("other-{n}"), &format!("o{n}"))).unwrap());
    }
    assert!(!seen.contains(&old[0]), "never-used addresses come first");
    until(10, "the address is handed on", || {
        host.add(&pod("last", "o9")).is_ok_and(|ips| ips[0] == old[0])
    });
}

#[test]
fn acknowledged_addresses_survive_a_sigkill_of_the_daemon() {
    let mut host = host(POOL, "130s");
    let pods: Vec<_> = (0..20).map(|n| pod(&format!("p{n}"), &format!("c{n}"))).collect();
    let given: Vec<_> = pods.iter().map(|at| host.add(at).unwrap()).collect();
    host.ipamd.kill();
    host.ipamd = host.node.start(Daemon::Ipamd);
    for (at, ips) in pods.iter().zip(&given) {
        assert_eq!(&host.add(at).unwrap(), ips);
    }
    let fresh = host.add(&pod("fresh", "f")).unwrap();
    assert!(!given.contains(&fresh));
}

#[test]
fn the_plugin_waits_for_a_daemon_that_restarts() {
    let mut host = host(POOL, "130s");
    host.ipamd.kill();
    let (mut runtime, at) = (host.ipam("1.0.0"), pod("web-0", "c1"));
    let ns = host.node.host.path();
    let waiting = std::thread::spawn(move || {
        let outside = Netns::existing(&ns);
        runtime_add(&mut runtime, &outside, &at)
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    host.ipamd = host.node.start(Daemon::Ipamd);
    assert!(!waiting.join().unwrap().unwrap().is_null());
}

fn runtime_add(runtime: &mut Runtime, host: &Netns, at: &Attachment) -> Result<Value, Failure> {
    runtime.add(host, at)
}

#[test]
fn every_supported_version_gets_a_result_of_its_own_shape() {
    let host = host(POOL, "130s");
    for (n, version) in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].iter().enumerate() {
        let runtime = host.ipam(version);
        let at = pod(&format!("v{n}"), &format!("c{n}"));
        let result = runtime.add(&host.node.host, &at).unwrap();
        assert_eq!(result["cniVersion"], *version);
        assert_eq!(result["ips"][0].get("version").is_some(), version.starts_with('0'), "{result}");
        assert!(result["ips"][0]["address"].as_str().unwrap().ends_with("/26"), "{result}");
        assert_eq!(result["ips"][0]["gateway"], "10.244.0.1", "{result}");
        assert!(result["routes"].to_string().contains("0.0.0.0/0"), "{result}");
        if *version != "0.3.1" {
            runtime.check(&host.node.host, &at).expect("CHECK");
        }
        runtime.del(&host.node.host, &at).expect("DEL");
    }
    host.ipam("1.1.0").status(&host.node.host).expect("STATUS");
}

#[test]
fn gc_frees_what_the_runtime_no_longer_knows() {
    let host = host(POOL, "130s");
    let runtime = host.ipam("1.1.0");
    let (kept, gone) = (pod("kept", "c1"), pod("gone", "c2"));
    let ip = addresses(&runtime.add(&host.node.host, &kept).unwrap());
    runtime.add(&host.node.host, &gone).unwrap();
    runtime.gc(&host.node.host, &[&kept]).unwrap();
    let shown = host.node.json(&["ipam", "show", "--state", "assigned"]).unwrap().to_string();
    assert!(shown.contains("default/kept") && !shown.contains("default/gone"), "{shown}");
    assert_eq!(addresses(&runtime.add(&host.node.host, &kept).unwrap()), ip);
}

#[test]
fn the_blackhole_route_comes_back_when_somebody_removes_it() {
    let host = host(POOL, "130s");
    host.node.host.ip("route del blackhole 10.244.0.0/26 proto 97");
    until(20, "the route is back", || {
        host.node.host.ip("route show proto 97").contains("10.244.0.0/26")
    });
}

#[test]
fn the_bridge_plugin_works_beside_the_blackhole_route() {
    let host = host(POOL, "130s");
    let socket = host.node.run_dir().join("cni.sock");
    let runtime = Runtime::new(json!({
        "cniVersion": "1.0.0",
        "name": "mainstay",
        "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
                     "ipam": {"type": "mainstay-ipam", "socket": socket}}],
    }));
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    let at = |ns: &Netns, name| Attachment::pod(name, &ns.path(), "default", name, name);
    runtime.add(&host.node.host, &at(&a, "a")).unwrap();
    let b_ips = addresses(&runtime.add(&host.node.host, &at(&b, "b")).unwrap());
    until(5, "a pings b over the bridge", || a.pings(&b_ips[0].to_string()));
    until(5, "the node pings b", || host.node.host.pings(&b_ips[0].to_string()));
}
