//! What the configuration says of addresses, as far as the table needs it.

use crate::policy::Policy;
use mainstay_prefix::Prefix;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// In the order they are tried.
    pub pools: Vec<PoolSettings>,
    /// How long nobody but its owner gets a released address.
    pub cooldown: Duration,
    /// How long a released address is kept for its owner, unless its pool or pod says otherwise.
    pub stickiness: Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    pub name: String,
    pub cidr: Prefix,
    /// The blocks this node holds.
    pub blocks: Vec<Prefix>,
    /// The namespaces whose pods it is for, and who get no others then; a trailing `*` stands for
    /// any end. None: for all pods whose namespace has no pool of its own.
    pub namespaces: Vec<String>,
    pub stickiness: Option<Policy>,
    /// From first to last; never handed out.
    pub exclude: Vec<(IpAddr, IpAddr)>,
    /// For one pod or sticky key only.
    pub reserved: BTreeMap<IpAddr, Reservation>,
}

/// Whom an address is reserved for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reservation {
    Pod { namespace: String, name: String },
    StickyKey { namespace: String, key: String },
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "pod {namespace}/{name}"),
            Self::StickyKey { namespace, key } => write!(f, "sticky key {namespace}/{key}"),
        }
    }
}

impl PoolSettings {
    /// A pool for everybody.
    #[must_use]
    pub fn new(name: &str, cidr: Prefix, blocks: Vec<Prefix>) -> Self {
        Self {
            name: name.into(),
            cidr,
            blocks,
            namespaces: Vec::new(),
            stickiness: None,
            exclude: Vec::new(),
            reserved: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Every block of this node.
    pub fn blocks(&self) -> impl Iterator<Item = (&PoolSettings, Prefix)> {
        self.pools.iter().flat_map(|pool| pool.blocks.iter().map(move |block| (pool, *block)))
    }

    /// What taking over `new` changes, one line a change.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let mut out = Vec::new();
        if self.cooldown != new.cooldown {
            let (old, new) = (self.cooldown.as_secs_f64(), new.cooldown.as_secs_f64());
            out.push(format!("cooldown: {old}s -> {new}s"));
        }
        if self.stickiness != new.stickiness {
            out.push(format!("stickiness: {} -> {}", self.stickiness, new.stickiness));
        }
        let has = |set: &Self, name: &str, prefix| {
            set.blocks().any(|(pool, block)| pool.name == name && block == prefix)
        };
        let lost = self.blocks().filter(|(pool, block)| !has(new, &pool.name, *block));
        out.extend(lost.map(|(pool, block)| format!("pool {}: block {block} removed", pool.name)));
        let won = new.blocks().filter(|(pool, block)| !has(self, &pool.name, *block));
        out.extend(won.map(|(pool, block)| format!("pool {}: block {block} added", pool.name)));
        for pool in &new.pools {
            let old = self.pools.iter().find(|old| old.name == pool.name);
            out.extend(old.into_iter().flat_map(|old| pool.differs_from(old)));
        }
        out
    }
}

impl PoolSettings {
    fn differs_from(&self, old: &Self) -> impl Iterator<Item = String> {
        let what = [
            ("namespaces", self.namespaces != old.namespaces),
            ("stickiness", self.stickiness != old.stickiness),
            ("exclude", self.exclude != old.exclude),
            ("reserved", self.reserved != old.reserved),
        ];
        let changed = what.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(what, _)| format!("pool {}: {what} changed", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cooldown: u64, blocks: &[&str]) -> Settings {
        let blocks = blocks.iter().map(|b| b.parse().unwrap()).collect();
        let cidr = "10.0.0.0/8".parse().unwrap();
        Settings {
            pools: vec![PoolSettings::new("default", cidr, blocks)],
            cooldown: Duration::from_secs(cooldown),
            stickiness: Policy::Ttl(Duration::from_secs(60)),
        }
    }

    #[test]
    fn changes_name_only_what_differs() {
        let old = settings(130, &["10.0.0.0/26", "10.0.0.64/26"]);
        assert!(old.changes(&old).is_empty());
        assert_eq!(
            old.changes(&settings(10, &["10.0.0.64/26", "10.0.1.0/26"])),
            [
                "cooldown: 130s -> 10s",
                "pool default: block 10.0.0.0/26 removed",
                "pool default: block 10.0.1.0/26 added",
            ]
        );
    }
}
