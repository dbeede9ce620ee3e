//! `mainstay ipam`: who has which address, who had it, and what an operator may do about it.

mod act;
mod check;
mod conflist;
mod files;
mod formats;
mod history;
mod migrate;
mod show;
mod time;
mod transfer;

use crate::ask::{AskError, Daemons, answer, next};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use clap::Subcommand;
use mainstay_proto::ipam::v1::ipam_client::IpamClient;
use mainstay_proto::ipam::v1::{Block, Lease, ListBlocksRequest, ListLeasesRequest, StatusRequest};
pub(crate) use show::next_free;
use tonic::transport::Channel;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Pools, blocks, leases, and when an address will be free
    #[command(after_help = show::HELP)]
    Show(show::Args),
    /// Who had an address, and what happened to it
    #[command(after_help = history::HELP)]
    History(history::Args),
    /// Compare the leases with the kernel and with what the runtime remembers
    #[command(after_help = check::HELP)]
    Check(check::Args),
    /// Take an address from whoever has it or is it kept for
    #[command(after_help = act::RELEASE)]
    Release(act::Release),
    /// Keep an address from being handed out
    #[command(after_help = act::HOLD)]
    Hold(act::Hold),
    /// Take a hold back
    #[command(after_help = act::UNHOLD)]
    Unhold(act::Unhold),
    /// Take over what another allocator has handed out
    #[command(after_help = transfer::IMPORT)]
    Import(transfer::Import),
    /// Write the leases in another allocator's form
    #[command(after_help = transfer::EXPORT)]
    Export(transfer::Export),
    /// Exchange the IPAM plugin of this live node, and back
    #[command(after_help = migrate::HELP)]
    Migrate(migrate::Args),
}

pub(crate) async fn run(
    daemons: &Daemons,
    verb: &Verb,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    match verb {
        Verb::Show(args) => show::run(daemons, args, out).await,
        Verb::History(args) => history::run(daemons, args, out).await,
        Verb::Check(args) => check::run(daemons, args, out).await,
        Verb::Release(args) => act::release(daemons, args, out).await,
        Verb::Hold(args) => act::hold(daemons, args, out).await,
        Verb::Unhold(args) => act::unhold(daemons, args, out).await,
        Verb::Import(args) => transfer::import(daemons, args, out).await,
        Verb::Export(args) => transfer::export(daemons, args, out).await,
        Verb::Migrate(args) => migrate::run(daemons, args, out).await,
    }
}

type Client = IpamClient<Channel>;

/// Every lease there is, or that of one address.
async fn leases(ipamd: &mut Client, state: &str, address: &str) -> Result<Vec<Lease>, AskError> {
    let request = ListLeasesRequest { state: state.into(), address: address.into() };
    let mut stream = answer("ipamd", ipamd.list_leases(request)).await?;
    let mut leases = Vec::new();
    while let Some(lease) = next("ipamd", &mut stream).await? {
        leases.push(lease);
    }
    Ok(leases)
}

async fn blocks(ipamd: &mut Client) -> Result<Vec<Block>, AskError> {
    Ok(answer("ipamd", ipamd.list_blocks(ListBlocksRequest {})).await?.blocks)
}

async fn node(ipamd: &mut Client) -> Result<String, AskError> {
    Ok(answer("ipamd", ipamd.status(StatusRequest {})).await?.node)
}
