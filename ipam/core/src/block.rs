//! One block of addresses this node holds, and which of them can be handed out.

use mainstay_prefix::Prefix;
use std::net::IpAddr;

/// The network address, the gateway (the first after it) and the IPv4 broadcast address are never
/// handed out. A block too small for that keeps what it can: of a /31 or /127 (RFC 3021, RFC 6164)
/// the first address is the gateway and the second is handed out; a /32 or /128 is handed out
/// itself and has no gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub prefix: Prefix,
    pub gateway: Option<IpAddr>,
    pub first: IpAddr,
    pub last: IpAddr,
}

impl Block {
    #[must_use]
    pub fn new(prefix: Prefix) -> Self {
        let width = if prefix.is_ipv4() { 32 } else { 128 };
        let (gateway, first, last) = match width - prefix.len() {
            0 => (None, 0, 0),
            1 => (Some(0), 1, 1),
            _ if prefix.is_ipv4() => (Some(1), 2, prefix.size() - 2),
            _ => (Some(1), 2, prefix.size() - 1),
        };
        // Every offset above is inside the prefix, so the fallback is never taken.
        let at = |offset| prefix.nth(offset).unwrap_or_else(|| prefix.addr());
        Self { prefix, gateway: gateway.map(at), first: at(first), last: at(last) }
    }

    /// Whether this address of the block may be handed out.
    #[must_use]
    pub fn hands_out(&self, addr: IpAddr) -> bool {
        self.prefix.contains(addr) && (self.first..=self.last).contains(&addr)
    }

    /// How many addresses can be handed out.
    #[must_use]
    pub fn addresses(&self) -> u64 {
        let offset = |addr| self.prefix.offset_of(addr).unwrap_or(0);
        let count = offset(self.last).saturating_sub(offset(self.first)).saturating_add(1);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_of_block_hands_out_what_it_can() {
        let table = [
            ("10.0.0.0/26", Some("10.0.0.1"), "10.0.0.2", "10.0.0.62", 61),
            ("10.0.0.4/30", Some("10.0.0.5"), "10.0.0.6", "10.0.0.6", 1),
            ("10.0.0.4/31", Some("10.0.0.4"), "10.0.0.5", "10.0.0.5", 1),
            ("10.0.0.4/32", None, "10.0.0.4", "10.0.0.4", 1),
            ("fd00::40/122", Some("fd00::41"), "fd00::42", "fd00::7f", 62),
            ("fd00::4/126", Some("fd00::5"), "fd00::6", "fd00::7", 2),
            ("fd00::4/127", Some("fd00::4"), "fd00::5", "fd00::5", 1),
            ("fd00::4/128", None, "fd00::4", "fd00::4", 1),
            ("fd00::/64", Some("fd00::1"), "fd00::2", "fd00::ffff:ffff:ffff:ffff", u64::MAX - 1),
        ];
        for (prefix, gateway, first, last, addresses) in table {
            let block = Block::new(prefix.parse().unwrap());
            assert_eq!(block.gateway, gateway.map(|g| g.parse().unwrap()), "{prefix}");
            assert_eq!(block.first, first.parse::<IpAddr>().unwrap(), "{prefix}");
            assert_eq!(block.last, last.parse::<IpAddr>().unwrap(), "{prefix}");
            assert_eq!(block.addresses(), addresses, "{prefix}");
            assert!(block.hands_out(block.first) && block.hands_out(block.last));
            assert!(!block.gateway.is_some_and(|g| block.hands_out(g)));
        }
    }
}
