//! `mainstay-ipamd`: the addresses of one node.
//!
//! `cni` and `api` are its two sockets, `daemon` what they ask, `committer` and `store` what makes
//! an answer durable, `room` what a full disk leaves, `routes` and `neighbours` its hands in the
//! kernel, `netns` and `evidence` its eyes. What to answer is decided
//! in the crate `ipam-core`.

mod api;
mod cni;
mod committer;
mod daemon;
mod evidence;
mod gc;
mod history;
mod memory;
mod neighbours;
mod netns;
mod observe;
mod room;
mod routes;
mod settings;
mod spool;
mod store;
mod time;

use clap::Parser;
use committer::{Committer, Running};
use daemon::Daemon;
use history::History;
use ipam_core::Ipam;
use mainstay_config::Mode;
use mainstay_daemon::{Args, Loaded, Lock, Ready, Signal, Signals};
use room::Room;
use spool::Spool;
use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::{SledStore, Store, StoreError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

const NAME: &str = "ipamd";
/// How often the time that has passed is persisted: what a reboot can lose of it.
const TICK: Duration = Duration::from_secs(60);
/// How often a full disk is looked at.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(2);

/// Hands out this node's addresses, and keeps them for the pods that had them.
#[derive(Parser)]
#[command(name = "mainstay-ipamd", version)]
struct Cli {
    #[command(flatten)]
    args: Args,

    /// Move a lease store that cannot be read away, and end; the next start begins with no leases,
    /// and hands out none before the cooldown is over
    #[arg(long)]
    set_aside: bool,
}

fn main() -> ExitCode {
    let Cli { args, set_aside } = Cli::parse();
    mainstay_daemon::init_log();
    mainstay_daemon::exit_code(if set_aside { move_away(&args) } else { run(args) })
}

/// `--set-aside`.
fn move_away(args: &Args) -> Result<(), Box<dyn Error>> {
    let state = args.state("ipam")?;
    let _lock = Lock::take(&state, NAME)?;
    match store::set_aside(&state)? {
        Some(path) => println!(
            "the lease store was moved to {}; start mainstay-ipamd again. It knows no lease, and \
             hands out no address before the cooldown is over. `mainstay ipam import cache \
             /var/lib/cni/results --network NAME` gives it those of the running pods",
            path.display()
        ),
        None => println!("the lease store in {} can be read: nothing was moved", state.display()),
    }
    Ok(())
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let ready = Ready::new(args.ready_fd)?;
    let loaded = args.load()?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if loaded.node.network.mode == Mode::None {
        tracing::info!(
            node = args.node_name(),
            "network.mode is none: mainstay-ipamd is not needed on this node"
        );
        ready.notify();
        return Ok(());
    }
    // The store's first: two daemons with run directories of their own may share it.
    let state = args.state("ipam")?;
    let _locks = (Lock::take(&state, NAME)?, Lock::take(&args.run_dir, NAME)?);
    let room = Arc::new(Room::new(&state));
    let store = open(&state, &room)?;
    end_process_on_panic(Arc::clone(&room));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(args, loaded, (store, Arc::clone(&room)), ready));
    if served.is_err() {
        // The disk may be full: whoever starts next has room then.
        room.give_back();
    }
    served
}

/// A full disk is no reason not to serve.
fn open(state: &Path, room: &Room) -> Result<SledStore, StoreError> {
    match SledStore::open(state) {
        Err(error) if error.is_full() && room.give_back() => SledStore::open(state),
        result => result,
    }
}

/// A task that panicked may have left the table half changed. The store has the truth: the next
/// start goes on from there.
///
/// sled may panic where a disk is full.
fn end_process_on_panic(room: Arc<Room>) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        room.give_back();
        std::process::abort();
    }));
}

