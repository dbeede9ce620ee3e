//! RPKI caches: a task for each, and which of them counts.
//!
//! All are asked all the time, so that another one takes over at once. Of those with an answer one
//! that is up goes before one that is away, then the lower preference.

use super::vrps::{Kept, VrpFile};
use super::{Side, connect};
use crate::run::Run;
use crate::tcp::{Input, words};
use bgp_core::event::Event;
use bgp_core::rpki::Table;
use bgp_core::rpki::client::{Client, Outcome, Times};
use mainstay_config::RpkiServer;
use mainstay_prefix::Prefix;
use mainstay_proto::collect::v1 as proto;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// A node that has just come up is not to wait ten minutes for a cache that comes up as well.
const SOON: Duration = Duration::from_secs(10);
const CHUNK: usize = 64 * 1024;

/// Those of the configuration, in its order, the best first.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    caches: Vec<Cache>,
    file: Option<VrpFile>,
    /// What an earlier process was told last; it counts until a cache answers, or it expires.
    kept: Option<Kept>,
    /// Numbers the tasks, so that one that has ended is not heard any more.
    started: u64,
}

#[derive(Debug)]
struct Cache {
    server: RpkiServer,
    number: u64,
    task: AbortHandle,
    state: CacheState,
}

/// What a cache's task tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheState {
    table: Arc<Table>,
    connected: bool,
    version: u8,
    state: Option<(u16, u32)>,
    fresh: Option<Instant>,
    expire: Duration,
    updates: u64,
    last_error: Option<String>,
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Caches {
    /// Takes up what an earlier process has left, where one of `servers` has said so, and keeps
    /// answers there from now on.
    pub(crate) fn keep_in(&mut self, state: &Path, here: &str, servers: &[RpkiServer]) {
        let (file, kept) = VrpFile::read(state, here);
        let is_asked = |kept: &Kept| servers.iter().any(|s| s.address.to_string() == kept.server);
        self.file = Some(file);
        self.kept = kept.filter(is_asked);
        if let Some(kept) = &self.kept {
            let vrps = kept.table.len();
            tracing::info!(
                vrps,
                cache = kept.server,
                "what an RPKI cache has said goes on to count"
            );
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.kept.as_ref().map(|kept| kept.until)
    }

    /// Whether what was kept has just expired.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let over = self.kept.take_if(|kept| kept.until <= now).is_some();
        if over {
            tracing::warn!("RPKI: what a cache has said before the restart has expired");
        }
        over
    }

    /// Keeps those that stay as they are.
    pub(crate) fn configure(
        &mut self,
        servers: &[RpkiServer],
        side: Option<&Side>,
        to: &mpsc::Sender<Input>,
    ) {
        let asks = |address: &str| servers.iter().any(|s| s.address.to_string() == address);
        self.kept.take_if(|kept| !asks(&kept.server));
        let mut old = std::mem::take(&mut self.caches);
        for server in servers {
            let same = old.iter().position(|cache| cache.server == *server);
            let kept = same.map(|at| old.swap_remove(at));
            let new = || {
                self.started += 1;
                let (number, state) = (self.started, CacheState::default());
                let task = side?.handle().spawn(attend(number, server.clone(), to.clone()));
                Some(Cache { server: server.clone(), number, task: task.abort_handle(), state })
            };
            self.caches.extend(kept.or_else(new));
        }
    }

    /// Something has changed at a cache; false: it is none of ours any more.
    fn told(&mut self, number: u64, state: CacheState) -> bool {
        let Some(cache) = self.caches.iter_mut().find(|c| c.number == number) else {
            return false;
        };
        note(&cache.server, &cache.state, &state);
        cache.state = state;
        self.keep_used();
        true
    }

    fn used(&self) -> Option<&Cache> {
        let answered = self.caches.iter().filter(|c| c.state.fresh.is_some());
        answered.min_by_key(|c| (!c.state.connected, c.server.preference))
    }

    /// What counts now.
    fn table(&self) -> Arc<Table> {
        let kept = self.kept.as_ref().map(|kept| &kept.table);
        let table = self.used().map(|cache| &cache.state.table).or(kept);
        table.map(Arc::clone).unwrap_or_default()
    }

    fn keep_used(&mut self) {
        let Some(used) = self.used().map(|cache| (cache.server.address.to_string(), &cache.state))
        else {
            return;
        };
        let (server, CacheState { table, fresh: Some(fresh), expire, .. }) = used else { return };
        let (table, age) = (Arc::clone(table), (*fresh, *expire));
        self.kept = None;
        if let Some(file) = &mut self.file {
            file.keep(&server, &table, age);
        }
    }

    fn views(&self, now: Instant) -> Vec<proto::Cache> {
        let used = self.used().map(|c| c.number);
        self.caches.iter().map(|cache| view(cache, used, now)).collect()
    }
}

fn note(server: &RpkiServer, was: &CacheState, is: &CacheState) {
    let cache = &server.address;
    let up = |s: &CacheState| s.connected && s.fresh.is_some();
    if up(is) && !up(was) {
        tracing::info!(%cache, vrps = is.table.len(), version = is.version, "RPKI cache answers");
    } else if is.fresh.is_none() && was.fresh.is_some() {
        tracing::warn!(%cache, "RPKI cache: what it said has expired");
    } else if was.connected && !is.connected {
        let why = is.last_error.as_deref().unwrap_or_default();
        tracing::warn!(%cache, why, "RPKI cache lost; what it said counts until it expires");
    } else if is.last_error != was.last_error
        && let Some(why) = &is.last_error
    {
        tracing::info!(%cache, why, "RPKI cache does not answer yet");
    }
}

