//! `mainstay config diff`: what a new file changes, and what each change does to what runs.
//!
//! The daemons go by the same rules when they reload (`bgp-plan`, `bgp-core`).

use crate::ask::{AskError, Daemons, answer};
use crate::failure::{Failure, Verdict, chain};
use crate::print::{Printer, complain, complain_plainly};
use crate::text::count;
use bgp_plan::{Change, Effect};
use mainstay_config::{Cluster, Faults, ReadConfigError};
use mainstay_proto::bgp::v1::{ConfigurationReply, ConfigurationRequest};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
Says for each node what changes, and what a reload of it does: applied without reset, from the next
session on, kept until a daemon starts again, or resets sessions. With one file, it is compared with
what the bgpd of this node runs by; with none, that of --config is: what mainstay reload would do.
Where no bgpd runs, the one file is compared with that of --config.
Another key in an unchanged password_file is not seen here; a reload applies it without reset.

Examples:
  mainstay config diff                             what mainstay reload would do here, now
  mainstay config diff new.yaml
  mainstay config diff --node node-a old.yaml new.yaml
  mainstay -o json config diff new.yaml | jq '.nodes[].changes[].effect'

Exit codes: 0 no session ends by it; 1 a file has faults, or there is nothing to compare with;
2 sessions are reset, or end.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// OLD and NEW, or NEW alone
    #[arg(value_name = "FILE", num_args = 0..=2)]
    files: Vec<PathBuf>,

    /// Only what changes for this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// Two files, and whose eyes see them.
struct Pair {
    old: Cluster,
    new: Cluster,
    /// What the old one is called.
    against: String,
    /// Those of both files; one of a node that runs.
    nodes: Vec<String>,
}

/// What differs, and on which nodes it is the same.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    nodes: Vec<String>,
    changes: Vec<Change>,
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    config: &Path,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let pair = match args.files.as_slice() {
        [old, new] => files(old, new, args.node.as_deref()),
        [new] => against_running(daemons, new, config, args.node.as_deref()).await,
        _ => against_running(daemons, config, config, args.node.as_deref()).await,
    };
    let pair = match pair {
        Ok(pair) => pair,
        Err(Trouble::Faults(faults)) => {
            complain_plainly(&faults);
            return Ok(Verdict::Wrong);
        }
        Err(Trouble::Other(failure)) => return Err(failure),
    };
    let groups = groups(&pair)?;
    if out.is_json() {
        out.json(&as_json(&pair.against, &groups))?;
    } else {
        out.text(&as_text(&pair.against, &groups))?;
    }
    let mut all = groups.iter().flat_map(|g| &g.changes);
    let ends = all.any(|c| c.effect.ends_a_session());
    Ok(if ends { Verdict::Hurts } else { Verdict::Well })
}

enum Trouble {
    /// Lines that name their place.
    Faults(String),
    Other(Failure),
}

impl From<ReadConfigError> for Trouble {
    fn from(error: ReadConfigError) -> Self {
        match error {
            ReadConfigError::Faults(faults) => faults.into(),
            other => Self::Other(Failure::Said(chain(&other))),
        }
    }
}

impl From<Faults> for Trouble {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults.to_string())
    }
}

impl From<AskError> for Trouble {
    fn from(error: AskError) -> Self {
        Self::Other(error.into())
    }
}

fn said(text: String) -> Trouble {
    Trouble::Other(Failure::Said(text))
}

fn files(old: &Path, new: &Path, node: Option<&str>) -> Result<Pair, Trouble> {
    let against = old.display().to_string();
    let (old, new) = (mainstay_config::read(old)?, mainstay_config::read(new)?);
    let mut nodes: Vec<String> = old.node_names().map(Into::into).collect();
    nodes.extend(
        new.node_names()
            .filter(|n| !nodes.iter().any(|o| o == n))
            .map(String::from)
            .collect::<Vec<_>>(),
    );
    if let Some(node) = node {
        let listed = !nodes.is_empty();
        if listed && !nodes.iter().any(|n| n == node) {
            return Err(said(format!("neither file has a node {node}")));
        }
        nodes = vec![node.into()];
    } else if nodes.is_empty() {
        return Err(said("the files list no nodes: give --node".into()));
    }
    Ok(Pair { old, new, against, nodes })
}

