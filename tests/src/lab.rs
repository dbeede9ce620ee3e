//! The network that demo and end-to-end tests share: nodes on one segment, a top-of-rack switch
//! that runs BIRD 2, and a client behind the switch.
//!
//! ```text
//!   client 198.51.100.2, 2001:db8:c::2
//!      │
//!    tor  AS 65001, 192.0.2.1, 2001:db8::1          (BIRD 2)
//!      │  one segment, 192.0.2.0/24 and 2001:db8::/64
//!   node-a .11   node-b .12   node-c .13   AS 64512 (keeper, ipamd, bgpd, netmon)
//! ```

use crate::bird::Bird;
use crate::daemons::{Daemon, Node};
use crate::frr::Frr;
use crate::netns::{Netns, veth};
use crate::proc::Proc;
use crate::scratch::Scratch;
use std::path::PathBuf;

pub const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
pub const CLIENT_V4: &str = "198.51.100.2";
pub const CLIENT_V6: &str = "2001:db8:c::2";

/// How a lab is named and whether it outlives us.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Names of hosts and directory that people are to type: `<prefix>-tor`, `/tmp/<prefix>`.
    pub prefix: Option<String>,
    pub keep: bool,
}

impl Names {
    #[must_use]
    pub fn host(&self, role: &str) -> Netns {
        let mut host = match &self.prefix {
            Some(prefix) => Netns::named(&format!("{prefix}-{role}")),
            None => Netns::new(role),
        };
        if self.keep {
            host.keep();
        }
        host
    }

    fn dir(&self, role: &str) -> Scratch {
        let mut dir = match &self.prefix {
            Some(prefix) => Scratch::at(PathBuf::from(format!("/tmp/{prefix}/{role}"))),
            None => Scratch::new(role),
        };
        if self.keep {
            dir.keep();
        }
        dir
    }
}

/// Switch, client and nodes; the switch's BIRD and the nodes' daemons are the caller's to start.
#[derive(Debug)]
pub struct Lab {
    pub nodes: Vec<Node>,
    pub tor: Netns,
    pub client: Netns,
    names: Names,
}

impl Lab {
    #[must_use]
    pub fn new(config: &str, names: Names) -> Self {
        let tor = names.host("tor");
        tor.ip("link add br0 type bridge");
        tor.ip("link set br0 up");
        tor.ip("addr add 192.0.2.1/24 dev br0");
        tor.ip("addr add 2001:db8::1/64 dev br0 nodad");

        let client = names.host("client");
        veth((&client, "eth0"), (&tor, "up0"));
        tor.ip("addr add 198.51.100.1/24 dev up0");
        tor.ip("addr add 2001:db8:c::1/64 dev up0 nodad");
        client.ip(&format!("addr add {CLIENT_V4}/24 dev eth0"));
        client.ip(&format!("addr add {CLIENT_V6}/64 dev eth0 nodad"));
        client.ip("route add default via 198.51.100.1");
        client.ip("route add default via 2001:db8:c::1");

        let nodes = NODES.iter().zip(11..).map(|(name, n)| {
            let host = names.host(name);
            veth((&host, "eth0"), (&tor, &format!("port{n}")));
            tor.ip(&format!("link set port{n} master br0"));
            host.ip(&format!("addr add 192.0.2.{n}/24 dev eth0"));
            host.ip(&format!("addr add 2001:db8::{n}/64 dev eth0 nodad"));
            Node::at(name, host, config, names.dir(name), !names.keep)
        });
        Self { nodes: nodes.collect(), client, names: names.clone(), tor }
    }

    /// BIRD on the switch, as a network team would configure it: nothing but its defaults for
    /// graceful restart, a default route for everyone, the nodes' blocks taken.
    #[must_use]
    pub fn start_bird(&self) -> Bird {
        if self.names.keep {
            return Bird::start_to_stay(&self.tor, &bird_config(), self.names.dir("tor"));
        }
        Bird::start(&self.tor, &bird_config())
    }

    /// FRR on the switch, to the same end. It stays down without a policy on external sessions
    /// (RFC 8212) unless told otherwise, and pauses between UPDATEs by default.
    #[must_use]
    pub fn start_frr(&self) -> Frr {
        Frr::start(&self.tor, &frr_config())
    }

    /// All daemons of all nodes, in the order keeper, ipamd, bgpd, netmon.
    #[must_use]
    pub fn start_daemons(&self) -> Vec<NodeDaemons> {
        self.nodes.iter().map(|node| NodeDaemons::start(node, self.names.keep)).collect()
    }
}

#[derive(Debug)]
pub struct NodeDaemons {
    pub keeper: Proc,
    pub ipamd: Proc,
    pub bgpd: Proc,
    pub netmon: Proc,
}

impl NodeDaemons {
    #[must_use]
    pub fn start(node: &Node, keep: bool) -> Self {
        let start = |daemon| {
            let mut proc = node.start(daemon);
            if keep {
                proc.keep();
            }
            proc
        };
        Self {
            keeper: start(Daemon::Keeper),
            ipamd: start(Daemon::Ipamd),
            bgpd: start(Daemon::Bgpd),
            netmon: start(Daemon::Netmon),
        }
    }
}

/// The cluster's file for this lab.
#[must_use]
pub fn cluster_config() -> String {
    "\
nodes:
  - {name: node-a, address: 192.0.2.11, labels: {rack: r1}}
  - {name: node-b, address: 192.0.2.12, labels: {rack: r1}}
  - {name: node-c, address: 192.0.2.13, labels: {rack: r1}}
network:
  mode: bgp
  families: [ipv4, ipv6]
bgp:
  asn: 64512
  connect_retry: 1s
  peers:
    - {name: tor, select: {rack: r1}, address: 192.0.2.1, asn: 65001}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 26}
    - {name: default6, cidr: 'fd00:10:244::/48', block_size: 122}
  cooldown: 130s
netmon:
  listen: 127.0.0.1:9474
"
    .to_owned()
}

fn frr_config() -> String {
    let each = |line: fn(u8) -> String| (11..14).map(line).collect::<String>();
    let neighbours = each(|n| {
        format!(
            " neighbor 192.0.2.{n} remote-as 64512
 neighbor 192.0.2.{n} timers connect 1
 neighbor 192.0.2.{n} advertisement-interval 0
"
        )
    });
    let v4 = each(|n| format!("  neighbor 192.0.2.{n} default-originate\n"));
    let v6 = each(|n| {
        format!("  neighbor 192.0.2.{n} activate\n  neighbor 192.0.2.{n} default-originate\n")
    });
    format!(
        "ip route 0.0.0.0/0 {CLIENT_V4}
ipv6 route ::/0 {CLIENT_V6}
router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
{neighbours} address-family ipv4 unicast
{v4} exit-address-family
 address-family ipv6 unicast
{v6} exit-address-family
"
    )
}

fn bird_config() -> String {
    let neighbours: String = NODES
        .iter()
        .zip(11..)
        .map(|(name, n)| {
            let name = name.replace('-', "_");
            format!("protocol bgp {name} from node {{ neighbor 192.0.2.{n} as 64512; }}\n")
        })
        .collect();
    format!(
        "router id 192.0.2.1;
protocol device {{}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route 0.0.0.0/0 via {CLIENT_V4}; }}
protocol static {{ ipv6; route ::/0 via {CLIENT_V6}; }}
template bgp node {{
  local 192.0.2.1 as 65001;
  connect delay time 1; error wait time 1, 2;
  ipv4 {{ import all; export where net = 0.0.0.0/0; }};
  ipv6 {{ import all; export where net = ::/0; }};
}}
{neighbours}"
    )
}
