//! The CNI plugins of Mainstay: `mainstay-ipam`, which any main plugin delegates its addresses to,
//! and `mainstay-none`, the main plugin of a node without container network.
//!
//! A runtime starts a plugin once for every operation on every pod, so what is here is small and
//! blocks: read the environment and stdin ([`env`], [`config`]) into a [`call::Call`], answer it
//! ([`ipam`], [`none`]), print one JSON document on stdout ([`run`]). `mainstay-ipam` asks
//! `mainstay-ipamd` over one framed message each way ([`client`]); it holds no state of its own, but
//! for a DEL that finds no daemon ([`spool`]).
//!
//! The contract is the CNI specification 1.1.0 and, where that is silent, what `libcni` and
//! `pkg/skel` of containernetworking/cni do.
#![forbid(unsafe_code)]

pub mod call;
pub mod client;
pub mod config;
pub mod env;
pub mod error;
pub mod ipam;
pub mod none;
pub mod result;
pub mod run;
pub mod settings;
pub mod spool;
pub mod version;
