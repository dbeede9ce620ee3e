//! What a cell saw.

use crate::stream::Loss;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// As the peer counts them.
    pub sessions_lost: u64,
    /// Changes of the judged routes in the node's kernel, the switch's, and the one behind it.
    pub events: [Vec<String>; 3],
    pub to_node: Loss,
    pub from_node: Loss,
    /// New lines about us in the peer's log.
    pub log: Vec<String>,
    /// By our keeper and speaker, all the time: for whoever looks for the reason.
    pub said: String,
    /// From the end of the old process until all was as before.
    pub millis: u128,
}

impl Verdict {
    #[must_use]
    pub const fn packets_lost(&self) -> u64 {
        self.to_node.lost() + self.from_node.lost()
    }

    #[must_use]
    pub fn routes_moved(&self) -> usize {
        self.events.iter().map(Vec::len).sum()
    }

    /// Nothing at all was seen by anybody.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.sessions_lost == 0
            && self.routes_moved() == 0
            && self.packets_lost() == 0
            && self.log.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str("**nothing**");
        }
        let [node, switch, behind] = &self.events;
        write!(
            f,
            "{} · {}/{}/{} · {} · {}",
            self.sessions_lost,
            node.len(),
            switch.len(),
            behind.len(),
            self.packets_lost(),
            self.log.len()
        )
    }
}
