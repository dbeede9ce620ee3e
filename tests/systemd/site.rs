//! A machine and a switch on one cable.

use mainstay_tests::bird::Bird;
use mainstay_tests::machine::Machine;
use mainstay_tests::netns::{Netns, veth};
use mainstay_tests::wait::eventually;

pub struct Site {
    pub machine: Machine,
    pub bird: Bird,
    pub switch: Netns,
}

/// The switch is .1 and AS 65001, the node .2 and AS 64512.
const CONFIG: &str = "nodes: [{name: node-a, address: 192.0.2.2}]
network: {mode: bgp}
bgp:
  asn: 64512
  connect_retry: 1s
  hold_time: 9s
  originate: [198.18.7.0/24]
  peers:
    - {name: tor, address: 192.0.2.1, asn: 65001, KEYS}
ipam: {pools: [{name: default, cidr: 10.244.0.0/16}]}
";

/// The prefix that the node announces.
pub const OURS: &str = "198.18.7.0/24";
/// The one that ipamd holds, which may come a moment later.
const BLOCK: &str = "10.244.0.0/26";

impl Site {
    /// `options` stand in BIRD's `protocol bgp`, `more` beside it. Nothing of ours is started yet.
    fn new(options: &str, more: &str) -> Self {
        let (machine, switch) = wired("import: all");
        let bird = Bird::start(&switch, &format!("{}{more}", bird(options)));
        Self { machine, bird, switch }
    }

    /// The same with all daemons started and the session up.
    pub fn started(options: &str) -> Self {
        Self::started_beside(options, "")
    }

    pub fn started_beside(options: &str, more: &str) -> Self {
        let site = Self::new(options, more);
        site.machine
            .systemctl("enable --now mainstay-keeper mainstay-bgpd mainstay-ipamd mainstay-netmon");
        site.bird.established("node", 30);
        site.forwards_to_us();
        site
    }

    /// Waits until the switch's kernel has our routes.
    pub fn forwards_to_us(&self) {
        eventually(10, "the switch forwards to us", || {
            let routes = self.switch.ip("route");
            if [OURS, BLOCK].iter().all(|p| routes.contains(p)) { Ok(()) } else { Err(routes) }
        });
    }

    /// From the next speaker on its state is on a disk that has nothing on it and room for nothing.
    pub fn fill_disk(&self) {
        let state = "/var/lib/mainstay/bgpd";
        self.machine.must(&["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "full", state]);
        let filled =
            self.machine.run(&["dd", "if=/dev/zero", &format!("of={state}/full"), "bs=4k"]);
        assert!(filled.is_err_and(|said| said.contains("No space left on device")));
    }
}

/// A machine and the host of a switch. `keys` are of the node's peer.
pub fn wired(keys: &str) -> (Machine, Netns) {
    let (switch, host) = (Netns::new("switch"), Netns::new("node"));
    veth((&switch, "eth0"), (&host, "eth0"));
    switch.ip("addr add 192.0.2.1/24 dev eth0");
    host.ip("addr add 192.0.2.2/24 dev eth0");
    (Machine::boot("node-a", host, &CONFIG.replace("KEYS", keys)), switch)
}

fn bird(options: &str) -> String {
    format!(
        "router id 192.0.2.1;
protocol device {{}}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route 198.51.100.0/24 blackhole; }}
protocol bgp node {{
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.2 as 64512;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  {options}
  ipv4 {{ import all; export where proto != \"kernel1\"; }};
}}
"
    )
}
