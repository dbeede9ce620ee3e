//! End to end: the shipped programs, real peers, the real kernel. One binary, many hosts; every
//! test makes its own namespaces and takes them away again.

mod address_path;
mod bad_input;
mod bfd;
mod bgp_with_bird;
mod bgp_with_frr;
mod bgp_with_gobgp;
mod bmp;
mod cni_contract;
mod cni_tool;
mod command_line;
mod container_runtime;
mod daemon_away;
mod documents;
mod graceful_restart;
mod harness;
mod interop;
mod leaks;
mod long_lived;
mod migration;
mod mode_none;
mod monitoring;
mod mrt;
mod network_side;
mod operate;
mod operator;
mod pair;
mod peer_config;
mod policies;
mod refresh;
mod restart_matrix;
mod rpki;
mod session_options;
mod survival;
mod takeover;
mod whole_path;
