//! Asking the daemons: their sockets, their clients, and why there is no answer.

use hyper_util::rt::TokioIo;
use mainstay_proto::bgp::v1::bgp_client::BgpClient;
use mainstay_proto::collect::v1::collect_client::CollectClient;
use mainstay_proto::ipam::v1::ipam_client::IpamClient;
use mainstay_proto::netmon::v1::netmon_client::NetmonClient;
use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status, Streaming};

/// How long a daemon may take for each answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ten thousand peers in one reply are about 10 MB.
const LARGEST_REPLY: usize = 256 << 20;
/// The faults of a refused file come as the status of a call, in a header.
const LARGEST_STATUS: u32 = 4 << 20;

/// The daemons of this node.
pub(crate) struct Daemons {
    run_dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("cannot reach mainstay-{daemon} at {}: {why}", .socket.display())]
    Unreachable { daemon: &'static str, socket: PathBuf, why: String, absent: bool },
    #[error("mainstay-{daemon} did not answer within {} s", PATIENCE.as_secs())]
    Silent { daemon: &'static str },
    #[error("mainstay-{daemon}: {message}")]
    Refused { daemon: &'static str, code: tonic::Code, message: String },
}

impl AskError {
    /// Nobody is there, which may be as it should be.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Unreachable { absent: true, .. })
    }
}

impl Daemons {
    pub(crate) fn new(run_dir: PathBuf) -> Self {
        Self { run_dir }
    }

    /// Where the CNI plugin finds ipamd, if it is not where it looks by itself.
    pub(crate) fn plugin_socket(&self) -> Option<String> {
        let elsewhere = self.run_dir != Path::new("/run/mainstay");
        elsewhere.then(|| self.run_dir.join("cni.sock").to_string_lossy().into_owned())
    }

    pub(crate) async fn bgpd(&self) -> Result<BgpClient<Channel>, AskError> {
        let client = BgpClient::new(connect("bgpd", &self.run_dir.join("bgpd.sock")).await?);
        Ok(client.max_decoding_message_size(LARGEST_REPLY))
    }

    /// The other service of bgpd.
    pub(crate) async fn collect(&self) -> Result<CollectClient<Channel>, AskError> {
        let client = CollectClient::new(connect("bgpd", &self.run_dir.join("bgpd.sock")).await?);
        Ok(client.max_decoding_message_size(LARGEST_REPLY))
    }

    pub(crate) async fn ipamd(&self) -> Result<IpamClient<Channel>, AskError> {
        let client = IpamClient::new(connect("ipamd", &self.run_dir.join("ipamd.sock")).await?);
        Ok(client.max_decoding_message_size(LARGEST_REPLY))
    }

    pub(crate) async fn netmon(&self) -> Result<NetmonClient<Channel>, AskError> {
        let client = NetmonClient::new(connect("netmon", &self.run_dir.join("netmon.sock")).await?);
        Ok(client.max_decoding_message_size(LARGEST_REPLY))
    }
}

/// One call, for as long as we have patience.
pub(crate) async fn answer<T>(
    daemon: &'static str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, AskError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refused(daemon, &status)),
        Err(_) => Err(AskError::Silent { daemon }),
    }
}

/// The next message of a streamed answer.
pub(crate) async fn next<T>(
    daemon: &'static str,
    stream: &mut Streaming<T>,
) -> Result<Option<T>, AskError> {
    match tokio::time::timeout(PATIENCE, stream.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(refused(daemon, &status)),
        Err(_) => Err(AskError::Silent { daemon }),
    }
}

/// The same of an answer that goes on for ever.
pub(crate) async fn next_ever<T>(
    daemon: &'static str,
    stream: &mut Streaming<T>,
) -> Result<Option<T>, AskError> {
    stream.message().await.map_err(|status| refused(daemon, &status))
}

fn refused(daemon: &'static str, status: &Status) -> AskError {
    let message = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    AskError::Refused { daemon, code: status.code(), message }
}

/// Connects first and hands the stream to tonic, which would tell less of what went wrong.
async fn connect(daemon: &'static str, socket: &Path) -> Result<Channel, AskError> {
    let unreachable = |why: String, absent| AskError::Unreachable {
        daemon,
        socket: socket.to_owned(),
        why,
        absent,
    };
    let stream = match tokio::time::timeout(PATIENCE, UnixStream::connect(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
            return Err(unreachable(why_not(&error), absent));
        }
        Err(_) => return Err(AskError::Silent { daemon }),
    };
    let stream = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_: Uri| {
        let taken = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = taken.map(TokioIo::new).ok_or(ErrorKind::NotConnected);
        async move { stream.map_err(std::io::Error::from) }
    });
    // The name in the URI is never looked up.
    let endpoint =
        Endpoint::from_static("http://localhost").http2_max_header_list_size(LARGEST_STATUS);
    let connecting = endpoint.connect_with_connector(connector);
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(unreachable(crate::failure::chain(&error), false)),
        Err(_) => Err(AskError::Silent { daemon }),
    }
}

fn why_not(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file; is it running?".into(),
        ErrorKind::ConnectionRefused => "nobody listens there; is it running?".into(),
        ErrorKind::PermissionDenied => "permission denied; try it as root".into(),
        _ => error.to_string(),
    }
}
