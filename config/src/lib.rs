//! The one YAML of a Mainstay cluster.
//!
//! `file` is what may be written; `yaml` and `read` turn text into it, `check` tells what does not
//! fit together, and every fault becomes a line with its place; `resolve` turns the cluster's file
//! into one node's [`NodeConfig`], which cannot be wrong.

#![forbid(unsafe_code)]

mod check;
mod cluster;
mod fault;
mod file;
mod model;
mod read;
mod resolve;
mod scalar;
mod schema;
mod yaml;

pub use cluster::{Cluster, ReadConfigError, ResolveError, parse, read};
pub use fault::{Fault, Faults, Severity};
pub use model::*;
pub use scalar::duration;
pub use schema::schema;
pub use yaml::value;
