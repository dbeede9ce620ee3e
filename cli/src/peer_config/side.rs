//! One switch as its nodes' file wants it: what every platform has to be told, in no platform's
//! words.

use mainstay_config::{
    self as config, Cluster, Family, Mode, NodeConfig, Peer, PeerSession, PolicyRef, PrefixMatch,
    ResolveError, Rule, Verdict,
};
use mainstay_prefix::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The other side of one of `bgp.peers`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Side {
    pub(crate) peer: String,
    /// The switch's own; none: whoever dials in from the nodes' listen_range.
    pub(crate) address: Option<IpAddr>,
    /// Where the switch listens.
    pub(crate) port: u16,
    pub(crate) asn: u32,
    pub(crate) node_asn: u32,
    /// Where the nodes listen; none: they only dial.
    pub(crate) node_port: Option<u16>,
    /// What the nodes have configured.
    pub(crate) session: PeerSession,
    pub(crate) neighbors: Vec<Neighbor>,
    /// Instead of the neighbours.
    pub(crate) range: Option<Prefix>,
    pub(crate) families: Vec<FamilySide>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbor {
    pub(crate) node: String,
    pub(crate) address: IpAddr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FamilySide {
    pub(crate) family: Family,
    /// How many prefixes a node may announce.
    pub(crate) limit: usize,
    /// How that number came about.
    pub(crate) limit_because: String,
    /// What nodes announce; first match decides, none rejects.
    pub(crate) from_node: Vec<Match>,
    /// What nodes import, in the same way.
    pub(crate) to_node: Vec<Match>,
    /// Nodes take a default route and nothing else: the switch has to make one.
    pub(crate) originate_default: bool,
}

/// One line of a prefix list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) accept: bool,
    pub(crate) within: Prefix,
    pub(crate) ge: u8,
    pub(crate) le: u8,
}

/// BFD as the switch has to have it, in milliseconds: it may send as often as nodes listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BfdSide {
    pub(crate) tx: u128,
    pub(crate) rx: u128,
    pub(crate) multiplier: u8,
}

/// What the operator asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) peer: Option<&'a str>,
    pub(crate) node: Option<&'a str>,
    pub(crate) listen_range: Option<Prefix>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SideError {
    #[error(transparent)]
    Node(#[from] ResolveError),
    #[error("network.mode is none: no node speaks BGP, so no switch has a part in it")]
    NoBgp,
    #[error("no peers; bgp.peers of the file names them")]
    NoPeers,
    #[error("no peer {peer}; there is {known}")]
    UnknownPeer { peer: String, known: String },
    #[error(
        "peer {peer}: the file does not say which {family} address {node} has; give \
         --listen-range PREFIX, or nodes[].address"
    )]
    NoAddress { peer: String, node: String, family: &'static str },
    #[error(
        "peer {peer}: the file lists no nodes, so nobody can name the switch's neighbours; give \
         --listen-range PREFIX"
    )]
    NoNodes { peer: String },
    #[error(
        "peer {peer} has a link-local address: its nodes' own ones are not in the file, and what \
         the switch calls the links is not either"
    )]
    LinkLocal { peer: String },
    #[error(
        "peer {peer}: it may be of any AS (asn: external), and the switch's side begins with its own \
         number; write that for asn"
    )]
    AnyAs { peer: String },
    #[error("peer {peer}: --listen-range {range} does not contain {node}'s address {address}")]
    OutOfRange { peer: String, range: Prefix, node: String, address: IpAddr },
    #[error(
        "peer {peer}: its nodes wait for the switch to dial (passive), which a listen range never \
         does; leave --listen-range away"
    )]
    NobodyDials { peer: String },
}

/// How many peers an error names.
const MOST_NAMED: usize = 12;
/// Longest time from a restart to the last EoR that switches are given by default.
const STALE_TIME: u64 = 360;

