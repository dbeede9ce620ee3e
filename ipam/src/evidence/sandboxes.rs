//! Which addresses the sandboxes of this host have configured: the network namespaces that a link
//! joins with the host's. Others, of a host that shares this machine's file system, say nothing.

use mainstay_netns::{Visitor, named, visit};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// The addresses that `wanted` picks, each with the namespace it was seen in.
pub(crate) fn addresses(
    wanted: impl Fn(IpAddr) -> bool + Send + 'static,
) -> io::Result<BTreeMap<IpAddr, PathBuf>> {
    visit(move |visitor: &Visitor| {
        let mut seen = BTreeMap::new();
        for path in named() {
            // One that goes while we look has no addresses any more.
            let addresses = visitor.addresses_if_joined(&path).unwrap_or_default();
            seen.extend(addresses.into_iter().filter(|a| wanted(*a)).map(|a| (a, path.clone())));
        }
        seen
    })
}
