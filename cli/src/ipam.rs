//! `mainstay ipam show`: pools, blocks, and who has which address.

use crate::ask::{Daemons, answer, next};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::{age, clean_line, dash, or_dash};
use clap::Subcommand;
use mainstay_prefix::Prefix;
use mainstay_proto::ipam::v1::{
    Block, Lease, ListBlocksRequest, ListLeasesRequest, PoolStatus, StatusRequest,
};
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;

const HELP: &str = "\
States of an address:
  assigned  a pod has it
  cooling   released; nobody but its owner may have it yet
  held      released and past the cooldown; kept for its owner while others are free
  free      anyone may have it; free addresses are counted, not listed

Examples:
  mainstay ipam show                         pools, blocks and every address that is not free
  mainstay ipam show --state cooling         what will be free, and when
  mainstay ipam show 10.244.0.5              one address: its owner, and since when
  mainstay -o json ipam show | jq '.pools[].free'

Exit codes: 0 told; 1 the address is in no block of this node, or ipamd does not answer.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Pools, blocks, leases, and when an address will be free
    #[command(after_help = HELP)]
    Show(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One address
    #[arg(value_name = "ADDRESS", conflicts_with = "state")]
    pub(crate) address: Option<IpAddr>,

    /// Only addresses in this state
    #[arg(long, value_parser = ["assigned", "held", "cooling"])]
    pub(crate) state: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    pools: Vec<PoolStatus>,
    blocks: Vec<Block>,
    leases: Vec<Lease>,
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut ipamd = daemons.ipamd().await?;
    let pools = answer("ipamd", ipamd.status(StatusRequest {})).await?.pools;
    let blocks = answer("ipamd", ipamd.list_blocks(ListBlocksRequest {})).await?.blocks;
    let request = ListLeasesRequest {
        state: args.state.clone().unwrap_or_default(),
        address: args.address.map(|a| a.to_string()).unwrap_or_default(),
    };
    let mut stream = answer("ipamd", ipamd.list_leases(request)).await?;
    let mut leases = Vec::new();
    while let Some(lease) = next("ipamd", &mut stream).await? {
        leases.push(lease);
    }
    let shown = Shown { pools, blocks, leases };
    let foreign = args.address.filter(|address| block_of(&shown.blocks, *address).is_none());
    if out.is_json() {
        out.json(&shown)?;
        return Ok(if foreign.is_some() { Verdict::Wrong } else { Verdict::Well });
    }
    if let Some(address) = foreign {
        return Err(Failure::Said(format!("{address} is in no block of this node")));
    }
    out.text(&match (args.address, &args.state) {
        (Some(address), _) => one(&shown, address),
        (None, Some(state)) => leases_table(&shown.leases, state),
        (None, None) => everything(&shown),
    })?;
    Ok(Verdict::Well)
}

fn block_of(blocks: &[Block], address: IpAddr) -> Option<&Block> {
    let contains = |b: &&Block| b.cidr.parse::<Prefix>().is_ok_and(|cidr| cidr.contains(address));
    blocks.iter().find(contains)
}

fn everything(shown: &Shown) -> String {
    if shown.pools.is_empty() {
        return "no pools; ipam.pools of the configuration names them\n".into();
    }
    let parts = [
        pools_table(&shown.pools),
        blocks_table(&shown.blocks),
        leases_table(&shown.leases, "assigned or held"),
    ];
    parts.join("\n")
}

fn pools_table(pools: &[PoolStatus]) -> String {
    let mut table = Table::new(&[
        "POOL",
        "CIDR",
        ">BLOCKS",
        ">ADDRESSES",
        ">ASSIGNED",
        ">HELD",
        ">COOLING",
        ">FREE",
        "NEXT FREE",
    ]);
    for pool in pools {
        table.row([
            pool.name.clone(),
            pool.cidr.clone(),
            pool.blocks.to_string(),
            pool.addresses.to_string(),
            pool.assigned.to_string(),
            pool.held.to_string(),
            pool.cooling.to_string(),
            pool.free.to_string(),
            next_free(pool),
        ]);
    }
    table.take()
}

