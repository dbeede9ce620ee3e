//! `mainstay bgp explain`: why a route is, or is not, the best, told to a peer, or in the kernel.

use super::routes;
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::{age, clean_line, or_dash};
use mainstay_proto::bgp::v1::{ExplainReply, ExplainRequest, Export, KernelHop, KernelRoute, Path};
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
    let left_out = left_out(path);
    if path.best {
        return format!("the best{}{left_out}{stale}", weight(path));
    }
    let used = match path.multipath {
        true => format!("used beside the best{}; ", weight(path)),
        false => String::new(),
    };
    format!("{used}lost by: {}{left_out}{stale}", or_dash(&path.reason))
}

/// Where not all in use have the same.
fn weight(path: &Path) -> String {
    if path.hop_weight > 1 { format!(", weight {}", path.hop_weight) } else { String::new() }
}

fn left_out(path: &Path) -> String {
    match path.left_out.as_str() {
        "" => String::new(),
        why => format!("; not in the kernel's route: {why}"),
    }
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
    let via = match via(kernel).as_slice() {
        [] => String::new(),
        hops => format!(" via {}", hops.join(" and ")),
    };
    let but = without(kernel);
    match kernel.state.as_str() {
        "installed" => format!("installed{via}{but}"),
        "awaited" => {
            format!(
                "installed{via} by an earlier process, until its peers have told their routes{but}"
            )
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

/// What is there, with weights where they differ.
fn via(kernel: &KernelRoute) -> Vec<String> {
    if kernel.hops.is_empty() {
        return kernel.next_hops.clone();
    }
    let used: Vec<&KernelHop> = kernel.hops.iter().filter(|hop| hop.left_out.is_empty()).collect();
    let weighted = used.len() > 1 && used.iter().any(|hop| hop.weight > 1);
    let shown = |hop: &&KernelHop| match weighted {
        true => format!("{} (weight {})", hop.next_hop, hop.weight),
        false => hop.next_hop.clone(),
    };
    used.iter().map(shown).collect()
}

/// What the kernel's route has to do without.
fn without(kernel: &KernelRoute) -> String {
    let out = kernel.hops.iter().filter(|hop| !hop.left_out.is_empty());
    out.map(|hop| format!("; without {}: {}", hop.next_hop, hop.left_out)).collect()
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
    fn each_next_hop_of_the_kernels_route_is_told_of() {
        let hop = |next_hop: &str, weight, left_out: &str| KernelHop {
            next_hop: next_hop.into(),
            weight,
            left_out: left_out.into(),
        };
        let dead = "no link and no route leads to it";
        let mut kernel = KernelRoute { state: "installed".into(), ..Default::default() };
        kernel.hops = vec![hop("192.0.2.1", 2, ""), hop("192.0.2.2", 5, "")];
        let weighed = "installed via 192.0.2.1 (weight 2) and 192.0.2.2 (weight 5)";
        assert_eq!(in_kernel(&kernel), weighed);
        kernel.hops = vec![hop("192.0.2.1", 2, ""), hop("203.0.113.1", 5, dead)];
        let text = format!("installed via 192.0.2.1; without 203.0.113.1: {dead}");
        assert_eq!(in_kernel(&kernel), text);
        let path =
            Path { multipath: true, hop_weight: 5, left_out: dead.into(), ..Path::default() };
        let text = format!(
            "used beside the best, weight 5; lost by: -; not in the kernel's route: {dead}"
        );
        assert_eq!(standing(&path), text);
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
