//! Another IPAM plugin's node becomes ours while its pods run, and goes back.

use mainstay_tests::cni::{Attachment, Failure, Runtime};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::pods::addresses;
use mainstay_tests::proc::{Proc, bin};
use mainstay_tests::stream::Stream;
use mainstay_tests::wait::until;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;

/// Calico's store, as its custom resources have it.
const CALICO: &str = include_str!("fixtures/calico.yaml");

const DUAL: &str = "nodes:
  - {name: node-a, address: 192.0.2.2, blocks: [10.244.0.0/26, 10.244.1.0/26, 'fd00:10:244::/122']}
network: {mode: bgp, families: [ipv4, ipv6]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: four, cidr: 10.244.0.0/16, block_size: 26}
    - {name: six, cidr: 'fd00:10:244::/112', block_size: 122}
";

const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp, families: [ipv4]}
bgp: {asn: 64512}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 26}
";

struct Site {
    node: Node,
    _ipamd: Proc,
    conflist: PathBuf,
    cache: PathBuf,
    networks: PathBuf,
}

struct Pod {
    host: Netns,
    at: Attachment,
    ip: IpAddr,
}

/// A node whose runtime uses ptp with host-local.
fn site() -> Site {
    site_of(CONFIG, r#"[{"subnet": "10.244.0.0/26"}]"#)
}

fn site_of(config: &str, ranges: &str) -> Site {
    let node = Node::new("node-a", Netns::new("node"), config);
    let ipamd = node.start(Daemon::Ipamd);
    let dir = node.dir.path();
    let (cache, networks) = (dir.join("results"), dir.join("networks"));
    std::fs::create_dir(&cache).unwrap();
    let text = format!(
        r#"{{
  "cniVersion": "1.0.0", "name": "pods",
  "plugins": [
    {{"type": "ptp",   "mtu": 1400,
     "ipam": {{ "type": "host-local", "dataDir": "{}",
               "ranges": [{ranges}],
               "routes": [{{"dst": "0.0.0.0/0"}}] }}}}
  ]
}}
"#,
        networks.display()
    );
    let conflist = node.dir.write("10-pods.conflist", &text);
    Site { node, _ipamd: ipamd, conflist, cache, networks }
}

impl Site {
    fn conflist(&self) -> String {
        std::fs::read_to_string(&self.conflist).unwrap()
    }

    /// As the runtime has it now.
    fn runtime(&self) -> Runtime {
        Runtime::new(serde_json::from_str(&self.conflist()).unwrap())
    }

