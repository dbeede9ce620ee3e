//! Whether a container can be seen: in its network namespace, in the host's routes, in what the
//! runtime says and remembers.

use ipam_core::{Attachment, Evidence, Leased, Seen};
use mainstay_netns::{Place, place};
use netlink_packet_route::route::{RouteFlags, RouteMessage};
use rtnetlink::{Error, Handle, RouteMessageBuilder};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Where to look, but for the routes.
pub(super) struct Places {
    /// Absent: the runtime does not say.
    pub(super) sandboxes: Option<HashSet<String>>,
    pub(super) results: PathBuf,
}

impl Places {
    /// Those that could have leaked, as far as files and the runtime tell.
    pub(super) fn judge(&self, leases: Vec<Leased>) -> Vec<(Leased, Evidence)> {
        let results_known = self.results.is_dir();
        let judged = leases.into_iter().map(|lease| {
            let evidence = Evidence {
                netns: netns(&lease.netns),
                // Asked for last: it is the kernel's time.
                route: Seen::Gone,
                sandbox: self.sandbox(&lease.attachment),
                result: self.result(&lease.attachment, results_known),
            };
            (lease, evidence)
        });
        judged.filter(|(_, evidence)| evidence.proves_a_leak()).collect()
    }

    fn sandbox(&self, at: &Attachment) -> Seen {
        match &self.sandboxes {
            None => Seen::Unknown,
            Some(all) if all.contains(&at.container_id) => Seen::There,
            Some(_) => Seen::Gone,
        }
    }

    /// libcni's name of a result; each part is a word without a slash.
    fn result(&self, at: &Attachment, known: bool) -> Seen {
        let name = format!("{}-{}-{}", at.network, at.container_id, at.ifname);
        match std::fs::symlink_metadata(self.results.join(name)) {
            Ok(_) => Seen::There,
            Err(error) if known && error.kind() == ErrorKind::NotFound => Seen::Gone,
            Err(_) => Seen::Unknown,
        }
    }
}

/// A path that is not there proves something only if we can see where it would be. One that is there
/// without a namespace behind it may be a mount that does not reach us.
fn netns(path: &str) -> Seen {
    match place(Path::new(path)) {
        Place::There => Seen::There,
        Place::Missing => Seen::Gone,
        Place::Bare | Place::Hidden => Seen::Unknown,
    }
}

/// Whether the host has a route for any of its addresses alone.
pub(super) async fn route(handle: &Handle, lease: &Leased) -> Seen {
    let mut route = Seen::Gone;
    for address in &lease.addresses {
        match host_route(handle, *address).await {
            Seen::There => return Seen::There,
            Seen::Gone => {}
            Seen::Unknown => route = Seen::Unknown,
        }
    }
    route
}

/// Whether the route that packets to this address take is for this address alone.
async fn host_route(handle: &Handle, address: IpAddr) -> Seen {
    use futures_util::TryStreamExt;
    let (message, bits) = ask(address);
    match handle.route().get(message).execute().try_next().await {
        Ok(Some(route)) if route.header.destination_prefix_length == bits => Seen::There,
        Ok(_) => Seen::Gone,
        // The block's blackhole, or no route at all.
        Err(Error::NetlinkError(error)) if error.code.is_some_and(|code| is_no_way(code.get())) => {
            Seen::Gone
        }
        Err(error) => {
            tracing::debug!(%address, %error, "cannot ask for the route");
            Seen::Unknown
        }
    }
}

/// A look-up that answers with the route itself and not with its use.
fn ask(address: IpAddr) -> (RouteMessage, u8) {
    let (mut message, bits) = match address {
        IpAddr::V4(a) => {
            (RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(a, 32).build(), 32)
        }
        IpAddr::V6(a) => {
            (RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(a, 128).build(), 128)
        }
    };
    message.header.flags = RouteFlags::FibMatch;
    // A strict check wants these empty in a question.
    message.header.protocol = 0.into();
    message.header.table = 0;
    message.header.scope = 0.into();
    message.header.kind = 0.into();
    (message, bits)
}

fn is_no_way(code: i32) -> bool {
    [Errno::INVAL, Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS]
        .iter()
        .any(|errno| code == -errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_there_gone_or_not_to_be_judged() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("netns");
        assert_eq!(netns(file.to_str().unwrap()), Seen::Gone);
        std::fs::write(&file, "").unwrap();
        assert_eq!(netns(file.to_str().unwrap()), Seen::Unknown, "a file is no namespace");
        assert_eq!(netns("/proc/self/ns/net"), Seen::There);
        for path in ["", "netns", "/no/such/directory/netns", "/proc/0/ns/net"] {
            assert_eq!(netns(path), Seen::Unknown, "{path}");
        }
    }

    #[test]
    fn a_runtime_that_says_nothing_is_no_witness() {
        let dir = tempfile::tempdir().unwrap();
        let at =
            Attachment { network: "pods".into(), container_id: "c1".into(), ifname: "eth0".into() };
        let mut places = Places { sandboxes: None, results: dir.path().join("none") };
        assert_eq!(places.sandbox(&at), Seen::Unknown);
        assert_eq!(places.result(&at, places.results.is_dir()), Seen::Unknown);
        places.sandboxes = Some(HashSet::from(["c1".to_owned()]));
        places.results = dir.path().into();
        assert_eq!(places.sandbox(&at), Seen::There);
        assert_eq!(places.result(&at, true), Seen::Gone);
        std::fs::write(dir.path().join("pods-c1-eth0"), "{}").unwrap();
        assert_eq!(places.result(&at, true), Seen::There);
    }
}
