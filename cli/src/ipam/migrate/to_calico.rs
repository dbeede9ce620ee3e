//! From mainstay-ipam back to calico-ipam, whose store is the cluster's: what is written for it has
//! to be there before calico-ipam is asked for the first time.

use super::super::files;
use super::super::formats::{Entry, MOST, calico};
use super::super::transfer::assigned;
use super::super::{Client, blocks, leases, node};
use super::{Args, Steps, Switch, addresses, attachments, plugin, put_back};
use crate::ask::{AskError, answer};
use crate::failure::Failure;
use crate::text::count;
use mainstay_proto::ipam::v1::{
    HoldRequest, ImportRequest, ListWithheldRequest, UnholdRequest, Withheld,
};
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// Why what is free is on hold until calico-ipam decides.
const FENCE: &str = "migration to calico-ipam";
const KIND: &str = "calico-ipam";
/// For the operator's command.
const LONGEST: Duration = Duration::from_secs(300);

/// This node as Calico would have it, with these leases.
pub(in crate::ipam) async fn as_calico(
    ipamd: &mut Client,
    entries: Vec<Entry>,
) -> Result<calico::Node, AskError> {
    let is_released = |state: &str| state != "assigned";
    let mut released = leases(ipamd, "", "").await?;
    released.retain(|lease| is_released(&lease.state));
    let ago = |lease: &mainstay_proto::ipam::v1::Lease| lease.released_seconds.unwrap_or_default();
    released.sort_by(|a, b| ago(b).total_cmp(&ago(a)));
    let holds = withheld(ipamd).await?.into_iter().filter(|w| w.hold != FENCE);
    let hold = |w: Withheld| {
        let why = if w.hold.is_empty() { w.in_use } else { w.hold };
        Some((w.address.parse().ok()?, why))
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(calico::Node {
        name: node(ipamd).await?,
        blocks: blocks(ipamd).await?.iter().filter_map(|block| block.cidr.parse().ok()).collect(),
        leases: entries,
        holds: holds.filter_map(hold).collect(),
        released: released.iter().filter_map(|lease| lease.address.parse().ok()).collect(),
        sequence: u64::try_from(now.as_nanos()).unwrap_or_default(),
    })
}

async fn withheld(ipamd: &mut Client) -> Result<Vec<Withheld>, AskError> {
    Ok(answer("ipamd", ipamd.list_withheld(ListWithheldRequest {})).await?.withheld)
}

pub(super) async fn migrate(
    ipamd: &mut Client,
    (args, switch): (&Args, &Switch),
    steps: &mut Steps,
) -> Result<(), Failure> {
    switch.must_be("mainstay-ipam").map_err(Failure::Said)?;
    plugin::is_there(&args.bin_dir, KIND).map_err(Failure::Said)?;
    let list = list(args)?;
    let before = switch.before(KIND, steps).map_err(Failure::Said)?;
    let section = before.unwrap_or_else(|| format!(r#"{{"type":"{KIND}"}}"#));
    if args.dry_run {
        return would(ipamd, list, (args, switch, &section), steps).await;
    }
    let done = match fence(ipamd, steps).await {
        Ok(()) => hand_over(ipamd, list, (args, switch, &section), steps).await,
        Err(failure) => Err(failure),
    };
    if done.is_ok() {
        tokio::time::sleep(args.settle).await;
    }
    let open = unfence(ipamd).await;
    match done {
        Ok(before) => {
            open?;
            tell_gone(ipamd, &before, &switch.now.network, steps).await
        }
        Err(failure) => {
            let open = open.map_err(|why| why.to_string());
            Err(put_back(&failure, switch.undo().and(open)))
        }
    }
}

/// Where the list is, or goes to, and somebody who applies it.
fn list(args: &Args) -> Result<&PathBuf, Failure> {
    let how = "--source FILE --apply-with 'kubectl apply -f', or `mainstay ipam export calico \
               FILE`, `kubectl apply -f FILE` and then --source FILE --applied";
    match &args.source {
        Some(list) if args.applied || args.apply_with.is_some() || args.dry_run => Ok(list),
        _ => Err(Failure::Said(format!("Calico's store is to have the leases first: {how}"))),
    }
}

async fn would(
    ipamd: &mut Client,
    list: &Path,
    (args, switch, section): (&Args, &Switch, &str),
    steps: &mut Steps,
) -> Result<(), Failure> {
    let entries = assigned(ipamd, None).await?;
    let node = as_calico(ipamd, entries).await?;
    let network = &switch.now.network;
    if args.applied {
        let text = files::read_list(list).map_err(Failure::Said)?;
        covers(&text, &node, network).map_err(Failure::Said)?;
        steps.done(format!("{} has every lease", list.display()));
    } else {
        covers(&node.write(), &node, network).map_err(Failure::Said)?;
        let (leases, blocks) = (node.leases.len() as u64, node.blocks.len() as u64);
        let (leases, blocks) = (count(leases, "lease"), count(blocks, "block"));
        steps.done(format!("{leases} of {blocks} would be written to {}", list.display()));
    }
    if let Some(command) = &args.apply_with {
        steps.done(format!("would be run: {command} {}", list.display()));
    }
    let path = switch.path.display();
    steps.done(format!("{path} would be given this ipam section: {section}"));
    Ok(())
}

/// Puts whatever is free on hold: from here on leases only go.
async fn fence(ipamd: &mut Client, steps: &mut Steps) -> Result<(), Failure> {
    let assigned = leases(ipamd, "assigned", "").await?;
    let taken: HashSet<IpAddr> = assigned.iter().filter_map(|l| l.address.parse().ok()).collect();
    let blocks = blocks(ipamd).await?;
    let free: Vec<_> = addresses(&blocks).filter(|address| !taken.contains(address)).collect();
    for some in free.chunks(MOST) {
        let hold = |a: &IpAddr| HoldRequest { address: a.to_string(), reason: FENCE.to_owned() };
        let holds = some.iter().map(hold).collect();
        let request = ImportRequest { leases: Vec::new(), holds, dry_run: false };
        let reply = answer("ipamd", ipamd.import(request)).await?;
        if let Some(conflict) = reply.conflicts.first() {
            return Err(Failure::Said(conflict.why.clone()));
        }
    }
    let many = count(free.len() as u64, "free address");
    steps.done(format!("fenced: {many} handed out by nobody until calico-ipam decides"));
    Ok(())
}

async fn unfence(ipamd: &mut Client) -> Result<(), Failure> {
    for held in withheld(ipamd).await?.into_iter().filter(|w| w.hold == FENCE) {
        answer("ipamd", ipamd.unhold(UnholdRequest { address: held.address })).await?;
    }
    Ok(())
}

/// Calico's store has every lease, and only then is calico-ipam asked.
async fn hand_over(
    ipamd: &mut Client,
    list: &Path,
    (args, switch, section): (&Args, &Switch, &str),
    steps: &mut Steps,
) -> Result<Vec<Entry>, Failure> {
    let entries = assigned(ipamd, None).await?;
    let node = as_calico(ipamd, entries).await?;
    if args.apply_with.is_some() {
        files::replace(list, node.write().as_bytes()).map_err(Failure::Said)?;
        let many = count(node.leases.len() as u64, "lease");
        steps.done(format!("{many} written to {}", list.display()));
    }
    let text = files::read_list(list).map_err(Failure::Said)?;
    covers(&text, &node, &switch.now.network).map_err(Failure::Said)?;
    steps.done(format!("checked: {} has every lease and hold", list.display()));
    if let Some(command) = &args.apply_with {
        apply(command, list).map_err(Failure::Said)?;
        steps.done(format!("applied: {command} {}", list.display()));
    }
    switch.put(section).map_err(Failure::Said)?;
    steps.done(format!("switched: {}", switch.path.display()));
    Ok(node.leases)
}

/// Nothing that is taken here is free in the list.
fn covers(text: &str, node: &calico::Node, network: &str) -> Result<(), String> {
    let found = calico::read(text, &node.name, network)?;
    let leases = attachments(&found.leases);
    let holds: HashSet<_> = found.holds.iter().map(|(address, _)| *address).collect();
    let key = |entry: &Entry| (entry.address, entry.container_id.clone());
    // A container of another network that is no pod's is known to be one by that network alone.
    let other = |entry: &Entry| entry.network != network && holds.contains(&entry.address);
    let missing = node.leases.iter();
    let missing = missing.filter(|entry| !leases.contains(&key(entry)) && !other(entry));
    let missing = missing.map(|entry| entry.address.to_string());
    let has = |address: &IpAddr| {
        holds.contains(address) || found.leases.iter().any(|entry| entry.address == *address)
    };
    let open = node.holds.iter().filter(|(address, _)| !has(address));
    let open = open.map(|(address, _)| format!("{address} (on hold)"));
    let missing: Vec<_> = missing.chain(open).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("not in the list of blocks: {}; write and apply it again", missing.join(", ")))
}

/// What it says goes to our stderr.
fn apply(command: &str, list: &Path) -> Result<(), String> {
    let said = |why: String| format!("{command} {}: {why}", list.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{command} \"$1\""), "sh"]).arg(list);
    shell.stdin(Stdio::null()).stdout(Stdio::from(io::stderr()));
    let mut child = shell.spawn().map_err(|e| said(e.to_string()))?;
    let end = std::time::Instant::now() + LONGEST;
    loop {
        match child.try_wait().map_err(|e| said(e.to_string()))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(said(status.to_string())),
            None if std::time::Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(said(format!("has not ended within {} s", LONGEST.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// DELs that came between the list and the switch: Calico does not know of them.
async fn tell_gone(
    ipamd: &mut Client,
    before: &[Entry],
    network: &str,
    steps: &mut Steps,
) -> Result<(), Failure> {
    let live = attachments(&assigned(ipamd, None).await?);
    for entry in before {
        if !live.contains(&(entry.address, entry.container_id.clone())) {
            let address = entry.address;
            let how = format!("calicoctl ipam release --ip={address}");
            steps.done(format!("note: {address} was released meanwhile; {how}"));
        }
    }
    steps.done(format!("calico-ipam hands out again for {network}"));
    steps.done("mainstay-ipamd knows these leases until it is stopped; it is asked no more");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> calico::Node {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        calico::Node {
            name: "node-a".into(),
            blocks: vec!["10.1.0.0/29".parse().unwrap()],
            leases: vec![Entry::new(at("10.1.0.2"), "pods", "c1", "eth0")],
            holds: vec![(at("10.1.0.5"), "a printer".into())],
            ..calico::Node::default()
        }
    }

    #[test]
    fn a_list_without_a_lease_or_a_hold_is_refused_and_both_are_named() {
        let list = node().write();
        assert_eq!(covers(&list, &node(), "pods"), Ok(()));
        let mut more = node();
        more.leases.push(Entry::new("10.1.0.3".parse().unwrap(), "pods", "c2", "eth0"));
        more.holds.push(("10.1.0.6".parse().unwrap(), "another".into()));
        let why = covers(&list, &more, "pods").unwrap_err();
        assert!(why.contains(": 10.1.0.3, 10.1.0.6 (on hold);"), "{why}");
        more = node();
        more.leases[0].container_id = "c3".into();
        assert!(covers(&list, &more, "pods").is_err(), "the address is another container's");
    }

    #[test]
    fn the_command_gets_the_list_as_its_last_argument_and_has_to_succeed() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("a list.yaml");
        std::fs::write(&list, "x").unwrap();
        assert_eq!(apply("test -f", &list), Ok(()));
        let why = apply("test -d", &list).unwrap_err();
        assert!(why.ends_with("a list.yaml: exit status: 1"), "{why}");
    }
}
