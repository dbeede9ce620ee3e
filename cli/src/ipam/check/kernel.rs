//! What the kernel knows of addresses: its host routes.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Flags of linux/route.h and linux/ipv6_route.h.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;
const ANYCAST: u32 = 0x0010_0000;
const LOCAL: u32 = 0x8000_0000;

/// A route to one address by an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostRoute {
    pub(super) address: IpAddr,
    pub(super) interface: String,
}

/// Those of the main table.
pub(super) fn host_routes() -> Result<Vec<HostRoute>, String> {
    let read = |path: &str| match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        // A kernel without IPv6.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("cannot read {path}: {error}")),
    };
    let mut routes = of_ipv4(&read("/proc/self/net/route")?);
    routes.append(&mut of_ipv6(&read("/proc/self/net/ipv6_route")?));
    Ok(routes)
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses in the machine's order.
fn of_ipv4(text: &str) -> Vec<HostRoute> {
    let route = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [interface, destination, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
        let flags = hex(flags)?;
        let host = hex(mask)? == u32::MAX && flags & UP != 0 && flags & REJECT == 0;
        let address = Ipv4Addr::from(hex(destination)?.to_ne_bytes());
        host.then(|| HostRoute { address: address.into(), interface: interface.into() })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// `Destination Length Source Length NextHop Metric RefCnt Use Flags Iface`.
fn of_ipv6(text: &str) -> Vec<HostRoute> {
    let route = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [destination, length, _, _, _, _, _, _, flags, interface] = fields[..] else {
            return None;
        };
        let flags = hex(flags)?;
        let plain = flags & UP != 0 && flags & (REJECT | ANYCAST | LOCAL) == 0;
        let address = Ipv6Addr::from(u128::from_str_radix(destination, 16).ok()?);
        let host = hex(length)? == 128 && plain && interface != "lo" && !address.is_multicast();
        host.then(|| HostRoute { address: address.into(), interface: interface.into() })
    };
    text.lines().filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(routes: &[HostRoute]) -> Vec<String> {
        routes.iter().map(|r| format!("{} {}", r.address, r.interface)).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn host_routes_are_told_from_the_others() {
        let v4 = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
veth1\t0200F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
*\t0000F40A\t00000000\t0200\t0\t0\t65535\tC0FFFFFF\t0\t0\t0
*\t0900F40A\t00000000\t0201\t0\t0\t0\tFFFFFFFF\t0\t0\t0
nonsense
";
        assert_eq!(show(&of_ipv4(v4)), ["10.244.0.2 veth1"]);
        let zero = "00000000000000000000000000000000";
        let v6 = [
            ("fd000010024400000000000000000002 80", "00000001    veth1"),
            ("fd000010024400000000000000000000 7a", "00000200       lo"),
            ("fe800000000000000000000000000001 80", "80200001    veth1"),
            ("ff000000000000000000000000000000 08", "00000001    veth1"),
        ];
        let line = |(to, end): &(&str, &str)| {
            format!("{to} {zero} 00 {zero} 00000400 00000001 00000000 {end}\n")
        };
        let text: String = v6.iter().map(line).collect();
        assert_eq!(show(&of_ipv6(&text)), ["fd00:10:244::2 veth1"]);
    }

    #[test]
    fn the_routes_of_this_machine_can_be_read() {
        assert!(host_routes().is_ok());
    }
}
