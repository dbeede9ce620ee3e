//! What a speaker is told, and what it answers.

use crate::config::SpeakerConfig;
use crate::report::Report;
use crate::rpki;
use crate::told::Record;
use crate::types::{ConnId, Gateway, PeerId, Prefix};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub enum Event<'a> {
    /// Somebody dialled in.
    Accepted {
        conn: ConnId,
        link: Link,
    },
    /// An [`Action::Connect`] came true.
    Connected {
        conn: ConnId,
        link: Link,
    },
    /// An [`Action::Connect`] did not.
    ConnectFailed {
        conn: ConnId,
        why: String,
    },
    /// Bytes from the peer, in order, cut anywhere.
    Received {
        conn: ConnId,
        bytes: &'a [u8],
    },
    /// A session that an earlier process of this speaker had, and that is still up. After
    /// `Adopted` and `Blocks`, before anything else of this connection.
    Resumed {
        conn: ConnId,
        session: Box<Resumed>,
    },
    /// The session stays up without this process, which is about to end: nothing is to be said and
    /// nothing is to follow from it. Before `Stop`.
    Left {
        conn: ConnId,
    },
    /// The peer, or the network, has ended the connection.
    Closed {
        conn: ConnId,
        why: String,
    },
    /// A deadline has passed (see `Speaker::deadline`).
    Due,
    /// What BFD finds about the path to a peer (RFC 5882), whenever it is another than before.
    Path {
        peer: IpAddr,
        /// Of a link-local address.
        interface: Option<String>,
        path: Path,
    },
    /// The number of an interface that peers are on, or that it is gone. Before `Adopted`, and
    /// whenever it is another than before.
    Interface {
        name: String,
        index: Option<u32>,
    },
    /// Who is at the other end of an interface, by what the link says; `None`: nobody is heard.
    Neighbour {
        interface: String,
        address: Option<Ipv6Addr>,
    },
    /// The whole set of prefixes this node owns: the kernel's protocol-97 blocks.
    Blocks(BTreeSet<Prefix>),
    /// What the kernel holds of ours (protocol 96), once, before the first peer is dialled.
    Adopted(Vec<InstalledRoute>),
    /// The kernel refused or lost a route; it will be asked again.
    FibFailed {
        prefix: Prefix,
        why: String,
    },
    /// The next hops that routes over several have to do without for now, and why, whenever they are
    /// others than before.
    FibLeftOut(BTreeMap<Gateway, String>),
    /// What the RPKI says of origins (RFC 6811), whenever it is another than before.
    Origins(Arc<rpki::Table>),
    /// A checked configuration takes the place of the old one.
    Configure(Box<SpeakerConfig>),
    /// Take traffic away: every path is told again as the last resort, and withdrawn when `wait` is
    /// over (RFC 8326). Sessions stay.
    Drain {
        wait: Duration,
    },
    Undrain,
    /// Drain, then end every session for good and empty the kernel; ends with [`Report::Left`].
    Leave {
        wait: Duration,
    },
    /// The last event. Restart: every connection is closed silently, so that peers keep our routes
    /// (RFC 4724 §4); the kernel's routes stay.
    Stop,
}

/// What an operator does to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// It ends, with a word to the peer's operator (RFC 9003 §2), and comes up again.
    Hard(String),
    /// The peer is asked for its routes again.
    SoftIn,
    /// The peer is told ours again.
    SoftOut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Not watched, or not up yet.
    Unknown,
    Up,
    /// The peer has switched its BFD off, which says nothing about the path (RFC 5882 §4.2).
    AdminDown,
    /// It was up. `independent`: the peer's C bit, by which its BFD lives on when its BGP restarts.
    Down {
        independent: bool,
        why: String,
    },
}

/// The two ends of a connection, and what the interface under it can be reached by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub ipv6_link_local: Option<Ipv6Addr>,
    /// Its name.
    pub interface: Option<String>,
    /// Its number; 0: not known.
    pub scope: u32,
}

impl Link {
    /// The interface that the other end's address needs to mean something.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.interface.as_deref().filter(|_| is_link_local(self.remote.ip()))
    }
}

/// Of IPv6: IPv4 has nothing that is used like it.
#[must_use]
pub const fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// What the next process of this speaker needs to go on with a session; fixed at Established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    pub peer: String,
    /// As agreed; zero: neither side sends KEEPALIVEs.
    pub hold_time: Duration,
    pub keepalive: Duration,
    /// The two OPENs as messages: what was agreed follows from them.
    pub open_sent: Vec<u8>,
    pub open_received: Vec<u8>,
}

/// A [`Survivor`] in the next process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    pub link: Link,
    pub open_sent: Vec<u8>,
    pub open_received: Vec<u8>,
    /// For how long it has been established.
    pub age: Duration,
    /// For how long nothing has come from the peer.
    pub silent: Duration,
    /// What was said (`Speaker::log`, and what was sent and received since), oldest first.
    pub log: Vec<Record>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledRoute {
    pub prefix: Prefix,
    /// Sorted.
    pub next_hops: Vec<Gateway>,
}

/// How the process came to be (RFC 4724 §4.1): what OPENs may truthfully say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Start {
    /// The R bit: an earlier process of this boot ran here and did not leave.
    pub restarting: bool,
    /// The F bits: the kernel has kept forwarding what that process installed.
    pub forwarding_kept: bool,
    /// An earlier process was told to drain, and nobody has taken that back.
    pub drained: bool,
    /// For how long the process has been starting: peers wait for it too.
    pub elapsed: Duration,
}

impl Start {
    /// After an earlier process of this boot.
    #[must_use]
    pub const fn again(forwarding_kept: bool) -> Self {
        Self { restarting: true, forwarding_kept, drained: false, elapsed: Duration::ZERO }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Dial; answer with `Connected` or `ConnectFailed`.
    Connect {
        conn: ConnId,
        peer: PeerId,
        remote: SocketAddr,
        /// Of a link-local address.
        interface: Option<String>,
        local: Option<IpAddr>,
    },
    /// There is something to send: call `Speaker::pull` whenever the socket has room, until it
    /// answers that nothing is left.
    Wake {
        conn: ConnId,
    },
    /// Send what `pull` still gives, then close; a connection still being dialled is given up.
    /// No `Closed` is expected.
    Close {
        conn: ConnId,
    },
    /// The session is up: `Speaker::survivor` says what must be kept for it to outlive this process.
    Established {
        conn: ConnId,
    },
    /// Bring the kernel to this: `None` removes the route.
    Fib {
        prefix: Prefix,
        next_hops: Option<Arc<[Gateway]>>,
    },
    Report(Report),
}
