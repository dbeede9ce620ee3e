//! What `deploy/` ships for netmon and its neighbours: units, names, alerts and the dashboard.

// A test says what went wrong by panicking.
#![allow(clippy::unwrap_used)]

use mainstay_tests::client::http_get;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::proc::{start_in, tool};
use mainstay_tests::scratch::Scratch;
use mainstay_tests::wait::until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What it said, both ways; panics unless it succeeded.
#[track_caller]
fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{command:?}: {}\n{said}", out.status);
    said
}

fn promtool() -> Command {
    Command::new(tool("promtool", "prometheus"))
}

/// Every metric with its labels, by the reference.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let reference = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md"));
    let rows = reference.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let &["", name, "counter" | "gauge", labels, ..] = cells.as_slice() else { return None };
        let labels = labels.split(", ").filter(|l| !l.is_empty()).map(str::to_owned);
        Some((name.trim_matches('`').to_owned(), labels.collect()))
    });
    rows.collect()
}

/// Each metric of ours an expression names, with the labels it is selected by.
fn used(expression: &str) -> Vec<(String, Vec<String>)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = ["mainstay_", "process_"].iter().filter_map(|p| rest.find(p)).min() {
        let inside_a_word = rest[..at].ends_with(word);
        rest = &rest[at..];
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if inside_a_word {
            continue;
        }
        let selector = after.strip_prefix('{').and_then(|s| s.split_once('}'));
        let matchers = selector.map_or("", |(inside, _)| inside).split(", ");
        let labels = matchers.filter_map(|m| m.split(['=', '!']).next()).filter(|l| !l.is_empty());
        found.push((name.to_owned(), labels.map(str::to_owned).collect()));
    }
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&read(&deploy("grafana/mainstay-node.json"))).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().unwrap().iter();
    all.filter(|p| p["type"] != "row").collect()
}

fn queries(dashboard: &Value) -> Vec<&str> {
    let of_panels = panels(dashboard).into_iter().flat_map(|p| p["targets"].as_array().unwrap());
    let of_notes = dashboard["annotations"]["list"].as_array().unwrap().iter();
    of_panels.chain(of_notes).map(|t| t["expr"].as_str().unwrap()).collect()
}

#[test]
fn alerts_and_dashboard_name_only_metrics_and_labels_that_exist() {
    let known = known();
    let alerts = read(&deploy("prometheus/mainstay-alerts.yaml"));
    let board = dashboard();
    let variables = board["templating"]["list"].as_array().unwrap().iter();
    let variables = variables.filter_map(|v| v["definition"].as_str());
    let mut seen = BTreeSet::new();
    for text in queries(&board).into_iter().chain(variables).chain([alerts.as_str()]) {
        for (name, labels) in used(text) {
            let has = known.get(&name).unwrap_or_else(|| panic!("{name} does not exist:\n{text}"));
            for label in labels {
                let target = label == "job" || label == "instance";
                assert!(target || has.contains(&label), "{name} has no label {label}:\n{text}");
            }
            seen.insert(name);
        }
    }
    assert!(seen.len() > 35, "{seen:?}");
}

#[test]
fn every_alert_fires_for_its_fault_and_not_without() {
    run(promtool().args(["check", "rules"]).arg(deploy("prometheus/mainstay-alerts.yaml")));
    let tests = deploy("prometheus/mainstay-alerts.test.yaml");
    run(promtool().args(["test", "rules"]).arg(&tests));
    let tests = read(&tests);
    for alert in read(&deploy("prometheus/mainstay-alerts.yaml")).lines() {
        let Some((_, name)) = alert.split_once("- alert: ") else { continue };
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is never seen firing");
    }
}

#[test]
fn every_query_of_the_dashboard_is_valid() {
    let board = dashboard();
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (i, query) in queries(&board).iter().enumerate() {
        let query = query.replace("$__rate_interval", "5m").replace("$job", ".*");
        let query = query.replace("$instance", ".*");
        assert!(!query.contains('$'), "unknown variable in {query}");
        let quoted = serde_json::to_string(&query).unwrap();
        rules.push_str(&format!("      - {{record: \"q:{i}\", expr: {quoted}}}\n"));
    }
    let dir = Scratch::new("dashboard");
    run(promtool().args(["check", "rules"]).arg(dir.write("rules.yaml", &rules)));
}

#[test]
fn every_panel_says_what_it_shows_and_for_which_nodes() {
    let board = dashboard();
    assert_eq!(board["editable"], false);
    let mut ids = BTreeSet::new();
    for panel in panels(&board) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: id twice");
        assert!(panel["description"].as_str().is_some_and(|d| d.ends_with('.')), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let names = used(query);
            assert!(!names.is_empty(), "{title}: {query}");
            for (name, labels) in names {
                let by_node = ["job", "instance"].iter().all(|l| labels.iter().any(|x| x == l));
                assert!(by_node, "{title}: {name} of every node");
                let counter = name.ends_with("_total");
                let rated = query.contains("rate(") && query.contains("[$__rate_interval]");
                assert_eq!(counter, rated, "{title}: counters are shown as rates: {query}");
            }
        }
    }
}

/// The answer of a Prometheus in `host` to `query`: how many series.
fn series(host: &Netns, query: &str) -> Result<usize, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    let query: String = query.bytes().map(encode).collect();
    let answer = http_get(host, "127.0.0.1:9090", &format!("/api/v1/query?query={query}"))?;
    let answer: Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
    answer["data"]["result"].as_array().map(Vec::len).ok_or_else(|| answer.to_string())
}

