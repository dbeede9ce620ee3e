//! The four speakers we did not write, as one thing: started with the same options, asked the same
//! questions. What a restart cost is what *they* say of it.

mod bird;
mod frr;
mod gobgp;
mod openbgpd;

use crate::netns::Netns;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Bird,
    Frr,
    GoBgp,
    OpenBgpd,
}

/// What the peer does for one that restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gr {
    Off,
    /// RFC 4724
    On,
    /// and RFC 8538
    Notification,
    /// and RFC 9494
    LongLived,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub gr: Gr,
    pub hold_time: u16,
    pub password: Option<String>,
    /// Sessions with the node; GoBGP and OpenBGPD are asked for one.
    pub sessions: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { gr: Gr::Off, hold_time: 9, password: None, sessions: 1 }
    }
}

/// A session as the peer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub up: bool,
    /// Since when, in milliseconds of the peer's own clock. Peers tell an age and reckon back from
    /// it, so it wavers by up to a second.
    pub since: i64,
    /// How often it has come up.
    pub ups: u64,
}

/// A running speaker on the switch of [`crate::matrix::Net`].
pub trait Peer {
    /// The sessions with the node, always in the same order.
    fn sessions(&self) -> Result<Vec<Session>, String>;

    fn has_route(&self, prefix: &str) -> bool;

    /// IPv4 prefixes it has.
    fn route_count(&self) -> usize;

    /// What it has written so far.
    fn log(&self) -> String;

    /// Whether such a line speaks of our node (and not of the other neighbour).
    fn is_about_node(&self, line: &str) -> bool {
        !line.trim().is_empty()
    }

    /// Stops its processes in their tracks, or lets them go on.
    fn pause(&self, paused: bool);

    /// Ends the sessions with the node, by the operator's command.
    fn reset(&self);
}

/// The addresses of session number `n`: the switch's and the node's.
#[must_use]
pub fn session(n: u16) -> (String, String) {
    match n {
        0 => ("192.0.2.1".into(), "192.0.2.2".into()),
        n => (format!("198.19.0.{n}"), format!("198.19.1.{n}")),
    }
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Bird, Self::Frr, Self::GoBgp, Self::OpenBgpd];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bird => "BIRD",
            Self::Frr => "FRRouting",
            Self::GoBgp => "GoBGP",
            Self::OpenBgpd => "OpenBGPD",
        }
    }

    #[must_use]
    pub fn version(self) -> String {
        crate::proc::package_version(match self {
            Self::Bird => "bird2",
            Self::Frr => "frr",
            Self::GoBgp => "gobgpd",
            Self::OpenBgpd => "openbgpd",
        })
    }

    /// What it can be told to do for one that restarts.
    #[must_use]
    pub const fn modes(self) -> &'static [Gr] {
        match self {
            Self::Bird => &[Gr::Off, Gr::On, Gr::LongLived],
            Self::Frr => &[Gr::Off, Gr::On, Gr::Notification],
            Self::GoBgp => &[Gr::Off, Gr::On, Gr::Notification, Gr::LongLived],
            Self::OpenBgpd => &[Gr::Off, Gr::On],
        }
    }

    /// Whether it puts routes into its host's kernel. GoBGP does so through FRR's zebra only, and
    /// OpenBGPD of this version not on Linux.
    #[must_use]
    pub const fn forwards(self) -> bool {
        matches!(self, Self::Bird | Self::Frr)
    }

    #[must_use]
    pub fn start(self, host: &Netns, options: &Options) -> Box<dyn Peer> {
        match self {
            Self::Bird => Box::new(bird::Switch::start(host, options)),
            Self::Frr => Box::new(frr::Switch::start(host, options)),
            Self::GoBgp => Box::new(gobgp::Switch::start(host, options)),
            Self::OpenBgpd => Box::new(openbgpd::Switch::start(host, options)),
        }
    }
}

impl Gr {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "GR off",
            Self::On => "GR",
            Self::Notification => "GR+N",
            Self::LongLived => "LLGR",
        }
    }
}
