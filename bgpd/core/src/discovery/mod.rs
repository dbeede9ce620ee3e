//! Who is at the other end of a link: router discovery (RFC 4861 §6), as unnumbered peers use it.
//!
//! Each side says by router advertisements that it is there; their source is a link-local address, and
//! that is the peer's. What is heard here says where to dial, and nothing about sessions: that is
//! BGP's and BFD's matter (see `speaker::links`).
//!
//! Ours have a router lifetime of zero: no host of the link takes this node for a default router. Who
//! looks for a neighbour does not mind (FRRouting takes any advertisement).

pub mod message;

use message::Heard;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

/// ff02::1 and ff02::2 (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Between advertisements; they come up to a quarter early, so that a link's routers do not fall
/// into step (RFC 4861 §6.2.4).
const INTERVAL: Duration = Duration::from_secs(10);
/// The first ones follow each other faster. No two are closer (MIN_DELAY_BETWEEN_RAS, §10).
const SOON: Duration = Duration::from_secs(3);
const FIRST_ONES: u32 = 3;
/// Between solicitations while nobody is heard (RTR_SOLICITATION_INTERVAL, §10), longer each time
/// (RFC 7559).
const SOLICIT: Duration = Duration::from_secs(4);
const SOLICIT_MAX: Duration = Duration::from_secs(64);
/// How long a router that is heard no more is believed at least, and for how long one is that does
/// not say.
const BELIEF_MIN: Duration = Duration::from_secs(60);
const BELIEF: Duration = Duration::from_secs(1800);

#[derive(Debug)]
pub enum Event<'a> {
    /// The interfaces that peers are on; true: whoever is at the other end is the peer.
    Wanted(&'a BTreeMap<String, bool>),
    /// The kernel's interfaces, as far as they are wanted; the whole set, whenever it may have changed.
    Ports(BTreeMap<String, Port>),
    /// An ICMPv6 message.
    Heard {
        scope: u32,
        from: Ipv6Addr,
        hops: u8,
        message: &'a [u8],
    },
    Due,
}

/// An interface of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub scope: u32,
    /// It carries packets.
    pub up: bool,
    /// It has a link-local address that may be used.
    pub link_local: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take in what is sent to routers on this interface.
    Join {
        scope: u32,
    },
    Send {
        scope: u32,
        to: Ipv6Addr,
        message: Vec<u8>,
    },
    /// For the speaker.
    Interface {
        name: String,
        index: Option<u32>,
    },
    Neighbour {
        interface: String,
        address: Option<Ipv6Addr>,
    },
}

/// Why nobody is found on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    Interface,
    Carrier,
    LinkLocal,
    /// Nobody is heard.
    Router,
}

#[derive(Debug, Default)]
pub struct Discovery {
    lookouts: BTreeMap<String, Lookout>,
}

/// On one interface.
#[derive(Debug, Default)]
struct Lookout {
    /// Whoever is there is the peer.
    looks: bool,
    port: Option<Port>,
    /// Who was heard, and until when that is believed.
    router: Option<(Ipv6Addr, Instant)>,
    advertise_at: Option<Instant>,
    advertised_at: Option<Instant>,
    advertised: u32,
    solicit_at: Option<Instant>,
    solicited: u32,
}

impl Discovery {
    pub fn handle(&mut self, event: Event<'_>, now: Instant, out: &mut Vec<Action>) {
        match event {
            Event::Wanted(wanted) => self.want(wanted, out),
            Event::Ports(ports) => {
                for (name, lookout) in &mut self.lookouts {
                    lookout.set_port(name, ports.get(name).copied(), now, out);
                }
            }
            Event::Heard { scope, from, hops, message } => {
                let there = |l: &Lookout| l.looks && l.port.is_some_and(|p| p.scope == scope);
                let lookout = self.lookouts.iter_mut().find(|(_, l)| there(l));
                if let (Some((name, lookout)), Some(heard)) =
                    (lookout, message::read(from, hops, message))
                {
                    lookout.heard(name, from, heard, now, out);
                }
            }
            Event::Due => {
                for (name, lookout) in &mut self.lookouts {
                    lookout.due(name, now, out);
                }
            }
        }
    }

