//! What an operator asks before a change: `config diff`, `peers check`, `drill`.

use crate::pair::{BIRD, FRR, NODE, Pair, config, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::gobgp::GoBgp;
use mainstay_tests::proc::{Proc, bin, tool};
use mainstay_tests::wait::{eventually, until};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// `config diff` against the running speaker: its JSON and its exit code.
fn diff(pair: &Pair, new: &str) -> (Value, Option<i32>) {
    let path = pair.node.dir.write("new.yaml", new).display().to_string();
    let out = pair.node.cli(&["-o", "json", "config", "diff", &path]);
    let json =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&out)));
    (json, out.status.code())
}

#[test]
fn a_reload_does_to_the_session_what_config_diff_has_said() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let established = || pair.tor().unwrap()["established_count"].as_u64().unwrap();
    let mut keys = "import: all".to_owned();
    for (more, key, resets) in [
        ("hold_time: 30s", "hold_time", false),
        ("graceful_restart: {restart_time: 300s}", "graceful_restart", false),
        ("local_address: 192.0.2.2", "local_address", false),
        ("passive: true", "passive", false),
        ("export: all", "export", false),
        ("families: [ipv4]", "families", true),
    ] {
        keys = format!("{keys}, {more}");
        let new = config(&tor(&keys));
        let (json, code) = diff(&pair, &new);
        let change = &json["nodes"][0]["changes"][0];
        assert_eq!(change["what"], format!("bgp.peers tor: {key}"), "{json}");
        assert_eq!(change["resets_session"], resets, "{json}");
        assert_eq!(code, Some(if resets { 2 } else { 0 }), "{json}");
        let before = established();
        pair.node.configure(&new);
        let out = pair.node.cli(&["reload"]);
        assert!(out.status.success(), "{}", said(&out));
        if resets {
            until(20, "the session was reset and is back", || established() > before);
        } else {
            assert_eq!(
                (established(), pair.tor().unwrap()["state"].as_str()),
                (before, Some("Established"))
            );
        }
        let (json, code) = diff(&pair, &new);
        assert_eq!((json["nodes"].as_array().map(Vec::len), code), (Some(0), Some(0)), "{json}");
    }
}

#[test]
fn a_key_that_changes_while_a_dial_hangs_is_dialled_with_at_once() {
    let key = |pair: &Pair, text: &str| {
        let path = pair.node.dir.write("tor.key", text);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        path.display().to_string()
    };
    let pair = Pair::with_peer("");
    let path = key(&pair, "the old key");
    pair.node.configure(&config(&tor(&format!("password_file: {path}"))));
    let signed = BIRD.replace("connect delay time 1;", "passive on;\n  password \"the new key\";");
    let bird = Bird::start(&pair.peer, &signed);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    until(10, "a dial is under way", || pair.tor().is_ok_and(|tor| tor["state"] == "Connect"));
    key(&pair, "the new key");
    let out = pair.node.cli(&["reload"]);
    assert!(out.status.success(), "{}", said(&out));
    // A dial that is not given up hangs for ten seconds.
    bird.established("peer", 5);
}

/// `peers check`: the verdict on the one peer, and the exit code.
fn check(pair: &Pair) -> (String, Value, Option<i32>) {
    let out = pair.node.cli(&["-o", "json", "peers", "check"]);
    let json: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&out)));
    let verdict = json["peers"][0]["verdict"].as_str().unwrap_or_default().to_owned();
    (verdict, json, out.status.code())
}

