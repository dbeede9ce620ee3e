//! UDP sockets that tell how a packet came: from where, on which interface, with which TTL.

#![allow(unsafe_code)]

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, netdevice, sendto, socket_with,
    sockopt,
};
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Network control (RFC 4594 §3.1).
const CS6: u8 = 0xc0;
/// Source ports of BFD (RFC 5881 §4).
const PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
const TRIES: u16 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    pub from: IpAddr,
    pub to: Option<IpAddr>,
    pub interface: u32,
    pub ttl: u8,
    pub len: usize,
}

/// Hears what is sent to this port, of one address family.
pub fn listen(v6: bool, port: u16) -> io::Result<OwnedFd> {
    let socket = socket(v6)?;
    let on = |level, name| set(socket.as_fd(), level, name, 1);
    let any = if v6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
        on(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT)?;
        on(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        on(libc::IPPROTO_IP, libc::IP_RECVTTL)?;
        on(libc::IPPROTO_IP, libc::IP_PKTINFO)?;
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    bind(&socket, &SocketAddr::new(any, port))?;
    Ok(socket)
}

/// Sends with a TTL of 255 from one port in [`PORTS`], for the same `seed` the same if it is free.
pub fn sender(
    to: IpAddr,
    local: Option<IpAddr>,
    interface: &str,
    seed: u32,
) -> io::Result<(OwnedFd, u32)> {
    let v6 = to.is_ipv6();
    let socket = socket(v6)?;
    if v6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
        sockopt::set_ipv6_unicast_hops(&socket, Some(255))?;
        set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_TCLASS, CS6.into())?;
    } else {
        sockopt::set_ip_ttl(&socket, 255)?;
        sockopt::set_ip_tos(&socket, CS6)?;
    }
    let mut index = 0;
    if !interface.is_empty() {
        index = netdevice::name_to_index(&socket, interface)?;
        bind_to_device(socket.as_fd(), interface)?;
    }
    let any = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    bind_some_port(&socket, local.unwrap_or(any), index, seed)?;
    Ok((socket, index))
}

pub fn send(socket: &OwnedFd, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    sendto(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to)?;
    Ok(())
}

/// `None` when nothing is there.
pub fn receive(socket: &OwnedFd, into: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = [0u64; 16];
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: a plain struct; zeroes are a valid one.
    let mut head: libc::msghdr = unsafe { zeroed() };
    head.msg_name = name.as_mut_ptr().cast();
    head.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    head.msg_iov = &raw mut part;
    head.msg_iovlen = 1;
    head.msg_control = control.as_mut_ptr().cast();
    head.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer in `head` is to memory of the length said beside it, alive until after
    // the last use below.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut head, libc::MSG_DONTWAIT) };
    let Ok(len) = usize::try_from(n) else {
        let e = io::Error::last_os_error();
        return if e.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(e) };
    };
    // SAFETY: as large as any address, and initialised.
    let from = ip(unsafe { &*name.as_ptr() }).ok_or(io::ErrorKind::InvalidData)?;
    let mut datagram = Datagram { from, to: None, interface: 0, ttl: 0, len };
    how_it_came(&head, &mut datagram);
    Ok(Some(datagram))
}

/// Where a link-local address needs to know which link.
#[must_use]
pub fn address(ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(v6, port, 0, interface))
        }
        other => SocketAddr::new(other, port),
    }
}

fn socket(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::DGRAM, flags, None)?)
}

fn bind_some_port(socket: &OwnedFd, local: IpAddr, interface: u32, seed: u32) -> io::Result<()> {
    let count = u32::from(PORTS.end() - PORTS.start()) + 1;
    let mut last = io::ErrorKind::AddrInUse.into();
    for n in 0..u32::from(TRIES) {
        let offset = u16::try_from(seed.wrapping_add(n) % count).unwrap_or(0);
        match bind(socket, &address(local, PORTS.start() + offset, interface)) {
            Ok(()) => return Ok(()),
            Err(e) => last = io::Error::from(e),
        }
        if last.kind() != io::ErrorKind::AddrInUse {
            break;
        }
    }
    Err(last)
}

pub(super) fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    let at = (&raw const value).cast();
    // SAFETY: the kernel reads one int.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, at, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind_to_device(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let len = name.len() as libc::socklen_t;
    let (level, option, at) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_ptr().cast());
    // SAFETY: the kernel reads `len` bytes of the name.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, at, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn ip(storage: &libc::sockaddr_storage) -> Option<IpAddr> {
    let at = (&raw const *storage).cast::<u8>();
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: of this family, and `sockaddr_storage` is as large and as aligned.
            let v4 = unsafe { &*at.cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

fn how_it_came(head: &libc::msghdr, datagram: &mut Datagram) {
    // SAFETY: the kernel has filled in `head`; the macros walk within its control bytes.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(head) };
    while !at.is_null() {
        // SAFETY: a header within the control bytes, as the macros found it; the kernel puts the
        // struct of that kind behind it, at no promised alignment.
        unsafe {
            let data = libc::CMSG_DATA(at);
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    datagram.ttl = data.cast::<i32>().read_unaligned().try_into().unwrap_or(0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    datagram.interface = info.ipi_ifindex.try_into().unwrap_or(0);
                    datagram.to = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    datagram.interface = info.ipi6_ifindex;
                    datagram.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(head, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_tells_how_it_came() {
        for (port, home) in [(47841, "127.0.0.1"), (47842, "::1")] {
            let home: IpAddr = home.parse().unwrap();
            let listener = listen(home.is_ipv6(), port).unwrap();
            let (sender, index) = sender(home, Some(home), "lo", 7).unwrap();
            let mut bytes = [0; 64];
            assert_eq!(receive(&listener, &mut bytes).unwrap(), None);
            send(&sender, address(home, port, index), b"hello").unwrap();
            let got = receive(&listener, &mut bytes).unwrap().unwrap();
            let expected =
                Datagram { from: home, to: Some(home), interface: index, ttl: 255, len: 5 };
            assert_eq!((got, &bytes[..5]), (expected, b"hello".as_slice()));
            assert!(listen(home.is_ipv6(), port).is_err(), "nobody else hears on this port");
        }
    }
}
