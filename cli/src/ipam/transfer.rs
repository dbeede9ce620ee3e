//! `mainstay ipam import` and `export`: other allocators' leases, taken over or written down.

use super::check::is_gone;
use super::formats::{Entry, Found, MOST, calico, host_local};
use super::{Client, files, leases, migrate, node};
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::count;
use clap::ValueEnum;
use mainstay_proto::ipam::v1::{ImportReply, ImportRequest, Lease};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

pub(super) const IMPORT: &str = "\
Everything is taken over or, with any conflict, nothing: each conflict is named. What was taken over
before is left as it is, and what was released since is not brought back, so importing again is safe.

  host-local  PATH is the directory of the network, /var/lib/cni/networks/NETWORK
  calico      PATH is what `kubectl get ipamblocks,ipamhandles -o yaml` prints; the blocks of this
              node are imported, and addresses that no container has (tunnels) are put on hold
  cache       PATH is what libcni remembers, /var/lib/cni/results; containers whose namespace is
              gone are left out. The way on after mainstay-ipamd --set-aside

Pods' names and UIDs come from the runtime's cache (--cache).

Examples:
  mainstay ipam import host-local /var/lib/cni/networks/pods --dry-run
  mainstay ipam import calico blocks.yaml --network k8s-pod-network
  mainstay ipam import cache /var/lib/cni/results --network pods

Exit codes: 0 imported, or would be; 1 there are conflicts, or the source cannot be read.";

pub(super) const EXPORT: &str = "\
Leases that containers have, in the form of another allocator. Nothing that is there is overwritten
with another owner's lease. Neither form knows a cooldown.

  host-local  PATH is the directory of the network, made if need be; --network chooses the leases
  calico      PATH is a YAML list of blocks, their affinities and handles for `kubectl apply -f`,
              - for stdout; what is on hold is taken in it, what was released comes last

Examples:
  mainstay ipam export host-local /var/lib/cni/networks/pods --network pods
  mainstay ipam export calico blocks.yaml

Exit codes: 0 written, or would be; 1 not.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    HostLocal,
    Calico,
    Cache,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    HostLocal,
    Calico,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    #[arg(value_enum, value_name = "FORM")]
    from: Source,

    path: PathBuf,

    /// The network's name in the runtime's configuration; of host-local, the directory's by default
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// What libcni remembers
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni/results")]
    cache: PathBuf,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[arg(value_enum, value_name = "FORM")]
    to: Target,

    path: PathBuf,

    /// Only leases of this network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn import(
    daemons: &Daemons,
    args: &Import,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut ipamd = daemons.ipamd().await?;
    let node = node(&mut ipamd).await?;
    let found = read(args, &node).map_err(Failure::Said)?;
    let reply = put(&mut ipamd, &found, args.dry_run).await?;
    if out.is_json() {
        out.json(&Told { reply: &reply, skipped: &found.skipped, dry_run: args.dry_run })?;
    } else {
        out.text(&told(&reply, &found.skipped, args.dry_run))?;
    }
    Ok(if reply.conflicts.is_empty() { Verdict::Well } else { Verdict::Wrong })
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    reply: &'a ImportReply,
    skipped: &'a [String],
    dry_run: bool,
}

fn read(args: &Import, node: &str) -> Result<Found, String> {
    match args.from {
        Source::HostLocal => {
            let network = args.network.clone().or_else(|| last_of(&args.path));
            let network = network.ok_or("which network is it? --network NAME")?;
            from_host_local(&files::directory(&args.path)?, &network, &args.cache)
        }
        Source::Calico => {
            let network = args.network.as_deref().unwrap_or("k8s-pod-network");
            from_calico(&args.path, node, network, &args.cache)
        }
        Source::Cache => {
            let mut found = from_cache(&args.path, args.network.as_deref())?;
            leave_out_the_gone(&mut found);
            Ok(found)
        }
    }
}

fn last_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

pub(super) fn from_host_local(
    listing: &[host_local::File],
    network: &str,
    cache: &Path,
) -> Result<Found, String> {
    let mut found = host_local::read(listing, network)?;
    learn(&mut found, network, cache)?;
    Ok(found)
}

pub(super) fn from_calico(
    list: &Path,
    node: &str,
    network: &str,
    cache: &Path,
) -> Result<Found, String> {
    let text = files::read_list(list)?;
    let mut found =
        calico::read(&text, node, network).map_err(|why| format!("{}: {why}", list.display()))?;
    let entries = learn(&mut found, network, cache)?;
    calico::one_of_a_family(&mut found, &entries);
    Ok(found)
}

/// What the cache knows of a network; what of it cannot be read is told.
fn learn(found: &mut Found, network: &str, cache: &Path) -> Result<Vec<Entry>, String> {
    let (mut entries, bad) = files::read_cache(cache)?;
    entries.retain(|entry| entry.network == network);
    found.learn(&entries);
    found.skipped.extend(bad);
    Ok(entries)
}

pub(super) fn from_cache(dir: &Path, network: Option<&str>) -> Result<Found, String> {
    if !dir.is_dir() {
        return Err(format!("{} is no directory", dir.display()));
    }
    let (mut leases, skipped) = files::read_cache(dir)?;
    leases.retain(|entry| network.is_none_or(|network| network == entry.network));
    leases.sort_by_key(|entry| entry.address);
    Ok(Found { leases, skipped, ..Found::default() })
}

