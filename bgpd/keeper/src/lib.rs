//! Holds the BGP speaker's TCP sessions while no speaker runs.
//!
//! The speaker keeps a session's two buffers in a memory file ([`rings`]) and gives the keeper a
//! duplicate of the socket and of that file. When the speaker's process ends, whatever ended it,
//! the keeper sends what was appended, then KEEPALIVEs; the next speaker gets both descriptors and
//! goes on in the middle of a message ([`resume`]). The peer sees nothing.
//!
//! Pure, `(event, now) -> actions`: [`layout`] [`rings`] [`walk`] [`resume`] [`snapshot`]
//! [`journal`] [`orphan`] [`keeper`] [`state`] [`protocol`]. Around them: [`client`], what a speaker calls, and
//! [`shell`], the keeper's own process.

#![deny(unsafe_code)]

pub mod area;
pub mod bfd;
pub mod client;
pub mod journal;
pub mod keeper;
pub mod layout;
#[cfg(test)]
mod model;
pub mod orphan;
pub mod os;
pub mod protocol;
pub mod resume;
pub mod rings;
pub mod shell;
pub mod snapshot;
pub mod state;
pub mod walk;
