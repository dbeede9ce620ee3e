//! Spines and leaves, each leaf with a prefix of its own in both families.

use crate::{LinkId, Net, NodeId, Side};
use bgp_core::config::SessionConfig;

/// A two-tier fabric of external sessions: spines share an AS, each leaf has its own.
pub struct Fabric {
    pub spines: Vec<NodeId>,
    pub leaves: Vec<NodeId>,
    /// By leaf, then by spine.
    pub links: Vec<Vec<LinkId>>,
}

impl Net {
    /// `Side::A` in `edit` is the spine.
    pub fn fabric(
        &mut self,
        spines: usize,
        leaves: usize,
        edit: impl Fn(Side, &mut SessionConfig),
    ) -> Fabric {
        let spines: Vec<NodeId> =
            (0..spines).map(|n| self.node(&format!("spine{n}"), 65000)).collect();
        let mut fabric = Fabric { spines, leaves: Vec::new(), links: Vec::new() };
        for n in 0..leaves {
            let leaf = self.node(&format!("leaf{n}"), 64512 + u32::try_from(n).expect("few"));
            self.own(leaf, &format!("10.{}.{}.0/24", n / 256, n % 256));
            self.own(leaf, &format!("fd00:{n:x}::/64"));
            let links =
                fabric.spines.iter().map(|spine| self.link_with(*spine, leaf, &edit)).collect();
            fabric.leaves.push(leaf);
            fabric.links.push(links);
        }
        fabric
    }
}
