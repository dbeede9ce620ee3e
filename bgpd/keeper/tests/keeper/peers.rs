//! Against BIRD and FRR, in network namespaces: a session without graceful restart outlives its
//! speaker's SIGKILL, and the peer sees nothing.

use crate::tiny::{self, HANG_FULL, HANG_MID_MESSAGE, IDLE, MANY, Setting, prefix};
use mainstay_tests::bird::Bird;
use mainstay_tests::frr::Frr;
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::proc::{Proc, start_in};
use mainstay_tests::scratch::Scratch;
use mainstay_tests::wait::until;
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

pub const PEER: &str = "192.0.2.1:179";

/// A switch at .1, our node at .2.
pub fn pair() -> (Netns, Netns) {
    let (switch, node) = (Netns::new("switch"), Netns::new("node"));
    veth((&switch, "eth0"), (&node, "eth0"));
    switch.ip("addr add 192.0.2.1/24 dev eth0");
    node.ip("addr add 192.0.2.2/24 dev eth0");
    (switch, node)
}

fn bird(switch: &Netns, options: &str) -> Bird {
    let config = format!(
        "router id 192.0.2.1;
protocol device {{}}
protocol kernel {{ ipv4 {{ export all; }}; }}
protocol bgp node {{
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.2 as 65002;
  passive; hold time 9; long lived graceful restart off; {options}
  ipv4 {{ import all; export all; }};
}}
"
    );
    Bird::start(switch, &config)
}

fn frr(switch: &Netns) -> Frr {
    Frr::start(
        switch,
        "router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 bgp graceful-restart-disable
 neighbor 192.0.2.2 remote-as 65002
 neighbor 192.0.2.2 timers 3 9
 neighbor 192.0.2.2 passive
",
    )
}

pub fn start_keeper(node: &Netns, dir: &Scratch, options: &[&str]) -> Proc {
    let run_dir = dir.path().display().to_string();
    let args = [&["--run-dir", &run_dir], options].concat();
    let program = Path::new(env!("CARGO_BIN_EXE_mainstay-keeper"));
    let keeper = start_in(node, "keeper", program, &args, dir.path());
    until(5, "the keeper serves", || keeper.log().contains("serving in"));
    keeper
}

fn start_speaker(node: &Netns, dir: &Scratch, after: &str, graceful: bool) -> Proc {
    start_signed(
        node,
        dir,
        Setting { run_dir: dir.path(), peer: PEER, after, graceful, password: "" },
    )
}

fn start_signed(node: &Netns, dir: &Scratch, setting: Setting<'_>) -> Proc {
    let command = node.command(tiny::program().get_program());
    tiny::start(command, setting, &dir.path().join("speaker.log"))
}

fn forwards(switch: &Netns, prefix: &str) -> bool {
    switch.ip(&format!("route show {prefix}")).contains("via 192.0.2.2")
}

#[test]
fn bird_sees_nothing_of_a_speaker_that_is_killed_in_mid_message() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let bird = bird(&switch, "graceful restart off;");
    let keeper = start_keeper(&node, &dir, &[]);
    let mut speaker = start_speaker(&node, &dir, HANG_MID_MESSAGE, false);
    bird.established("node", 20);
    until(10, "the speaker hangs", || speaker.log().contains("hanging"));
    until(5, "the first route", || bird.has_route(&prefix(0)));
    assert!(!bird.has_route(&prefix(1)), "its message is cut after ten bytes");
    let since = bird.since("node");

    speaker.kill();
    until(3, "the keeper finishes the message", || forwards(&switch, &prefix(1)));
    let monitor = RouteMonitor::start(&switch);
    std::thread::sleep(Duration::from_secs(20));
    let again = start_speaker(&node, &dir, IDLE, false);
    until(5, "a new route by the new speaker", || bird.has_route(&prefix(200)));
    std::thread::sleep(Duration::from_secs(10));

    assert!(bird.has_route(&prefix(0)) && bird.has_route(&prefix(1)));
    assert_eq!(bird.since("node"), since, "the session's uptime");
    let events = monitor.events();
    let changes = events.iter().filter(|e| !e.contains("203.0.200.0/24")).collect::<Vec<_>>();
    assert!(changes.is_empty(), "route events: {changes:?}");
    assert!(again.log().contains("resumed the peer"), "{}", again.log());
    assert!(keeper.log().contains("no speaker: kept alive"));
}

