//! `mainstay bgp …`.

pub(crate) mod explain;
pub(crate) mod inject;
pub(crate) mod outlets;
pub(crate) mod peers;
pub(crate) mod reset;
pub(crate) mod routes;
pub(crate) mod rpki;
pub(crate) mod summary;
pub(crate) mod watch;

use crate::ask::Daemons;
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The speaker and its sessions at a glance
    #[command(after_help = summary::HELP)]
    Summary,
    /// Sessions, and how many routes each carries
    #[command(after_help = peers::HELP, visible_alias = "peer")]
    Peers(peers::Args),
    /// Routes: chosen, received from a peer, or told to one
    #[command(after_help = routes::HELP)]
    Routes(routes::Args),
    /// Why a route is, or is not, the best, told to peers, or in the kernel
    #[command(after_help = explain::HELP)]
    Explain(explain::Args),
    /// What happens, with its cause, as it happens
    #[command(after_help = watch::HELP)]
    Watch(watch::Args),
    /// End a session, or have everything said again
    #[command(after_help = reset::HELP)]
    Reset(reset::Args),
    /// Ask a peer for all its routes again
    #[command(after_help = reset::REFRESH)]
    Refresh(reset::RefreshArgs),
    /// Announce prefixes under a lease
    #[command(after_help = inject::INJECT)]
    Inject(inject::InjectArgs),
    /// Withdraw injected prefixes
    #[command(after_help = inject::WITHDRAW)]
    Withdraw(inject::WithdrawArgs),
    /// Who injects routes, and for how long they stay
    #[command(after_help = inject::LEASES)]
    Leases(inject::LeasesArgs),
    /// What RPKI caches say of origins
    #[command(after_help = rpki::HELP)]
    Rpki(rpki::Args),
    /// BMP stations that are told, MRT files that are written
    #[command(after_help = outlets::HELP)]
    Outlets,
    /// All routes, into a file
    #[command(after_help = outlets::DUMP_HELP)]
    Dump(outlets::DumpArgs),
}

pub(crate) async fn run(
    daemons: &Daemons,
    verb: &Verb,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    match verb {
        Verb::Summary => summary::run(daemons, out).await,
        Verb::Peers(args) => peers::run(daemons, args, out).await,
        Verb::Routes(args) => routes::run(daemons, args, out).await,
        Verb::Explain(args) => explain::run(daemons, args, out).await,
        Verb::Watch(args) => watch::run(daemons, args, out).await,
        Verb::Reset(args) => reset::run(daemons, args, out).await,
        Verb::Refresh(args) => reset::refresh(daemons, args, out).await,
        Verb::Inject(args) => inject::run(daemons, args, out).await,
        Verb::Withdraw(args) => inject::withdraw(daemons, args, out).await,
        Verb::Leases(args) => inject::leases(daemons, args, out).await,
        Verb::Rpki(args) => rpki::run(daemons, args, out).await,
        Verb::Outlets => outlets::run(daemons, out).await,
        Verb::Dump(args) => outlets::dump(daemons, args, out).await,
    }
}
