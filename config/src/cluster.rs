//! The cluster's file, read and checked.

use crate::check::check;
use crate::fault::{Fault, Faults, Log, Place};
use crate::file::File;
use crate::model::NodeConfig;
use crate::read::{Items, Value};
use crate::resolve::resolve;
use crate::yaml;
use std::io::Read;
use std::path::Path;

/// Larger than any cluster's file: 20,000 peers make 2 MB.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// How many nodes an error names.
const MOST_NAMED: usize = 12;

/// A file without faults: every node of it can be resolved.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: String,
    text: String,
    file: File,
    warnings: Vec<Fault>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadConfigError {
    #[error("cannot read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: longer than {} MiB; no configuration is", MOST_BYTES >> 20)]
    TooLong { path: String },
    #[error("{path}: byte {at} is not UTF-8")]
    NotText { path: String, at: usize },
    /// Shown as its lines and nothing else.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// Why a node has no part in the cluster's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error(
        "no node {node} in {file}, which has {known}; \
         a node finds itself by --node, else $NODE_NAME, else its host name"
    )]
    UnknownNode { node: String, file: String, known: String },
}

/// Reads and checks the file at `path`.
pub fn read(path: &Path) -> Result<Cluster, ReadConfigError> {
    let name = path.display().to_string();
    let failed = |source| ReadConfigError::Read { path: name.clone(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ReadConfigError::TooLong { path: name });
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        ReadConfigError::NotText { path: name.clone(), at }
    })?;
    Ok(parse(&name, &text)?)
}

/// Checks `text`, which faults call `name`.
pub fn parse(name: &str, text: &str) -> Result<Cluster, Faults> {
    let mut log = Log::new(name);
    let top = Place::new(1, 1, "");
    let file = yaml::parse(text, &mut log).and_then(|tree| File::read(&tree, &top, &mut log));
    if let Some(file) = &file {
        check(file, &mut log);
    }
    match (file, log.finish()) {
        (Some(file), Ok(warnings)) => {
            Ok(Cluster { name: name.into(), text: text.into(), file, warnings })
        }
        (None, Ok(told)) => Err(Faults { told, more: 0 }),
        (_, Err(faults)) => Err(faults),
    }
}

impl Cluster {
    /// What the file has and its author should know of, in the order of the text.
    #[must_use]
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// The file as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// In the order of the file; empty when the file lists no nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.file.nodes.items().iter().map(|node| node.name.0.as_str())
    }

    /// What `node` ends up with. A file without `nodes` fits every node alike.
    pub fn resolve(&self, node: &str) -> Result<NodeConfig, ResolveError> {
        let index = self.node_names().position(|name| name == node);
        if index.is_none() && self.node_names().next().is_some() {
            return Err(ResolveError::UnknownNode {
                node: crate::fault::shown(node),
                file: self.name.clone(),
                known: self.known_nodes(),
            });
        }
        Ok(resolve(&self.file, node, index))
    }

    fn known_nodes(&self) -> String {
        let names: Vec<_> = self.node_names().take(MOST_NAMED).collect();
        match self.node_names().count().checked_sub(MOST_NAMED) {
            None | Some(0) => names.join(", "),
            Some(more) => format!("{} and {more} more", names.join(", ")),
        }
    }
}
