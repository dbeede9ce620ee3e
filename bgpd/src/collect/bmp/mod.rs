//! BMP stations (RFC 7854): each is told from the beginning what is known, then what changes.
//!
//! A station has a task that dials and writes ([`station`]), and a bounded queue before it. The loop
//! fills the queue: live messages at once, tables piece by piece as the queue empties ([`tables`]). A
//! station whose queue runs over is cut off and begun anew, so that the speaker never waits and memory
//! is bounded.

mod message;
mod station;
mod tables;

pub(crate) use station::{Link, News};

use self::message::Whose;
use self::tables::Tables;
use super::Side;
use crate::run::Run;
use crate::tcp::Input;
use bgp_core::monitor::{Batch, Seen, SessionView, Watch};
use bgp_core::speaker::Speaker;
use bgp_core::types::{Asn, PeerId, RouterId};
use mainstay_config::BmpStation;
use mainstay_proto::collect::v1 as proto;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What a station is told of in its Initiation message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whoami {
    pub(crate) node: String,
    pub(crate) asn: Option<Asn>,
    pub(crate) router_id: Option<RouterId>,
}

#[derive(Debug, Default)]
pub(crate) struct Stations {
    stations: Vec<Station>,
    started: u64,
    /// Sessions that stations know of.
    sessions: HashMap<PeerId, SessionView>,
}

#[derive(Debug)]
struct Station {
    config: BmpStation,
    number: u64,
    task: JoinHandle<()>,
    link: Option<Link>,
    /// What is left of the tables to tell.
    tables: Option<Tables>,
    /// When counters are due.
    statistics: Option<Instant>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    messages: u64,
    bytes: u64,
    cut_off: u64,
    connected: u64,
    last_error: Option<String>,
}

impl Stations {
    /// Keeps those that stay as they are; whoever goes is told so.
    pub(crate) fn configure(
        &mut self,
        wanted: &[BmpStation],
        side: Option<&Side>,
        to: &mpsc::Sender<Input>,
    ) {
        let mut old = std::mem::take(&mut self.stations);
        for config in wanted {
            let same = old.iter().position(|station| station.config == *config);
            let kept = same.map(|at| old.swap_remove(at));
            let new = || {
                self.started += 1;
                let number = self.started;
                let task = station::attend(number, config.address.clone(), to.clone());
                Some(Station::new(config.clone(), number, side?.handle().spawn(task)))
            };
            self.stations.extend(kept.or_else(new));
        }
        old.into_iter().for_each(Station::end);
    }

