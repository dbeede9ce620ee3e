//! The node on one screen.

use super::{Answer, Speaker, Status};
use crate::table::Table;
use crate::text::{age, clean_line, count, or_dash};
use mainstay_proto::{bgp, ipam, netmon};
use std::fmt::Write;

pub(super) fn text(status: &Status, wrong: &[String]) -> String {
    let mut text = verdict(status, wrong);
    text.push_str(&daemons(status));
    let mut parts = Vec::new();
    parts.extend(status.bgpd.up().map(speaker));
    parts.extend(status.ipamd.up().map(addresses));
    parts.extend(status.netmon.up().map(monitor));
    for part in parts {
        text.push('\n');
        for (i, line) in part.iter().enumerate() {
            let name = if i == 0 { line.0 } else { "" };
            let _ = writeln!(text, "{name:<8}{}", clean_line(&line.1));
        }
    }
    list("Warnings:", &warnings(status), &mut text);
    text
}

fn verdict(status: &Status, wrong: &[String]) -> String {
    let replies = [
        status.bgpd.up().map(|s| s.status.node.as_str()),
        status.ipamd.up().map(|s| s.node.as_str()),
        status.netmon.up().map(|s| s.node.as_str()),
    ];
    let node = clean_line(replies.into_iter().flatten().next().unwrap_or("this node"));
    if wrong.is_empty() {
        return format!("{node}: all is well\n\n");
    }
    let wrong: String = wrong.iter().map(|line| format!("  {}\n", clean_line(line))).collect();
    format!("{node}: something is wrong\n{wrong}\n")
}

fn daemons(status: &Status) -> String {
    let mut table = Table::new(&["DAEMON", "STATE", ">UP FOR", ">PID", "VERSION"]);
    let bgpd = status.bgpd.up().map(|s| &s.status);
    let bgpd = bgpd.map(|s| (s.uptime_seconds, s.pid, s.version.clone()));
    let ipamd = status.ipamd.up().map(|s| (s.uptime_seconds, s.pid, s.version.clone()));
    let netmon = status.netmon.up().map(|s| (s.uptime_seconds, s.pid, s.version.clone()));
    for (name, missing, reply) in [
        ("bgpd", missing(&status.bgpd), bgpd),
        ("ipamd", missing(&status.ipamd), ipamd),
        ("netmon", missing(&status.netmon), netmon),
    ] {
        let (since, pid, version) = match reply {
            Some((up, pid, version)) => (age(up), pid.to_string(), version),
            None => ("-".into(), "-".into(), "-".into()),
        };
        table.row([name.into(), missing.into(), since, pid, version]);
    }
    table.take()
}

fn missing<T>(answer: &Answer<T>) -> &'static str {
    match answer {
        Answer::Up(_) => "up",
        Answer::NotNeeded => "not needed",
        Answer::Down(_) => "DOWN",
    }
}

type Line = (&'static str, String);

fn speaker(speaker: &Speaker) -> Vec<Line> {
    let s = &speaker.status;
    let listen = match s.listen.as_slice() {
        [] => "connecting only".to_owned(),
        listen => format!("listening on {}", listen.join(", ")),
    };
    let head = format!("AS {}, router ID {}, {listen}", s.asn, s.router_id);
    let up = speaker.peers.iter().filter(|peer| super::is_up(peer)).count();
    let mut lines = vec![
        ("BGP", head),
        ("", format!("peers: {up} of {} established", speaker.peers.len())),
        ("", format!("routes: {}; {}", families(&s.loc_rib), kernel(s.fib.as_ref()))),
        ("", format!("announced by this node: {}", or_dash(&s.originated.join(", ")))),
        ("", survival(s, up)),
    ];
    lines.extend(intent(&s.intent).map(|text| ("", text.to_owned())));
    if s.restarting {
        lines.push((
            "",
            "restarting: awaiting the peers' End-of-RIB before routes are swept".into(),
        ));
    }
    lines
}

/// What the node is meant for, when it is not to serve.
fn intent(word: &str) -> Option<&'static str> {
    match word {
        "draining" => Some("draining: peers are asked to use other ways (mainstay undrain)"),
        "drained" => Some("drained: nothing is announced until mainstay undrain"),
        "leaving" => Some("leaving: about to end for good"),
        _ => None,
    }
}

