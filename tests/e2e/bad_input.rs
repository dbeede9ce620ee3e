//! Bad input never hurts: each daemon and plugin says what is wrong and where, and nothing else moves.

use crate::pair::{BIRD, NODE, Pair, config, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::cni::{Attachment, exec};
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::netns::Netns;
use mainstay_tests::proc::bin;
use mainstay_tests::wait::until;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An OPEN of AS 65001, hold time 90, identifier 192.0.2.1, with the four-octet capability.
fn open() -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend([0, 37, 1, 4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, 8, 2, 6, 65, 4, 0, 0, 0xfd, 0xe9]);
    bytes
}

fn keepalive() -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend([0, 19, 4]);
    bytes
}

/// A message of any type with any body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

/// Dials the node, sends these bytes, and returns the first NOTIFICATION: code, subcode.
fn provoke(pair: &Pair, bytes: Vec<u8>) -> Option<(u8, u8)> {
    pair.peer.run(move || {
        let to: SocketAddr = format!("{NODE}:179").parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let mut rest = heard.as_slice();
        while rest.len() >= 19 {
            let len = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            if rest[18] == 3 {
                return Some((rest[19], rest[20]));
            }
            rest = &rest[len..];
        }
        None
    })
}

#[test]
fn a_malformed_message_gets_the_right_notification_and_the_daemon_lives() {
    let pair = Pair::with_peer("passive: true");
    let after_open = |more: Vec<u8>| [open(), keepalive(), more].concat();
    let mut no_marker = message(1, &open()[19..]);
    no_marker[3] = 0;
    let mut long = keepalive();
    long[16..18].copy_from_slice(&5000u16.to_be_bytes());
    let mut version = open();
    version[19] = 3;
    let mut asn = open();
    asn[20..22].copy_from_slice(&[0xfd, 0xea]);
    *asn.last_mut().unwrap() = 0xea;
    let mut hold = open();
    hold[22..24].copy_from_slice(&[0, 2]);
    let mut id = open();
    id[24..28].copy_from_slice(&[0; 4]);
    for (what, bytes, expected) in [
        ("marker", no_marker, (1, 1)),
        ("length", long, (1, 2)),
        ("type", message(9, &[]), (1, 3)),
        ("version", version, (2, 1)),
        ("peer AS", asn, (2, 2)),
        ("identifier", id, (2, 3)),
        ("hold time", hold, (2, 6)),
        ("KEEPALIVE with a body", after_open(message(4, &[0])), (1, 2)),
        ("UPDATE before OPEN", message(2, &[0, 0, 0, 0]), (5, 1)),
        ("UPDATE with lengths past its end", after_open(message(2, &[0, 9, 0, 0])), (3, 1)),
        ("prefix of 33 bits", after_open(message(2, &[0, 2, 33, 1, 0, 0])), (3, 10)),
    ] {
        // A fresh daemon each time: one that has just been offended refuses the peer for a while.
        let mut bgpd = pair.node.start(Daemon::Bgpd);
        assert_eq!(provoke(&pair, bytes), Some(expected), "{what}: {}", bgpd.log());
        assert!(bgpd.running(), "{what}: {}", bgpd.log());
    }
}

#[test]
fn garbage_from_a_stranger_disturbs_no_session() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    pair.peer.ip("addr add 192.0.2.77/24 dev eth0");
    for _ in 0..50 {
        pair.peer.run(|| {
            let socket = std::process::id();
            let mut stream = TcpStream::connect((NODE, 179)).unwrap();
            let _ =
                stream.write_all(format!("GET / {socket} HTTP/1.0\r\n\r\n").repeat(100).as_bytes());
        });
    }
    pair.established(5);
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
    assert!(bgpd.running());
}

const BAD: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp}
bgp:
  asn: 64512
  hold_time: 2s
  peers:
    - {name: tor, address: 192.0.2.1, asn: 0, colour: red}
";

#[test]
fn a_bad_file_keeps_the_daemons_from_starting_and_every_fault_is_told_with_its_place() {
    let node = Node::new("node-a", Netns::new("node"), BAD);
    for daemon in [Daemon::Bgpd, Daemon::Ipamd, Daemon::Netmon] {
        let log = node.start_failing(daemon);
        for part in ["mainstay.yaml:5:14", "hold_time", "2s", ":7:", "asn", "colour"] {
            assert!(log.contains(part), "{part} is missing in: {log}");
        }
    }
    let out = node.cli(&["config", "check", &node.config().display().to_string()]);
    assert_eq!(out.status.code(), Some(1));
    let text =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("mainstay.yaml:5:14: bgp.hold_time"), "{text}");
}

