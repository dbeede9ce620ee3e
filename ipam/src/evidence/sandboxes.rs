//! Which addresses the sandboxes of this host have configured: the network namespaces that a link
//! joins with the host's, and those that our leases name, wherever they are mounted and whatever
//! leads into them. Others, of a host that shares this machine's file system, say nothing.

use mainstay_netns::{Place, Visitor, named, place, visit};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// The addresses that `wanted` picks, each with the namespace it was seen in; `known` are of leases.
pub(crate) fn addresses(
    known: Vec<PathBuf>,
    wanted: impl Fn(IpAddr) -> bool + Send + 'static,
) -> io::Result<BTreeMap<IpAddr, PathBuf>> {
    visit(move |visitor: &Visitor| {
        let mut seen = BTreeMap::new();
        // One that goes while we look has no addresses any more.
        let mut note = |path: PathBuf, addresses: io::Result<Vec<IpAddr>>| {
            let addresses = addresses.unwrap_or_default().into_iter();
            seen.extend(addresses.filter(|a| wanted(*a)).map(|a| (a, path.clone())));
        };
        for path in known.into_iter().filter(|path| place(path) == Place::There) {
            let addresses = visitor.addresses(&path);
            note(path, addresses);
        }
        for path in named() {
            let addresses = visitor.addresses_if_joined(&path);
            note(path, addresses);
        }
        seen
    })
}
