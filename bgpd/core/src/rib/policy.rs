//! Which prefixes pass, in and out (RFC 4271 §9.1.1, §9.1.3; RFC 8212).

use super::Kind;
use crate::config::PolicyName;
use crate::policy::Program;
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
    /// Asked by its own means, for many prefixes at a time: see [`Prepared`](crate::policy::Prepared).
    Rules(Arc<Program>),
}

impl Filter {
    /// A name nobody has defined lets nothing pass: the file's reader refuses it long before.
    pub(crate) fn new(name: &PolicyName, programs: &BTreeMap<String, Arc<Program>>) -> Self {
        match name {
            PolicyName::All => Self::All,
            PolicyName::None => Self::None,
            PolicyName::Node => Self::Node,
            PolicyName::Named(name) => {
                programs.get(name).map_or(Self::None, |program| Self::Rules(Arc::clone(program)))
            }
        }
    }

    /// What is left to ask of the rules of a policy is not asked here.
    pub(crate) fn imports(&self, prefix: &Prefix) -> bool {
        match self {
            Self::All | Self::Rules(_) => true,
            Self::None => false,
            Self::Node => prefix.is_default(),
        }
    }

    /// `kind`: of whom the path came from. Rules are not asked here either.
    pub(crate) fn exports(&self, kind: Kind) -> bool {
        match self {
            Self::All | Self::Rules(_) => true,
            Self::None => false,
            Self::Node => kind == Kind::Local,
        }
    }

    pub(crate) const fn program(&self) -> Option<&Arc<Program>> {
        match self {
            Self::Rules(program) => Some(program),
            Self::All | Self::None | Self::Node => None,
        }
    }

    /// Whether what passes may be other than what came.
    pub(crate) fn changes_paths(&self) -> bool {
        self.program().is_some_and(|program| program.changes_paths())
    }

    pub(crate) fn asks_rpki(&self) -> bool {
        self.program().is_some_and(|program| program.asks_rpki())
    }

    /// Whether anything but own prefixes can ever pass.
    pub(crate) const fn exports_learned(&self) -> bool {
        matches!(self, Self::All | Self::Rules(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::prefix;

    #[test]
    fn a_name_that_nobody_has_defined_lets_nothing_pass() {
        let unknown = Filter::new(&PolicyName::Named("no such".into()), &BTreeMap::new());
        assert_eq!(unknown, Filter::None);
    }

    #[test]
    fn node_lets_a_default_route_in_and_own_prefixes_out() {
        assert!(Filter::Node.imports(&prefix("::/0")));
        assert!(!Filter::Node.imports(&prefix("10.0.0.0/8")));
        assert!(Filter::Node.exports(Kind::Local));
        assert!(!Filter::Node.exports(Kind::External));
    }
}
