//! A container runtime's side of CNI, as libcni does it: a conflist, one process a plugin, the
//! configuration on stdin, the rest in the environment.

use crate::netns::Netns;
use crate::proc::bin;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

/// One network of one host.
#[derive(Debug)]
pub struct Runtime {
    conflist: Value,
    path: Vec<PathBuf>,
    /// What libcni keeps in /var/lib/cni/results.
    results: Mutex<HashMap<String, Value>>,
}

/// One container's interface.
#[derive(Debug, Clone)]
pub struct Attachment {
    pub container: String,
    pub netns: String,
    pub ifname: String,
    /// CNI_ARGS
    pub args: String,
    /// Capability → value, given to the plugins that declare the capability.
    pub capabilities: Map<String, Value>,
}

impl Attachment {
    /// A pod's, as containerd passes it.
    #[must_use]
    pub fn pod(container: &str, netns: &Path, namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            container: container.to_owned(),
            netns: netns.display().to_string(),
            ifname: "eth0".to_owned(),
            args: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};\
                 K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID={uid}"
            ),
            capabilities: Map::new(),
        }
    }
}

/// A plugin's error, as the specification has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub plugin: String,
    pub code: u64,
    pub msg: String,
    pub details: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { plugin, code, msg, details } = self;
        write!(f, "{plugin} failed with code {code}: {msg}")?;
        if details.is_empty() { Ok(()) } else { write!(f, "; {details}") }
    }
}

impl Runtime {
    /// Plugins are looked for beside our own programs, then where Debian puts the standard ones.
    #[must_use]
    pub fn new(conflist: Value) -> Self {
        let ours = bin("mainstay-ipam").parent().expect("a directory").to_owned();
        Self { conflist, path: vec![ours, "/usr/lib/cni".into()], results: Mutex::default() }
    }

    /// The network of a node of ours: `main` ("ptp", "bridge", …) with mainstay-ipam.
    #[must_use]
    pub fn delegating(main: &str, run_dir: &Path, version: &str) -> Self {
        let socket = run_dir.join("cni.sock");
        Self::new(json!({
            "cniVersion": version,
            "name": "mainstay",
            "plugins": [{"type": main, "ipam": {"type": "mainstay-ipam", "socket": socket}}],
        }))
    }

    /// ADD by every plugin in order; the last one's result.
    pub fn add(&self, host: &Netns, at: &Attachment) -> Result<Value, Failure> {
        let mut result = None;
        for plugin in self.plugins() {
            let config = self.config(plugin, result.as_ref(), &at.capabilities);
            result = Some(self.call(host, plugin, "ADD", Some(at), &config)?);
        }
        let result = result.unwrap_or(Value::Null);
        self.results().insert(key(at), result.clone());
        Ok(result)
    }

    /// DEL by every plugin, the last one first.
    pub fn del(&self, host: &Netns, at: &Attachment) -> Result<(), Failure> {
        let result = self.results().get(&key(at)).cloned();
        for plugin in self.plugins().iter().rev() {
            let config = self.config(plugin, result.as_ref(), &at.capabilities);
            self.call(host, plugin, "DEL", Some(at), &config)?;
        }
        self.results().remove(&key(at));
        Ok(())
    }

    /// CHECK by every plugin, with the result of ADD.
    pub fn check(&self, host: &Netns, at: &Attachment) -> Result<(), Failure> {
        let result = self.results().get(&key(at)).cloned();
        for plugin in self.plugins() {
            let config = self.config(plugin, result.as_ref(), &at.capabilities);
            self.call(host, plugin, "CHECK", Some(at), &config)?;
        }
        Ok(())
    }

    /// STATUS of every plugin (CNI 1.1.0).
    pub fn status(&self, host: &Netns) -> Result<(), Failure> {
        for plugin in self.plugins() {
            let config = self.config(plugin, None, &Map::new());
            self.call(host, plugin, "STATUS", None, &config)?;
        }
        Ok(())
    }

