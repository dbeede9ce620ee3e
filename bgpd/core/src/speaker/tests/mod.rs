//! The speaker as the shell sees it: events in, actions and bytes out.

mod add_paths;
mod bad_input;
mod bfd;
mod drain;
mod explain;
mod inject;
mod links;
mod monitor;
mod origins;
mod policies;
mod query;
mod refresh;
mod reload;
mod reset;
mod restart;
mod routes;
mod send_hold;
mod survive;
mod table;
mod watch;
mod weights;

use super::*;
use crate::config::{AddPaths, PeerConfig};
use crate::event::Link;
use crate::options::Options;
use crate::report::Cause;
use crate::session::agree::{Offer, RestartOffer};
use crate::testing::{prefix, router_id, session_config, start};
use crate::types::{Asn, Family, NextHop};
use crate::view::{Match, PathView, PeerView, RibKind, RouteQuery};
use crate::wire::{self, AsPath, Attributes, Context, Framer, Message, Segment, SegmentKind};
use std::collections::BTreeSet;
use std::time::Duration;

/// One speaker, AS 64512, and by hand everybody else.
struct Lab {
    speaker: Speaker,
    now: Instant,
    /// What the speaker has asked for and nobody has looked at yet.
    actions: Vec<Action>,
    next_conn: u64,
}

const OTHER_SIDE: Context = Context { four_octet_as: true, internal: false, ..Context::BARE };

impl Lab {
    fn new(config: SpeakerConfig) -> Self {
        Self::starting(config, Start::default())
    }

    fn starting(config: SpeakerConfig, how: Start) -> Self {
        let now = start();
        let speaker = Speaker::new(config, how, now);
        let mut lab = Self { speaker, now, actions: Vec::new(), next_conn: 0 };
        lab.tell(Event::Blocks(BTreeSet::new()));
        lab
    }

    fn tell(&mut self, event: Event<'_>) {
        self.speaker.handle(event, self.now, &mut self.actions);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tell(Event::Due);
    }

    /// The peer at 192.0.2.`n` dials in.
    fn accept(&mut self, n: u8) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.tell(Event::Accepted { conn, link: link(n) });
        conn
    }

    /// The connection that the speaker is dialling.
    fn dialled(&self) -> Option<ConnId> {
        self.actions.iter().rev().find_map(|a| match a {
            Action::Connect { conn, .. } => Some(*conn),
            _ => None,
        })
    }

    fn receive(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.tell(Event::Received { conn, bytes: &bytes });
    }

    /// A session with 192.0.2.`n`, up.
    fn establish(&mut self, n: u8, asn: u32) -> ConnId {
        self.establish_as(n, &offer(n, asn).message())
    }

    /// The same with a peer that says so of itself.
    fn establish_as(&mut self, n: u8, open: &wire::Open) -> ConnId {
        let conn = self.accept(n);
        self.receive(conn, |out| {
            wire::open(open, out);
            wire::keepalive(out);
        });
        assert_eq!(self.peer(n).state, "Established");
        conn
    }

    fn announce(&mut self, conn: ConnId, as_path: &[u32], next_hop: u8, prefixes: &[&str]) {
        let attrs = attributes(as_path, next_hop);
        let prefixes: Vec<Prefix> = prefixes.iter().map(|p| prefix(p)).collect();
        self.receive(conn, |out| {
            wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &prefixes, out);
        });
    }

    fn withdraw(&mut self, conn: ConnId, prefixes: &[&str]) {
        let prefixes: Vec<Prefix> = prefixes.iter().map(|p| prefix(p)).collect();
        self.receive(conn, |out| {
            wire::withdraw(&OTHER_SIDE, Family::Ipv4Unicast, &prefixes, out);
        });
    }

    /// Everything the speaker sends on that connection now, in words.
    fn sent(&mut self, conn: ConnId) -> Vec<String> {
        self.sent_to(conn, &OTHER_SIDE)
    }

    /// The same on an internal session.
    fn sent_inside(&mut self, conn: ConnId) -> Vec<String> {
        self.sent_to(conn, &Context { internal: true, ..OTHER_SIDE })
    }

    fn sent_to(&mut self, conn: ConnId, context: &Context) -> Vec<String> {
        let mut bytes = Vec::new();
        while self.speaker.pull(conn, self.now, 4096, &mut bytes) {}
        let mut framer = Framer::new();
        framer.push(&bytes);
        let mut said = Vec::new();
        while let Some(frame) = framer.next().unwrap() {
            let message = wire::decode(frame, context).unwrap();
            said.push(words(&message));
        }
        said
    }

    fn peer(&self, n: u8) -> PeerView {
        let address = link(n).remote.ip();
        let peers = self.speaker.peers(self.now);
        peers.into_iter().find(|p| p.address == address).expect("a peer")
    }

    fn paths(&self, p: &str) -> Vec<PathView> {
        self.table(RibKind::Loc, None, Some((prefix(p), Match::Exact))).remove(0).paths
    }

    fn table(
        &self,
        rib: RibKind,
        peer: Option<&str>,
        prefix: Option<(Prefix, Match)>,
    ) -> Vec<crate::view::RouteView> {
        let query = RouteQuery { rib, peer: peer.map(Into::into), prefix, ..RouteQuery::default() };
        self.speaker.routes(&query, None, 1000, self.now)
    }

    fn reports(&mut self) -> Vec<Report> {
        let (reports, others) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition::<Vec<_>, _>(|a| matches!(a, Action::Report(_)));
        self.actions = others;
        let report = |a| match a {
            Action::Report(r) => Some(r),
            _ => None,
        };
        reports.into_iter().filter_map(report).collect()
    }

    /// The FIB changes since the last look: "10.0.0.0/8 via 192.0.2.1", "10.0.0.0/8 gone".
    fn fib(&mut self) -> Vec<String> {
        let (fib, others) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition::<Vec<_>, _>(|a| matches!(a, Action::Fib { .. }));
        self.actions = others;
        fib.iter().map(change).collect()
    }
}

