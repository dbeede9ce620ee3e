//! From this node's configuration to what the speaker, the sockets and the kernel are told.

use crate::collect::Wanted as Collect;
use crate::kernel::Target;
use crate::neighbours::{self, Wanted};
use crate::sockopt::{BadKey, Key};
use crate::tcp_ao::{self, AoKey};
use bgp_core::config::SpeakerConfig;
use bgp_core::event::{Link, is_link_local};
use bgp_plan::{hops, least_ttl, listen, speaker, ttl};
use keeper::bfd::{Hops, Settings};
use mainstay_config as config;
use mainstay_prefix::Prefix;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) speaker: SpeakerConfig,
    pub(crate) transport: Transport,
    /// That peers are on.
    pub(crate) interfaces: Wanted,
    /// Empty: connect only.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) target: Target,
    /// How long sessions are held while no speaker runs; zero: not at all.
    pub(crate) max_orphan: Duration,
    pub(crate) collect: Collect,
    pub(crate) warnings: Vec<String>,
}

/// How the packets of a session travel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Way {
    /// `None`: the host's default.
    pub(crate) ttl: Option<u8>,
    /// What the peer's packets have to have left of theirs (RFC 5082); 0: anything.
    pub(crate) least_ttl: u8,
    pub(crate) key: Option<Key>,
    /// TCP-AO instead of it; the first one signs.
    pub(crate) ao: Vec<AoKey>,
    pub(crate) bfd: Option<Watch>,
}

/// The other end: a link-local address means something on one interface alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Remote {
    pub(crate) ip: IpAddr,
    pub(crate) zone: Option<String>,
}

impl Remote {
    pub(crate) fn new(ip: IpAddr, interface: Option<&str>) -> Self {
        let zone = interface.filter(|_| is_link_local(ip));
        Self { ip, zone: zone.map(Into::into) }
    }
}

impl From<&Link> for Remote {
    fn from(link: &Link) -> Self {
        Self::new(link.remote.ip(), link.zone())
    }
}

/// How BFD is to watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) settings: Settings,
    pub(crate) hops: Hops,
    pub(crate) local: Option<IpAddr>,
}

