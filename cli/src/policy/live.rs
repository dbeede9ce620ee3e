//! `mainstay policy test --route`: a policy tried on a route of the running speaker.

use super::test::{Args, Expected};
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::clean_line;
use bgp_core::types::Prefix;
use mainstay_proto::bgp::v1::{Path, RuleTrial, Trial, TryPolicyReply, TryPolicyRequest};
use std::fmt::Write;

pub(super) async fn run(
    daemons: &Daemons,
    route: Prefix,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let (peer, export) = match (&args.from, &args.to) {
        (Some(from), _) => (from, false),
        (None, Some(to)) => (to, true),
        (None, None) => {
            return Err(Failure::Said("--route wants --from PEER or --to PEER".into()));
        }
    };
    let request = TryPolicyRequest {
        prefix: route.to_string(),
        peer: peer.clone(),
        export,
        policy: args.name.clone().unwrap_or_default(),
    };
    let mut bgpd = daemons.bgpd().await?;
    let reply = answer("bgpd", bgpd.try_policy(request)).await?;
    if out.is_json() {
        out.json(&reply)?;
    } else {
        out.text(&text(route, (peer, export), &reply))?;
    }
    let accepted = |t: &Trial| t.accepted && t.refused.is_empty();
    let as_expected = args.expect.is_none_or(|expected| match expected {
        Expected::Accept => reply.trials.iter().all(accepted),
        Expected::Reject => !reply.trials.iter().any(accepted),
    });
    let well = as_expected && !reply.trials.is_empty();
    Ok(if well { Verdict::Well } else { Verdict::Wrong })
}

fn text(route: Prefix, (peer, export): (&str, bool), reply: &TryPolicyReply) -> String {
    let mut text = String::new();
    let word = if export { "to" } else { "from" };
    if reply.trials.is_empty() {
        let _ = writeln!(text, "there is no {route} {word} {}", clean_line(peer));
    }
    for trial in &reply.trials {
        let before = trial.before.clone().unwrap_or_default();
        let id =
            if before.path_id > 0 { format!(", path {}", before.path_id) } else { String::new() };
        let head = format!("{route} {word} {peer}{id} is {}", verdict(trial, &reply.policy));
        let _ = writeln!(text, "{}\n", clean_line(&head));
        if !trial.refused.is_empty() {
            let _ = writeln!(text, "  whatever the policy says: {}", clean_line(&trial.refused));
        }
        trial.rules.iter().for_each(|rule| {
            let _ = writeln!(text, "  rule {}", clean_line(&said(rule)));
        });
        text.push('\n');
        attributes(&before, trial.after.as_ref(), &mut text);
    }
    text
}

fn verdict(trial: &Trial, policy: &str) -> String {
    let by = trial.rules.iter().find(|rule| rule.rule == trial.decided_by);
    let by = by.map_or_else(
        || format!("at the end of policy {policy}: no rule decides"),
        |rule| format!("by rule {} of policy {policy}", called(rule)),
    );
    match (trial.accepted, trial.refused.is_empty()) {
        (true, true) => format!("accepted {by}"),
        (true, false) => format!("refused, though accepted {by}"),
        (false, _) => format!("rejected {by}"),
    }
}

fn called(rule: &RuleTrial) -> String {
    if rule.name.is_empty() {
        rule.rule.to_string()
    } else {
        format!("{} ({})", rule.rule, rule.name)
    }
}

fn said(rule: &RuleTrial) -> String {
    if rule.action.is_empty() {
        format!("{}  passed over: {}", called(rule), rule.passed_over)
    } else {
        format!("{}  matches: {}", called(rule), rule.action)
    }
}

/// What rules may change.
fn shown(path: &Path) -> [(&'static str, String); 7] {
    let number = |n: Option<u32>| n.map_or_else(|| "-".into(), |n| n.to_string());
    let or_dash = |text: &str| if text.is_empty() { "-".into() } else { text.to_owned() };
    let all = [&path.communities, &path.large_communities, &path.extended_communities];
    let communities: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
    [
        ("AS path", or_dash(&path.as_path)),
        ("origin", or_dash(&path.origin)),
        ("next hop", or_dash(&path.next_hop)),
        ("local pref", number(path.local_pref)),
        ("MED", number(path.med)),
        ("weight", path.weight.to_string()),
        ("communities", or_dash(&communities.join(" "))),
    ]
}

fn attributes(before: &Path, after: Option<&Path>, text: &mut String) {
    let was = shown(before);
    let is = after.map_or_else(|| was.clone(), shown);
    for ((key, was), (_, is)) in was.iter().zip(&is) {
        let line = if was == is {
            format!("  {key:<12}{was}")
        } else {
            format!("  {key:<12}{was} -> {is}")
        };
        let _ = writeln!(text, "{}", clean_line(&line));
    }
}
