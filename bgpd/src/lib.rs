//! The shell around `bgp-core`: sockets, netlink, the API and the log of `mainstay-bgpd`.
//!
//! `start` puts it together, `run` is the loop. What BGP says is decided in the core; what is here
//! carries it out and reports back. A library, so that tests can hold single parts against a real
//! kernel.

mod api;
mod bfd;
mod buffers;
mod collect;
mod conn;
mod drain;
mod intent;
mod keep;
pub mod kernel;
mod leases;
mod leave;
mod listen;
mod log;
mod marker;
mod neighbours;
mod observe;
mod operate;
mod plan;
mod poller;
mod reload;
mod run;
mod sessions;
mod show;
mod sockopt;
mod start;
mod tcp;
mod tcp_ao;
mod watch;

pub use start::run;