fn finding(json: &Value, words: &str) -> Option<String> {
    let findings = json["peers"][0]["findings"].as_array()?;
    let found = findings.iter().find(|f| f["found"].as_str().is_some_and(|w| w.contains(words)))?;
    Some(found["change"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_bird_without_graceful_restart_would_flap_and_the_switch_is_told_what_to_do() {
    let pair = Pair::with_peer("");
    let off =
        BIRD.replace("connect delay time 1;", "connect delay time 1;\n  graceful restart off;");
    let bird = Bird::start(&pair.peer, &off);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let (verdict, json, code) = check(&pair);
    if verdict == "cannot tell" {
        assert_eq!(code, Some(1), "{json}");
    }
    bird.established("peer", 20);
    pair.established(20);
    let (verdict, json, code) = check(&pair);
    assert_eq!((verdict.as_str(), code), ("would flap", Some(2)), "{json}");
    let change = finding(&json, "capability 64").unwrap();
    assert!(change.contains("mainstay peer-config --peer tor "), "{json}");
}

#[test]
fn a_bird_that_is_aware_is_ok_and_what_it_lacks_is_said() {
    let pair = Pair::with_peer("graceful_restart: {notification: true}");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    pair.established(20);
    let (verdict, json, code) = check(&pair);
    assert_eq!((verdict.as_str(), code), ("ok", Some(0)), "{json}");
    assert!(finding(&json, "N bit").is_some(), "{json}");
}

#[test]
fn an_frr_as_it_comes_is_ok() {
    let pair = Pair::with_peer("");
    let frr = Frr::start(&pair.peer, FRR);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    frr.established(NODE, 20);
    pair.established(20);
    let (verdict, json, code) = check(&pair);
    assert_eq!((verdict.as_str(), code), ("ok", Some(0)), "{json}");
    assert!(finding(&json, "has no N bit").is_none(), "FRR has it: {json}");
    let bfd = finding(&json, "both sides have the N bit").unwrap();
    assert!(bfd.contains("bfd: true"), "a dead side is believed for long without BFD: {json}");
}

#[test]
fn a_bfd_that_shares_the_fate_of_birds_bgp_is_told_of_and_one_that_is_down_is_a_risk() {
    let pair = Pair::with_peer("bfd: true");
    let _keeper = pair.node.start(Daemon::Keeper);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let graceful = BIRD.replace("connect delay", "graceful restart on; connect delay");
    let verdict_when = |state: &str| {
        eventually(20, "the session and BFD are as they should be", || {
            let tor = pair.tor()?;
            let fits = tor["state"] == "Established" && tor["bfd"]["state"] == state;
            if fits && tor["survival"] == "tier0" { Ok(()) } else { Err(tor.to_string()) }
        });
        check(&pair)
    };
    let bird = Bird::start(&pair.peer, &graceful);
    let (verdict, json, code) = verdict_when("Down");
    assert_eq!((verdict.as_str(), code), ("at risk", Some(2)), "{json}");
    assert!(finding(&json, "it is Down and was never up").unwrap().starts_with("the switch: "));
    drop(bird);
    let bfd = "protocol bfd { neighbor 192.0.2.2 dev \"eth0\" local 192.0.2.1; }";
    let _bird = Bird::start(&pair.peer, &format!("{graceful}{bfd}\n"));
    let (verdict, json, code) = verdict_when("Up");
    assert_eq!((verdict.as_str(), code), ("ok", Some(0)), "{json}");
    let change = finding(&json, "no C bit, RFC 5882").unwrap();
    assert!(change.contains("max_peer_restart_time"), "{json}");
}

#[test]
fn a_gobgp_as_it_comes_would_flap() {
    let pair = Pair::with_peer("");
    let gobgp = GoBgp::start(
        &pair.peer,
        "[global.config]
  as = 65001
  router-id = \"192.0.2.1\"
[[neighbors]]
  [neighbors.config]
    neighbor-address = \"192.0.2.2\"
    peer-as = 64512
",
    );
    let _bgpd = pair.node.start(Daemon::Bgpd);
    gobgp.established(NODE, 30);
    pair.established(20);
    let (verdict, json, code) = check(&pair);
    assert_eq!((verdict.as_str(), code), ("would flap", Some(2)), "{json}");
}

/// A loop that starts bgpd again whenever it ends, as a supervisor does.
fn supervise(pair: &Pair, program: &Path) -> Proc {
    let node = &pair.node;
    let mut command = node.host.command("sh");
    // What the loop has started ends with the loop.
    let start = format!(
        "{} --pdeathsig KILL {} --config {} --node {} --run-dir {} --state-dir {}",
        tool("setpriv", "util-linux").display(),
        program.display(),
        node.config().display(),
        node.name,
        node.run_dir().display(),
        node.dir.path().join("state").display(),
    );
    command.args(["-c", &format!("while :; do {start}; sleep 0.2; done")]);
    let log = node.dir.path().join("supervised.log");
    let supervisor = Proc::start("bgpd and its supervisor", command, &log);
    until(20, "the supervised bgpd answers", || {
        node.json(&["status"]).is_ok_and(|s| s["bgpd"]["running"] == true)
    });
    supervisor
}

fn drill(pair: &Pair, words: &[&str]) -> (Value, Option<i32>) {
    let out = pair.node.cli(&[&["-o", "json", "drill"], words].concat());
    let json =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&out)));
    (json, out.status.code())
}

