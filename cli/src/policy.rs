//! `mainstay policy …`: the policies of the cluster's file, without any daemon but for `test --route`.
//!
//! They are compiled and asked by the code that the speaker runs (`bgp-plan`, `bgp-core`).

mod live;
mod sample;
pub(crate) mod test;

use crate::ask::Daemons;
use crate::failure::{Failure, Verdict, chain};
use crate::print::{Printer, complain_plainly};
use clap::Subcommand;
use mainstay_config::{NodeConfig, PolicyRef, ReadConfigError};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const SHOW: &str = "\
The rules are shown as they take effect: names of bgp.sets are replaced by what they list.

Examples:
  mainstay policy show from-tor
  mainstay -o json policy show from-tor --file new.yaml | jq '.rules[0].match'

Exit codes: 0 shown; 1 there is no such policy, or the file has faults.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The policies there are, and which peers go by them
    List(File),
    /// The rules of one
    #[command(after_help = SHOW)]
    Show(Show),
    /// What a policy does to a route, and which rule decides
    #[command(after_help = test::HELP)]
    Test(Box<test::Args>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct File {
    /// The file [default: that of --config]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// As which node the file is read [default: its first]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Its name
    #[arg(value_name = "POLICY")]
    name: String,

    #[command(flatten)]
    file: File,
}

pub(crate) async fn run(
    daemons: &Daemons,
    verb: &Verb,
    config: &Path,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    if let Verb::Test(args) = verb
        && let Some(route) = args.route
    {
        return live::run(daemons, route, args, out).await;
    }
    let file = match verb {
        Verb::List(file) => file,
        Verb::Show(show) => &show.file,
        Verb::Test(args) => &args.file,
    };
    let Some(node) = read(file, config)? else { return Ok(Verdict::Wrong) };
    match verb {
        Verb::List(_) => list(&node, out),
        Verb::Show(args) => show(&node, &args.name, out),
        Verb::Test(args) => test::run(&node, args, out),
    }
}

/// `None`: the file has faults, which have been told.
fn read(file: &File, config: &Path) -> Result<Option<NodeConfig>, Failure> {
    let cluster = match mainstay_config::read(file.file.as_deref().unwrap_or(config)) {
        Ok(cluster) => cluster,
        Err(ReadConfigError::Faults(faults)) => {
            complain_plainly(&faults.to_string());
            return Ok(None);
        }
        Err(error) => return Err(Failure::Said(chain(&error))),
    };
    let first = || cluster.node_names().next().unwrap_or("any").to_owned();
    let node = cluster.resolve(&file.node.clone().unwrap_or_else(first));
    node.map(Some).map_err(|error| Failure::Said(chain(&error)))
}

/// Policies and who names them, as `tor-a in`.
fn users(node: &NodeConfig) -> BTreeMap<&str, Vec<String>> {
    let mut users: BTreeMap<&str, Vec<String>> =
        node.bgp.policies.keys().map(|name| (name.as_str(), Vec::new())).collect();
    let peers = node.bgp.peers.iter().map(|p| (&p.name, &p.session));
    let ranges = node.bgp.ranges.iter().map(|r| (&r.name, &r.session));
    for (peer, session) in peers.chain(ranges) {
        for (policy, way) in [(&session.import, "in"), (&session.export, "out")] {
            users.entry(called(policy)).or_default().push(format!("{peer} {way}"));
        }
    }
    users
}

fn called(policy: &PolicyRef) -> &str {
    match policy {
        PolicyRef::All => "all",
        PolicyRef::None => "none",
        PolicyRef::Node => "node",
        PolicyRef::Named(name) => name,
    }
}

fn list(node: &NodeConfig, out: &mut Printer) -> Result<Verdict, Failure> {
    let users = users(node);
    let rules = |name: &str| node.bgp.policies.get(name).map(Vec::len);
    if out.is_json() {
        let row = |(name, peers): (&&str, &Vec<String>)| serde_json::json!({"name": name, "rules": rules(name), "used_by": peers});
        let rows: Vec<_> = users.iter().map(row).collect();
        out.json(&serde_json::json!({"policies": rows}))?;
        return Ok(Verdict::Well);
    }
    let mut table = crate::table::Table::new(&["POLICY", ">RULES", "USED BY"]);
    for (name, peers) in &users {
        let rules = rules(name).map_or_else(|| "built in".into(), |n| n.to_string());
        let peers = if peers.is_empty() { "-".into() } else { peers.join(", ") };
        table.row([(*name).to_owned(), rules, peers]);
    }
    out.text(&table.take())?;
    Ok(Verdict::Well)
}

fn show(node: &NodeConfig, name: &str, out: &mut Printer) -> Result<Verdict, Failure> {
    let Some(rules) = node.bgp.policies.get(name) else { return Err(no_policy(node, name)) };
    if out.is_json() {
        out.json(&serde_json::json!({"name": name, "rules": rules}))?;
    } else {
        let mut text = String::new();
        for (n, rule) in rules.iter().enumerate() {
            let yaml = serde_saphyr::to_string(rule).map_err(|e| Failure::Said(chain(&e)))?;
            let _ = writeln!(text, "# rule {}\n{}", n + 1, yaml.trim_end());
        }
        out.text(&text)?;
    }
    Ok(Verdict::Well)
}

fn no_policy(node: &NodeConfig, name: &str) -> Failure {
    let known: Vec<&str> = node.bgp.policies.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    Failure::Said(format!("there is no policy {name}; the file has {known}"))
}
