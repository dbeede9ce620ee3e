//! Every `golden/NAME.yaml` with what is said of it, in `golden/NAME.txt`: the faults of a bad
//! file; the warnings of a good one and what its nodes end up with.
//!
//! `UPDATE_GOLDEN=1` writes the texts anew (`make golden`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mainstay_config::{Cluster, parse};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_golden_file_is_told_about_as_before() {
    let write = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    let files = files();
    assert!(files.len() > 10, "the golden files are not where they should be");
    for file in files {
        let told = told(&file);
        let golden = file.with_extension("txt");
        if write {
            fs::write(&golden, &told).unwrap();
        }
        let before = fs::read_to_string(&golden).unwrap_or_default();
        if before != told {
            different.push(format!("{}\n--- before\n{before}\n--- now\n{told}", golden.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

fn told(file: &Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    match parse(name, &fs::read_to_string(file).unwrap()) {
        Ok(cluster) => good(&cluster),
        Err(faults) => format!("{faults}\n"),
    }
}

fn good(cluster: &Cluster) -> String {
    let mut text: String = cluster.warnings().iter().map(|w| format!("{w}\n")).collect();
    let mut names: Vec<_> = cluster.node_names().collect();
    if names.is_empty() {
        names.push("any-node");
    }
    for name in names {
        let node = cluster.resolve(name).unwrap();
        text += &serde_json::to_string_pretty(&node).unwrap();
        text.push('\n');
    }
    text
}