/// The ways to all peers and ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Transport {
    peers: BTreeMap<Remote, Way>,
    /// To whoever is found on these interfaces.
    unnumbered: BTreeMap<String, Way>,
    /// Who that is, where it is known: a key in the kernel belongs to an address.
    found: BTreeMap<String, IpAddr>,
    ranges: Vec<(Prefix, Way)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("peer {peer}: cannot read the key in {at} {path}", path = path.display())]
    ReadKey { peer: String, at: &'static str, path: PathBuf, source: std::io::Error },
    #[error("peer {peer}: the key in {at} {path} {why}", path = path.display())]
    BadKey { peer: String, at: &'static str, path: PathBuf, why: BadKey },
}

impl Plan {
    /// Reads the peers' key files as well.
    pub(crate) fn new(node: &config::NodeConfig) -> Result<Self, PlanError> {
        let bgp = &node.bgp;
        let mut warnings = Vec::new();
        let transport = Transport::new(bgp, &mut warnings)?;
        let fib = &bgp.fib;
        let listen = listen(bgp);
        let target = Target {
            install: fib.install,
            table: fib.table,
            metric: fib.metric,
            adopt: fib.adopt.iter().map(|who| who.protocol()).collect(),
            objects: fib.nexthop_objects,
        };
        let max_orphan = node.keeper.max_orphan;
        let collect = Collect::new(bgp);
        let interfaces = neighbours::wanted(bgp);
        let speaker = speaker(bgp);
        Ok(Self { speaker, transport, interfaces, listen, target, max_orphan, collect, warnings })
    }
}

impl Transport {
    fn new(bgp: &config::Bgp, warnings: &mut Vec<String>) -> Result<Self, PlanError> {
        let mut transport = Self::default();
        for peer in &bgp.peers {
            let way = way(bgp.asn, &peer.name, &peer.session, warnings)?;
            match (peer.address, &peer.interface) {
                (Some(ip), interface) => {
                    transport.peers.insert(Remote::new(ip, interface.as_deref()), way);
                }
                (None, Some(interface)) => {
                    transport.unnumbered.insert(interface.clone(), way);
                }
                (None, None) => {}
            }
        }
        for range in &bgp.ranges {
            let way = way(bgp.asn, &range.name, &range.session, warnings)?;
            transport.ranges.push((range.range, way));
        }
        // The narrowest range that holds an address comes first.
        transport.ranges.sort_by_key(|(range, _)| std::cmp::Reverse(range.len()));
        Ok(transport)
    }

    #[cfg(test)]
    pub(crate) fn to(peer: IpAddr, way: Way) -> Self {
        Self { peers: [(Remote::new(peer, None), way)].into(), ..Self::default() }
    }

    /// The way to whoever has this address.
    #[must_use]
    pub(crate) fn way(&self, to: &Remote) -> Way {
        let link = || self.unnumbered.get(to.zone.as_deref()?);
        let range = || self.ranges.iter().find(|(r, _)| r.contains(to.ip)).map(|(_, way)| way);
        self.peers.get(to).or_else(link).or_else(range).cloned().unwrap_or_default()
    }

    /// Whoever is at the other end of this interface now; it may be a peer without an address.
    pub(crate) fn find(&mut self, interface: &str, address: Option<IpAddr>) {
        match address.filter(|_| self.unnumbered.contains_key(interface)) {
            Some(address) => self.found.insert(interface.into(), address),
            None => self.found.remove(interface),
        };
    }

    /// The same neighbours as another one, on the interfaces that peers are still on.
    pub(crate) fn find_as(&mut self, other: &Self) {
        for (interface, address) in &other.found {
            self.find(interface, Some(*address));
        }
    }

    /// How many peers and ranges have BFD.
    pub(crate) fn watched(&self) -> usize {
        let ranges = self.ranges.iter().map(|(_, way)| way);
        let peers = self.peers.values().chain(self.unnumbered.values());
        peers.chain(ranges).filter(|way| way.bfd.is_some()).count()
    }

    /// Who has to sign what they send.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (Prefix, &Key)> {
        let found = self.found.iter();
        let found =
            found.filter_map(|(at, ip)| Some((Prefix::host(*ip), self.unnumbered.get(at)?)));
        let peers = self.peers.iter().map(|(addr, way)| (Prefix::host(addr.ip), way));
        let ranges = self.ranges.iter().map(|(range, way)| (*range, way));
        found.chain(peers).chain(ranges).filter_map(|(who, way)| Some((who, way.key.as_ref()?)))
    }

    /// Whose packets have to be signed by TCP-AO.
    pub(crate) fn ao_keys(&self) -> impl Iterator<Item = (Prefix, &AoKey)> {
        let peers = self.peers.iter().map(|(addr, way)| (Prefix::host(addr.ip), way));
        let ranges = self.ranges.iter().map(|(range, way)| (*range, way));
        peers.chain(ranges).flat_map(|(who, way)| way.ao.iter().map(move |key| (who, key)))
    }
}

fn way(
    asn: u32,
    name: &str,
    session: &config::PeerSession,
    warnings: &mut Vec<String>,
) -> Result<Way, PlanError> {
    let (ttl, least_ttl) = (ttl(asn, session), least_ttl(session));
    let mut read = |at, path: &PathBuf| key(name, (at, path), warnings);
    let key = session.password_file.as_ref().map(|p| read("password_file", p)).transpose()?;
    let ao = session.tcp_ao.iter().map(|k| Ok(AoKey::new(k, read("tcp_ao", &k.file)?)));
    let ao = ao.collect::<Result<Vec<_>, PlanError>>()?;
    if !ao.is_empty() && !tcp_ao::is_there() {
        warnings.push(format!("peer {name} stays down: {}", tcp_ao::MISSING));
    }
    let bfd = watch(hops(asn, session), session);
    Ok(Way { ttl, least_ttl, key, ao, bfd })
}

/// Over several hops (RFC 5883) where the session itself may be.
fn watch(hops: Option<u8>, session: &config::PeerSession) -> Option<Watch> {
    let bfd = session.bfd?;
    let hops = match hops {
        Some(1) => Hops::Single,
        // Sent with 255, and one less at each router between.
        Some(hops) => Hops::Multi { min_ttl: 0u8.wrapping_sub(hops) },
        None => Hops::Multi { min_ttl: 1 },
    };
    let config::Bfd { min_tx, min_rx, multiplier, .. } = bfd;
    let settings = Settings { min_tx, min_rx, multiplier, admin_down: false };
    Some(Watch { settings, hops, local: session.local_address })
}

