//! `mainstay bgp …`.

pub(crate) mod peers;
pub(crate) mod routes;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Sessions, and how many routes each carries
    #[command(after_help = peers::HELP)]
    Peers(peers::Args),
    /// Routes: chosen, received from a peer, or told to one
    #[command(after_help = routes::HELP)]
    Routes(routes::Args),
}