/// The switches of the file that were asked for, ordered by name.
pub(crate) fn sides(cluster: &Cluster, wanted: &Wanted<'_>) -> Result<Vec<Side>, SideError> {
    let listed: Vec<&str> = cluster.node_names().collect();
    let names = match wanted.node {
        Some(node) => vec![node],
        // A file without nodes fits every one of them alike.
        None if listed.is_empty() => vec![""],
        None => listed.clone(),
    };
    let mut sides: Vec<Side> = Vec::new();
    for name in names {
        let node = cluster.resolve(name)?;
        if node.network.mode == Mode::None {
            return Err(SideError::NoBgp);
        }
        for found in of_node(&node, &listed) {
            match sides.iter_mut().find(|s| s.peer == found.peer) {
                Some(side) => side.add(&node),
                None => {
                    let mut side = found;
                    side.add(&node);
                    sides.push(side);
                }
            }
        }
    }
    sides.sort_by(|a, b| a.peer.cmp(&b.peer));
    let mut sides = chosen(sides, wanted.peer)?;
    let anonymous = listed.is_empty();
    sides.iter_mut().try_for_each(|side| side.complete(wanted.listen_range, anonymous))?;
    Ok(sides)
}

fn chosen(mut sides: Vec<Side>, peer: Option<&str>) -> Result<Vec<Side>, SideError> {
    if sides.is_empty() {
        return Err(SideError::NoPeers);
    }
    let Some(peer) = peer else { return Ok(sides) };
    let known = known(&sides);
    sides.retain(|side| side.peer == peer);
    if sides.is_empty() {
        return Err(SideError::UnknownPeer { peer: peer.into(), known });
    }
    Ok(sides)
}

fn known(sides: &[Side]) -> String {
    let names: Vec<_> = sides.iter().take(MOST_NAMED).map(|s| s.peer.as_str()).collect();
    match sides.len().saturating_sub(MOST_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The node's peers; other nodes of a mesh are no switches.
fn of_node(node: &NodeConfig, listed: &[&str]) -> Vec<Side> {
    let is_node = |name: &str| name.strip_prefix("mesh-").is_some_and(|n| listed.contains(&n));
    let fixed = node.bgp.peers.iter().filter(|p| !is_node(&p.name));
    // Who is found on a link has a link-local address, whichever.
    let anyone = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0));
    let at = |p: &Peer| (p.address.unwrap_or(anyone), p.port);
    let fixed = fixed.map(|p| Side::new(node, &p.name, Some(at(p)), &p.session));
    let ranges = node.bgp.ranges.iter().map(|r| Side::new(node, &r.name, None, &r.session));
    fixed.chain(ranges).collect()
}

impl Side {
    fn new(
        node: &NodeConfig,
        peer: &str,
        at: Option<(IpAddr, u16)>,
        session: &PeerSession,
    ) -> Self {
        Self {
            peer: peer.into(),
            address: at.map(|(address, _)| address),
            port: at.map_or(179, |(_, port)| port),
            // Anyone's is refused in `complete`.
            asn: session.asn.number().unwrap_or(0),
            node_asn: node.bgp.asn,
            node_port: node.bgp.listen.as_ref().map(|l| l.port),
            session: session.clone(),
            neighbors: Vec::new(),
            range: None,
            families: session.families.iter().map(|f| FamilySide::new(*f, node, session)).collect(),
        }
    }

    /// Another node that has this peer.
    fn add(&mut self, node: &NodeConfig) {
        let address = self.session.local_address.or(node.address).filter(|a| self.speaks(*a));
        let unknown = self.unknown_address();
        let address = address.unwrap_or(unknown);
        self.neighbors.push(Neighbor { node: node.name.clone(), address });
        for family in &mut self.families {
            family.add(node, &self.session);
        }
    }

    /// Whether a session from there to the switch is possible.
    fn speaks(&self, address: IpAddr) -> bool {
        self.address.is_none_or(|own| own.is_ipv4() == address.is_ipv4())
    }

