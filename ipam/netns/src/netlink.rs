//! As much of rtnetlink as is needed to ask a namespace for its addresses and for the numbers it
//! gives to others: three questions, each answered at once.

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// linux/rtnetlink.h
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
/// linux/netlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// linux/net_namespace.h
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Sizes of struct rtgenmsg (padded), ifaddrmsg and ifinfomsg.
const RTGENMSG: usize = 4;
const IFADDRMSG: usize = 8;
const IFINFOMSG: usize = 16;
const SILENCE: Duration = Duration::from_secs(5);

/// Stays in the namespace in which it was opened.
pub(crate) struct Route(Socket);

impl Route {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
        Ok(Self(socket))
    }

    /// Every address that is configured on a link.
    pub(crate) fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; IFADDRMSG], |kind, body| {
            if kind == RTM_NEWADDR {
                found.extend(address(body));
            }
        })?;
        Ok(found)
    }

    /// The kernel numbers the namespaces at the other ends of links when it lists the links.
    pub(crate) fn name_other_ends(&self) -> io::Result<()> {
        self.ask(RTM_GETLINK, NLM_F_DUMP, &[0; IFINFOMSG], |_, _| {})
    }

    /// Whether this namespace has a number for that one.
    pub(crate) fn numbers(&self, other: &impl AsFd) -> io::Result<bool> {
        let mut body = vec![0; RTGENMSG];
        body.extend(8u16.to_ne_bytes());
        body.extend(NETNSA_FD.to_ne_bytes());
        body.extend(other.as_fd().as_raw_fd().to_ne_bytes());
        let mut number = None;
        self.ask(RTM_GETNSID, 0, &body, |kind, body| {
            if kind == RTM_NEWNSID {
                number = number.or_else(|| nsid(body));
            }
        })?;
        Ok(number.is_some_and(|id| id >= 0))
    }

    fn ask(
        &self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        request.extend([0; 8]);
        request.extend(body);
        self.0.send(&request, 0)?;
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            let mut ended = flags != NLM_F_DUMP;
            for (kind, body) in messages(&datagram) {
                match kind {
                    NLMSG_DONE => ended = true,
                    NLMSG_ERROR => return failed(body),
                    _ => each(kind, body),
                }
            }
            if ended {
                return Ok(());
            }
        }
    }
}

fn failed(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.wrapping_neg())) }
}

/// Type and body of each message of a datagram; ends where it makes no sense.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*rest.get(4..)?.first_chunk()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Type and value of each attribute.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn nsid(body: &[u8]) -> Option<i32> {
    let (_, value) = attributes(body.get(RTGENMSG..)?).find(|(kind, _)| *kind == NETNSA_NSID)?;
    Some(i32::from_ne_bytes(*value.first_chunk()?))
}

/// On a point-to-point link IFA_ADDRESS is the other end's.
fn address(body: &[u8]) -> Option<IpAddr> {
    let of = |wanted| attributes(body.get(IFADDRMSG..)?).find(|(kind, _)| *kind == wanted);
    let (_, value) = of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS))?;
    let v4 = || Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into());
    let v6 = || Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into());
    v4().or_else(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn body(attributes: &[Vec<u8>]) -> Vec<u8> {
        [vec![0; IFADDRMSG], attributes.concat()].concat()
    }

    #[test]
    fn the_own_end_of_a_point_to_point_link_is_the_address() {
        let label = attribute(3, b"tun0\0");
        let peer = attribute(IFA_ADDRESS, &[10, 0, 0, 9]);
        let local = attribute(IFA_LOCAL, &[10, 0, 0, 5]);
        assert_eq!(address(&body(&[label, peer, local])), Some([10, 0, 0, 5].into()));
        let six = Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, 5);
        let alone = attribute(IFA_ADDRESS, &six.octets());
        assert_eq!(address(&body(&[alone])), Some(six.into()));
        assert_eq!(address(&body(&[attribute(IFA_LOCAL, &[10, 0])])), None);
        assert_eq!(address(&[0; 3]), None);
    }

    #[test]
    fn bytes_that_make_no_sense_end_what_is_read() {
        for cut in [&[][..], &[0; 3], &[0; 16], &[255; 16], &[17; 17]] {
            assert_eq!(messages(cut).count(), 0, "{cut:?}");
            assert_eq!(attributes(cut).count(), 0, "{cut:?}");
        }
        let one = [&20u32.to_ne_bytes()[..], &[20, 0], &[0; 10], &[1, 2, 3, 4], &[9]].concat();
        assert_eq!(
            messages(&one).map(|(_, body)| body.to_vec()).collect::<Vec<_>>(),
            [[1, 2, 3, 4]]
        );
    }
}
