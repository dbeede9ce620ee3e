//! MRT files (RFC 6396): UPDATEs as they came, and all routes now and then.
//!
//! The loop makes the records, a thread for each kind writes them ([`writer`]): a disk that is slow or
//! full costs records, which are counted, and nothing else.

mod record;
mod writer;

use self::record::{ESTABLISHED, IDLE, Index, Indexed, OPEN_CONFIRM};
use self::writer::{FileState, Piece, Writer};
use crate::run::Run;
use bgp_core::monitor::{Batch, Seen, SessionView};
use bgp_core::speaker::Speaker;
use bgp_core::types::{Family, PeerId};
use mainstay_config as config;
use mainstay_proto::collect::v1 as proto;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Numbers of prefixes that one piece looks at.
const PIECE: usize = 2000;
/// How soon a disk that is behind is looked at again.
const LATER: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(crate) struct Mrt {
    wanted: config::Mrt,
    updates: Option<Writer>,
    rib: Option<Rib>,
    sessions: HashMap<PeerId, SessionView>,
}

#[derive(Debug)]
struct Rib {
    writer: Writer,
    every: Duration,
    due: Instant,
    dump: Option<Dump>,
}

impl Mrt {
    pub(crate) fn configure(&mut self, wanted: &config::Mrt) {
        if self.wanted.updates != wanted.updates {
            let open = |f: &config::MrtFile| start("updates", f, Some(f.every));
            self.updates = wanted.updates.as_ref().and_then(open);
        }
        if self.wanted.rib != wanted.rib {
            let open = |f: &config::MrtFile| {
                let writer = start("rib", f, None)?;
                Some(Rib { writer, every: f.every, due: next(f.every), dump: None })
            };
            self.rib = wanted.rib.as_ref().and_then(open);
        }
        self.wanted = wanted.clone();
    }

    /// Whether the core is to show messages.
    pub(crate) const fn watches(&self) -> bool {
        self.updates.is_some()
    }

    pub(crate) fn know(&mut self, sessions: impl Iterator<Item = SessionView>) {
        self.sessions = sessions.map(|s| (s.peer, s)).collect();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let rib = self.rib.as_ref()?;
        let waiting = rib.dump.is_some() && !rib.writer.has_room();
        Some(if waiting { Instant::now() + LATER } else { rib.due })
    }

    pub(crate) fn due(&mut self, now: Instant) {
        if let Some(rib) = self.rib.as_mut().filter(|rib| rib.due <= now) {
            rib.due = next(rib.every);
            // One that is still under way goes on.
            rib.dump.get_or_insert_default();
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.rib.as_ref().is_some_and(|rib| rib.dump.is_some() && rib.writer.has_room())
    }

    pub(crate) fn turn(&mut self, speaker: &Speaker) {
        let Some(Rib { writer, dump: slot, .. }) = &mut self.rib else { return };
        let Some(dump) = slot else { return };
        let fresh = dump.index.is_none();
        let mut bytes = Vec::new();
        let records = dump.piece(speaker, &mut bytes);
        writer.write(Piece { bytes, records, fresh });
        if dump.over {
            *slot = None;
        }
    }

    pub(crate) fn tell(&mut self, batch: &Batch) {
        let Some(writer) = &self.updates else { return };
        let (now, mut bytes, mut records) = (SystemTime::now(), Vec::new(), 0);
        for seen in &batch.seen {
            match seen {
                Seen::Up(session) => {
                    record::state_change(session, (OPEN_CONFIRM, ESTABLISHED), now, &mut bytes);
                    self.sessions.insert(session.peer, (**session).clone());
                }
                Seen::Down { session, .. } => {
                    record::state_change(session, (ESTABLISHED, IDLE), now, &mut bytes);
                    self.sessions.remove(&session.peer);
                }
                Seen::Update { peer, message, .. } => {
                    let Some(session) = self.sessions.get(peer) else { continue };
                    let message = batch.bytes.get(message.clone()).unwrap_or_default();
                    record::message(session, message, now, &mut bytes);
                }
                Seen::Gone { .. } | Seen::Judged { .. } | Seen::Chosen(_) => continue,
            }
            records += 1;
        }
        if records > 0 {
            writer.write(Piece { bytes, records, fresh: false });
        }
    }

    fn states(&self) -> impl Iterator<Item = (&'static str, FileState)> {
        let updates = self.updates.as_ref().map(|writer| ("updates", writer.state()));
        let rib = self.rib.as_ref().map(|rib| ("rib", rib.writer.state()));
        updates.into_iter().chain(rib)
    }

    pub(crate) fn views(&self) -> Vec<proto::MrtFile> {
        let view = |(kind, state): (&str, FileState)| proto::MrtFile {
            kind: kind.into(),
            path: state.path,
            records: state.records,
            bytes: state.bytes,
            lost: state.lost,
            last_error: state.last_error.unwrap_or_default(),
        };
        self.states().map(view).collect()
    }

    /// What an operator should know of.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.states().filter_map(|(kind, state)| {
            let error = state.last_error?;
            let lost = state.lost;
            Some(format!("bgp.mrt.{kind} cannot be written: {error}; {lost} records are lost"))
        })
    }
}

