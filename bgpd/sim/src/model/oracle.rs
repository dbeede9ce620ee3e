//! Where a net comes to rest when nothing disturbs it: every node says what it has to say until
//! nobody has anything new. No time, no messages, no sessions.

use super::{Candidate, Plain, Ranking, Told, admit, rank, told_to};
use bgp_core::types::Prefix;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The tables of all nodes at rest.
pub(crate) struct Rest<'a> {
    nodes: &'a [Plain<'a>],
    own: Vec<BTreeSet<Prefix>>,
    /// By node: what each neighbour has told it.
    heard: Vec<BTreeMap<Prefix, Heard>>,
}

/// By neighbour.
type Heard = BTreeMap<usize, Vec<(u32, Told)>>;

impl<'a> Rest<'a> {
    pub(crate) fn of(nodes: &'a [Plain<'a>], own: Vec<BTreeSet<Prefix>>) -> Self {
        let mut news: VecDeque<(usize, Prefix)> =
            own.iter().enumerate().flat_map(|(n, own)| own.iter().map(move |p| (n, *p))).collect();
        let mut queued: BTreeSet<(usize, Prefix)> = news.iter().copied().collect();
        let heard = vec![BTreeMap::new(); nodes.len()];
        let mut rest = Self { nodes, own, heard };
        let mut said = 0_u64;
        while let Some((node, prefix)) = news.pop_front() {
            queued.remove(&(node, prefix));
            said += 1;
            assert!(said < 50_000_000, "this net never comes to rest");
            for other in rest.speak(node, &prefix) {
                if queued.insert((other, prefix)) {
                    news.push_back((other, prefix));
                }
            }
        }
        rest
    }

    /// Tells the neighbours; who of them has heard something new.
    fn speak(&mut self, node: usize, prefix: &Prefix) -> Vec<usize> {
        let ranked = self.route(node, prefix);
        let me = &self.nodes[node];
        let mut surprised = Vec::new();
        for (n, neighbour) in me.neighbours.iter().enumerate() {
            let told = told_to(me, n, prefix, &ranked.paths);
            let heard = self.heard[neighbour.node].entry(*prefix).or_default();
            let before = heard.get(&neighbour.back).map_or(&[][..], Vec::as_slice);
            if before != told {
                heard.insert(neighbour.back, told);
                surprised.push(neighbour.node);
            }
        }
        surprised
    }

    /// A node's paths to a prefix.
    pub(crate) fn route(&self, node: usize, prefix: &Prefix) -> Ranking {
        let me = &self.nodes[node];
        let own = self.own[node].contains(prefix);
        let own = own.then(|| Candidate { from: None, id: 0, told: Told::own() });
        let heard = self.heard[node].get(prefix).into_iter().flatten();
        let heard =
            heard.flat_map(|(from, all)| all.iter().map(move |(id, told)| (*from, *id, told)));
        let admitted = heard.filter_map(|(from, id, told)| {
            let told = admit(me, &me.neighbours[from], prefix, told)?;
            Some(Candidate { from: Some(from), id, told })
        });
        rank(me, own.into_iter().chain(admitted).collect())
    }

    /// All prefixes that a node may know.
    pub(crate) fn prefixes(&self, node: usize) -> BTreeSet<Prefix> {
        self.own[node].iter().chain(self.heard[node].keys()).copied().collect()
    }
}
