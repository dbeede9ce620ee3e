//! The thread that owns the netlink sockets and the [`Table`].

use super::message::{PROTOCOL_BGP, PROTOCOL_IPAM, TABLE_MAIN, Verb, put_route};
use super::nexthop::put_nexthop;
use super::notes::{GROUP_NEXTHOP, GROUPS, Note, is_block, read};
use super::objects::{Hops, Objects};
use super::socket::{Monitor, Refusal, Requests};
use super::table::{Seen, Settled, Step, Table};
use super::{Found, Hop, OpenError, Target, gateway, hop, installed};
use bgp_core::types::{Gateway, Prefix};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that are thought out together, and about how many octets go in one datagram.
const BATCH: usize = 512;
const DATAGRAM: usize = 64 * 1024;
/// Events within this time are answered by one look.
const SETTLE: Duration = Duration::from_millis(50);

/// What the worker has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// All address blocks of this node.
    Blocks(BTreeSet<Prefix>),
    /// A wanted route is not in the kernel.
    Refused { prefix: Prefix, why: String },
    /// The next hops that routes over several have to do without for now, and why.
    LeftOut(BTreeMap<Gateway, String>),
    /// The worker has ended; the text says why.
    Broken(String),
}

/// Tells the worker what is wanted. Never blocks: the last word on a prefix counts.
#[derive(Debug)]
pub struct Handle {
    inbox: Arc<Inbox>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Inbox {
    wanted: Mutex<Wanted>,
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Wanted {
    routes: HashMap<Prefix, Option<Arc<[Gateway]>>>,
    stop: bool,
}

impl Handle {
    pub fn set(&self, prefix: Prefix, next_hops: Option<Arc<[Gateway]>>) {
        self.set_all([(prefix, next_hops)]);
    }

    /// What is told together is weighed together: the many routes of a peer that is gone move by
    /// one message.
    pub fn set_all(&self, routes: impl IntoIterator<Item = (Prefix, Option<Arc<[Gateway]>>)>) {
        let mut wanted = self.inbox.lock();
        let idle = wanted.routes.is_empty();
        wanted.routes.extend(routes);
        let wake = idle && !wanted.routes.is_empty();
        drop(wanted);
        if wake {
            self.inbox.wake();
        }
    }

    /// Lets the worker do what it has been told, and ends it; the routes stay.
    pub fn stop(mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().stop = true;
        self.wake();
    }

    fn wake(&self) {
        // Fails only when the counter is full: then the worker is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

type Notify = Box<dyn FnMut(Notice) + Send>;

struct Worker {
    target: Target,
    table: Table,
    requests: Requests,
    monitor: Monitor,
    inbox: Arc<Inbox>,
    notify: Notify,
    blocks: BTreeSet<Prefix>,
    left_out: BTreeMap<Gateway, String>,
    due: Due,
    bytes: Vec<u8>,
}

/// What is to be done, and from when on.
#[derive(Debug, Default)]
struct Due {
    blocks: Option<Instant>,
    retry: Option<Instant>,
    resync: Option<Instant>,
    /// Looking is dear in a large table: not again before this.
    rested: Option<Instant>,
    /// Events are lost: blocks have to be read anew as well.
    overrun: bool,
}

pub(super) fn start(target: Target, notify: Notify) -> Result<(Handle, Found), OpenError> {
    let fail = |what| move |source| OpenError { what, source };
    let mut requests = Requests::open().map_err(fail("reach the kernel"))?;
    // Listen first, then look: what changes in between is heard.
    let mut monitor = Monitor::open(&GROUPS, requests.port()).map_err(fail("watch routes"))?;
    let objects = objects(&target, &mut requests).map_err(fail("read the nexthop objects"))?;
    if objects.is_some() {
        monitor.join(GROUP_NEXTHOP).map_err(fail("watch nexthop objects"))?;
    }
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|e| fail("make an eventfd to work")(e.into()))?;
    let inbox = Arc::new(Inbox { wanted: Mutex::default(), wake });
    let mut worker = Worker {
        table: Table::new(target.table, target.metric, objects),
        target,
        requests,
        monitor,
        inbox: Arc::clone(&inbox),
        notify,
        blocks: BTreeSet::new(),
        left_out: BTreeMap::new(),
        due: Due::default(),
        bytes: Vec::new(),
    };
    worker.blocks = worker.read_blocks().map_err(fail("read the address blocks"))?;
    let seen = worker.read_table().map_err(fail("read the routes of bgp.fib.table"))?;
    let from = &worker.target.adopt;
    let inherited = seen.routes.iter().filter(|r| from.contains(&r.protocol)).count();
    let adopted = worker.table.adopt(seen, from);
    let found = Found {
        inherited,
        installed: adopted.into_iter().map(installed).collect(),
        blocks: worker.blocks.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("kernel".into())
        .spawn(move || worker.run())
        .map_err(fail("start a thread to work"))?;
    Ok((Handle { inbox, thread: Some(thread) }, found))
}

/// `None`: every route says for itself where it leads.
fn objects(target: &Target, requests: &mut Requests) -> io::Result<Option<Objects>> {
    if !(target.install && target.objects) || requests.nexthops()?.is_none() {
        return Ok(None);
    }
    let mut used = HashSet::new();
    requests.dump(0, PROTOCOL_BGP, |route| {
        used.extend(route.object.filter(|_| route.table != target.table));
    })?;
    Ok(Some(Objects::new(used)))
}

impl Worker {
    fn run(mut self) {
        if let Err(error) = self.work() {
            (self.notify)(Notice::Broken(error.to_string()));
        }
    }

    /// Until told to stop.
    fn work(&mut self) -> io::Result<()> {
        loop {
            self.hear()?;
            let stop = self.take_wanted();
            self.look()?;
            self.apply()?;
            if stop {
                return self.finish();
            }
            self.wait()?;
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        while !self.table.is_settled() {
            self.look()?;
            self.apply()?;
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        if !self.table.is_settled() {
            return Ok(());
        }
        let timeout = self.due.next().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = [
            PollFd::new(&self.inbox.wake, PollFlags::IN),
            PollFd::new(&self.monitor, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.inbox.wake, &mut count);
        Ok(())
    }

    fn take_wanted(&mut self) -> bool {
        let (routes, stop) = {
            let mut wanted = self.inbox.lock();
            (std::mem::take(&mut wanted.routes), wanted.stop)
        };
        if !self.target.install {
            return stop;
        }
        self.want(routes);
        stop
    }

    fn want(&mut self, routes: HashMap<Prefix, Option<Arc<[Gateway]>>>) {
        let table = &mut self.table;
        // Many routes share few lists.
        let mut known: HashMap<Arc<[Gateway]>, Hops> = HashMap::new();
        let mut changes = Vec::with_capacity(routes.len());
        for (prefix, next_hops) in routes {
            let hops = next_hops.map(|list| {
                let hops = known.entry(list).or_insert_with_key(|list| {
                    let hops: Vec<Hop> = list.iter().map(hop).collect();
                    table.share(&hops)
                });
                Arc::clone(hops)
            });
            changes.push((prefix, hops));
        }
        table.set(changes);
    }

    /// Takes in every event that waits.
    fn hear(&mut self) -> io::Result<()> {
        loop {
            let notes: Vec<Note> = match self.monitor.next() {
                Ok(Some(messages)) => messages.filter_map(|m| read(&m)).collect(),
                Ok(None) => return Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.due.overrun = true;
                    self.due.resync.get_or_insert_with(Instant::now);
                    continue;
                }
                Err(e) => return Err(e),
            };
            notes.into_iter().for_each(|note| self.note(note));
        }
    }

    fn note(&mut self, note: Note) {
        let now = Instant::now();
        let soon = now + SETTLE;
        match note {
            Note::BlockAdded(prefix) if self.blocks.insert(prefix) => {
                self.due.blocks.get_or_insert(soon);
            }
            Note::BlockRemoved(prefix) if self.blocks.remove(&prefix) => {
                self.due.blocks.get_or_insert(soon);
            }
            Note::BlockAdded(_) | Note::BlockRemoved(_) => {}
            Note::Route { route, .. } if self.table.is_touched_by(&route) => {
                self.due.resync.get_or_insert(soon);
            }
            Note::Gained => {
                self.due.retry.get_or_insert(soon);
            }
            // It may lead to a next hop that failed ones wait for; others' routes change often.
            Note::Route { route, there } => {
                if route.table == TABLE_MAIN {
                    self.table.note_link(&route, there);
                }
                self.due.retry.get_or_insert(now + Duration::from_secs(1));
            }
            Note::Lost => {
                self.due.resync.get_or_insert(soon);
            }
        }
    }

    /// Does what has become due: reads anew, retries, tells.
    fn look(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.due.may_resync(now) {
            let overrun = std::mem::take(&mut self.due.overrun);
            let blocks = if overrun { self.read_blocks()? } else { self.blocks.clone() };
            if blocks != self.blocks {
                self.blocks = blocks;
                self.due.blocks = Some(now);
            }
            let dump = self.read_table()?;
            self.table.resync(dump);
            self.table.tidy();
            self.due.resynced(now);
        }
        if self.due.retry.is_some_and(|at| at <= now) {
            self.due.retry = None;
            self.table.retry();
        }
        if self.due.blocks.is_some_and(|at| at <= now) {
            self.due.blocks = None;
            (self.notify)(Notice::Blocks(self.blocks.clone()));
        }
        Ok(())
    }

    fn read_table(&mut self) -> io::Result<Seen> {
        let mut seen = Seen::default();
        if !self.target.install {
            return Ok(seen);
        }
        if self.table.has_objects() {
            seen.objects = self.requests.nexthops()?.unwrap_or_default();
            if self.target.table != TABLE_MAIN {
                let Seen { links, .. } = &mut seen;
                self.requests.dump(TABLE_MAIN, 0, |route| {
                    links.note(&route, true);
                })?;
            }
        }
        let Target { metric, adopt, table, .. } = &self.target;
        self.requests.dump(*table, 0, |route| {
            let ours = route.protocol == PROTOCOL_BGP;
            if *table == TABLE_MAIN {
                seen.links.note(&route, true);
            }
            if !ours || route.metric != *metric {
                seen.elsewhere.extend(route.object);
            }
            if ours || adopt.contains(&route.protocol) || route.metric == *metric {
                seen.routes.push(route);
            }
        })?;
        Ok(seen)
    }

    fn read_blocks(&mut self) -> io::Result<BTreeSet<Prefix>> {
        let mut blocks = BTreeSet::new();
        self.requests.dump(TABLE_MAIN, PROTOCOL_IPAM, |route| {
            if is_block(&route) {
                blocks.insert(route.prefix);
            }
        })?;
        Ok(blocks)
    }

    /// Brings the kernel one batch nearer to what is wanted.
    fn apply(&mut self) -> io::Result<()> {
        let mut steps = self.table.steps(BATCH);
        steps.retain(|step| match step {
            Step::Blocked { prefix, protocol } => {
                let why = format!("a route of protocol {} is in the way", name(*protocol));
                (self.notify)(Notice::Refused { prefix: *prefix, why });
                false
            }
            _ => true,
        });
        let mut rest = steps.as_slice();
        while !rest.is_empty() {
            rest = self.send(rest)?;
        }
        if self.table.is_settled() {
            self.tell_left_out();
        }
        Ok(())
    }

    /// One datagram full; what is left is answered.
    fn send<'a>(&mut self, steps: &'a [Step]) -> io::Result<&'a [Step]> {
        let first = self.requests.numbers(u32::try_from(steps.len()).unwrap_or_default());
        let table = self.table.id();
        let mut starts = Vec::with_capacity(steps.len());
        self.bytes.clear();
        for (step, seq) in steps.iter().zip(first..) {
            if self.bytes.len() > DATAGRAM {
                break;
            }
            starts.push(self.bytes.len());
            match step {
                Step::Do(op) => {
                    let key = (op.prefix, table, op.metric, op.protocol);
                    put_route(&mut self.bytes, seq, op.verb, key, &op.way);
                }
                Step::Object(op) => put_nexthop(&mut self.bytes, seq, op),
                Step::Blocked { .. } => {}
            }
        }
        let (sent, rest) = steps.split_at(starts.len());
        let mut refused = self.requests.batch(&mut self.bytes, &starts, first)?;
        for (place, step) in sent.iter().enumerate() {
            self.settle(step, refused.remove(&place));
        }
        Ok(rest)
    }

    fn settle(&mut self, step: &Step, refusal: Option<Refusal>) {
        let (settled, prefix, verb) = match step {
            Step::Do(op) => (self.table.settle(op, refusal), op.prefix, op.verb),
            Step::Object(op) => {
                if self.table.settle_object(op, refusal.as_ref()) == Settled::LookAgain {
                    self.due.now();
                }
                return;
            }
            Step::Blocked { .. } => return,
        };
        match settled {
            Settled::Done => {}
            Settled::LookAgain => self.due.now(),
            Settled::Failed(why) => {
                let verb = if verb == Verb::Delete { "not removed: " } else { "" };
                (self.notify)(Notice::Refused { prefix, why: format!("{verb}{why}") });
            }
        }
    }

    fn tell_left_out(&mut self) {
        let left_out = self.table.left_out().into_iter();
        let left_out = left_out.map(|(hop, why)| (gateway(&hop), why)).collect();
        if left_out != self.left_out {
            self.left_out.clone_from(&left_out);
            (self.notify)(Notice::LeftOut(left_out));
        }
    }
}

impl Due {
    fn next(&self) -> Option<Instant> {
        let resync = self.resync.map(|at| self.rested.map_or(at, |rested| at.max(rested)));
        [self.blocks, self.retry, resync].into_iter().flatten().min()
    }

    fn may_resync(&self, now: Instant) -> bool {
        self.resync.is_some_and(|at| at <= now) && self.rested.is_none_or(|at| at <= now)
    }

    /// A collision was met: what waits for it waits only once.
    fn now(&mut self) {
        self.resync = Some(Instant::now());
        self.rested = None;
    }

    /// Rests twenty times as long as the look has taken.
    fn resynced(&mut self, began: Instant) {
        self.resync = None;
        self.rested = Some(Instant::now() + 20 * began.elapsed());
    }
}

/// As iproute2 writes it.
fn name(protocol: u8) -> String {
    let known = match protocol {
        2 => "kernel",
        3 => "boot",
        4 => "static",
        9 => "ra",
        11 => "zebra",
        12 => "bird",
        16 => "dhcp",
        18 => "keepalived",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        PROTOCOL_IPAM => "mainstay-ipam",
        _ => return protocol.to_string(),
    };
    known.to_owned()
}
