//! `mainstay config check`: all faults at once.

use super::chosen;
use crate::failure::{Failure, Verdict, chain};
use crate::print::{Printer, complain_plainly};
use crate::text::count;
use mainstay_config::{Cluster, Fault, ReadConfigError, Severity};
use serde_json::json;
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
A fault names its place, what is there and what is allowed:
  mainstay.yaml:14:18: bgp.peers[2].hold_time: 2s is neither 0s nor at least 3s
A file with warnings is good; the daemons will use it and say the same.

Examples:
  mainstay config check                            the file that the daemons read
  mainstay config check mainstay.yaml --node node-a
  mainstay -o json config check mainstay.yaml | jq '.faults[].line'

Exit codes: 0 the file is good; 1 it is not.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to check [default: that of --config]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Check as well that the file has this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

pub(crate) fn run(args: &Args, config: &Path, out: &mut Printer) -> Result<Verdict, Failure> {
    let path = chosen(args.file.as_ref(), config);
    let read = mainstay_config::read(path);
    let unknown = match (&read, &args.node) {
        (Ok(cluster), Some(node)) => cluster.resolve(node).err(),
        _ => None,
    };
    if out.is_json() {
        let error = unknown.as_ref().map(ToString::to_string);
        out.json(&as_json(&read, error))?;
    } else {
        as_text(path, &read, unknown.as_ref().map(ToString::to_string), out)?;
    }
    let good = read.is_ok() && unknown.is_none();
    Ok(if good { Verdict::Well } else { Verdict::Wrong })
}

fn as_text(
    path: &Path,
    read: &Result<Cluster, ReadConfigError>,
    unknown: Option<String>,
    out: &mut Printer,
) -> Result<(), Failure> {
    let path = path.display();
    match read {
        Ok(cluster) => {
            for warning in cluster.warnings() {
                complain_plainly(&warning.to_string());
            }
            match unknown {
                Some(unknown) => complain_plainly(&format!("{path}: {unknown}")),
                None => out.text(&format!("{path}: good, {}\n", summary(cluster)))?,
            }
        }
        Err(ReadConfigError::Faults(faults)) => {
            complain_plainly(&faults.to_string());
            let number = count(u64::try_from(faults.total()).unwrap_or(u64::MAX), "fault");
            complain_plainly(&format!("{path}: {number}"));
        }
        Err(error) => complain_plainly(&chain(error)),
    }
    Ok(())
}

fn summary(cluster: &Cluster) -> String {
    let number = |n: usize, one| count(u64::try_from(n).unwrap_or(u64::MAX), one);
    let nodes = number(cluster.node_names().count(), "node");
    format!("{nodes}, {}", number(cluster.warnings().len(), "warning"))
}

fn as_json(read: &Result<Cluster, ReadConfigError>, unknown: Option<String>) -> serde_json::Value {
    let list = |faults: &[Fault]| faults.iter().map(fault).collect::<Vec<_>>();
    match read {
        Ok(cluster) => json!({
            "valid": unknown.is_none(),
            "error": unknown,
            "faults": [],
            "warnings": list(cluster.warnings()),
            "nodes": cluster.node_names().collect::<Vec<_>>(),
        }),
        Err(ReadConfigError::Faults(faults)) => {
            json!({"valid": false, "error": null, "faults": list(faults), "warnings": [], "nodes": []})
        }
        Err(error) => {
            json!({"valid": false, "error": chain(error), "faults": [], "warnings": [], "nodes": []})
        }
    }
}

fn fault(fault: &Fault) -> serde_json::Value {
    json!({
        "severity": if fault.severity == Severity::Error { "error" } else { "warning" },
        "file": &*fault.file,
        "line": fault.line,
        "column": fault.column,
        "path": &*fault.path,
        "text": fault.text,
    })
}
