//! The shell around `bgp-core`: sockets, netlink, the API, the log.

pub mod kernel;
