//! Several paths a prefix (RFC 7911), in and out.

use super::*;
use crate::event::Resumed;
use crate::told::Record;
use crate::wire::PathIds;
use std::collections::BTreeMap;

const V4: Family = Family::Ipv4Unicast;
const SEVERAL: PathIds = PathIds { ipv4: true, ipv6: true };

/// The other side, which sends and reads path identifiers.
const THERE: Context = Context { paths_in: SEVERAL, paths_out: SEVERAL, ..OTHER_SIDE };

/// Peers 1 and 2 send, with several paths from 1; peer 3 is told up to `most` of each prefix.
fn config_with(most: u8) -> SpeakerConfig {
    let mut all = config(&[(1, 65001), (2, 65002), (3, 65003)]);
    all.peers[0].session.add_paths = AddPaths { receive: true, send: 0 };
    all.peers[2].session.add_paths = AddPaths { receive: false, send: most };
    all
}

fn announce(lab: &mut Lab, conn: ConnId, id: u32, as_path: &[u32], p: &str) {
    let attrs = attributes(as_path, 1);
    lab.receive(conn, |out| {
        wire::announce(&THERE, V4, &attrs, &[(prefix(p), id)], out);
    });
}

fn withdraw(lab: &mut Lab, conn: ConnId, id: u32, p: &str) {
    lab.receive(conn, |out| {
        wire::withdraw(&THERE, V4, &[(prefix(p), id)], out);
    });
}

/// What a peer holds that was sent these bytes after what it held before.
fn hear(held: &mut BTreeMap<(Prefix, u32), String>, bytes: &[u8]) -> usize {
    let mut framer = Framer::new();
    framer.push(bytes);
    let mut messages = 0;
    while let Some(frame) = framer.next().unwrap() {
        let Message::Update(update) = wire::decode(frame, &THERE).unwrap() else { continue };
        messages += usize::from(update.end_of_rib.is_none());
        for path in update.withdrawn.iter().flatten().flat_map(|w| w.nlri.paths()) {
            assert!(held.remove(&path).is_some(), "{path:?} is withdrawn and was not there");
        }
        for path in update.announced.iter().flatten().flat_map(|a| a.nlri.paths()) {
            held.insert(path, update.attributes.as_ref().unwrap().as_path.to_string());
        }
    }
    messages
}

fn pull(lab: &mut Lab, conn: ConnId) -> Vec<u8> {
    let mut bytes = Vec::new();
    while lab.speaker.pull(conn, lab.now, 4096, &mut bytes) {}
    bytes
}

fn paths(held: &BTreeMap<(Prefix, u32), String>) -> Vec<&str> {
    let mut all: Vec<&str> = held.values().map(String::as_str).collect();
    all.sort_unstable();
    all
}

#[test]
fn each_path_of_a_peer_is_a_candidate_and_is_taken_back_alone() {
    let mut lab = Lab::new(config_with(8));
    let one = lab.establish(1, 65001);
    announce(&mut lab, one, 7, &[65001, 65010], "10.0.0.0/8");
    announce(&mut lab, one, 9, &[65001], "10.0.0.0/8");
    announce(&mut lab, one, 0, &[65001, 65011], "10.0.0.0/8");
    assert_eq!(lab.paths("10.0.0.0/8").len(), 3);
    assert_eq!(lab.paths("10.0.0.0/8")[0].path_id, 9);
    assert_eq!(lab.peer(1).families[0].received, 3);
    let adj_in = lab.table(RibKind::AdjIn, Some("p1"), None);
    assert_eq!(adj_in[0].paths.iter().map(|p| p.path_id).collect::<Vec<_>>(), [0, 7, 9]);
    withdraw(&mut lab, one, 9, "10.0.0.0/8");
    withdraw(&mut lab, one, 1, "10.0.0.0/8");
    let left = lab.paths("10.0.0.0/8");
    assert_eq!(left.iter().map(|p| p.path_id).collect::<Vec<_>>(), [0, 7]);
    withdraw(&mut lab, one, 0, "10.0.0.0/8");
    withdraw(&mut lab, one, 7, "10.0.0.0/8");
    assert!(lab.table(RibKind::Loc, None, None).is_empty());
}