async fn against_running(
    daemons: &Daemons,
    new: &Path,
    config: &Path,
    node: Option<&str>,
) -> Result<Pair, Trouble> {
    match running(daemons).await {
        Ok(reply) => {
            if let Some(node) = node.filter(|node| *node != reply.node) {
                return Err(said(format!(
                    "bgpd here runs as {}; to compare for {node}, give both files",
                    reply.node
                )));
            }
            let old = mainstay_config::parse(&reply.file, &reply.text)?;
            let against = format!("what bgpd of {} runs by", reply.node);
            Ok(Pair { old, new: mainstay_config::read(new)?, against, nodes: vec![reply.node] })
        }
        Err(error) if error.is_absent() && new != config => {
            complain(&format!("bgpd does not run here; compared with {}", config.display()));
            files(config, new, node)
        }
        Err(error) => Err(error.into()),
    }
}

/// The file that bgpd has in force.
pub(crate) async fn running(daemons: &Daemons) -> Result<ConfigurationReply, AskError> {
    let mut bgpd = daemons.bgpd().await?;
    answer("bgpd", bgpd.configuration(ConfigurationRequest {})).await
}

/// Nodes for which the same changes are grouped, in the order of the files.
fn groups(pair: &Pair) -> Result<Vec<Group>, Failure> {
    let mut groups: Vec<Group> = Vec::new();
    for node in &pair.nodes {
        let changes = match (pair.old.resolve(node), pair.new.resolve(node)) {
            (Ok(old), Ok(new)) => bgp_plan::changes(&old, &new),
            (Ok(_), Err(_)) => vec![whole(
                "removed",
                Effect::Refused,
                "a file has to name their node: stop them first",
            )],
            (Err(_), Ok(_)) => {
                vec![whole("added", Effect::AtOnce, "its daemons can be started")]
            }
            (Err(error), Err(_)) => return Err(Failure::Said(error.to_string())),
        };
        if changes.is_empty() {
            continue;
        }
        match groups.iter_mut().find(|g| g.changes == changes) {
            Some(group) => group.nodes.push(node.clone()),
            None => groups.push(Group { nodes: vec![node.clone()], changes }),
        }
    }
    Ok(groups)
}

fn whole(how: &str, effect: Effect, hint: &'static str) -> Change {
    Change { peer: None, what: "nodes:".into(), how: how.into(), effect, hint: Some(hint) }
}

/// How many nodes of a group are named.
const MOST_NAMED: usize = 8;

fn as_text(against: &str, groups: &[Group]) -> String {
    if groups.is_empty() {
        return format!("no difference to {against}\n");
    }
    let mut text = String::new();
    for group in groups {
        let named: Vec<_> = group.nodes.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more = match group.nodes.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(text, "{}{more}:", named.join(", "));
        for change in &group.changes {
            let _ = writeln!(text, "  {change}\n      {}", effect(change));
        }
    }
    let _ = writeln!(text, "{}", summary(groups));
    text
}

fn effect(change: &Change) -> String {
    let peer = change.peer.as_deref().unwrap_or_default();
    let does = match change.effect {
        Effect::AtOnce => "applied without reset".into(),
        Effect::NextSession => "no reset: from the next session on".into(),
        Effect::Restart(daemon) => format!("kept until mainstay-{daemon} starts again"),
        Effect::Refused => "refused by running daemons".into(),
        Effect::Resets => format!(
            "RESETS the session with {peer}: BGP agrees on it in the OPEN, or it is another connection"
        ),
        Effect::ResetsAll => "RESETS every session: it is in every OPEN".into(),
        Effect::Ends => format!("ENDS the session with {peer}"),
    };
    match change.hint {
        Some(hint) => format!("{does}; {hint}"),
        None => does,
    }
}

