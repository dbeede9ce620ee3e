//! Many BGP speakers, one pretend clock, one seed.
//!
//! A [`Net`] is a handful or some hundreds of [`Speaker`]s joined by links. Connections are byte
//! streams with latency, cut into pieces at random; links can be cut so that bytes wait, and nodes
//! can be killed, crash without a word, stop and start again with the kernel routes they left
//! behind. Everything that is random comes from the seed: a run that fails is repeated by its seed.
//!
//! ```
//! use bgp_sim::Net;
//! use std::time::Duration;
//!
//! let mut net = Net::new(7);
//! let (tor, node) = (net.node("tor", 65001), net.node("node", 64512));
//! net.own(node, "10.244.1.0/26");
//! net.link(tor, node);
//! net.start_all();
//! net.run(Duration::from_secs(5));
//! assert!(net.has_route(tor, "10.244.1.0/26"));
//! net.check_quiet();
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "a test bench: an assumption that fails is a failed test")]

mod check;
mod fabric;
mod inside;
mod keep;
mod model;
mod node;
mod queue;
mod random;
mod rest;
mod shadow;
mod tcp;
mod watch;

pub use fabric::Fabric;
pub use inside::Inside;
pub use node::{NodeId, Side};
pub use tcp::LinkId;

use bgp_core::config::{PeerConfig, SessionConfig};
use bgp_core::event::{Event, InstalledRoute, Reset, Start};
use bgp_core::report::Report;
use bgp_core::speaker::Speaker;
use bgp_core::types::{Asn, ConnId, Prefix};
use bgp_core::view::PeerView;
use node::{Attached, Node};
use queue::{Happening, Queue};
use random::Random;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tcp::{Link, Stream, StreamId};

/// How much later than another one a timer may be due and yet go off before it.
const JUMBLE: Duration = Duration::from_millis(2);

/// Speakers, links and what is under way between them.
pub struct Net {
    begin: Instant,
    now: Instant,
    random: Random,
    queue: Queue,
    nodes: Vec<Node>,
    links: Vec<Link>,
    streams: Vec<Stream>,
    ends: HashMap<(NodeId, ConnId), (StreamId, Side)>,
    /// When each node wants to be called.
    deadlines: BTreeSet<(Instant, NodeId)>,
    /// One in so many FIB changes is refused; 0: none.
    fib_failures: u64,
    /// Check what always holds after one event in so many; 0: never.
    checking: u64,
    /// The same of what a message speaks of, after that message.
    watching: u64,
    /// Timers that are due at about the same time go off in any order, and late.
    jumbled: bool,
}

