//! What must hold: always, and when nothing is under way.

use crate::node::{NodeId, Side};
use crate::shadow::Table;
use crate::{Net, parse};
use bgp_core::speaker::Speaker;
use bgp_core::types::{NextHop, Prefix};
use bgp_core::view::{PathView, RibKind, RouteQuery, RouteView};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Net {
    /// What holds after every event: a Loc-RIB of exactly what the Adj-RIBs-In have let in, and no
    /// route whose source is neither connected nor kept as stale.
    pub fn check(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            if let Some(speaker) = &node.speaker {
                self.check_sources(&node.name, speaker);
                self.check_routes(NodeId(n), speaker);
            }
        }
    }

    fn check_sources(&self, name: &str, speaker: &Speaker) {
        let peers = speaker.peers(self.now);
        for route in self.table(speaker, RibKind::Loc, None) {
            for path in &route.paths {
                let Some(from) = &path.peer else { continue };
                let peer = peers.iter().find(|p| p.name == *from);
                let alive = peer.is_some_and(|p| p.state == "Established");
                assert!(
                    alive || path.stale,
                    "{name}: {} from {from}, which is neither up nor restarting",
                    route.prefix
                );
            }
            assert_eq!(
                route.paths.iter().filter(|p| p.best).count(),
                1,
                "{name}: {}",
                route.prefix
            );
        }
    }

    /// Each route by the model, also those that ought to be there and are not.
    fn check_routes(&self, node: NodeId, speaker: &Speaker) {
        let mut known: BTreeSet<Prefix> = self.nodes[node.0].blocks.clone();
        for peer in &self.nodes[node.0].config.peers {
            let heard = self.table(speaker, RibKind::AdjIn, Some(&peer.address.to_string()));
            known.extend(heard.iter().map(|r| r.prefix));
        }
        known.extend(self.table(speaker, RibKind::Loc, None).iter().map(|r| r.prefix));
        for prefix in known {
            self.check_route(node, &prefix);
        }
    }

    /// What holds once nothing is on its way: every peer holds what we believe it holds, every EoR
    /// has been sent, and kernels have what Loc-RIBs say.
    pub fn check_quiet(&self) {
        self.check();
        for link in &self.links {
            for side in [Side::A, Side::B] {
                self.check_told(*side.of(&link.ends), *side.other().of(&link.ends));
            }
        }
        self.check_all_exports();
        for node in &self.nodes {
            if let Some(speaker) = &node.speaker {
                self.check_kernel(&node.name, speaker, &node.kernel);
            }
        }
    }

    fn check_all_exports(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            let Some(speaker) = &node.speaker else { continue };
            for route in self.table(speaker, RibKind::Loc, None) {
                self.check_exports(NodeId(n), &route.prefix);
            }
        }
    }

    fn check_told(&self, from: NodeId, to: NodeId) {
        let (Some(a), Some(b)) = (&self.nodes[from.0].speaker, &self.nodes[to.0].speaker) else {
            return;
        };
        let (from, to) = (&self.nodes[from.0].name, &self.nodes[to.0].name);
        if !is_up(self, a, to) || !is_up(self, b, from) {
            return;
        }
        let told = paths(self.table(a, RibKind::AdjOut, Some(to)));
        let heard = paths(self.table(b, RibKind::AdjIn, Some(from)));
        assert_eq!(told, heard, "what {from} has told {to}, and what {to} has heard");
        let stale = b.peers(self.now).into_iter().find(|p| p.name == *from);
        let families = stale.map(|p| p.families).unwrap_or_default();
        for family in families {
            assert!(family.eor_received, "{to}: no EoR of {} from {from}", family.family);
            assert_eq!(family.stale, 0, "{to}: {} stale from {from}", family.family);
        }
    }

    fn check_kernel(&self, name: &str, speaker: &Speaker, kernel: &BTreeMap<Prefix, Vec<NextHop>>) {
        let mut expected = BTreeMap::new();
        for route in self.table(speaker, RibKind::Loc, None) {
            let used = route.paths.iter().filter(|p| (p.best || p.multipath) && p.peer.is_some());
            let mut hops: Vec<NextHop> = used.map(|p| p.attributes.next_hop).collect();
            hops.sort_unstable();
            if !hops.is_empty() {
                expected.insert(route.prefix, hops);
            }
        }
        assert_eq!(*kernel, expected, "{name}: kernel against Loc-RIB");
    }

    pub(crate) fn table(
        &self,
        speaker: &Speaker,
        rib: RibKind,
        peer: Option<&String>,
    ) -> Vec<RouteView> {
        let query = RouteQuery { rib, peer: peer.cloned(), ..RouteQuery::default() };
        speaker.routes(&query, None, usize::MAX, self.now)
    }

    /// Nothing is on its way; timers may still be set.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty()
    }

    /// Follows the kernels' routes from `node` to an address; the nodes passed, the owner last.
    /// `None`: a node on the way has no route, or the way is a loop. Of equal ways each is tried.
    #[must_use]
    pub fn reaches(&self, node: NodeId, address: IpAddr) -> bool {
        self.follow(node, address, &mut Vec::new())
    }

    fn follow(&self, node: NodeId, address: IpAddr, passed: &mut Vec<NodeId>) -> bool {
        let it = &self.nodes[node.0];
        if it.blocks.iter().any(|b| b.contains(address)) {
            return true;
        }
        if passed.contains(&node) {
            return false;
        }
        passed.push(node);
        let fitting = it.kernel.iter().filter(|(p, _)| p.contains(address));
        let Some((_, hops)) = fitting.max_by_key(|(p, _)| p.len()) else { return false };
        let reached = hops.iter().all(|hop| {
            self.owner(hop.addr()).is_some_and(|next| self.follow(next, address, passed))
        });
        passed.pop();
        reached
    }

    fn owner(&self, address: IpAddr) -> Option<NodeId> {
        self.links.iter().filter(|l| l.up).find_map(|link| {
            let side = [Side::A, Side::B].into_iter().find(|s| link.has(*s, address))?;
            Some(*side.of(&link.ends))
        })
    }

    /// Every node with a prefix reaches the first address of every other's prefixes, by each of
    /// the ways its kernel may choose.
    pub fn assert_all_reach_each_other(&self) {
        for (n, node) in self.nodes.iter().enumerate().filter(|(_, n)| !n.blocks.is_empty()) {
            for other in &self.nodes {
                for block in &other.blocks {
                    let reached = self.reaches(NodeId(n), block.addr());
                    assert!(reached, "{} does not reach {block} of {}", node.name, other.name);
                }
            }
        }
    }

    /// The paths a node has to exactly this prefix.
    #[must_use]
    pub fn paths(&self, node: NodeId, prefix: &str) -> Vec<PathView> {
        let table = self.table(self.speaker(node), RibKind::Loc, None);
        let route = table.into_iter().find(|r| r.prefix == parse(prefix));
        route.map(|r| r.paths).unwrap_or_default()
    }
}

fn is_up(net: &Net, speaker: &Speaker, peer: &str) -> bool {
    speaker.peers(net.now).iter().any(|p| p.name == peer && p.state == "Established")
}

fn paths(table: Vec<RouteView>) -> Table {
    let of = |r: RouteView| r.paths.into_iter().map(move |p| ((r.prefix, p.path_id), p.attributes));
    table.into_iter().flat_map(of).collect()
}