fn summary(groups: &[Group]) -> String {
    let mut by_effect: BTreeMap<Effect, u64> = BTreeMap::new();
    for group in groups {
        for change in &group.changes {
            *by_effect.entry(change.effect).or_default() += group.nodes.len() as u64;
        }
    }
    let ending: u64 =
        by_effect.iter().filter(|(effect, _)| effect.ends_a_session()).map(|(_, n)| n).sum();
    let all: u64 = by_effect.values().sum();
    let verb = if ending == 1 { "ends" } else { "end" };
    match ending {
        0 => format!("{}; no session ends by them", count(all, "change")),
        n => format!("{}; {n} of them {verb} sessions", count(all, "change")),
    }
}

fn as_json(against: &str, groups: &[Group]) -> serde_json::Value {
    let nodes: Vec<_> = groups
        .iter()
        .flat_map(|group| group.nodes.iter().map(move |node| (node, &group.changes)))
        .map(|(node, changes)| {
            let changes: Vec<_> = changes.iter().map(one).collect();
            serde_json::json!({"node": node, "changes": changes})
        })
        .collect();
    let resets = groups.iter().flat_map(|g| &g.changes).any(|c| c.effect.ends_a_session());
    serde_json::json!({"against": against, "resets_sessions": resets, "nodes": nodes})
}

fn one(change: &Change) -> serde_json::Value {
    let daemon = match change.effect {
        Effect::Restart(daemon) => Some(daemon),
        _ => None,
    };
    serde_json::json!({
        "peer": change.peer,
        "what": change.what.trim_end_matches(':'),
        "change": change.how,
        "effect": change.effect.name(),
        "daemon": daemon,
        "resets_session": change.effect.ends_a_session(),
        "hint": change.hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "
nodes:
  - {name: node-a, address: 192.0.2.11}
  - {name: node-b, address: 192.0.2.12}
  - {name: node-c, address: 192.0.2.13}
network: {families: [ipv4]}
bgp:
  asn: 64512
  peers:
    - {name: tor, address: 192.0.2.1, asn: 65001}
";

    fn told(new: &str) -> Vec<Group> {
        let parse = |text| mainstay_config::parse("f.yaml", text).unwrap();
        let nodes = ["node-a", "node-b", "node-c", "node-d"].map(String::from);
        let here = |n: &String| OLD.contains(n.as_str()) || new.contains(n.as_str());
        let nodes = nodes.into_iter().filter(here).collect();
        groups(&Pair { old: parse(OLD), new: parse(new), against: "old".into(), nodes }).unwrap()
    }

    #[test]
    fn nodes_with_the_same_changes_are_told_once_and_what_resets_is_shouted() {
        let new = OLD
            .replace("asn: 65001}", "asn: 65002, hold_time: 30s, password_file: /k}")
            .replace("node-c, address: 192.0.2.13", "node-d, address: 192.0.2.14");
        insta::assert_snapshot!(as_text("old.yaml", &told(&new)));
    }

    #[test]
    fn programs_get_the_effect_in_one_word() {
        let json = as_json("old.yaml", &told(&OLD.replace("asn: 65001", "asn: 65002")));
        assert_eq!(json["resets_sessions"], true);
        let change = &json["nodes"][1]["changes"][0];
        assert_eq!(json["nodes"][1]["node"], "node-b");
        assert_eq!(change["effect"], "resets-session");
        assert_eq!(change["peer"], "tor");
        assert_eq!(change["what"], "bgp.peers tor: asn");
        assert_eq!(change["change"], "65001 -> 65002");
    }

    #[test]
    fn no_difference_is_said_so() {
        assert_eq!(as_text("old.yaml", &told(OLD)), "no difference to old.yaml\n");
    }
}
