//! What a drill has cost.

use super::probe::Tally;
use super::routes::RouteEvents;
use crate::text::{clean_line, count};
use serde::{Serialize, Serializer};
use std::fmt::Write;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub(crate) node: String,
    pub(crate) deed: String,
    /// Who brought the speaker back.
    pub(crate) by: String,
    pub(crate) pid_before: u32,
    pub(crate) pid_after: u32,
    pub(crate) version_before: String,
    pub(crate) version_after: String,
    pub(crate) serving_seconds: f64,
    /// None: some session did not come back in time.
    pub(crate) sessions_seconds: Option<f64>,
    pub(crate) watched_seconds: f64,
    pub(crate) sessions: Vec<Session>,
    pub(crate) routes: RouteEvents,
    pub(crate) packets: Vec<Tally>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Session {
    pub(crate) peer: String,
    pub(crate) address: String,
    /// The same TCP connection as before.
    pub(crate) kept: bool,
    /// Established at the end.
    pub(crate) up: bool,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        let route_events = self.routes.count() > 0 || self.routes.missed;
        self.sessions_lost() == 0 && !route_events && self.packets_lost() == 0
    }

    fn sessions_lost(&self) -> usize {
        self.sessions.iter().filter(|s| !s.kept).count()
    }

    fn packets_lost(&self) -> u64 {
        self.packets.iter().map(|p| p.lost).sum()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let verdict = if self.is_clean() { "nothing was lost" } else { "it was noticed" };
        let _ = writeln!(text, "{} of bgpd on {} by {}: {verdict}", self.deed, self.node, self.by);
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<16}{}", clean_line(&value));
        };
        line("sessions lost", self.of_sessions());
        for session in self.sessions.iter().filter(|s| !s.kept) {
            let now = if session.up { "up again" } else { "not up again" };
            line("", format!("{} ({}): lost, {now}", session.peer, session.address));
        }
        line("route events", self.of_routes());
        for event in &self.routes.first {
            line("", event.clone());
        }
        line("packets lost", self.of_packets());
        for probe in &self.packets {
            line("", of_probe(probe));
        }
        line("serving after", format!("{:.3} s", self.serving_seconds));
        let never = || "never".into();
        line("sessions after", self.sessions_seconds.map_or_else(never, |s| format!("{s:.3} s")));
        line("process", format!("{} -> {}", self.pid_before, self.pid_after));
        if self.version_before != self.version_after {
            line("version", format!("{} -> {}", self.version_before, self.version_after));
        }
        text
    }

    fn of_sessions(&self) -> String {
        format!("{} of {}", self.sessions_lost(), self.sessions.len())
    }

    fn of_routes(&self) -> String {
        let RouteEvents { added, removed, missed, .. } = &self.routes;
        let more = if *missed { ", and more than could be read" } else { "" };
        match self.routes.count() {
            0 if !*missed => "0".into(),
            n => format!("{n} ({removed} removed, {added} added or replaced){more}"),
        }
    }

    fn of_packets(&self) -> String {
        if self.packets.is_empty() {
            return "not probed".into();
        }
        let sent: u64 = self.packets.iter().map(|p| p.sent).sum();
        format!("{} of {sent} in {:.1} s", self.packets_lost(), self.watched_seconds)
    }
}

fn of_probe(probe: &Tally) -> String {
    let Tally { target, rate, sent, lost, longest_gap_ms: gap } = probe;
    match (rate, lost) {
        (0, _) => format!("{target}: answers no ICMP echo; not probed"),
        (_, 0) => format!("{target}: 0 of {sent}, {} a second", count((*rate).into(), "probe")),
        _ => format!("{target}: {lost} of {sent}, {rate} probes a second, longest gap {gap} ms"),
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({
            "node": self.node,
            "drill": self.deed,
            "by": self.by,
            "pid_before": self.pid_before,
            "pid_after": self.pid_after,
            "version_before": self.version_before,
            "version_after": self.version_after,
            "serving_after_seconds": self.serving_seconds,
            "sessions_after_seconds": self.sessions_seconds,
            "watched_seconds": self.watched_seconds,
            "sessions": self.sessions,
            "sessions_lost": self.sessions_lost(),
            "route_events": self.routes.count(),
            "routes": self.routes,
            "packets": self.packets,
            "packets_lost": self.packets_lost(),
            "nothing_lost": self.is_clean(),
        })
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Report {
        Report {
            node: "node-a".into(),
            deed: "restart".into(),
            by: "systemd (mainstay-bgpd.service)".into(),
            pid_before: 100,
            pid_after: 200,
            version_before: "0.1.0".into(),
            version_after: "0.1.0".into(),
            serving_seconds: 0.0421,
            sessions_seconds: Some(0.0422),
            watched_seconds: 3.5,
            sessions: vec![Session {
                peer: "tor".into(),
                address: "192.0.2.1".into(),
                kept: true,
                up: true,
            }],
            routes: RouteEvents::default(),
            packets: vec![Tally {
                target: "192.0.2.1".parse().unwrap(),
                rate: 1000,
                sent: 3500,
                lost: 0,
                longest_gap_ms: 0,
            }],
        }
    }

    #[test]
    fn a_clean_drill_says_so_first() {
        insta::assert_snapshot!(clean().text());
        assert!(clean().is_clean());
    }

    #[test]
    fn whatever_was_lost_is_told_with_its_name() {
        let mut report = clean();
        report.sessions[0].kept = false;
        report.routes = RouteEvents {
            added: 1,
            removed: 1,
            missed: false,
            first: vec!["- 0.0.0.0/0".into(), "+ 0.0.0.0/0".into()],
        };
        report.packets[0] = Tally { lost: 12, longest_gap_ms: 12, ..report.packets[0].clone() };
        report.version_after = "0.2.0".into();
        insta::assert_snapshot!(report.text());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["sessions_lost"], 1);
        assert_eq!(json["route_events"], 2);
        assert_eq!(json["packets_lost"], 12);
        assert_eq!(json["nothing_lost"], false);
    }

    #[test]
    fn each_loss_alone_is_one() {
        let mut sessions = clean();
        sessions.sessions[0].kept = false;
        let mut routes = clean();
        routes.routes.missed = true;
        let mut packets = clean();
        packets.packets[0].lost = 1;
        for report in [sessions, routes, packets] {
            assert!(!report.is_clean());
        }
    }
}
