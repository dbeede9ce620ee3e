//! The finite state machine, printed: every state and every event (RFC 4271 §8.2.2).
//!
//! The text stands in `session/table.txt`. After a wanted change, run this test with
//! `UPDATE_GOLDEN=1` and read the difference.

use super::*;
use crate::wire::{AfiSafi, Notification};
use std::fmt::Write;

const STATES: [&str; 6] = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];

type Cause = fn(&mut Lab, Option<ConnId>);

const EVENTS: [(&str, Cause); 19] = [
    ("its connection is accepted", |lab, _| {
        lab.accept(1);
    }),
    ("dialling succeeds", |lab, _| {
        if let Some(conn) = lab.dialled() {
            lab.tell(Event::Connected { conn, link: link(1) });
        }
    }),
    ("dialling fails", |lab, _| {
        if let Some(conn) = lab.dialled() {
            lab.tell(Event::ConnectFailed { conn, why: "refused".into() });
        }
    }),
    ("OPEN", |lab, conn| say(lab, conn, |out| wire::open(&offer(1, 65001).message(), out))),
    ("OPEN of another AS", |lab, conn| {
        say(lab, conn, |out| wire::open(&offer(1, 65009).message(), out));
    }),
    ("OPEN without common family", |lab, conn| {
        let mut open = offer(1, 65001).message();
        open.capabilities = vec![wire::Capability::Multiprotocol(AfiSafi { afi: 25, safi: 70 })];
        say(lab, conn, |out| wire::open(&open, out));
    }),
    ("KEEPALIVE", |lab, conn| say(lab, conn, wire::keepalive)),
    ("UPDATE", |lab, conn| {
        say(lab, conn, |out| {
            let prefixes = [prefix("10.0.0.0/8")];
            let attrs = attributes(&[65001], 1);
            wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &prefixes, out);
        });
    }),
    ("ROUTE-REFRESH", |lab, conn| {
        say(lab, conn, |out| wire::route_refresh(Family::Ipv4Unicast.into(), out));
    }),
    ("NOTIFICATION Cease", |lab, conn| {
        say(lab, conn, |out| wire::notification(&Notification::cease(2), out));
    }),
    ("NOTIFICATION bad peer AS", |lab, conn| {
        say(lab, conn, |out| wire::notification(&Notification::BAD_PEER_AS, out));
    }),
    ("bytes without a marker", |lab, conn| say(lab, conn, |out| out.extend([0; 19]))),
    ("the connection ends", |lab, conn| {
        if let Some(conn) = conn {
            lab.tell(Event::Closed { conn, why: "end of stream".into() });
        }
    }),
    ("5 s pass", |lab, _| lab.pass(seconds(5))),
    ("30 s pass", |lab, _| lab.pass(seconds(30))),
    ("90 s pass", |lab, _| lab.pass(seconds(90))),
    ("240 s pass", |lab, _| lab.pass(seconds(240))),
    ("the peer is removed", |lab, _| {
        let mut config = active();
        config.peers.clear();
        lab.tell(Event::Configure(Box::new(config)));
    }),
    ("stop", |lab, _| lab.tell(Event::Stop)),
];

fn say(lab: &mut Lab, conn: Option<ConnId>, write: impl FnOnce(&mut Vec<u8>)) {
    if let Some(conn) = conn {
        lab.receive(conn, write);
    }
}

fn active() -> SpeakerConfig {
    SpeakerConfig { peers: vec![peer_config(1, 65001)], ..config(&[]) }
}

/// A lab whose only peer is in that state, and the connection, where the state has one.
fn in_state(state: &str) -> (Lab, Option<ConnId>) {
    let mut lab = Lab::new(active());
    lab.pass(Duration::ZERO);
    let dialled = lab.dialled().expect("it dials at once");
    match state {
        "Connect" => return (lab, None),
        "Active" => {
            lab.tell(Event::ConnectFailed { conn: dialled, why: "refused".into() });
            return (lab, None);
        }
        _ => lab.tell(Event::Connected { conn: dialled, link: link(1) }),
    }
    let open = |asn| move |out: &mut Vec<u8>| wire::open(&offer(1, asn).message(), out);
    match state {
        "Idle" => {
            lab.receive(dialled, open(65009));
            lab.sent(dialled);
            return (lab, None);
        }
        "OpenConfirm" => lab.receive(dialled, open(65001)),
        "Established" => {
            lab.receive(dialled, open(65001));
            lab.receive(dialled, wire::keepalive);
        }
        _ => {}
    }
    (lab, Some(dialled))
}

fn outcome(state: &str, cause: Cause) -> Option<String> {
    let (mut lab, conn) = in_state(state);
    assert_eq!(lab.peer(1).state, state);
    if let Some(conn) = conn {
        lab.sent(conn);
    }
    let dialling = lab.dialled();
    lab.actions.retain(|a| matches!(a, Action::Connect { .. }) && state == "Connect");
    let before = lab.actions.len();
    cause(&mut lab, conn);
    let actions = lab.actions.split_off(before);
    let to = lab.speaker.peers(lab.now).first().map_or("gone", |p| p.state);
    let all = [conn, dialling, Some(ConnId(1))].into_iter().flatten().collect::<BTreeSet<_>>();
    let mut done: Vec<String> = all.into_iter().flat_map(|c| lab.sent(c)).collect();
    if !done.is_empty() {
        done = vec![format!("sends {}", done.join(", "))];
    }
    done.extend(actions.iter().filter_map(deed));
    if to == state && done.is_empty() {
        return None;
    }
    Some(format!("{to:<12} {}", done.join("; ")))
}

fn deed(action: &Action) -> Option<String> {
    Some(match action {
        Action::Connect { .. } => "dials".into(),
        Action::Close { .. } => "closes".into(),
        Action::Wake { .. } | Action::Established { .. } => return None,
        Action::Fib { .. } => format!("route {}", change(action)),
        Action::Report(Report::PeerUp { .. }) => "reports up".into(),
        Action::Report(Report::PeerDown { cause, .. }) => {
            format!("reports down: {}", cause.label())
        }
        Action::Report(Report::SessionFailed { cause, .. }) => {
            format!("reports failure: {}", cause.label())
        }
        Action::Report(Report::ConnectionRefused { why, .. }) => format!("refuses: {why}"),
        Action::Report(Report::RouteRefreshed { .. }) => "tells everything again".into(),
        Action::Report(_) => return None,
    })
}

#[test]
fn the_table_is_the_one_in_the_file() {
    let mut table = String::from(
        "# One peer, by state and event; written by speaker/tests/table.rs.\n\
         # Hold time 90 s, connect retry 5 s. What is not listed changes nothing.\n",
    );
    for state in STATES {
        writeln!(table, "\n{state}").unwrap();
        for (event, cause) in EVENTS {
            if let Some(outcome) = outcome(state, cause) {
                writeln!(table, "  {event:<28} -> {}", outcome.trim_end()).unwrap();
            }
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/session/table.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &table).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(table, golden, "run with UPDATE_GOLDEN=1 if this is wanted");
}
