//! Nodes as the model sees them: one route held against it, and a whole net at rest.

use crate::Net;
use crate::model::{Candidate, Neighbour, Plain, Presence, Rest, Told, admit, rank, told_to};
use crate::node::{Attached, NodeId};
use bgp_core::types::Prefix;
use bgp_core::view::{PathView, RibKind};
use std::net::IpAddr;

impl Net {
    pub(crate) fn plain(&self, node: NodeId) -> Plain<'_> {
        let it = &self.nodes[node.0];
        let peers = it.config.peers.iter().zip(&it.links);
        let neighbours = peers.map(|(peer, attached)| {
            let Attached { link, side, back } = *attached;
            let link = &self.links[link.0];
            let other = side.other().of(&link.ends);
            let there = &self.nodes[other.0];
            let session = &peer.session;
            let theirs = &there.config.peers[back].session;
            let several = session.add_paths.send > 0 && theirs.add_paths.receive;
            Neighbour {
                node: other.0,
                back,
                name: &peer.name,
                asn: session.asn.asn().map_or(0, |asn| asn.0),
                id: there.config.router_id.0.to_bits(),
                address: peer.address,
                own: [link.address(side), IpAddr::V6(link.ipv6(side))],
                internal: session.asn == it.config.asn.into(),
                client: session.route_reflector_client,
                import: &session.import,
                export: &session.export,
                options: &session.options,
                several: several.then(|| session.add_paths.send.into()),
                long_lived: theirs.graceful_restart.is_some_and(|r| !r.long_lived.is_zero()),
            }
        });
        let presence = match it.going {
            None => Presence::Serving,
            Some(until) if self.now < until => Presence::LastResort,
            Some(_) => Presence::Gone,
        };
        Plain { config: &it.config, neighbours: neighbours.collect(), presence }
    }

    /// The Loc-RIB has of this prefix what the model makes of the Adj-RIBs-In.
    pub(crate) fn check_route(&self, node: NodeId, prefix: &Prefix) {
        let it = &self.nodes[node.0];
        if it.speaker.is_none() {
            return;
        }
        let me = self.plain(node);
        let own = it.blocks.contains(prefix);
        let mut paths: Vec<Candidate> = Vec::new();
        paths.extend(own.then(|| Candidate { from: None, id: 0, told: Told::own() }));
        for (n, neighbour) in me.neighbours.iter().enumerate() {
            let address = Some(neighbour.address.to_string());
            for path in self.exactly(node, RibKind::AdjIn, address, prefix) {
                let admitted = admit(&me, neighbour, prefix, &Told::from(&*path.attributes));
                let (name, from) = (&it.name, neighbour.name);
                assert_eq!(path.rejected, admitted.is_none(), "{name}: {prefix} from {from}");
                let told = admitted.into_iter();
                paths.extend(told.map(|told| Candidate { from: Some(n), id: path.path_id, told }));
            }
        }
        let expected = rank(&me, paths);
        let expected: Vec<Seen> = expected
            .paths
            .iter()
            .zip(expected.used)
            .map(|(p, used)| Seen::new(&me, p, used))
            .collect();
        let found = self.exactly(node, RibKind::Loc, None, prefix);
        let found: Vec<Seen> = found.iter().map(Seen::of).collect();
        assert_eq!(found, expected, "{}: {prefix}, found and expected", it.name);
    }

    /// Every peer is told what the model makes of the Loc-RIB.
    pub(crate) fn check_exports(&self, node: NodeId, prefix: &Prefix) {
        let it = &self.nodes[node.0];
        let Some(speaker) = &it.speaker else { return };
        let me = self.plain(node);
        let from = |path: &PathView| {
            me.neighbours.iter().position(|n| path.peer.as_deref() == Some(n.name))
        };
        let paths = self.exactly(node, RibKind::Loc, None, prefix).into_iter().map(|path| {
            Candidate { from: from(&path), id: path.path_id, told: Told::from(&*path.attributes) }
        });
        let paths: Vec<Candidate> = paths.collect();
        for (to, neighbour) in me.neighbours.iter().enumerate() {
            let address = neighbour.address.to_string();
            let id = speaker.find_peer(&address);
            if id.and_then(|id| speaker.connection(id)).is_none() {
                continue;
            }
            let mut expected = told_to(&me, to, prefix, &paths);
            let told = self.exactly(node, RibKind::AdjOut, Some(address), prefix);
            let mut told: Vec<(u32, Told)> =
                told.iter().map(|p| (p.path_id, Told::from(&*p.attributes))).collect();
            told.sort();
            expected.sort();
            assert_eq!(told, expected, "{}: {prefix} to {}, told and due", it.name, neighbour.name);
        }
    }

    /// Nothing is on its way and nothing is broken: every node has the routes at which a net of these
    /// configurations comes to rest, whatever has happened to it.
    pub fn check_rest(&self) {
        let nodes: Vec<Plain<'_>> = (0..self.nodes.len()).map(|n| self.plain(NodeId(n))).collect();
        let own = self.nodes.iter().map(|n| n.blocks.clone()).collect();
        let rest = Rest::of(&nodes, own);
        for (n, me) in nodes.iter().enumerate() {
            let Some(speaker) = &self.nodes[n].speaker else { continue };
            let table = self.table(speaker, RibKind::Loc, None);
            let mut found =
                table.iter().map(|r| (r.prefix, r.paths.iter().map(Seen::of).collect()));
            let mut found: std::collections::BTreeMap<Prefix, Vec<Seen>> = found.by_ref().collect();
            for prefix in rest.prefixes(n) {
                let due = rest.route(n, &prefix);
                let due = due.paths.iter().zip(due.used);
                let due: Vec<Seen> = due.map(|(p, used)| Seen::new(me, p, used)).collect();
                let found = found.remove(&prefix).unwrap_or_default();
                assert_eq!(found, due, "{}: {prefix} at rest, found and due", self.nodes[n].name);
            }
            assert!(found.is_empty(), "{}: of nobody at rest: {found:?}", self.nodes[n].name);
        }
    }
}

/// What is compared of a path.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    from: Option<String>,
    id: u32,
    used: bool,
    told: Told,
}

impl Seen {
    fn new(me: &Plain<'_>, path: &Candidate, used: bool) -> Self {
        let from = me.source(path).map(|n| n.name.to_owned());
        Self { from, id: path.id, used, told: path.told.clone() }
    }

    fn of(path: &PathView) -> Self {
        let used = path.peer.is_some() && (path.best || path.multipath);
        let told = Told::from(&*path.attributes);
        Self { from: path.peer.clone(), id: path.path_id, used, told }
    }
}
