//! `cnitool`, the CNI project's own client of libcni, and the standard plugins in the edition that
//! speaks CNI 1.1.0. `tests/setup.sh` builds both.

use crate::daemons::Node;
use crate::netns::Netns;
use crate::proc::{bin, tool};
use crate::scratch::Scratch;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `tests/setup.sh` puts what it builds.
#[must_use]
pub fn built(program: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(home).expect("HOME or XDG_CACHE_HOME");
    let path = cache.join("mainstay/cni-v1.3.0-v1.6.2").join(program);
    assert!(path.exists(), "{} is missing: run tests/setup.sh", path.display());
    path
}

/// One network of one node, driven by cnitool. What libcni remembers of it is in a directory of its
/// own, which stands in the place of /var/lib/cni.
#[derive(Debug)]
pub struct Cnitool<'a> {
    node: &'a Node,
    name: String,
    dir: Scratch,
}

impl<'a> Cnitool<'a> {
    /// `conflist` as it would stand in /etc/cni/net.d.
    #[must_use]
    pub fn new(node: &'a Node, conflist: &Value) -> Self {
        let dir = Scratch::new("cnitool");
        dir.write("net.conflist", &conflist.to_string());
        std::fs::create_dir(dir.path().join("cache")).expect("a directory");
        let name = conflist["name"].as_str().expect("a network has a name").to_owned();
        Self { node, name, dir }
    }

    /// The result of ADD.
    pub fn add(&self, pod: &Netns, args: &str) -> Result<Value, String> {
        self.add_with(pod, args, &Map::new())
    }

    /// The same with capabilities.
    pub fn add_with(
        &self,
        pod: &Netns,
        args: &str,
        capabilities: &Map<String, Value>,
    ) -> Result<Value, String> {
        let said = self.run("add", pod, args, capabilities)?;
        serde_json::from_str(&said).map_err(|e| format!("{e}: {said}"))
    }

    pub fn check(&self, pod: &Netns) -> Result<(), String> {
        self.run("check", pod, "", &Map::new()).map(drop)
    }

    pub fn del(&self, pod: &Netns) -> Result<(), String> {
        self.run("del", pod, "", &Map::new()).map(drop)
    }

    /// Nothing is valid any more: cnitool knows no other GC.
    pub fn gc(&self) -> Result<(), String> {
        self.run("gc", &self.node.host, "", &Map::new()).map(drop)
    }

    pub fn status(&self) -> Result<(), String> {
        self.run("status", &self.node.host, "", &Map::new()).map(drop)
    }

    fn run(
        &self,
        verb: &str,
        pod: &Netns,
        args: &str,
        capabilities: &Map<String, Value>,
    ) -> Result<String, String> {
        let program = built("cnitool");
        let mut command = self.private(&program);
        command.args([verb, &self.name]).arg(pod.path());
        let plugins = [bin("mainstay-ipam"), built("ptp")];
        let path: Vec<_> = plugins.iter().filter_map(|p| p.parent()).map(Path::to_owned).collect();
        command
            .env("NETCONFPATH", self.dir.path())
            .env("CNI_PATH", std::env::join_paths(path).expect("no colon in a path"))
            .env("CNI_ARGS", args);
        if !capabilities.is_empty() {
            command.env("CAP_ARGS", Value::Object(capabilities.clone()).to_string());
        }
        let out = command.output().map_err(|e| format!("cannot run unshare: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() {
            return Ok(text(&out.stdout));
        }
        Err(format!("cnitool {verb}: {}{}", text(&out.stdout), text(&out.stderr)))
    }

    /// A command in the node, whose /var/lib/cni is ours.
    fn private(&self, program: &Path) -> Command {
        const MOUNT: &str =
            "mkdir -p /var/lib/cni && mount --bind \"$0\" /var/lib/cni && exec \"$@\"";
        let mut command = self.node.host.command(tool("unshare", "util-linux"));
        command
            .args(["--mount", "sh", "-c", MOUNT])
            .arg(self.dir.path().join("cache"))
            .arg(program);
        command
    }
}
