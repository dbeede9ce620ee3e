//! Routing policies (RFC 4271 §9.1.1, §9.1.3): which paths come in and go out, and as what.
//!
//! - `model`: rules, as the configuration says them
//! - `condition`, `prefixes`: whether a rule is about a path
//! - `change`: what a rule makes of its attributes
//! - `program`: rules compiled once, and applied to whole sets of prefixes at a time
//! - `trace`: which rule decided, and why those before it did not

mod built_in;
mod change;
mod condition;
pub(crate) mod model;
mod origins;
mod prefixes;
mod program;
#[cfg(test)]
mod tests;
pub(crate) mod trace;

pub use built_in::built_in;
pub(crate) use change::Draft;
pub(crate) use condition::Context;
pub use model::{
    Amount, AsPathMatch, Ask, CommunityMatch, Decision, NextHopChange, Policy, PrefixMatch,
    Provenance, Rule, Set,
};
pub use origins::{NoOrigins, Origins, Validity};
pub(crate) use program::{Prepared, Program};
pub use trace::{Direction, Outcome, RuleTrace, Sample, Trace, explain};
