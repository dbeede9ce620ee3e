//! From calico-node's BIRD to Mainstay and back, with a switch and its traffic watching
//! (`docs/migration.md`). Debian's BIRD 2 stands in for Calico's fork of 1.6, configured as Calico's
//! templates do, in the words of BIRD 2.

use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::frr::Frr;
use mainstay_tests::matrix::{Net, Plan, ours, theirs};
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::peers::Kind;
use mainstay_tests::proc::Proc;
use mainstay_tests::stream::Stream;
use mainstay_tests::wait::eventually;
use std::time::Duration;

/// As `bird.cfg.template` and `bird6.cfg.template` make it for a node without encapsulation.
const CALICO: &str = "router id 192.0.2.2;
filter calico_export_to_bgp_peers {
  if (net ~ [ 198.18.7.0/24{24,32} ]) then { accept; }
  reject;
}
filter calico_export_to_bgp_peers_6 {
  if (net ~ [ 2001:db8:7::/48{48,128} ]) then { accept; }
  reject;
}
filter calico_kernel_programming { if source = RTS_STATIC then { accept; } accept; }
protocol static { ipv4; route 198.18.7.0/24 blackhole; }
protocol static { ipv6; route 2001:db8:7::/48 blackhole; }
protocol kernel {
  learn; persist; scan time 2; graceful restart; merge paths on;
  ipv4 { import all; export filter calico_kernel_programming; };
}
protocol kernel {
  learn; persist; scan time 2; graceful restart; merge paths on;
  ipv6 { import all; export filter calico_kernel_programming; };
}
protocol device { scan time 2; }
protocol direct { interface -\"cali*\", -\"kube-ipvs*\", \"*\"; ipv4; ipv6; }
template bgp bgp_template {
  description \"Connection to BGP peer\";
  local as 64512;
  multihop;
  graceful restart;
  connect delay time 2; connect retry time 5; error wait time 5, 30;
}
protocol bgp tor from bgp_template {
  neighbor 192.0.2.1 as 65001; source address 192.0.2.2;
  ipv4 { import all; export filter calico_export_to_bgp_peers; add paths on; gateway recursive; };
}
protocol bgp tor6 from bgp_template {
  neighbor 2001:db8::1 as 65001; source address 2001:db8::2;
  ipv6 { import all; export filter calico_export_to_bgp_peers_6; add paths on; gateway recursive; };
}
";

/// The same node in our words.
const OURS: &str = "nodes:
  - {name: node-a, address: 192.0.2.2}
network: {mode: bgp, families: [ipv4, ipv6]}
bgp:
  asn: 64512
  router_id: 192.0.2.2
  connect_retry: 1s
  fib: {adopt: [bird]}
  originate: [198.18.7.0/24, '2001:db8:7::/48']
  peers:
    - {name: tor, address: 192.0.2.1, asn: 65001, families: [ipv4], import: all}
    - {name: tor6, address: '2001:db8::1', asn: 65001, families: [ipv6], import: all}
ipam:
  pools:
    - {name: default, cidr: 10.244.0.0/16, block_size: 26}
";

const BIRD: &str = "router id 192.0.2.1;
protocol device {}
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; }
protocol bgp behind {
  local 192.0.2.1 as 65001; neighbor 192.0.2.3 as 65001; direct;
  connect delay time 0; connect retry time 1; error wait time 1, 2;
  ipv4 { import all; export all; next hop self; };
  ipv6 { import all; export all; next hop self; };
}
protocol bgp node {
  local 192.0.2.1 as 65001; neighbor 192.0.2.2 as 64512; connect delay time 1;
  ipv4 { import all; export all; next hop self; };
}
protocol bgp node6 {
  local 2001:db8::1 as 65001; neighbor 2001:db8::2 as 64512; connect delay time 1;
  ipv6 { import all; export all; next hop self; };
}
";

const FRR: &str = "router bgp 65001
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 neighbor 192.0.2.3 remote-as 65001
 neighbor 192.0.2.3 timers connect 1
 neighbor 192.0.2.3 advertisement-interval 0
 neighbor 192.0.2.2 remote-as 64512
 neighbor 192.0.2.2 advertisement-interval 0
 neighbor 2001:db8::2 remote-as 64512
 neighbor 2001:db8::2 advertisement-interval 0
 address-family ipv4 unicast
  neighbor 192.0.2.3 next-hop-self
  neighbor 192.0.2.2 next-hop-self
  no neighbor 2001:db8::2 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 192.0.2.3 activate
  neighbor 192.0.2.3 next-hop-self
  neighbor 2001:db8::2 activate
  neighbor 2001:db8::2 next-hop-self
 exit-address-family
";

#[test]
fn a_bird_switch_and_its_traffic_see_nothing_there_and_back() {
    let net = net();
    let switch = Bird::start(&net.switch, BIRD);
    let (_behind, mut calico) = calico(&net);
    let (keeper, bgpd) = take_over(&net, &mut calico, ours(Kind::Bird));
    let heard = switch.ask("show protocols all node").unwrap();
    assert!(heard.contains("Restart recovery"), "the R bit: BIRD's restart goes on:\n{heard}");
    let watch = Watch::start(&net);
    let _calico = go_back(&net, keeper, bgpd);
    watch.saw_nothing("from Mainstay to BIRD", ours(Kind::Bird));
}

