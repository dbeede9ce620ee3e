//! Which origins are valid, asked once a route: a sorted table whose entries know what covers them.
//!
//! In the order of prefixes (address, then the shorter first) everything that covers a prefix is the
//! entry before it, or one that covers that entry. So a lookup is one binary search and a short walk
//! upwards. The table is made anew when something changes: that is rare, and a merge.

use super::{Validity, Vrp};
use crate::types::{Asn, Prefix};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Sorted, each once.
    nodes: Vec<Node>,
    /// Those of one prefix side by side, in the order of `nodes`.
    grants: Vec<Grant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    prefix: Prefix,
    /// The nearest that covers it; `u32::MAX`: none.
    parent: u32,
    /// Where its grants begin.
    grants: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    asn: Asn,
    max_len: u8,
}

const NONE: u32 = u32::MAX;

impl Table {
    /// In any order; one that is there twice counts once.
    #[must_use]
    pub fn new(mut vrps: Vec<Vrp>) -> Self {
        vrps.sort_unstable();
        vrps.dedup();
        Self::from_sorted(&vrps)
    }

    /// Sorted and without repetition.
    #[must_use]
    pub fn from_sorted(vrps: &[Vrp]) -> Self {
        let mut table = Self { nodes: Vec::new(), grants: Vec::with_capacity(vrps.len()) };
        for vrp in vrps {
            if table.nodes.last().is_none_or(|last| last.prefix != vrp.prefix) {
                let last = table.nodes.len().checked_sub(1).map_or(NONE, index);
                let parent = table.up_from(last, &vrp.prefix);
                let grants = index(table.grants.len());
                table.nodes.push(Node { prefix: vrp.prefix, parent, grants });
            }
            table.grants.push(Grant { asn: vrp.asn, max_len: vrp.max_len });
        }
        table.nodes.shrink_to_fit();
        table
    }

    /// How many VRPs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.grants.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// RFC 6811 §2. `None`: the path ends in a set, and nobody may have originated it.
    #[must_use]
    pub fn validity(&self, prefix: &Prefix, origin: Option<Asn>) -> Validity {
        let mut verdict = Validity::NotFound;
        for (_, grant) in self.above(prefix) {
            verdict = Validity::Invalid;
            // AS 0 is a promise that nobody originates it (RFC 6483 §4).
            let fits = prefix.len() <= grant.max_len && grant.asn != Asn(0);
            if fits && origin == Some(grant.asn) {
                return Validity::Valid;
            }
        }
        verdict
    }

    /// All that cover this prefix, the nearest first.
    pub fn covering_vrps(&self, prefix: &Prefix) -> impl Iterator<Item = Vrp> {
        self.above(prefix).map(|(prefix, grant)| Vrp {
            prefix,
            max_len: grant.max_len,
            asn: grant.asn,
        })
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Vrp> {
        (0..self.nodes.len()).flat_map(move |i| {
            self.grants_of(i).filter_map(move |grant| {
                let prefix = self.nodes.get(i)?.prefix;
                Some(Vrp { prefix, max_len: grant.max_len, asn: grant.asn })
            })
        })
    }

    /// Whether anything here covers it.
    #[must_use]
    pub fn covers(&self, prefix: &Prefix) -> bool {
        self.covering(prefix) != NONE
    }

    /// What is in one of the two alone, as a table: routes that none of it covers are judged as before.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        let mut apart = Vec::new();
        while let Some(next) = ours.peek().into_iter().chain(theirs.peek()).min().copied() {
            let here = ours.next_if_eq(&next).is_some();
            let there = theirs.next_if_eq(&next).is_some();
            if here != there {
                apart.push(next);
            }
        }
        Self::from_sorted(&apart)
    }

    fn above(&self, prefix: &Prefix) -> impl Iterator<Item = (Prefix, Grant)> {
        let first = self.covering(prefix);
        let up = |at: &u32| Some(self.node(*at)?.parent).filter(|up| *up != NONE);
        let nodes = std::iter::successors(Some(first).filter(|at| *at != NONE), up);
        nodes
            .filter_map(|at| Some((at, self.node(at)?.prefix)))
            .flat_map(|(at, prefix)| self.grants_of(at as usize).map(move |grant| (prefix, *grant)))
    }

    /// The nearest node that covers it.
    fn covering(&self, prefix: &Prefix) -> u32 {
        let behind = self.nodes.partition_point(|node| node.prefix <= *prefix);
        self.up_from(behind.checked_sub(1).map_or(NONE, index), prefix)
    }

    /// The first that covers it, from this node on upwards.
    fn up_from(&self, mut at: u32, prefix: &Prefix) -> u32 {
        while let Some(node) = self.node(at) {
            if node.prefix.covers(prefix) {
                return at;
            }
            at = node.parent;
        }
        NONE
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }

