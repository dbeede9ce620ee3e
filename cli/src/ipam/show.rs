//! `mainstay ipam show`: pools, blocks, and who has which address.

use super::{blocks, leases};
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::{age, clean_line, dash, or_dash};
use mainstay_prefix::Prefix;
use mainstay_proto::ipam::v1::{
    Block, Lease, ListWithheldRequest, PoolStatus, StatusRequest, Withheld,
};
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;

pub(super) const HELP: &str = "\
States of an address:
  assigned  a pod has it
  cooling   released; nobody but its owner may have it yet
  held      released and past the cooldown; kept for its owner while others are free
  free      anyone may have it; free addresses are counted, not listed

Examples:
  mainstay ipam show                         pools, blocks and every address that is not free
  mainstay ipam show --state cooling         what will be free, and when
  mainstay ipam show --owner default/web     the addresses of pods whose names begin so
  mainstay ipam show 10.244.0.5              one address: its owner, since when, the lease's number
  mainstay -o json ipam show | jq '.pools[].free'

Exit codes: 0 told; 1 the address is in no block of this node, or ipamd does not answer.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One address
    #[arg(value_name = "ADDRESS", conflicts_with = "state")]
    pub(crate) address: Option<IpAddr>,

    /// Only addresses in this state
    #[arg(long, value_parser = ["assigned", "held", "cooling"])]
    pub(crate) state: Option<String>,

    /// Only of this pool
    #[arg(long, value_name = "NAME", conflicts_with = "address")]
    pub(crate) pool: Option<String>,

    /// Only of owners with this in their name
    #[arg(long, value_name = "TEXT", conflicts_with = "address")]
    pub(crate) owner: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    pools: Vec<PoolStatus>,
    blocks: Vec<Block>,
    leases: Vec<Lease>,
    /// On hold or in quarantine.
    withheld: Vec<Withheld>,
}

pub(super) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut ipamd = daemons.ipamd().await?;
    let status = answer("ipamd", ipamd.status(StatusRequest {})).await?;
    if let Some(name) = args.pool.as_ref().filter(|p| !status.pools.iter().any(|s| s.name == **p)) {
        return Err(Failure::Said(format!("this node has no block of a pool {name:?}")));
    }
    let wanted = |pool: &str| args.pool.as_ref().is_none_or(|name| name == pool);
    let mut blocks = blocks(&mut ipamd).await?;
    blocks.retain(|block| wanted(&block.pool));
    let address = args.address.map(|a| a.to_string()).unwrap_or_default();
    let mut leases =
        leases(&mut ipamd, args.state.as_deref().unwrap_or_default(), &address).await?;
    let owner =
        |lease: &Lease| args.owner.as_ref().is_none_or(|o| lease.owner.contains(o.as_str()));
    leases.retain(|lease| wanted(&lease.pool) && owner(lease));
    let withheld = answer("ipamd", ipamd.list_withheld(ListWithheldRequest {})).await?.withheld;
    let pools = status.pools.into_iter().filter(|pool| wanted(&pool.name)).collect();
    let shown = Shown { pools, blocks, leases, withheld };
    let foreign = args.address.filter(|address| block_of(&shown.blocks, *address).is_none());
    if out.is_json() {
        out.json(&shown)?;
        return Ok(if foreign.is_some() { Verdict::Wrong } else { Verdict::Well });
    }
    if let Some(address) = foreign {
        return Err(Failure::Said(format!("{address} is in no block of this node")));
    }
    out.text(&match (args.address, &args.state, &args.owner) {
        (Some(address), ..) => one(&shown, address),
        (None, Some(state), _) => leases_table(&shown.leases, state),
        (None, None, Some(owner)) => leases_table(&shown.leases, &format!("of {owner}")),
        (None, None, None) => everything(&shown),
    })?;
    Ok(Verdict::Well)
}

pub(super) fn block_of(blocks: &[Block], address: IpAddr) -> Option<&Block> {
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
    let mut text = parts.join("\n");
    if !shown.withheld.is_empty() {
        text.push('\n');
        text.push_str(&withheld_table(&shown.withheld));
    }
    text
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

fn withheld_table(withheld: &[Withheld]) -> String {
    let mut table = Table::new(&["WITHHELD", "SINCE", "WHY"]);
    for address in withheld {
        let since = address.hold_seconds.or(address.in_use_seconds);
        table.row([address.address.clone(), ago(since), why_withheld(address)]);
    }
    table.take()
}

fn why_withheld(withheld: &Withheld) -> String {
    let hold = (!withheld.hold.is_empty()).then(|| format!("on hold: {}", withheld.hold));
    let seen = &withheld.in_use;
    let in_use = (!seen.is_empty()).then(|| match withheld.quarantine_left_seconds {
        Some(left) => format!("was in use: {seen}; quarantined for {}", age(left)),
        None => format!("in use: {seen}"),
    });
    hold.into_iter().chain(in_use).collect::<Vec<_>>().join("; ")
}

fn ago(seconds: Option<f64>) -> String {
    seconds.map_or_else(dash, |seconds| format!("{} ago", age(seconds)))
}

fn one(shown: &Shown, address: IpAddr) -> String {
    let same = |lease: &&Lease| lease.address.parse() == Ok(address);
    let same_withheld = |w: &&Withheld| w.address.parse() == Ok(address);
    let withheld = shown.withheld.iter().find(same_withheld).map(why_withheld);
    let Some(lease) = shown.leases.iter().find(same) else {
        if let Some(why) = withheld {
            return format!("{address} is withheld, {}\n", clean_line(&why));
        }
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
    line("lease", &lease.seq.to_string());
    line("kept", &kept(lease));
    line("container", &lease.container_id);
    line("interface", &lease.ifname);
    line("network", &lease.network);
    line("namespace", &lease.netns);
    line("block", &lease.block);
    line("pool", &lease.pool);
    line("assigned", &ago(Some(lease.assigned_seconds)));
    line("released", &ago(lease.released_seconds));
    line("cools for", &lease.cooldown_left_seconds.map_or_else(dash, age));
    if let Some(why) = withheld {
        line("withheld", &why);
    }
    text
}

/// For how long the address stays with its owner after a release, and what is left of that.
fn kept(lease: &Lease) -> String {
    let left = lease.kept_left_seconds.map(|left| format!(", {} left", age(left)));
    match (lease.let_go, lease.policy.as_str()) {
        (true, _) => "not any more".into(),
        (false, "") => dash(),
        (false, policy) => format!("{policy}{}", left.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn shown() -> Shown {
        Shown {
            pools: sample::pools(),
            blocks: sample::blocks(),
            leases: sample::leases(),
            withheld: vec![],
        }
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
