//! Links and the connections over them: reliable, in order, late, and cut into pieces.

use crate::Net;
use crate::keep::Kept;
use crate::node::{NodeId, Side};
use crate::queue::Happening;
use crate::shadow::Shadow;
use bgp_core::event::{self, Action, Event};
use bgp_core::speaker::Speaker;
use bgp_core::types::{ConnId, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId(pub(crate) usize);

pub(crate) struct Link {
    pub(crate) ends: [NodeId; 2],
    addresses: [Ipv4Addr; 2],
    pub(crate) up: bool,
    pub(crate) latency: Duration,
}

impl Link {
    pub(crate) fn new(id: LinkId, a: NodeId, b: NodeId, micros: u64) -> Self {
        let base = 0xc000_0000 + u32::try_from(id.0).expect("few links") * 2;
        Self {
            ends: [a, b],
            addresses: [base, base + 1].map(Ipv4Addr::from),
            up: true,
            latency: Duration::from_micros(micros),
        }
    }

    pub(crate) const fn address(&self, side: Side) -> IpAddr {
        IpAddr::V4(*side.of(&self.addresses))
    }

    pub(crate) fn ipv6(&self, side: Side) -> Ipv6Addr {
        let bits = u128::from(u32::from(*side.of(&self.addresses)));
        Ipv6Addr::from(0xfd00 << 112 | bits)
    }

    fn side_of(&self, address: IpAddr) -> Option<Side> {
        [Side::A, Side::B].into_iter().find(|s| self.has(*s, address))
    }

    pub(crate) fn has(&self, side: Side, address: IpAddr) -> bool {
        self.address(side) == address || IpAddr::V6(self.ipv6(side)) == address
    }
}

/// One connection. Its ends point to a process by number: a new one does not own the old ends.
pub(crate) struct Stream {
    pub(crate) link: LinkId,
    /// The dialling end first, by its place on the link.
    pub(crate) place: [Side; 2],
    pub(crate) ends: [Option<End>; 2],
    /// Bytes and ends on their way do not overtake each other.
    last: [Instant; 2],
    /// Waiting for the link, or for the process, to come back, by receiving side.
    pub(crate) held: [Vec<Waiting>; 2],
    /// What is said, by receiving side.
    pub(crate) shadows: [Shadow; 2],
    pub(crate) kept: Kept,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) conn: ConnId,
}

pub(crate) enum Waiting {
    Bytes(Vec<u8>),
    HangUp,
}

impl Net {
    /// One event for one node, and everything it asks for.
    pub(crate) fn handle(&mut self, node: NodeId, event: Event<'_>) {
        let mut out = Vec::new();
        let Some(speaker) = self.nodes[node.0].speaker.as_mut() else { return };
        speaker.handle(event, self.now, &mut out);
        self.note_deadline(node);
        for action in out {
            self.act(node, action);
        }
    }

    pub(crate) fn act(&mut self, node: NodeId, action: Action) {
        match action {
            Action::Connect { conn, remote, .. } => self.dial(node, conn, remote.ip()),
            Action::Wake { conn } => {
                if let Some((stream, side)) = self.find(node, conn) {
                    let at = self.now + Duration::from_micros(self.random.between(0, 200));
                    self.queue.push(at, Happening::Pull { stream, side });
                }
            }
            Action::Established { .. } => {}
            Action::Close { conn } => self.close(node, conn),
            Action::Fib { prefix, next_hops } => self.install(node, prefix, next_hops),
            Action::Report(report) => {
                let at = self.elapsed();
                self.nodes[node.0].reports.push((at, report));
            }
        }
    }

    fn install(
        &mut self,
        node: NodeId,
        prefix: Prefix,
        hops: Option<std::sync::Arc<[bgp_core::types::Gateway]>>,
    ) {
        if self.fib_failures > 0 && self.random.between(1, self.fib_failures) == 1 {
            return self.handle(node, Event::FibFailed { prefix, why: "no buffers".into() });
        }
        let it = &mut self.nodes[node.0];
        it.fib_changes += 1;
        match hops {
            Some(hops) => it.kernel.insert(prefix, hops.iter().map(|hop| hop.next_hop).collect()),
            None => it.kernel.remove(&prefix),
        };
    }