#[test]
fn a_peer_that_wants_them_is_told_every_usable_path_and_each_change() {
    let mut lab = Lab::new(config_with(8));
    let (one, two, three) =
        (lab.establish(1, 65001), lab.establish(2, 65002), lab.establish(3, 65003));
    let mut held = BTreeMap::new();
    announce(&mut lab, one, 1, &[65001], "10.0.0.0/8");
    announce(&mut lab, one, 2, &[65001, 65010], "10.0.0.0/8");
    lab.announce(two, &[65002, 65010, 65011], 2, &["10.0.0.0/8"]);
    hear(&mut held, &pull(&mut lab, three));
    let all = ["64512 65001", "64512 65001 65010", "64512 65002 65010 65011"];
    assert_eq!(paths(&held), all);
    assert_eq!(lab.peer(3).families[0].advertised, 3);
    // The worst goes; the best stays what it was.
    lab.withdraw(two, &["10.0.0.0/8"]);
    assert_eq!(hear(&mut held, &pull(&mut lab, three)), 1);
    assert_eq!(paths(&held), all[..2]);
    withdraw(&mut lab, one, 1, "10.0.0.0/8");
    assert_eq!(hear(&mut held, &pull(&mut lab, three)), 1);
    assert_eq!(paths(&held), all[1..2]);
}

#[test]
fn no_more_paths_are_told_than_configured_and_the_best_first() {
    let mut lab = Lab::new(config_with(2));
    let (one, three) = (lab.establish(1, 65001), lab.establish(3, 65003));
    for id in 1..=4 {
        let longer: Vec<u32> = (0..id).map(|n| 65001 + n).collect();
        announce(&mut lab, one, id, &longer, "10.0.0.0/8");
    }
    let mut held = BTreeMap::new();
    hear(&mut held, &pull(&mut lab, three));
    assert_eq!(paths(&held), ["64512 65001", "64512 65001 65002"]);
    withdraw(&mut lab, one, 1, "10.0.0.0/8");
    hear(&mut held, &pull(&mut lab, three));
    assert_eq!(paths(&held), ["64512 65001 65002", "64512 65001 65002 65003"]);
}

#[test]
fn another_process_tells_paths_under_the_same_identifiers_and_none_twice() {
    let mut lab = Lab::new(config_with(8));
    let (one, three) = (lab.establish(1, 65001), lab.establish(3, 65003));
    for p in ["10.0.0.0/8", "11.0.0.0/8"] {
        announce(&mut lab, one, 1, &[65001], p);
        announce(&mut lab, one, 2, &[65001, 65010], p);
    }
    let sent = pull(&mut lab, three);
    let mut held = BTreeMap::new();
    hear(&mut held, &sent);
    let before = held.clone();
    let resumed = |n: u8, conn| {
        let survivor = lab.speaker.survivor(conn).unwrap();
        Resumed {
            link: link(n),
            open_sent: survivor.open_sent,
            open_received: survivor.open_received,
            age: seconds(60),
            silent: Duration::ZERO,
            log: lab.speaker.log(conn),
        }
    };
    let sessions = [(ConnId(1), resumed(1, one)), (ConnId(3), resumed(3, three))];
    assert!(sessions[1].1.log.iter().any(|r| matches!(r, Record::Sent(_))));
    let mut next = Lab::starting(config_with(8), Start { restarting: true, ..Start::default() });
    for (conn, session) in sessions {
        next.tell(Event::Resumed { conn, session: Box::new(session) });
    }
    assert_eq!(next.paths("10.0.0.0/8").len(), 2);
    assert_eq!(hear(&mut held, &pull(&mut next, ConnId(3))), 0);
    assert_eq!(held, before);
    withdraw(&mut next, ConnId(1), 2, "10.0.0.0/8");
    hear(&mut held, &pull(&mut next, ConnId(3)));
    assert_eq!(held.len(), 3);
}
