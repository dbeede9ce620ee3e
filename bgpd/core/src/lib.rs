//! BGP-4 without IO.
//!
//! A [`Speaker`](speaker::Speaker) is told what happened and what time it is ([`event::Event`]) and
//! answers with what should be done ([`event::Action`]). It reads no clock, opens no socket and
//! writes no log; `bgpd` does that around it, `bgp-sim` does it with a pretend clock.
//!
//! ```text
//! TCP bytes → Framer → Message → Session → Adj-RIB-In → import policy ─┐
//! own blocks → originate ──────────────────────────────────────────────┴→ decision → Loc-RIB ─┬→ FIB changes
//! TCP bytes ← UPDATE, made when the socket has room ← Adj-RIB-Out ← export policy ────────────┘
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod config;
pub mod difference;
pub mod discovery;
pub mod event;
mod fib;
pub mod hop_weight;
pub mod inject;
pub mod monitor;
pub mod options;
mod peer;
pub mod policy;
pub mod report;
mod rib;
pub mod role;
pub mod rpki;
mod session;
pub mod speaker;
#[cfg(test)]
mod testing;
pub mod types;
pub mod view;
pub mod wire;

pub use rib::told;
