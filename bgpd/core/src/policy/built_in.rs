//! What is built in, as rules: the speaker has shorter ways to say the same.

use super::{Ask, Decision, Direction, Policy, PrefixMatch, Provenance, Rule};
use crate::types::{Prefix, Protocol};

/// `all`, `none` and `node`; `None`: no such name.
#[must_use]
pub fn built_in(name: &str, direction: Direction) -> Option<Policy> {
    let defaults = [Prefix::DEFAULT_V4, Prefix::DEFAULT_V6];
    let default = defaults.map(|within| PrefixMatch { within, ge: 0, le: 0 }).to_vec();
    let own = [Protocol::Local, Protocol::Block, Protocol::Injected].map(Provenance::Own).to_vec();
    let rule = match (name, direction) {
        ("all", _) => Rule::new(Vec::new(), Decision::Accept),
        ("none", _) => Rule::new(Vec::new(), Decision::Reject),
        ("node", Direction::Import) => Rule::new(vec![Ask::Prefix(default)], Decision::Accept),
        ("node", Direction::Export) => Rule::new(vec![Ask::Source(own)], Decision::Accept),
        _ => return None,
    };
    Some(Policy { rules: vec![rule] })
}
