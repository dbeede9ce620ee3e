//! Options of sockets that BGP asks for. The only module with `unsafe`: TCP MD5 and the cookie of
//! a network namespace have no safe wrapper anywhere.

use mainstay_prefix::Prefix;
use rustix::net::sockopt;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// Class selector 6, internetwork control.
const CS6: u8 = 0xc0;
/// linux/tcp.h
const MAX_KEY: usize = 80;
const FLAG_PREFIX: u8 = 1;

/// A TCP MD5 key (RFC 2385): 1 to 80 octets. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadKey {
    #[error("is empty")]
    Empty,
    #[error("is {0} octets long; TCP MD5 takes at most 80")]
    TooLong(usize),
}

impl Key {
    pub(crate) fn new(octets: &[u8]) -> Result<Self, BadKey> {
        match octets.len() {
            0 => Err(BadKey::Empty),
            1..=MAX_KEY => Ok(Self(octets.to_vec())),
            n => Err(BadKey::TooLong(n)),
        }
    }
}

impl Key {
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What every BGP socket has: no delay for small messages, and its packets marked as control.
pub(crate) fn prepare(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    if ipv4 {
        sockopt::set_ip_tos(socket, CS6)?;
    } else {
        sockopt::set_ipv6_tclass(socket, CS6.into())?;
    }
    Ok(())
}

/// The name of this process's network namespace, never given again while the machine runs; its
/// inode number is. `None`: the kernel has none to tell (before Linux 5.14).
#[allow(unsafe_code)]
pub(crate) fn netns_cookie() -> Option<u64> {
    /// asm-generic/socket.h
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
    let mut cookie = 0u64;
    let mut size = libc::socklen_t::try_from(size_of::<u64>()).ok()?;
    // SAFETY: the kernel writes `size` octets at most into `cookie`, which any octets are good for;
    // both outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    (answer == 0).then_some(cookie)
}

/// How many hops our packets may take, `None` leaves that to the host; and with how many left the
/// peer's have to come (RFC 5082 §3), 0 for any.
pub(crate) fn set_hops(
    socket: &impl AsFd,
    ipv4: bool,
    ttl: Option<u8>,
    least: u8,
) -> io::Result<()> {
    match ttl {
        Some(ttl) if ipv4 => sockopt::set_ip_ttl(socket, ttl.into())?,
        Some(ttl) => sockopt::set_ipv6_unicast_hops(socket, Some(ttl))?,
        None => {}
    }
    set_least_ttl(socket, ipv4, least)
}

#[allow(unsafe_code)]
fn set_least_ttl(socket: &impl AsFd, ipv4: bool, least: u8) -> io::Result<()> {
    /// linux/in.h, linux/in6.h
    const IP_MINTTL: libc::c_int = 21;
    const IPV6_MINHOPCOUNT: libc::c_int = 73;
    let (level, option) =
        if ipv4 { (libc::IPPROTO_IP, IP_MINTTL) } else { (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT) };
    let value = libc::c_int::from(least);
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` octets of `value`, which outlives the call.
    let answer = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), size)
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C, align(8))]
struct Md5Sig {
    addr: [u8; 128],
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: i32,
    key: [u8; MAX_KEY],
}

/// Signs, and demands to be signed, what is exchanged with `peers`; `None` ends that.
///
/// On a listening socket it holds for connections that come in, on another one for its own.
#[allow(unsafe_code)]
pub(crate) fn set_md5(socket: &impl AsFd, peers: Prefix, key: Option<&Key>) -> io::Result<()> {
    let request = md5_sig(peers, key);
    let size = libc::socklen_t::try_from(size_of::<Md5Sig>()).map_err(io::Error::other)?;
    // SAFETY: `request` is laid out as the kernel's struct (its size is tested), initialised
    // throughout, and outlives the call; the kernel only reads it.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MD5SIG_EXT,
            (&raw const request).cast(),
            size,
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A `sockaddr_storage` with this address.
pub(crate) fn storage(addr: IpAddr) -> [u8; 128] {
    let mut storage = [0; 128];
    // sockaddr_in: family, port, address; sockaddr_in6 has the flow label before the address.
    let (family, at, octets) = match addr {
        IpAddr::V4(a) => (libc::AF_INET, 4, a.octets().to_vec()),
        IpAddr::V6(a) => (libc::AF_INET6, 8, a.octets().to_vec()),
    };
    storage[..2].copy_from_slice(&u16::try_from(family).unwrap_or_default().to_ne_bytes());
    storage[at..at + octets.len()].copy_from_slice(&octets);
    storage
}

fn md5_sig(peers: Prefix, key: Option<&Key>) -> Md5Sig {
    let mut sig = Md5Sig {
        addr: storage(peers.addr()),
        flags: FLAG_PREFIX,
        prefix_len: peers.len(),
        key_len: 0,
        ifindex: 0,
        key: [0; MAX_KEY],
    };
    if let Some(Key(octets)) = key {
        sig.key_len = u16::try_from(octets.len()).unwrap_or_default();
        sig.key[..octets.len()].copy_from_slice(octets);
    }
    sig
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_request_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<Md5Sig>(), 216);
    }

    #[test]
    fn a_network_namespace_keeps_its_name() {
        assert_eq!(netns_cookie(), netns_cookie());
    }

    #[test]
    fn a_key_is_never_printed_and_never_too_long() {
        assert_eq!(format!("{:?}", Key::new(b"secret").unwrap()), "Key(…)");
        assert_eq!(Key::new(&[1; 81]), Err(BadKey::TooLong(81)));
        assert_eq!(Key::new(b""), Err(BadKey::Empty));
    }

    #[test]
    fn only_who_knows_the_key_gets_through() {
        for (listen, peers) in [("127.0.0.1:0", "127.0.0.0/8"), ("[::1]:0", "::1/128")] {
            let listener = TcpListener::bind(listen).unwrap();
            let to = listener.local_addr().unwrap();
            let key = Key::new(b"secret").unwrap();
            set_md5(&listener, prefix(peers), Some(&key)).unwrap();
            let dial = |key: Option<&Key>| {
                let domain = socket2::Domain::for_address(to);
                let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
                if key.is_some() {
                    set_md5(&socket, Prefix::host(to.ip()), key).unwrap();
                }
                socket.connect_timeout(&to.into(), Duration::from_millis(200))
            };
            assert!(dial(None).is_err(), "an unsigned SYN is dropped");
            assert!(dial(Some(&Key::new(b"other").unwrap())).is_err());
            dial(Some(&key)).unwrap();
            set_md5(&listener, prefix(peers), None).unwrap();
            TcpStream::connect(to).unwrap();
        }
    }
}