#[test]
fn an_frr_switch_and_its_traffic_see_nothing_of_the_takeover_and_all_comes_back() {
    let net = net();
    let _switch = Frr::start(&net.switch, FRR);
    let (_behind, mut calico) = calico(&net);
    // Mainstay names its link-local address beside the global next hop, as BIRD does not over a
    // multihop session; FRR then deletes its own IPv6 route and adds the new one within a moment.
    let (keeper, bgpd) = take_over(&net, &mut calico, &ours(Kind::Frr)[..1]);
    // A restart of BIRD costs packets with FRR as the switch, whoever ran before it: BIRD sweeps the
    // kernel before it has FRR's routes. So nothing more is asked than that all comes back.
    let _calico = go_back(&net, keeper, bgpd);
}

fn net() -> Net {
    let net = Net::new(&Plan { forwards: true, hold_time: 90, ..Plan::default() });
    net.node.configure(OURS);
    net
}

fn calico(net: &Net) -> (Bird, Bird) {
    let behind = net.start_behind(10);
    let calico = Bird::restart(&net.node.host, CALICO);
    stands(net, "bird");
    (behind, calico)
}

/// `kept` are the routes that must not leave the switch's kernel for a moment.
fn take_over(net: &Net, calico: &mut Bird, kept: &[&str]) -> (Proc, Proc) {
    let watch = Watch::start(net);
    calico.proc().kill();
    let keeper = net.start_keeper();
    let bgpd = net.node.start(Daemon::Bgpd);
    stands(net, "96");
    assert_eq!(next_hops(net, "bird"), "", "nothing of BIRD's is left");
    watch.saw_nothing("from BIRD to Mainstay", kept);
    (keeper, bgpd)
}

fn go_back(net: &Net, mut keeper: Proc, mut bgpd: Proc) -> Bird {
    assert!(bgpd.terminate().success());
    assert!(keeper.terminate().success());
    hand_back(net);
    let calico = Bird::restart(&net.node.host, CALICO);
    stands(net, "bird");
    assert_eq!(next_hops(net, "96"), "", "nothing of ours is left");
    calico
}

/// `docs/migration.md`, "Back": our routes get BIRD's name, in place.
fn hand_back(net: &Net) {
    let script = "for family in -4 -6; do
  ip $family -o route show proto 96 |
    sed 's/\\\\/ /g; s/^\\([^ ]*\\)/route replace \\1 proto bird/' | ip $family -batch -
done";
    net.node.host.output("sh", &["-c", script]).expect("the routes are handed back");
    let page = include_str!("../../docs/migration.md");
    assert!(page.contains(script), "docs/migration.md shows another command");
}

/// Routes of this protocol that lead somewhere.
fn next_hops(net: &Net, protocol: &str) -> String {
    ["-4", "-6"]
        .map(|f| net.node.host.ip(&format!("{f} -o route show proto {protocol}")))
        .concat()
        .lines()
        .filter(|l| l.contains("via"))
        .map(|l| format!("{l}\n"))
        .collect()
}

/// The node has what the switch announces, as routes of this protocol, and the world behind the
/// switch has the node's.
fn stands(net: &Net, protocol: &str) {
    let has = |table: &str, prefix: &str| table.lines().any(|l| l.split(' ').any(|w| w == prefix));
    eventually(
        40,
        &format!("routes of protocol {protocol} on the node, the node's behind"),
        || {
            let here = next_hops(net, protocol);
            let there = net.behind.ip("route show") + &net.behind.ip("-6 route show");
            let good = theirs(Kind::Bird).iter().all(|p| has(&here, p))
                && ours(Kind::Bird).iter().all(|p| has(&there, p));
            if good { Ok(()) } else { Err(format!("node:\n{here}behind:\n{there}")) }
        },
    );
}

struct Watch {
    monitors: [RouteMonitor; 3],
    streams: [Stream; 2],
}

impl Watch {
    fn start(net: &Net) -> Self {
        let monitors = [&net.node.host, &net.switch, &net.behind].map(RouteMonitor::start);
        let streams = net.streams();
        std::thread::sleep(Duration::from_millis(500));
        Self { monitors, streams }
    }

    /// After everything that may follow: End-of-RIB, sweeps, BIRD's scans of the kernel.
    #[track_caller]
    fn saw_nothing(self, when: &str, kept: &[&str]) {
        std::thread::sleep(Duration::from_secs(5));
        let losses = self.streams.map(Stream::stop);
        let [node, switch, behind] = &self.monitors;
        let of = |monitor: &RouteMonitor, prefixes: &[&str]| -> Vec<_> {
            prefixes.iter().flat_map(|p| monitor.of(p)).collect()
        };
        let gone = |events: Vec<String>| -> Vec<_> {
            events.into_iter().filter(|e| e.starts_with("Deleted")).collect()
        };
        for loss in losses {
            assert_eq!(loss.lost(), 0, "{when}: {loss}");
        }
        let (here, there) = (theirs(Kind::Bird), ours(Kind::Bird));
        assert_eq!(gone(of(node, here)), [""; 0], "{when}: the node's kernel lost a route");
        assert_eq!(gone(of(switch, kept)), [""; 0], "{when}: the switch's kernel lost a route");
        assert_eq!(of(behind, there), [""; 0], "{when}: a route moved behind the switch");
    }
}