fn start(kind: &'static str, file: &config::MrtFile, every: Option<Duration>) -> Option<Writer> {
    let writer = Writer::start(kind, file.path.clone(), every);
    writer.inspect_err(|error| tracing::error!(kind, %error, "no thread for MRT files")).ok()
}

/// When the wall's clock is at the next multiple of it.
fn next(every: Duration) -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let every = every.as_millis().max(1);
    let left = every - since.as_millis() % every;
    Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX))
}

/// A table dump under way.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    /// `None`: nothing has been told yet.
    index: Option<Index>,
    /// The families that have been told.
    told: usize,
    /// Where the walk goes on; `None`: at its beginning.
    at: Option<usize>,
    sequence: u32,
    over: bool,
}

impl Dump {
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// The next piece, in whole records; how many.
    pub(crate) fn piece(&mut self, speaker: &Speaker, out: &mut Vec<u8>) -> u64 {
        let (now, at) = (Instant::now(), SystemTime::now());
        let wall = |since: Instant| at.checked_sub(now.saturating_duration_since(since));
        let mut records = 0;
        let index = self.index.get_or_insert_with(|| {
            records += 1;
            record::peer_index(speaker.overview().router_id, &peers(speaker, now), at, out)
        });
        let sequence = &mut self.sequence;
        let Some(family) = Family::ALL.get(self.told).copied() else { return records };
        let next = speaker.walk_routes(family, (self.at, PIECE), &mut |prefix, paths| {
            let known = |path| {
                let path: &bgp_core::monitor::Heard = path;
                Some((*index.get(&path.peer)?, wall(path.since).unwrap_or(UNIX_EPOCH), path))
            };
            let known: Vec<_> = paths.iter().filter_map(known).collect();
            // Of a peer that has come since the index was told.
            if !known.is_empty() {
                record::rib(*sequence, prefix, &known, at, out);
                *sequence = sequence.wrapping_add(1);
                records += 1;
            }
        });
        self.at = next;
        self.told += usize::from(next.is_none());
        self.over = self.told == Family::ALL.len();
        records
    }
}

/// Ourselves first, for what is originated here.
fn peers(speaker: &Speaker, now: Instant) -> Vec<Indexed> {
    let own = speaker.overview();
    let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (asn, router_id) = (own.asn.0, Some(own.router_id));
    let own = Indexed { peer: None, address: unspecified, asn, router_id };
    let peer = |view: bgp_core::view::PeerView| Indexed {
        peer: Some(view.id),
        address: view.address,
        asn: view.remote_asn.0,
        router_id: view.remote_router_id,
    };
    std::iter::once(own).chain(speaker.peers(now).into_iter().map(peer)).collect()
}

impl Run {
    /// One piece for whoever dumps the routes over the API.
    pub(crate) fn dump(&self, mut dump: Box<Dump>) -> (Box<Dump>, Vec<u8>) {
        let mut bytes = Vec::new();
        dump.piece(&self.speaker, &mut bytes);
        (dump, bytes)
    }
}
