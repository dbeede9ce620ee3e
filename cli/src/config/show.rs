//! `mainstay config show`: what one node makes of the cluster's file.

use super::chosen;
use crate::failure::{Failure, Verdict, chain};
use crate::print::{Printer, complain_plainly};
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
Shows the peers this node has, the blocks it holds and every default, as YAML or, with -o json, as
JSON. Without --node, the node is found as the daemons find it: $NODE_NAME, else the host's name.

Examples:
  mainstay config show
  mainstay config show --node node-a mainstay.yaml
  mainstay -o json config show --node node-a | jq '.ipam.pools[].blocks'

Exit codes: 0 shown; 1 the file has faults, or does not have the node.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node [default: this host's name]
    #[arg(long, value_name = "NAME", env = "NODE_NAME", hide_env_values = true)]
    node: Option<String>,

    /// The file [default: that of --config]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, config: &Path, out: &mut Printer) -> Result<Verdict, Failure> {
    let said = |error: &dyn std::error::Error| Failure::Said(chain(error));
    let cluster = match mainstay_config::read(chosen(args.file.as_ref(), config)) {
        Ok(cluster) => cluster,
        Err(mainstay_config::ReadConfigError::Faults(faults)) => {
            complain_plainly(&faults.to_string());
            return Ok(Verdict::Wrong);
        }
        Err(error) => return Err(said(&error)),
    };
    let name = match &args.node {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let node = cluster.resolve(&name).map_err(|e| said(&e))?;
    if out.is_json() {
        out.json(&node)?;
    } else {
        out.text(&serde_saphyr::to_string(&node).map_err(|e| said(&e))?)?;
    }
    Ok(Verdict::Well)
}

fn host_name() -> Result<String, Failure> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|e| Failure::Said(format!("cannot tell this host's name: {e}; give --node")))?;
    Ok(name.trim().to_owned())
}
