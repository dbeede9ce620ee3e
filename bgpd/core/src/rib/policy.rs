//! Which prefixes pass, in and out (RFC 4271 §9.1.1, §9.1.3; RFC 8212).

use super::Kind;
use crate::config::{Policy, PolicyName, PrefixMatch, Rule};
use crate::types::Prefix;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A policy found by its name, ready to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    All,
    None,
    /// Own prefixes out, at most a default route in: what a node and its switch owe each other.
    Node,
    Rules(Arc<Policy>),
}

impl Filter {
    /// A name nobody has defined lets nothing pass: the file's reader refuses it long before.
    pub(crate) fn new(name: &PolicyName, policies: &BTreeMap<String, Policy>) -> Self {
        match name {
            PolicyName::All => Self::All,
            PolicyName::None => Self::None,
            PolicyName::Node => Self::Node,
            PolicyName::Named(name) => policies
                .get(name)
                .map_or(Self::None, |policy| Self::Rules(Arc::new(policy.clone()))),
        }
    }

    pub(crate) fn imports(&self, prefix: &Prefix) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Node => prefix.is_default(),
            Self::Rules(policy) => policy.accepts(prefix),
        }
    }

    /// `kind`: of whom the path came from.
    pub(crate) fn exports(&self, prefix: &Prefix, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Node => kind == Kind::Local,
            Self::Rules(policy) => policy.accepts(prefix),
        }
    }

    /// Whether anything but own prefixes can ever pass.
    pub(crate) const fn exports_learned(&self) -> bool {
        matches!(self, Self::All | Self::Rules(_))
    }
}

impl Policy {
    fn accepts(&self, prefix: &Prefix) -> bool {
        self.rules.iter().find(|r| r.matches(prefix)).is_some_and(|r| r.accept)
    }
}

impl Rule {
    fn matches(&self, prefix: &Prefix) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|m| m.matches(prefix))
    }
}

impl PrefixMatch {
    fn matches(&self, prefix: &Prefix) -> bool {
        self.within.covers(prefix) && (self.ge..=self.le).contains(&prefix.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::prefix;

    fn bogons() -> Filter {
        let bogon = PrefixMatch { within: prefix("10.0.0.0/8"), ge: 9, le: 24 };
        let rules = vec![
            Rule { prefixes: vec![bogon], accept: false },
            Rule { prefixes: vec![], accept: true },
        ];
        Filter::Rules(Arc::new(Policy { rules }))
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        assert!(!bogons().imports(&prefix("10.1.0.0/16")));
        assert!(bogons().imports(&prefix("10.0.0.0/8")));
        assert!(bogons().imports(&prefix("10.0.0.0/25")));
        assert!(bogons().imports(&prefix("192.0.2.0/24")));
    }

    #[test]
    fn a_policy_that_ends_without_a_match_rejects() {
        assert!(!Filter::Rules(Arc::default()).imports(&prefix("192.0.2.0/24")));
        let unknown = Filter::new(&PolicyName::Named("no such".into()), &BTreeMap::new());
        assert_eq!(unknown, Filter::None);
    }

    #[test]
    fn node_lets_a_default_route_in_and_own_prefixes_out() {
        assert!(Filter::Node.imports(&prefix("::/0")));
        assert!(!Filter::Node.imports(&prefix("10.0.0.0/8")));
        assert!(Filter::Node.exports(&prefix("10.244.1.0/26"), Kind::Local));
        assert!(!Filter::Node.exports(&prefix("0.0.0.0/0"), Kind::External));
    }
}
