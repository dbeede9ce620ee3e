//! `mainstay-bgpd`: the BGP speaker of one node.

use clap::Parser;
use std::process::ExitCode;

/// Speaks BGP for this node: announces its address blocks and keeps the kernel's routes.
#[derive(Parser)]
#[command(name = "mainstay-bgpd", version)]
struct Cli {
    #[command(flatten)]
    args: mainstay_daemon::Args,
}

fn main() -> ExitCode {
    let args = Cli::parse().args;
    mainstay_daemon::init_log();
    mainstay_daemon::exit_code(mainstay_bgpd::run(args))
}
