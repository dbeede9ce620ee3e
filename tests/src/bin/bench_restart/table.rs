//! Five speakers are restarted beside the same switch.

use crate::restarters::{EXPORTED, Who, exported};
use mainstay_tests::matrix::{Net, Plan};
use mainstay_tests::monitor::RouteMonitor;
use mainstay_tests::peers::{Gr, Kind, Options, Peer};
use mainstay_tests::stream::Stream;
use mainstay_tests::wait::until;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Besides the one of the traffic.
pub const LEARNT: u32 = 1000;

pub struct Row {
    pub who: Who,
    pub signal: &'static str,
    pub sessions_lost: u64,
    /// At the node, the switch and behind it.
    pub events: [usize; 3],
    pub lost_to_node: u64,
    /// `None` where the speaker installs no routes.
    pub lost_from_node: Option<u64>,
    pub converged: Duration,
}

pub fn run() -> Vec<Row> {
    let mut rows = Vec::new();
    for who in Who::ALL {
        for (name, signal) in [("SIGTERM", Signal::TERM), ("SIGKILL", Signal::KILL)] {
            let row = measure(who, name, signal);
            println!(
                "{:<16} {name}: {} session(s), {:?} route events, {} + {:?} packets, {:.1?}",
                who.name(),
                row.sessions_lost,
                row.events,
                row.lost_to_node,
                row.lost_from_node,
                row.converged
            );
            rows.push(row);
        }
    }
    rows
}

fn measure(who: Who, name: &'static str, signal: Signal) -> Row {
    let net = Net::new(&Plan { forwards: true, hold_time: 90, ..Plan::default() });
    if !who.installs() {
        net.node.host.ip("route add 198.51.100.0/24 via 192.0.2.1");
    }
    let _behind = net.start_behind(LEARNT);
    let options = Options { gr: Gr::On, hold_time: 90, ..Options::default() };
    let switch = Kind::Bird.start(&net.switch, &options);
    let running = who.start(&net.node, false);
    stands(who, &net, &*switch);
    let monitors = [&net.node.host, &net.switch, &net.behind].map(RouteMonitor::start);
    let streams = net.streams();
    std::thread::sleep(Duration::from_secs(2));
    let before = switch.sessions().expect("sessions");
    let began = Instant::now();
    let _running = running.restart(who, &net.node, signal);
    stands(who, &net, &*switch);
    let converged = began.elapsed();
    std::thread::sleep(Duration::from_secs(5));
    stands(who, &net, &*switch);
    let [to_node, from_node] = streams.map(Stream::stop);
    let after = switch.sessions().expect("sessions");
    Row {
        who,
        signal: name,
        sessions_lost: after[0].ups - before[0].ups,
        events: monitors.map(|m| m.events().len()),
        lost_to_node: to_node.lost(),
        lost_from_node: who.installs().then(|| from_node.lost()),
        converged,
    }
}

/// Session, the exported routes in two kernels, the learnt ones in the node's.
fn stands(who: Who, net: &Net, switch: &dyn Peer) {
    until(400, "the session stands", || {
        switch.sessions().is_ok_and(|all| all.iter().all(|s| s.up))
    });
    for host in [&net.switch, &net.behind] {
        until(400, "every exported route is there", || {
            let table = host.ip("route show");
            exported().all(|p| table.lines().any(|l| l.starts_with(&format!("{p} "))))
        });
    }
    until(400, "every learnt route is there", || {
        let ours = |l: &&str| l.contains("via 192.0.2.1");
        let table = net.node.host.ip("route show");
        !who.installs() || table.lines().filter(ours).count() > LEARNT as usize
    });
    assert!(switch.route_count() > EXPORTED as usize);
}