fn refused(pair: &Pair, words: &[&str]) -> String {
    let out = pair.node.cli(&[&["drill"], words].concat());
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_drill_ends_the_speaker_for_real_and_tells_what_that_cost() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let _supervisor = supervise(&pair, &bin("mainstay-bgpd"));
    bird.established("peer", 20);
    until(10, "routes stand", || pair.kernel().contains("198.51.100.0/24"));
    let nobody = refused(&pair, &["restart"]);
    assert!(nobody.contains("nobody is known to bring it back"), "{nobody}");
    for deed in ["restart", "kill"] {
        pair.established(20);
        let (json, code) = drill(&pair, &[deed, "--supervised"]);
        assert_ne!(json["pid_before"], json["pid_after"], "{json}");
        assert_eq!(json["sessions"][0]["up"], true, "{json}");
        // No keeper runs here: graceful restart saves the routes and not the session.
        assert_eq!((&json["sessions_lost"], code), (&Value::from(1), Some(2)), "{json}");
        assert_eq!(json["route_events"], 0, "{json}");
        assert_eq!(
            (&json["packets_lost"], &json["packets"][0]["rate"]),
            (&0.into(), &1000.into()),
            "{json}"
        );
        assert!(json["packets"][0]["sent"].as_u64().is_some_and(|n| n > 2000), "{json}");
    }
}

#[test]
fn a_drill_that_would_flap_is_refused_and_forced_it_tells_the_loss() {
    let pair = Pair::with_peer("import: all, graceful_restart: {enabled: false}");
    let bird = Bird::start(&pair.peer, BIRD);
    let _supervisor = supervise(&pair, &bin("mainstay-bgpd"));
    bird.established("peer", 20);
    pair.established(20);
    let text = refused(&pair, &["kill", "--supervised"]);
    assert!(text.contains("would flap tor"), "{text}");
    let (json, code) = drill(&pair, &["kill", "--supervised", "--force"]);
    assert_eq!((&json["sessions_lost"], code), (&Value::from(1), Some(2)), "{json}");
}

#[test]
fn an_upgrade_that_does_not_come_up_is_undone() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let program = pair.node.dir.path().join("bgpd-in-use");
    std::fs::copy(bin("mainstay-bgpd"), &program).unwrap();
    let _supervisor = supervise(&pair, &program);
    bird.established("peer", 20);
    pair.established(20);
    let broken = refused(&pair, &["upgrade", "--supervised", "--binary", "/bin/false"]);
    assert!(broken.contains("--version fails"), "{broken}");
    // It says its version and serves nobody.
    let words = ["upgrade", "--supervised", "--wait", "3", "--binary", "/bin/true"];
    let text = refused(&pair, &words);
    assert!(text.contains("not back after 3 s") && text.contains("is the old one again"), "{text}");
    eventually(20, "the old one serves again", || pair.tor());
    pair.established(20);
    let new = bin("mainstay-bgpd").display().to_string();
    let (json, _) = drill(&pair, &["upgrade", "--supervised", "--binary", &new]);
    assert_ne!(json["pid_before"], json["pid_after"], "{json}");
    assert_eq!(json["route_events"], 0, "{json}");
    assert!(program.with_extension("before-drill").exists());
}

#[test]
fn with_a_keeper_a_drill_loses_nothing_and_says_so() {
    // Nothing asked of the peer: graceful restart is off on both sides.
    let pair = Pair::with_peer("import: all, graceful_restart: {enabled: false}");
    let bird = Bird::start(&pair.peer, BIRD);
    let _keeper = pair.node.start(Daemon::Keeper);
    let _supervisor = supervise(&pair, &bin("mainstay-bgpd"));
    bird.established("peer", 20);
    eventually(20, "the keeper holds the session", || {
        let tor = pair.tor()?;
        if tor["survival"] == "tier0" { Ok(()) } else { Err(tor.to_string()) }
    });
    until(10, "routes stand", || pair.kernel().contains("198.51.100.0/24"));
    let (verdict, json, code) = check(&pair);
    assert_eq!(
        (verdict.as_str(), code),
        ("at risk", Some(2)),
        "the keeper is all there is: {json}"
    );
    let since = bird.since("peer");
    for deed in ["kill", "restart"] {
        let (json, code) = drill(&pair, &[deed, "--supervised"]);
        assert_eq!((&json["nothing_lost"], code), (&Value::from(true), Some(0)), "{json}");
        assert_eq!(json["sessions"][0]["kept"], true, "{json}");
        assert_ne!(json["pid_before"], json["pid_after"], "{json}");
    }
    assert_eq!(bird.since("peer"), since, "BIRD has seen one session all the time");
}