    fn grants_of(&self, at: usize) -> impl Iterator<Item = &Grant> {
        let begin = self.nodes.get(at).map_or(0, |node| node.grants as usize);
        let end = self.nodes.get(at + 1).map_or(self.grants.len(), |node| node.grants as usize);
        self.grants.get(begin..end).unwrap_or_default().iter()
    }
}

/// There are fewer than four thousand million of them: a client takes far less.
fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::prefix;
    use proptest::prelude::*;

    fn vrp(text: &str, max_len: u8, asn: u32) -> Vrp {
        Vrp { prefix: prefix(text), max_len, asn: Asn(asn) }
    }

    #[test]
    fn a_route_is_valid_by_any_vrp_that_covers_it() {
        let table = Table::new(vec![
            vrp("10.0.0.0/8", 16, 65001),
            vrp("10.1.0.0/16", 24, 65002),
            vrp("10.1.0.0/16", 16, 65003),
            vrp("10.2.0.0/16", 16, 0),
            vrp("2001:db8::/32", 48, 65001),
        ]);
        let judge = |p: &str, asn: u32| table.validity(&prefix(p), Some(Asn(asn))).to_string();
        assert_eq!(judge("10.1.0.0/16", 65001), "valid");
        assert_eq!(judge("10.1.2.0/24", 65001), "invalid", "longer than its VRP lets it be");
        assert_eq!(judge("10.1.2.0/24", 65002), "valid");
        assert_eq!(judge("10.1.0.0/16", 65003), "valid");
        assert_eq!(judge("10.2.0.0/16", 0), "invalid", "AS 0 originates nothing");
        assert_eq!(judge("10.2.0.0/16", 65001), "valid", "of the shorter one");
        assert_eq!(judge("11.0.0.0/8", 65001), "not-found");
        assert_eq!(judge("0.0.0.0/0", 65001), "not-found", "covered, not covering");
        assert_eq!(judge("2001:db8:7::/48", 65001), "valid");
        assert_eq!(table.validity(&prefix("10.1.0.0/16"), None), Validity::Invalid);
        assert_eq!(table.validity(&prefix("12.0.0.0/8"), None), Validity::NotFound);
    }

    /// RFC 6811 §2, word by word.
    fn plainly(vrps: &[Vrp], prefix: &Prefix, origin: Option<Asn>) -> Validity {
        let covering: Vec<_> = vrps.iter().filter(|v| v.prefix.covers(prefix)).collect();
        let matched =
            |v: &&&Vrp| prefix.len() <= v.max_len && Some(v.asn) == origin && v.asn != Asn(0);
        match (covering.is_empty(), covering.iter().any(|v| matched(&v))) {
            (true, _) => Validity::NotFound,
            (false, true) => Validity::Valid,
            (false, false) => Validity::Invalid,
        }
    }

    /// Few addresses and many lengths, so that they nest.
    fn any_prefix() -> impl Strategy<Value = Prefix> {
        (any::<bool>(), 0u32..16, 0u8..=6).prop_map(|(v6, bits, len)| {
            let addr = match v6 {
                false => std::net::Ipv4Addr::from(bits << 27).into(),
                true => std::net::Ipv6Addr::from(u128::from(bits) << 123).into(),
            };
            Prefix::containing(addr, len).unwrap()
        })
    }

    fn any_vrps() -> impl Strategy<Value = Vec<Vrp>> {
        let vrp = (any_prefix(), 0u8..4, 0u32..4).prop_map(|(prefix, more, asn)| Vrp {
            prefix,
            max_len: prefix.len() + more,
            asn: Asn(asn),
        });
        prop::collection::vec(vrp, 0..40)
    }

    proptest! {
        #[test]
        fn the_table_judges_like_the_plain_rule(
            vrps in any_vrps(), prefix in any_prefix(), origin in prop::option::of(0u32..4),
        ) {
            let table = Table::new(vrps.clone());
            let origin = origin.map(Asn);
            prop_assert_eq!(
                table.validity(&prefix, origin), plainly(&vrps, &prefix, origin));
            prop_assert_eq!(table.covers(&prefix), vrps.iter().any(|v| v.prefix.covers(&prefix)));
        }

        #[test]
        fn what_the_difference_does_not_cover_is_judged_as_before(
            old in any_vrps(), new in any_vrps(), prefix in any_prefix(), origin in 0u32..4,
        ) {
            let (old, new) = (Table::new(old), Table::new(new));
            let apart = old.difference(&new);
            let judge = |t: &Table| t.validity(&prefix, Some(Asn(origin)));
            prop_assert!(apart.covers(&prefix) || judge(&old) == judge(&new));
            prop_assert!(old.difference(&old).is_empty());
            prop_assert_eq!(Table::new(new.iter().collect()), new);
        }
    }
}
