//! A raw socket for the messages of router discovery (RFC 4861). It tells as [`udp`](super::udp)
//! does how a packet came; the kernel sees to checksums.

#![allow(unsafe_code)]

use super::udp::set;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with, sockopt,
};
use std::io;
use std::mem::size_of_val;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub use super::udp::{Datagram, receive};

/// linux/icmpv6.h
const ICMPV6_FILTER: i32 = 1;

/// Hears router solicitations and advertisements on all interfaces, and sends with a hop limit of 255.
pub fn routers() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET6, SocketType::RAW, flags, Some(ipproto::ICMPV6))?;
    sockopt::set_ipv6_unicast_hops(&socket, Some(255))?;
    sockopt::set_ipv6_multicast_hops(&socket, 255)?;
    sockopt::set_ipv6_multicast_loop(&socket, false)?;
    set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
    set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    pass_only(&socket, &[133, 134])?;
    Ok(socket)
}

/// Takes in what is sent to this group on the interface.
pub fn join(socket: &OwnedFd, group: Ipv6Addr, interface: u32) -> io::Result<()> {
    match sockopt::set_ipv6_add_membership(socket, &group, interface) {
        Err(rustix::io::Errno::ADDRINUSE) => Ok(()),
        done => Ok(done?),
    }
}

pub fn send(socket: &OwnedFd, to: Ipv6Addr, interface: u32, message: &[u8]) -> io::Result<()> {
    let to = SocketAddr::V6(SocketAddrV6::new(to, 0, 0, interface));
    sendto(socket, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to)?;
    Ok(())
}

/// A bit that is set keeps that type of message out.
fn pass_only(socket: &OwnedFd, types: &[u8]) -> io::Result<()> {
    let mut filter = [u32::MAX; 8];
    for kind in types {
        if let Some(word) = filter.get_mut(usize::from(kind >> 5)) {
            *word &= !(1 << (kind & 31));
        }
    }
    let len = size_of_val(&filter) as libc::socklen_t;
    let at = filter.as_ptr().cast();
    // SAFETY: the kernel reads the 32 octets of the filter.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_ICMPV6, ICMPV6_FILTER, at, len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
