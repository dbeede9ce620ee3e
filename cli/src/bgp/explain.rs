//! `mainstay bgp explain`: why a route is, or is not, the best, told to a peer, or in the kernel.

use super::routes;
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::{age, clean_line, or_dash};
use mainstay_proto::bgp::v1::{ExplainReply, ExplainRequest, Export, KernelRoute, Path};
use std::fmt::Write;

pub(crate) const HELP: &str = "\
All that decides about one prefix, or about the route an address takes:
  candidates   the best first, the others with the step of the decision that each lost at
  refused      what a peer has announced and import did not let in, with the rule
  kernel       whether the route is there, and if not, why
  peers        who is told, and why the others are not

Examples:
  mainstay bgp explain 198.51.100.7
  mainstay bgp explain 10.244.1.0/26
  mainstay -o json bgp explain ::/0 | jq '.exports[] | select(.state != \"told\")'

Exit codes: 0 there is a route; 1 there is none, which is explained, or the speaker does not answer.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One prefix, or one address: the route it takes
    #[arg(value_name = "PREFIX", value_parser = routes::wanted)]
    prefix: routes::Wanted,
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    let request = ExplainRequest { prefix: args.prefix.prefix().to_string() };
    let reply = answer("bgpd", bgpd.explain(request)).await?;
    if out.is_json() {
        out.json(&reply)?;
    } else {
        out.text(&text(&reply))?;
    }
    Ok(if reply.route.is_some() { Verdict::Well } else { Verdict::Wrong })
}

fn text(reply: &ExplainReply) -> String {
    let mut text = String::new();
    let _ = match &reply.route {
        None => writeln!(text, "{}: there is no route", clean_line(&reply.asked)),
        Some(route) if route.prefix == reply.asked => {
            writeln!(text, "{}", clean_line(&reply.asked))
        }
        Some(route) => {
            let (asked, taken) = (clean_line(&reply.asked), clean_line(&route.prefix));
            writeln!(text, "{asked} takes {taken}")
        }
    };
    if let Some(route) = &reply.route {
        text.push_str("\ncandidates, the best first:\n");
        route.paths.iter().for_each(|path| candidate(path, &mut text));
    }
    if !reply.refused.is_empty() {
        text.push_str("\nrefused at import:\n");
    }
    for route in &reply.refused {
        route.paths.iter().for_each(|path| refused(&route.prefix, path, &mut text));
    }
    let kernel = reply.kernel.clone().unwrap_or_default();
    let _ = writeln!(text, "\nkernel: {}", clean_line(&in_kernel(&kernel)));
    if !reply.exports.is_empty() {
        text.push_str("\npeers:\n");
    }
    let width = reply.exports.iter().map(|e| e.peer.chars().count()).max().unwrap_or(0);
    for export in &reply.exports {
        let line = format!("  {:width$}  {}", export.peer, told(export));
        let _ = writeln!(text, "{}", clean_line(&line));
    }
    text
}

fn candidate(path: &Path, text: &mut String) {
    let marks = routes::marks(path);
    let via =
        if path.next_hop.is_empty() { String::new() } else { format!(" via {}", path.next_hop) };
    let head =
        format!("  {marks:<3} from {}{via}, {}", routes::source(path), age(path.age_seconds));
    let _ = writeln!(text, "{}", clean_line(&head));
    let _ = writeln!(text, "        {}", clean_line(&standing(path)));
    let _ = writeln!(text, "        {}", clean_line(&attributes(path)));
}

fn standing(path: &Path) -> String {
    let stale = if path.stale { "; stale: its peer is restarting" } else { "" };
    if path.best {
        return format!("the best{stale}");
    }
    let used = if path.multipath { "used beside the best; " } else { "" };
    format!("{used}lost by: {}{stale}", or_dash(&path.reason))
}

/// What the decision goes by.
fn attributes(path: &Path) -> String {
    let mut words = vec![format!("AS path {}", or_dash(&path.as_path)), path.origin.clone()];
    words.extend(path.local_pref.map(|pref| format!("local preference {pref}")));
    words.extend(path.med.map(|med| format!("MED {med}")));
    words.extend((path.weight > 0).then(|| format!("weight {}", path.weight)));
    let communities = path.communities.iter().chain(&path.large_communities);
    let communities = communities.chain(&path.extended_communities);
    let communities: Vec<&str> = communities.map(String::as_str).collect();
    if !communities.is_empty() {
        words.push(format!("communities {}", communities.join(" ")));
    }
    words.join(", ")
}

fn refused(prefix: &str, path: &Path, text: &mut String) {
    let why = with_rule(or_dash(&path.reason), &path.rule);
    let line = format!("  {prefix} from {}: {why}", routes::source(path));
    let _ = writeln!(text, "{}", clean_line(&line));
    let _ = writeln!(text, "        {}", clean_line(&attributes(path)));
}

fn in_kernel(kernel: &KernelRoute) -> String {
    let via = match kernel.next_hops.as_slice() {
        [] => String::new(),
        hops => format!(" via {}", hops.join(" and ")),
    };
    match kernel.state.as_str() {
        "installed" => format!("installed{via}"),
        "awaited" => {
            format!("installed{via} by an earlier process, until its peers have told their routes")
        }
        "refused" => {
            let times = crate::text::count(kernel.attempts.into(), "time");
            format!("not there: the route{via} was refused {times}, last: {}", kernel.reason)
        }
        "own" => "not ours to install: a prefix of this node, which its owner routes".into(),
        "off" => "not there: bgp.fib.install is false".into(),
        "through-us" => "not there: its next hop is this node".into(),
        "no-route" => "not there: there is no route".into(),
        other => format!("{other}{via}"),
    }
}

fn told(export: &Export) -> String {
    let as_one = |path: &Path| format!("next hop {}, {}", path.next_hop, attributes(path));
    let as_what = match export.paths.as_slice() {
        [] => export.path.as_ref().map(|path| format!("as {}", as_one(path))),
        paths => {
            let with_id = |path: &Path| format!("{}: {}", path.path_id, as_one(path));
            let all: Vec<String> = paths.iter().map(with_id).collect();
            Some(format!("{} paths, {}", paths.len(), all.join("; ")))
        }
    };
    match export.state.as_str() {
        "told" => format!("told {}", as_what.unwrap_or_default()),
        "pending" => format!("about to be told: {}", export.reason),
        "withheld" => format!("not told: {}", with_rule(&export.reason, &export.rule)),
        "withdrawing" => format!("still holds it, and is to lose it: {}", export.reason),
        other => format!("{other}: {}", export.reason),
    }
}

fn with_rule(reason: &str, rule: &str) -> String {
    if rule.is_empty() { reason.to_owned() } else { format!("{reason} ({rule})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_reason_stands_in_one_answer() {
        insta::assert_snapshot!(text(&sample::explanation()));
    }

    #[test]
    fn what_is_not_there_is_explained_too() {
        let kernel = KernelRoute { state: "no-route".into(), ..Default::default() };
        let none = ExplainReply {
            asked: "203.0.113.0/24".into(),
            refused: sample::explanation().refused,
            kernel: Some(kernel),
            ..Default::default()
        };
        insta::assert_snapshot!(text(&none));
    }
}
