//! `mainstay`: a verb for every question an operator asks.
//!
//! One file a verb. A verb asks the daemons (`ask`), renders what they say by a pure function, and
//! prints it (`print`); nothing here decides anything.

#![forbid(unsafe_code)]

mod args;
mod ask;
mod bgp;
mod config;
mod drain;
mod drill;
mod failure;
mod guard;
mod ipam;
mod peer_config;
mod peers;
mod policy;
mod print;
mod reload;
#[cfg(test)]
mod sample;
mod status;
mod table;
mod text;
mod version;

use crate::args::{Cli, Verb};
use crate::ask::Daemons;
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Printer::new(cli.output);
    let done = run(cli, &mut out).and_then(|verdict| out.finish().map(|()| verdict));
    match done {
        Ok(verdict) => verdict.into(),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            print::complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough: there is one question at a time.
#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli, out: &mut Printer) -> Result<Verdict, Failure> {
    let daemons = Daemons::new(cli.run_dir);
    match cli.verb {
        Verb::Status => status::run(&daemons, &cli.config, out).await,
        Verb::Bgp(verb) => bgp::run(&daemons, &verb, out).await,
        Verb::Ipam(verb) => ipam::run(&daemons, &verb, out).await,
        Verb::Config(config::Verb::Check(args)) => config::check::run(&args, &cli.config, out),
        Verb::Config(config::Verb::Diff(args)) => {
            config::diff::run(&daemons, &args, &cli.config, out).await
        }
        Verb::Config(config::Verb::Show(args)) => config::show::run(&args, &cli.config, out),
        Verb::Config(config::Verb::Schema) => config::schema::run(out),
        Verb::Peers(peers::Verb::Check(args)) => peers::run(&daemons, &args, out).await,
        Verb::Policy(verb) => policy::run(&daemons, &verb, &cli.config, out).await,
        Verb::Drill(args) => drill::run(&daemons, args, out).await,
        Verb::PeerConfig(args) => peer_config::run(&args, &cli.config, out),
        Verb::Reload => reload::run(&daemons, out).await,
        Verb::Drain(args) => drain::drain(&daemons, &args, out).await,
        Verb::Undrain => drain::undrain(&daemons, out).await,
        Verb::Leave(args) => drain::leave(&daemons, &args, out).await,
        Verb::ShutdownGuard(args) => guard::run(&daemons, &args).await,
        Verb::Version => version::run(out),
    }
}
