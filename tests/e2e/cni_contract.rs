//! What a runtime may rely on when it calls mainstay-ipam, with the real daemon behind it.

use mainstay_tests::cni::{Attachment, Failure, Runtime, exec};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::pods::addresses;
use mainstay_tests::proc::bin;
use mainstay_tests::wait::until;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4, ipv6]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 18}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 114}
";

fn node() -> Node {
    Node::new("node-a", Netns::new("node"), CONFIG)
}

fn ipam_alone(node: &Node) -> Runtime {
    let section = json!({"type": "mainstay-ipam", "run_dir": node.run_dir()});
    Runtime::new(json!({
        "cniVersion": "1.1.0",
        "name": "mainstay",
        "plugins": [{"type": "mainstay-ipam", "ipam": section}],
    }))
}

fn pod(name: &str) -> Attachment {
    let container = format!("sandbox-{name}");
    Attachment::pod(&container, "/run/netns/none".as_ref(), "default", name, &format!("uid-{name}"))
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An upgrade of the daemon fails no pod: who is in mid-call asks the next one.
#[test]
fn no_add_fails_while_the_daemon_is_restarted_again_and_again() {
    const CALLERS: usize = 4;
    let node = node();
    let runtime = ipam_alone(&node);
    let mut ipamd = node.start(Daemon::Ipamd);
    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let call = |caller: usize| {
        let mut given = Vec::new();
        for n in 0.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let result = runtime.add(&node.host, &pod(&format!("p{caller}-{n}")));
            given.push(result.unwrap_or_else(|failure| panic!("{failure}")));
            answered.fetch_add(1, Ordering::Relaxed);
        }
        given
    };
    let results: Vec<Value> = std::thread::scope(|scope| {
        let call = &call;
        // Also when a restart fails: the callers would go on for ever.
        let over = Over(&done);
        let callers: Vec<_> = (0..CALLERS).map(|c| scope.spawn(move || call(c))).collect();
        for restart in 1..=8 {
            until(30, "some have their addresses", || {
                answered.load(Ordering::Relaxed) > 15 * restart
            });
            assert!(ipamd.terminate().success());
            ipamd = node.start(Daemon::Ipamd);
        }
        drop(over);
        callers.into_iter().flat_map(|c| c.join().expect("no ADD failed")).collect()
    });
    let all: Vec<_> = results.iter().flat_map(addresses).collect();
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len(), "an address was given twice");
}

/// As a runtime would that has kept the result of ADD.
fn check(node: &Node, at: &Attachment, result: &Value) -> Result<Value, Failure> {
    let directory = bin("mainstay-ipam").parent().expect("a directory").to_owned();
    let config = json!({
        "cniVersion": "1.1.0", "name": "mainstay", "prevResult": result,
        "ipam": {"type": "mainstay-ipam", "run_dir": node.run_dir()},
    });
    exec(&node.host, &[directory], "mainstay-ipam", "CHECK", Some(at), &config.to_string())
}

#[test]
fn check_fails_once_the_addresses_are_no_longer_the_container_s() {
    let node = node();
    let _ipamd = node.start(Daemon::Ipamd);
    let (runtime, at) = (ipam_alone(&node), pod("web-0"));
    let result = runtime.add(&node.host, &at).unwrap();
    check(&node, &at, &result).expect("they are its own");

    let mut other = result.clone();
    other["ips"][0]["address"] = "10.244.9.9/18".into();
    let failure = check(&node, &at, &other).unwrap_err();
    assert_eq!(failure.code, 101, "{failure}");

    runtime.del(&node.host, &at).unwrap();
    let failure = check(&node, &at, &result).unwrap_err();
    assert_eq!(failure.code, 3, "{failure}");
}

