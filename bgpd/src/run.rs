//! The loop that owns the [`Speaker`]: what happens goes in, what is to be done is done.
//!
//! One task, one thread: nothing here waits for anything but the next event. Dials, the kernel and the
//! API are tasks and threads of their own, joined to the loop by channels; connections are read and
//! written by the loop itself when they are ready.

use crate::api::Ask;
use crate::bfd::Bfd;
use crate::collect::Collect;
use crate::conn::{Conn, Kept};
use crate::intent::Intent;
use crate::keep::Keeper;
use crate::kernel::interfaces::Interfaces;
use crate::kernel::{self, Notice};
use crate::leases::LeaseFiles;
use crate::listen::Listeners;
use crate::marker::Marker;
use crate::neighbours::Neighbours;
use crate::observe::Observer;
use crate::plan::{Plan, Remote};
use crate::poller::{Poller, Ready};
use crate::tcp::{Dial, Input, dial};
use crate::watch::Watchers;
use crate::{show, sockopt, tcp_ao};
use bgp_core::event::{Action, Event, Link};
use bgp_core::report::Report;
use bgp_core::speaker::Speaker;
use bgp_core::types::ConnId;
use bgp_core::view::PeerView;
use mainstay_daemon::{Args, Signal, Signals, Watchdog};
use mainstay_prefix::Prefix;
use mainstay_proto::bgp::v1::{ConfigurationReply, Peer, SessionKeeping, StatusReply};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

/// How often the readers get a turn before a deadline counts: who never stops to send cannot put it
/// off for ever.
const TURNS: usize = 64;
/// What a keeper may take to answer a process that is about to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything the loop owns.
pub(crate) struct Run {
    pub(crate) args: Args,
    pub(crate) plan: Plan,
    pub(crate) marker: Marker,
    pub(crate) intent: Intent,
    pub(crate) lease_files: LeaseFiles,
    /// Of the configuration in force.
    pub(crate) warnings: Vec<String>,
    /// The file in force.
    pub(crate) text: String,
    pub(crate) speaker: Speaker,
    pub(crate) kernel: kernel::Handle,
    pub(crate) interfaces: Interfaces,
    pub(crate) listeners: Option<Listeners>,
    pub(crate) poller: Rc<Poller>,
    pub(crate) keeper: Keeper,
    pub(crate) bfd: Bfd,
    pub(crate) neighbours: Neighbours,
    pub(crate) collect: Collect,
    /// For the tasks that are started.
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) started: Instant,
    pub(crate) tables: Tables,
}

/// What is open, under way, and left over.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) conns: HashMap<ConnId, Conn>,
    /// With whom, and the task that tries.
    pub(crate) dialling: HashMap<ConnId, (Remote, AbortHandle)>,
    pub(crate) closing: Vec<JoinHandle<()>>,
    accepted: u64,
    observer: Observer,
    pub(crate) watchers: Watchers,
    /// Somebody watches them.
    pub(crate) follows_routes: bool,
    pub(crate) actions: Vec<Action>,
    /// They have something to send, and nobody has looked yet.
    pub(crate) woken: Vec<ConnId>,
    /// Filled and emptied for each batch of messages.
    pub(crate) record: Vec<u8>,
    /// Sessions of the last process that this one goes on with, and that it does not.
    pub(crate) resumed: u64,
    pub(crate) unresumed: u64,
    /// Connections without memory that the keeper could hold.
    pub(crate) unshared: u64,
    /// What the last `Configure` has changed.
    pub(crate) changes: Vec<String>,
    /// The core has done its last.
    left: bool,
}

/// Where events come from.
pub(crate) struct Sources {
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) signals: Signals,
    pub(crate) watchdog: Watchdog,
}

/// Why the loop has ended, all being well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Another process will go on.
    Stopped,
    /// Nobody will.
    Left,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the kernel's routes can no longer be kept: {0}")]
    KernelLost(String),
    #[error("a newer process has taken the sessions (generation {by})")]
    Revoked { by: u64 },
    #[error("sockets can no longer be watched")]
    Poll(#[from] io::Error),
}

