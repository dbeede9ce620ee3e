//! containerd with runc, by its CRI as a kubelet uses it and by `ctr run --cni`.

use mainstay_tests::containerd::{Containerd, PodSpec};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::until;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

fn config(socket: &str) -> String {
    format!(
        "nodes: [{{name: node-a, address: 192.0.2.2}}]
network: {{mode: bgp, families: [ipv4, ipv6]}}
bgp: {{asn: 64512}}
ipam:
  pools:
    - {{name: default, cidr: 10.244.0.0/16, block_size: 26}}
    - {{name: default6, cidr: 'fd00:10:244::/48', block_size: 122}}
  gc: {{interval: 200ms, grace: 1s, runtime: '{socket}'}}
"
    )
}

struct Machine<'a> {
    node: &'a Node,
    containerd: Containerd<'a>,
    ipamd: Proc,
}

fn node() -> Node {
    Node::new("node-a", Netns::new("node"), &config("/nobody"))
}

fn machine(node: &Node) -> Machine<'_> {
    let section = json!({"type": "mainstay-ipam", "run_dir": node.run_dir()});
    let capabilities = json!({"io.kubernetes.cri.pod-annotations": true});
    let containerd = Containerd::start(
        node,
        &json!({"cniVersion": "1.0.0", "name": "pods",
            "plugins": [{"type": "ptp", "ipam": section, "capabilities": capabilities}]}),
    );
    node.configure(&config(&containerd.socket().display().to_string()));
    let ipamd = node.start_with(Daemon::Ipamd, &[], containerd.among_its_mounts());
    Machine { node, containerd, ipamd }
}

impl Machine<'_> {
    fn start_ipamd(&mut self) {
        let mounts = self.containerd.among_its_mounts();
        self.ipamd = self.node.start_with(Daemon::Ipamd, &[], mounts);
    }

    fn pod(&self, pod: &PodSpec) -> (String, String) {
        let id = self.containerd.run_pod(pod).unwrap_or_else(|e| panic!("{}: {e}", pod.name));
        let address = self.containerd.address(&id).expect("the pod has an address");
        (id, address.to_string())
    }

    /// What `mainstay ipam show` says of an address.
    fn lease(&self, address: &str) -> Value {
        let shown = self.node.json(&["ipam", "show", address]).expect("ipamd answers");
        shown["leases"][0].clone()
    }
}

#[test]
fn a_pod_of_containerd_has_its_address_and_gets_it_back_by_name_and_by_key() {
    let node = node();
    let machine = machine(&node);
    let (id, first) = machine.pod(&PodSpec::new("web-0", "u1"));
    until(10, "the node pings the pod", || node.host.pings(&first));
    assert_eq!(machine.lease(&first)["owner"], "pod default/web-0");

    // The kubelet stops a sandbox more than once.
    machine.containerd.stop_pod(&id).expect("StopPodSandbox");
    machine.containerd.stop_pod(&id).expect("StopPodSandbox, repeated");
    assert_eq!(machine.lease(&first)["state"], "cooling");
    machine.containerd.remove_pod(&id).expect("RemovePodSandbox");
    let (_, second) = machine.pod(&PodSpec::new("web-0", "u2"));
    assert_eq!(second, first, "a StatefulSet's pod, created again");

    let keyed = |name: &str| {
        let mut pod = PodSpec::new(name, name);
        pod.annotations.insert("mainstay.io/sticky-key".into(), "db".into());
        pod
    };
    let (id, first) = machine.pod(&keyed("db-x"));
    machine.containerd.stop_pod(&id).expect("StopPodSandbox");
    let (_, other) = machine.pod(&PodSpec::new("other", "other"));
    assert_ne!(other, first);
    assert_eq!(machine.pod(&keyed("db-y")).1, first, "the annotation's key is the owner");
}

#[test]
fn ctr_run_gives_a_container_its_address_and_takes_it_back() {
    let node = node();
    let machine = machine(&node);
    let said = machine.containerd.run("c1", &["/bin/busybox", "ip", "addr"]).expect("ctr run");
    assert!(said.contains("inet 10.244.0.2/26"), "{said}");
    assert!(said.contains("inet6 fd00:10:244::2/122"), "{said}");
    assert_eq!(machine.lease("10.244.0.2")["state"], "cooling", "the DEL came");
}

#[test]
fn restarts_of_both_daemons_under_a_running_pod_disturb_nothing() {
    let node = node();
    let mut machine = machine(&node);
    let (id, address) = machine.pod(&PodSpec::new("web-0", "u1"));
    until(10, "the node pings the pod", || node.host.pings(&address));
    let (done, lost) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lost.fetch_or(!node.host.pings(&address), Ordering::Relaxed);
            }
        });
        machine.ipamd.kill();
        machine.start_ipamd();
        machine.containerd.restart();
        assert!(machine.ipamd.terminate().success());
        machine.start_ipamd();
        done.store(true, Ordering::Relaxed);
    });
    assert!(!lost.into_inner(), "a ping was lost");
    assert_eq!(machine.lease(&address)["state"], "assigned");
    assert_ne!(machine.pod(&PodSpec::new("web-1", "u2")).1, address);

    // No address daemon, and pods can be deleted all the same.
    machine.ipamd.kill();
    machine.containerd.stop_pod(&id).expect("the DEL is kept for later");
    machine.start_ipamd();
    assert_eq!(machine.lease(&address)["state"], "cooling");
}

#[test]
fn after_a_reboot_a_pod_takes_its_address_over_and_what_nobody_deletes_is_collected() {
    let node = node();
    let mut machine = machine(&node);
    let mut pod = PodSpec::new("web-0", "u1");
    let (old, address) = machine.pod(&pod);
    let (forgotten, leaked) = machine.pod(&PodSpec::new("gone", "u2"));
    machine.ipamd.kill();
    machine.containerd.reboot();
    machine.start_ipamd();

    pod.attempt = 1;
    let (new, again) = machine.pod(&pod);
    assert_eq!(again, address, "the same UID takes it over, though no DEL came");
    machine.containerd.stop_pod(&old).expect("StopPodSandbox of the old one");
    let lease = machine.lease(&address);
    assert_eq!((&lease["state"], &lease["container_id"]), (&json!("assigned"), &json!(new)));
    until(10, "the node pings the pod", || node.host.pings(&address));

    // The runtime still lists the other sandbox: it owes a DEL, and the lease is kept for it.
    assert_eq!(machine.lease(&leaked)["state"], "assigned");
    machine.containerd.forget(&forgotten);
    until(60, "no DEL will ever come: collected", || machine.lease(&leaked)["state"] == "cooling");
    assert_eq!(machine.lease(&address)["state"], "assigned", "the living one is left alone");
    until(10, "it is in the log", || machine.ipamd.log().contains("no DEL came"));
}
