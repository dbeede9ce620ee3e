//! The section of docs/benchmarks.md.

use crate::restarters::{EXPORTED, Who};
use crate::table::LEARNT;
use crate::{cost, resume, table};
use std::fmt::Write;
use std::time::Duration;

pub const TITLE: &str = "Restarts";

pub fn section(restarts: &[table::Row], resumes: &[resume::Row], costs: &[cost::Row]) -> String {
    let mut text = format!(
        "## {TITLE}

Written by `make bench-restart`, in one run. A speaker with {} learnt and {EXPORTED} exported routes is ended and started
again at once; the switch is BIRD as a graceful-restart helper, and a packet a millisecond goes each way. Route events are
counted in the kernels of the node, the switch and the host behind it; *converged* is when session and routes are as
before. Each speaker has what its manual offers for restarts:

",
        LEARNT + 1
    );
    for who in Who::ALL {
        let _ = writeln!(text, "- {}: {}", who.name(), who.settings());
    }
    text += "\n| who restarts | by | sessions lost | route events: node, switch, behind | packets lost to it | from it | converged |\n|---|---|---|---|---|---|---|\n";
    for row in restarts {
        let [node, switch, behind] = row.events;
        let from = row.lost_from_node.map_or_else(|| "–".into(), |n| n.to_string());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {node}, {switch}, {behind} | {} | {from} | {:.1} s |",
            row.who.name(),
            row.signal,
            row.sessions_lost,
            row.lost_to_node,
            row.converged.as_secs_f64()
        );
    }
    text += "
After SIGKILL, with both sessions held by the keeper: from exec until it serves, and until a route that one peer announced
meanwhile has reached the other one. Nothing goes to the kernel.

| routes | serves | first route passed on |
|---|---|---|
";
    for row in resumes {
        let (ready, first) = (millis(row.ready), millis(row.first));
        let _ = writeln!(text, "| {} | {ready} | {first} |", row.routes);
    }
    text += "
What the keeper costs: one peer in, one peer out, as above; CPU time of bgpd and keeper together, medians, in turn. Both
ways make the same system calls; what differs is the log of what was said, about 14 octets a route and direction, and the
fresh memory that the kernel has to find for it.

| routes | runs | CPU without | CPU with | | page faults without | with | wall without | wall with |
|---|---|---|---|---|---|---|---|---|
";
    for cost::Row { routes, runs, plain, kept } in costs {
        let more = 100.0 * (kept.cpu.as_secs_f64() / plain.cpu.as_secs_f64().max(0.001) - 1.0);
        let _ = writeln!(
            text,
            "| {routes} | {runs} | {} | {} | {more:+.1} % | {} | {} | {} | {} |",
            millis(plain.cpu),
            millis(kept.cpu),
            plain.faults,
            kept.faults,
            millis(plain.wall),
            millis(kept.wall)
        );
    }
    text
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
