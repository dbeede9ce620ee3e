//! From mainstay-ipam back to host-local.

use super::super::conflist;
use super::super::files::Locked;
use super::super::formats::{Entry, host_local};
use super::super::transfer::assigned;
use super::super::{Client, blocks};
use super::{
    Args, Steps, Switch, addresses, attachments, host_local_dir, plugin, put_back, unfence,
};
use crate::failure::Failure;
use crate::text::count;
use std::net::IpAddr;
use std::path::Path;

pub(super) async fn migrate(
    ipamd: &mut Client,
    (args, switch): (&Args, &Switch),
    steps: &mut Steps,
) -> Result<(), Failure> {
    switch.must_be("mainstay-ipam").map_err(Failure::Said)?;
    let section = section(ipamd, args, switch, steps).await?;
    plugin::is_there(&args.bin_dir, "host-local").map_err(Failure::Said)?;
    let read = serde_json::from_str(&section)?;
    let network = &switch.now.network;
    let dir = host_local_dir(&read, network, args.source.as_ref());
    if args.dry_run {
        let leases = assigned(ipamd, Some(network)).await?.len() as u64;
        steps.done(format!("{} would be written to {}", count(leases, "lease"), dir.display()));
        let path = switch.path.display();
        steps.done(format!("{path} would be given this ipam section: {section}"));
        return Ok(());
    }
    let done = match hand_over(ipamd, &dir, (switch, &section), steps).await {
        Ok(before) => catch_up(ipamd, &dir, (args, switch), &before, steps).await,
        Err(failure) => Err(failure),
    };
    done.map_err(|failure| put_back(&failure, switch.undo()))
}

/// As it was before the migration to us, or made of this node's blocks.
async fn section(
    ipamd: &mut Client,
    args: &Args,
    switch: &Switch,
    steps: &mut Steps,
) -> Result<String, Failure> {
    if let Some(section) = switch.before("host-local", steps).map_err(Failure::Said)? {
        return Ok(section);
    }
    let blocks = blocks(ipamd).await?;
    let blocks: Vec<_> = blocks.into_iter().map(|block| (block.cidr, block.gateway)).collect();
    // host-local's directory is its dataDir and the network's name.
    let data_dir = args.source.as_deref().and_then(Path::parent).map(Path::to_string_lossy);
    let named = args.source.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    if named.is_some_and(|name| name != switch.now.network.as_str()) {
        let why = format!("--source has to end in the network's name, {}", switch.now.network);
        return Err(Failure::Said(why));
    }
    Ok(conflist::host_local(&blocks, &switch.now.ipam, data_dir.as_deref()))
}

/// Fences host-local off, tells it of every lease, and only then lets it be asked.
async fn hand_over(
    ipamd: &mut Client,
    dir: &Path,
    (switch, section): (&Switch, &str),
    steps: &mut Steps,
) -> Result<Vec<Entry>, Failure> {
    let locked = Locked::take(dir).map_err(Failure::Said)?;
    let entries = assigned(ipamd, Some(&switch.now.network)).await?;
    forget(&locked, &entries).map_err(Failure::Said)?;
    locked.give(&host_local::write(&entries)).map_err(Failure::Said)?;
    locked.fence(addresses(&blocks(ipamd).await?)).map_err(Failure::Said)?;
    let many = count(entries.len() as u64, "lease");
    steps.done(format!("{many} written to {}", dir.display()));
    switch.put(section).map_err(Failure::Said)?;
    steps.done(format!("switched: {}", switch.path.display()));
    Ok(entries)
}

/// Removes the files of containers that have no lease any more: while we decide, they are of the
/// past.
fn forget(locked: &Locked, entries: &[Entry]) -> Result<(), String> {
    let live = attachments(entries);
    for (name, text) in locked.files()? {
        let found = host_local::read(&[(name.clone(), text)], "")?;
        let stale =
            found.leases.iter().any(|e| !live.contains(&(e.address, e.container_id.clone())));
        if stale {
            locked.remove(&name)?;
        }
    }
    Ok(())
}

/// What mainstay-ipam still did until every caller had the old configuration again; only then is
/// host-local given what is free.
async fn catch_up(
    ipamd: &mut Client,
    dir: &Path,
    (args, switch): (&Args, &Switch),
    before: &[Entry],
    steps: &mut Steps,
) -> Result<(), Failure> {
    tokio::time::sleep(args.settle).await;
    let entries = assigned(ipamd, Some(&switch.now.network)).await?;
    let locked = Locked::take(dir).map_err(Failure::Said)?;
    let (was, is) = (attachments(before), attachments(&entries));
    let key = |entry: &Entry| (entry.address, entry.container_id.clone());
    // Deleted by the old configuration: host-local does not know of it.
    for gone in before.iter().filter(|entry| !is.contains(&key(entry))) {
        remove_of(&locked, gone.address, &gone.container_id).map_err(Failure::Said)?;
    }
    let new: Vec<_> = entries.into_iter().filter(|entry| !was.contains(&key(entry))).collect();
    locked.give(&host_local::write(&new)).map_err(Failure::Said)?;
    drop(locked);
    unfence(dir).map_err(Failure::Said)?;
    steps.done("host-local hands out again");
    steps.done("mainstay-ipamd knows these leases until it is stopped; it is asked no more");
    Ok(())
}

fn remove_of(locked: &Locked, address: IpAddr, container_id: &str) -> Result<(), String> {
    let name = address.to_string();
    let there = locked.files()?.into_iter().find(|(there, _)| *there == name);
    let same = there.is_some_and(|(_, text)| text.starts_with(container_id.as_bytes()));
    if same { locked.remove(&name) } else { Ok(()) }
}
