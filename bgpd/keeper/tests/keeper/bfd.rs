//! BFD against BIRD's and FRR's, and against a peer that misbehaves.

use crate::peers::{PEER, pair, start_keeper};
use crate::shell::Manager;
use crate::tiny::{self, IDLE, Setting, specs};
use keeper::bfd::packet::{LEN, Packet};
use keeper::bfd::{Diagnostic, Report, State};
use keeper::client::{Answer, Client, generation_of_now};
use keeper::os::udp;
use mainstay_tests::bird::{Bird, Since};
use mainstay_tests::frr::Frr;
use mainstay_tests::netns::Netns;
use mainstay_tests::proc::Proc;
use mainstay_tests::scratch::Scratch;
use mainstay_tests::wait::{eventually, until};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);
const SWITCH: &str = "192.0.2.1 192.0.2.2 300 3 single eth0";

/// This process as the speaker.
struct Speaker(Client);

impl Speaker {
    fn new(dir: &Scratch, bfd: &str) -> Self {
        let mut client = Client::connect(dir.path()).unwrap();
        client.attach(generation_of_now(), None, LIMIT).unwrap();
        let mut speaker = Self(client);
        speaker.set(bfd);
        speaker
    }

    fn set(&mut self, bfd: &str) {
        let wanted = specs(bfd);
        let token = self.0.set_bfd(&wanted).unwrap();
        loop {
            match self.0.next_within(LIMIT).unwrap() {
                Answer::BfdSet { token: t, count } if t == token => {
                    return assert_eq!(count as usize, wanted.len());
                }
                Answer::Bfd(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The first report for which this holds.
    #[track_caller]
    fn wait(&mut self, what: &str, holds: impl Fn(&Report) -> bool) -> Report {
        let end = Instant::now() + LIMIT;
        let mut last = None;
        while Instant::now() < end {
            match self.0.next_within(LIMIT) {
                Ok(Answer::Bfd(report)) if holds(&report) => return report,
                Ok(answer) => last = Some(answer),
                Err(_) => break,
            }
        }
        panic!("{what}: {last:?}")
    }

    #[track_caller]
    fn up(&mut self) -> Report {
        self.wait("bfd is up", |r| r.state == State::Up)
    }

    /// What the keeper said until now.
    fn states(&self) -> Vec<State> {
        let said = std::iter::from_fn(|| self.0.next().unwrap());
        said.filter_map(|a| if let Answer::Bfd(r) = a { Some(r.state) } else { None }).collect()
    }
}

fn bird(switch: &Netns, bfd: &str) -> Bird {
    let config = format!(
        "router id 192.0.2.1;
protocol device {{}}
protocol bfd {{ {bfd} }}
protocol bgp node {{
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.2 as 65002;
  passive; hold time 90; graceful restart off; long lived graceful restart off;
  ipv4 {{ import all; export all; }};
}}
"
    );
    Bird::start(switch, &config)
}

const BIRD_SINGLE: &str = "interface \"eth0\" { interval 300 ms; multiplier 3; };
  neighbor 192.0.2.2 dev \"eth0\" local 192.0.2.1;";

/// (state, since)
fn bird_bfd(bird: &Bird) -> (String, Since) {
    let text = bird.ask("show bfd sessions").unwrap();
    let line = text.lines().find(|l| l.starts_with("192.0.2.2") || l.starts_with("198.51"));
    let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
    let word = |n: usize| words.get(n).copied().unwrap_or_default().to_owned();
    (word(2), Since(word(3)))
}

fn speaker(node: &Netns, dir: &Scratch, log: &str) -> Proc {
    let mut command = node.command(tiny::program().get_program());
    command.env("TINY_BFD", SWITCH);
    let (run_dir, peer, after, password) = (dir.path(), PEER, IDLE, "");
    let setting = Setting { run_dir, peer, after, graceful: false, password };
    tiny::start(command, setting, &dir.path().join(log))
}

#[test]
fn birds_bfd_sees_neither_a_killed_speaker_nor_a_keeper_that_is_upgraded_or_killed() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let bird = bird(&switch, BIRD_SINGLE);
    let mut manager = Manager::new(&dir);
    let mut keeper = manager.start_by(node.command("sh"), &dir);
    let mut first = speaker(&node, &dir, "first.log");
    bird.established("node", 20);
    until(10, "BIRD's BFD is up", || bird_bfd(&bird).0 == "Up");
    let (_, since) = bird_bfd(&bird);
    // What BIRD says is of a second's grain.
    std::thread::sleep(Duration::from_millis(1100));

    first.kill();
    std::thread::sleep(Duration::from_secs(3));
    let again = speaker(&node, &dir, "again.log");
    until(10, "the next speaker has it", || again.log().contains("bfd at attach"));
    assert!(again.log().contains("state: Up"), "{}", again.log());
    assert_eq!(bird_bfd(&bird), ("Up".to_owned(), since.clone()), "the speaker's death");

    manager.read();
    assert!(keeper.terminate().success());
    let gone = Instant::now();
    keeper = manager.start_by(node.command("sh"), &dir);
    println!("keeper upgraded in {:?}", gone.elapsed());
    until(5, "it goes on with it", || keeper.log().contains("1 bfd sessions are restored"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(bird_bfd(&bird), ("Up".to_owned(), since.clone()), "the keeper's upgrade");

    manager.read();
    keeper.kill();
    let _keeper = manager.start_by(node.command("sh"), &dir);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(bird_bfd(&bird), ("Up".to_owned(), since), "the keeper's crash");
}

#[test]
fn a_keeper_that_is_away_for_longer_than_the_detection_time_is_down_and_comes_back() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let bird = bird(&switch, BIRD_SINGLE);
    let mut manager = Manager::new(&dir);
    let mut keeper = manager.start_by(node.command("sh"), &dir);
    let mut us = Speaker::new(&dir, SWITCH);
    us.up();
    manager.read();
    keeper.kill();
    until(3, "BIRD notices", || bird_bfd(&bird).0 == "Down");
    let _keeper = manager.start_by(node.command("sh"), &dir);
    until(5, "and it comes back by itself", || bird_bfd(&bird).0 == "Up");
}

#[test]
fn an_orphan_whose_peer_bfd_finds_dead_is_let_go_long_before_its_hold_time() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let bird = bird(&switch, BIRD_SINGLE);
    let keeper = start_keeper(&node, &dir, &[]);
    let mut first = speaker(&node, &dir, "first.log");
    bird.established("node", 20);
    until(10, "bfd is up", || keeper.log().contains("bfd with 192.0.2.1 is up"));
    first.kill();
    until(5, "it is an orphan", || keeper.log().contains("kept alive"));
    // The peer stands still: its kernel would acknowledge our KEEPALIVEs for a long time.
    let mut bird = bird;
    bird.proc().signal(rustix::process::Signal::STOP);
    let since = Instant::now();
    until(5, "it is let go", || keeper.log().contains("let go: BFD finds the peer dead"));
    assert!(since.elapsed() < Duration::from_millis(1500), "{:?}", since.elapsed());
    bird.proc().signal(rustix::process::Signal::CONT);
    let again = speaker(&node, &dir, "again.log");
    until(5, "the next speaker hears why", || {
        again.log().contains("lost the peer BFD finds the peer dead")
    });
}

#[test]
fn an_admin_down_of_frr_drops_no_orphan() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let bfd_peer = "peer 192.0.2.2 local-address 192.0.2.1 interface eth0";
    let frr = Frr::start_with_bfd(
        &switch,
        "router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 neighbor 192.0.2.2 remote-as 65002
 neighbor 192.0.2.2 passive
",
        &format!("bfd\n {bfd_peer}\n !\n"),
    );
    let keeper = start_keeper(&node, &dir, &[]);
    let mut first = speaker(&node, &dir, "first.log");
    frr.established("192.0.2.2", 20);
    until(10, "bfd is up", || keeper.log().contains("bfd with 192.0.2.1 is up"));
    first.kill();
    until(5, "it is an orphan", || keeper.log().contains("kept alive"));
    frr.configure_bfd(&[bfd_peer, "shutdown"]).unwrap();
    until(5, "bfd is down", || keeper.log().contains("bfd with 192.0.2.1 is down: neighbor"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(!keeper.log().contains("let go"), "{}", keeper.log());
    frr.established("192.0.2.2", 1);
}

#[test]
fn birds_multihop_bfd_comes_up_over_a_router() {
    let (switch, node) = pair();
    for (host, address, far) in
        [(&switch, "198.51.100.1", "198.51.100.2"), (&node, "198.51.100.2", "198.51.100.1")]
    {
        host.ip("link set lo up");
        host.ip(&format!("addr add {address}/32 dev lo"));
        let via = if address.ends_with('1') { "192.0.2.2" } else { "192.0.2.1" };
        host.ip(&format!("route add {far}/32 via {via} src {address}"));
    }
    let dir = Scratch::new("keeper");
    let bird = bird(
        &switch,
        "multihop { interval 200 ms; multiplier 3; };
  neighbor 198.51.100.2 local 198.51.100.1 multihop on;",
    );
    let _keeper = start_keeper(&node, &dir, &[]);
    let mut us = Speaker::new(&dir, "198.51.100.1 198.51.100.2 200 3 multi -");
    let report = us.up();
    assert_eq!(report.key.peer, "198.51.100.1".parse::<IpAddr>().unwrap());
    until(5, "so it is at BIRD", || bird_bfd(&bird).0 == "Up");
}

fn frr(switch: &Netns, bfd: &str) -> Frr {
    Frr::start_with_bfd(switch, "", &format!("bfd\n{bfd}\n"))
}

#[test]
fn frrs_bfd_comes_up_at_fifty_milliseconds_and_hears_why_we_leave() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let frr = frr(
        &switch,
        " peer 192.0.2.2 local-address 192.0.2.1 interface eth0
  receive-interval 50
  transmit-interval 50
 !",
    );
    let mut keeper = start_keeper(&node, &dir, &[]);
    let mut us = Speaker::new(&dir, "192.0.2.1 192.0.2.2 50 3 single eth0");
    us.up();
    let fast = us.wait("agreed", |r| r.detect == Duration::from_millis(150));
    assert_eq!((fast.interval, fast.ups), (Duration::from_millis(50), 1));
    let of = |key: &str| frr.bfd("192.0.2.2").unwrap()[key].clone();
    until(5, "so it is at FRR", || of("status") == "up");
    assert_eq!(of("remote-transmit-interval"), 50);
    // Ten seconds at 50 ms x 3, with whatever else this machine does.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(us.states().iter().filter(|s| **s != State::Up).count(), 0);

    us.set("");
    eventually(5, "FRR hears that it is meant", || {
        let seen = frr.bfd("192.0.2.2")?;
        let is = |key: &str, value: &str| seen[key] == value;
        if is("status", "down") && is("remote-diagnostic", "administratively down") {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    });
    us.set("192.0.2.1 192.0.2.2 50 3 single eth0");
    until(5, "up again", || of("status") == "up");
    // Without a service manager nobody will go on.
    assert!(keeper.terminate().success());
    until(5, "FRR hears of the stop, too", || {
        of("status") == "down" && of("remote-diagnostic") == "administratively down"
    });
}

#[test]
fn frrs_bfd_on_link_local_addresses_of_an_interface() {
    let (switch, node) = pair();
    let local = |host: &Netns| {
        let text = eventually(10, "a link-local address", || {
            let text = host.ip("-o -6 addr show dev eth0 scope link");
            if text.contains("tentative") || text.is_empty() { Err(text) } else { Ok(text) }
        });
        let word = text.split_whitespace().nth(3).unwrap().to_owned();
        word.split('/').next().unwrap().to_owned()
    };
    let (theirs, ours) = (local(&switch), local(&node));
    let dir = Scratch::new("keeper");
    let frr = frr(&switch, &format!(" peer {ours} local-address {theirs} interface eth0\n !"));
    let _keeper = start_keeper(&node, &dir, &[]);
    let mut us = Speaker::new(&dir, &format!("{theirs} {ours} 300 3 single eth0"));
    us.up();
    until(5, "so it is at FRR", || frr.bfd(&ours).is_ok_and(|p| p["status"] == "up"));
}

#[test]
fn a_dead_peer_is_found_out_in_time_and_c_bit_and_ttl_are_what_they_should_be() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let _keeper = start_keeper(&node, &dir, &[]);
    let mut us = Speaker::new(&dir, "192.0.2.1 192.0.2.2 100 3 single eth0");
    // A peer of our own making: up for two seconds, then silent; first it lies about its distance.
    let peer = switch.spawn(|| {
        let listener = udp::listen(false, 3784).unwrap();
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let (sender, _) = udp::sender(ip("192.0.2.2"), Some(ip("192.0.2.1")), "eth0", 5).unwrap();
        let to = udp::address(ip("192.0.2.2"), 3784, 0);
        let mut heard = Vec::new();
        let mut bytes = [0; 64];
        let say = |state, yours, ttl: u32| {
            rustix::net::sockopt::set_ip_ttl(&sender, ttl).unwrap();
            udp::send(&sender, to, &mine(state, yours).encode()).unwrap();
        };
        let start = Instant::now();
        let mut yours = 0;
        while start.elapsed() < Duration::from_secs(3) {
            while let Some(got) = udp::receive(&listener, &mut bytes).unwrap() {
                let packet = Packet::decode(&bytes[..LEN]).unwrap();
                yours = packet.mine.get();
                heard.push((got.ttl, packet));
            }
            let near = start.elapsed() > Duration::from_secs(1);
            let state = match heard.last().map(|(_, p)| p.state) {
                Some(State::Init | State::Up) => State::Up,
                _ => State::Down,
            };
            say(state, if near { yours } else { 0 }, if near { 255 } else { 254 });
            std::thread::sleep(Duration::from_millis(50));
        }
        (heard, Instant::now())
    });
    let up = us.wait("up", |r| r.state == State::Up);
    assert!(!up.remote_c_bit, "as the peer said");
    let down = us.wait("down", |r| r.state == State::Down);
    let (heard, silent) = peer.join().unwrap();
    assert!(silent.elapsed() < Duration::from_millis(500), "{:?}", silent.elapsed());
    assert!(down.failed && down.diagnostic == Diagnostic::TIME_EXPIRED);
    assert!(heard.iter().all(|(ttl, p)| *ttl == 255 && p.independent && !p.demand));
    let first = heard.iter().position(|(_, p)| p.state != State::Down).unwrap();
    assert!(first <= 4, "nothing with a TTL of 254 was believed: {first}");
    assert!(heard.iter().skip(first).any(|(_, p)| p.state == State::Up && p.poll));
}

fn mine(state: State, yours: u32) -> Packet {
    let interval = Duration::from_millis(100);
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        last: false,
        independent: false,
        demand: false,
        multiplier: 3,
        mine: NonZeroU32::new(77).unwrap(),
        yours,
        min_tx: interval,
        min_rx: interval,
    }
}

#[test]
fn where_another_program_does_bfd_already_the_speaker_is_told() {
    let (_switch, node) = pair();
    let dir = Scratch::new("keeper");
    let other = node.run(|| udp::listen(false, 3784).unwrap());
    let _keeper = start_keeper(&node, &dir, &[]);
    let mut us = Speaker::new(&dir, SWITCH);
    let report = us.wait("a fault", |r| !r.fault.is_empty());
    assert!(report.fault.contains("3784 is another program's"), "{}", report.fault);
    drop(other);
    us.wait("no fault any more", |r| r.fault.is_empty());
}

#[test]
fn a_list_that_is_wrong_changes_nothing() {
    let (switch, node) = pair();
    let dir = Scratch::new("keeper");
    let bird = bird(&switch, BIRD_SINGLE);
    let _keeper = start_keeper(&node, &dir, &[]);
    let mut us = Speaker::new(&dir, SWITCH);
    us.up();
    let mut refused = |bfd: &str, why: &str| {
        us.0.set_bfd(&specs(bfd)).unwrap();
        loop {
            match us.0.next_within(LIMIT).unwrap() {
                Answer::Refused { why: text, .. } => return assert!(text.contains(why), "{text}"),
                Answer::Bfd(report) => assert_eq!(report.state, State::Up),
                other => panic!("{other:?}"),
            }
        }
    };
    refused("192.0.2.1 192.0.2.2 10 3 single eth0", "10ms is not within");
    refused("192.0.2.1 192.0.2.2 300 0 single eth0", "multiplier of zero");
    refused("fe80::1 fe80::2 300 3 single -", "needs its interface");
    let stranger = Client::connect(Path::new(dir.path())).unwrap();
    let file = std::fs::File::open("/dev/zero").unwrap();
    let ask = keeper::protocol::Request::SetBfd { token: 9 }.encode();
    let fds = [std::os::fd::AsFd::as_fd(&file)];
    keeper::os::packet::send(&stranger, &ask, &fds).unwrap();
    let answer = stranger.next_within(LIMIT).unwrap();
    assert!(matches!(&answer, Answer::Refused { token: 9, why } if why == "attach first"));
    assert_eq!(bird_bfd(&bird).0, "Up");
}
