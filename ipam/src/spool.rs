//! DELs that plugins left while no ipamd answered. They are applied before the first request is
//! served, and while we run whenever there are any: a plugin may have lost patience with us.
//!
//! A DEL names one attachment exactly, so that of an old container never takes what a new one has. One
//! for an attachment that is asked for again is applied before that ADD.

use crate::cni::Request;
use crate::committer::Stopped;
use crate::daemon::Daemon;
use ipam_core::Attachment;
use mainstay_cni::spool::{self, Found};
use mainstay_proto::ipam::v1::CniRequest;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(2);
/// A plugin takes milliseconds to finish a file.
const ABANDONED: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
}

impl Spool {
    /// In the state directory, so that it outlives a reboot; a link beside the plugins' socket tells
    /// them where.
    pub(crate) fn open(state: &Path, run: &Path) -> io::Result<Self> {
        let dir = std::path::absolute(state.join("spool"))?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let link = run.join("spool");
        if std::fs::read_link(&link).ok().as_ref() != Some(&dir) {
            let fresh = run.join("spool.new");
            let _ = std::fs::remove_file(&fresh);
            symlink(&dir, &fresh)?;
            std::fs::rename(&fresh, &link)?;
        }
        Ok(Self { dir })
    }

    /// Applies all there is. The files go once what they asked for is durable.
    pub(crate) async fn apply(&self, daemon: &Daemon) -> Result<(), Stopped> {
        let Found { dels, bad } = match spool::read(&self.dir) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot read the spool");
                return Ok(());
            }
        };
        for (file, why) in bad {
            set_aside(&file, &why);
        }
        let mut done = Vec::new();
        for (file, request) in dels {
            match Request::try_from(request) {
                Ok(Request::Del(attachment)) => {
                    daemon.del(&attachment)?;
                    let Attachment { container_id, ifname, network } = attachment;
                    tracing::info!(container_id, ifname, network, "DEL of the spool applied");
                    done.push(file);
                }
                Ok(_) => set_aside(&file, "it is no DEL"),
                Err(error) => set_aside(&file, &error.msg),
            }
        }
        if done.is_empty() {
            return Ok(());
        }
        daemon.settled().await?;
        daemon.counters.spooled(done.len());
        for file in done {
            remove(&file);
        }
        Ok(())
    }

    /// Applies what there is if it concerns this attachment.
    pub(crate) async fn apply_before(
        &self,
        daemon: &Daemon,
        attachment: &Attachment,
    ) -> Result<(), Stopped> {
        let key = CniRequest {
            network: attachment.network.clone(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
            ..CniRequest::default()
        };
        if spool::path(&self.dir, &key).exists() { self.apply(daemon).await } else { Ok(()) }
    }
}

/// Applies what comes while we run; ends with the daemon.
pub(crate) async fn watch(daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        if let Err(error) = spool::remove_unfinished(&daemon.spool.dir, ABANDONED) {
            tracing::debug!(%error, "cannot clean the spool");
        }
        if daemon.spool.apply(&daemon).await.is_err() {
            return;
        }
    }
}

fn set_aside(file: &Path, why: &str) {
    match spool::set_aside(file) {
        Ok(aside) => {
            tracing::warn!(file = %aside.display(), why, "a DEL in the spool cannot be read; set aside");
        }
        Err(error) => tracing::warn!(file = %file.display(), %error, "cannot set a bad file aside"),
    }
}

fn remove(file: &Path) {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %file.display(), %error, "cannot remove an applied DEL");
        }
        _ => {}
    }
}