fn change(action: &Action) -> String {
    match action {
        Action::Fib { prefix, next_hops: None } => format!("{prefix} gone"),
        Action::Fib { prefix, next_hops: Some(hops) } => {
            let hops: Vec<String> = hops.iter().map(ToString::to_string).collect();
            format!("{prefix} via {}", hops.join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn words(message: &Message<'_>) -> String {
    match message {
        Message::Open(_) => "OPEN".into(),
        Message::Keepalive => "KEEPALIVE".into(),
        Message::Notification(n) => {
            let inner = n.inner().map(|i| format!(": {}/{}", i.code, i.subcode));
            format!("NOTIFICATION {}/{}{}", n.code, n.subcode, inner.unwrap_or_default())
        }
        Message::RouteRefresh(family) => format!("ROUTE-REFRESH {family}"),
        Message::RefreshMark(family, wire::RefreshMark::Begin) => format!("BoRR {family}"),
        Message::RefreshMark(family, wire::RefreshMark::End) => format!("EoRR {family}"),
        Message::RefreshMark(family, mark) => format!("{mark:?} {family}"),
        Message::Update(update) => {
            if let Some(family) = update.end_of_rib {
                return format!("EoR {family}");
            }
            let gone = update.withdrawn.iter().flatten().flat_map(|w| w.nlri);
            let come = update.announced.iter().flatten().flat_map(|a| a.nlri);
            let path = update.attributes.as_ref().map(|a| a.as_path.to_string());
            let marks = update.attributes.as_ref().map(marks).unwrap_or_default();
            let gone = gone.map(|p| format!("-{p}"));
            let come = come.map(|p| format!("+{p} [{}]{marks}", path.clone().unwrap_or_default()));
            gone.chain(come).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Communities, if any, and a local preference that is not the usual one.
fn marks(attributes: &Attributes) -> String {
    let communities = attributes.communities.iter().map(|c| format!(" {}", wire::Community(*c)));
    let preference = attributes.local_pref.filter(|p| *p != 100).map(|p| format!(" pref {p}"));
    communities.chain(preference).collect()
}

fn link(n: u8) -> Link {
    Link {
        local: "192.0.2.100:179".parse().unwrap(),
        remote: format!("192.0.2.{n}:179").parse().unwrap(),
        ipv4: Some("192.0.2.100".parse().unwrap()),
        ipv6: Some("2001:db8::100".parse().unwrap()),
        ipv6_link_local: None,
        interface: None,
        scope: 0,
    }
}

/// What the peer at 192.0.2.`n` says of itself.
fn offer(n: u8, asn: u32) -> Offer {
    Offer {
        asn: Asn(asn),
        router_id: router_id(n),
        peer_as: Asn(64512).into(),
        hold_time: Duration::from_secs(90),
        families: Family::ALL.to_vec(),
        restart: Some(RestartOffer {
            time: Duration::from_secs(120),
            restarting: false,
            forwarding: true,
            notification: false,
            long_lived: Duration::ZERO,
        }),
        options: Options { extended_messages: false, ..Options::default() },
        add_paths: AddPaths { receive: true, send: 8 },
    }
}

fn attributes(as_path: &[u32], next_hop: u8) -> Attributes {
    let asns: Vec<Asn> = as_path.iter().map(|a| Asn(*a)).collect();
    let next_hop = NextHop::V4([192, 0, 2, next_hop].into());
    let as_path = AsPath(vec![Segment { kind: SegmentKind::Sequence, asns }]);
    Attributes { next_hop, as_path, ..crate::testing::attributes(&[]) }
}

fn peer_config(n: u8, asn: u32) -> PeerConfig {
    PeerConfig {
        name: format!("p{n}"),
        address: link(n).remote.ip(),
        interface: None,
        port: 179,
        session: session_config(asn),
    }
}

/// AS 64512 with the given peers (number, AS), which all dial in.
fn config(peers: &[(u8, u32)]) -> SpeakerConfig {
    let passive = |(n, asn): &(u8, u32)| {
        let mut peer = peer_config(*n, *asn);
        peer.session.passive = true;
        peer
    };
    SpeakerConfig {
        asn: Asn(64512),
        router_id: router_id(100),
        connect_retry: Duration::from_secs(5),
        peers: peers.iter().map(passive).collect(),
        ranges: Vec::new(),
        policies: BTreeMap::new(),
        originate: Vec::new(),
        install: true,
        max_paths: 8,
        multipath: crate::config::Multipath::default(),
        med: crate::config::MedRules::default(),
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn down(reports: &[Report]) -> Option<(Cause, usize)> {
    reports.iter().find_map(|r| match r {
        Report::PeerDown { cause, stale, .. } => Some((cause.clone(), *stale)),
        _ => None,
    })
}
