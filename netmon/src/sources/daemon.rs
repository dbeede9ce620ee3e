//! Asking another daemon of this node over its unix socket.

use super::SourceError;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A little less than a scrape waits, so that the daemon is named and not the wait.
const TIMEOUT: Duration = Duration::from_millis(450);

#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    name: &'static str,
    socket: PathBuf,
    channel: Channel,
}

impl Daemon {
    /// Connects when first asked, and again after the daemon was away.
    pub(crate) fn new(name: &'static str, socket: PathBuf) -> Self {
        let path = socket.clone();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        // The address is a formality: the connector knows where to go.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { name, socket, channel }
    }

    /// Whether anyone listens: the socket alone stays behind a daemon that was killed.
    pub(crate) async fn runs(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What `call` answers, or why the daemon does not.
    pub(crate) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, tonic::Status>>,
    ) -> Result<T, SourceError> {
        let error =
            |why| SourceError::Daemon { daemon: self.name, socket: self.socket.clone(), why };
        match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(status)) => Err(error(reason(&status))),
            Err(_) => Err(error(format!("no reply within {} ms", TIMEOUT.as_millis()))),
        }
    }
}

/// The innermost cause: tonic's own text for a socket that nobody serves is "transport error".
fn reason(status: &tonic::Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_proto::bgp::v1::StatusRequest;
    use mainstay_proto::bgp::v1::bgp_client::BgpClient;
    use std::path::Path;

    async fn ask(socket: &Path) -> String {
        let daemon = Daemon::new("bgpd", socket.to_owned());
        let mut client = BgpClient::new(daemon.channel());
        daemon.ask(client.status(StatusRequest {})).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_named_with_the_cause() {
        let dir = std::env::temp_dir().join(format!("netmon-{}-gone", std::process::id()));
        let error = ask(&dir.join("bgpd.sock")).await;
        assert!(error.starts_with("bgpd does not answer on /"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_socket_that_a_killed_daemon_left_behind_is_no_daemon() {
        let path = std::env::temp_dir().join(format!("netmon-{}-left.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let daemon = Daemon::new("ipamd", path.clone());
        assert!(daemon.runs().await);
        drop(listener);
        let left_behind = path.exists() && !daemon.runs().await;
        std::fs::remove_file(&path).unwrap();
        assert!(left_behind);
    }

    #[tokio::test]
    async fn a_daemon_that_hangs_is_given_up_in_time() {
        let path = std::env::temp_dir().join(format!("netmon-{}-hang.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let begun = std::time::Instant::now();
        let error = ask(&path).await;
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("no reply within 450 ms"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
