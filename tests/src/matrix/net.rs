//! The three hosts of a cell, and the traffic through them.

use crate::bird::Bird;
use crate::daemons::{Daemon, Node};
use crate::netns::{Netns, veth};
use crate::peers::{Kind, session};
use crate::proc::Proc;
use crate::stream::Stream;
use std::fmt::Write;

pub const NODE_V4: &str = "192.0.2.2";
pub const BEHIND_V4: &str = "198.51.100.2";
/// What the node announces; the traffic is of the first.
pub(crate) const OURS: [&str; 2] = ["198.18.7.0/24", "2001:db8:7::/48"];
/// What it learns.
const THEIRS: [&str; 2] = ["198.51.100.0/24", "2001:db8:51::/48"];

/// What is judged with this peer: GoBGP and OpenBGPD have no IPv6 next hop of their own to give on
/// an IPv4 session.
#[must_use]
pub fn ours(peer: Kind) -> &'static [&'static str] {
    if peer.forwards() { &OURS } else { &OURS[..1] }
}

#[must_use]
pub fn theirs(peer: Kind) -> &'static [&'static str] {
    if peer.forwards() { &THEIRS } else { &THEIRS[..1] }
}
/// Routes that the host behind announces besides, when asked to (`MORE`).
pub const MORE: u32 = 2000;

#[derive(Debug)]
pub struct Net {
    pub behind: Netns,
    pub switch: Netns,
    pub node: Node,
}

/// What a net is made with.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Does the peer put its routes into the switch's kernel?
    pub forwards: bool,
    /// Sessions between node and switch.
    pub sessions: u16,
    pub hold_time: u16,
    pub password: Option<String>,
    /// Further lines under `bgp:`.
    pub bgp: String,
    /// Further lines of the file.
    pub keeper: &'static str,
}

impl Net {
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let (behind, switch, host) =
            (Netns::new("behind"), Netns::new("switch"), Netns::new("node"));
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        switch.ip("addr add 192.0.2.1/24 dev br0");
        switch.ip("addr add 2001:db8::1/64 dev br0 nodad");
        for (port, other, n) in [("port2", &host, 2), ("port3", &behind, 3)] {
            veth((&switch, port), (other, "eth0"));
            switch.ip(&format!("link set {port} master br0"));
            other.ip(&format!("addr add 192.0.2.{n}/24 dev eth0"));
            other.ip(&format!("addr add 2001:db8::{n}/64 dev eth0 nodad"));
        }
        behind.ip(&format!("addr add {BEHIND_V4}/32 dev lo"));
        host.ip("addr add 198.18.7.1/32 dev lo");
        if !plan.forwards {
            // A route server beside a switch: the way to the host behind is not its business.
            switch.ip("route add 198.51.100.0/24 via 192.0.2.3");
        }
        if plan.sessions > 1 {
            for n in 1..plan.sessions {
                let (there, here) = session(n);
                switch.ip(&format!("addr add {there}/16 dev br0"));
                host.ip(&format!("addr add {here}/16 dev eth0"));
            }
        }
        let node = Node::new("node-a", host, "");
        node.configure(&config(&node, plan, ""));
        Self { behind, switch, node }
    }

    /// BIRD on the host behind, with that many routes besides [`THEIRS`].
    #[must_use]
    pub fn start_behind(&self, routes: u32) -> Bird {
        Bird::start(&self.behind, &behind(routes))
    }

    /// Another configuration of the node: one more route, a policy, and timers.
    pub fn reconfigure(&self, plan: &Plan) {
        let more = "  policies:\n    - {name: spare, rules: [{action: accept}]}\n";
        self.node.configure(&config(&self.node, plan, more));
    }

    #[must_use]
    pub fn start_keeper(&self) -> Proc {
        self.node.start(Daemon::Keeper)
    }

    /// To the node and from it.
    #[must_use]
    pub fn streams(&self) -> [Stream; 2] {
        let to = |address: &str| address.parse().expect("an address");
        [
            Stream::start(&self.behind, &self.node.host, to("198.18.7.1:9000")),
            Stream::start(&self.node.host, &self.behind, to(&format!("{BEHIND_V4}:9001"))),
        ]
    }

    /// The node's kernel routes of protocol 96.
    #[must_use]
    pub fn kernel(&self) -> String {
        let v4 = self.node.host.ip("-4 route show proto 96");
        v4 + &self.node.host.ip("-6 route show proto 96")
    }

    /// Bytes that wait on the node's BGP connections: (received and unread, sent and unconfirmed).
    #[must_use]
    pub fn queues(&self) -> (u64, u64) {
        let args = ["-Htn", "state", "established", "( sport = :179 or dport = :179 )"];
        let text = self.node.host.output("ss", &args).unwrap_or_default();
        let column = |n: usize| {
            let number = |l: &str| l.split_whitespace().nth(n).and_then(|w| w.parse::<u64>().ok());
            text.lines().filter_map(number).max().unwrap_or(0)
        };
        (column(0), column(1))
    }
}

/// Whether `prefix` stands in what `ip route show` wrote.
pub(crate) fn stands(table: &str, prefix: &str) -> bool {
    table.lines().any(|l| l.split_whitespace().any(|w| w == prefix))
}

fn config(node: &Node, plan: &Plan, more: &str) -> String {
    let key = plan.password.as_ref().map(|password| {
        let path = node.dir.write("peer.key", &format!("{password}\n"));
        format!(", password_file: {}", path.display())
    });
    let key = key.unwrap_or_default();
    let hold = plan.hold_time;
    let peer = |n: u16| {
        let (there, here) = session(n);
        format!(
            "    - {{name: tor-{n}, address: {there}, local_address: {here}, asn: 65001, import: all, hold_time: {hold}s{key}}}\n"
        )
    };
    let peers: String = (0..plan.sessions.max(1)).map(peer).collect();
    let spare = if more.is_empty() { "" } else { ", 198.18.9.0/24" };
    format!(
        "nodes:
  - {{name: node-a, address: {NODE_V4}}}
network: {{mode: bgp, families: [ipv4, ipv6]}}
bgp:
  asn: 64512
  connect_retry: 1s
  originate: [198.18.7.0/24, '2001:db8:7::/48'{spare}]
{bgp}  peers:
{peers}{more}{keeper}ipam:
  pools:
    - {{name: default, cidr: 10.244.0.0/16, block_size: 26}}
",
        bgp = plan.bgp,
        keeper = plan.keeper,
    )
}

/// Prefix number `n` of the table; those of `MORE` come from another range.
pub(crate) fn prefix(first: u8, n: u32) -> String {
    let [_, a, b, c] = n.to_be_bytes();
    format!("{}.{b}.{c}.0/24", u32::from(first) + u32::from(a))
}

fn behind(routes: u32) -> String {
    let list = |first: u8, count: u32| {
        (0..count).fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "  route {} blackhole;", prefix(first, n));
            text
        })
    };
    format!(
        "router id 192.0.2.3;
protocol device {{}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route 198.51.100.0/24 blackhole; }}
protocol static {{ ipv6; route 2001:db8:51::/48 blackhole; }}
protocol static table_4 {{ ipv4;
{table}}}
protocol static more_4 {{ disabled; ipv4;
{more}}}
protocol bgp switch {{
  local 192.0.2.3 as 65001; neighbor 192.0.2.1 as 65001; direct;
  connect delay time 0; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
  ipv6 {{ import all; export where source = RTS_STATIC; }};
}}
",
        table = list(20, routes),
        more = list(60, MORE),
    )
}
