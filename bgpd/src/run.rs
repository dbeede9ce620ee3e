//! The loop that owns the [`Speaker`]: what happens goes in, what is to be done is done.
//!
//! One task, one thread: nothing here waits for anything but the next event. Connections, dials,
//! the kernel and the API are tasks and threads of their own, joined to the loop by channels.

use crate::api::Ask;
use crate::kernel::interfaces::Interfaces;
use crate::kernel::{self, Notice};
use crate::listen::Listeners;
use crate::observe::Observer;
use crate::plan::Plan;
use crate::tcp::{CHUNK, Conn, Dial, Input, dial};
use crate::{show, sockopt};
use bgp_core::event::{Action, Event, Link};
use bgp_core::report::Report;
use bgp_core::speaker::Speaker;
use bgp_core::types::ConnId;
use mainstay_daemon::{Args, Signal, Signals};
use mainstay_proto::bgp::v1::StatusReply;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

/// What a connection that is being closed may still send.
const LAST_WORDS: usize = 1024 * 1024;

/// Connections that end at the same time and may take their time; further strangers may not.
const LEAVING: usize = 256;

/// How often the readers get a turn before a deadline counts: who never stops to send cannot put it
/// off for ever.
const TURNS: usize = 64;

/// Everything the loop owns.
pub(crate) struct Run {
    pub(crate) args: Args,
    pub(crate) plan: Plan,
    /// Of the configuration in force.
    pub(crate) warnings: Vec<String>,
    pub(crate) speaker: Speaker,
    pub(crate) kernel: kernel::Handle,
    pub(crate) interfaces: Interfaces,
    pub(crate) listeners: Option<Listeners>,
    /// For the tasks that are started.
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) started: Instant,
    pub(crate) tables: Tables,
}

/// What is open, under way, and left over.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) conns: HashMap<ConnId, Conn>,
    dialling: HashMap<ConnId, AbortHandle>,
    closing: Vec<JoinHandle<()>>,
    accepted: u64,
    observer: Observer,
    actions: Vec<Action>,
    /// What the last `Configure` has changed.
    pub(crate) changes: Vec<String>,
}

/// Where events come from.
pub(crate) struct Sources {
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) signals: Signals,
}

#[derive(Debug, thiserror::Error)]
#[error("the kernel's routes can no longer be kept: {0}")]
pub(crate) struct KernelLost(String);

impl Run {
    /// Until somebody asks the daemon to stop.
    pub(crate) async fn attend(&mut self, from: &mut Sources) -> Result<(), KernelLost> {
        loop {
            let due = self.speaker.deadline().map(tokio::time::Instant::from_std);
            tokio::select! {
                Some(input) = from.inputs.recv() => self.input(input),
                Some(notice) = from.notices.recv() => self.notice(notice)?,
                Some(ask) = from.asks.recv() => self.answer(ask),
                signal = from.signals.next() => match signal {
                    Signal::Stop => return Ok(()),
                    Signal::Reload => drop(self.reload()),
                },
                () = sleep_until(due) => {
                    self.catch_up(&mut from.inputs).await;
                    self.tell(Event::Due);
                }
            }
        }
    }

    /// Whatever has arrived before a deadline counts before it: a process that was held up for a
    /// while must not find its peers silent while their messages wait in the socket.
    async fn catch_up(&mut self, inputs: &mut mpsc::Receiver<Input>) {
        let mut idle = 0;
        for _ in 0..TURNS {
            // One turn looks at the sockets, the next one lets the readers read; the channel has
            // room for a few of them at a time.
            tokio::task::yield_now().await;
            idle += 1;
            while let Ok(input) = inputs.try_recv() {
                idle = 0;
                self.input(input);
            }
            if idle == 2 {
                return;
            }
        }
    }

    /// Closes every connection silently, and waits for what is still being sent.
    pub(crate) async fn stop(mut self) {
        self.listeners = None;
        self.tell(Event::Stop);
        for (_, task) in self.tables.dialling.drain() {
            task.abort();
        }
        for closing in self.tables.closing {
            let _ = closing.await;
        }
        let kernel = self.kernel;
        let _ = tokio::task::spawn_blocking(move || kernel.stop()).await;
    }

