//! From another plugin to mainstay-ipam.

use super::super::conflist;
use super::super::files::{self, Locked};
use super::super::formats::{Entry, Found};
use super::super::transfer::{assigned, from_cache, from_calico, from_host_local, put};
use super::super::{Client, blocks, leases, node};
use super::{
    Args, Old, Steps, Switch, addresses, attachments, host_local_dir, plugin, put_back, unfence,
    verify,
};
use crate::ask::{Daemons, answer};
use crate::failure::Failure;
use crate::text::count;
use mainstay_proto::ipam::v1::ReleaseRequest;
use std::path::{Path, PathBuf};

pub(super) async fn migrate(
    ipamd: &mut Client,
    daemons: &Daemons,
    old: Old,
    (args, switch): (&Args, &Switch),
    steps: &mut Steps,
) -> Result<(), Failure> {
    let kind = match old {
        Old::HostLocal => "host-local",
        Old::Calico => "calico-ipam",
    };
    switch.must_be(kind).map_err(Failure::Said)?;
    let source = source(old, args, switch)?;
    plugin::is_there(&args.bin_dir, "mainstay-ipam").map_err(Failure::Said)?;
    let section = conflist::ours(&switch.now.ipam, daemons.plugin_socket().as_deref());
    let done = adopt_and_switch(ipamd, &source, (args, switch), &section, steps).await;
    if args.dry_run {
        return done.map(drop);
    }
    let done = match done {
        Ok(before) => catch_up(ipamd, (&source, &before), (args, switch), steps).await,
        Err(failure) => Err(failure),
    };
    done.map_err(|failure| {
        let fence = source.dir().map_or(Ok(()), unfence);
        put_back(&failure, switch.undo().and(fence))
    })
}

/// Where the old plugin's leases are.
enum Source {
    HostLocal(PathBuf),
    Calico(PathBuf),
}

impl Source {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::HostLocal(dir) => Some(dir),
            Self::Calico(_) => None,
        }
    }
}

fn source(old: Old, args: &Args, switch: &Switch) -> Result<Source, Failure> {
    match (old, &args.source) {
        (Old::HostLocal, said) => {
            let dir = host_local_dir(&switch.now.ipam, &switch.now.network, said.as_ref());
            if dir.is_dir() {
                return Ok(Source::HostLocal(dir));
            }
            let why = "is not there; --source DIR says where host-local keeps this network";
            Err(Failure::Said(format!("{} {why}", dir.display())))
        }
        (Old::Calico, Some(list)) => Ok(Source::Calico(list.clone())),
        (Old::Calico, None) => {
            let how = "kubectl get ipamblocks,ipamhandles -o yaml > blocks.yaml";
            Err(Failure::Said(format!("--source FILE is needed, the list of blocks: {how}")))
        }
    }
}

async fn adopt_and_switch(
    ipamd: &mut Client,
    source: &Source,
    (args, switch): (&Args, &Switch),
    section: &str,
    steps: &mut Steps,
) -> Result<Found, Failure> {
    // While it is held, no host-local gives or takes an address.
    let locked = source.dir().map(Locked::take).transpose().map_err(Failure::Said)?;
    let found = first_look(ipamd, source, locked.as_ref(), (args, switch)).await?;
    if !args.dry_run && locked.is_some() {
        release_stale(ipamd, &found, &switch.now.network, steps).await?;
    }
    import(ipamd, &found, args.dry_run, steps).await?;
    let blocks = blocks(ipamd).await?;
    if args.dry_run {
        let path = switch.path.display();
        steps.done(format!("{path} would be given this ipam section: {section}"));
        return Ok(found);
    }
    if let Some(locked) = &locked {
        let fenced = locked.fence(addresses(&blocks)).map_err(Failure::Said)?;
        steps
            .done(format!("fenced: {} kept from host-local", count(fenced as u64, "free address")));
    }
    verify(ipamd, &args.cache, steps).await?;
    let beside = switch.beside();
    files::replace(&beside, switch.text.as_bytes()).map_err(Failure::Said)?;
    switch.put(section).map_err(Failure::Said)?;
    steps.done(format!(
        "switched: {}; the old file is {}",
        switch.path.display(),
        beside.display()
    ));
    Ok(found)
}