fn view(cache: &Cache, used: Option<u64>, now: Instant) -> proto::Cache {
    let state = &cache.state;
    let word = match (state.connected, state.fresh) {
        (true, Some(_)) => "up",
        (true, None) => "connecting",
        (false, Some(_)) => "away",
        (false, None) => "down",
    };
    let (session, serial) = state.state.unwrap_or_default();
    proto::Cache {
        address: cache.server.address.to_string(),
        preference: cache.server.preference,
        state: word.into(),
        used: used == Some(cache.number),
        version: state.version.into(),
        session: session.into(),
        serial,
        vrps: state.table.len() as u64,
        fresh_seconds: state.fresh.map(|at| now.saturating_duration_since(at).as_secs_f64()),
        expire_seconds: state.expire.as_secs_f64(),
        updates: state.updates,
        last_error: state.last_error.clone().unwrap_or_default(),
    }
}

impl Run {
    /// A cache has something new.
    pub(crate) fn cache_told(&mut self, number: u64, state: CacheState) {
        if self.collect.caches.told(number, state) {
            self.judge_by_caches();
        }
    }

    /// Tells the core which answer counts, if it is another one.
    pub(crate) fn judge_by_caches(&mut self) {
        let table = self.collect.caches.table();
        if !Arc::ptr_eq(&table, self.speaker.origins_known()) {
            self.tell(Event::Origins(table));
        }
    }

    pub(crate) fn rpki(&self, about: Option<(Prefix, Option<u32>)>) -> proto::RpkiReply {
        let table = self.speaker.origins_known();
        let vrp = |vrp: bgp_core::rpki::Vrp| proto::Vrp {
            prefix: vrp.prefix.to_string(),
            max_length: vrp.max_len.into(),
            asn: vrp.asn.0,
        };
        let covering = about.map(|(prefix, _)| table.covering_vrps(&prefix).map(vrp).collect());
        let validity = about.and_then(|(prefix, origin)| {
            let origin = bgp_core::types::Asn(origin?);
            Some(table.validity(&prefix, Some(origin)).to_string())
        });
        let counts = |(family, counts): (bgp_core::types::Family, [usize; 3])| {
            let [valid, invalid, not_found] = counts.map(|n| n as u64);
            proto::Validities { family: family.to_string(), valid, invalid, not_found }
        };
        proto::RpkiReply {
            caches: self.collect.caches.views(Instant::now()),
            vrps: table.len() as u64,
            routes: self.speaker.validities().map(counts).into(),
            covering: covering.unwrap_or_default(),
            validity: validity.unwrap_or_default(),
        }
    }
}

/// One cache, for as long as it is configured.
async fn attend(number: u64, server: RpkiServer, to: mpsc::Sender<Input>) {
    let times = Times { refresh: server.refresh, retry: server.retry, expire: server.expire };
    let mut client = Client::new(times);
    let mut teller = Teller { number, to };
    loop {
        match connect(&server.address).await {
            Ok(stream) => converse(&mut client, stream, &mut teller).await,
            Err(why) => client.closed(why),
        }
        teller.tell(&client).await;
        let wait = if client.has_data() { client.retry() } else { client.retry().min(SOON) };
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let due = client.deadline().unwrap_or(until).min(until);
            tokio::time::sleep_until(due.into()).await;
            if client.due(Instant::now(), &mut Vec::new()) == Outcome::Changed {
                teller.tell(&client).await;
            }
        }
    }
}

struct Teller {
    number: u64,
    to: mpsc::Sender<Input>,
}

impl Teller {
    async fn tell(&mut self, client: &Client) {
        let state = CacheState {
            table: Arc::clone(client.table()),
            connected: client.is_connected(),
            version: client.version(),
            state: client.state(),
            fresh: client.fresh(),
            expire: client.expire(),
            updates: client.updates(),
            last_error: client.last_error().map(Into::into),
        };
        // Nobody listens only when the daemon ends.
        let _ = self.to.send(Input::Cache { number: self.number, state: Box::new(state) }).await;
    }
}

/// One connection, until it ends.
async fn converse(client: &mut Client, mut stream: TcpStream, teller: &mut Teller) {
    let (mut bytes, mut out) = (vec![0; CHUNK], Vec::new());
    client.connected(Instant::now(), &mut out);
    loop {
        if let Err(error) = stream.write_all(&std::mem::take(&mut out)).await {
            return client.closed(words(&error));
        }
        let due = client.deadline().map(tokio::time::Instant::from_std);
        let outcome = tokio::select! {
            ready = stream.readable() => match ready.and_then(|()| stream.try_read(&mut bytes)) {
                Ok(0) => return client.closed("closed by the cache"),
                Ok(n) => {
                    let heard = bytes.get(..n).unwrap_or_default();
                    client.received(heard, Instant::now(), &mut out)
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Outcome::Nothing,
                Err(error) => return client.closed(words(&error)),
            },
            () = crate::run::sleep_until(due) => client.due(Instant::now(), &mut out),
        };
        match outcome {
            Outcome::Nothing => {}
            Outcome::Changed => teller.tell(client).await,
            Outcome::Close => {
                // The last words may not come through: the cache is the one that is wrong.
                let _ = stream.try_write(&out);
                return;
            }
        }
    }
}