    /// A pod, and what libcni remembers of it.
    fn create(&self, name: &str) -> Pod {
        self.create_by(&self.runtime(), name).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn create_by(&self, runtime: &Runtime, name: &str) -> Result<Pod, Failure> {
        let host = Netns::new(name);
        let container = format!("sandbox-{name}");
        let at = Attachment::pod(&container, &host.path(), "default", name, &format!("uid-{name}"));
        let result = runtime.add(&self.node.host, &at)?;
        let ip = addresses(&result)[0];
        let args: Vec<_> = at.args.split(';').filter_map(|arg| arg.split_once('=')).collect();
        let cached = json!({"kind": "cniCacheV1", "containerId": container, "ifName": "eth0",
            "networkName": "pods", "netns": at.netns, "cniArgs": args, "result": result});
        std::fs::write(self.cached(&container), cached.to_string()).unwrap();
        Ok(Pod { host, at, ip })
    }

    fn cached(&self, container: &str) -> PathBuf {
        self.cache.join(format!("pods-{container}-eth0"))
    }

    fn delete(&self, pod: Pod) -> IpAddr {
        self.runtime().del(&self.node.host, &pod.at).unwrap();
        std::fs::remove_file(self.cached(&pod.at.container)).unwrap();
        pod.host.remove();
        pod.ip
    }

    fn migrate(&self, way: &[&str]) -> Output {
        let (conflist, cache) = (self.conflist.to_str().unwrap(), self.cache.to_str().unwrap());
        let files = ["--conflist", conflist, "--cache", cache, "--settle", "200ms"];
        let ours = bin("mainstay-ipam");
        let ours = ours.parent().and_then(Path::to_str).unwrap();
        let plugins = ["--bin-dir", ours, "--bin-dir", "/usr/lib/cni", "--bin-dir", self.plugins()];
        self.node.cli(&[&["ipam", "migrate"], way, &files, &plugins].concat())
    }

    /// Where a plugin may come and go.
    fn plugins(&self) -> &str {
        self.cache.parent().and_then(Path::to_str).unwrap()
    }

    #[track_caller]
    fn migrated(&self, way: &[&str]) -> String {
        let out = self.migrate(way);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
        said
    }

    fn lease(&self, ip: IpAddr) -> Value {
        let shown = self.node.json(&["ipam", "show", &ip.to_string()]).unwrap();
        shown["leases"][0].clone()
    }

    fn shown(&self, ip: &str) -> String {
        let out = self.node.cli(&["ipam", "show", ip]);
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.networks.join("pods")).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn said(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(1));
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_live_node_goes_from_host_local_to_mainstay_and_back_without_a_lost_packet() {
    let site = site();
    let [a, b, short] = ["a", "b", "short"].map(|name| site.create(name));
    until(10, "a reaches b", || a.host.pings(&b.ip.to_string()));
    let stream = Stream::start(&a.host, &b.host, SocketAddr::new(b.ip, 9));
    let (original, old_runtime) = (site.conflist(), site.runtime());

    let told = site.migrated(&["--from", "host-local", "--dry-run"]);
    assert!(told.contains("3 leases would be taken over"), "{told}");
    assert_eq!(site.conflist(), original, "a dry run changes nothing");
    assert!(site.lease(a.ip).is_null());

    let told = site.migrated(&["--from", "host-local"]);
    assert!(told.contains("3 leases taken over") && told.contains("switched"), "{told}");
    let beside = site.conflist.with_file_name("10-pods.conflist.before-mainstay");
    assert_eq!(std::fs::read_to_string(beside).unwrap(), original);
    let switched = site.conflist();
    assert!(switched.contains(r#"{"type": "ptp",   "mtu": 1400,"#), "{switched}");
    let lease = site.lease(a.ip);
    assert_eq!((&lease["owner"], &lease["state"]), (&json!("pod default/a"), &json!("assigned")));
    assert_eq!((&lease["pod_uid"], &lease["network"]), (&json!("uid-a"), &json!("pods")));

    // A runtime that has not read the new file yet cannot give an address twice.
    let stale = site.create_by(&old_runtime, "stale").map(|pod| pod.ip).unwrap_err();
    assert!(stale.to_string().contains("no IP addresses available"), "{stale}");

    let c = site.create("c");
    assert!(![a.ip, b.ip, short.ip].contains(&c.ip), "{}", c.ip);
    until(10, "a new pod reaches an old one", || c.host.pings(&a.ip.to_string()));
    let freed = site.delete(short);
    assert_eq!(site.lease(freed)["state"], "cooling", "DEL of an old pod finds its lease");
    let cache = site.cache.to_str().unwrap().to_owned();
    until(20, "mainstay ipam check finds nothing", || {
        site.node.cli(&["ipam", "check", "--cache", &cache]).status.success()
    });

    let told = site.migrated(&["--to", "host-local"]);
    assert!(told.contains("3 leases written"), "{told}");
    assert_eq!(site.conflist(), original, "every byte is back");
    let d = site.create("d");
    assert!(![a.ip, b.ip, c.ip].contains(&d.ip), "{}", d.ip);
    let gone = site.delete(c);
    assert!(!site.files().contains(&gone.to_string()), "host-local knows whose address it was");

    let told = site.migrated(&["--from", "host-local"]);
    assert!(told.contains("1 lease taken over, 2 known"), "{told}");
    assert_eq!(site.lease(gone)["state"], "cooling", "deleted by host-local in between");
    assert_eq!(site.lease(d.ip)["owner"], "pod default/d");

    let loss = stream.stop();
    assert!(loss.received > 0 && loss.lost() == 0, "{loss}");
    for pod in [a, b, d] {
        site.delete(pod);
    }
}

#[test]
fn a_migration_that_would_conflict_changes_nothing_and_names_the_conflicts() {
    let site = site();
    let a = site.create("a");
    let outside = site.networks.join("pods/10.9.0.7");
    std::fs::write(&outside, "elsewhere\r\neth0").unwrap();
    let (original, files) = (site.conflist(), site.files().len());
    let why = said(&site.migrate(&["--from", "host-local"]));
    assert!(why.contains("1 conflict; nothing was taken over"), "{why}");
    assert!(why.contains("10.9.0.7 is not an address of this node's blocks"), "{why}");
    assert_eq!((site.conflist(), site.files().len()), (original, files));
    assert!(site.lease(a.ip).is_null());
    let why = said(&site.migrate(&["--to", "host-local"]));
    assert!(why.contains(r#"its ipam is "host-local", not "mainstay-ipam""#), "{why}");

    // A fault that shows only after the leases were taken over: the runtime remembers otherwise.
    std::fs::remove_file(outside).unwrap();
    let (original, files) = (site.conflist(), site.files().len());
    let cached = std::fs::read_to_string(site.cached("sandbox-a")).unwrap();
    std::fs::write(site.cached("sandbox-z"), cached.replace("sandbox-a", "sandbox-z")).unwrap();
    let why = said(&site.migrate(&["--from", "host-local"]));
    assert!(why.contains("the runtime remembers it of sandbox-z"), "{why}");
    assert!(why.contains("everything was put back"), "{why}");
    assert_eq!((site.conflist(), site.files().len()), (original, files));
    site.delete(a);
}

/// A node of Calico, and its list of blocks. host-local stands in for calico-ipam's program: what
/// is tested is what becomes of the store and of the conflist.
fn calico_site() -> (Site, [Pod; 2], String) {
    let ranges = r#"[{"subnet": "10.244.0.0/26"}], [{"subnet": "fd00:10:244::/122"}]"#;
    let site = site_of(DUAL, ranges);
    let pods = ["a", "b"].map(|name| site.create(name));
    let text = site.conflist().replace("host-local", "calico-ipam");
    std::fs::write(&site.conflist, &text).unwrap();
    let list = site.node.dir.write("blocks.yaml", CALICO);
    (site, pods, list.to_str().unwrap().to_owned())
}

#[test]
fn a_calico_node_is_migrated_from_its_list_of_blocks_and_what_is_no_pod_is_on_hold_or_told() {
    let (site, [a, b], list) = calico_site();
    assert_eq!([a.ip, b.ip].map(|ip| ip.to_string()), ["10.244.0.2", "10.244.0.3"]);
    let told = site.migrated(&["--from", "calico", "--source", &list]);
    assert!(told.contains("4 leases taken over"), "{told}");
    for skipped in [
        "10.244.0.0/26: 1 addresses that Calico lets cool",
        "10.244.2.0/26: is being deleted by Calico",
        "10.244.3.0/26: 2 addresses of other nodes",
        "10.244.9.0/26: 1 addresses of other nodes",
    ] {
        assert!(told.contains(&format!("skipped: {skipped}")), "{skipped}: {told}");
    }
    for ip in ["10.244.0.2", "fd00:10:244::2"] {
        let lease = site.lease(ip.parse().unwrap());
        assert_eq!(
            (&lease["owner"], &lease["state"]),
            (&json!("pod default/a"), &json!("assigned"))
        );
        assert_eq!((&lease["pod_uid"], &lease["network"]), (&json!("uid-a"), &json!("pods")));
    }
    for (ip, why) in [
        ("10.244.0.0", "Calico: windows-reserved-ipam-handle"),
        ("10.244.0.1", "Calico: vxlanTunnelAddress, vxlan-tunnel-addr-node-a"),
        ("10.244.0.4", "Calico: another address of pods.sandbox-a"),
        ("10.244.0.63", "Calico: windows-reserved-ipam-handle"),
        ("10.244.1.5", "Calico: ipipTunnelAddress, ipip-tunnel-addr-node-a"),
        ("fd00:10:244::1", "Calico: vxlanV6TunnelAddress, vxlan-v6-tunnel-addr-node-a"),
    ] {
        assert!(site.shown(ip).contains(why), "{ip}: {}", site.shown(ip));
    }
    assert!(site.conflist().contains("mainstay-ipam"));
    let c = site.create("c");
    assert!(!["10.244.0.2", "10.244.0.3"].contains(&c.ip.to_string().as_str()), "{}", c.ip);
    for pod in [a, b, c] {
        site.delete(pod);
    }
}

#[test]
fn back_at_calico_its_store_has_every_address_before_its_plugin_is_asked() {
    let (site, [a, b], list) = calico_site();
    let original = site.conflist();
    site.migrated(&["--from", "calico", "--source", &list]);
    let ours = site.conflist();
    let c = site.create("c");
    let freed = site.delete(b);
    assert!(
        site.node.cli(&["ipam", "hold", "10.244.1.9", "--reason", "a printer"]).status.success()
    );

    let store = site.node.dir.path().join("store.yaml");
    let back = site.node.dir.path().join("back.yaml").to_str().unwrap().to_owned();
    let apply = format!("cp -t {}/applied", site.plugins());
    let way = ["--to", "calico", "--source", &back, "--apply-with", &apply];
    let why = said(&site.migrate(&way));
    assert!(why.contains("there is no calico-ipam in "), "{why}");
    std::os::unix::fs::symlink(
        "/usr/lib/cni/host-local",
        format!("{}/calico-ipam", site.plugins()),
    )
    .unwrap();
    let why = said(&site.migrate(&["--to", "calico", "--source", &back]));
    assert!(why.contains("Calico's store is to have the leases first"), "{why}");
    let told = site.migrated(&[&way[..], &["--dry-run"]].concat());
    assert!(told.contains("4 leases of 3 blocks would be written"), "{told}");
    assert!(!Path::new(&back).exists(), "a dry run writes nothing");

    // The directory that it copies to is not there yet.
    let why = said(&site.migrate(&way));
    assert!(why.contains("exit status: 1") && why.contains("everything was put back"), "{why}");
    assert_eq!(site.conflist(), ours, "without Calico's store nothing is switched");
    let d = site.create("d");

    // Written before d was there: with that, Calico would give d's address to another pod.
    let why = said(&site.migrate(&["--to", "calico", "--source", &back, "--applied"]));
    assert!(why.contains(&format!("not in the list of blocks: {}", d.ip)), "{why}");
    assert_eq!(site.conflist(), ours);

    std::fs::create_dir(store.with_file_name("applied")).unwrap();
    let told = site.migrated(&way);
    assert!(told.contains("6 leases written") && told.contains("applied: cp"), "{told}");
    assert_eq!(site.conflist(), original, "every byte is back");
    let store = site.node.dir.path().join("applied/back.yaml").to_str().unwrap().to_owned();
    assert!(!site.shown(&freed.to_string()).contains("on hold"), "the fence is down");

    // All that was here is there, and comes back from there.
    let again = ["ipam", "import", "calico", &store, "--network", "pods", "--dry-run"];
    let known = site.node.json(&again).unwrap();
    assert_eq!(known["conflicts"], json!([]), "{known}");
    assert_eq!(known["known"].as_array().map(Vec::len), Some(6 + 7), "{known}");
    assert_eq!(known["adopted"], json!([]), "{known}");
    let told = site.migrated(&["--from", "calico", "--source", &store]);
    assert!(told.contains("0 leases taken over, 13 known"), "{told}");
    for pod in [a, c, d] {
        site.delete(pod);
    }
}

#[test]
fn nothing_is_switched_to_a_plugin_that_the_runtime_would_not_find() {
    let site = site();
    let (conflist, original) = (site.conflist.to_str().unwrap(), site.conflist());
    let files = ["--conflist", conflist, "--bin-dir", site.plugins()];
    std::fs::create_dir_all(site.networks.join("pods")).unwrap();
    let migrate =
        |way: &[&str]| said(&site.node.cli(&[&["ipam", "migrate"], way, &files].concat()));
    for way in [&["--from", "host-local"][..], &["--from", "host-local", "--dry-run"]] {
        let why = migrate(way);
        assert!(why.contains("there is no mainstay-ipam in "), "{why}");
    }
    assert_eq!(site.conflist(), original);
    site.node.dir.write("mainstay-ipam", "not a program");
    let why = migrate(&["--from", "host-local"]);
    assert!(why.contains("mainstay-ipam cannot be executed"), "{why}");
    assert_eq!(site.conflist(), original);
}