fn families(counts: &[bgp::v1::FamilyCount]) -> String {
    let counts: Vec<_> = counts.iter().map(|c| format!("{} {}", c.routes, c.family)).collect();
    if counts.is_empty() { "none".into() } else { counts.join(", ") }
}

fn kernel(fib: Option<&bgp::v1::FibStatus>) -> String {
    let Some(fib) = fib.filter(|fib| fib.install) else {
        return "none go to the kernel (bgp.fib.install is false)".into();
    };
    let stale =
        if fib.stale > 0 { format!(", {} of them stale", fib.stale) } else { String::new() };
    let table = if fib.table == 254 { "main".into() } else { fib.table.to_string() };
    format!("{} in the kernel (table {table}){stale}", fib.installed)
}

fn survival(status: &bgp::v1::StatusReply, up: usize) -> String {
    match status.survival.as_str() {
        "tier0" => {
            let held = status.keeper.as_ref().map_or(0, |k| k.held);
            format!("a restart of bgpd: {held} of {up} sessions live on in the keeper")
        }
        "graceful-restart" => "a restart of bgpd: bridged by graceful restart".into(),
        other => format!("a restart of bgpd: {}", or_dash(other)),
    }
}

fn addresses(ipamd: &ipam::v1::StatusReply) -> Vec<Line> {
    let pool = |pool: &ipam::v1::PoolStatus| {
        let blocks = count(pool.blocks.into(), "block");
        let held = if pool.cooling > 0 {
            format!("{} held ({} cooling)", pool.held, pool.cooling)
        } else {
            format!("{} held", pool.held)
        };
        format!(
            "pool {} {}: {blocks}; {} assigned, {held}, {} free of {}",
            pool.name, pool.cidr, pool.assigned, pool.free, pool.addresses
        )
    };
    let pools = ipamd.pools.iter().map(|p| ("IPAM", pool(p)));
    let mut lines: Vec<Line> = pools.collect();
    if lines.is_empty() {
        lines.push(("IPAM", "no pools".into()));
    }
    lines.push((
        "",
        format!(
            "since start: {} ADD ({} back to their owner, {} failed), {} DEL",
            ipamd.adds, ipamd.sticky_hits, ipamd.add_failures, ipamd.dels
        ),
    ));
    lines
}

fn monitor(netmon: &netmon::v1::StatusReply) -> Vec<Line> {
    let source = |s: &netmon::v1::Source| {
        if s.ok { s.name.clone() } else { format!("{} (FAILED)", s.name) }
    };
    let sources: Vec<_> = netmon.sources.iter().map(source).collect();
    vec![
        ("NETMON", format!("http://{}/metrics", netmon.listen)),
        ("", format!("sources: {}", or_dash(&sources.join(", ")))),
        (
            "",
            format!(
                "conntrack: {} of {} entries; {} since start",
                netmon.conntrack_entries,
                netmon.conntrack_limit,
                count(netmon.flows_total, "ended flow")
            ),
        ),
    ]
}

/// Each once: the daemons read the same file.
fn warnings(status: &Status) -> Vec<String> {
    let all = [
        status.bgpd.up().map(|s| &s.status.warnings),
        status.ipamd.up().map(|s| &s.warnings),
        status.netmon.up().map(|s| &s.warnings),
    ];
    let mut once = Vec::new();
    for warning in all.into_iter().flatten().flatten() {
        if !once.contains(warning) {
            once.push(warning.clone());
        }
    }
    once
}

fn list(head: &str, lines: &[String], text: &mut String) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{head}");
    for line in lines {
        let _ = writeln!(text, "  {}", clean_line(line));
    }
}
