//! `mainstay reload`: every running daemon reads the file again.

use crate::ask::{AskError, Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::{Printer, complain, complain_plainly};
use crate::text::clean_line;
use mainstay_proto::{bgp, ipam, netmon};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

pub(crate) const HELP: &str = "\
Each running daemon reads the configuration it was started with again and applies the difference.
A file with faults changes nothing: the faults are told, and what was in force stays in force.
What BGP itself must negotiate anew waits for the next session; no session is reset.

Exit codes: 0 every running daemon has it; 1 the file is bad, or no daemon runs.";

/// What a daemon did with the file.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Applied {
    changes: Vec<String>,
    warnings: Vec<String>,
}

type Outcome = (&'static str, Result<Applied, AskError>);

pub(crate) async fn run(daemons: &Daemons, out: &mut Printer) -> Result<Verdict, Failure> {
    let outcomes = [
        ("bgpd", bgpd(daemons).await),
        ("ipamd", ipamd(daemons).await),
        ("netmon", netmon(daemons).await),
    ];
    if out.is_json() {
        out.json(&as_json(&outcomes))?;
    } else {
        out.text(&as_text(&outcomes))?;
        out.finish()?;
        complaints(&outcomes);
    }
    let failed = outcomes.iter().any(|(_, o)| matches!(o, Err(e) if !e.is_absent()));
    let nobody = outcomes.iter().all(|(_, o)| o.is_err());
    Ok(if failed || nobody { Verdict::Wrong } else { Verdict::Well })
}

async fn bgpd(daemons: &Daemons) -> Result<Applied, AskError> {
    let mut client = daemons.bgpd().await?;
    let reply = answer("bgpd", client.reload(bgp::v1::ReloadRequest {})).await?;
    Ok(Applied { changes: reply.changes, warnings: reply.warnings })
}

async fn ipamd(daemons: &Daemons) -> Result<Applied, AskError> {
    let mut client = daemons.ipamd().await?;
    let reply = answer("ipamd", client.reload(ipam::v1::ReloadRequest {})).await?;
    Ok(Applied { changes: reply.changes, warnings: reply.warnings })
}

async fn netmon(daemons: &Daemons) -> Result<Applied, AskError> {
    let mut client = daemons.netmon().await?;
    let reply = answer("netmon", client.reload(netmon::v1::ReloadRequest {})).await?;
    Ok(Applied { changes: reply.changes, warnings: reply.warnings })
}

fn as_json(outcomes: &[Outcome]) -> serde_json::Value {
    let told = outcomes.iter().map(|(daemon, outcome)| {
        let value = match outcome {
            Ok(applied) => serde_json::json!({
                "running": true, "changes": applied.changes, "warnings": applied.warnings,
            }),
            Err(error) => {
                serde_json::json!({"running": !error.is_absent(), "error": reason(error)})
            }
        };
        ((*daemon).to_owned(), value)
    });
    told.collect::<serde_json::Map<_, _>>().into()
}

fn as_text(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for (daemon, outcome) in outcomes {
        let _ = match outcome {
            Ok(applied) if applied.changes.is_empty() => writeln!(text, "{daemon}: no change"),
            Ok(applied) => {
                let changes: Vec<_> = applied.changes.iter().map(|c| clean_line(c)).collect();
                writeln!(text, "{daemon}: {}", changes.join(&format!("\n{daemon}: ")))
            }
            Err(error) if error.is_absent() => writeln!(text, "{daemon}: not running"),
            Err(_) => writeln!(text, "{daemon}: refused; nothing has changed"),
        };
    }
    text
}

/// Each only once: the daemons read the same file.
fn complaints(outcomes: &[Outcome]) {
    for warning in warnings(outcomes) {
        complain_plainly(&warning);
    }
    for (reason, daemons) in refusals(outcomes) {
        complain(&format!("refused by {}:", daemons.join(", ")));
        complain_plainly(&reason);
    }
    if outcomes.iter().all(|(_, o)| matches!(o, Err(e) if e.is_absent())) {
        complain("no daemon runs here; see mainstay status");
    }
}

fn warnings(outcomes: &[Outcome]) -> Vec<String> {
    let mut all = Vec::new();
    for applied in outcomes.iter().filter_map(|(_, o)| o.as_ref().ok()) {
        for warning in &applied.warnings {
            if !all.contains(warning) {
                all.push(warning.clone());
            }
        }
    }
    all
}

fn refusals(outcomes: &[Outcome]) -> BTreeMap<String, Vec<&'static str>> {
    let mut by_reason: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (daemon, outcome) in outcomes {
        if let Err(error) = outcome
            && !error.is_absent()
        {
            by_reason.entry(reason(error)).or_default().push(*daemon);
        }
    }
    by_reason
}

/// The faults as the daemon told them, without our words around.
fn reason(error: &AskError) -> String {
    match error {
        AskError::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> [Outcome; 3] {
        let refused = |daemon| AskError::Refused {
            daemon,
            code: tonic::Code::InvalidArgument,
            message: "mainstay.yaml:5:14: bgp.hold_time: 2s is neither 0s nor at least 3s".into(),
        };
        let absent = AskError::Unreachable {
            daemon: "netmon",
            socket: "/run/mainstay/netmon.sock".into(),
            why: "no such file; is it running?".into(),
            absent: true,
        };
        [("bgpd", Err(refused("bgpd"))), ("ipamd", Err(refused("ipamd"))), ("netmon", Err(absent))]
    }

    #[test]
    fn a_fault_that_two_daemons_found_is_told_once() {
        let refusals = refusals(&outcomes()).into_iter().collect::<Vec<_>>();
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].0.starts_with("mainstay.yaml:5:14: "));
        assert_eq!(refusals[0].1, ["bgpd", "ipamd"]);
    }

    #[test]
    fn each_daemon_says_what_it_did() {
        let mut all = outcomes();
        assert_eq!(
            as_text(&all),
            "bgpd: refused; nothing has changed\n\
             ipamd: refused; nothing has changed\n\
             netmon: not running\n"
        );
        let changes =
            vec!["bgp.peers tor-a: hold_time 90s -> 30s".into(), "bgp.peers b: new".into()];
        all[0].1 = Ok(Applied { changes, warnings: vec!["w".into()] });
        all[1].1 = Ok(Applied { changes: vec![], warnings: vec!["w".into()] });
        assert_eq!(
            as_text(&all),
            "bgpd: bgp.peers tor-a: hold_time 90s -> 30s\n\
             bgpd: bgp.peers b: new\n\
             ipamd: no change\n\
             netmon: not running\n"
        );
        assert_eq!(warnings(&all), ["w"]);
        assert_eq!(as_json(&all)["netmon"]["running"], false);
        assert_eq!(as_json(&all)["bgpd"]["changes"][1], "bgp.peers b: new");
    }
}
