//! One node and one peer on a cable: what most tests of the speaker need.

use mainstay_tests::daemons::Node;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::eventually;

/// The peer is .1 and AS 65001, the node .2 and AS 64512.
pub struct Pair {
    pub peer: Netns,
    pub node: Node,
}

pub const PEER: &str = "192.0.2.1";
pub const NODE: &str = "192.0.2.2";

impl Pair {
    /// `bgp` stands under `bgp:` in the cluster's file, indented by two.
    pub fn new(bgp: &str) -> Self {
        let (peer, host) = (Netns::new("peer"), Netns::new("node"));
        veth((&peer, "eth0"), (&host, "eth0"));
        peer.ip("addr add 192.0.2.1/24 dev eth0");
        peer.ip("addr add 2001:db8::1/64 dev eth0 nodad");
        host.ip("addr add 192.0.2.2/24 dev eth0");
        host.ip("addr add 2001:db8::2/64 dev eth0 nodad");
        Self { peer, node: Node::new("node-a", host, &config(bgp)) }
    }

    /// With the one peer `tor` and these further keys of it.
    pub fn with_peer(keys: &str) -> Self {
        Self::new(&tor(keys))
    }

    /// `mainstay -o json bgp peers`, the first one.
    pub fn tor(&self) -> Result<serde_json::Value, String> {
        let all = self.node.json(&["bgp", "peers"])?;
        all["peers"].get(0).cloned().ok_or_else(|| format!("no peer: {all}"))
    }

    #[track_caller]
    pub fn established(&self, seconds: u64) {
        eventually(seconds, "our session is Established", || {
            let tor = self.tor()?;
            if tor["state"] == "Established" { Ok(()) } else { Err(tor.to_string()) }
        });
    }

    /// The kernel's routes of protocol 96 in the node, as `ip` shows them.
    pub fn kernel(&self) -> String {
        let v4 = self.node.host.ip("-4 route show proto 96");
        v4 + &self.node.host.ip("-6 route show proto 96")
    }
}

/// The peer `tor` of the pair, with further keys ("import: all").
pub fn tor(keys: &str) -> String {
    let more = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    format!(
        "  connect_retry: 1s
  originate: [198.18.7.0/24, '2001:db8:7::/48']
  peers:
    - {{name: tor, address: 192.0.2.1, asn: 65001{more}}}
"
    )
}

pub fn config(bgp: &str) -> String {
    format!(
        "nodes:
  - {{name: node-a, address: 192.0.2.2}}
network: {{mode: bgp, families: [ipv4, ipv6]}}
bgp:
  asn: 64512
{bgp}ipam:
  pools:
    - {{name: default, cidr: 10.244.0.0/16, block_size: 26}}
"
    )
}

/// BIRD on the peer's side: 198.51.100.0/24, 2001:db8:51::/48 and a default route of each family.
pub const BIRD: &str = "router id 192.0.2.1;
protocol device {}
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; }
protocol static { ipv4; route 198.51.100.0/24 blackhole; route 0.0.0.0/0 blackhole; }
protocol static { ipv6; route 2001:db8:51::/48 blackhole; route ::/0 blackhole; }
protocol bgp peer {
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.2 as 64512;
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 2;
  ipv4 { import all; export all; };
  ipv6 { import all; export all; };
}
";

/// FRR, the same.
pub const FRR: &str = "ip route 198.51.100.0/24 blackhole
ipv6 route 2001:db8:51::/48 blackhole
router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.2.2 remote-as 64512
 neighbor 192.0.2.2 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
  neighbor 192.0.2.2 default-originate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:51::/48
  neighbor 192.0.2.2 activate
  neighbor 192.0.2.2 default-originate
 exit-address-family
";