    /// GC by every plugin (CNI 1.1.0): these attachments are valid, all others are not.
    pub fn gc(&self, host: &Netns, valid: &[&Attachment]) -> Result<(), Failure> {
        let valid: Vec<_> = valid
            .iter()
            .map(|at| json!({"containerID": at.container, "ifname": at.ifname}))
            .collect();
        for plugin in self.plugins() {
            let mut config = self.config(plugin, None, &Map::new());
            config["cni.dev/valid-attachments"] = Value::from(valid.clone());
            config["cni.dev/attachments"] = Value::from(valid.clone());
            self.call(host, plugin, "GC", None, &config)?;
        }
        Ok(())
    }

    /// What the first plugin says of its versions.
    pub fn version(&self, host: &Netns) -> Result<Value, Failure> {
        let plugin = &self.plugins()[0];
        let config = json!({"cniVersion": self.conflist["cniVersion"]});
        self.call(host, plugin, "VERSION", None, &config)
    }

    fn plugins(&self) -> &[Value] {
        self.conflist["plugins"].as_array().map_or(&[], Vec::as_slice)
    }

    fn results(&self) -> std::sync::MutexGuard<'_, HashMap<String, Value>> {
        self.results.lock().expect("no caller panicked")
    }

    /// A plugin's configuration: its own, and what the runtime puts in.
    fn config(&self, plugin: &Value, previous: Option<&Value>, has: &Map<String, Value>) -> Value {
        let mut config = plugin.clone();
        config["cniVersion"] = self.conflist["cniVersion"].clone();
        config["name"] = self.conflist["name"].clone();
        let declared = |name: &&String| plugin["capabilities"][name.as_str()] == Value::Bool(true);
        let runtime: Map<_, _> =
            has.iter().filter(|(k, _)| declared(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if !runtime.is_empty() {
            config["runtimeConfig"] = Value::Object(runtime);
        }
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        config
    }

    fn call(
        &self,
        host: &Netns,
        plugin: &Value,
        command: &str,
        at: Option<&Attachment>,
        config: &Value,
    ) -> Result<Value, Failure> {
        let kind = plugin["type"].as_str().unwrap_or_default();
        exec(host, &self.path, kind, command, at, &config.to_string())
    }
}

/// Runs one plugin with any stdin at all.
pub fn exec(
    host: &Netns,
    path: &[PathBuf],
    plugin: &str,
    command: &str,
    at: Option<&Attachment>,
    stdin: &str,
) -> Result<Value, Failure> {
    let program = path.iter().map(|dir| dir.join(plugin)).find(|p| p.exists());
    let program = program.unwrap_or_else(|| {
        panic!("no plugin {plugin}: apt-get install containernetworking-plugins")
    });
    let list: Vec<_> = path.iter().map(|p| p.display().to_string()).collect();
    let mut process = host.command(program);
    process.env("CNI_COMMAND", command).env("CNI_PATH", list.join(":"));
    if let Some(at) = at {
        process
            .env("CNI_CONTAINERID", &at.container)
            .env("CNI_NETNS", &at.netns)
            .env("CNI_IFNAME", &at.ifname)
            .env("CNI_ARGS", &at.args);
    }
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().expect("the plugin starts");
    // A plugin that does not read (VERSION, say) closes the pipe: no failure.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    let out = child.wait_with_output().expect("the plugin ends");
    let said: Value = serde_json::from_slice(&out.stdout).unwrap_or(Value::Null);
    if out.status.success() {
        return Ok(said);
    }
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    let msg = match said["msg"].as_str() {
        Some(msg) => msg.to_owned(),
        None => format!(
            "{}: not the specification's JSON: {}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        ),
    };
    let code = said["code"].as_u64().unwrap_or_default();
    Err(Failure { plugin: plugin.to_owned(), code, msg, details: text("details") })
}

fn key(at: &Attachment) -> String {
    format!("{}-{}", at.container, at.ifname)
}