impl Net {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let begin = Instant::now();
        Self {
            begin,
            now: begin,
            random: Random::new(seed),
            queue: Queue::default(),
            nodes: Vec::new(),
            links: Vec::new(),
            streams: Vec::new(),
            ends: HashMap::new(),
            deadlines: BTreeSet::new(),
            fib_failures: 0,
            checking: 0,
            watching: 0,
            jumbled: false,
        }
    }

    /// From now on the invariants are checked after every event: thorough and slow.
    pub const fn check_always(&mut self) {
        self.checking = 1;
    }

    /// From now on the invariants are checked after one event in `n`.
    pub const fn check_one_in(&mut self, n: u64) {
        self.checking = n;
    }

    /// From now on one message in `n` is followed by a check of the prefixes that it speaks of, and of
    /// what its sender believes.
    pub const fn watch_one_in(&mut self, n: u64) {
        self.watching = n;
    }

    /// From now on timers that are due at about the same time go off in any order, and late.
    pub const fn jumble_timers(&mut self) {
        self.jumbled = true;
    }

    /// From now on the kernel refuses one in `n` changes.
    pub const fn refuse_one_route_in(&mut self, n: u64) {
        self.fib_failures = n;
    }

    pub fn node(&mut self, name: &str, asn: u32) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node::new(name, Asn(asn), id));
        id
    }

    /// The prefix is one of the node's blocks.
    pub fn own(&mut self, node: NodeId, prefix: &str) {
        let prefix = parse(prefix);
        self.nodes[node.0].blocks.insert(prefix);
        self.tell_blocks(node);
    }

    pub fn disown(&mut self, node: NodeId, prefix: &str) {
        self.nodes[node.0].blocks.remove(&parse(prefix));
        self.tell_blocks(node);
    }

    fn tell_blocks(&mut self, node: NodeId) {
        let blocks = self.nodes[node.0].blocks.clone();
        self.handle(node, Event::Blocks(blocks));
    }

    /// Joins two nodes, each the other's peer, with graceful restart and all routes let through.
    pub fn link(&mut self, a: NodeId, b: NodeId) -> LinkId {
        self.link_with(a, b, |_, _| {})
    }

    /// The same, with each side's session changed as `edit` likes.
    pub fn link_with(
        &mut self,
        a: NodeId,
        b: NodeId,
        edit: impl Fn(Side, &mut SessionConfig),
    ) -> LinkId {
        let id = LinkId(self.links.len());
        let link = Link::new(id, a, b, self.random.between(100, 3000));
        let back = [self.nodes[b.0].links.len(), self.nodes[a.0].links.len()];
        self.nodes[a.0].links.push(Attached { link: id, side: Side::A, back: back[0] });
        self.nodes[b.0].links.push(Attached { link: id, side: Side::B, back: back[1] });
        for (side, own, other) in [(Side::A, a, b), (Side::B, b, a)] {
            let mut session = node::session(self.nodes[other.0].config.asn);
            edit(side, &mut session);
            let name = self.nodes[other.0].name.clone();
            let peer = PeerConfig {
                name,
                address: link.address(side.other()),
                port: 179,
                session,
                interface: None,
            };
            self.nodes[own.0].config.peers.push(peer);
        }
        self.links.push(link);
        id
    }

    /// The configuration that the node's next start, or [`reload`](Self::reload), will use.
    pub fn config(&mut self, node: NodeId) -> &mut bgp_core::config::SpeakerConfig {
        &mut self.nodes[node.0].config
    }

    pub fn reload(&mut self, node: NodeId) {
        let config = self.nodes[node.0].config.clone();
        self.handle(node, Event::Configure(Box::new(config)));
    }

    /// Every node's first start.
    pub fn start_all(&mut self) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].speaker.is_none() {
                self.start(NodeId(n), Start::default());
            }
        }
    }

    /// A process starts; the kernel still holds what an earlier one has left.
    pub fn start(&mut self, node: NodeId, start: Start) {
        let it = &mut self.nodes[node.0];
        it.speaker = Some(Speaker::new(it.config.clone(), start, self.now));
        it.going = start.drained.then_some(self.now);
        let found = it.kernel.iter().map(|(prefix, next_hops)| InstalledRoute {
            prefix: *prefix,
            next_hops: next_hops.iter().copied().map(Into::into).collect(),
        });
        let found = found.collect();
        let blocks = it.blocks.clone();
        self.handle(node, Event::Adopted(found));
        self.handle(node, Event::Blocks(blocks));
        self.resume_kept(node);
    }

    /// Starts the node unless it runs.
    pub fn revive(&mut self, node: NodeId, start: Start) {
        if self.nodes[node.0].speaker.is_none() {
            self.start(node, start);
        }
    }

    /// SIGKILL and a new process after `away`, by the rules of graceful restart.
    pub fn restart(&mut self, node: NodeId, away: Duration) {
        self.kill(node);
        self.run(away);
        self.start(node, Start::again(true));
    }

    /// The process dies; its kernel closes the connections.
    pub fn kill(&mut self, node: NodeId) {
        self.nodes[node.0].speaker = None;
        self.note_deadline(node);
        self.hang_up(node, true);
    }

    /// The whole node is gone at once, its kernel routes too.
    pub fn power_off(&mut self, node: NodeId) {
        self.nodes[node.0].speaker = None;
        self.nodes[node.0].kernel.clear();
        self.note_deadline(node);
        self.drop_kept(node);
        self.hang_up(node, false);
    }

    /// SIGTERM.
    pub fn stop(&mut self, node: NodeId) {
        self.handle(node, Event::Stop);
        self.check_stopped(node);
        self.kill(node);
    }

    /// Takes traffic away from the node, and everything it has told after `wait`; unless it is gone
    /// already.
    pub fn drain(&mut self, node: NodeId, wait: Duration) {
        let (it, now) = (&mut self.nodes[node.0], self.now);
        if it.speaker.is_some() && it.going.is_none_or(|until| now < until) {
            it.going = Some(now + wait);
        }
        self.handle(node, Event::Drain { wait });
    }

    pub fn undrain(&mut self, node: NodeId) {
        self.nodes[node.0].going = None;
        self.handle(node, Event::Undrain);
    }

    /// Bytes wait until the link is restored; who does not wait long enough gives up.
    pub fn cut(&mut self, link: LinkId) {
        self.links[link.0].up = false;
    }

    pub fn restore(&mut self, link: LinkId) {
        self.links[link.0].up = true;
        self.release(link);
    }

    /// What is sent over the link from now on takes so long.
    pub fn delay(&mut self, link: LinkId, latency: Duration) {
        self.links[link.0].latency = latency;
    }

    /// What waits on a cut link is lost for good, as if its sender's host were another one now.
    pub fn forget(&mut self, link: LinkId) {
        self.forget_waiting(link);
    }

    /// Every connection over the link is reset.
    pub fn reset(&mut self, link: LinkId) {
        self.reset_streams(link);
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until it is so; panics if it does not become so in `time`.
    pub fn run_until(&mut self, time: Duration, mut so: impl FnMut(&Self) -> bool) {
        let end = self.now + time;
        while !so(self) {
            assert!(self.step(end), "not so after {time:?}");
        }
    }

    /// Which timer goes off next, and when.
    fn next_due(&mut self) -> Option<(Instant, NodeId)> {
        let (first, node) = *self.deadlines.first()?;
        if !self.jumbled {
            return Some((first.max(self.now), node));
        }
        let about = first.max(self.now) + JUMBLE;
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= about).take(16);
        let due: Vec<(Instant, NodeId)> = due.copied().collect();
        let pick = self.random.between(1, due.len() as u64) - 1;
        let (at, node) = *due.get(usize::try_from(pick).ok()?)?;
        let late = Duration::from_micros(self.random.between(0, 500));
        Some((at.max(self.now) + late, node))
    }

    /// The next thing that happens, if it does so before `end`.
    fn step(&mut self, end: Instant) -> bool {
        let due = self.next_due();
        match (due, self.queue.next_at()) {
            (Some((at, node)), next) if at <= end && next.is_none_or(|next| at < next) => {
                self.now = at;
                self.handle(node, Event::Due);
            }
            (_, Some(at)) if at <= end => {
                self.now = at;
                if let Some(happening) = self.queue.pop() {
                    self.happen(happening);
                }
            }
            _ => return false,
        }
        if self.checking > 0 && self.random.between(1, self.checking) == 1 {
            self.check();
        }
        true
    }

    /// After each call of a speaker.
    fn note_deadline(&mut self, node: NodeId) {
        let it = &mut self.nodes[node.0];
        let next = it.speaker.as_ref().and_then(Speaker::deadline);
        if let Some(before) = std::mem::replace(&mut it.deadline, next) {
            self.deadlines.remove(&(before, node));
        }
        self.deadlines.extend(next.map(|at| (at, node)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { stream } => self.arrive(stream),
            Happening::Answer { stream, established } => self.answer(stream, established),
            Happening::Pull { stream, side } => self.pull(stream, side),
            Happening::Deliver { stream, side, bytes } => self.deliver(stream, side, bytes),
            Happening::HangUp { stream, side } => self.hung_up(stream, side),
        }
    }

    /// An operator's reset of a session, by its peer's place in the configuration.
    pub fn operate(&mut self, node: NodeId, peer: usize, reset: Reset) {
        let it = &mut self.nodes[node.0];
        let Some(speaker) = it.speaker.as_mut() else { return };
        let Some(id) = speaker.find_peer(&it.config.peers[peer].address.to_string()) else {
            return;
        };
        let mut out = Vec::new();
        speaker.reset_peer(id, reset, self.now, &mut out);
        self.note_deadline(node);
        out.into_iter().for_each(|action| self.act(node, action));
    }

    /// Changes both ends of a link before anybody has started.
    pub fn edit_link(&mut self, link: LinkId, edit: impl Fn(Side, &mut SessionConfig)) {
        let ends = self.links[link.0].ends;
        for side in [Side::A, Side::B] {
            let node = &mut self.nodes[side.of(&ends).0];
            let at = node.links.iter().position(|l| l.link == link).expect("the link's end");
            edit(side, &mut node.config.peers[at].session);
        }
    }

    /// Every node runs, every session is up, everybody has told everything, and every kernel has
    /// what it should.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsettled().is_none()
    }

    /// Something that keeps the net from being settled.
    #[must_use]
    pub fn unsettled(&self) -> Option<String> {
        let is_told = |p: &PeerView| {
            let mut families = p.families.iter();
            p.state == "Established" && families.all(|f| f.eor_received && f.stale == 0)
        };
        self.nodes.iter().find_map(|n| {
            let Some(speaker) = &n.speaker else { return Some(format!("{} is down", n.name)) };
            if speaker.overview().fib.failed > 0 {
                return Some(format!("{}: {:?}", n.name, speaker.overview().fib));
            }
            let peers = speaker.peers(self.now);
            let peer = peers.iter().find(|p| !is_told(p))?;
            Some(format!("{}: {peer:#?}", n.name))
        })
    }

    /// How long the net has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    #[must_use]
    pub fn speaker(&self, node: NodeId) -> &Speaker {
        self.nodes[node.0].speaker.as_ref().expect("the node runs")
    }

    /// What the node has reported, and when.
    #[must_use]
    pub fn reports(&self, node: NodeId) -> &[(Duration, Report)] {
        &self.nodes[node.0].reports
    }

    /// How many changes the node's kernel has seen.
    #[must_use]
    pub fn fib_changes(&self, node: NodeId) -> u64 {
        self.nodes[node.0].fib_changes
    }

    /// Whether the node's kernel has a route for exactly this prefix.
    #[must_use]
    pub fn has_route(&self, node: NodeId, prefix: &str) -> bool {
        self.nodes[node.0].kernel.contains_key(&parse(prefix))
    }

    /// The next hops of the node's kernel for exactly this prefix.
    #[must_use]
    pub fn next_hops(&self, node: NodeId, prefix: &str) -> Vec<IpAddr> {
        let hops = self.nodes[node.0].kernel.get(&parse(prefix));
        hops.into_iter().flatten().map(bgp_core::types::NextHop::addr).collect()
    }

    #[must_use]
    pub fn peers(&self, node: NodeId) -> Vec<PeerView> {
        self.speaker(node).peers(self.now)
    }

    /// The state of the session with the peer of that name.
    #[must_use]
    pub fn state(&self, node: NodeId, peer: &str) -> &'static str {
        let peers = self.nodes[node.0].speaker.as_ref().map(|s| s.peers(self.now));
        peers.into_iter().flatten().find(|p| p.name == peer).map_or("none", |p| p.state)
    }

    #[must_use]
    pub fn all_established(&self) -> bool {
        let mut running = self.nodes.iter().filter_map(|n| n.speaker.as_ref());
        running.all(|s| s.overview().established == s.overview().peers)
    }
}

fn parse(prefix: &str) -> Prefix {
    prefix.parse().expect("a prefix")
}
