//! `mainstay ipam` as an operator types it, against the daemon.

use mainstay_tests::cni::{Attachment, Runtime};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::pods::{Pods, addresses};
use mainstay_tests::proc::bin;
use mainstay_tests::wait::until;
use serde_json::json;
use std::net::IpAddr;
use std::path::Path;

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/29, block_size: 29}
";

struct Host {
    node: Node,
    runtime: Runtime,
}

fn host() -> Host {
    let node = Node::new("node-a", Netns::new("node"), CONFIG);
    let socket = node.run_dir().join("cni.sock");
    let runtime = Runtime::new(json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{"type": "mainstay-ipam", "ipam": {"type": "mainstay-ipam", "socket": socket}}],
    }));
    Host { node, runtime }
}

fn pod(name: &str) -> Attachment {
    Attachment::pod(&format!("c-{name}"), "/run/netns/none".as_ref(), "default", name, name)
}

impl Host {
    fn add(&self, name: &str) -> String {
        addresses(&self.runtime.add(&self.node.host, &pod(name)).unwrap())[0].to_string()
    }

    fn del(&self, name: &str) {
        self.runtime.del(&self.node.host, &pod(name)).unwrap();
    }

    /// Exit code, and what was said on both.
    fn ask(&self, words: &str) -> (i32, String) {
        let words: Vec<_> = words.split_whitespace().collect();
        let out = self.node.cli(&[&["ipam"], &words[..]].concat());
        let text = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }

    fn seq(&self, address: &str) -> u64 {
        let shown = self.node.json(&["ipam", "show", address]).unwrap();
        shown["leases"][0]["seq"].as_u64().unwrap()
    }
}

#[test]
fn the_history_says_who_had_an_address_at_a_time_over_a_sigkill_of_the_daemon() {
    let host = host();
    let mut ipamd = host.node.start(Daemon::Ipamd);
    let address = host.add("web-0");
    host.del("web-0");
    let (_, told) = host.ask(&format!("history {address}"));
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[1].contains("assigned") && lines[1].contains("pod default/web-0"), "{told}");
    assert!(lines[2].contains("released") && lines[2].contains("del"), "{told}");
    // The log is written by a thread of its own: what was answered for is in the file.
    ipamd.kill();
    let _ipamd = host.node.start(Daemon::Ipamd);
    let history = host.node.json(&["ipam", "history", "default/web-0"]).unwrap();
    assert_eq!(history["events"].as_array().unwrap().len(), 2, "{history}");
    let (code, told) = host.ask(&format!("history {address} --at 2000-01-01"));
    assert!(code == 1 && told.contains("nobody is known to have had"), "{told}");
    let again = host.add("web-0");
    assert_eq!(again, address);
    let (code, told) = host.ask(&format!("history {address} --at now"));
    assert!(code == 0 && told.contains("pod default/web-0") && told.contains("still"), "{told}");
}

#[test]
fn an_address_is_held_and_released_only_as_the_operator_means_it() {
    let host = host();
    let _ipamd = host.node.start(Daemon::Ipamd);
    let address = host.add("web-0");
    let seq = host.seq(&address);
    let (code, told) = host.ask(&format!("release {address} --seq {}", seq + 1));
    assert!(code == 1 && told.contains("not lease"), "{told}");
    let (code, told) = host.ask(&format!("release {address} --seq {seq}"));
    assert!(code == 1 && told.contains("is in use: pod default/web-0 has it"), "{told}");
    let (code, told) = host.ask(&format!("release {address} --seq {seq} --force --dry-run"));
    assert!(code == 0 && told.contains("would be released"), "{told}");
    assert!(host.ask(&format!("show {address}")).1.contains("assigned"));
    host.del("web-0");
    let (code, told) = host.ask(&format!("release {address} --seq {seq}"));
    assert_eq!((code, told), (0, format!("{address} released, of pod default/web-0\n")));

    let (code, told) = host.ask("hold 10.244.0.5 --reason printer --dry-run");
    assert_eq!((code, told.as_str()), (0, "10.244.0.5 would be on hold\n"));
    assert_eq!(host.ask("hold 10.244.0.5 --reason printer").0, 0);
    let (_, told) = host.ask("show 10.244.0.5");
    assert!(told.contains("on hold: printer"), "{told}");
    let given: Vec<_> = ["a", "b", "c"].map(|name| host.add(name)).into();
    assert!(!given.contains(&"10.244.0.5".to_owned()), "{given:?}");
    assert_eq!(host.ask("unhold 10.244.0.5").0, 0);
    let (code, told) = host.ask("unhold 10.244.0.5");
    assert!(code == 1 && told.contains("is not on hold"), "{told}");
    assert_eq!(host.add("d"), "10.244.0.5");
    assert_eq!(host.ask("hold 10.9.0.1 --reason x").0, 1);
}