    fn dial(&mut self, node: NodeId, conn: ConnId, remote: IpAddr) {
        let place = self.links.iter().enumerate().find_map(|(n, link)| {
            let there = link.side_of(remote)?;
            (*there.other().of(&link.ends) == node).then_some((LinkId(n), there.other()))
        });
        let Some((link, here)) = place else { return };
        let stream = StreamId(self.streams.len());
        // A restarted process counts its connections from the beginning: the newest is meant.
        self.ends.insert((node, conn), (stream, Side::A));
        self.streams.push(Stream {
            link,
            place: [here, here.other()],
            ends: [Some(End { node, conn }), None],
            last: [self.now; 2],
            held: [Vec::new(), Vec::new()],
            shadows: [Shadow::default(), Shadow::default()],
            kept: Kept::new(self.now),
        });
        let at = self.now + self.latency(link);
        self.queue.push(at, Happening::Arrive { stream });
    }

    fn latency(&mut self, link: LinkId) -> Duration {
        let jitter = Duration::from_micros(self.random.between(0, 300));
        self.links[link.0].latency + jitter
    }

    pub(crate) fn arrive(&mut self, stream: StreamId) {
        let Stream { link, place, ends, .. } = &self.streams[stream.0];
        let (link, place, dialler) = (*link, *place, ends[0]);
        let node = *place[1].of(&self.links[link.0].ends);
        let alive = self.nodes[node.0].speaker.is_some();
        let reached = self.links[link.0].up && dialler.is_some();
        let wait = if reached { self.latency(link) } else { Duration::from_secs(3) };
        let established = reached && alive;
        self.queue.push(self.now + wait, Happening::Answer { stream, established });
        if established {
            // Numbered by the shell: the top bit is clear.
            let conn = ConnId(stream.0 as u64);
            self.streams[stream.0].ends[1] = Some(End { node, conn });
            self.ends.insert((node, conn), (stream, Side::B));
            self.streams[stream.0].last = [self.now + wait; 2];
            let link = self.link_of(stream, Side::B);
            self.handle(node, Event::Accepted { conn, link });
        }
    }

    pub(crate) fn answer(&mut self, stream: StreamId, established: bool) {
        let Some(End { node, conn }) = self.streams[stream.0].ends[0] else { return };
        let event = if established {
            Event::Connected { conn, link: self.link_of(stream, Side::A) }
        } else {
            self.streams[stream.0].ends[0] = None;
            Event::ConnectFailed { conn, why: "no answer".into() }
        };
        self.handle(node, event);
    }

    pub(crate) fn link_of(&self, stream: StreamId, side: Side) -> event::Link {
        let Stream { link, place, .. } = &self.streams[stream.0];
        let link = &self.links[link.0];
        let (own, other) = (*side.of(place), *side.other().of(place));
        let IpAddr::V4(ipv4) = link.address(own) else { unreachable!("links have IPv4 addresses") };
        event::Link {
            local: SocketAddr::new(link.address(own), 179),
            remote: SocketAddr::new(link.address(other), 179),
            ipv4: Some(ipv4),
            ipv6: Some(link.ipv6(own)),
            ipv6_link_local: None,
            interface: Some("eth0".into()),
            scope: 0,
        }
    }

    fn find(&self, node: NodeId, conn: ConnId) -> Option<(StreamId, Side)> {
        let (stream, side) = *self.ends.get(&(node, conn))?;
        side.of(&self.streams[stream.0].ends).is_some().then_some((stream, side))
    }

    /// A side's socket has room: a random amount, little as likely as much.
    pub(crate) fn pull(&mut self, stream: StreamId, side: Side) {
        let Some(End { node, conn }) = *side.of(&self.streams[stream.0].ends) else { return };
        let room = 1 << self.random.between(0, 13);
        let mut bytes = Vec::new();
        let Some(speaker) = self.nodes[node.0].speaker.as_mut() else { return };
        let more = speaker.pull(conn, self.now, room, &mut bytes);
        let context = speaker.context(conn);
        self.note_deadline(node);
        self.note_sent(stream, side, &bytes, &context);
        self.send(stream, side.other(), bytes);
        if !more {
            self.check_pulled(stream, side);
        }
        if more {
            let at = self.now + self.until_room();
            self.queue.push(at, Happening::Pull { stream, side });
        }
    }

    /// Now and then a peer does not read for a while.
    fn until_room(&mut self) -> Duration {
        let slow = self.random.between(1, 16) == 1;
        Duration::from_micros(self.random.between(10, if slow { 200_000 } else { 500 }))
    }

