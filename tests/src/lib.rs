//! The project's own hosts: network namespaces with real daemons, real peers and real CNI plugins.
//!
//! A test builds a [`netns::Netns`] a host, joins them with [`netns::veth`], starts processes in
//! them ([`daemons`], [`bird`], [`frr`], [`gobgp`]) and waits with [`wait::eventually`]. Dropping a
//! value ends what it stands for, also when the test panics; then the logs are printed.

pub mod add_latency;
pub mod bird;
pub mod capture;
pub mod cgroup;
pub mod client;
pub mod cni;
pub mod cnitool;
pub mod containerd;
pub mod crash;
pub mod daemons;
pub mod exabgp;
pub mod frr;
pub mod gobgp;
pub mod interop;
pub mod lab;
pub mod machine;
pub mod matrix;
pub mod memcg;
pub mod monitor;
pub mod netns;
pub mod openbgpd;
pub mod peers;
pub mod pmbmpd;
pub mod pods;
pub mod proc;
pub mod scratch;
pub mod sections;
pub mod session;
pub mod state_file;
pub mod stayrtr;
pub mod stream;
pub mod wait;
