//! Everything that `make demo` shows, against both switches: three nodes, a client, pods.

use mainstay_tests::bird::{Bird, Since};
use mainstay_tests::client::tcp_echo;
use mainstay_tests::daemons::{Daemon, sample};
use mainstay_tests::frr::Frr;
use mainstay_tests::lab::{CLIENT_V4, CLIENT_V6, Lab, Names, NodeDaemons, cluster_config};
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::pods::{Pod, Pods};
use mainstay_tests::stream::Stream;
use mainstay_tests::wait::{eventually, until};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

enum Switch {
    Bird(Bird),
    Frr(Frr),
}

impl Switch {
    /// When its session with that node came up.
    fn since(&self, n: usize) -> Since {
        match self {
            Self::Bird(bird) => bird.since(["node_a", "node_b", "node_c"][n]),
            Self::Frr(frr) => frr.since(&format!("192.0.2.{}", n + 11)),
        }
    }

    /// Waits until its session with node number `n` (0 is node-a) is up.
    fn established(&self, n: usize) {
        match self {
            Self::Bird(bird) => bird.established(["node_a", "node_b", "node_c"][n], 30),
            Self::Frr(frr) => frr.established(&format!("192.0.2.{}", n + 11), 30),
        }
    }
}

#[test]
fn with_bird_as_the_switch() {
    walk(|lab| Switch::Bird(lab.start_bird()));
}

#[test]
fn with_frr_as_the_switch() {
    walk(|lab| Switch::Frr(lab.start_frr()));
}

fn walk(switch: impl Fn(&Lab) -> Switch) {
    let lab = Lab::new(&cluster_config(), Names::default());
    let switch = switch(&lab);
    let mut daemons = lab.start_daemons();
    (0..3).for_each(|n| switch.established(n));
    let runtimes: Vec<_> = lab.nodes.iter().map(|n| Pods::new(n, Names::default())).collect();
    let pods: Vec<_> = runtimes.iter().map(|r| r.create("web-0").unwrap()).collect();
    everybody_reaches_everybody(&lab, &pods);
    addresses_stay(&runtimes[1]);
    a_killed_speaker_loses_nothing(&lab, &switch, &mut daemons[0], &pods[0]);
    an_operator_sees_it(&lab);
}

fn everybody_reaches_everybody(lab: &Lab, pods: &[Pod]) {
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let (from, to) = (&pods[from], &pods[to]);
        for address in [Some(to.v4), to.v6].into_iter().flatten() {
            until(20, "a pod pings another", || from.host.pings(&address.to_string()));
            tcp_echo(&from.host, &to.host, SocketAddr::new(address, 8080)).unwrap();
        }
    }
    for address in [Some(pods[0].v4), pods[0].v6].into_iter().flatten() {
        tcp_echo(&lab.client, &pods[0].host, SocketAddr::new(address, 8080)).unwrap();
    }
    assert!(pods[1].host.pings(CLIENT_V4) && pods[1].host.pings(CLIENT_V6));
}

fn addresses_stay(runtime: &Pods<'_>) {
    let old = runtime.create("sticky").unwrap();
    let had = (old.v4, old.v6);
    runtime.delete(old).unwrap();
    let other = runtime.create("other").unwrap();
    assert!(other.v4 != had.0 && other.v6 != had.1, "a cooling address was given to another pod");
    let again = runtime.create("sticky").unwrap();
    assert_eq!((again.v4, again.v6), had);
}

fn a_killed_speaker_loses_nothing(lab: &Lab, switch: &Switch, node: &mut NodeDaemons, pod: &Pod) {
    let client: IpAddr = CLIENT_V4.parse().unwrap();
    let (here, there) = (RouteMonitor::start(&lab.nodes[0].host), RouteMonitor::start(&lab.tor));
    let out = Stream::start(&pod.host, &lab.client, SocketAddr::new(client, 9001));
    let back = Stream::start(&lab.client, &pod.host, SocketAddr::new(pod.v4, 9002));
    std::thread::sleep(Duration::from_millis(300));
    let since = switch.since(0);
    node.bgpd.kill();
    std::thread::sleep(Duration::from_millis(500));
    node.bgpd = lab.nodes[0].start(Daemon::Bgpd);
    // Past every refresh and the sweeps behind it.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switch.since(0), since, "the switch saw its session end");
    let (out, back) = (out.stop(), back.stop());
    assert_eq!((out.lost(), back.lost()), (0, 0), "out: {out}; back: {back}");
    let ours = |event: &String| ["10.244.", "fd00:", "default"].iter().any(|p| event.contains(p));
    let seen =
        |monitor: &RouteMonitor| monitor.events().into_iter().filter(ours).collect::<Vec<_>>();
    assert_eq!(seen(&here), Vec::<String>::new(), "the node's kernel saw it");
    assert_eq!(seen(&there), Vec::<String>::new(), "the switch's kernel saw it");
}

fn an_operator_sees_it(lab: &Lab) {
    for node in &lab.nodes {
        eventually(10, "all is well", || {
            let out = node.cli(&["status"]);
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            if out.status.success() { Ok(()) } else { Err(said) }
        });
        let metrics = node.metrics("127.0.0.1:9474").unwrap();
        assert_eq!(
            sample(&metrics, "mainstay_bgp_session_up{peer=\"tor\"}"),
            Some(1.0),
            "{metrics}"
        );
    }
}