    /// What the core has to show for them.
    pub(crate) fn watch(&self) -> Watch {
        let any = |on: fn(&BmpStation) -> bool| {
            self.stations.iter().any(|s| s.link.is_some() && on(&s.config))
        };
        Watch {
            updates: any(|s| s.adj_in_pre),
            accepted: any(|s| s.adj_in_post),
            chosen: any(|s| s.loc_rib),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.stations.iter().filter(|s| s.link.is_some()).filter_map(|s| s.statistics).min()
    }

    /// There are tables to tell, and room for them.
    pub(crate) fn is_busy(&self) -> bool {
        self.stations.iter().any(Station::is_busy)
    }

    /// A piece of a table for each station that has room.
    pub(crate) fn turn(&mut self, speaker: &Speaker, me: &Whoami) {
        for station in self.stations.iter_mut().filter(|s| s.is_busy()) {
            let mut out = Vec::new();
            if let Some(tables) = &mut station.tables {
                station.counts.messages += tables.piece(speaker, me, &self.sessions, &mut out);
                if tables.is_over() {
                    station.tables = None;
                }
            }
            station.send(out);
        }
    }

    /// What has happened, to everyone who wants to know.
    pub(crate) fn tell(&mut self, batch: &Batch, speaker: &Speaker, me: &Whoami) {
        let now = SystemTime::now();
        for seen in &batch.seen {
            match seen {
                Seen::Up(session) => {
                    let whose = Whose::peer(session);
                    self.each(|_| true, |out| message::peer_up(whose, session, now, out));
                    self.sessions.insert(session.peer, (**session).clone());
                }
                Seen::Down { session, cause } => {
                    self.sessions.remove(&session.peer);
                    let whose = Whose::peer(session);
                    self.each(|_| true, |out| message::peer_down(whose, cause, now, out));
                }
                Seen::Update { peer, message, effect } => {
                    let Some(whose) = self.sessions.get(peer).map(Whose::peer) else { continue };
                    let range = effect.as_ref().unwrap_or(message).clone();
                    let bytes = batch.bytes.get(range).unwrap_or_default();
                    self.each(
                        |s| s.adj_in_pre,
                        |out| {
                            message::route_monitorings(whose, bytes, now, out);
                        },
                    );
                }
                Seen::Gone { peer, prefix, path } => {
                    let Some(whose) = self.sessions.get(peer).map(Whose::peer) else { continue };
                    let (whose, mut update) = (whose.four_octet_as(), Vec::new());
                    speaker.tell_gone(*peer, (*prefix, *path), &mut update);
                    self.each(
                        |s| s.adj_in_pre,
                        |out| {
                            message::route_monitorings(whose, &update, now, out);
                        },
                    );
                }
                Seen::Judged { peer, prefix, path } => {
                    let Some(whose) = self.sessions.get(peer).map(Whose::peer) else { continue };
                    let (whose, mut update) = (whose.post_policy(), Vec::new());
                    speaker.tell_accepted(*peer, (*prefix, *path), &mut update);
                    self.each(
                        |s| s.adj_in_post,
                        |out| {
                            message::route_monitorings(whose, &update, now, out);
                        },
                    );
                }
                Seen::Chosen(prefix) => {
                    let Some(whose) = me.loc_rib() else { continue };
                    let mut update = Vec::new();
                    speaker.tell_chosen(prefix, &mut update);
                    self.each(
                        |s| s.loc_rib,
                        |out| {
                            message::route_monitorings(whose, &update, now, out);
                        },
                    );
                }
            }
        }
        self.stations.iter_mut().for_each(Station::flush);
    }

    fn each(&mut self, wants: impl Fn(&BmpStation) -> bool, write: impl FnOnce(&mut Vec<u8>)) {
        let mut wanting =
            self.stations.iter_mut().filter(|s| s.link.is_some() && wants(&s.config)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let mut message = Vec::new();
        write(&mut message);
        for station in wanting {
            station.counts.messages += 1;
            station.pending(&message);
        }
    }

    pub(crate) fn statistics(&mut self, speaker: &Speaker, me: &Whoami, now: Instant) {
        let due = |s: &&mut Station| s.link.is_some() && s.statistics.is_some_and(|at| at <= now);
        let mut peers = None;
        for station in self.stations.iter_mut().filter(due) {
            let peers = peers.get_or_insert_with(|| speaker.peers(now));
            let (at, mut out) = (SystemTime::now(), Vec::new());
            for peer in peers.iter() {
                if let Some(session) = self.sessions.get(&peer.id) {
                    message::statistics(Whose::peer(session), peer, at, &mut out);
                    station.counts.messages += 1;
                }
            }
            if let Some(whose) = me.loc_rib().filter(|_| station.config.loc_rib) {
                message::loc_rib_statistics(whose, &speaker.overview().loc_rib, at, &mut out);
                station.counts.messages += 1;
            }
            station.statistics = Some(now + station.config.statistics);
            station.send(out);
        }
    }

    /// Says goodbye; what is still to be written is.
    pub(crate) fn end(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.stations).into_iter().filter_map(Station::end_later).collect()
    }

    pub(crate) fn views(&self) -> Vec<proto::Station> {
        self.stations.iter().map(Station::view).collect()
    }
}

impl Whoami {
    fn loc_rib(&self) -> Option<Whose> {
        Some(Whose::loc_rib(self.asn?, self.router_id?))
    }
}

impl Run {
    fn whoami(&self) -> Whoami {
        Whoami {
            node: self.args.node_name(),
            asn: Some(self.plan.speaker.asn),
            router_id: Some(self.plan.speaker.router_id),
        }
    }

    /// Something from a station's task.
    pub(crate) fn station_told(&mut self, number: u64, news: News) {
        let me = self.whoami();
        let stations = &mut self.collect.stations;
        let Some(station) = stations.stations.iter_mut().find(|s| s.number == number) else {
            return;
        };
        match news {
            News::Connected(link) => {
                stations.sessions =
                    self.speaker.sessions().into_iter().map(|s| (s.peer, s)).collect();
                station.begin(link, &me, &stations.sessions);
            }
            News::Room => {}
            News::Lost(why) => station.lost(why),
        }
        self.watch_anew();
    }

