//! The whole speaker: peers, RIBs and FIB behind one door.

use crate::config::SpeakerConfig;
use crate::event::{Action, Event, Start};
use crate::types::{ConnId, PeerId, Prefix};
use crate::view::{Overview, PeerView, RouteQuery, RouteView};
use std::time::Instant;

/// A BGP speaker without IO. One event in, any number of actions out.
///
/// After [`Speaker::new`] tell it `Adopted` and `Blocks` as soon as they are known, then go on
/// with whatever happens; `deadline` is already set, so the first `Due` starts the dialling.
#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    start: Start,
    now: Instant,
}

impl Speaker {
    #[must_use]
    pub fn new(config: SpeakerConfig, start: Start, now: Instant) -> Self {
        Self { config, start, now }
    }

    pub fn handle(&mut self, _event: Event<'_>, now: Instant, _out: &mut Vec<Action>) {
        self.now = now;
    }

    /// When to come back with [`Event::Due`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.now)
    }

    /// Appends what is to be sent next on this connection: whole messages, at least one if there
    /// is one, about `room` bytes at most. True: there is more.
    pub fn pull(&mut self, _conn: ConnId, _now: Instant, _room: usize, _out: &mut Vec<u8>) -> bool {
        self.start.restarting
    }

    /// The peer of that name or address.
    #[must_use]
    pub fn find_peer(&self, _name_or_address: &str) -> Option<PeerId> {
        None
    }

    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview {
            asn: self.config.asn,
            router_id: self.config.router_id,
            peers: 0,
            established: 0,
            loc_rib: crate::types::Family::ALL.map(|f| (f, 0)),
            originated: Vec::new(),
            fib: crate::view::FibView::default(),
            restarting: false,
        }
    }

    /// Ordered by name.
    #[must_use]
    pub fn peers(&self, _now: Instant) -> Vec<PeerView> {
        Vec::new()
    }

    /// One page of routes in prefix order: at most `limit`, those that come behind `after`.
    #[must_use]
    pub fn routes(
        &self,
        _query: &RouteQuery,
        _after: Option<Prefix>,
        _limit: usize,
        _now: Instant,
    ) -> Vec<RouteView> {
        Vec::new()
    }
}
