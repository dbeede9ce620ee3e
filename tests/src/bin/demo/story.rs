//! What the demo does and shows.

use crate::show::Show;
use mainstay_tests::bird::Bird;
use mainstay_tests::client::tcp_echo;
use mainstay_tests::daemons::{Daemon, Node, sample};
use mainstay_tests::lab::{CLIENT_V4, CLIENT_V6, Lab, Names, NodeDaemons, cluster_config};
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::netns::Netns;
use mainstay_tests::pods::{Pod, Pods};
use mainstay_tests::stream::Stream;
use mainstay_tests::wait::until;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Hosts of the demo are named `mainstay-demo-…`, its files are in `/tmp/mainstay-demo`.
pub const PREFIX: &str = "mainstay-demo";

const TRACK: &str = "add table inet track; \
    add chain inet track c { type filter hook prerouting priority 0; }; \
    add rule inet track c ct state new,established,related counter";

pub fn tell(keep: bool) -> ExitCode {
    let names = Names { prefix: Some(PREFIX.to_owned()), keep };
    let mut show = Show::new(7);
    println!(
        "Mainstay demo: three nodes, a switch that runs BIRD 2, a client behind it; every host a\nnetwork namespace of this machine."
    );

    show.part("The network, and one cluster file for all nodes");
    let lab = Lab::new(&cluster_config(), names.clone());
    let check =
        lab.nodes[0].cli(&["config", "check", &lab.nodes[0].config().display().to_string()]);
    show.output("mainstay config check mainstay.yaml", &String::from_utf8_lossy(&check.stdout));
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    for node in &lab.nodes {
        // The kernel tracks connections only where a rule looks at them.
        node.host.output("nft", &[TRACK]).expect("nft");
    }
    let bird = lab.start_bird();
    show.good("switch: BIRD 2, AS 65001, its defaults for graceful restart");

    show.part("keeper, ipamd, bgpd and netmon on every node");
    let started = Instant::now();
    let mut daemons = lab.start_daemons();
    for node in ["node_a", "node_b", "node_c"] {
        bird.established(node, 30);
    }
    show.good(&format!(
        "twelve daemons ready, three BGP sessions up, {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    for block in ["10.244.0.0/26", "10.244.0.64/26", "10.244.0.128/26", "fd00:10:244::/122"] {
        until(20, &format!("the switch has {block}"), || bird.has_route(block));
    }
    show.output("birdc show route where source = RTS_BGP   (on the switch)", &routes_of(&bird));

    show.part("Two pods a node, attached by the standard CNI plugin ptp with mainstay-ipam");
    let runtimes: Vec<_> = lab.nodes.iter().map(|node| Pods::new(node, names.clone())).collect();
    let mut pods = Vec::new();
    for (runtime, node) in runtimes.iter().zip(["a", "b", "c"]) {
        for n in 0..2 {
            let name = format!("web-{node}{n}");
            let mut pod = runtime.create(&name).unwrap_or_else(|e| panic!("ADD {name}: {e}"));
            if keep {
                pod.host.keep();
            }
            show.good(&format!("{name}: {}", both(&pod)));
            pods.push(pod);
        }
    }

    show.part("Pod to pod across nodes, and from the client behind the switch");
    reach(&show, &lab, &pods);

    show.part("A pod that is created again gets its address back; nobody else gets it");
    let pods = sticky(&show, &runtimes[0], pods, keep);

    show.part(
        "bgpd on node-a is killed with SIGKILL and started again, 1000 packets a second both ways",
    );
    kill(&show, &lab, &bird, &mut daemons[0], &pods[0]);

    show.part("What an operator sees on node-a");
    status(&show, &lab.nodes[0]);

    println!("\nAll of it worked; {:.0} s.", show.seconds());
    if keep {
        left_running(&lab, &bird.console());
    }
    ExitCode::SUCCESS
}

fn both(pod: &Pod) -> String {
    pod.v6.map_or_else(|| pod.v4.to_string(), |v6| format!("{}, {v6}", pod.v4))
}

fn routes_of(bird: &Bird) -> String {
    let text = bird.ask("show route where source = RTS_BGP").unwrap_or_default();
    text.lines().filter(|l| l.contains("unicast")).collect::<Vec<_>>().join("\n")
}

/// Every check is a real packet.
fn reach(show: &Show, lab: &Lab, pods: &[Pod]) {
    let client = ("client", &lab.client);
    let (a, b, c) = (&pods[0], &pods[2], &pods[5]);
    let pod_pairs = [("web-a0", &a.host, "web-b0", b), ("web-b0", &b.host, "web-c1", c)];
    for (from, host, to, pod) in pod_pairs.into_iter().chain([(client.0, client.1, "web-a0", a)]) {
        for address in [Some(pod.v4), pod.v6].into_iter().flatten() {
            until(10, &format!("{from} pings {to} at {address}"), || {
                host.pings(&address.to_string())
            });
            echo(host, &pod.host, address).unwrap_or_else(|e| panic!("TCP {from} -> {to}: {e}"));
            show.good(&format!("{from} -> {to} {address}: ICMP and TCP"));
        }
    }
    for address in [CLIENT_V4, CLIENT_V6] {
        until(10, &format!("web-c1 pings the client at {address}"), || c.host.pings(address));
        show.good(&format!("web-c1 -> client {address}: ICMP"));
    }
}

fn echo(from: &Netns, to: &Netns, address: IpAddr) -> Result<(), String> {
    tcp_echo(from, to, SocketAddr::new(address, 8080))
}

fn sticky(show: &Show, runtime: &Pods<'_>, mut pods: Vec<Pod>, keep: bool) -> Vec<Pod> {
    let old = pods.remove(0);
    let address = old.v4;
    runtime.delete(old).expect("DEL web-a0");
    show.good(&format!("web-a0 is deleted; it had {address}"));
    let other = runtime.create("other").expect("ADD other");
    assert_ne!(other.v4, address, "another pod got a cooling address");
    show.good(&format!("another pod, created now, gets {}", other.v4));
    let mut again = runtime.create("web-a0").expect("ADD web-a0 again");
    assert_eq!(again.v4, address, "the pod did not get its address back");
    show.good(&format!("web-a0, created again (new container, new UID), gets {}", again.v4));
    runtime.delete(other).expect("DEL other");
    if keep {
        again.host.keep();
    }
    pods.insert(0, again);
    pods
}

fn kill(show: &Show, lab: &Lab, bird: &Bird, daemons: &mut NodeDaemons, pod: &Pod) {
    let client: IpAddr = CLIENT_V4.parse().expect("an address");
    let node = RouteMonitor::start(&lab.nodes[0].host);
    let switch = RouteMonitor::start(&lab.tor);
    let out = Stream::start(&pod.host, &lab.client, SocketAddr::new(client, 9001));
    let back = Stream::start(&lab.client, &pod.host, SocketAddr::new(pod.v4, 9002));
    std::thread::sleep(Duration::from_secs(1));
    let since = bird.since("node_a");
    show.good(&format!("before: the switch has had its session with node-a since {since}"));
    daemons.bgpd.kill();
    std::thread::sleep(Duration::from_millis(500));
    let again = Instant::now();
    let kept = daemons.bgpd.is_kept();
    daemons.bgpd = lab.nodes[0].start(Daemon::Bgpd);
    if kept {
        daemons.bgpd.keep();
    }
    let ready = again.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let (out, back) = (out.stop(), back.stop());
    show.good(&format!("killed; 0.5 s later started; ready after {} ms", ready.as_millis()));
    let now = bird.since("node_a");
    assert_eq!(now, since, "the switch saw its session end");
    show.good(&format!("after:  the switch has had its session with node-a since {now}"));
    let lost = out.lost() + back.lost();
    assert_eq!(lost, 0, "web-a0 -> client: {out}; client -> web-a0: {back}");
    show.good(&format!("web-a0 -> client: {out}"));
    show.good(&format!("client -> web-a0: {back}"));
    for (host, events) in [("node-a", node.events()), ("the switch", switch.events())] {
        show.good(&format!("route events in the kernel of {host}: {}", events.len()));
        events.iter().for_each(|event| println!("        {event}"));
    }
}

fn status(show: &Show, node: &Node) {
    for words in [&["status"][..], &["bgp", "peers"], &["bgp", "routes"], &["ipam", "show"]] {
        let out = node.cli(words);
        show.output(
            &format!("mainstay {}", words.join(" ")),
            &String::from_utf8_lossy(&out.stdout),
        );
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let metrics = node.metrics("127.0.0.1:9474").expect("netmon answers");
    let wanted = ["bgp_session_up", "ipam_addresses", "conntrack_entries"];
    let shown: Vec<_> =
        metrics.lines().filter(|l| wanted.iter().any(|w| is_sample(l, w))).collect();
    show.output("curl -s 127.0.0.1:9474/metrics | grep -E '^mainstay_(bgp_session_up|ipam_addresses|conntrack_entries)'", &shown.join("\n"));
    assert!(sample(&metrics, "mainstay_bgp_session_up").is_some_and(|v| v > 0.5), "{metrics}");
}

/// Whether a line is a sample, not zero, of this metric.
fn is_sample(line: &str, name: &str) -> bool {
    let rest = line.strip_prefix("mainstay_").and_then(|l| l.strip_prefix(name));
    rest.is_some_and(|r| r.starts_with(['{', ' ']) && !r.ends_with(" 0"))
}

fn left_running(lab: &Lab, birdc: &str) {
    let run = lab.nodes[0].run_dir();
    let mainstay = mainstay_tests::proc::bin("mainstay");
    println!(
        "\nIt is left running. Try:
  {mainstay} --run-dir {run} status
  {mainstay} --run-dir {run} bgp routes
  {birdc} show protocols
  ip netns exec {PREFIX}-web-a0 ping {CLIENT_V4}
  ip netns exec {PREFIX}-node-a curl -s 127.0.0.1:9474/metrics
and when you have seen enough:
  {demo} --clean",
        mainstay = mainstay.display(),
        run = run.display(),
        demo = std::env::current_exe().expect("the path of this program").display(),
    );
}
