use super::*;
use crate::monitor::{Batch, Seen, Watch};
use crate::report::Cause;

const ALL: Watch = Watch { updates: true, accepted: true, chosen: true };

fn seen(lab: &mut Lab) -> Vec<String> {
    let mut batch = Batch::default();
    lab.speaker.take_seen(&mut batch);
    let tell = |seen: &Seen| match seen {
        Seen::Up(session) => format!("up {}", session.name),
        Seen::Down { session, cause } => format!("down {} {}", session.name, cause.label()),
        Seen::Update { message, effect, .. } => {
            let octets = |r: &std::ops::Range<usize>| batch.bytes.get(r.clone()).unwrap().len();
            format!("update {} {:?}", octets(message), effect.as_ref().map(octets))
        }
        Seen::Gone { prefix, .. } => format!("gone {prefix}"),
        Seen::Judged { prefix, .. } => format!("judged {prefix}"),
        Seen::Chosen(prefix) => format!("chosen {prefix}"),
    };
    batch.seen.iter().map(tell).collect()
}

#[test]
fn who_watches_sees_sessions_messages_and_routes_in_their_order() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    lab.speaker.watch(ALL);
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.0.0.0/8"]);
    lab.withdraw(conn, &["10.0.0.0/8"]);
    lab.announce(conn, &[65001], 1, &["11.0.0.0/8"]);
    lab.tell(Event::Closed { conn, why: "eof".into() });
    let told = seen(&mut lab);
    let name = lab.peer(1).name;
    let (up, down) = (format!("up {name}"), format!("down {name} closed"));
    assert_eq!(told.first(), Some(&up));
    let rest: Vec<&str> = told.iter().skip(1).map(String::as_str).collect();
    let wanted = [
        "update 45 None",
        "judged 10.0.0.0/8",
        "chosen 10.0.0.0/8",
        "update 25 None",
        "judged 10.0.0.0/8",
        "chosen 10.0.0.0/8",
        "update 45 None",
        "judged 11.0.0.0/8",
        "chosen 11.0.0.0/8",
        &down,
    ];
    assert_eq!(rest.get(..wanted.len()), Some(&wanted[..]), "{told:?}");
    assert_eq!(seen(&mut lab), [""; 0], "told once");
}

#[test]
fn where_nobody_watches_nothing_is_kept() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.0.0.0/8"]);
    assert_eq!(seen(&mut lab), [""; 0]);
    lab.speaker.watch(ALL);
    assert_eq!(seen(&mut lab), [""; 0], "what was before is in the tables");
    assert_eq!(lab.speaker.sessions().len(), 1);
    lab.speaker.watch(Watch::default());
    lab.withdraw(conn, &["10.0.0.0/8"]);
    assert_eq!(seen(&mut lab), [""; 0]);
}

#[test]
fn a_malformed_update_is_told_with_what_came_of_it() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.0.0.0/8"]);
    lab.speaker.watch(Watch { updates: true, ..Watch::default() });
    lab.receive(conn, |out| {
        let attrs = attributes(&[65001], 1);
        let p = [prefix("10.0.0.0/8")];
        let start = out.len();
        wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &p, out);
        // An ORIGIN that there is not (RFC 7606 §7.1).
        out[start + 19 + 4 + 3] = 9;
    });
    assert_eq!(seen(&mut lab), ["update 45 Some(25)"]);
}

#[test]
fn stale_routes_that_go_are_seen_though_nobody_withdraws_them() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.0.0.0/8", "11.0.0.0/8"]);
    lab.tell(Event::Closed { conn, why: "eof".into() });
    let conn = lab.establish(1, 65001);
    lab.speaker.watch(Watch { updates: true, ..Watch::default() });
    lab.announce(conn, &[65001], 1, &["11.0.0.0/8"]);
    lab.receive(conn, |out| wire::end_of_rib(Family::Ipv4Unicast, out));
    let told = seen(&mut lab);
    assert_eq!(told.last().map(String::as_str), Some("gone 10.0.0.0/8"), "{told:?}");
}

/// The prefixes that these UPDATEs announce.
fn announced(bytes: &[u8]) -> Vec<Prefix> {
    let mut framer = Framer::new();
    framer.push(bytes);
    let (mut all, context) = (Vec::new(), Context { internal: true, ..OTHER_SIDE });
    while let Ok(Some(frame)) = framer.next() {
        let Ok(Message::Update(update)) = wire::decode(frame, &context) else { continue };
        all.extend(update.announced.iter().flatten().flat_map(|section| section.nlri));
    }
    all
}

#[test]
fn a_walk_tells_every_route_that_stays_in_whatever_pieces() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    let texts: Vec<String> = (0..50).map(|n| format!("10.{n}.0.0/16")).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    lab.announce(one, &[65001], 1, &all);
    lab.announce(two, &[65002], 2, &all[..10]);
    let peer = lab.speaker.find_peer("192.0.2.1").unwrap();
    let family = Family::Ipv4Unicast;
    let (mut before, mut behind, mut at, mut pieces) = (Vec::new(), Vec::new(), None, 0);
    loop {
        let (came, passed) = (Some(&mut before), Some(&mut behind));
        at = lab.speaker.tell_adj_in((peer, family), (at, 7), came, passed);
        pieces += 1;
        if pieces == 3 {
            lab.withdraw(one, &[all[0]]);
        }
        if at.is_none() {
            break;
        }
    }
    let (heard, accepted) = (announced(&before), announced(&behind));
    assert_eq!(heard.len(), 49, "the first was gone when the walk came to it");
    assert_eq!(heard, accepted);
    let (mut best, mut routes, mut paths) = (Vec::new(), 0, 0);
    loop {
        lab.speaker.tell_routes(family, (at, 7), &mut best);
        at = lab.speaker.walk_routes(family, (at, 7), &mut |_, of| {
            routes += 1;
            paths += of.len();
        });
        if at.is_none() {
            break;
        }
    }
    assert_eq!((routes, paths), (50, 59), "the first has one path left");
    assert_eq!(announced(&best).len(), 50);
}

#[test]
fn what_ends_a_session_is_told_with_its_notification() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let conn = lab.establish(1, 65001);
    lab.speaker.watch(ALL);
    lab.receive(conn, |out| wire::notification(&wire::Notification::cease(2), out));
    let mut batch = Batch::default();
    lab.speaker.take_seen(&mut batch);
    let down = batch.seen.iter().find_map(|seen| match seen {
        Seen::Down { cause, .. } => Some(cause),
        _ => None,
    });
    assert!(matches!(down, Some(Cause::Received(n)) if n.code == 6), "{down:?}");
}