async fn serve(
    args: Args,
    loaded: Loaded,
    (store, room): (SledStore, Arc<Room>),
    ready: Ready,
) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let clocks = time::Clocks::new()?;
    let spool = Spool::open(&args.state("ipam")?, &args.run_dir)?;
    let kept = store.load()?;
    let reopened = tokio::task::spawn_blocking(|| store.reopened());
    let leases = kept.slots.len();
    if kept.set_aside && kept.clock.is_none() {
        tracing::warn!("an earlier store was set aside: no address before the cooldown is over");
    }
    let settings = settings::settings(&loaded.node);
    let (ipam, first) = Ipam::open(settings, kept, clocks.now());
    let mut store = reopened.await??;
    store.commit(&first.records)?;
    memory::give_back();
    room.provide();
    let engine = store.engine();
    let (committer, mut running) = Committer::start(Box::new(store))?;
    let (released, flushed) = mpsc::unbounded_channel();
    let events = args.state("ipam")?.join("history");
    let history = History::start(&events, loaded.node.ipam.history_max_size)?;
    let daemon = Daemon::new(
        (args, clocks),
        (ipam, loaded.node.ipam.gc, loaded.warnings),
        (committer, engine, room),
        (released, spool, history),
    );
    let daemon = Arc::new(daemon);
    // Before anybody asks: these came first.
    daemon.spool.apply(&daemon).await?;
    daemon.state().ipam.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));

    let serving = Serving::start(&daemon, flushed).await?;
    tracing::info!(node = daemon.args.node_name(), leases, store = engine, "serving");
    ready.notify();
    if let Some(failed) = attend(&daemon, &mut signals, &mut running).await {
        return Err(failed.into());
    }
    // What has passed until now need not be waited for again after a reboot.
    let _ = daemon.tick();
    daemon.close();
    running.finish().await?;
    serving.stop().await;
    tracing::info!("stopped; every lease is on disk, and the routes stay");
    Ok(())
}

/// Until somebody asks the daemon to stop, or the store fails.
async fn attend(
    daemon: &Daemon,
    signals: &mut Signals,
    running: &mut Running,
) -> Option<StoreError> {
    let mut ticks = tokio::time::interval(TICK);
    let mut looks = tokio::time::interval(LOOK_FOR_ROOM);
    loop {
        tokio::select! {
            ended = &mut running.ended => return ended.ok().and_then(Result::err),
            _ = ticks.tick() => drop(daemon.tick()),
            _ = looks.tick(), if daemon.room.is_short() => daemon.room.provide(),
            signal = signals.next() => match signal {
                Signal::Stop => return None,
                Signal::Reload => reload(daemon).await,
            },
        }
    }
}

async fn reload(daemon: &Daemon) {
    match daemon.reload().await {
        Ok(done) => {
            tracing::info!(changes = done.changes.len(), "configuration read again");
            done.changes.iter().for_each(|change| tracing::info!("{change}"));
            done.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        }
        Err(error) => {
            let error = mainstay_daemon::chain(&error);
            tracing::error!("configuration not taken over, the old one stays in force: {error}");
        }
    }
}

/// The tasks that serve.
struct Serving {
    kernel: [JoinHandle<()>; 4],
    upkeep: [JoinHandle<()>; 2],
    cni: JoinHandle<()>,
    callers: Arc<Semaphore>,
    api: JoinHandle<Result<(), tonic::transport::Error>>,
    stop_api: oneshot::Sender<()>,
}

impl Serving {
    /// The routes stand and the sockets are there once this returns.
    async fn start(
        daemon: &Arc<Daemon>,
        released: mpsc::UnboundedReceiver<IpAddr>,
    ) -> Result<Self, Box<dyn Error>> {
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        let connection = tokio::spawn(connection);
        routes::reconcile(&handle, daemon).await;
        let evidence = evidence::first(&handle, daemon).await;
        let evidence = evidence::watch(handle.clone(), Arc::clone(daemon), evidence);
        let evidence = tokio::spawn(evidence);
        let neighbours = tokio::spawn(neighbours::flush(handle.clone(), released));
        let (for_gc, for_callers) = (handle.clone(), handle.clone());
        let routes = tokio::spawn(routes::keep(handle, Arc::clone(daemon)));

        let bind = |name| mainstay_daemon::bind(&daemon.args.socket(name));
        let (for_cni, for_api) = (bind("cni.sock")?, bind("ipamd.sock")?);
        let callers = Arc::new(Semaphore::new(cni::CALLERS));
        let cni = cni::serve(for_cni, Arc::clone(daemon), for_callers, Arc::clone(&callers));
        let (stop_api, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let api = tokio::spawn(api::serve(for_api, Arc::clone(daemon), stopped));
        let kernel = [connection, neighbours, routes, evidence];
        let spool = tokio::spawn(spool::watch(Arc::clone(daemon)));
        let upkeep = [spool, tokio::spawn(gc::keep(for_gc, Arc::clone(daemon)))];
        Ok(Self { kernel, upkeep, cni: tokio::spawn(cni), callers, api, stop_api })
    }

    /// Those who wait for an answer get it; calls that go on for ever are cut.
    async fn stop(self) {
        self.cni.abort();
        self.upkeep.iter().for_each(JoinHandle::abort);
        self.kernel.iter().for_each(JoinHandle::abort);
        drop(self.stop_api);
        let everyone = u32::try_from(cni::CALLERS).unwrap_or(u32::MAX);
        let ended = async { (self.callers.acquire_many(everyone).await.is_ok(), self.api.await) };
        let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
    }
}