#[test]
fn a_bad_file_at_reload_changes_nothing() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "routes stand", || pair.kernel().contains("198.51.100.0/24"));
    pair.node.configure(BAD);
    let out = pair.node.cli(&["reload"]);
    assert_eq!(out.status.code(), Some(1));
    let text =
        String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("mainstay.yaml:5:14"), "{text}");
    bgpd.signal(rustix::process::Signal::HUP);
    until(5, "the log has the fault too", || bgpd.log().contains("mainstay.yaml:5:14"));
    assert!(bgpd.running());
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
    assert!(pair.kernel().contains("198.51.100.0/24"));
}

#[test]
fn a_good_reload_applies_the_difference_and_resets_nothing() {
    let pair = Pair::with_peer("import: all");
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    until(10, "routes stand", || pair.kernel().contains("198.51.100.0/24"));
    let more = tor("import: node").replace("198.18.7.0/24", "198.18.7.0/24, 198.18.8.0/24");
    pair.node.configure(&config(&more));
    let out = pair.node.cli(&["reload"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("tor"), "says what changed: {text}");
    until(10, "the new prefix is announced", || bird.has_route("198.18.8.0/24"));
    until(10, "the new policy is in force", || !pair.kernel().contains("198.51.100.0/24"));
    assert!(pair.kernel().contains("default via"));
    assert_eq!(pair.tor().unwrap()["established_count"], 1);
}

#[test]
fn a_second_daemon_refuses_and_says_why() {
    let pair = Pair::with_peer("");
    for daemon in [Daemon::Bgpd, Daemon::Ipamd, Daemon::Netmon] {
        let mut first = pair.node.start(daemon);
        let log = pair.node.start_failing(daemon);
        assert!(log.contains("another") && log.contains(&first.pid().to_string()), "{log}");
        assert!(first.running());
    }
}

#[test]
fn a_taken_port_is_named() {
    let pair = Pair::with_peer("");
    let _holder = pair.node.host.run(|| std::net::TcpListener::bind("0.0.0.0:179")).unwrap();
    let log = pair.node.start_failing(Daemon::Bgpd);
    assert!(log.contains(":179") && log.contains("listen"), "{log}");
}

#[test]
fn an_unknown_node_is_told_which_nodes_there_are() {
    let node = Node::new("node-x", Netns::new("node"), &config(&tor("")));
    let log = node.start_failing(Daemon::Bgpd);
    assert!(log.contains("node-x") && log.contains("node-a"), "{log}");
}

#[test]
fn bad_cni_calls_get_the_specified_errors() {
    let host = Netns::new("node");
    let path = [bin("mainstay-ipam").parent().unwrap().to_owned()];
    let at = Attachment::pod("c1", "/run/netns/none".as_ref(), "default", "web-0", "u1");
    let good = r#"{"cniVersion":"1.0.0","name":"n","type":"ptp","ipam":{"type":"mainstay-ipam","timeout":"1s","socket":"/nonexistent/cni.sock"}}"#;
    let mut odd = at.clone();
    odd.container = "../../etc/passwd".into();
    for (what, stdin, at, command, code) in [
        ("no JSON", "{", &at, "ADD", 6),
        ("empty stdin", "", &at, "ADD", 6),
        (
            "a version nobody knows",
            r#"{"cniVersion":"9.9.9","name":"n","ipam":{"type":"mainstay-ipam"}}"#,
            &at,
            "ADD",
            1,
        ),
        (
            "no network name",
            r#"{"cniVersion":"1.0.0","ipam":{"type":"mainstay-ipam"}}"#,
            &at,
            "ADD",
            7,
        ),
        ("an odd container ID", good, &odd, "ADD", 4),
        ("an unknown command", good, &at, "FROB", 4),
        ("no daemon", good, &at, "ADD", 11),
        ("no daemon", good, &at, "STATUS", 50),
    ] {
        let stdin =
            if command == "STATUS" { stdin.replace("1.0.0", "1.1.0") } else { stdin.to_owned() };
        let failure = exec(&host, &path, "mainstay-ipam", command, Some(at), &stdin).unwrap_err();
        assert_eq!(failure.code, code, "{what}: {failure}");
        assert!(!failure.msg.contains("not the specification"), "{what}: {failure}");
    }
    let failure = exec(&host, &path, "mainstay-ipam", "ADD", None, good).unwrap_err();
    assert_eq!(failure.code, 4, "a missing environment: {failure}");
}
