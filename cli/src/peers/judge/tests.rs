use super::*;
use crate::peers::block;
use mainstay_proto::bgp::v1::{Bfd, GracefulRestart};

const FILE: &str = "
nodes: [{name: node-a, address: 192.0.2.11}]
bgp:
  asn: 64512
  peers:
    - {name: tor, address: 192.0.2.1, asn: 65001}
";

fn session(keys: &str) -> PeerSession {
    let text = FILE.replace("65001}", &format!("65001, {keys}}}"));
    let node = mainstay_config::parse("f", &text).unwrap().resolve("node-a").unwrap();
    node.bgp.peers[0].session.clone()
}

/// A peer as BIRD is one, Established, with everything that helps.
fn peer() -> Peer {
    let family = |family: &str| mainstay_proto::bgp::v1::PeerFamily {
        family: family.into(),
        ..Default::default()
    };
    let capabilities = [
        "multiprotocol ipv4-unicast",
        "route-refresh",
        "enhanced-route-refresh",
        "graceful-restart 120 s notification",
        "four-octet-as 65001",
        "long-lived-graceful-restart",
    ];
    Peer {
        name: "tor".into(),
        address: "192.0.2.1".into(),
        state: "Established".into(),
        state_seconds: 100.0,
        established_count: 1,
        hold_time_seconds: 90,
        families: vec![family("ipv4-unicast"), family("ipv6-unicast")],
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
        graceful_restart: Some(GracefulRestart { negotiated: true, ..Default::default() }),
        ..Default::default()
    }
}

fn without(name: &str) -> Peer {
    let mut peer = peer();
    peer.capabilities.retain(|c| c.split(' ').next() != Some(name));
    peer
}

fn judged(peer: &Peer, keys: &str, survival: &str) -> Judgement {
    let session = session(keys);
    let peer = Peer { survival: survival.into(), ..peer.clone() };
    judge(&Seen { peer: &peer, session: Some(&session), uptime: 101.0, asn: 64512 })
}

fn grade(peer: &Peer, keys: &str) -> (Grade, Grade) {
    let of = |survival| judged(peer, keys, survival).grade;
    (of("graceful-restart"), of("tier0"))
}

fn worst(judged: &Judgement) -> &Finding {
    judged.findings.iter().find(|f| f.grade == judged.grade).unwrap()
}

#[test]
fn a_helper_with_everything_is_ok_with_and_without_a_keeper() {
    assert_eq!(grade(&peer(), "port: 179"), (Grade::Ok, Grade::Ok));
}

#[test]
fn without_capability_64_a_restart_flaps_unless_the_keeper_holds_the_session() {
    let peer = without("graceful-restart");
    assert_eq!(grade(&peer, "port: 179"), (Grade::WouldFlap, Grade::AtRisk));
    let judged = judged(&peer, "port: 179", "graceful-restart");
    let worst = worst(&judged);
    assert!(worst.what.contains("capability 64"), "{worst:?}");
    let change = worst.change.as_ref().unwrap();
    assert!(change.contains("mainstay peer-config --peer tor "), "{change}");
}

#[test]
fn where_we_do_not_offer_it_the_change_is_ours() {
    let judged = judged(&peer(), "graceful_restart: {enabled: false}", "graceful-restart");
    assert_eq!(judged.grade, Grade::WouldFlap);
    assert!(worst(&judged).change.as_ref().unwrap().starts_with("this node: "));
}

#[test]
fn a_session_older_than_the_setting_does_not_have_it_yet() {
    let mut old = peer();
    old.graceful_restart = None;
    assert_eq!(grade(&old, "port: 179").0, Grade::WouldFlap);
}

#[test]
fn what_was_asked_for_and_is_not_there_is_a_risk() {
    let risk = |peer: &Peer, keys: &str| grade(peer, keys).0;
    let long = "graceful_restart: {long_lived: 24h}";
    assert_eq!(risk(&peer(), long), Grade::Ok);
    assert_eq!(risk(&without("long-lived-graceful-restart"), long), Grade::AtRisk);
    assert_eq!(risk(&without("long-lived-graceful-restart"), "port: 179"), Grade::Ok);
    assert_eq!(grade(&without("route-refresh"), "port: 179"), (Grade::Ok, Grade::AtRisk));
    assert_eq!(risk(&Peer { hold_time_seconds: 0, ..peer() }, "port: 179"), Grade::AtRisk);
    assert_eq!(risk(&Peer { hold_time_seconds: 3, ..peer() }, "port: 179"), Grade::AtRisk);
    let slow = Peer { state_seconds: 1.0, ..peer() };
    assert_eq!(risk(&slow, "graceful_restart: {restart_time: 120s}"), Grade::AtRisk);
}