    /// After an event: what stations are to hear of it.
    pub(crate) fn tell_stations(&mut self, batch: &Batch) {
        let me = self.whoami();
        self.collect.stations.tell(batch, &self.speaker, &me);
    }

    pub(crate) fn stations_turn(&mut self) {
        let me = self.whoami();
        self.collect.stations.turn(&self.speaker, &me);
    }

    pub(crate) fn stations_due(&mut self, now: Instant) {
        if self.collect.stations.deadline().is_some_and(|at| at <= now) {
            let me = self.whoami();
            self.collect.stations.statistics(&self.speaker, &me, now);
        }
    }
}

impl Station {
    fn new(config: BmpStation, number: u64, task: JoinHandle<()>) -> Self {
        let counts = Counts::default();
        Self { config, number, task, link: None, tables: None, statistics: None, counts }
    }

    fn begin(&mut self, link: Link, me: &Whoami, sessions: &HashMap<PeerId, SessionView>) {
        tracing::info!(station = %self.config.address, "BMP station connected");
        self.counts.connected += 1;
        self.counts.last_error = None;
        self.link = Some(link);
        let every = self.config.statistics;
        self.statistics = (every > Duration::ZERO).then(|| Instant::now() + every);
        let mut out = Vec::new();
        message::initiation(mainstay_daemon::VERSION, &me.node, &mut out);
        for session in sessions.values() {
            message::peer_up(Whose::peer(session), session, message::wall(session.since), &mut out);
        }
        let tables = Tables::new(&self.config, sessions);
        if let Some(whose) = me.loc_rib().filter(|_| self.config.loc_rib) {
            tables::loc_rib_up(whose, me, &mut out);
        }
        self.counts.messages += 1 + sessions.len() as u64 + u64::from(self.config.loc_rib);
        self.tables = Some(tables);
        self.send(out);
    }

    fn lost(&mut self, why: String) {
        if self.link.take().is_some() {
            tracing::warn!(station = %self.config.address, why, "BMP station lost");
        } else if self.counts.last_error.as_ref() != Some(&why) {
            tracing::info!(station = %self.config.address, why, "BMP station does not answer");
        }
        self.tables = None;
        self.counts.last_error = Some(why);
    }

    fn limit(&self) -> usize {
        usize::try_from(self.config.buffer).unwrap_or(usize::MAX)
    }

    fn is_busy(&self) -> bool {
        self.tables.is_some() && self.link.as_ref().is_some_and(|link| link.has_room(self.limit()))
    }

    fn pending(&mut self, message: &[u8]) {
        if let Some(link) = &mut self.link {
            link.pending.extend(message);
        }
    }

    fn flush(&mut self) {
        self.send(Vec::new());
    }

    /// Behind what is pending. A station that does not read is cut off.
    fn send(&mut self, more: Vec<u8>) {
        let limit = self.limit();
        let Some(link) = &mut self.link else { return };
        link.pending.extend(more);
        let bytes = std::mem::take(&mut link.pending);
        if bytes.is_empty() {
            return;
        }
        self.counts.bytes += bytes.len() as u64;
        if !link.push(bytes, limit) {
            let station = &self.config.address;
            tracing::warn!(%station, "BMP station does not read: cut off, to be told all anew");
            self.counts.cut_off += 1;
            self.counts.last_error = Some("cut off: it did not read".into());
            self.link = None;
            self.tables = None;
        }
    }

    fn end(self) {
        drop(self.end_later());
    }

    /// Termination, and no dialling any more.
    fn end_later(mut self) -> Option<JoinHandle<()>> {
        if self.link.is_none() {
            self.task.abort();
            return None;
        }
        let mut out = Vec::new();
        message::termination(&mut out);
        self.send(out);
        self.link.take()?.finish();
        Some(self.task)
    }

    fn view(&self) -> proto::Station {
        proto::Station {
            address: self.config.address.to_string(),
            state: if self.link.is_some() { "up" } else { "connecting" }.into(),
            syncing: self.tables.is_some(),
            messages: self.counts.messages,
            bytes: self.counts.bytes,
            queued: self.link.as_ref().map_or(0, Link::queued) as u64,
            cut_off: self.counts.cut_off,
            connected: self.counts.connected,
            last_error: self.counts.last_error.clone().unwrap_or_default(),
        }
    }
}
