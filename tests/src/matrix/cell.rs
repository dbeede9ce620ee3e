//! One cell: made, disturbed, judged, taken away.

use super::event::Bench;
use super::net::{MORE, Net, Plan, ours, stands, theirs};
use super::promise::{Promise, promise};
use super::{Event, Outcome, Verdict};
use crate::daemons::Daemon;
use crate::monitor::RouteMonitor;
use crate::peers::{Gr, Kind, Options, Peer, Session};
use crate::stream::Stream;
use crate::wait::{eventually, until};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub peer: Kind,
    pub gr: Gr,
    pub event: Event,
    pub routes: u32,
    pub sessions: u16,
    pub password: bool,
    /// Seconds for which the world is watched besides: whatever waits for its time has come by then.
    pub watch: u64,
}

impl Cell {
    #[must_use]
    pub const fn new(peer: Kind, gr: Gr, event: Event) -> Self {
        Self { peer, gr, event, routes: 100, sessions: 1, password: false, watch: 0 }
    }

    /// GR off, and more of everything.
    #[must_use]
    pub fn large(peer: Kind) -> Vec<Self> {
        let plain = |event| Self::new(peer, Gr::Off, event);
        let mut cells = Vec::new();
        for event in [Event::Terminate, Event::Kill] {
            cells.push(Self { password: true, ..plain(event) });
            cells.push(Self { routes: 100_000, ..plain(event) });
            if peer.forwards() {
                cells.push(Self { sessions: 100, ..plain(event) });
                cells.push(Self { sessions: 100, password: true, ..plain(event) });
            }
        }
        cells.push(Self { watch: 45, ..plain(Event::Kill) });
        cells.push(Self { password: true, ..plain(Event::MidMessage) });
        cells
    }

    #[must_use]
    pub fn is_large(&self) -> bool {
        *self != Self::new(self.peer, self.gr, self.event)
    }

    #[must_use]
    pub const fn promise(&self) -> Promise {
        promise(self.event, self.gr)
    }

    #[must_use]
    pub fn name(&self) -> String {
        let mut name = format!("{}, {}, {}", self.peer.name(), self.gr.name(), self.event.name());
        if self.is_large() {
            name += &format!(", {}", self.size());
        }
        name
    }

    /// What is large in it.
    #[must_use]
    pub fn size(&self) -> String {
        let mut parts = Vec::new();
        if self.routes > 100 {
            parts.push(format!("{} routes", self.routes));
        }
        if self.sessions > 1 {
            parts.push(format!("{} sessions", self.sessions));
        }
        if self.watch > 0 {
            parts.push(format!("watched for {} s", self.watch));
        }
        if self.password {
            parts.push("MD5".into());
        }
        parts.join(", ")
    }