    /// Cuts the bytes into pieces and sends them on their way to `side`.
    fn send(&mut self, stream: StreamId, side: Side, bytes: Vec<u8>) {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let most = rest.len() as u64;
            let cut = usize::try_from(self.random.between(1, most)).expect("small");
            let (piece, tail) = rest.split_at(cut);
            let at = self.arrival(stream, side);
            let bytes = piece.to_vec();
            self.queue.push(at, Happening::Deliver { stream, side, bytes });
            rest = tail;
        }
    }

    fn arrival(&mut self, stream: StreamId, side: Side) -> Instant {
        let latency = self.latency(self.streams[stream.0].link);
        let last = side.of_mut(&mut self.streams[stream.0].last);
        *last = (self.now + latency).max(*last);
        *last
    }

    pub(crate) fn deliver(&mut self, stream: StreamId, side: Side, bytes: Vec<u8>) {
        let it = &mut self.streams[stream.0];
        let away = it.kept.is_away(side);
        let held = side.of_mut(&mut it.held);
        if away || !self.links[it.link.0].up || !held.is_empty() {
            return held.push(Waiting::Bytes(bytes));
        }
        if let Some(End { node, conn }) = *side.of(&it.ends) {
            let touched = self.note_arrived(stream, side, &bytes);
            self.handle(node, Event::Received { conn, bytes: &bytes });
            self.check_heard(stream, side, &touched);
        }
    }

    pub(crate) fn hung_up(&mut self, stream: StreamId, side: Side) {
        let it = &mut self.streams[stream.0];
        let away = it.kept.is_away(side);
        let held = side.of_mut(&mut it.held);
        if away || !self.links[it.link.0].up || !held.is_empty() {
            return held.push(Waiting::HangUp);
        }
        if let Some(End { node, conn }) = side.of_mut(&mut it.ends).take() {
            self.handle(node, Event::Closed { conn, why: "end of stream".into() });
        }
    }

    /// The link is back: what waited arrives.
    pub(crate) fn release(&mut self, link: LinkId) {
        for n in 0..self.streams.len() {
            if self.streams[n].link != link {
                continue;
            }
            for side in [Side::A, Side::B] {
                self.release_side(StreamId(n), side);
            }
        }
    }

    pub(crate) fn release_side(&mut self, stream: StreamId, side: Side) {
        let waiting = std::mem::take(side.of_mut(&mut self.streams[stream.0].held));
        for what in waiting {
            match what {
                Waiting::Bytes(bytes) => self.deliver(stream, side, bytes),
                Waiting::HangUp => self.hung_up(stream, side),
            }
        }
    }

    pub(crate) fn forget_waiting(&mut self, link: LinkId) {
        for stream in self.streams.iter_mut().filter(|s| s.link == link) {
            stream.held = [Vec::new(), Vec::new()];
        }
    }

    pub(crate) fn reset_streams(&mut self, link: LinkId) {
        for n in 0..self.streams.len() {
            for side in [Side::A, Side::B] {
                if self.streams[n].link != link {
                    continue;
                }
                if self.streams[n].kept.is_away(side) {
                    side.of_mut(&mut self.streams[n].held).push(Waiting::HangUp);
                } else if let Some(End { node, conn }) =
                    side.of_mut(&mut self.streams[n].ends).take()
                {
                    let why = "connection reset".to_owned();
                    self.handle(node, Event::Closed { conn, why });
                }
            }
        }
    }

    /// Last words, then FIN.
    fn close(&mut self, node: NodeId, conn: ConnId) {
        let Some((stream, side)) = self.find(node, conn) else { return };
        let mut bytes = Vec::new();
        if let Some(speaker) = self.nodes[node.0].speaker.as_mut() {
            let context = speaker.context(conn);
            while speaker.pull(conn, self.now, usize::MAX >> 1, &mut bytes) {}
            self.note_sent(stream, side, &bytes, &context);
        }
        self.note_deadline(node);
        self.send(stream, side.other(), bytes);
        *side.of_mut(&mut self.streams[stream.0].ends) = None;
        let at = self.arrival(stream, side.other());
        self.queue.push(at, Happening::HangUp { stream, side: side.other() });
    }

    /// A stopped node's connections have been closed by `Close`; nothing else is left of it.
    pub(crate) fn check_stopped(&mut self, node: NodeId) {
        let deadline = self.nodes[node.0].speaker.as_ref().and_then(Speaker::deadline);
        assert_eq!(deadline, None, "a stopped speaker waits for nothing");
    }

    /// The node's process is gone: its ends are nobody's, and its kernel says so if it can.
    pub(crate) fn hang_up(&mut self, node: NodeId, says_so: bool) {
        for n in 0..self.streams.len() {
            for side in [Side::A, Side::B] {
                let away = self.streams[n].kept.is_away(side);
                let end = side.of_mut(&mut self.streams[n].ends);
                if end.is_some_and(|e| e.node == node) && !away {
                    *end = None;
                    if says_so {
                        let at = self.arrival(StreamId(n), side.other());
                        let hang_up = Happening::HangUp { stream: StreamId(n), side: side.other() };
                        self.queue.push(at, hang_up);
                    }
                }
            }
        }
    }
}
