//! Bytes ⇄ messages (RFC 4271 §4 and its many extensions): total, bounded, one pass.
//!
//! [`Framer`] cuts a stream into messages; [`decode`] reads one; the functions of `encode` write
//! them. Nothing here panics or allocates more than a small multiple of the message. Every error
//! knows its verdict: the NOTIFICATION that ends the session, or what RFC 7606 makes of the UPDATE.

mod types;

pub use types::*;
