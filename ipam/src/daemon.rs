//! What the sockets' requests are put to: the table, behind its lock, and the committer.
//!
//! Records are handed to the committer while the table is locked, so that they reach the disk in
//! the order of the decisions. No lock is held while anything waits.

use crate::committer::{Committer, Stopped};
use crate::history::History;
use crate::netns;
use crate::observe::{Counted, Counters};
use crate::room::Room;
use crate::routes::Standing;
use crate::settings::settings;
use crate::spool::Spool;
use crate::time::Clocks;
use ipam_core::{
    Add, AddError, Alive, Attachment, CheckError, Effects, Grant, Ipam, Leased, Now, PoolView,
    Record, Report,
};
use mainstay_config::{Gc, Mode};
use mainstay_daemon::{Args, LoadError};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, mpsc};

pub(crate) struct Daemon {
    pub(crate) args: Args,
    pub(crate) clocks: Clocks,
    pub(crate) started: Instant,
    /// The store's engine, for people.
    pub(crate) engine: &'static str,
    pub(crate) room: Arc<Room>,
    pub(crate) standing: Standing,
    /// Which blocks need a route may have changed.
    pub(crate) blocks_changed: Notify,
    pub(crate) spool: Spool,
    pub(crate) history: History,
    /// Somebody has asked for a look for leaked leases.
    pub(crate) gc_wanted: Notify,
    pub(crate) counters: Counters,
    state: Mutex<State>,
    /// Addresses whose neighbour entries are of the past.
    released: mpsc::UnboundedSender<IpAddr>,
}

