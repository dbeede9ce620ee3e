//! The runtime's list of sandboxes, by CRI. A runtime that does not answer has said nothing.

use hyper_util::rt::TokioIo;
use mainstay_proto::runtime::v1::ListPodSandboxRequest;
use mainstay_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

const PATIENCE: Duration = Duration::from_secs(5);
/// A node has some hundred pods of about a kilobyte each.
const LONGEST: usize = 16 << 20;

/// The ids of all sandboxes, ready or not.
pub(super) async fn list(socket: &Path) -> Result<HashSet<String>, String> {
    match tokio::time::timeout(PATIENCE, ask(socket)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn ask(socket: &Path) -> Result<HashSet<String>, String> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    // The address is a formality: the connector knows where to go.
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await.map_err(|e| chain(&e))?;
    let mut client = RuntimeServiceClient::new(channel).max_decoding_message_size(LONGEST);
    let reply = client.list_pod_sandbox(ListPodSandboxRequest {}).await;
    let items = reply.map_err(|status| status.message().to_owned())?.into_inner().items;
    Ok(items.into_iter().map(|sandbox| sandbox.id).collect())
}

fn chain(error: &tonic::transport::Error) -> String {
    mainstay_daemon::chain(error)
}
