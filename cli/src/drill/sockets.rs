//! BGP's TCP connections as the kernel has them: a session that goes on is the same connection.

use crate::failure::Failure;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Established ones, local and remote end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections(BTreeSet<(SocketAddr, SocketAddr)>);

/// TCP_ESTABLISHED in /proc/net/tcp.
const ESTABLISHED: &str = "01";

impl Connections {
    /// Those from or to one of these ports, in this network namespace.
    pub(crate) fn now(ports: &[u16]) -> Result<Self, Failure> {
        let mut all = BTreeSet::new();
        for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            match std::fs::read_to_string(table) {
                Ok(text) => all.extend(parse(&text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Failure::Said(format!("cannot read {table}: {e}"))),
            }
        }
        all.retain(|(a, b)| ports.contains(&a.port()) || ports.contains(&b.port()));
        Ok(Self(all))
    }

    /// Whether all that went to that address is still there.
    pub(crate) fn kept(&self, address: &str, after: &Self) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        let mut there = self.0.iter().filter(|(_, remote)| remote.ip() == address).peekable();
        there.peek().is_some() && there.all(|pair| after.0.contains(pair))
    }
}

fn parse(table: &str) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        (fields.next()? == ESTABLISHED).then_some(())?;
        Some((end(local)?, end(remote)?))
    })
}

/// `0100007F:00B3`: words of the host's order, then the port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |i: usize| {
        let digits = address.get(i * 8..i * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (i, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(i)?);
            }
            IpAddr::from(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B0200C0:A2C4 010200C0:00B3 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 0B0200C0:A2C6 020200C0:00B3 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0
   3: 0000000000000000FFFF00000B0200C0:00B3 0000000000000000FFFF0000030200C0:9C40 01 0:0 0:0 0 0 0 3 1 0
   4: garbage
";

    fn connections(table: &str) -> Connections {
        Connections(parse(table).collect())
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn established_connections_are_read_of_both_families() {
        let want = |a: &str, b: &str| (a.parse().unwrap(), b.parse().unwrap());
        let all = BTreeSet::from([
            want("192.0.2.11:41668", "192.0.2.1:179"),
            want("192.0.2.11:179", "192.0.2.3:40000"),
        ]);
        assert_eq!(connections(TABLE).0, all);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_session_is_kept_if_it_is_the_same_connection() {
        let (before, other) = (connections(TABLE), connections(&TABLE.replace("A2C4", "A2C5")));
        assert!(before.kept("192.0.2.1", &connections(TABLE)));
        assert!(!before.kept("192.0.2.1", &other), "another port is another connection");
        assert!(before.kept("192.0.2.3", &other));
        assert!(!before.kept("192.0.2.99", &other), "nothing was there");
    }
}