    /// The verdict; an error when the cell could not be judged or did not heal.
    pub fn outcome(&self) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| self.run())).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_else(|| "a panic without words".into())
        })
    }

    /// The same, panicking with what falls short of the promise.
    #[track_caller]
    pub fn keeps_its_promise(&self) {
        let verdict = self.run();
        let faults = self.promise().broken(self.peer, &verdict);
        assert!(faults.is_empty(), "{}: {}\n{}", self.name(), faults.join("\n"), verdict.said);
    }

    fn plan(&self) -> Plan {
        Plan {
            forwards: self.peer.forwards(),
            sessions: self.sessions,
            hold_time: self.event.hold_time(),
            password: self.password.then(|| "correct-horse".to_owned()),
            bgp: match self.gr {
                Gr::LongLived => "  graceful_restart: {long_lived: 1h}\n".into(),
                _ => String::new(),
            },
            keeper: self.event.keeper(),
        }
    }

    fn run(&self) -> Verdict {
        let plan = self.plan();
        let net = Net::new(&plan);
        self.event.prepare(&net);
        let behind = net.start_behind(self.routes);
        let options = Options {
            gr: self.gr,
            hold_time: plan.hold_time,
            password: plan.password.clone(),
            sessions: self.sessions,
        };
        let peer = self.peer.start(&net.switch, &options);
        let keeper = net.start_keeper();
        let bgpd = net.node.start(Daemon::Bgpd);
        let mut bench =
            Bench { net: &net, plan: &plan, peer: &*peer, behind: &behind, bgpd, keeper };
        self.stands(&bench, 60);
        let watch = Watch::start(&net, &*peer);
        // A moment of quiet, so that what was under way is over and the streams flow.
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        self.event.happen(&mut bench);
        self.stands(&bench, 60);
        let millis = began.elapsed().as_millis();
        // Past every End-of-RIB, every sweep, and every second thought of the peer.
        std::thread::sleep(self.event.aftermath() + Duration::from_secs(self.watch));
        self.stands(&bench, 5);
        let said = bench.keeper.log() + &bench.bgpd.log();
        Verdict { said, ..watch.verdict(self.peer, &*peer, millis) }
    }

    /// Every session has brought its routes, says the node.
    fn all_have_told(&self, bench: &Bench<'_>, seconds: u64) {
        eventually(seconds, "every session has brought its routes", || {
            let all = bench.net.node.json(&["bgp", "peers"])?;
            let told = |peer: &Value| {
                let received = |family: &Value| family["received"].as_u64().unwrap_or(0);
                let most = peer["families"].as_array().into_iter().flatten().map(received).max();
                most >= Some(u64::from(self.routes))
            };
            let peers = all["peers"].as_array();
            let told = peers.is_some_and(|peers| peers.iter().all(told));
            if told { Ok(()) } else { Err(all.to_string().chars().take(2000).collect::<String>()) }
        });
    }

    /// Everything is as it should be: sessions, and routes at all three.
    fn stands(&self, bench: &Bench<'_>, seconds: u64) {
        let Bench { net, peer, .. } = bench;
        eventually(seconds, "every session stands, says the peer", || {
            let all = peer.sessions()?;
            if all.iter().all(|s| s.up) { Ok(()) } else { Err(format!("{all:?}")) }
        });
        // Of one session the kernel tells as well, and a speaker that nobody asks is a better witness.
        if self.sessions > 1 {
            self.all_have_told(bench, seconds);
        }
        eventually(seconds, "the node's kernel has what the switch announces", || {
            let kernel = net.kernel();
            let all = kernel.lines().count() >= self.routes as usize;
            let good = all && theirs(self.peer).iter().all(|p| stands(&kernel, p));
            if good { Ok(()) } else { Err(kernel.chars().take(2000).collect::<String>()) }
        });
        until(seconds, "the switch has what the node announces", || {
            ours(self.peer).iter().all(|p| peer.has_route(p))
        });
        let hosts: &[_] =
            if self.peer.forwards() { &[&net.switch, &net.behind] } else { &[&net.behind] };
        for host in hosts {
            until(seconds, "the kernels behind have it as well", || {
                let table = host.ip("route show") + &host.ip("-6 route show");
                ours(self.peer).iter().all(|p| stands(&table, p))
            });
        }
        until(seconds, "what the event brought is everywhere", || {
            self.event.has_arrived(bench, MORE)
        });
    }
}

/// The witnesses.
struct Watch {
    monitors: [RouteMonitor; 3],
    streams: [Stream; 2],
    sessions: Vec<Session>,
    said: usize,
}

impl Watch {
    fn start(net: &Net, peer: &dyn Peer) -> Self {
        let monitors = [&net.node.host, &net.switch, &net.behind].map(RouteMonitor::start);
        let streams = net.streams();
        Self {
            monitors,
            streams,
            sessions: peer.sessions().expect("sessions"),
            said: peer.log().len(),
        }
    }

    fn verdict(self, kind: Kind, peer: &dyn Peer, millis: u128) -> Verdict {
        let [to_node, from_node] = self.streams.map(Stream::stop);
        let after = peer.sessions().expect("sessions");
        let lost = self.sessions.iter().zip(&after).map(|(a, b)| lost(a, b)).sum();
        let log = peer.log().split_off(self.said);
        let lines = log.lines().filter(|l| peer.is_about_node(l)).map(str::to_owned);
        let judged = |monitor: &RouteMonitor, prefixes: &[&str]| {
            prefixes.iter().flat_map(|p| monitor.of(p)).collect::<Vec<_>>()
        };
        let [node, switch, behind] = &self.monitors;
        Verdict {
            sessions_lost: lost,
            events: [
                judged(node, theirs(kind)),
                judged(switch, ours(kind)),
                judged(behind, ours(kind)),
            ],
            to_node,
            from_node,
            log: lines.collect(),
            said: String::new(),
            millis,
        }
    }
}

fn lost(before: &Session, after: &Session) -> u64 {
    let again = after.ups.saturating_sub(before.ups);
    let another = u64::from((before.since - after.since).abs() > 1500);
    again.max(another) + u64::from(!after.up)
}
