//! A whole speaker between its peers: bytes in, RIBs, decision, bytes out, without a socket or a
//! kernel. Divan shows prefixes a second: 2 Mitem/s are 500 ns each.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use bgp_core::config::{AddPaths, PeerConfig, PolicyName, SessionConfig, SpeakerConfig};
use bgp_core::event::{Action, Event, Link, Start};
use bgp_core::speaker::Speaker;
use bgp_core::types::{Asn, ConnId, Family, NextHop, Prefix, RouterId};
use bgp_core::wire::*;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

const PREFIXES: u32 = 100_000;
/// How many share a set of attributes: about what a full table has.
const PER_SET: usize = 6;
/// What a socket gives, and takes, at a time.
const CHUNK: usize = 64 << 10;
const FAMILY: Family = Family::Ipv4Unicast;
const CONTEXT: Context = Context { four_octet_as: true, internal: false, ..Context::BARE };

const OWN_ASN: Asn = Asn(64512);
/// The peers by the last octet of their addresses: two that announce, one that is told.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const LISTENER: u8 = 3;

fn main() {
    divan::main();
}

/// 100,000 prefixes come from one peer and go to the other.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn load(bencher: Bencher<'_, '_>) {
    let table = announcements(FIRST, 3);
    bencher.counter(ItemsCount::new(PREFIXES)).with_inputs(Lab::new).bench_local_refs(|lab| {
        assert!(lab.feed(FIRST, black_box(&table)) > 0);
        assert_eq!(lab.advertised(), PREFIXES as usize);
    });
}

/// And are all taken back.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn withdraw_all(bencher: Bencher<'_, '_>) {
    let (table, withdrawals) = (announcements(FIRST, 3), withdrawals());
    let loaded = || Lab::loaded(&table);
    bencher.counter(ItemsCount::new(PREFIXES)).with_inputs(loaded).bench_local_refs(|lab| {
        assert!(lab.feed(FIRST, black_box(&withdrawals)) > 0);
        assert_eq!(lab.advertised(), 0);
    });
}

/// A second peer announces the same prefixes by shorter paths: every route changes, and is told.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn second_path_wins(bencher: Bencher<'_, '_>) {
    let (table, second) = (announcements(FIRST, 3), announcements(SECOND, 2));
    let loaded = || Lab::loaded(&table);
    bencher.counter(ItemsCount::new(PREFIXES)).with_inputs(loaded).bench_local_refs(|lab| {
        assert!(lab.feed(SECOND, black_box(&second)) > 0);
        assert_eq!(lab.advertised(), PREFIXES as usize);
    });
}

/// The same by longer paths: compared, kept, and nobody is told.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn second_path_loses(bencher: Bencher<'_, '_>) {
    let (table, second) = (announcements(FIRST, 3), announcements(SECOND, 4));
    let loaded = || Lab::loaded(&table);
    bencher.counter(ItemsCount::new(PREFIXES)).with_inputs(loaded).bench_local_refs(|lab| {
        assert_eq!(lab.feed(SECOND, black_box(&second)), 0);
        assert_eq!(lab.advertised(), PREFIXES as usize);
    });
}

/// A speaker with three sessions, at a moment that never passes.
struct Lab {
    speaker: Speaker,
    now: Instant,
    actions: Vec<Action>,
    sent: Vec<u8>,
}

impl Lab {
    #[allow(clippy::disallowed_methods, reason = "some moment to count from")]
    fn new() -> Self {
        let now = Instant::now();
        let speaker = Speaker::new(config(), Start::default(), now);
        let mut lab = Self { speaker, now, actions: Vec::new(), sent: Vec::new() };
        lab.tell(Event::Blocks(BTreeSet::new()));
        for peer in [FIRST, SECOND, LISTENER] {
            lab.establish(peer);
        }
        lab
    }

    fn loaded(table: &[u8]) -> Self {
        let mut lab = Self::new();
        lab.feed(FIRST, table);
        assert_eq!(lab.advertised(), PREFIXES as usize);
        lab
    }

    fn establish(&mut self, peer: u8) {
        self.tell(Event::Accepted { conn: conn(peer), link: link(peer) });
        let mut bytes = Vec::new();
        open(&offer(peer), &mut bytes);
        keepalive(&mut bytes);
        end_of_rib(FAMILY, &mut bytes);
        self.tell(Event::Received { conn: conn(peer), bytes: &bytes });
        self.pull(peer);
        let view = self.speaker.peers(self.now).remove(usize::from(peer - FIRST));
        assert_eq!(view.state, "Established");
    }

    fn tell(&mut self, event: Event<'_>) {
        self.speaker.handle(event, self.now, &mut self.actions);
        self.actions.clear();
    }

