//! What the configuration says of addresses, as far as the table needs it.

use mainstay_prefix::Prefix;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// In the order they are tried.
    pub pools: Vec<PoolSettings>,
    /// How long nobody but its owner gets a released address.
    pub cooldown: Duration,
    /// How long a released address is kept from others while there is any other; zero: not at all,
    /// and owners are not recognised.
    pub stickiness: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    pub name: String,
    pub cidr: Prefix,
    /// The blocks this node holds.
    pub blocks: Vec<Prefix>,
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
        let mut period = |name, old: Duration, new: Duration| {
            if old != new {
                out.push(format!("{name}: {}s -> {}s", old.as_secs_f64(), new.as_secs_f64()));
            }
        };
        period("cooldown", self.cooldown, new.cooldown);
        period("stickiness", self.stickiness, new.stickiness);
        let has = |set: &Self, name: &str, prefix| {
            set.blocks().any(|(pool, block)| pool.name == name && block == prefix)
        };
        let lost = self.blocks().filter(|(pool, block)| !has(new, &pool.name, *block));
        out.extend(lost.map(|(pool, block)| format!("pool {}: block {block} removed", pool.name)));
        let won = new.blocks().filter(|(pool, block)| !has(self, &pool.name, *block));
        out.extend(won.map(|(pool, block)| format!("pool {}: block {block} added", pool.name)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cooldown: u64, blocks: &[&str]) -> Settings {
        let blocks = blocks.iter().map(|b| b.parse().unwrap()).collect();
        let cidr = "10.0.0.0/8".parse().unwrap();
        Settings {
            pools: vec![PoolSettings { name: "default".into(), cidr, blocks }],
            cooldown: Duration::from_secs(cooldown),
            stickiness: Duration::from_secs(60),
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