async fn first_look(
    ipamd: &mut Client,
    source: &Source,
    locked: Option<&Locked>,
    (args, switch): (&Args, &Switch),
) -> Result<Found, Failure> {
    let network = &switch.now.network;
    let found = match (source, locked) {
        (Source::Calico(list), _) => {
            let node = node(ipamd).await?;
            from_calico(list, &node, network, &args.cache)
        }
        (Source::HostLocal(_), Some(locked)) => {
            locked.files().and_then(|files| from_host_local(&files, network, &args.cache))
        }
        (Source::HostLocal(_), None) => Ok(Found::default()),
    };
    found.map_err(Failure::Said)
}

async fn import(
    ipamd: &mut Client,
    found: &Found,
    dry_run: bool,
    steps: &mut Steps,
) -> Result<(), Failure> {
    let reply = put(ipamd, found, dry_run).await?;
    if !reply.conflicts.is_empty() {
        let lines: Vec<_> = reply.conflicts.iter().map(|c| format!("\n  {}", c.why)).collect();
        let many = count(reply.conflicts.len() as u64, "conflict");
        return Err(Failure::Said(format!("{many}; nothing was taken over:{}", lines.concat())));
    }
    let (adopted, known) = (reply.adopted.len() as u64, reply.known.len());
    let would = if dry_run { "would be " } else { "" };
    steps.done(format!("leases: {} {would}taken over, {known} known", count(adopted, "lease")));
    if !reply.held.is_empty() {
        steps.done(format!("{would}on hold, for no container has them: {}", reply.held.join(", ")));
    }
    steps.steps.extend(found.skipped.iter().map(|skipped| format!("skipped: {skipped}")));
    Ok(())
}

/// Where host-local decides, a lease of ours that it does not know is of the past.
async fn release_stale(
    ipamd: &mut Client,
    found: &Found,
    network: &str,
    steps: &mut Steps,
) -> Result<(), Failure> {
    let live = attachments(&found.leases);
    let of_network = leases(ipamd, "assigned", "").await?;
    let stale = of_network.into_iter().filter(|lease| lease.network == network).filter(|lease| {
        let address = lease.address.parse();
        !address.is_ok_and(|address| live.contains(&(address, lease.container_id.clone())))
    });
    for lease in stale.collect::<Vec<_>>() {
        let (address, seq) = (lease.address.clone(), lease.seq);
        let request = ReleaseRequest { address, seq, dry_run: false };
        answer("ipamd", ipamd.release(request)).await?;
        let (address, owner) = (lease.address, lease.owner);
        steps.done(format!("released: {address} of {owner}, which host-local has not any more"));
    }
    Ok(())
}

/// What the old plugin still did until every caller had the new configuration.
async fn catch_up(
    ipamd: &mut Client,
    (source, before): (&Source, &Found),
    (args, switch): (&Args, &Switch),
    steps: &mut Steps,
) -> Result<(), Failure> {
    tokio::time::sleep(args.settle).await;
    let network = &switch.now.network;
    match source {
        Source::HostLocal(dir) => {
            let locked = Locked::take(dir).map_err(Failure::Said)?;
            let files = locked.files().map_err(Failure::Said)?;
            let found = from_host_local(&files, network, &args.cache).map_err(Failure::Said)?;
            release_deleted(ipamd, (before, &found), steps).await?;
            import(ipamd, &found, false, steps).await?;
        }
        Source::Calico(_) if args.cache.is_dir() => {
            let mut found = from_cache(&args.cache, Some(network)).map_err(Failure::Said)?;
            let known = attachments(&assigned(ipamd, Some(network)).await?);
            let is_new = |e: &Entry| !known.contains(&(e.address, e.container_id.clone()));
            found.leases.retain(is_new);
            import(ipamd, &found, false, steps).await?;
        }
        Source::Calico(_) => {}
    }
    verify(ipamd, &args.cache, steps).await
}

/// Leases taken over whose file host-local has removed since: their pods were deleted by the old
/// configuration.
async fn release_deleted(
    ipamd: &mut Client,
    (before, now): (&Found, &Found),
    steps: &mut Steps,
) -> Result<(), Failure> {
    let live = attachments(&now.leases);
    let is_gone = |e: &&Entry| !live.contains(&(e.address, e.container_id.clone()));
    let gone: Vec<_> = before.leases.iter().filter(is_gone).collect();
    if gone.is_empty() {
        return Ok(());
    }
    for lease in leases(ipamd, "assigned", "").await? {
        if !gone.iter().any(|entry| entry.is_of(&lease)) {
            continue;
        }
        let (address, seq) = (lease.address.clone(), lease.seq);
        let request = ReleaseRequest { address, seq, dry_run: false };
        answer("ipamd", ipamd.release(request)).await?;
        steps.done(format!("released: {}, deleted by host-local meanwhile", lease.address));
    }
    Ok(())
}
