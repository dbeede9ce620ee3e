//! A node without container network: the plugin answers as a runtime expects, no daemon runs.

use mainstay_tests::cni::{Attachment, Runtime};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use serde_json::json;

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]\nnetwork: {mode: none}\n";

fn runtime() -> Runtime {
    Runtime::new(json!({
        "cniVersion": "1.1.0",
        "name": "none",
        "plugins": [{"type": "mainstay-none"}],
    }))
}

#[test]
fn the_node_is_ready_and_a_pod_gets_one_clear_error() {
    let (host, pod) = (Netns::new("node"), Netns::new("pod"));
    let runtime = runtime();
    runtime
        .status(&host)
        .expect("STATUS says ready, so that the kubelet lets host-network pods run");
    let at = Attachment::pod("c1", &pod.path(), "default", "web-0", "u1");
    let failure = runtime.add(&host, &at).unwrap_err();
    assert_eq!(failure.code, 100, "{failure}");
    assert!(failure.msg.contains("no container network"), "{failure}");
    assert!(failure.details.contains("hostNetwork"), "says what to do: {failure}");
    runtime.del(&host, &at).expect("DEL succeeds");
    runtime.gc(&host, &[]).expect("GC succeeds");
    let versions = runtime.version(&host).unwrap();
    assert!(versions["supportedVersions"].to_string().contains("1.1.0"), "{versions}");
}

#[test]
fn speaker_and_address_daemon_say_that_they_are_not_needed() {
    let node = Node::new("node-a", Netns::new("node"), CONFIG);
    for daemon in [Daemon::Bgpd, Daemon::Ipamd] {
        let (status, log) = node.run_to_end(daemon);
        assert!(status.success(), "{log}");
        assert!(log.contains("network.mode") && log.contains("none"), "{log}");
    }
}

#[test]
fn netmon_runs_without_the_other_daemons() {
    let node = Node::new("node-a", Netns::new("node"), CONFIG);
    let _netmon = node.start(Daemon::Netmon);
    let metrics = node.metrics("127.0.0.1:9474").unwrap();
    assert!(metrics.contains("mainstay_fib_routes{"), "{metrics}");
    let status = node.cli(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success(), "nothing is missing: {text}");
    assert!(text.contains("not needed"), "{text}");
}