impl Run {
    /// Until somebody asks the daemon to stop, or it has left.
    pub(crate) async fn attend(&mut self, from: &mut Sources) -> Result<End, Ended> {
        while !self.tables.left {
            self.watch_paths();
            let shell = self.keeper.deadline().into_iter().chain(self.marker.deadline());
            let shell = shell.chain(self.collect.deadline());
            let due = self
                .speaker
                .deadline()
                .into_iter()
                .chain(shell)
                .min()
                .map(tokio::time::Instant::from_std);
            tokio::select! {
                ready = self.poller.wait() => self.ready(&ready?),
                // Nothing is an event too: the keeper may be lost, and its deadline a new one.
                told = self.keeper.next() => if let Some(told) = told {
                    self.keeper_told(told).map_err(|by| Ended::Revoked { by })?;
                },
                Some(input) = from.inputs.recv() => self.input(input),
                Some(notice) = from.notices.recv() => self.notice(notice)?,
                Some(ask) = from.asks.recv() => self.answer(ask),
                signal = from.signals.next() => match signal {
                    Signal::Stop => return Ok(End::Stopped),
                    Signal::Reload => drop(self.reload()),
                },
                () = from.watchdog.due() => from.watchdog.tell(),
                () = std::future::ready(()), if self.collect.is_busy() => self.collect_turn(),
                () = sleep_until(due) => {
                    self.catch_up()?;
                    self.tell(Event::Due);
                    self.look_for_keeper();
                    self.collect_due();
                    if self.marker.look(Instant::now()) {
                        tracing::info!("the disk has taken the restart marker");
                    }
                }
            }
        }
        Ok(End::Left)
    }

    /// Whatever has arrived before a deadline counts before it: a process that was held up for a
    /// while must not find its peers silent while their messages wait in the socket.
    fn catch_up(&mut self) -> io::Result<()> {
        for _ in 0..TURNS {
            let mut ready: Vec<Ready> = self.poller.now()?;
            ready.retain(|r| r.read);
            if ready.is_empty() {
                break;
            }
            self.ready(&ready);
        }
        Ok(())
    }

    fn look_for_keeper(&mut self) {
        if self.keeper.deadline().is_some_and(|at| at <= Instant::now())
            && let Some(attached) = self.keeper.look()
        {
            self.keeper_back(attached);
            self.hold_nothing_unless_wanted();
        }
    }

    /// Leaves held sessions to the keeper, closes the others silently, and waits for what is still
    /// being sent.
    pub(crate) async fn stop(mut self) {
        self.listeners = None;
        self.hear_the_keeper_out().await;
        let held = |(id, conn): (&ConnId, &Conn)| conn.kept.session().map(|_| *id);
        let held: Vec<ConnId> = self.tables.conns.iter().filter_map(held).collect();
        for conn in &held {
            self.tell(Event::Left { conn: *conn });
            self.tables.conns.remove(conn);
        }
        if !held.is_empty() {
            tracing::info!(sessions = held.len(), "left to the keeper");
        }
        self.tell(Event::Stop);
        self.collect_stop().await;
        for (_, (_, task)) in self.tables.dialling.drain() {
            task.abort();
        }
        for closing in self.tables.closing {
            let _ = closing.await;
        }
        let kernel = self.kernel;
        let _ = tokio::task::spawn_blocking(move || kernel.stop()).await;
    }

    /// A session that was handed over just now is held as soon as the keeper has said so.
    async fn hear_the_keeper_out(&mut self) {
        let until = tokio::time::Instant::now() + PATIENCE;
        let waits = |run: &Self| run.tables.conns.values().any(|conn| conn.kept.is_asked());
        // One that is lost answers nobody.
        while self.keeper.is_there() && waits(self) {
            // It may hang.
            let Ok(told) = tokio::time::timeout_at(until, self.keeper.next()).await else { return };
            if told.is_some_and(|told| self.keeper_told(told).is_err()) {
                return;
            }
        }
    }

    /// One event into the core, and its answer done.
    pub(crate) fn tell(&mut self, event: Event<'_>) {
        let mut actions = std::mem::take(&mut self.tables.actions);
        self.speaker.handle(event, Instant::now(), &mut actions);
        self.carry_out(actions);
        self.pump_woken();
        self.tell_watchers();
    }

    /// Does what the core asks for, and keeps the room it was asked in.
    pub(crate) fn carry_out(&mut self, mut actions: Vec<Action>) {
        self.install(&mut actions);
        actions.drain(..).for_each(|action| self.act(action));
        self.tables.actions = actions;
        self.show_seen();
    }

