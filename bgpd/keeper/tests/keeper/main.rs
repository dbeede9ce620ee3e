//! The keeper as a process: killed, upgraded, doubled and lied to, and against real peers.
//!
//! Run as root: the peers live in network namespaces.

#![allow(unsafe_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod bfd;
mod peers;
mod shell;
mod tiny;

/// The speakers of these tests are this program, started again with this test alone.
#[test]
fn tiny_speaker() {
    tiny::main();
}
