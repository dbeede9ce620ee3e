//! The conflists we ship: a runtime can load them, and every plugin in them exists and speaks their
//! version, which is what libcni's ValidateNetworkList checks.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where Debian's containernetworking-plugins puts its binaries.
const STANDARD_PLUGINS: &str = "/usr/lib/cni";

fn conflist(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/cni").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The types of all plugins a conflist names, delegates too.
fn types(conflist: &Value) -> Vec<&str> {
    let plugins = conflist["plugins"].as_array().unwrap();
    plugins
        .iter()
        .flat_map(|p| [p["type"].as_str(), p["ipam"]["type"].as_str()])
        .flatten()
        .collect()
}

fn binary(plugin: &str) -> PathBuf {
    let ours = HashMap::from([
        ("mainstay-ipam", env!("CARGO_BIN_EXE_mainstay-ipam")),
        ("mainstay-none", env!("CARGO_BIN_EXE_mainstay-none")),
    ]);
    ours.get(plugin).map_or_else(|| Path::new(STANDARD_PLUGINS).join(plugin), PathBuf::from)
}

fn versions(plugin: &Path) -> Vec<String> {
    let mut child = Command::new(plugin)
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", plugin.display()));
    // The standard plugins do not read it.
    let _ = child.stdin.take().unwrap().write_all(br#"{"cniVersion":"1.1.0"}"#);
    let output = child.wait_with_output().unwrap();
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    let versions = reply["supportedVersions"].as_array().unwrap();
    versions.iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_plugin_of_a_shipped_conflist_speaks_its_version() {
    for name in ["10-mainstay.conflist", "10-mainstay-none.conflist"] {
        let conflist = conflist(name);
        let version = conflist["cniVersion"].as_str().unwrap();
        for plugin in types(&conflist) {
            let binary = binary(plugin);
            if !binary.exists() && !Path::new(STANDARD_PLUGINS).exists() {
                eprintln!("SKIPPED {plugin}: containernetworking-plugins is not installed");
                continue;
            }
            let versions = versions(&binary);
            assert!(versions.iter().any(|v| v == version), "{name}: {plugin}: {versions:?}");
        }
    }
}

#[test]
fn the_conflists_name_the_networks_and_plugins_they_should() {
    let pods = conflist("10-mainstay.conflist");
    assert_eq!(
        (&pods["name"], types(&pods)),
        (&"mainstay".into(), vec!["ptp", "mainstay-ipam", "portmap"])
    );
    let none = conflist("10-mainstay-none.conflist");
    assert_eq!((&none["name"], types(&none)), (&"mainstay-none".into(), vec!["mainstay-none"]));
}
