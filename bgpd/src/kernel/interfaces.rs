//! Which interface a connection stands on, and by what else that interface can be reached.
//!
//! Asked anew for each connection that comes up: that is seldom, and nothing has to be kept true.

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Asks the kernel for addresses, over rtnetlink.
#[derive(Debug, Clone)]
pub(crate) struct Interfaces {
    handle: rtnetlink::Handle,
}

/// The addresses of one interface that a peer on its link may use as next hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reach {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub ipv6_link_local: Option<Ipv6Addr>,
    /// Its number.
    pub interface: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    interface: u32,
    addr: IpAddr,
    /// Not tentative, not failed, not deprecated, not a privacy address.
    lasting: bool,
}

impl Interfaces {
    /// Within a tokio runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// What the interface that carries `local` can be reached by.
    pub(crate) async fn reach(&self, local: SocketAddr) -> Reach {
        let addresses = self.addresses().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the interfaces' addresses");
            Vec::new()
        });
        reach(&addresses, local)
    }

    async fn addresses(&self) -> Result<Vec<Address>, rtnetlink::Error> {
        let messages = self.handle.address().get().execute();
        messages.map(|m| m.map(|m| read(&m))).try_filter_map(async |a| Ok(a)).try_collect().await
    }
}

/// The number of the interface with that name, while there is one.
#[must_use]
pub(crate) fn index(name: &str) -> Option<u32> {
    rustix::net::netdevice::name_to_index(&any_socket()?, name).ok()
}

/// The name of the interface with that number, while there is one.
#[must_use]
pub(crate) fn name(index: u32) -> Option<String> {
    rustix::net::netdevice::index_to_name(&any_socket()?, index).ok()
}

/// Interfaces are asked for through a socket, of whichever kind.
fn any_socket() -> Option<std::net::UdpSocket> {
    std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        .or_else(|_| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .ok()
}

fn read(message: &AddressMessage) -> Option<Address> {
    let bad = AddressFlags::Tentative
        | AddressFlags::Dadfailed
        | AddressFlags::Deprecated
        | AddressFlags::Secondary;
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the other end.
            AddressAttribute::Local(a) => local = Some(*a),
            AddressAttribute::Address(a) => address = Some(*a),
            AddressAttribute::Flags(f) => flags = *f,
            _ => {}
        }
    }
    let addr = local.or(address)?;
    // For IPv4 `Secondary` only says that the subnet has an earlier address.
    let lasting = addr.is_ipv4() || !flags.intersects(bad);
    Some(Address { interface: message.header.index, addr, lasting })
}

fn reach(addresses: &[Address], local: SocketAddr) -> Reach {
    let ip = local.ip();
    let scope = match local {
        SocketAddr::V6(a) if a.ip().is_unicast_link_local() => Some(a.scope_id()),
        _ => None,
    };
    let carrier = scope.or_else(|| Some(addresses.iter().find(|a| a.addr == ip)?.interface));
    let there: Vec<IpAddr> = addresses
        .iter()
        .filter(|a| Some(a.interface) == carrier && a.lasting)
        .map(|a| a.addr)
        .collect();
    let v4 = |a: &IpAddr| match a {
        IpAddr::V4(a) => Some(*a),
        IpAddr::V6(_) => None,
    };
    let v6 = |link_local: bool| {
        move |a: &IpAddr| match a {
            IpAddr::V6(a) if a.is_unicast_link_local() == link_local => Some(*a),
            _ => None,
        }
    };
    // The session's own address before all others of its interface.
    let candidates = || std::iter::once(&ip).chain(&there);
    Reach {
        ipv4: candidates().find_map(v4),
        ipv6: candidates().find_map(v6(false)),
        ipv6_link_local: candidates().find_map(v6(true)),
        interface: carrier,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: u32, addr: &str) -> Address {
        Address { interface, addr: addr.parse().unwrap(), lasting: true }
    }

    fn node() -> Vec<Address> {
        vec![
            address(1, "127.0.0.1"),
            address(1, "::1"),
            address(2, "192.0.2.11"),
            address(2, "192.0.2.12"),
            Address { lasting: false, ..address(2, "2001:db8::dead") },
            address(2, "2001:db8::11"),
            address(2, "fe80::11"),
            address(3, "198.51.100.1"),
            address(3, "fe80::11"),
        ]
    }

    fn texts(local: &str) -> [String; 3] {
        let r = reach(&node(), local.parse().unwrap());
        let text = |a: Option<String>| a.unwrap_or_default();
        [
            text(r.ipv4.map(|a| a.to_string())),
            text(r.ipv6.map(|a| a.to_string())),
            text(r.ipv6_link_local.map(|a| a.to_string())),
        ]
    }

    #[test]
    fn the_sessions_own_address_comes_before_others_of_its_interface() {
        assert_eq!(texts("192.0.2.12:179"), ["192.0.2.12", "2001:db8::11", "fe80::11"]);
        assert_eq!(texts("[2001:db8::11]:179"), ["192.0.2.11", "2001:db8::11", "fe80::11"]);
    }

    #[test]
    fn a_link_local_session_is_on_the_interface_it_names() {
        assert_eq!(texts("[fe80::11%3]:179"), ["198.51.100.1", "", "fe80::11"]);
    }

    #[test]
    fn an_address_that_is_gone_still_serves_itself() {
        assert_eq!(texts("203.0.113.1:179"), ["203.0.113.1", "", ""]);
    }
}
