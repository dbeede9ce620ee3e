//! The HTTP server: /metrics for Prometheus, /healthz for probes, a page for people.
//!
//! It serves one scraper, or a few: connections are few and short-lived by construction, so that
//! nobody who can reach the port can hold netmon's descriptors or memory.

use crate::export::TEXT_FORMAT;
use crate::monitor::Monitor;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

/// Connections at once; further ones wait in the backlog.
const CONNECTIONS: usize = 32;
/// From the connection, or the last reply, to the next request's last header.
const HEADERS: Duration = Duration::from_secs(10);
/// A connection, whatever it does.
const LIFETIME: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "netmon.listen: {listen} is in use; another mainstay-netmon may serve there. Give this node its own address or port"
    )]
    InUse { listen: SocketAddr },
    #[error("netmon.listen: cannot listen on {listen}")]
    Bind { listen: SocketAddr, source: io::Error },
}

/// A server that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Server {
    /// With the port the kernel chose, where the configuration says 0.
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(
        listen: SocketAddr,
        monitor: Arc<Monitor>,
    ) -> Result<Self, ListenError> {
        let listener = TcpListener::bind(listen).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { listen },
            _ => ListenError::Bind { listen, source },
        })?;
        let address =
            listener.local_addr().map_err(|source| ListenError::Bind { listen, source })?;
        let task = tokio::spawn(serve(listener, router(monitor)));
        Ok(Self { address, task })
    }
}

fn router(monitor: Arc<Monitor>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/", get(async || Html(PAGE)))
        .with_state(monitor)
}

async fn metrics(State(monitor): State<Arc<Monitor>>) -> impl IntoResponse {
    let look = monitor.look().await;
    ([(CONTENT_TYPE, TEXT_FORMAT)], look.samples.to_text())
}

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>mainstay-netmon</title></head>
<body>
<h1>mainstay-netmon</h1>
<p>The network monitor of this node.</p>
<ul>
<li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>
<li><a href=\"/healthz\">/healthz</a>: whether this process serves</li>
</ul>
</body>
</html>
";

/// Until aborted; its connections end with it.
async fn serve(listener: TcpListener, router: Router) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    let _ = tokio::time::timeout(LIFETIME, connection(stream, router)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let service = TowerToHyperService::new(router);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(error, "an HTTP connection ended early");
    }
}
