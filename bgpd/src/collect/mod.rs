//! Whom the speaker asks and tells besides its peers: RPKI caches ([`rpki`]), BMP stations ([`bmp`]),
//! MRT files ([`mrt`]).
//!
//! What needs time of its own runs on a thread of its own ([`Side`]), so that the loop never waits
//! for it; both talk over channels. Where nothing of it is configured, there is no thread.

mod api;
pub(crate) mod bmp;
pub(crate) mod mrt;
pub(crate) mod rpki;
mod vrps;

use crate::run::Run;
use crate::tcp::words;
use bgp_core::monitor::{Batch, Watch};
use mainstay_config::{Bgp, BmpStation, HostPort, Mrt, RpkiServer};
use mainstay_proto::collect::v1::OutletsReply;
use std::io;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

const DIAL: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What of the configuration is about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) rpki: Vec<RpkiServer>,
    pub(crate) bmp: Vec<BmpStation>,
    pub(crate) mrt: Mrt,
}

impl Wanted {
    pub(crate) fn new(bgp: &Bgp) -> Self {
        Self { rpki: bgp.rpki.clone(), bmp: bgp.bmp.clone(), mrt: bgp.mrt.clone() }
    }
}

/// All of it, as the loop has it.
#[derive(Debug, Default)]
pub(crate) struct Collect {
    side: Option<Side>,
    pub(crate) caches: rpki::Caches,
    pub(crate) stations: bmp::Stations,
    pub(crate) mrt: mrt::Mrt,
    watch: Watch,
    /// Filled and emptied after each event.
    batch: Batch,
}

impl Collect {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let files = self.mrt.deadline().into_iter().chain(self.caches.deadline());
        self.stations.deadline().into_iter().chain(files).min()
    }

    /// There are tables to tell, and room for them.
    pub(crate) fn is_busy(&self) -> bool {
        self.stations.is_busy() || self.mrt.is_busy()
    }
}

impl Run {
    /// Brings it in line with the configuration; what stays as it was goes on.
    pub(crate) fn collect_anew(&mut self) {
        let wanted = &self.plan.collect;
        let Collect { side, caches, stations, mrt, .. } = &mut self.collect;
        if side.is_none() && !(wanted.rpki.is_empty() && wanted.bmp.is_empty()) {
            *side = Side::start()
                .inspect_err(|error| tracing::error!(%error, "no thread for RPKI and BMP"))
                .ok();
        }
        caches.configure(&wanted.rpki, side.as_ref(), &self.inputs);
        stations.configure(&wanted.bmp, side.as_ref(), &self.inputs);
        mrt.configure(&wanted.mrt);
        self.judge_by_caches();
        self.watch_anew();
    }

    /// Has the core show what somebody wants to see, and nothing more.
    pub(crate) fn watch_anew(&mut self) {
        let mut watch = self.collect.stations.watch();
        watch.updates |= self.collect.mrt.watches();
        if self.collect.watch == watch {
            return;
        }
        // What was seen so far belongs to those who have watched so far.
        self.show_seen();
        if self.collect.mrt.watches() {
            self.collect.mrt.know(self.speaker.sessions().into_iter());
        }
        self.collect.watch = watch;
        self.speaker.watch(watch);
    }

    /// After each event: what was seen goes to those who watch.
    pub(crate) fn show_seen(&mut self) {
        if !self.collect.watch.is_on() {
            return;
        }
        let mut batch = std::mem::take(&mut self.collect.batch);
        self.speaker.take_seen(&mut batch);
        if !batch.seen.is_empty() {
            self.collect.mrt.tell(&batch);
            self.tell_stations(&batch);
        }
        self.collect.batch = batch;
    }

    /// A piece of what is to be told of what is known.
    pub(crate) fn collect_turn(&mut self) {
        self.stations_turn();
        if self.collect.mrt.is_busy() {
            self.collect.mrt.turn(&self.speaker);
        }
    }

    pub(crate) fn outlets(&self) -> OutletsReply {
        OutletsReply { stations: self.collect.stations.views(), files: self.collect.mrt.views() }
    }

    pub(crate) fn collect_due(&mut self) {
        let now = Instant::now();
        self.stations_due(now);
        self.collect.mrt.due(now);
        if self.collect.caches.due(now) {
            self.judge_by_caches();
        }
    }

    /// Says goodbye to stations, and waits a moment for that to be sent.
    pub(crate) async fn collect_stop(&mut self) {
        self.show_seen();
        let tasks = self.collect.stations.end();
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        let _ = timeout(LAST_WORDS, all).await;
    }
}

/// A thread with a runtime, for tasks that may take their time.
#[derive(Debug)]
pub(crate) struct Side {
    handle: Handle,
    /// Dropped, it ends the thread.
    _alive: oneshot::Sender<()>,
}

impl Side {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        let run = move || drop(runtime.block_on(ended));
        std::thread::Builder::new().name("collect".into()).spawn(run)?;
        Ok(Self { handle, _alive: alive })
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Whatever the name stands for that answers first.
async fn connect(to: &HostPort) -> Result<TcpStream, String> {
    match timeout(DIAL, TcpStream::connect((to.host.as_str(), to.port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err("timed out".into()),
    }
}