    /// As the shell does it: what has been read goes in, what follows from it goes out. How many
    /// bytes the listener is sent.
    fn feed(&mut self, from: u8, bytes: &[u8]) -> usize {
        let mut sent = 0;
        for bytes in bytes.chunks(CHUNK) {
            self.tell(Event::Received { conn: conn(from), bytes });
            sent += self.pull(LISTENER);
        }
        sent
    }

    fn pull(&mut self, peer: u8) -> usize {
        let mut sent = 0;
        let mut more = true;
        while more {
            more = self.speaker.pull(conn(peer), self.now, CHUNK, &mut self.sent);
            sent += self.sent.len();
            self.sent.clear();
        }
        sent
    }

    /// How many prefixes the listener holds.
    fn advertised(&self) -> usize {
        let peers = self.speaker.peers(self.now);
        peers.iter().flat_map(|peer| &peer.families).map(|family| family.advertised).sum()
    }
}

fn config() -> SpeakerConfig {
    SpeakerConfig {
        asn: OWN_ASN,
        router_id: router_id(100),
        connect_retry: Duration::from_secs(5),
        peers: vec![
            peer(FIRST, PolicyName::All, PolicyName::None),
            peer(SECOND, PolicyName::All, PolicyName::None),
            peer(LISTENER, PolicyName::None, PolicyName::All),
        ],
        ranges: Vec::new(),
        policies: BTreeMap::new(),
        originate: Vec::new(),
        install: false,
        max_paths: 8,
        multipath: bgp_core::config::Multipath::default(),
        med: bgp_core::config::MedRules::default(),
    }
}

fn peer(n: u8, import: PolicyName, export: PolicyName) -> PeerConfig {
    PeerConfig {
        name: format!("peer-{n}"),
        address: address(n).into(),
        interface: None,
        port: 179,
        session: SessionConfig {
            asn: asn(n).into(),
            passive: true,
            hold_time: Duration::from_secs(90),
            families: vec![FAMILY],
            graceful_restart: None,
            route_reflector_client: false,
            import,
            export,
            local_address: None,
            waits_for_bfd: false,
            options: bgp_core::options::Options::default(),
            add_paths: AddPaths::default(),
        },
    }
}

fn offer(n: u8) -> Open {
    Open {
        asn: asn(n),
        hold_time: 90,
        router_id: router_id(n),
        capabilities: vec![
            Capability::Multiprotocol(FAMILY.into()),
            Capability::FourOctetAs(asn(n)),
        ],
    }
}

fn link(n: u8) -> Link {
    Link {
        local: (address(100), 179).into(),
        remote: (address(n), 40000).into(),
        ipv4: Some(address(100)),
        ipv6: None,
        ipv6_link_local: None,
        interface: None,
        scope: 0,
    }
}

fn conn(n: u8) -> ConnId {
    ConnId(n.into())
}

fn asn(n: u8) -> Asn {
    Asn(65000 + u32::from(n))
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n)
}

fn router_id(n: u8) -> RouterId {
    RouterId(Ipv4Addr::new(10, 255, 0, n))
}

/// The table as peer `from` tells it, by paths of `hops` ASs.
fn announcements(from: u8, hops: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (set, prefixes) in (0..).zip(prefixes().chunks(PER_SET)) {
        let attributes = attributes(from, hops, set);
        let count = announce(&CONTEXT, FAMILY, &attributes, prefixes, &mut bytes);
        assert_eq!(count, prefixes.len());
    }
    bytes
}

fn withdrawals() -> Vec<u8> {
    let (prefixes, mut bytes) = (prefixes(), Vec::new());
    let mut left = prefixes.as_slice();
    while !left.is_empty() {
        left = &left[withdraw(&CONTEXT, FAMILY, left, &mut bytes)..];
    }
    bytes
}

fn prefixes() -> Vec<Prefix> {
    let prefix = |i: u32| IpAddr::V4(Ipv4Addr::from(0x0100_0000 + (i << 8)));
    (0..PREFIXES).map(|i| Prefix::containing(prefix(i), 24).unwrap()).collect()
}

/// The `set`th of many, told apart by where it was originated and by a community.
fn attributes(from: u8, hops: u32, set: u32) -> Attributes {
    let transit = (2..hops).map(|hop| Asn(1000 + hop + set % 500));
    let asns = [asn(from)].into_iter().chain(transit).chain([Asn(100_000 + set)]).collect();
    Attributes {
        as_path: AsPath(vec![Segment { kind: SegmentKind::Sequence, asns }]),
        communities: vec![(asn(from).0 << 16) | (set % 1000)],
        ..Attributes::bare(NextHop::V4(address(from)), Origin::Igp)
    }
}