pub(crate) struct State {
    pub(crate) ipam: Ipam,
    /// Of the configuration in force.
    pub(crate) warnings: Vec<String>,
    pub(crate) gc: Gc,
    committer: Committer,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AddFailed {
    #[error(transparent)]
    Refused(#[from] AddError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("network.mode is none: stop mainstay-ipamd on this node instead; nothing has changed")]
    NotNeeded,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Resolves once what was decided is durable.
pub(crate) type Durable = Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send>>;

/// What a reload did.
pub(crate) struct Reloaded {
    pub(crate) changes: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Daemon {
    pub(crate) fn new(
        (args, clocks): (Args, Clocks),
        (ipam, gc, warnings): (Ipam, Gc, Vec<String>),
        (committer, engine, room): (Committer, &'static str, Arc<Room>),
        (released, spool, history): (mpsc::UnboundedSender<IpAddr>, Spool, History),
    ) -> Self {
        Self {
            args,
            clocks,
            started: Instant::now(),
            engine,
            room,
            standing: Standing::default(),
            blocks_changed: Notify::new(),
            spool,
            history,
            gc_wanted: Notify::new(),
            counters: Counters::default(),
            state: Mutex::new(State { ipam, warnings, gc, committer }),
            released,
        }
    }

    /// The table, locked: for a short look.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic ends the process (see `main`), so nobody ever sees a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        self.clocks.now()
    }

    pub(crate) fn counted(&self) -> Counted {
        self.counters.read()
    }

    /// Answers once the lease is durable.
    pub(crate) async fn add(&self, add: Add) -> Result<Vec<Grant>, AddFailed> {
        let result = self.try_add(add).await;
        if result.is_err() {
            self.counters.add_failed();
        }
        result
    }

    async fn try_add(&self, mut add: Add) -> Result<Vec<Grant>, AddFailed> {
        // The lock is not held while the file system is asked; a lease that changes hands meanwhile
        // has another number.
        let rivals = self.state().ipam.rivals(&add);
        add.rivals_gone = netns::gone(&rivals, &add.netns);
        let (grants, out, durable) = {
            let mut state = self.state();
            let mut out = Effects::default();
            let grants = state.ipam.add(&add, self.now(), &mut out)?;
            let records = std::mem::take(&mut out.records);
            (grants, out, state.committer.durable(records))
        };
        durable.await?;
        self.counters.added(&out.reports);
        self.history.tell(out.reports);
        Ok(grants)
    }

    /// Answers at once; a DEL that a crash undoes only prolongs the hold.
    pub(crate) fn del(&self, attachment: &Attachment) -> Result<(), Stopped> {
        self.counters.deleted();
        self.change(|ipam, now, out| ipam.del(attachment, now, out))
    }

    /// Of those that a runtime's list leaves out, with what shows them alive.
    pub(crate) fn gc(&self, left_out: &[(Leased, Option<Alive>)]) -> Result<(), Stopped> {
        self.change(|ipam, now, out| ipam.gc(left_out, now, out))
    }

    /// What has leaked, and is still what was looked at.
    pub(crate) fn release_leaked(&self, lease: &Leased) -> Result<(), Stopped> {
        self.counters.released_leaked();
        self.change(|ipam, now, out| ipam.release_leaked(lease, now, out))
    }

    pub(crate) fn check(&self, at: &Attachment, expected: &[IpAddr]) -> Result<(), CheckError> {
        self.state().ipam.check(at, expected)
    }

    /// Each minute and before stopping: see [`Ipam::tick`].
    pub(crate) fn tick(&self) -> Result<(), Stopped> {
        self.blocks_changed.notify_one();
        self.change(Ipam::tick)
    }

    /// Whether this node holds any address at all.
    pub(crate) fn can_serve(&self) -> bool {
        self.state().ipam.settings().blocks().next().is_some()
    }

    /// Whether a family this node has addresses of has none free now.
    pub(crate) fn exhausted(&self) -> Option<String> {
        let pools = self.state().ipam.pool_views(self.now());
        [true, false].into_iter().find_map(|ipv4| {
            let here = |pool: &&PoolView| pool.cidr.is_ipv4() == ipv4 && pool.counts.addresses > 0;
            let pools: Vec<_> = pools.iter().filter(here).collect();
            let full = !pools.is_empty() && pools.iter().all(|pool| pool.counts.free == 0);
            full.then(|| pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", "))
        })
    }

    /// Everything decided so far is durable.
    pub(crate) async fn settled(&self) -> Result<(), Stopped> {
        let durable = self.state().committer.durable(Vec::new());
        durable.await
    }

    /// Reads the configuration again; a bad one changes nothing.
    pub(crate) async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let loaded = self.args.load()?;
        if loaded.node.network.mode == Mode::None {
            return Err(ReloadError::NotNeeded);
        }
        let (changes, warnings, durable) = {
            let mut state = self.state();
            let mut out = Effects::default();
            let changes = state.ipam.reconfigure(settings(&loaded.node), self.now(), &mut out);
            state.warnings = loaded.warnings;
            self.history.resize(loaded.node.ipam.history_max_size);
            state.gc = loaded.node.ipam.gc;
            (changes, state.warnings(), state.committer.durable(out.records))
        };
        // Since when a block is here must not be forgotten once anybody relies on it.
        durable.await?;
        self.blocks_changed.notify_one();
        Ok(Reloaded { changes, warnings })
    }

    /// Everything decided so far reaches the disk, nothing more is decided.
    pub(crate) fn close(&self) {
        self.state().committer.close();
    }

    /// Answers once what an operator asked for is durable; an error has changed nothing.
    pub(crate) fn decide<E>(
        &self,
        what: impl FnOnce(&mut Ipam, Now, &mut Effects) -> Result<(), E>,
    ) -> Result<Durable, E> {
        let mut out = Effects::default();
        let durable = {
            let mut state = self.state();
            what(&mut state.ipam, self.now(), &mut out)?;
            Box::pin(state.committer.durable(std::mem::take(&mut out.records)))
        };
        self.tell(out.reports);
        Ok(durable)
    }

    pub(crate) fn change(
        &self,
        what: impl FnOnce(&mut Ipam, Now, &mut Effects),
    ) -> Result<(), Stopped> {
        let mut out = Effects::default();
        {
            let mut state = self.state();
            what(&mut state.ipam, self.now(), &mut out);
            let records: Vec<Record> = std::mem::take(&mut out.records);
            if !records.is_empty() {
                state.committer.soon(records)?;
            }
        }
        self.tell(out.reports);
        Ok(())
    }

    fn tell(&self, reports: Vec<Report>) {
        for report in &reports {
            match report {
                // The task that flushes ends only with the daemon.
                Report::Released { slot, .. } => drop(self.released.send(slot.address)),
                Report::OutlivedGc { .. } => self.counters.outlived_gc(),
                _ => {}
            }
        }
        self.history.tell(reports);
    }
}

impl State {
    /// Of the configuration and of the table.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.iter().cloned().chain(self.ipam.warnings()).collect()
    }
}
