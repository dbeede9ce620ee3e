//! The address daemon is down or slow: what the plugin says, and that no DEL is lost by it.

use crate::survival::limit;
use mainstay_tests::cni::{Attachment, Runtime};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::pods::addresses;
use mainstay_tests::wait::until;
use rustix::process::{Resource, Signal};
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Eight addresses of which five can be handed out.
const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp: {asn: 64512}
ipam:
  pools: [{name: default, cidr: 10.244.0.0/29, block_size: 29}]
  cooldown: 1h
";

fn node() -> Node {
    Node::new("node-a", Netns::new("node"), CONFIG)
}

/// mainstay-ipam alone, with `more` in its section.
fn runtime(node: &Node, more: Value) -> Runtime {
    let mut section = json!({"type": "mainstay-ipam", "run_dir": node.run_dir(), "timeout": "1s"});
    for (key, value) in more.as_object().expect("an object") {
        section[key] = value.clone();
    }
    Runtime::new(json!({"cniVersion": "1.1.0", "name": "pods",
        "plugins": [{"type": "mainstay-ipam", "ipam": section}]}))
}

fn pod(container: &str) -> Attachment {
    let uid = format!("uid-{container}");
    Attachment::pod(container, "/run/netns/none".as_ref(), "default", container, &uid)
}

fn spooled(node: &Node) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.run_dir().join("spool")).expect("ipamd has made it");
    entries.map(|entry| entry.expect("it is readable").path()).collect()
}

fn in_state(node: &Node, state: &str) -> usize {
    let shown = node.json(&["ipam", "show", "--state", state]).expect("ipamd answers");
    shown["leases"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_del_while_the_daemon_is_away_succeeds_and_is_applied_at_its_start() {
    let node = node();
    let mut ipamd = node.start(Daemon::Ipamd);
    let runtime = runtime(&node, json!({}));
    let (gone, kept) = (pod("gone"), pod("kept"));
    runtime.add(&node.host, &gone).expect("ADD");
    let of_kept = addresses(&runtime.add(&node.host, &kept).expect("ADD"));
    ipamd.kill();

    runtime.del(&node.host, &gone).expect("DEL is kept for later");
    runtime.del(&node.host, &gone).expect("DEL may be repeated");
    assert_eq!(spooled(&node).len(), 1);
    let good = spooled(&node).remove(0);
    let torn = std::fs::read(&good).expect("it is readable");
    std::fs::write(good.with_file_name("0123456789abcdef.del"), &torn[..torn.len() - 2])
        .expect("the spool is writable");

    ipamd = node.start(Daemon::Ipamd);
    // Served, so applied.
    assert_eq!((in_state(&node, "assigned"), in_state(&node, "cooling")), (1, 1));
    assert_eq!(addresses(&runtime.add(&node.host, &kept).expect("ADD")), of_kept);
    let left = spooled(&node);
    assert!(left.len() == 1 && left[0].ends_with("0123456789abcdef.bad"), "{left:?}");
    assert!(ipamd.log().contains("cannot be read; set aside"), "{}", ipamd.log());
    let status = node.json(&["status"]).expect("status").to_string();
    assert!(status.contains("\"spooled_dels\":1"), "{status}");
}

#[test]
fn a_spooled_del_takes_nothing_from_a_container_that_came_later() {
    let node = node();
    let ipamd = node.start(Daemon::Ipamd);
    let runtime = runtime(&node, json!({}));
    let (old, mut new) = (pod("old"), pod("new"));
    // The same pod in another sandbox.
    new.args = old.args.replace("INFRA_CONTAINER_ID=old", "INFRA_CONTAINER_ID=new");
    let address = addresses(&runtime.add(&node.host, &old).expect("ADD"));

    // Too slow for the DEL, though not away: it is stopped.
    ipamd.signal(Signal::STOP);
    runtime.del(&node.host, &old).expect("DEL is kept for later");
    ipamd.signal(Signal::CONT);
    assert_eq!(addresses(&runtime.add(&node.host, &new).expect("ADD")), address);
    until(20, "the spool is applied", || spooled(&node).is_empty());
    assert_eq!(in_state(&node, "assigned"), 1, "the new sandbox has it");

    // The very same container again, as cnitool names them after their namespace.
    ipamd.signal(Signal::STOP);
    runtime.del(&node.host, &new).expect("DEL is kept for later");
    ipamd.signal(Signal::CONT);
    assert_eq!(addresses(&runtime.add(&node.host, &new).expect("ADD")), address);
    until(20, "the spool is applied", || spooled(&node).is_empty());
    assert_eq!(in_state(&node, "assigned"), 1, "what was asked for last counts");
}

#[test]
fn an_add_that_is_not_answered_fails_in_time_with_code_11_and_says_whom_to_look_for() {
    let node = node();
    let ipamd = node.start(Daemon::Ipamd);
    let runtime = runtime(&node, json!({}));
    let fails = |name: &str| {
        let began = Instant::now();
        let failure = runtime.add(&node.host, &pod(name)).expect_err("nobody answers");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(failure.code, 11, "{failure}");
        assert!(failure.msg.contains("mainstay-ipamd does not answer at"), "{failure}");
        assert!(failure.details.contains("is mainstay-ipamd running on this node?"), "{failure}");
    };
    ipamd.signal(Signal::STOP);
    fails("slow");
    ipamd.signal(Signal::CONT);
    drop(ipamd);
    fails("away");
}

#[test]
fn status_fails_for_want_of_addresses_only_when_asked_to() {
    let node = node();
    let _ipamd = node.start(Daemon::Ipamd);
    let (usual, literal) =
        (runtime(&node, json!({})), runtime(&node, json!({"status_on_exhaustion": "fail"})));
    literal.status(&node.host).expect("there are addresses");
    for n in 0..5 {
        usual.add(&node.host, &pod(&format!("c{n}"))).expect("ADD");
    }
    usual.status(&node.host).expect("a full pool must not evict running pods");
    let failure = literal.status(&node.host).expect_err("no address is free");
    assert_eq!((failure.code, failure.msg.as_str()), (50, "no address is free now in default"));
}

#[test]
fn a_daemon_out_of_descriptors_does_not_spin_and_serves_when_it_has_some_again() {
    let node = node();
    let ipamd = node.start(Daemon::Ipamd);
    let netmon = node.start(Daemon::Netmon);
    for daemon in [&ipamd, &netmon] {
        limit(daemon, Resource::Nofile, 3);
    }
    let connect =
        |socket: &str| UnixStream::connect(node.run_dir().join(socket)).expect("it listens");
    let _wait = ["ipamd.sock", "cni.sock", "netmon.sock"].map(connect);
    let used = || [&ipamd, &netmon].map(|daemon| daemon.usage().0);
    let before = used();
    std::thread::sleep(Duration::from_secs(3));
    for (now, before) in used().into_iter().zip(before) {
        assert!(now - before < Duration::from_secs(1), "it spins: {:?}", now - before);
    }
    for daemon in [&ipamd, &netmon] {
        limit(daemon, Resource::Nofile, 1024);
    }
    until(20, "both serve again", || {
        let status = node.json(&["status"]).unwrap_or_default();
        !status["ipamd"]["node"].is_null() && !status["netmon"]["node"].is_null()
    });
    let given = runtime(&node, json!({"timeout": "10s"})).add(&node.host, &pod("after"));
    given.expect("ADD");
}
