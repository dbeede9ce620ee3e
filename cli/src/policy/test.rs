//! `mainstay policy test`: a policy tried on a route.

use super::{File, no_policy, sample};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use bgp_core::policy::{
    Decision, Direction, Outcome, Policy, RuleTrace, Sample, Trace, built_in, explain,
};
use bgp_core::types::Prefix;
use bgp_core::wire::{self, AsPath, Attributes, ExtendedCommunity, LargeCommunity};
use bgp_words::Community;
use clap::ValueEnum;
use mainstay_config::NodeConfig;
use std::fmt::Write;
use std::net::IpAddr;

pub(crate) const HELP: &str = "\
Says of each rule whether it matches and why not, which one decides, and what becomes of the route's
attributes. What is not given is as usual: a path of the --peer's AS alone, the peer as next hop, no
communities; without --peer and --as-path, an export is tried on a block of this node's own.

With --route nothing is made up: the running speaker takes the route as the peer has told it, or as
it would go out to one, and tries the policy that is in force, or the one named, on each of its paths.

On export the attributes are those before our AS and next hop are put in, as they are for every
eBGP peer.

Examples:
  mainstay policy test from-tor --prefix 10.1.0.0/16 --peer tor-a
  mainstay policy test --route 10.1.0.0/16 --from tor-a           (the running speaker's own route)
  mainstay policy test --route 10.244.1.0/26 --to tor-a           (on its way out)
  mainstay policy test from-tor --route 10.1.0.0/16 --from tor-a  (another policy than that in force)
  mainstay policy test from-tor --prefix 198.51.100.0/24 --as-path '65001 65002' --community 65001:666
  mainstay policy test to-tor --direction export --prefix 10.244.1.0/26 --to tor-a
  mainstay policy test from-tor --prefix 10.0.0.0/8 --expect reject --file new.yaml   (for CI)
  mainstay -o json policy test from-tor --prefix 10.1.0.0/16 | jq .decided_by

Exit codes: 0 tried; 1 the file has faults, there is no such policy or route, the speaker does not
answer, or --expect says otherwise.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its name; all, none and node are built in [default with --route: the one in force]
    #[arg(value_name = "POLICY", required_unless_present = "route")]
    pub(super) name: Option<String>,

    /// The route's prefix
    #[arg(long, value_name = "PREFIX", required_unless_present = "route")]
    prefix: Option<Prefix>,

    /// A route of the running speaker, as it stands
    #[arg(long, value_name = "PREFIX", conflicts_with_all = [
        "prefix", "direction", "as_path", "community", "peer", "source", "next_hop", "origin",
        "med", "local_pref", "role", "rpki", "interface", "file", "node",
    ])]
    pub(super) route: Option<Prefix>,

    /// With --route: the peer that has told it
    #[arg(long, value_name = "PEER", requires = "route", conflicts_with = "to")]
    pub(super) from: Option<String>,

    /// Which way the route goes
    #[arg(long, value_enum, default_value = "import")]
    pub(super) direction: Way,

    /// The AS path, from the neighbour to the originator: '65001 65002 {65003 65004}'
    #[arg(long, value_name = "PATH", value_parser = sample::as_path)]
    pub(super) as_path: Option<AsPath>,

    /// A community: 65001:100, 65001:1:2, rt:65001:100, no-export; may be repeated
    #[arg(long, value_name = "COMMUNITY")]
    pub(super) community: Vec<Community>,

    /// The peer of the file that the route comes from
    #[arg(long, value_name = "PEER")]
    pub(super) peer: Option<String>,

    /// On export: the peer it goes to [default: some eBGP peer]
    #[arg(long, value_name = "PEER")]
    pub(super) to: Option<String>,

    /// Where the route comes from [default: by --peer]
    #[arg(long, value_enum)]
    pub(super) source: Option<From>,

    /// Its next hop [default: the peer's address]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) next_hop: Option<IpAddr>,

    /// Its ORIGIN [default: igp]
    #[arg(long, value_enum)]
    pub(super) origin: Option<Origin>,

    /// Its MED
    #[arg(long, value_name = "N")]
    pub(super) med: Option<u32>,

    /// Its LOCAL_PREF
    #[arg(long, value_name = "N")]
    pub(super) local_pref: Option<u32>,

    /// What the peer it comes from is to us
    #[arg(long, value_enum)]
    pub(super) role: Option<Role>,

    /// What RPKI says of its origin [default: not-found]
    #[arg(long, value_enum)]
    pub(super) rpki: Option<Rpki>,

    /// The interface it comes by
    #[arg(long, value_name = "INTERFACE")]
    pub(super) interface: Option<String>,

    /// What should come of it; anything else is exit code 1
    #[arg(long, value_enum)]
    pub(super) expect: Option<Expected>,

    #[command(flatten)]
    pub(super) file: File,
}