#[test]
fn frr_sees_nothing_of_a_speaker_that_is_killed_in_mid_message() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let frr = frr(&switch);
    let _keeper = start_keeper(&node, &dir, &[]);
    let mut speaker = start_speaker(&node, &dir, HANG_MID_MESSAGE, false);
    frr.established("192.0.2.2", 20);
    until(10, "the speaker hangs", || speaker.log().contains("hanging"));
    until(5, "the first route", || frr.has_route(&prefix(0)));
    let since = || {
        let json = frr.json("show bgp neighbors 192.0.2.2").unwrap();
        (
            json["192.0.2.2"]["bgpTimerUpEstablishedEpoch"].as_i64().unwrap(),
            json["192.0.2.2"]["connectionsDropped"].as_i64().unwrap(),
        )
    };
    let (epoch, dropped) = since();

    speaker.kill();
    until(3, "the keeper finishes the message", || forwards(&switch, &prefix(1)));
    let monitor = RouteMonitor::start(&switch);
    std::thread::sleep(Duration::from_secs(20));
    let _again = start_speaker(&node, &dir, IDLE, false);
    until(5, "a new route by the new speaker", || frr.has_route(&prefix(200)));
    std::thread::sleep(Duration::from_secs(10));

    assert!(frr.has_route(&prefix(0)) && frr.has_route(&prefix(1)));
    let (epoch_now, dropped_now) = since();
    // FRR computes it from an uptime in seconds.
    assert!((epoch_now - epoch).abs() <= 1, "{epoch} became {epoch_now}");
    assert_eq!(dropped_now, dropped);
    let events = monitor.events();
    let changes = events.iter().filter(|e| !e.contains("203.0.200.0/24")).collect::<Vec<_>>();
    assert!(changes.is_empty(), "route events: {changes:?}");
}

#[test]
fn a_new_speaker_goes_on_in_mid_message_with_a_full_send_buffer() {
    resume_with_full_buffer("graceful restart off;", "");
}

#[test]
fn so_it_does_on_a_session_under_tcp_md5_whose_key_it_never_knew() {
    resume_with_full_buffer("graceful restart off; password \"secret\";", "secret");
}

fn resume_with_full_buffer(options: &str, password: &str) {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let mut bird = bird(&switch, options);
    let _keeper = start_keeper(&node, &dir, &[]);
    let (run_dir, after, graceful) = (dir.path(), HANG_FULL, false);
    let setting = Setting { run_dir, peer: PEER, after, graceful, password };
    let mut speaker = start_signed(&node, &dir, setting);
    let file = |name: &str| dir.path().join(name);
    until(20, "the session is up", || file("ready").exists());
    bird.established("node", 5);
    let since = bird.since("node");

    // The peer reads nothing, so the speaker dies with a message half in the kernel.
    bird.proc().signal(Signal::STOP);
    std::fs::write(file("go"), "").unwrap();
    until(5, "the buffers are full", || file("full").exists());
    speaker.kill();
    std::thread::sleep(Duration::from_secs(1));
    let again = start_speaker(&node, &dir, IDLE, false);
    until(5, "the new speaker has the session", || again.log().contains("resumed the peer"));
    assert!(!again.log().contains(", 0 bytes into"), "in mid-message: {}", again.log());
    bird.proc().signal(Signal::CONT);

    let count = || {
        let text = bird.ask("show route count").unwrap();
        text.split_whitespace().find_map(|w| w.parse::<u32>().ok()).unwrap_or(0)
    };
    let all = u32::from(MANY) + 2;
    until(20, "every route has arrived", || count() == all);
    assert_eq!(bird.since("node"), since, "the session's uptime");
}

#[test]
fn past_its_bound_a_session_is_let_go_so_that_graceful_restart_begins() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let bird = bird(&switch, "graceful restart aware;");
    let keeper = start_keeper(&node, &dir, &["--max-orphan", "4s"]);
    let mut speaker = start_speaker(&node, &dir, IDLE, true);
    bird.established("node", 20);
    until(10, "the route", || bird.has_route(&prefix(0)));
    let monitor = RouteMonitor::start(&switch);
    speaker.kill();
    until(8, "the session is let go", || keeper.log().contains("no speaker came back in time"));
    until(3, "BIRD waits for our restart", || {
        bird.ask("show protocols all node").is_ok_and(|text| !text.contains("Established"))
    });
    assert!(bird.has_route(&prefix(0)), "kept as stale");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(monitor.events(), Vec::<String>::new());

    let again = start_speaker(&node, &dir, IDLE, true);
    until(5, "the next speaker hears of it", || {
        again.log().contains("lost the peer no speaker came back in time")
    });
    bird.established("node", 20);
}
