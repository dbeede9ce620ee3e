//! What is checked right after a message: of the prefixes that it speaks of.

use crate::Net;
use crate::node::{NodeId, Side};
use crate::shadow::Table;
use crate::tcp::{End, StreamId};
use bgp_core::types::Prefix;
use bgp_core::view::{Match, RibKind, RouteQuery};
use bgp_core::wire::Context;
use std::collections::BTreeMap;

impl Net {
    pub(crate) fn note_sent(
        &mut self,
        stream: StreamId,
        side: Side,
        bytes: &[u8],
        context: &Context,
    ) {
        let it = &mut self.streams[stream.0];
        let log = side.other().of_mut(&mut it.shadows).send(bytes, context);
        it.kept.note_sent(side, &log);
    }

    /// The prefixes that are spoken of.
    pub(crate) fn note_arrived(
        &mut self,
        stream: StreamId,
        side: Side,
        bytes: &[u8],
    ) -> Vec<Prefix> {
        let it = &mut self.streams[stream.0];
        let arrived = side.of_mut(&mut it.shadows).arrive(bytes);
        it.kept.note_heard(side, &arrived.log, arrived.asks_again, self.now);
        arrived.touched
    }

    fn watches(&mut self) -> bool {
        self.watching > 0 && self.random.between(1, self.watching) == 1
    }

    /// The receiver holds what it was told, and has decided by it.
    pub(crate) fn check_heard(&mut self, stream: StreamId, side: Side, touched: &[Prefix]) {
        if touched.is_empty() || !self.watches() {
            return;
        }
        let Some((node, peer)) = self.session(stream, side) else { return };
        let heard = &side.of(&self.streams[stream.0].shadows).heard;
        for prefix in touched {
            self.check_held(node, &peer, prefix, heard);
            self.check_route(node, prefix);
        }
    }

    /// Of one prefix: what is not stale is what was told last.
    fn check_held(&self, node: NodeId, peer: &str, prefix: &Prefix, heard: &Table) {
        let name = &self.nodes[node.0].name;
        let table = self.exactly(node, RibKind::AdjIn, Some(peer.into()), prefix);
        let held = table.iter().map(|p| (p.path_id, p)).collect::<BTreeMap<_, _>>();
        for ((_, id), told) in heard.range((*prefix, 0)..=(*prefix, u32::MAX)) {
            let path = held.get(id).unwrap_or_else(|| panic!("{name} has forgotten {prefix} {id}"));
            assert_eq!(path.attributes, *told, "{name}: {prefix} as {peer} has told it");
        }
        let invented =
            held.values().find(|p| !p.stale && !heard.contains_key(&(*prefix, p.path_id)));
        assert_eq!(invented, None, "{name}: {prefix} from {peer}, which has not told it");
    }

    /// Nothing more to say: the peer has been told what we believe it holds.
    pub(crate) fn check_pulled(&mut self, stream: StreamId, side: Side) {
        if !self.watches() {
            return;
        }
        let Some((node, peer)) = self.session(stream, side) else { return };
        self.check_believed(node, &peer, &side.other().of(&self.streams[stream.0].shadows).sent);
    }

    /// An earlier process may have left in doubt what the peer holds of a prefix: such a one has no
    /// next hop.
    pub(crate) fn check_believed(&self, node: NodeId, peer: &str, sent: &Table) {
        let it = &self.nodes[node.0];
        let Some(speaker) = &it.speaker else { return };
        let mut believed = Table::new();
        let mut doubtful = Vec::new();
        for route in self.table(speaker, RibKind::AdjOut, Some(&peer.to_owned())) {
            for path in route.paths {
                match path.attributes.next_hop.addr().is_unspecified() {
                    true => doubtful.push((route.prefix, path.path_id)),
                    false => drop(believed.insert((route.prefix, path.path_id), path.attributes)),
                }
            }
        }
        assert!(
            doubtful.is_empty() || it.has_resumed,
            "{}: {doubtful:?} without next hop",
            it.name
        );
        let mut sent = sent.clone();
        sent.retain(|key, _| !doubtful.contains(key));
        assert_eq!(believed, sent, "{}: what {peer} was told", it.name);
    }

    /// The node of this end and its peer's address, if this is the session that is up.
    pub(crate) fn session(&self, stream: StreamId, side: Side) -> Option<(NodeId, String)> {
        let it = &self.streams[stream.0];
        let End { node, conn } = (*side.of(&it.ends))?;
        let speaker = self.nodes[node.0].speaker.as_ref()?;
        let link = &self.links[it.link.0];
        let peer = link.address(side.of(&it.place).other()).to_string();
        let up = speaker.connection(speaker.find_peer(&peer)?)?;
        (up == conn).then_some((node, peer))
    }

    pub(crate) fn exactly(
        &self,
        node: NodeId,
        rib: RibKind,
        peer: Option<String>,
        prefix: &Prefix,
    ) -> Vec<bgp_core::view::PathView> {
        let Some(speaker) = &self.nodes[node.0].speaker else { return Vec::new() };
        let exact = Some((*prefix, Match::Exact));
        let query = RouteQuery { rib, peer, prefix: exact, ..RouteQuery::default() };
        let found = speaker.look(&query, &[*prefix], self.now);
        found.into_iter().flat_map(|r| r.paths).collect()
    }
}