    /// Stands for an address that the file does not have.
    fn unknown_address(&self) -> IpAddr {
        match self.address {
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// Everything that can be said is said, or what is missing is named.
    fn complete(&mut self, range: Option<Prefix>, anonymous: bool) -> Result<(), SideError> {
        let peer = || self.peer.clone();
        if matches!(self.address, Some(IpAddr::V6(a)) if a.is_unicast_link_local()) {
            return Err(SideError::LinkLocal { peer: peer() });
        }
        if self.session.asn.number().is_none() {
            return Err(SideError::AnyAs { peer: peer() });
        }
        if let Some(range) = range {
            if self.session.passive {
                return Err(SideError::NobodyDials { peer: peer() });
            }
            let known = || self.neighbors.iter().filter(|n| !n.address.is_unspecified());
            if let Some(n) = known().find(|n| !range.contains(n.address)) {
                let (node, address) = (n.node.clone(), n.address);
                return Err(SideError::OutOfRange { peer: peer(), range, node, address });
            }
            self.range = Some(range);
        } else if anonymous && self.session.local_address.is_none() {
            return Err(SideError::NoNodes { peer: peer() });
        } else if let Some(n) = self.neighbors.iter().find(|n| n.address.is_unspecified()) {
            let family = if n.address.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(SideError::NoAddress { peer: peer(), node: n.node.clone(), family });
        }
        self.families.iter_mut().for_each(FamilySide::settle);
        Ok(())
    }

    pub(crate) fn is_internal(&self) -> bool {
        self.asn == self.node_asn
    }

    /// What platforms call the group of these sessions.
    pub(crate) fn group(&self) -> String {
        format!("MAINSTAY-{}", self.peer)
    }

    pub(crate) fn hold(&self) -> u64 {
        self.session.hold_time.as_secs()
    }

    pub(crate) fn keepalive(&self) -> u64 {
        self.hold() / 3
    }

    /// How long nodes ask to be waited for; none: they do not restart gracefully.
    pub(crate) fn restart_time(&self) -> Option<u64> {
        let gr = &self.session.graceful_restart;
        gr.enabled.then_some(gr.restart_time.as_secs())
    }

    /// How long the switch should keep stale paths: all of a restart and the telling after it.
    pub(crate) fn stale_time(&self) -> Option<u64> {
        self.restart_time().map(|time| STALE_TIME.max(time + 120))
    }

    pub(crate) fn long_lived(&self) -> Option<u64> {
        let time = self.session.graceful_restart.long_lived;
        (self.session.graceful_restart.enabled && time > Duration::ZERO).then_some(time.as_secs())
    }

    pub(crate) fn notification(&self) -> bool {
        let gr = &self.session.graceful_restart;
        gr.enabled && gr.notification
    }

    pub(crate) fn bfd(&self) -> Option<BfdSide> {
        let ours = self.session.bfd?;
        let (tx, rx) = (ours.min_rx.as_millis(), ours.min_tx.as_millis());
        Some(BfdSide { tx, rx, multiplier: ours.multiplier })
    }

    /// Its BFD goes over several hops (RFC 5883).
    pub(crate) fn is_far(&self) -> bool {
        self.is_internal() || self.session.multihop.is_some()
    }

    /// The nodes dial, the switch may wait.
    pub(crate) fn must_wait(&self) -> bool {
        self.node_port.is_none()
    }

    /// Next hops of one prefix: as many as there are nodes, within what platforms allow.
    pub(crate) fn paths(&self) -> usize {
        self.neighbors.len().next_power_of_two().clamp(16, 64)
    }

    /// Of the session itself: the switch's address if it has to be said.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        let needed = self.session.multihop.is_some() || self.is_internal();
        self.address.filter(|_| needed)
    }

    /// Families other than the session's own, whose next hops need a thought.
    pub(crate) fn foreign_family(&self) -> Option<Family> {
        let of = |a: IpAddr| if a.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let own = self.neighbors.first().map(|n| of(n.address)).or_else(|| self.address.map(of))?;
        self.families.iter().map(|f| f.family).find(|f| *f != own)
    }
}

impl FamilySide {
    fn new(family: Family, node: &NodeConfig, session: &PeerSession) -> Self {
        let policy = |policy: &PolicyRef| rules(policy, node, family);
        let default = any(family).within;
        let to_node = match &session.import {
            PolicyRef::Node => vec![Match { accept: true, within: default, ge: 0, le: 0 }],
            other => policy(other),
        };
        let from_node = match &session.export {
            PolicyRef::Node => own_prefixes(node, family),
            other => policy(other),
        };
        Self {
            family,
            limit: 0,
            limit_because: String::new(),
            from_node,
            to_node,
            originate_default: session.import == PolicyRef::Node,
        }
    }