/// When somebody new could get an address of the pool.
pub(crate) fn next_free(pool: &PoolStatus) -> String {
    match pool.next_free_seconds {
        _ if pool.free > 0 => "now".into(),
        Some(seconds) => format!("in {}", age(seconds)),
        None => "when a pod goes".into(),
    }
}

fn blocks_table(blocks: &[Block]) -> String {
    let mut table = Table::new(&[
        "BLOCK",
        "POOL",
        "GATEWAY",
        ">ADDRESSES",
        ">ASSIGNED",
        ">HELD",
        ">COOLING",
        ">FREE",
        "ROUTE",
    ]);
    for block in blocks {
        table.row([
            block.cidr.clone(),
            block.pool.clone(),
            or_dash(&block.gateway).to_owned(),
            block.addresses.to_string(),
            block.assigned.to_string(),
            block.held.to_string(),
            block.cooling.to_string(),
            block.free.to_string(),
            if block.route { "yes" } else { "MISSING" }.to_owned(),
        ]);
    }
    if blocks.is_empty() {
        "no blocks: no pod can get an address here\n".into()
    } else {
        table.take()
    }
}

fn leases_table(leases: &[Lease], state: &str) -> String {
    if leases.is_empty() {
        return format!("no address is {state}\n");
    }
    let mut table =
        Table::new(&["ADDRESS", "STATE", "OWNER", "ASSIGNED", "RELEASED", "COOLS FOR", "POOL"]);
    for lease in leases {
        table.row([
            lease.address.clone(),
            lease.state.clone(),
            or_dash(&lease.owner).to_owned(),
            ago(Some(lease.assigned_seconds)),
            ago(lease.released_seconds),
            lease.cooldown_left_seconds.map_or_else(dash, age),
            lease.pool.clone(),
        ]);
    }
    table.take()
}

fn ago(seconds: Option<f64>) -> String {
    seconds.map_or_else(dash, |seconds| format!("{} ago", age(seconds)))
}

fn one(shown: &Shown, address: IpAddr) -> String {
    let same = |lease: &&Lease| lease.address.parse() == Ok(address);
    let Some(lease) = shown.leases.iter().find(same) else {
        let block = block_of(&shown.blocks, address).map_or("", |block| block.cidr.as_str());
        return format!("{address} is free, in block {}\n", clean_line(block));
    };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14}{}", clean_line(or_dash(value)));
    };
    line("address", &lease.address);
    line("state", &lease.state);
    line("owner", &lease.owner);
    line("known by", &lease.rung);
    line("container", &lease.container_id);
    line("interface", &lease.ifname);
    line("network", &lease.network);
    line("namespace", &lease.netns);
    line("block", &lease.block);
    line("pool", &lease.pool);
    line("assigned", &ago(Some(lease.assigned_seconds)));
    line("released", &ago(lease.released_seconds));
    line("cools for", &lease.cooldown_left_seconds.map_or_else(dash, age));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn shown() -> Shown {
        Shown { pools: sample::pools(), blocks: sample::blocks(), leases: sample::leases() }
    }

    #[test]
    fn pools_blocks_and_leases_stand_in_tables() {
        insta::assert_snapshot!(everything(&shown()));
    }

    #[test]
    fn one_address_is_told_in_full_and_a_free_one_as_free() {
        let cooling = one(&shown(), "10.244.0.3".parse().unwrap());
        let free = one(&shown(), "10.244.0.9".parse().unwrap());
        insta::assert_snapshot!(cooling + "\n" + &free);
    }

    #[test]
    fn a_full_pool_says_when_it_will_have_room() {
        let mut pool = PoolStatus { next_free_seconds: Some(72.0), ..Default::default() };
        assert_eq!(next_free(&pool), "in 1m12s");
        pool.next_free_seconds = None;
        assert_eq!(next_free(&pool), "when a pod goes");
    }

    #[test]
    fn an_address_belongs_to_the_block_around_it() {
        let blocks = sample::blocks();
        assert!(block_of(&blocks, "10.244.0.63".parse().unwrap()).is_some());
        assert!(block_of(&blocks, "10.244.0.64".parse().unwrap()).is_none());
    }
}