/// A runtime may remember for good what it failed to delete, and somebody else may have it now.
fn leave_out_the_gone(found: &mut Found) {
    let leases = std::mem::take(&mut found.leases);
    let (gone, there) = leases.into_iter().partition::<Vec<_>, _>(|entry| is_gone(&entry.netns));
    found.leases = there;
    found.skipped.extend(gone.iter().map(|entry| {
        let Entry { address, container_id, netns, .. } = entry;
        format!("{address} of container {container_id}: its network namespace {netns} is gone")
    }));
}

/// Everything at once, for all or nothing is to hold.
pub(super) async fn put(
    ipamd: &mut Client,
    found: &Found,
    dry_run: bool,
) -> Result<ImportReply, Failure> {
    let entries = found.leases.len() + found.holds.len();
    if entries > MOST {
        let why = format!("{entries} addresses are to be imported; at most {MOST} can be");
        return Err(Failure::Said(why));
    }
    let (leases, holds) = (found.adoptions(), found.hold_requests());
    Ok(answer("ipamd", ipamd.import(ImportRequest { leases, holds, dry_run })).await?)
}

pub(super) fn told(reply: &ImportReply, skipped: &[String], dry_run: bool) -> String {
    let mut text = String::new();
    if !reply.conflicts.is_empty() {
        let many = count(reply.conflicts.len() as u64, "conflict");
        let _ = writeln!(text, "{many}; nothing is imported:");
        for conflict in &reply.conflicts {
            let _ = writeln!(text, "  {}", conflict.why);
        }
    } else {
        let would = if dry_run { "would be " } else { "" };
        for (addresses, what) in [(&reply.adopted, "taken over"), (&reply.held, "put on hold")] {
            let _ = writeln!(text, "{:>5} {would}{what}{}", addresses.len(), listed(addresses));
        }
        let _ = writeln!(text, "{:>5} had been before", reply.known.len());
        if !reply.released.is_empty() {
            let released = &reply.released;
            let _ = writeln!(text, "{:>5} were released since{}", released.len(), listed(released));
        }
    }
    for skipped in skipped {
        let _ = writeln!(text, "skipped: {skipped}");
    }
    text
}

fn listed(addresses: &[String]) -> String {
    const SOME: usize = 8;
    let shown: Vec<_> = addresses.iter().take(SOME).map(String::as_str).collect();
    let more = if addresses.len() > SOME { ", …" } else { "" };
    if shown.is_empty() { String::new() } else { format!(": {}{more}", shown.join(", ")) }
}

pub(super) fn entry(lease: &Lease) -> Option<Entry> {
    let pod = lease.owner.strip_prefix("pod ").and_then(|pod| pod.split_once('/'));
    let (namespace, name) = pod.unwrap_or_default();
    Some(Entry {
        netns: lease.netns.clone(),
        namespace: namespace.into(),
        name: name.into(),
        uid: lease.pod_uid.clone(),
        ..Entry::new(
            lease.address.parse().ok()?,
            &lease.network,
            &lease.container_id,
            &lease.ifname,
        )
    })
}

/// What containers have of this network.
pub(super) async fn assigned(
    ipamd: &mut Client,
    network: Option<&str>,
) -> Result<Vec<Entry>, Failure> {
    let leases = leases(ipamd, "assigned", "").await?;
    let of_network = |entry: &Entry| network.is_none_or(|network| network == entry.network);
    Ok(leases.iter().filter_map(entry).filter(of_network).collect())
}

pub(super) async fn export(
    daemons: &Daemons,
    args: &Export,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut ipamd = daemons.ipamd().await?;
    let entries = assigned(&mut ipamd, args.network.as_deref()).await?;
    match args.to {
        Target::HostLocal if !args.dry_run => {
            let locked = files::Locked::take(&args.path).map_err(Failure::Said)?;
            locked.give(&host_local::write(&entries)).map_err(Failure::Said)?;
        }
        Target::HostLocal => {}
        Target::Calico => {
            let text = migrate::as_calico(&mut ipamd, entries.clone()).await?.write();
            if args.path == Path::new("-") {
                return out.text(&text).map(|()| Verdict::Well);
            }
            if !args.dry_run {
                files::replace(&args.path, text.as_bytes()).map_err(Failure::Said)?;
            }
        }
    }
    let path = args.path.display().to_string();
    if out.is_json() {
        out.json(&Exported { path, leases: entries.len(), dry_run: args.dry_run })?;
    } else {
        let would = if args.dry_run { "would be " } else { "" };
        out.text(&format!("{} {would}written to {path}\n", count(entries.len() as u64, "lease")))?;
    }
    Ok(Verdict::Well)
}

#[derive(Serialize)]
struct Exported {
    path: String,
    leases: usize,
    dry_run: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use mainstay_proto::ipam::v1::Conflict;

    #[test]
    fn an_import_tells_what_it_did_or_what_is_against_it() {
        let done = sample::imported();
        let conflict = |address: &str, why: &str| Conflict {
            address: address.into(),
            why: format!("{address} {why}"),
        };
        let refused = ImportReply {
            conflicts: vec![
                conflict("10.244.0.3", "was released lately by pod default/web-1; free in 72 s"),
                conflict("10.9.0.1", "is not an address of this node's blocks"),
            ],
            ..ImportReply::default()
        };
        let skipped = ["notes.txt: no address".to_owned()];
        let text = [told(&done, &skipped, true), told(&refused, &[], false)].join("\n");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_lease_becomes_what_other_allocators_write() {
        let lease = sample::leases().remove(0);
        let entry = entry(&lease).unwrap();
        assert_eq!((entry.namespace.as_str(), entry.name.as_str()), ("default", "web-0"));
        assert!(entry.is_of(&lease));
    }
}
