//! The one YAML of a Mainstay cluster.
//!
//! `file` is what may be written; `read` turns text into it and every fault into a line with its
//! place; `resolve` turns the cluster's file into one node's [`NodeConfig`], which cannot be wrong.

#![forbid(unsafe_code)]

mod model;

pub use model::*;