#[test]
fn leases_go_to_the_directory_of_host_local_and_to_another_node_from_it() {
    let host = host();
    let ipamd = host.node.start(Daemon::Ipamd);
    let given = ["a", "b"].map(|name| host.add(name));
    let dir = host.node.dir.path().join("pods");
    let dir = dir.to_str().unwrap();
    assert_eq!(host.ask(&format!("export host-local {dir} --network pods")).0, 0);
    let text = std::fs::read_to_string(format!("{dir}/{}", given[0])).unwrap();
    assert_eq!(text, "c-a\r\neth0");
    let (_, yaml) = host.ask("export calico -");
    assert!(yaml.contains("pods.c-b"), "{yaml}");
    let again = host.ask(&format!("import host-local {dir} --dry-run"));
    assert!(again.0 == 0 && again.1.contains("2 had been before"), "{}", again.1);
    drop(ipamd);

    let other = self::host();
    let _ipamd = other.node.start(Daemon::Ipamd);
    let (code, told) = other.ask(&format!("import host-local {dir} --dry-run"));
    assert!(code == 0 && told.contains("2 would be taken over"), "{told}");
    assert!(other.ask("show --state assigned").1.contains("no address"));
    assert_eq!(other.ask(&format!("import host-local {dir}")).0, 0);
    until(20, "nothing is wrong", || other.ask("check --cache /no/such").0 == 0);
    // From here on the lease names a namespace that is not there.
    assert_eq!(other.add("a"), given[0], "the container has its address already");
    let file = other.node.dir.write("blocks.yaml", &yaml);
    let (code, told) = other.ask(&format!("import calico {} --network pods", file.display()));
    assert!(code == 0 && told.contains("2 had been before"), "{told}");
    let (code, told) = other.ask("import cache /no/such --network pods");
    assert!(code == 1 && told.contains("/no/such is no directory"), "{told}");
}

#[test]
fn check_looks_into_the_namespaces_of_the_pods() {
    let host = host();
    let _ipamd = host.node.start(Daemon::Ipamd);
    let pods = Pods::new(&host.node, Default::default());
    let (a, b) = (pods.create("a").expect("ADD"), pods.create("b").expect("ADD"));
    let check = || host.ask("check --cache /nowhere");
    until(60, "all is well", || check().0 == 0);
    // A look at a loaded machine may fall together with anything else.
    let finds = |kind: &str, what: &str| {
        until(60, kind, || {
            let (code, told) = check();
            code == 1
                && told.contains(kind)
                && told.contains(&a.v4.to_string())
                && told.contains(what)
        });
    };
    a.host.ip("addr flush dev eth0");
    finds("unconfigured", "pod default/a has it, and its namespace ");
    b.host.ip(&format!("addr add {}/32 dev lo", a.v4));
    finds("elsewhere", "has it configured, and the lease is of pod default/a");
    b.host.ip(&format!("addr del {}/32 dev lo", a.v4));
    a.host.ip(&format!("addr add {}/32 dev eth0", a.v4));
    until(60, "all is well again", || check().0 == 0);
}

/// As libcni writes it after an ADD.
fn remember(cache: &Path, at: &Attachment, address: &IpAddr) {
    let args: Vec<_> = at.args.split(';').filter_map(|arg| arg.split_once('=')).collect();
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": format!("{address}/29")}]});
    let cached = json!({"kind": "cniCacheV1", "containerId": at.container, "ifName": at.ifname,
        "networkName": "mainstay", "netns": at.netns, "cniArgs": args, "result": result});
    let name = format!("mainstay-{}-{}", at.container, at.ifname);
    std::fs::write(cache.join(name), cached.to_string()).unwrap();
}

#[test]
fn pods_that_live_through_a_lost_store_are_taken_over_from_the_runtime_s_memory() {
    let host = host();
    let node = &host.node;
    let mut ipamd = node.start(Daemon::Ipamd);
    let pods = Pods::new(node, Default::default());
    let (a, b) = (pods.create("a").expect("ADD"), pods.create("b").expect("ADD"));
    let cache = node.dir.path().join("results");
    std::fs::create_dir(&cache).unwrap();
    remember(&cache, &a.at, &a.v4);
    remember(&cache, &b.at, &b.v4);
    // Never deleted by its runtime; its address was given again since.
    let stale = Attachment::pod("stale", "/run/netns/ms-stale".as_ref(), "default", "old", "u");
    remember(&cache, &stale, &a.v4);

    ipamd.kill();
    let store = node.dir.path().join("state/ipam/leases/db");
    std::fs::write(&store, b"no log at all".repeat(1000)).unwrap();
    let refused = node.start_failing(Daemon::Ipamd);
    assert!(refused.contains("mainstay ipam import cache /var/lib/cni/results"), "{refused}");
    let mut command = node.host.command(bin("mainstay-ipamd"));
    command.args(["--set-aside", "--node", "node-a", "--config"]).arg(node.config());
    let out = command.arg("--state-dir").arg(node.dir.path().join("state")).output().unwrap();
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains("ipam import"));
    let _ipamd = node.start(Daemon::Ipamd);
    let early = pods.create("early").expect_err("everything cools");
    assert_eq!(early.code, 11, "{early}");

    let import = format!("import cache {} --network mainstay", cache.display());
    let (code, told) = host.ask(&import);
    assert!(code == 0 && told.contains("2 taken over"), "{told}");
    assert!(told.contains("skipped") && told.contains("/run/netns/ms-stale is gone"), "{told}");
    let (_, told) = host.ask(&format!("show {}", a.v4));
    assert!(told.contains("assigned") && told.contains("pod default/a"), "{told}");
    until(20, "the pods reach each other as before", || a.host.pings(&b.v4.to_string()));
    let address = a.v4.to_string();
    pods.delete(a).expect("DEL");
    let (_, told) = host.ask(&format!("show {address}"));
    assert!(told.contains("cooling") && told.contains("pod default/a"), "{told}");
}
