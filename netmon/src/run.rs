//! The daemon: configuration, sockets, signals.

use crate::api::Api;
use crate::http::{ListenError, Server};
use crate::monitor::Monitor;
use crate::sources::flows::Promise;
use mainstay_config::Mode;
use mainstay_daemon::{
    Args, BindError, LoadError, Loaded, Lock, LockError, Ready, Signal, Signals,
};
use mainstay_proto::netmon::v1::netmon_server::NetmonServer;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Mutex;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start a thread or handle signals")]
    Start(#[source] io::Error),
    #[error("the gRPC server ended")]
    Serve(#[source] tonic::transport::Error),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// What a reload did.
#[derive(Debug, Default)]
pub(crate) struct Reloaded {
    pub(crate) changes: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) struct Netmon {
    args: Args,
    pub(crate) started: Instant,
    pub(crate) monitor: Arc<Monitor>,
    state: Mutex<State>,
}

/// The configuration in force.
struct State {
    mode: Mode,
    listen: SocketAddr,
    server: Server,
    warnings: Vec<String>,
}

/// What the API tells of it.
pub(crate) struct InForce {
    pub(crate) node: String,
    pub(crate) listen: SocketAddr,
    pub(crate) warnings: Vec<String>,
}

pub(crate) async fn run(args: Args, ready: Ready) -> Result<(), RunError> {
    let Loaded { node, warnings, .. } = args.load()?;
    let _lock = Lock::take(&args.run_dir, "netmon")?;
    let mut signals = Signals::new().map_err(RunError::Start)?;
    let mode = node.network.mode;
    let monitor = Arc::new(Monitor::start(mode, &args.run_dir).map_err(RunError::Start)?);
    let listen = node.netmon.listen;
    let server = Server::start(listen, Arc::clone(&monitor)).await?;
    let socket = mainstay_daemon::bind(&args.socket("netmon.sock"))?;
    let address = server.address;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let state = Mutex::new(State { mode, listen, server, warnings });
    let netmon = Arc::new(Netmon { args, started: Instant::now(), monitor, state });
    tracing::info!(node = netmon.args.node_name(), listen = %address, "serving");
    let api = NetmonServer::new(Api(Arc::clone(&netmon)));
    let mut grpc = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(api)
            .serve_with_incoming(mainstay_daemon::incoming(socket)),
    );
    ready.notify();
    tokio::select! {
        () = netmon.attend(&mut signals) => Ok(()),
        ended = &mut grpc => match ended {
            Ok(result) => result.map_err(RunError::Serve),
            Err(error) => Err(RunError::Start(error.into())),
        },
    }
}

impl Netmon {
    /// Answers signals and looks after the event readers until told to stop.
    async fn attend(&self, signals: &mut Signals) {
        let mut watch = tokio::time::interval(Promise::EVERY);
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => {
                        tracing::info!("stopping");
                        return;
                    }
                    Signal::Reload => self.reload_and_say().await,
                },
                _ = watch.tick() => {
                    self.monitor.watch_flows();
                    // A netmon that stands still may hold ended connections in the kernel's
                    // table: systemd is to replace it.
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
            }
        }
    }

    async fn reload_and_say(&self) {
        match self.reload().await {
            Ok(Reloaded { changes, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                for change in &changes {
                    tracing::info!("{change}");
                }
                tracing::info!(changes = changes.len(), "reloaded");
            }
            Err(error) => {
                let error = mainstay_daemon::chain(&error);
                tracing::error!(
                    "configuration not taken over, the old one stays in force: {error}"
                );
            }
        }
    }

    /// Reads the configuration again. After an error all is as it was.
    pub(crate) async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut state = self.state.lock().await;
        let Loaded { node, warnings, .. } = self.args.load()?;
        let mut changes = Vec::new();
        let listen = node.netmon.listen;
        if listen != state.listen {
            // The old one serves until the new one does.
            state.server = Server::start(listen, Arc::clone(&self.monitor)).await?;
            changes.push(format!("netmon.listen: {} -> {listen}", state.listen));
            state.listen = listen;
        }
        let mode = node.network.mode;
        if mode != state.mode {
            changes.push(format!("network.mode: {} -> {}", name(state.mode), name(mode)));
            self.monitor.set_mode(mode);
            state.mode = mode;
        }
        state.warnings.clone_from(&warnings);
        Ok(Reloaded { changes, warnings })
    }

    pub(crate) async fn in_force(&self) -> InForce {
        let state = self.state.lock().await;
        InForce {
            node: self.args.node_name(),
            listen: state.server.address,
            warnings: state.warnings.clone(),
        }
    }
}

const fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::None => "none",
        Mode::Simple => "simple",
        Mode::Bgp => "bgp",
    }
}
