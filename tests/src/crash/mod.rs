//! Whether mainstay-ipamd keeps what it has said, whatever ends it: SIGKILL at any moment, loss of
//! power, a failing or a full disk. The oracle is what its callers were answered.
//!
//! `make crash-suite` does it at length and writes `docs/reliability.md`; `make test` does a little
//! of everything.

pub mod callers;
pub mod disk;
pub mod errors;
pub mod kills;
pub mod ledger;
mod log;
pub mod page;
pub mod power;
mod random;

pub use ledger::Faults;

use crate::daemons::Node;
use crate::netns::Netns;
use crate::scratch::Scratch;
use std::path::PathBuf;
use std::process::Command;

/// More addresses than one run can use, both families.
const CONFIG: &str = "nodes:
  - {name: n1, address: 192.0.2.11, blocks: [10.244.0.0/16, 10.245.0.0/16, 'fd00:244::/112', 'fd00:244::1:0/112']}
network: {mode: bgp}
bgp: {asn: 64512}
ipam:
  cooldown: 2160h
  pools:
    - {name: default, cidr: 10.244.0.0/14, block_size: 16}
    - {name: six, cidr: 'fd00:244::/64', block_size: 112}
";

/// A node whose daemon is to be hurt.
#[must_use]
pub fn victim() -> Node {
    Node::new("n1", Netns::new("crash"), CONFIG)
}

/// Where the daemon keeps what this suite is about.
#[must_use]
pub fn state_dir(node: &Node) -> PathBuf {
    node.dir.path().join("state")
}

fn quiet(command: &mut Command) {
    command.env("MAINSTAY_LOG", "warn");
}

/// A directory for an image that failed; it stays.
fn keep_evidence(role: &str) -> PathBuf {
    let dir = std::env::temp_dir().join("mainstay-crash-evidence");
    let mut scratch = Scratch::at(dir.join(format!("{role}-{}", std::process::id())));
    scratch.keep();
    scratch.path().to_owned()
}

/// The library of `tests/disklog`, built beside this program.
#[must_use]
pub fn disklog() -> PathBuf {
    let me = std::env::current_exe().expect("the path of this program");
    let dir = me.parent().expect("a directory");
    let deps = if dir.ends_with("deps") { dir.to_owned() } else { dir.join("deps") };
    let path = deps.join("libmainstay_disklog.so");
    assert!(path.exists(), "{} is missing: cargo build -p mainstay-tests", path.display());
    path
}