    /// One event into the core, and its answer done.
    pub(crate) fn tell(&mut self, event: Event<'_>) {
        let mut actions = std::mem::take(&mut self.tables.actions);
        self.speaker.handle(event, Instant::now(), &mut actions);
        actions.drain(..).for_each(|action| self.act(action));
        self.tables.actions = actions;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { conn, remote, local, .. } => self.dial(conn, remote, local),
            Action::Wake { conn } => self.pump(conn),
            Action::Established { .. } => {}
            Action::Close { conn } => self.close(conn),
            Action::Fib { prefix, next_hops } => self.kernel.set(prefix, next_hops),
            Action::Report(report) => self.note(report),
        }
    }

    fn note(&mut self, report: Report) {
        self.tables.observer.report(&report, Instant::now());
        if let Report::Reconfigured { changes } = report {
            self.tables.changes = changes;
        }
    }

    fn dial(&mut self, conn: ConnId, remote: SocketAddr, local: Option<IpAddr>) {
        let way = self.plan.transport.way(remote.ip());
        let to = Dial { conn, remote, local, way };
        let task = dial(to, self.interfaces.clone(), self.inputs.clone());
        self.tables.dialling.insert(conn, task);
    }

    /// Fills the writer's buffer while it has none.
    fn pump(&mut self, id: ConnId) {
        let Some(conn) = self.tables.conns.get_mut(&id) else { return };
        let Some(mut buffer) = conn.buffer() else { return };
        // When more is left, the writer comes back for it with the empty buffer.
        self.speaker.pull(id, Instant::now(), CHUNK, &mut buffer);
        conn.send(buffer);
    }

    fn close(&mut self, id: ConnId) {
        if let Some(task) = self.tables.dialling.remove(&id) {
            task.abort();
        }
        let Some(conn) = self.tables.conns.remove(&id) else { return };
        let mut last = Vec::new();
        while self.speaker.pull(id, Instant::now(), CHUNK, &mut last) && last.len() < LAST_WORDS {}
        self.tables.closing.retain(|task| !task.is_finished());
        if conn.is_silent() && self.tables.closing.len() >= LEAVING {
            return conn.abandon();
        }
        self.tables.closing.push(conn.finish(last));
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Accepted { stream, link, silent } => self.accepted(stream, link, silent),
            Input::Dialled { conn, result } => self.dialled(conn, result),
            Input::Received { conn, bytes } => {
                let Some(open) = self.tables.conns.get_mut(&conn) else { return };
                open.heard();
                self.tell(Event::Received { conn, bytes: &bytes });
            }
            Input::Sent { conn, buffer } => {
                if let Some(open) = self.tables.conns.get_mut(&conn) {
                    open.sent(buffer);
                    self.pump(conn);
                }
            }
            Input::Closed { conn, why } => {
                if let Some(open) = self.tables.conns.remove(&conn) {
                    open.abandon();
                    self.tell(Event::Closed { conn, why });
                }
            }
        }
    }

    fn accepted(&mut self, stream: TcpStream, link: Link, silent: OwnedSemaphorePermit) {
        // The top bit is the core's (`ConnId::dialled`).
        self.tables.accepted += 1;
        let conn = ConnId(self.tables.accepted);
        let ip = link.remote.ip();
        if let Some(ttl) = self.plan.transport.way(ip).ttl
            && let Err(error) = sockopt::set_ttl(&stream, ip.is_ipv4(), ttl)
        {
            tracing::debug!(remote = %ip, %error, "gone before it was taken in");
            return;
        }
        self.open(conn, stream, &link, Some(silent));
        self.tell(Event::Accepted { conn, link });
    }

    fn dialled(&mut self, conn: ConnId, result: Result<(TcpStream, Link), String>) {
        if self.tables.dialling.remove(&conn).is_none() {
            return;
        }
        match result {
            Ok((stream, link)) => {
                self.open(conn, stream, &link, None);
                self.tell(Event::Connected { conn, link });
            }
            Err(why) => self.tell(Event::ConnectFailed { conn, why }),
        }
    }

    fn open(
        &mut self,
        id: ConnId,
        stream: TcpStream,
        link: &Link,
        silent: Option<OwnedSemaphorePermit>,
    ) {
        let remote = link.remote.ip();
        if matches!(remote, IpAddr::V6(a) if a.is_unicast_link_local()) {
            // Its interface may have another number than when we started.
            self.kernel.set_scopes(self.plan.transport.scopes());
        }
        let conn = Conn::start(id, stream, remote, silent, self.inputs.clone());
        self.tables.conns.insert(id, conn);
    }

    fn notice(&mut self, notice: Notice) -> Result<(), KernelLost> {
        match notice {
            Notice::Blocks(blocks) => {
                tracing::info!(blocks = blocks.len(), "address blocks of this node have changed");
                self.tell(Event::Blocks(blocks));
            }
            Notice::Refused { prefix, why } => self.tell(Event::FibFailed { prefix, why }),
            Notice::Broken(why) => return Err(KernelLost(why)),
        }
        Ok(())
    }

    /// Whoever asked may be gone by now.
    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Status(to) => drop(to.send(self.status())),
            Ask::Peers(to) => drop(to.send(self.speaker.peers(Instant::now()))),
            Ask::Routes { query, after, limit, to } => {
                let known = query.peer.as_ref().is_none_or(|p| self.speaker.find_peer(p).is_some());
                let page = || self.speaker.routes(&query, after, limit, Instant::now());
                drop(to.send(known.then(page)));
            }
            Ask::Reload(to) => drop(to.send(self.reload())),
        }
    }

    fn status(&self) -> StatusReply {
        let mut status = show::status(self.speaker.overview());
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
            survival: "graceful-restart".into(),
            warnings: self.warnings.iter().chain(&self.plan.warnings).cloned().collect(),
            ..status
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