    /// When to come back with [`Event::Due`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.lookouts.values().filter_map(Lookout::deadline).min()
    }

    /// Where nobody is found, and why.
    pub fn lacks(&self) -> impl Iterator<Item = (&str, Lack)> {
        self.lookouts.iter().filter_map(|(name, l)| Some((name.as_str(), l.lack()?)))
    }

    fn want(&mut self, wanted: &BTreeMap<String, bool>, out: &mut Vec<Action>) {
        let known: BTreeSet<&String> = wanted.keys().collect();
        self.lookouts.retain(|name, _| known.contains(name));
        for (name, looks) in wanted {
            let lookout = self.lookouts.entry(name.clone()).or_default();
            if lookout.looks && !looks && lookout.router.take().is_some() {
                out.push(Action::Neighbour { interface: name.clone(), address: None });
            }
            if lookout.looks != *looks {
                // Begun anew with the next look at the interfaces.
                *lookout = Lookout { looks: *looks, ..Lookout::default() };
            }
        }
    }
}

impl Lookout {
    fn is_ready(&self) -> bool {
        self.looks && self.port.is_some_and(|port| port.up && port.link_local)
    }

    fn lack(&self) -> Option<Lack> {
        match self.port {
            _ if !self.looks => None,
            None => Some(Lack::Interface),
            Some(port) if !port.up => Some(Lack::Carrier),
            Some(port) if !port.link_local => Some(Lack::LinkLocal),
            // Who is there has had time to answer.
            Some(_) => (self.router.is_none() && self.solicited > 1).then_some(Lack::Router),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let ours = [self.advertise_at, self.solicit_at].into_iter().flatten();
        let ours = ours.filter(|_| self.is_ready());
        ours.chain(self.router.map(|(_, until)| until)).min()
    }

    fn set_port(&mut self, name: &str, new: Option<Port>, now: Instant, out: &mut Vec<Action>) {
        let was_ready = self.is_ready();
        let old = std::mem::replace(&mut self.port, new);
        let (before, index) = (old.map(|p| p.scope), new.map(|p| p.scope));
        if before != index {
            out.push(Action::Interface { name: name.into(), index });
            // Another interface has another neighbour.
            if self.router.take().is_some() {
                out.push(Action::Neighbour { interface: name.into(), address: None });
            }
        }
        if let (true, Some(scope)) = (self.looks && before != index, index) {
            out.push(Action::Join { scope });
        }
        if self.is_ready() && (!was_ready || before != index) {
            // The other end may have been away as well, and have forgotten.
            (self.advertised, self.solicited) = (0, 0);
            self.advertise_at = Some(now);
            self.solicit_at = self.router.is_none().then_some(now);
        }
    }

    fn heard(
        &mut self,
        name: &str,
        from: Ipv6Addr,
        heard: Heard,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        match heard {
            Heard::Solicitation => {
                // All are answered at once, and no faster than advertisements may follow each other.
                let at = self.advertised_at.map_or(now, |at| (at + SOON).max(now));
                self.advertise_at = Some(self.advertise_at.map_or(at, |planned| planned.min(at)));
            }
            Heard::Advertisement { lifetime } => {
                let believed = if lifetime.is_zero() { BELIEF } else { lifetime.max(BELIEF_MIN) };
                let before = self.router.replace((from, now + believed));
                self.solicit_at = None;
                if before.map(|(address, _)| address) != Some(from) {
                    out.push(Action::Neighbour { interface: name.into(), address: Some(from) });
                }
            }
        }
    }

    fn due(&mut self, name: &str, now: Instant, out: &mut Vec<Action>) {
        if self.router.is_some_and(|(_, until)| until <= now) {
            self.router = None;
            (self.solicited, self.solicit_at) = (0, Some(now));
            out.push(Action::Neighbour { interface: name.into(), address: None });
        }
        let Some(scope) = self.port.map(|port| port.scope).filter(|_| self.is_ready()) else {
            return;
        };
        if self.advertise_at.is_some_and(|at| at <= now) {
            self.advertised = self.advertised.saturating_add(1);
            self.advertised_at = Some(now);
            self.advertise_at = Some(now + self.pause(scope));
            out.push(Action::Send { scope, to: ALL_NODES, message: message::advertisement() });
        }
        if self.solicit_at.is_some_and(|at| at <= now) {
            let wait = SOLICIT.saturating_mul(1 << self.solicited.min(8)).min(SOLICIT_MAX);
            self.solicited = self.solicited.saturating_add(1);
            self.solicit_at = Some(now + wait);
            out.push(Action::Send { scope, to: ALL_ROUTERS, message: message::solicitation() });
        }
    }

    /// Until the next advertisement.
    fn pause(&self, scope: u32) -> Duration {
        if self.advertised < FIRST_ONES {
            return SOON;
        }
        // Made of what differs between links and times rather than of chance.
        let mixed = (scope ^ self.advertised.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        INTERVAL - INTERVAL / 4 * (mixed >> 24) / 256
    }
}

#[cfg(test)]
mod tests;