#[test]
fn queries_on_what_the_kernel_tells_show_data() {
    let config = "nodes: [{name: n1, address: 10.9.0.1}]\nnetwork: {mode: none}\n";
    let node = Node::new("n1", Netns::new("node"), config);
    let _netmon = node.start(Daemon::Netmon);
    let scrape = "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: mainstay\n    \
                  static_configs: [{targets: ['127.0.0.1:9474']}]\n";
    let scrape = format!("--config.file={}", node.dir.write("prometheus.yaml", scrape).display());
    let data = format!("--storage.tsdb.path={}", node.dir.path().join("data").display());
    let listen = "--web.listen-address=127.0.0.1:9090";
    let program = tool("prometheus", "prometheus");
    let args = [scrape.as_str(), data.as_str(), listen];
    let _prometheus = start_in(&node.host, "prometheus", &program, &args, node.dir.path());
    until(30, "the first scrape", || series(&node.host, "up == 1") == Ok(1));
    for table in 1000..1010 {
        node.host.ip(&format!("route add blackhole 203.0.113.0/24 table {table} proto 96"));
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    until(30, "five good scrapes", || series(&node.host, "sum_over_time(up[1m]) >= 5") == Ok(1));
    let page = node.metrics("127.0.0.1:9474").unwrap();
    let mut asked = 0;
    for query in queries(&dashboard()) {
        let told = |name: &str| page.contains(&format!("\n# TYPE {name} "));
        // Sessions and addresses are not there without a network, nor is a link but lo.
        if used(query).iter().any(|(name, _)| !told(name)) || query.contains("interface!=") {
            continue;
        }
        let query = query.replace("$__rate_interval", "5s").replace("$job", ".*");
        let query = query.replace("$instance", ".*");
        let shown = series(&node.host, &query).unwrap();
        assert!(shown > 0, "nothing to show for {query}\n{page}");
        asked += 1;
    }
    assert!(asked > 15, "{asked}");
}

/// A system with the units of the machine, Mainstay installed beside them.
fn installed() -> Scratch {
    let root = Scratch::new("install");
    let bins = root.path().join("build");
    std::fs::create_dir_all(&bins).unwrap();
    let daemons = ["mainstay-bgpd", "mainstay-keeper", "mainstay-ipamd", "mainstay-netmon"];
    for name in daemons.into_iter().chain(["mainstay", "mainstay-ipam", "mainstay-none"]) {
        // Whatever can be executed: what is installed here is never run.
        std::fs::copy("/bin/true", bins.join(name)).unwrap();
    }
    install(&root, "bgp");
    root
}

fn install(root: &Scratch, mode: &str) -> String {
    run(Command::new(deploy("install.sh"))
        .arg(root.path())
        .env("BUILD", root.path().join("build"))
        .env("MODE", mode))
}

#[test]
fn the_units_are_valid_where_install_puts_them() {
    let root = installed();
    let host = Path::new("/lib/systemd/system");
    let analyze = tool("systemd-analyze", "systemd");
    assert!(host.join("sysinit.target").exists(), "apt-get install systemd");
    run(Command::new("mkdir").arg("-p").arg(root.path().join("lib/systemd")));
    run(Command::new("cp").arg("-r").arg(host).arg(root.path().join("lib/systemd")));
    run(Command::new("install")
        .args(["-Dt"])
        .arg(root.path().join("bin"))
        .args(["/bin/kill", "/bin/sh"]));
    let said = run(Command::new(analyze)
        .arg(format!("--root={}", root.path().display()))
        .args(["verify", "mainstay-bgpd.service", "mainstay-keeper.service"])
        .args(["mainstay-ipamd.service", "mainstay-netmon.service", "mainstay-shutdown.service"]));
    assert_eq!(said, "");
}

#[test]
fn installing_again_keeps_what_the_operator_wrote() {
    let root = installed();
    let at = |path: &str| root.path().join(path);
    for program in ["usr/local/bin/mainstay-bgpd", "opt/cni/bin/mainstay-ipam"] {
        assert_eq!(at(program).metadata().unwrap().permissions().mode() & 0o777, 0o755);
    }
    assert!(!at("etc/mainstay/mainstay.yaml").exists());
    let conflist = at("etc/cni/net.d/10-mainstay.conflist");
    std::fs::write(&conflist, "mine").unwrap();
    std::fs::write(at("etc/mainstay/mainstay.yaml"), "mine too").unwrap();
    let said = install(&root, "bgp");
    assert!(said.contains("kept") && !said.contains("next: write"), "{said}");
    assert_eq!(read(&conflist), "mine");
    assert_eq!(read(&at("etc/mainstay/mainstay.yaml")), "mine too");
    assert!(!at("etc/cni/net.d/10-mainstay-none.conflist").exists());
    install(&root, "none");
    assert!(at("etc/cni/net.d/10-mainstay-none.conflist").exists());
}

#[test]
fn iproute2_learns_the_names_that_netmon_uses() {
    let names = read(&deploy("iproute2/mainstay.conf"));
    let lines: Vec<_> = names.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(lines, ["96\tmainstay-bgp", "97\tmainstay-ipam"]);
}
