//! The leases against what is configured in network namespaces: those of their containers, and all
//! that a link joins with this host's.

use super::{Fault, Seen, is_ours};
use mainstay_netns::{Place, Visitor, named, place, visit};
use mainstay_proto::ipam::v1::Lease;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The main plugin configures an address after it was leased.
const SETTLING: f64 = 5.0;

/// One namespace, under whichever names it has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sandbox {
    pub(super) paths: BTreeSet<PathBuf>,
    /// Absent: it cannot be looked into.
    pub(super) addresses: Option<BTreeSet<IpAddr>>,
}

/// The namespaces of these leases, and others of this host.
pub(super) fn look(leases: &[Lease]) -> Result<Vec<Sandbox>, String> {
    let assigned = leases.iter().filter(|lease| lease.state == "assigned");
    let recorded: BTreeSet<_> = assigned.map(|lease| PathBuf::from(&lease.netns)).collect();
    let found = visit(move |visitor| all(visitor, recorded));
    found.map_err(|error| format!("cannot look into network namespaces: {error}"))
}

fn all(visitor: &Visitor, recorded: BTreeSet<PathBuf>) -> Vec<Sandbox> {
    // By number, for one may be mounted twice.
    let mut found = BTreeMap::<u64, Sandbox>::new();
    for path in recorded {
        if let Some(number) = number(&path) {
            let sandbox = found.entry(number).or_insert_with(|| Sandbox {
                addresses: visitor.addresses(&path).ok().map(BTreeSet::from_iter),
                ..Sandbox::default()
            });
            sandbox.paths.insert(path);
        }
    }
    for path in named() {
        let Some(number) = number(&path).filter(|number| !found.contains_key(number)) else {
            continue;
        };
        // One that goes meanwhile has no addresses, nor has one of another host.
        let addresses = visitor.addresses_if_joined(&path).unwrap_or_default();
        if !addresses.is_empty() {
            let addresses = Some(addresses.into_iter().collect());
            found.insert(number, Sandbox { paths: [path].into(), addresses });
        }
    }
    found.into_values().collect()
}

/// It was a namespace, and is one no more; a path in a directory that we do not see proves nothing.
pub(in crate::ipam) fn is_gone(netns: &str) -> bool {
    let path = Path::new(netns);
    !path.starts_with("/proc") && matches!(place(path), Place::Bare | Place::Missing)
}

fn number(path: &Path) -> Option<u64> {
    let there = place(path) == Place::There;
    std::fs::metadata(path).ok().filter(|_| there).map(|found| found.ino())
}

/// An assigned address is configured in its container's namespace, and nowhere else.
pub(super) fn compare(seen: &Seen, faults: &mut BTreeSet<Fault>) {
    let assigned = seen.leases.iter().filter(|lease| lease.state == "assigned");
    let leases: BTreeMap<IpAddr, &Lease> =
        assigned.filter_map(|lease| Some((lease.address.parse().ok()?, lease))).collect();
    for sandbox in &seen.sandboxes {
        let Some(addresses) = &sandbox.addresses else { continue };
        for (address, lease) in &leases {
            if lacks(sandbox, addresses, *address, lease) {
                let text = format!(
                    "{} has it, and its namespace {} does not have it configured",
                    lease.owner, lease.netns
                );
                faults.insert(Fault::new("unconfigured", address, text));
            }
        }
        for address in addresses.iter().filter(|address| is_ours(seen, **address)) {
            let lease = leases.get(address);
            faults.extend(lease.map_or_else(
                || {
                    let text = format!("{} has it configured, and it has no lease", name(sandbox));
                    Some(Fault::new("not-leased", address, text))
                },
                |lease| elsewhere(seen, sandbox, *address, lease),
            ));
        }
    }
}

fn lacks(sandbox: &Sandbox, has: &BTreeSet<IpAddr>, address: IpAddr, lease: &Lease) -> bool {
    let is_its = sandbox.paths.contains(Path::new(&lease.netns));
    is_its && lease.assigned_seconds >= SETTLING && !has.contains(&address)
}

/// Where its own namespace cannot be seen, this may be it under another name.
fn elsewhere(seen: &Seen, sandbox: &Sandbox, address: IpAddr, lease: &Lease) -> Option<Fault> {
    let own = Path::new(&lease.netns);
    let is_seen = seen.sandboxes.iter().any(|sandbox| sandbox.paths.contains(own));
    if sandbox.paths.contains(own) || !(is_seen || seen.gone.contains(&lease.netns)) {
        return None;
    }
    let text = format!("{} has it configured, and the lease is of {}", name(sandbox), lease.owner);
    Some(Fault::new("elsewhere", address, text))
}

fn name(sandbox: &Sandbox) -> String {
    let path = sandbox.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    format!("network namespace {path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_proven_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("plain"), "").unwrap();
        assert!(is_gone(&path("missing")) && is_gone(&path("plain")));
        assert!(!is_gone(&path("no/such")) && !is_gone("") && !is_gone("/proc/1/ns/net"));
    }
}