    /// Routes that one event has changed go to the kernel's side together.
    fn install(&self, actions: &mut Vec<Action>) {
        let routes = actions.extract_if(.., |action| matches!(action, Action::Fib { .. }));
        self.kernel.set_all(routes.filter_map(|action| match action {
            Action::Fib { prefix, next_hops } => Some((prefix, next_hops)),
            _ => None,
        }));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { conn, remote, interface, local, .. } => {
                let way = self.plan.transport.way(&Remote::new(remote.ip(), interface.as_deref()));
                self.dial(Dial { conn, remote, interface, local, way });
            }
            Action::Wake { conn } => self.tables.woken.push(conn),
            Action::Established { conn } => self.keep(conn),
            Action::Close { conn } => {
                if let Some((_, task)) = self.tables.dialling.remove(&conn) {
                    task.abort();
                }
                self.close(conn);
            }
            Action::Fib { prefix, next_hops } => self.kernel.set(prefix, next_hops),
            Action::Report(report) => self.note(report),
        }
    }

    fn note(&mut self, report: Report) {
        self.tables.observer.report(&report, Instant::now());
        self.tables.watchers.report(&report);
        match report {
            Report::LeaseEnded { client, .. } => self.lease_files.remove(&client),
            Report::PeerUp { .. } | Report::PeerResumed { .. } | Report::PeerDown { .. } => {
                self.bfd.changed();
            }
            Report::Reconfigured { changes } => self.tables.changes = changes,
            Report::Left => {
                self.tables.left = true;
                self.leave_paths();
            }
            _ => {}
        }
    }

    fn dial(&mut self, to: Dial) {
        let (conn, remote) = (to.conn, Remote::new(to.remote.ip(), to.interface.as_deref()));
        let task = dial(to, self.interfaces.clone(), self.inputs.clone());
        self.tables.dialling.insert(conn, (remote, task));
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Accepted { stream, link, silent } => self.accepted(stream, link, silent),
            Input::Dialled { conn, result } => self.dialled(conn, result),
            Input::Cache { number, state } => self.cache_told(number, *state),
            Input::Link(news) => self.link_told(news),
            Input::Station { number, news } => self.station_told(number, news),
        }
    }

    /// Of connections that the core has not dialled.
    pub(crate) fn new_conn(&mut self) -> ConnId {
        // The top bit is the core's (`ConnId::dialled`).
        self.tables.accepted += 1;
        ConnId(self.tables.accepted)
    }

    fn accepted(&mut self, stream: TcpStream, link: Link, silent: OwnedSemaphorePermit) {
        let conn = self.new_conn();
        let ip = link.remote.ip();
        let way = self.plan.transport.way(&Remote::from(&link));
        if let Err(error) = sockopt::set_hops(&stream, ip.is_ipv4(), way.ttl, way.least_ttl) {
            tracing::debug!(remote = %ip, %error, "gone before it was taken in");
            return;
        }
        // It may have come before its address was known to belong to who has to sign: nothing more of
        // it is heard then.
        let signed = |key| sockopt::set_md5(&stream, Prefix::host(ip), Some(key));
        if let Some(Err(error)) = way.key.as_ref().map(signed) {
            tracing::warn!(remote = %ip, %error, "connection refused: its key cannot be set");
            return;
        }
        if !way.ao.is_empty()
            && let Err(error) = tcp_ao::check(&stream)
        {
            tracing::warn!(remote = %ip, %error, "connection refused: the peer has tcp_ao");
            return;
        }
        if self.begin(conn, stream, &link, Some(silent)) {
            self.tell(Event::Accepted { conn, link });
        }
    }

    fn dialled(&mut self, conn: ConnId, result: Result<(TcpStream, Link), String>) {
        if self.tables.dialling.remove(&conn).is_none() {
            return;
        }
        match result {
            Ok((stream, link)) => {
                if self.begin(conn, stream, &link, None) {
                    self.tell(Event::Connected { conn, link });
                } else {
                    self.tell(Event::ConnectFailed { conn, why: "no resources".into() });
                }
            }
            Err(why) => self.tell(Event::ConnectFailed { conn, why }),
        }
    }

    /// A fresh connection; false: there are not the means to have it.
    fn begin(
        &mut self,
        id: ConnId,
        stream: TcpStream,
        link: &Link,
        silent: Option<OwnedSemaphorePermit>,
    ) -> bool {
        let opened = stream.into_std().and_then(|s| self.open(id, s.into(), link));
        match opened {
            Ok(conn) => {
                conn.set_silent(silent);
                true
            }
            Err(error) => {
                tracing::warn!(remote = %link.remote, %error, "a connection cannot be had");
                false
            }
        }
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Ended> {
        match notice {
            Notice::Blocks(blocks) => {
                tracing::info!(blocks = blocks.len(), "address blocks of this node have changed");
                self.tell(Event::Blocks(blocks));
            }
            Notice::LeftOut(hops) => {
                crate::observe::left_out(&hops);
                self.tell(Event::FibLeftOut(hops));
            }
            Notice::Refused { prefix, why } => self.tell(Event::FibFailed { prefix, why }),
            Notice::Broken(why) => return Err(Ended::KernelLost(why)),
        }
        Ok(())
    }

    /// Whoever asked may be gone by now.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Status(to) => drop(to.send(self.status())),
            Ask::Peers(to) => drop(to.send(self.peers())),
            Ask::Resolve { mut query, to } => {
                let resolved = self.speaker.resolve(&mut query);
                drop(to.send(resolved.map(|()| query)));
            }
            Ask::Scan { query, mut scan, steps, to } => {
                let prefixes = self.speaker.scan(&query, &mut scan, steps);
                drop(to.send((scan, prefixes)));
            }
            Ask::Look { query, prefixes, to } => {
                drop(to.send(self.speaker.look(&query, &prefixes, Instant::now())));
            }
            Ask::Explain { prefix, to } => {
                let explanation = self.speaker.explain(prefix, Instant::now());
                drop(to.send(show::explanation(explanation)));
            }
            Ask::Try { of, to } => drop(to.send(self.speaker.try_policy(&of, Instant::now()))),
            other => self.answer_order(other),
        }
    }

    fn answer_order(&mut self, ask: Ask) {
        match ask {
            Ask::Watch { wanted, to } => drop(to.send(self.watch(wanted))),
            Ask::Reset { peer, how, to } => drop(to.send(self.reset(&peer, &how))),
            Ask::Inject { asked, to } => drop(to.send(self.inject(*asked))),
            Ask::Hold { client, to } => drop(to.send(self.hold_lease(&client))),
            Ask::LetRun { client } => self.let_lease_run(&client),
            Ask::Release { client, to } => drop(to.send(self.release_lease(&client))),
            Ask::Leases { client, routes, to } => {
                drop(to.send(self.leases(client.as_deref(), routes)));
            }
            Ask::Reload(to) => drop(to.send(self.reload())),
            Ask::Drain { wait, on, to } => drop(to.send(self.drain(wait, on))),
            Ask::Undrain { by, to } => drop(to.send(self.undrain(by))),
            Ask::Leave { wait, to } => drop(to.send(self.leave(wait))),
            Ask::Configuration(to) => drop(to.send(self.configuration())),
            Ask::Rpki { about, to } => drop(to.send(self.rpki(about))),
            Ask::Outlets(to) => drop(to.send(self.outlets())),
            Ask::Dump { dump, to } => drop(to.send(self.dump(dump))),
            // The others only ask.
            _ => {}
        }
    }

    fn configuration(&self) -> ConfigurationReply {
        ConfigurationReply {
            node: self.args.node_name(),
            file: self.args.config.display().to_string(),
            text: self.text.clone(),
        }
    }

    fn peers(&self) -> Vec<Peer> {
        let with_survival = |view: PeerView| {
            let conn = self.speaker.connection(view.id).and_then(|c| self.tables.conns.get(&c));
            let survival = conn.map(|c| self.survival(c)).unwrap_or_default();
            let bfd = self.bfd_of(&Remote::new(view.address, view.interface.as_deref()));
            Peer { bfd, ..show::peer(view, survival) }
        };
        self.speaker.peers(Instant::now()).into_iter().map(with_survival).collect()
    }

    /// How a session would survive the end of this process.
    fn survival(&self, conn: &Conn) -> String {
        match (&conn.kept, self.keeper.problem()) {
            (Kept::Held { .. }, Some(problem)) => format!("graceful-restart: no keeper: {problem}"),
            (kept, _) => kept.to_string(),
        }
    }

    fn keeping(&self) -> SessionKeeping {
        SessionKeeping {
            connected: self.keeper.is_there(),
            problem: self.keeper.problem().unwrap_or_default().into(),
            held: u32::try_from(self.keeper.held()).unwrap_or(u32::MAX),
            resumed: self.tables.resumed,
            lost: self.tables.unresumed,
            unshared: self.tables.unshared,
        }
    }

    pub(crate) fn all_warnings(&self) -> Vec<String> {
        let written = self.warnings.iter().chain(&self.plan.warnings).cloned();
        let kept = self.marker.warning().into_iter().chain(self.lease_files.warning());
        let shell = self.bfd_warnings().into_iter().chain(self.neighbour_warnings()).chain(kept);
        written.chain(shell).chain(self.collect.mrt.warnings()).collect()
    }

    fn status(&self) -> StatusReply {
        let mut status = show::status(self.speaker.overview());
        let of_speaker = std::mem::take(&mut status.warnings);
        if let Some(fib) = &mut status.fib {
            fib.table = self.plan.target.table;
        }
        let listeners = self.listeners.iter().flat_map(Listeners::addresses);
        StatusReply {
            node: self.args.node_name(),
            version: mainstay_daemon::VERSION.into(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            listen: listeners.map(|at| at.to_string()).collect(),
            survival: if self.keeper.is_there() { "tier0" } else { "graceful-restart" }.into(),
            keeper: Some(self.keeping()),
            warnings: self.all_warnings().into_iter().chain(of_speaker).collect(),
            intent: self.speaker.intent().into(),
            ..status
        }
    }
}

pub(crate) async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
