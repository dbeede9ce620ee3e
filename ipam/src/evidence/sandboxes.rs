//! Which addresses the sandboxes of this host have configured: the network namespaces at the other
//! ends of its links. Others, of a host that shares this machine's file system, say nothing.

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

/// Where runtimes and `ip netns` mount them; the second is usually the first.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/var/run/netns"];
/// linux/rtnetlink.h, linux/net_namespace.h
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const SILENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The addresses that `wanted` picks, each with the namespace it was seen in. Runs in a thread of
/// its own, which ends in another namespace than it began in.
pub(crate) fn addresses(
    wanted: impl Fn(IpAddr) -> bool + Send + 'static,
) -> io::Result<BTreeMap<IpAddr, PathBuf>> {
    // It stays in the namespace in which it was opened.
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
    let look = move || {
        let mut seen = BTreeMap::new();
        for path in namespaces() {
            // One that goes while we look has no addresses any more.
            for address in addresses_in(&path, &socket).unwrap_or_default() {
                if wanted(address) {
                    seen.insert(address, path.clone());
                }
            }
        }
        seen
    };
    let thread = std::thread::Builder::new().name("sandboxes".into()).spawn(look)?;
    thread.join().map_err(|_| io::Error::other("the thread has panicked"))
}

fn namespaces() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        let Ok(real) = fs::canonicalize(directory) else { continue };
        let Ok(entries) = fs::read_dir(real) else { continue };
        found.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    found.sort();
    found.dedup();
    found
}

/// Moves the thread there for good.
fn addresses_in(path: &Path, host: &Socket) -> io::Result<Vec<IpAddr>> {
    let namespace = File::open(path)?;
    if !is_linked(&namespace, host)? {
        return Ok(Vec::new());
    }
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let v4 = fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    Ok(ipv4(&v4).map(IpAddr::V4).chain(ipv6(&v6).map(IpAddr::V6)).collect())
}

/// Whether the host's namespace has a number for this one.
fn is_linked(namespace: &File, host: &Socket) -> io::Result<bool> {
    // The header, a family in four bytes, one attribute.
    let mut request = Vec::with_capacity(28);
    request.extend(28u32.to_ne_bytes());
    request.extend(RTM_GETNSID.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 12]);
    request.extend(8u16.to_ne_bytes());
    request.extend(NETNSA_FD.to_ne_bytes());
    request.extend(namespace.as_raw_fd().to_ne_bytes());
    host.send(&request, 0)?;
    let mut reply = Vec::with_capacity(1024);
    host.recv(&mut reply, 0)?;
    Ok(nsid(&reply).is_some_and(|id| id >= 0))
}

/// Of the reply: the header, a family in four bytes, attributes; an error has none of ours.
fn nsid(reply: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(*reply.get(22..)?.first_chunk()?);
    let value = i32::from_ne_bytes(*reply.get(24..)?.first_chunk()?);
    let is_error = u16::from_ne_bytes(*reply.get(4..)?.first_chunk()?) == 2;
    (kind == NETNSA_NSID && !is_error).then_some(value)
}

/// `|-- 10.0.0.5` and, on one of the lines below it, `/32 host LOCAL`.
fn ipv4(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut leaf = None;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        }
        if line == "/32 host LOCAL" { leaf } else { None }
    })
}

/// 32 digits, then index, length, scope, flags and name.
fn ipv6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    let digits = text.lines().filter_map(|line| line.split_whitespace().next());
    digits.filter_map(|digits| u128::from_str_radix(digits, 16).ok()).map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    Local:\n     |-- 10.244.0.5\n        /32 host LOCAL\n     |-- 10.244.0.63\n        \
                    /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let found: Vec<_> = ipv4(trie).map(|a| a.to_string()).collect();
        assert_eq!(found, ["10.244.0.5", "127.0.0.1"]);
        let table = "fd000244000000000000000000000005 02 7a 00 80     eth0\nnonsense 1\n";
        assert_eq!(ipv6(table).map(|a| a.to_string()).collect::<Vec<_>>(), ["fd00:244::5"]);
    }
}
