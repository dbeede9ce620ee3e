//! Bytes ⇄ messages (RFC 4271 §4 and its many extensions): total, bounded, one pass.
//!
//! [`Framer`] cuts a stream into messages; [`decode`] reads one; the functions of `encode` write
//! them. Nothing here panics or allocates more than a small multiple of the message. Every error
//! knows its verdict: the NOTIFICATION that ends the session, or what RFC 7606 makes of the UPDATE.
//!
//! ```text
//! frame ─ decode ┬ open ─ capability
//!                └ update ─ attributes ┬ as_path, next_hop, nlri     encode ─ write ─ the same
//!                                      └ flaw: the verdicts
//! ```

mod as_path;
mod attribute;
mod attributes;
mod bandwidth;
mod capability;
mod decode;
mod dump;
mod encode;
mod flaw;
mod frame;
mod next_hop;
mod nlri;
mod notification;
mod open;
mod pack;
mod reader;
mod text;
mod types;
mod update;
mod write;

pub(crate) use bandwidth::is_non_transitive;
pub use decode::decode;
pub use dump::dump_attributes;
pub use encode::{
    announce, end_of_rib, keepalive, notification, refresh_mark, route_refresh, withdraw,
};
pub use frame::{Framer, ripe};
pub use nlri::NlriIter;
pub use notification::{DecodeError, cease};
pub use open::open;
pub(crate) use pack::{announce_packed, pack, packed_next_hop, unpack};
pub use text::{Community, ExtendedCommunity, LargeCommunity};
pub use types::*;