/// The delegate of a chain that has both: the plugin reads `runtimeConfig`, the runtime fills it in.
#[test]
fn an_address_asked_for_by_capability_is_given_and_one_of_elsewhere_refused() {
    let node = node();
    let _ipamd = node.start(Daemon::Ipamd);
    let section = json!({"type": "mainstay-ipam", "run_dir": node.run_dir()});
    let runtime = Runtime::new(json!({
        "cniVersion": "1.1.0", "name": "mainstay",
        "plugins": [{
            "type": "mainstay-ipam", "ipam": section,
            "capabilities": {"ips": true, "io.kubernetes.cri.pod-annotations": true},
        }],
    }));
    let mut at = pod("asking");
    at.capabilities.insert("ips".into(), json!(["10.244.0.77/18"]));
    let given = addresses(&runtime.add(&node.host, &at).unwrap());
    assert!(given.contains(&"10.244.0.77".parse().unwrap()), "{given:?}");

    let mut at = pod("annotated");
    let annotations = json!({"mainstay.io/ips": "10.244.0.78"});
    at.capabilities.insert("io.kubernetes.cri.pod-annotations".into(), annotations);
    let given = addresses(&runtime.add(&node.host, &at).unwrap());
    assert!(given.contains(&"10.244.0.78".parse().unwrap()), "{given:?}");

    let mut at = pod("greedy");
    at.capabilities.insert("ips".into(), json!(["192.0.2.1"]));
    let failure = runtime.add(&node.host, &at).unwrap_err();
    assert_eq!(failure.code, 7, "{failure}");

    let keyed = |name: &str| {
        let mut at = pod(name);
        let annotations = json!({"mainstay.io/sticky-key": "db", "other": "x"});
        at.capabilities.insert("io.kubernetes.cri.pod-annotations".into(), annotations);
        at
    };
    let first = runtime.add(&node.host, &keyed("db-x")).unwrap();
    runtime.del(&node.host, &keyed("db-x")).unwrap();
    let second = runtime.add(&node.host, &keyed("db-y")).unwrap();
    assert_eq!(first["ips"], second["ips"], "the key of the annotation is the owner");
}

/// The codes of the table in docs/cni.md that are ever given.
fn documented() -> Vec<u64> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cni.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter_map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let code = cells.get(1)?.parse().ok()?;
        (!cells.get(3)?.starts_with("never")).then_some(code)
    });
    rows.collect()
}

/// A daemon whose replies are none.
fn rude(socket: std::path::PathBuf) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    // Until the test's process ends.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // All of the request first: the plugin is to fail at the reply.
            let mut length = [0; 4];
            let read = stream.read_exact(&mut length);
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            if read.and_then(|()| stream.read_exact(&mut request)).is_ok() {
                let _ = stream.write_all(&u32::MAX.to_be_bytes());
            }
        }
    });
}

/// The table of docs/cni.md, situation by situation: codes of the specification (1.1.0, "Error").
#[test]
fn every_error_code_of_the_specification_has_its_situation_or_none() {
    let node = node();
    let _ipamd = node.start(Daemon::Ipamd);
    rude(node.run_dir().join("rude.sock"));
    let directory = [bin("mainstay-ipam").parent().expect("a directory").to_owned()];
    let good = json!({"cniVersion": "1.1.0", "name": "mainstay",
        "ipam": {"type": "mainstay-ipam", "run_dir": node.run_dir(), "timeout": "30s"}});
    let with = |change: &dyn Fn(&mut Value)| {
        let mut conf = good.clone();
        change(&mut conf);
        conf.to_string()
    };
    let socket = |name: &str, timeout: &str| {
        let section = json!({"type": "mainstay-ipam", "timeout": timeout,
            "socket": node.run_dir().join(name)});
        with(&|conf| conf["ipam"] = section.clone())
    };
    let elsewhere = with(&|conf| conf["args"] = json!({"cni": {"ips": ["192.0.2.1"]}}));
    let unknown = with(&|conf| conf["prevResult"] = json!({"ips": []}));
    let unsupported = with(&|conf| conf["ipam"]["subnet"] = "10.0.0.0/8".into());
    let version = with(&|conf| conf["cniVersion"] = "2.0.0".into());
    let situations = [
        (1, "ADD", version),
        (2, "ADD", unsupported),
        (3, "CHECK", unknown),
        (4, "UPDATE", good.to_string()),
        (5, "ADD", socket("rude.sock", "30s")),
        (6, "ADD", "{".to_owned()),
        (7, "ADD", elsewhere),
        (11, "ADD", socket("nobody.sock", "200ms")),
        (50, "STATUS", socket("nobody.sock", "200ms")),
    ];
    let at = pod("asking");
    let call = |command: &str, stdin: &str| {
        exec(&node.host, &directory, "mainstay-ipam", command, Some(&at), stdin)
    };
    let given = situations.map(|(code, command, stdin)| {
        let failure = call(command, &stdin).unwrap_err();
        assert_eq!(failure.code, code, "{command} {stdin}: {failure}");
        (code, failure)
    });
    let given = BTreeMap::from(given);
    assert_eq!(given.keys().copied().collect::<Vec<_>>(), documented());
    let unsupported = &given[&2].msg;
    assert!(unsupported.contains(r#""subnet": "10.0.0.0/8""#), "key and value: {unsupported}");
}