    /// `limit` counts first, `settle` makes the limit of it.
    fn add(&mut self, node: &NodeConfig, session: &PeerSession) {
        let own = announced(node, self.family);
        if session.export == PolicyRef::Node {
            self.limit = self.limit.max(own);
            self.limit_because.clear();
        } else {
            self.limit += own;
            self.limit_because = "may pass on what it learns".into();
        }
        for more in own_prefixes(node, self.family) {
            if session.export == PolicyRef::Node && !self.from_node.contains(&more) {
                self.from_node.push(more);
            }
        }
    }

    fn settle(&mut self) {
        let today = self.limit;
        let plural = if today == 1 { "prefix" } else { "prefixes" };
        if self.limit_because.is_empty() {
            self.limit = (today * 4).max(32);
            self.limit_because = format!(
                "a node announces {today} {plural} today (its blocks and bgp.originate), four times \
                 that and at least 32 leave room to grow"
            );
        } else {
            self.limit = (today * 4).max(1000);
            self.limit_because = format!(
                "a node {}; all of them have {today} {plural} of their own, four times that and at \
                 least 1000 leave room",
                self.limit_because
            );
        }
    }
}

fn is_of(family: Family, prefix: &Prefix) -> bool {
    prefix.is_ipv4() == (family == Family::Ipv4)
}

fn any(family: Family) -> Match {
    let (addr, le) = match family {
        Family::Ipv4 => (IpAddr::from(Ipv4Addr::UNSPECIFIED), 32),
        Family::Ipv6 => (IpAddr::from(Ipv6Addr::UNSPECIFIED), 128),
    };
    // A host prefix's address, at length zero.
    let within = Prefix::containing(addr, 0).unwrap_or_else(|_| Prefix::host(addr));
    Match { accept: true, within, ge: 0, le }
}

fn announced(node: &NodeConfig, family: Family) -> usize {
    let blocks = node.ipam.pools.iter().flat_map(|p| &p.blocks);
    blocks.chain(&node.bgp.originate).filter(|p| is_of(family, p)).count()
}

/// Blocks of every pool, at the length they have, and what is originated besides.
fn own_prefixes(node: &NodeConfig, family: Family) -> Vec<Match> {
    let pools = node.ipam.pools.iter().filter(|pool| is_of(family, &pool.cidr));
    let blocks = pools.map(|pool| {
        let longest = if pool.cidr.is_ipv4() { 32 } else { 128 };
        let lengths = pool.blocks.iter().map(Prefix::len);
        let (ge, le) = match (lengths.clone().min(), lengths.max()) {
            (Some(ge), Some(le)) => (ge, le),
            _ => (pool.cidr.len(), longest),
        };
        Match { accept: true, within: pool.cidr, ge, le }
    });
    let exact = |p: &Prefix| Match { accept: true, within: *p, ge: p.len(), le: p.len() };
    let originated = node.bgp.originate.iter().filter(|p| is_of(family, p)).map(exact);
    blocks.chain(originated).collect()
}

fn rules(policy: &PolicyRef, node: &NodeConfig, family: Family) -> Vec<Match> {
    match policy {
        PolicyRef::All | PolicyRef::Node => vec![any(family)],
        PolicyRef::None => Vec::new(),
        PolicyRef::Named(name) => {
            let rules = node.bgp.policies.get(name).map_or(&[][..], Vec::as_slice);
            rules.iter().flat_map(|rule| of_rule(rule, family)).collect()
        }
    }
}

/// The other side lets pass what may pass here: of a rule that asks for more than prefixes, only that
/// it may accept them is said.
fn of_rule(rule: &Rule, family: Family) -> Vec<Match> {
    let asks = &rule.matches;
    let accept = rule.action == Verdict::Accept;
    let by_prefix = config::Match { prefix: asks.prefix.clone(), ..config::Match::default() };
    let wanted = asks.family.is_none_or(|f| f == family);
    let plain = config::Match { family: None, ..asks.clone() } == by_prefix;
    if rule.action == Verdict::Next || !wanted || !accept && !plain {
        return Vec::new();
    }
    let Some(prefixes) = &asks.prefix else { return vec![Match { accept, ..any(family) }] };
    let of = |m: &PrefixMatch| {
        let matches = Match { accept, within: m.within, ge: m.ge, le: m.le };
        is_of(family, &m.within).then_some(matches)
    };
    prefixes.iter().filter_map(of).collect()
}
