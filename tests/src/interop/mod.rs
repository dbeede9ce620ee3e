//! Feature by feature against five speakers we did not write. A cell is a session of its own, in
//! namespaces of its own: what works is what both sides show afterwards.

mod bird;
mod exabgp;
mod features;
mod frr;
mod gobgp;
mod openbgpd;
mod page;
mod stand;

pub use features::{ALL, Feature};
pub use page::page;
pub use stand::Stand;

use crate::netns::Netns;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    Bird,
    Frr,
    GoBgp,
    OpenBgpd,
    ExaBgp,
}

/// What a speaker is to be and do, in its own words where it has them.
#[derive(Debug, Clone)]
pub struct Wish {
    pub asn: u32,
    pub our_asn: u32,
    pub hold_time: u16,
    pub password: Option<&'static str>,
    /// Several paths a prefix, both ways (RFC 7911). BIRD has two for 198.51.102.0/24.
    pub add_paths: bool,
    /// No packets from further away than one hop (RFC 5082).
    pub ttl_security: bool,
    /// The speaker is our customer (RFC 9234).
    pub customer: bool,
    pub extended_messages: bool,
    /// The path is watched (RFC 5880).
    pub bfd: bool,
    pub via: Via,
    /// The speaker takes no more than so many prefixes of a family from us.
    pub most: Option<u8>,
    /// What we announce, as our file has it.
    pub originate: &'static str,
}

/// What the session runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Ipv4,
    /// And IPv4 prefixes have IPv6 next hops (RFC 8950).
    Ipv6,
    /// The same, over link-local addresses.
    LinkLocal,
}

impl Via {
    #[must_use]
    pub const fn theirs(self) -> &'static str {
        match self {
            Self::Ipv4 => "192.0.2.1",
            Self::Ipv6 => "2001:db8::1",
            Self::LinkLocal => "fe80::1",
        }
    }

    #[must_use]
    pub const fn ours(self) -> &'static str {
        match self {
            Self::Ipv4 => "192.0.2.2",
            Self::Ipv6 => "2001:db8::2",
            Self::LinkLocal => "fe80::2",
        }
    }
}

/// A running speaker with one session, to 192.0.2.2 or 2001:db8::2.
pub trait Peer {
    fn established(&self) -> Result<(), String>;

    /// All it shows of the route for exactly this prefix that it has from us.
    fn route(&self, prefix: &str) -> Result<String, String>;

    /// How it writes such a thing where it shows a route.
    fn spelt(&self, fact: &Fact) -> String;

    /// Asks us for everything again.
    fn refresh(&self) -> Result<(), Lacks>;

    /// All that it tells of its session with us, and of how the last one ended.
    fn session(&self) -> Result<String, String>;

    /// Ends the session with a word to the operator on the other side.
    fn shut_down(&self, why: &str) -> Result<(), Lacks>;

    /// Takes us back after we have told too much, where it waits for its operator.
    fn let_in(&self) {}
}

/// Something of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    AsPath(Vec<u32>),
    /// 64512:200.
    Community,
    /// 64512:3:4.
    LargeCommunity,
    /// The route target 64512:5.
    ExtendedCommunity,
    /// 55.
    Med,
    /// Only to customers, by 64512 (RFC 9234).
    OnlyToCustomer,
    NextHop(&'static str),
}

/// Why a speaker cannot be asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacks(pub &'static str);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Works,
    /// It is nothing that this speaker has.
    Lacks(&'static str),
    Broken(String),
}

impl Speaker {
    pub const ALL: [Self; 5] = [Self::Bird, Self::Frr, Self::GoBgp, Self::OpenBgpd, Self::ExaBgp];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bird => "BIRD",
            Self::Frr => "FRRouting",
            Self::GoBgp => "GoBGP",
            Self::OpenBgpd => "OpenBGPD",
            Self::ExaBgp => "ExaBGP",
        }
    }

    #[must_use]
    pub fn version(self) -> String {
        crate::proc::package_version(match self {
            Self::Bird => "bird2",
            Self::Frr => "frr",
            Self::GoBgp => "gobgpd",
            Self::OpenBgpd => "openbgpd",
            Self::ExaBgp => "exabgp",
        })
    }

    fn start(self, host: &Netns, wish: &Wish) -> Result<Box<dyn Peer>, Lacks> {
        Ok(match self {
            Self::Bird => Box::new(bird::start(host, wish)?),
            Self::Frr => Box::new(frr::start(host, wish)?),
            Self::GoBgp => Box::new(gobgp::start(host, wish)?),
            Self::OpenBgpd => Box::new(openbgpd::start(host, wish)?),
            Self::ExaBgp => Box::new(exabgp::start(host, wish)?),
        })
    }
}

/// Runs cells `width` at a time; the outcomes stand in the order of the cells.
pub fn run(
    cells: &[(&Feature, Speaker)],
    width: usize,
    told: impl Fn(&Feature, Speaker, &Outcome) + Sync,
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![Outcome::Lacks("not run"); cells.len()]);
    std::thread::scope(|scope| {
        for _ in 0..width.min(cells.len()) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some((feature, speaker)) = cells.get(n) else { break };
                    let outcome = cell(feature, *speaker);
                    told(feature, *speaker, &outcome);
                    if let Ok(mut all) = outcomes.lock() {
                        all[n] = outcome;
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_default()
}

/// One cell.
#[must_use]
pub fn cell(feature: &Feature, speaker: Speaker) -> Outcome {
    let attempt = AssertUnwindSafe(|| (feature.check)(speaker));
    match catch_unwind(attempt) {
        Ok(Ok(())) => Outcome::Works,
        Ok(Err(Lacks(what))) => Outcome::Lacks(what),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Outcome::Broken(text.unwrap_or_else(|| "it panicked".to_owned()))
        }
    }
}
