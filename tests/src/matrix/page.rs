//! `docs/restart.md`.

use super::{Cell, Event, Outcome};
use crate::peers::Kind;
use std::fmt::Write;

const HEAD: &str = "# What a restart costs

Written by `make restart-matrix`: three hosts (node, switch, a host behind the switch) in network namespaces, the real
programs, Debian's packages as peers. In each cell the speaker or its keeper ends in some way while one UDP packet a
millisecond goes from the node to the host behind the switch and another one back. **nothing** means: the session's
uptime is unbroken *at the peer*, no route of the traffic moved in the kernel of the node, of the switch or behind it, no
packet was lost, and the peer's log has no new line about us. Otherwise a cell reads

    sessions lost · route events at node/switch/behind · packets lost · lines in the peer's log

and a cell in *italics* falls short of what is promised: with the keeper at work nothing is seen, whatever the peer is
able to; a drained node keeps its session and its way out; without the keeper, a peer with graceful restart keeps routes and packets; without that, all heals by itself.
GoBGP and OpenBGPD stand beside the switch as route servers: no kernel has their routes but the one behind.
";

/// The whole page.
#[must_use]
pub fn page(cells: &[Cell], outcomes: &[Outcome]) -> String {
    let all: Vec<_> = cells.iter().zip(outcomes).collect();
    let mut text = HEAD.to_owned();
    let kept = all.iter().filter(|(c, o)| keeps(c, o)).count();
    let _ = writeln!(text, "\n{kept} of {} cells keep their promise.", all.len());
    for peer in Kind::ALL {
        section(&mut text, peer, &all);
    }
    large(&mut text, &all);
    shortfalls(&mut text, &all);
    text
}

/// Whether the cell ran, healed, and kept its promise.
#[must_use]
fn keeps(cell: &Cell, outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|v| cell.promise().broken(cell.peer, v).is_empty())
}

fn section(text: &mut String, peer: Kind, all: &[(&Cell, &Outcome)]) {
    let of_peer = |c: &Cell| c.peer == peer && !c.is_large();
    if !all.iter().any(|(c, _)| of_peer(c)) {
        return;
    }
    let modes = peer.modes();
    let names: String = modes.iter().map(|gr| format!(" {} |", gr.name())).collect();
    let _ = writeln!(text, "\n## {} {}\n\n| what happens |{names}", peer.name(), peer.version());
    let _ = writeln!(text, "|---|{}", "---|".repeat(modes.len()));
    for event in Event::ALL {
        let cell = |gr| all.iter().find(|(c, _)| of_peer(c) && c.event == event && c.gr == gr);
        let row: String = modes.iter().map(|gr| format!(" {} |", shown(cell(*gr)))).collect();
        let _ = writeln!(text, "| {} |{row}", event.name());
    }
}

fn large(text: &mut String, all: &[(&Cell, &Outcome)]) {
    let rows: Vec<_> = all.iter().filter(|(c, _)| c.is_large()).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "\n## More of everything, GR off\n\n| peer | size | what happens | |\n|---|---|---|---|\n",
    );
    for row in rows {
        let (cell, _) = row;
        let (peer, size, event) = (cell.peer.name(), cell.size(), cell.event.name());
        let _ = writeln!(text, "| {peer} | {size} | {event} | {} |", shown(Some(row)));
    }
}

fn shown(cell: Option<&(&Cell, &Outcome)>) -> String {
    match cell {
        None => String::new(),
        Some((_, Err(_))) => "*not as before within 60 s*".into(),
        Some((cell, Ok(verdict))) if keeps(cell, &Ok(verdict.clone())) => verdict.to_string(),
        Some((_, Ok(verdict))) => format!("*{verdict}*"),
    }
}

fn shortfalls(text: &mut String, all: &[(&Cell, &Outcome)]) {
    let short: Vec<_> = all.iter().filter(|(c, o)| !keeps(c, o)).collect();
    if short.is_empty() {
        return;
    }
    text.push_str("\n## Where it falls short\n\n");
    for (cell, outcome) in short {
        let why = match outcome {
            Ok(verdict) => cell.promise().broken(cell.peer, verdict).join("; "),
            Err(why) => why.clone(),
        };
        let why: String = why.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "- {}: {}", cell.name(), why.chars().take(400).collect::<String>());
    }
}
