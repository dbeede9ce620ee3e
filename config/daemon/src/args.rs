//! The arguments all daemons share, and the configuration they lead to.

use mainstay_config::{NodeConfig, ReadConfigError, ResolveError};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The cluster's configuration, the same file on every node
    #[arg(long, value_name = "FILE", default_value = "/etc/mainstay/mainstay.yaml")]
    pub config: PathBuf,

    /// This node's name in that file [default: the host's name]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node: Option<String>,

    /// Where the sockets are
    #[arg(long, value_name = "DIR", default_value = "/run/mainstay")]
    pub run_dir: PathBuf,

    /// What outlives a reboot
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mainstay")]
    pub state_dir: PathBuf,

    /// Write a line to this descriptor once serving, and close it (beside systemd's NOTIFY_SOCKET)
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<RawFd>,
}

/// This node's configuration, and what is worth a warning in the file.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub node: NodeConfig,
    /// The file as it was read.
    pub text: String,
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Every fault, a line each.
    #[error(transparent)]
    Read(#[from] ReadConfigError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

impl Args {
    /// Reads the file and finds this node in it. Called at start and at every reload.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let cluster = mainstay_config::read(&self.config)?;
        let node = cluster.resolve(&self.node_name())?;
        let warnings = cluster.warnings().iter().map(ToString::to_string).collect();
        Ok(Loaded { node, text: cluster.text().into(), warnings })
    }

    /// `--node`, `$NODE_NAME`, else the host's name.
    #[must_use]
    pub fn node_name(&self) -> String {
        match &self.node {
            Some(name) => name.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    #[must_use]
    pub fn socket(&self, name: &str) -> PathBuf {
        self.run_dir.join(name)
    }

    /// A directory of this daemon's own under the state directory, made if need be.
    pub fn state(&self, name: &str) -> std::io::Result<PathBuf> {
        let dir = self.state_dir.join(name);
        make_dir(&dir)?;
        Ok(dir)
    }
}

/// Others may look at what is there; what must be secret has a mode of its own.
pub(crate) fn make_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)
}
