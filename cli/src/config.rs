//! `mainstay config …`: the cluster's file, without any daemon.

pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod schema;
pub(crate) mod show;

use clap::Subcommand;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Every fault of a file, with its line and column
    #[command(after_help = check::HELP)]
    Check(check::Args),
    /// What a node ends up with, defaults filled in
    #[command(after_help = show::HELP)]
    Show(show::Args),
    /// What a new file changes, and which sessions that resets
    #[command(after_help = diff::HELP)]
    Diff(diff::Args),
    /// The JSON Schema of the file, for editors
    #[command(after_help = schema::HELP)]
    Schema,
}

/// The file named behind the verb, else that of `--config`.
fn chosen<'a>(file: Option<&'a PathBuf>, config: &'a Path) -> &'a Path {
    file.map_or(config, PathBuf::as_path)
}
