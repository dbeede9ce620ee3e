//! mainstay-netmon: the network monitor of a node, one Prometheus endpoint for what its routes,
//! links, connections, sessions and addresses do.
//!
//! `sources` read, `monitor` asks them all, `export` writes what they said, `http` and `api`
//! serve it. Nothing here changes the network; the one thing it sets is `nf_conntrack_acct`.

mod api;
mod export;
mod http;
mod monitor;
mod netlink;
mod run;
mod sources;

use clap::Parser;
use mainstay_daemon::{Args, Ready};
use std::process::ExitCode;

/// The network monitor of a node: serves Prometheus metrics of its routes, links, connections,
/// BGP sessions and addresses
#[derive(Debug, Parser)]
#[command(name = "mainstay-netmon", version)]
struct Cli {
    #[command(flatten)]
    daemon: Args,
}

fn main() -> ExitCode {
    let Cli { daemon } = Cli::parse();
    // Before anything else opens a descriptor.
    let ready = Ready::new(daemon.ready_fd);
    mainstay_daemon::init_log();
    mainstay_daemon::exit_code(start(daemon, ready).map_err(Into::into))
}

fn start(args: Args, ready: std::io::Result<Ready>) -> Result<(), run::RunError> {
    let ready = ready.map_err(run::RunError::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(run::RunError::Start)?;
    runtime.block_on(run::run(args, ready))
}