/// `at`: the key of the file that names it.
fn key(
    peer: &str,
    (at, path): (&'static str, &Path),
    warnings: &mut Vec<String>,
) -> Result<Key, PlanError> {
    let io = |source| PlanError::ReadKey { peer: peer.into(), at, path: path.into(), source };
    let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        warnings.push(format!(
            "peer {peer}: {at} {} may be read by others (mode {:03o}); chmod 600 it",
            path.display(),
            mode & 0o777
        ));
    }
    let octets = std::fs::read(path).map_err(io)?;
    let octets = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let octets = octets.strip_suffix(b"\r").unwrap_or(octets);
    Key::new(octets).map_err(|why| PlanError::BadKey {
        peer: peer.into(),
        at,
        path: path.into(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
nodes:
  - {name: node-a, address: 192.0.2.11}
network: {mode: bgp, families: [ipv4, ipv6]}
bgp:
  asn: 64512
  peers:
    - {name: tor, address: 192.0.2.1, asn: 65001, password_file: KEY, bfd: {min_tx: 50ms}}
    - {name: far, address: 198.51.100.1, asn: 65002, multihop: 3, bfd: true}
    - {name: rr, address: 192.0.2.2, asn: 64512}
    - {name: pods, listen_range: 192.0.2.0/24, asn: 65003, passive: true}
ipam:
  pools: [{name: default, cidr: 10.244.0.0/16, block_size: 26}]
";

    fn plan(key: &[u8], mode: u32) -> Result<Plan, PlanError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tor.key");
        std::fs::write(&path, key).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let file = dir.path().join("mainstay.yaml");
        std::fs::write(&file, FILE.replace("KEY", &path.display().to_string())).unwrap();
        let cluster = mainstay_config::read(&file).unwrap();
        Plan::new(&cluster.resolve("node-a").unwrap())
    }

    #[test]
    fn each_peer_is_reached_its_own_way() {
        let plan = plan(b"secret\n", 0o600).unwrap();
        let way = |addr: &str| plan.transport.way(&Remote::new(addr.parse().unwrap(), None));
        assert_eq!(way("192.0.2.1").ttl, Some(1));
        assert_eq!(way("192.0.2.1").key, Some(Key::new(b"secret").unwrap()));
        assert_eq!(way("198.51.100.1").ttl, Some(3));
        assert_eq!(way("192.0.2.2"), Way::default());
        let watch = |addr: &str| way(addr).bfd.unwrap();
        assert_eq!(watch("192.0.2.1").hops, Hops::Single);
        assert_eq!(watch("192.0.2.1").settings.min_tx, Duration::from_millis(50));
        assert_eq!(watch("198.51.100.1").hops, Hops::Multi { min_ttl: 253 });
        assert_eq!(plan.transport.watched(), 2);
        assert_eq!(way("192.0.2.99").ttl, Some(1), "of the range");
        assert_eq!(plan.transport.keys().count(), 1);
        assert_eq!(plan.warnings, [""; 0]);
        assert_eq!(plan.listen.len(), 2);
    }

    #[test]
    fn a_key_of_a_link_is_whoevers_is_found_there() {
        let key = Key::new(b"secret").unwrap();
        let way = Way { key: Some(key.clone()), ..Way::default() };
        let mut transport =
            Transport { unnumbered: [("eth0".into(), way)].into(), ..Transport::default() };
        assert_eq!(transport.keys().count(), 0);
        let there: IpAddr = "fe80::1".parse().unwrap();
        transport.find("eth0", Some(there));
        transport.find("eth1", Some("fe80::2".parse().unwrap()));
        assert_eq!(transport.keys().collect::<Vec<_>>(), [(Prefix::host(there), &key)]);
        let mut read_again = Transport { found: BTreeMap::new(), ..transport.clone() };
        read_again.find_as(&transport);
        assert_eq!(read_again, transport);
        transport.find("eth0", None);
        assert_eq!(transport.keys().count(), 0);
    }

    #[test]
    fn a_key_that_others_may_read_is_worth_a_warning() {
        let plan = plan(b"secret", 0o644).unwrap();
        assert!(plan.warnings[0].contains("mode 644"), "{:?}", plan.warnings);
    }

    #[test]
    fn a_key_that_cannot_be_used_names_peer_and_file() {
        let error = plan(&[b'x'; 81], 0o600).unwrap_err().to_string();
        assert!(error.starts_with("peer tor: the key in password_file "), "{error}");
        assert!(error.ends_with("is 81 octets long; TCP MD5 takes at most 80"), "{error}");
    }
}