#[test]
fn lesser_things_are_told_and_cost_no_grade() {
    let mut bare = without("enhanced-route-refresh");
    bare.capabilities.retain(|c| !c.starts_with("graceful"));
    bare.capabilities.push("graceful-restart 120 s ipv4-unicast".into());
    let judged = judged(&bare, "password_file: /k", "graceful-restart");
    assert_eq!(judged.grade, Grade::Ok);
    let all: String = judged.findings.iter().map(|f| f.what.as_str()).collect();
    for word in ["N bit", "RFC 7313", "its routes of ipv6-unicast", "TCP MD5"] {
        assert!(all.contains(word), "{word}: {all}");
    }
}

#[test]
fn a_session_that_is_not_up_cannot_be_judged() {
    let down = Peer { state: "Active".into(), last_error: "refused".into(), ..peer() };
    let judged = judged(&down, "port: 179", "tier0");
    assert_eq!(judged.grade, Grade::CannotTell);
    assert!(judged.findings[0].what.ends_with("is not known: refused"), "{judged:?}");
}

fn bfd(state: &str) -> Bfd {
    Bfd {
        state: state.into(),
        diagnostic: "control detection time expired".into(),
        remote_state: "Up".into(),
        detect_ms: 900,
        up_count: 1,
        ..Default::default()
    }
}

/// A peer that restarts gracefully itself, with and without the N bit on both sides.
fn restarting(notification: bool, bfd: Option<Bfd>) -> Peer {
    let mut peer = without("graceful-restart");
    peer.capabilities.push("graceful-restart 120 s ipv4-unicast forwarding".into());
    peer.graceful_restart = Some(GracefulRestart {
        negotiated: true,
        peer_restart_time_seconds: 120,
        notification,
        ..Default::default()
    });
    Peer { bfd, ..peer }
}

/// Of a helper that is never gone itself.
fn helping(notification: bool, bfd: Option<Bfd>) -> Peer {
    let mut peer = restarting(notification, bfd);
    peer.capabilities.retain(|c| !c.starts_with("graceful-restart"));
    peer.capabilities.push("graceful-restart 120 s".into());
    peer
}

#[test]
fn how_long_a_dead_peer_is_believed_is_told_with_what_to_change() {
    let c_bit = Bfd { remote_c_bit: true, ..bfd("Up") };
    let off = Bfd { remote_state: "AdminDown".into(), ..bfd("Down") };
    let never = Bfd { up_count: 0, ..bfd("Down") };
    let fault = Bfd { fault: "port 3784: address in use".into(), ..bfd("Down") };
    let unwatched = Bfd { fault: "no keeper".into(), ..bfd("Unwatched") };
    let (on, off_here, strict) = ("bfd: true", "port: 179", "bfd: {strict: true}");
    let short = "bfd: true, graceful_restart: {max_peer_restart_time: 30s}";
    let cases = [
        ("C bit set: a dead path", restarting(false, Some(c_bit.clone())), on),
        ("C bit clear: dead or restarting", restarting(false, Some(bfd("Up"))), on),
        ("C bit clear, our bound is lower", restarting(true, Some(bfd("Up"))), short),
        ("C bit clear, a helper only", helping(true, Some(bfd("Up"))), on),
        ("no graceful restart", Peer { bfd: Some(bfd("Up")), ..without("graceful-restart") }, on),
        ("down", restarting(false, Some(bfd("Down"))), on),
        ("never up", restarting(false, Some(never)), on),
        ("switched off by the peer, N bit", restarting(true, Some(off)), on),
        ("a fault here", restarting(false, Some(fault)), on),
        ("nobody watches", restarting(false, Some(unwatched)), on),
        ("down and strict", restarting(false, Some(bfd("Down"))), strict),
        ("N bit without BFD", restarting(true, None), off_here),
        ("N bit without BFD, a helper only", helping(true, None), off_here),
        ("neither", restarting(false, None), off_here),
        ("N bit, hold time 0", Peer { hold_time_seconds: 0, ..restarting(true, None) }, off_here),
    ];
    let told = |(title, peer, keys): &(&str, Peer, &str)| {
        let of = |survival| judged(peer, keys, survival);
        let text = block(&of("tier0"));
        let apart = of("graceful-restart").grade.words();
        format!("# {title} ({keys}); without a keeper: {apart}\n{text}\n")
    };
    insta::assert_snapshot!(cases.iter().map(told).collect::<String>());
}

#[test]
fn a_warning_costs_no_grade() {
    let peer = restarting(true, None);
    let judged = judged(&peer, "port: 179", "tier0");
    assert!(judged.findings.iter().any(|f| f.grade == Grade::Warning), "{judged:?}");
    assert_eq!(judged.grade, Grade::Ok);
}