impl Args {
    /// Given wherever no running speaker is asked.
    pub(super) fn prefix(&self) -> Prefix {
        self.prefix.unwrap_or(Prefix::DEFAULT_V4)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    Import,
    Export,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum From {
    Local,
    Block,
    Injected,
    Ebgp,
    Ibgp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Origin {
    Igp,
    Egp,
    Incomplete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    Provider,
    Customer,
    Peer,
    Rs,
    RsClient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Rpki {
    Valid,
    Invalid,
    NotFound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Expected {
    Accept,
    Reject,
}

pub(super) fn run(node: &NodeConfig, args: &Args, out: &mut Printer) -> Result<Verdict, Failure> {
    let sample = sample::sample(node, args).map_err(Failure::Said)?;
    let name = args.name.as_deref().unwrap_or_default();
    let policy = policy(node, name, sample.direction)?;
    let trace = explain(&policy, &sample);
    if out.is_json() {
        out.json(&as_json(name, &sample, &trace))?;
    } else {
        out.text(&as_text(name, &sample, &trace))?;
    }
    let wrong = args.expect.is_some_and(|e| (e == Expected::Accept) != trace.accepted);
    Ok(if wrong { Verdict::Wrong } else { Verdict::Well })
}

fn policy(node: &NodeConfig, name: &str, direction: Direction) -> Result<Policy, Failure> {
    if let Some(policy) = built_in(name, direction) {
        return Ok(policy);
    }
    let rules = node.bgp.policies.get(name).ok_or_else(|| no_policy(node, name))?;
    Ok(bgp_plan::policy(node.bgp.asn, rules))
}

fn called(number: usize, rule: &RuleTrace) -> String {
    match &rule.name {
        Some(name) => format!("{} ({name})", number + 1),
        None => (number + 1).to_string(),
    }
}

const fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Accept => "accept",
        Decision::Reject => "reject",
        Decision::Next => "next",
    }
}

fn as_text(name: &str, sample: &Sample, trace: &Trace) -> String {
    let mut text = String::new();
    let verdict = if trace.accepted { "accepted" } else { "rejected" };
    let by = trace.decided.and_then(|n| Some((n, trace.rules.get(n)?)));
    let by = by.map_or_else(
        || format!("at the end of policy {name}: no rule decides"),
        |(n, rule)| format!("by rule {} of policy {name}", called(n, rule)),
    );
    let _ = writeln!(text, "{} is {verdict} {by}\n", sample.prefix);
    for (number, rule) in trace.rules.iter().enumerate() {
        let said = match &rule.outcome {
            Outcome::PassedOver { why } => format!("passed over: {why}"),
            Outcome::Matched(decision) => format!("matches: {}", word(*decision)),
        };
        let _ = writeln!(text, "  rule {}  {said}", called(number, rule));
    }
    text.push('\n');
    let (before, after) = (shown(&sample.attributes), shown(&trace.after));
    for ((key, was), (_, is)) in before.iter().zip(&after) {
        if !trace.accepted || was == is {
            let _ = writeln!(text, "  {key:<12}{was}");
        } else {
            let _ = writeln!(text, "  {key:<12}{was} -> {is}");
        }
    }
    text
}

/// What rules may change, each as a word or a list of them.
fn shown(attrs: &Attributes) -> [(&'static str, String); 7] {
    let number = |n: Option<u32>| n.map_or_else(|| "-".into(), |n: u32| n.to_string());
    let or_dash = |text: String| if text.is_empty() { "-".into() } else { text };
    [
        ("AS path", or_dash(attrs.as_path.to_string())),
        ("origin", attrs.origin.to_string()),
        ("next hop", next_hop(attrs)),
        ("local pref", number(attrs.local_pref)),
        ("MED", number(attrs.med)),
        ("weight", attrs.weight.to_string()),
        ("communities", or_dash(communities(attrs).join(" "))),
    ]
}

/// What this node originates has none before it is told.
fn next_hop(attrs: &Attributes) -> String {
    match attrs.next_hop.addr() {
        addr if addr.is_unspecified() => "-".into(),
        addr => addr.to_string(),
    }
}

fn communities(attrs: &Attributes) -> Vec<String> {
    let standard = attrs.communities.iter().map(|c| wire::Community(*c).to_string());
    let large = attrs.large_communities.iter().map(|c| LargeCommunity(*c).to_string());
    let extended = attrs.extended_communities.iter().map(|c| ExtendedCommunity(*c).to_string());
    standard.chain(large).chain(extended).collect()
}

fn as_json(name: &str, sample: &Sample, trace: &Trace) -> serde_json::Value {
    let attributes = |a: &Attributes| {
        serde_json::json!({
            "as_path": a.as_path.to_string(),
            "origin": a.origin.to_string(),
            "next_hop": a.next_hop.to_string(),
            "local_pref": a.local_pref,
            "med": a.med,
            "weight": a.weight,
            "communities": communities(a),
        })
    };
    let rule = |(number, rule): (usize, &RuleTrace)| {
        let (matched, why) = match &rule.outcome {
            Outcome::PassedOver { why } => (None, Some(why)),
            Outcome::Matched(decision) => (Some(word(*decision)), None),
        };
        serde_json::json!({
            "rule": number + 1, "name": rule.name, "action": matched, "passed_over": why,
        })
    };
    serde_json::json!({
        "policy": name,
        "prefix": sample.prefix,
        "accepted": trace.accepted,
        "decided_by": trace.decided.map(|number| number + 1),
        "rules": trace.rules.iter().enumerate().map(rule).collect::<Vec<_>>(),
        "before": attributes(&sample.attributes),
        "after": trace.accepted.then(|| attributes(&trace.after)),
    })
}
