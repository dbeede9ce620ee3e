//! `mainstay drill`: the speaker is restarted for real, and what that cost is counted.
//!
//! `act` ends the speaker and sees that it comes back; `routes`, `probe` and `sockets` watch
//! meanwhile; `report` says what they saw.

mod act;
mod probe;
mod report;
mod routes;
mod sockets;

use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::peers::Speaker;
use crate::peers::judge::Grade;
use crate::print::{Printer, complain};
use act::{Deed, Way};
use clap::ValueEnum;
use mainstay_proto::bgp::v1::{ListPeersRequest, Peer, StatusReply, StatusRequest};
use probe::Probes;
use report::{Report, Session};
use routes::RouteWatch;
use sockets::Connections;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) const HELP: &str = "\
Ends the running bgpd of this node, waits for its supervisor to bring it back, and reports what
that cost: sessions lost (the TCP connections before and after), events of the kernel's routes of
protocol 96, packets lost (an ICMP echo a millisecond to each peer, or less often where the peer
does not keep up), and seconds until it served again.
  restart   systemctl restart of its unit
  kill      SIGKILL, and the unit's Restart= brings it back
  upgrade   --binary takes the place of the running one, then restart; if it does not come up,
            the old one comes back
It refuses when mainstay peers check says that a session would flap, and when nobody is known to
bring the speaker back: a systemd unit does, or say --supervised, or give --exec.

Examples:
  mainstay drill restart
  mainstay drill kill --peer tor-a
  mainstay drill upgrade --binary ./mainstay-bgpd
  mainstay drill restart --exec 'kubectl -n mainstay delete pod bgpd-x'

Exit codes: 0 nothing was lost; 1 refused, or the speaker did not come back; 2 something was lost.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is done to the speaker
    #[arg(value_enum, value_name = "DEED")]
    deed: Deed,

    /// This node's name, so that a drill does not hit another one
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Look at one peer only, by name or address
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,

    /// Also where mainstay peers check says that a session would flap
    #[arg(long)]
    force: bool,

    /// Something other than systemd brings the speaker back
    #[arg(long, conflicts_with = "exec")]
    supervised: bool,

    /// What restarts the speaker (restart, upgrade), or starts it again (kill)
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,

    /// The bgpd to upgrade to
    #[arg(long, value_name = "PATH", required_if_eq("deed", "upgrade"))]
    binary: Option<PathBuf>,

    /// Whom to probe [default: the peers]
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<IpAddr>,

    /// How long to wait for the speaker and its sessions, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

/// How often the speaker is asked whether it is back.
const POLL: Duration = Duration::from_millis(20);
/// What comes late still counts: End-of-RIB, sweeps, withdrawals.
const SETTLE: Duration = Duration::from_secs(3);
/// Packets flow before anything is done to them.
const BEFORE: Duration = Duration::from_millis(500);

pub(crate) async fn run(
    daemons: &Daemons,
    args: Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    if args.binary.is_some() && args.deed != Deed::Upgrade {
        return Err(Failure::Said("--binary is for drill upgrade".into()));
    }
    let speaker = Speaker::ask(daemons).await?;
    let before = &speaker.status;
    if let Some(node) = args.node.as_ref().filter(|node| **node != before.node) {
        let text = format!("this node is {}, not {node}; run the drill there", before.node);
        return Err(Failure::Said(text));
    }
    may_it_be(&speaker, &args)?;
    let way = Way::of(&args.exec, args.supervised, args.deed, before.pid)?;
    let watched = watched(&speaker, args.peer.as_deref());
    if watched.is_empty() {
        complain("no session is up: there is nothing to lose, but for routes and time");
    }
    let watch = Watch::start(&speaker, &watched, &args.target)?;
    tokio::time::sleep(BEFORE).await;
    let started = Instant::now();
    let patience = Duration::from_secs(args.wait);
    let upgrade = args.binary.as_deref().map(|new| act::replace(before.pid, new)).transpose()?;
    let done = way.perform(args.deed, before.pid);
    let back = match done {
        Ok(()) => come_back(daemons, before, &watched, patience).await,
        Err(failure) => Err(failure),
    };
    let back = match (back, upgrade) {
        (Err(failure), Some(upgrade)) => {
            let text = format!("{failure}; {}", upgrade.undo(&way));
            return Err(Failure::Said(text));
        }
        (back, _) => back?,
    };
    tokio::time::sleep(SETTLE).await;
    let report = watch.end(&args, &way, before, back, started);
    if out.is_json() {
        out.json(&report)?;
    } else {
        out.text(&report.text())?;
    }
    Ok(if report.is_clean() { Verdict::Well } else { Verdict::Hurts })
}

/// Unless forced, not where it is known to hurt.
fn may_it_be(speaker: &Speaker, args: &Args) -> Result<(), Failure> {
    let judged = speaker.judge(args.peer.as_deref())?;
    let flaps: Vec<_> =
        judged.iter().filter(|j| j.grade == Grade::WouldFlap).map(|j| j.peer.as_str()).collect();
    if flaps.is_empty() {
        return Ok(());
    }
    let who = flaps.join(", ");
    if args.force {
        complain(&format!("forced, although a restart would flap: {who}"));
        return Ok(());
    }
    Err(Failure::Said(format!(
        "refused: a restart would flap {who}; mainstay peers check says why, --force does it all the same"
    )))
}

/// The peers whose sessions are up.
fn watched(speaker: &Speaker, peer: Option<&str>) -> Vec<Peer> {
    let fits = |p: &&Peer| peer.is_none_or(|w| p.name == w || p.address == w);
    let up = |p: &&Peer| p.state == "Established";
    speaker.peers.iter().filter(fits).filter(up).cloned().collect()
}

/// When the speaker served again, and when all its sessions were up again.
pub(crate) struct Back {
    status: StatusReply,
    serving: Duration,
    sessions: Option<Duration>,
    peers: Vec<Peer>,
}

async fn come_back(
    daemons: &Daemons,
    before: &StatusReply,
    watched: &[Peer],
    patience: Duration,
) -> Result<Back, Failure> {
    let start = Instant::now();
    let (status, serving) = loop {
        match status(daemons).await {
            Some(status) if status.pid != before.pid => break (status, start.elapsed()),
            _ if start.elapsed() > patience => {
                let text = format!("bgpd is not back after {} s", patience.as_secs());
                return Err(Failure::Said(text));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    };
    loop {
        let peers = peers(daemons).await.unwrap_or_default();
        let is_up = |w: &Peer| peers.iter().any(|p| p.name == w.name && p.state == "Established");
        let all_up = watched.iter().all(is_up);
        if all_up || start.elapsed() > patience {
            let sessions = all_up.then(|| start.elapsed());
            return Ok(Back { status, serving, sessions, peers });
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn status(daemons: &Daemons) -> Option<StatusReply> {
    let mut bgpd = daemons.bgpd().await.ok()?;
    answer("bgpd", bgpd.status(StatusRequest {})).await.ok()
}

async fn peers(daemons: &Daemons) -> Option<Vec<Peer>> {
    let mut bgpd = daemons.bgpd().await.ok()?;
    Some(answer("bgpd", bgpd.list_peers(ListPeersRequest {})).await.ok()?.peers)
}

/// Everything that looks on.
struct Watch {
    routes: RouteWatch,
    probes: Probes,
    connections: Connections,
    watched: Vec<Peer>,
    ports: Vec<u16>,
}

impl Watch {
    fn start(speaker: &Speaker, watched: &[Peer], targets: &[IpAddr]) -> Result<Self, Failure> {
        let ports = ports(speaker);
        let addresses = watched.iter().filter_map(|p| p.address.parse().ok());
        let targets: Vec<IpAddr> =
            if targets.is_empty() { addresses.collect() } else { targets.to_vec() };
        Ok(Self {
            connections: Connections::now(&ports)?,
            probes: Probes::start(&targets)?,
            routes: RouteWatch::start()?,
            watched: watched.to_vec(),
            ports,
        })
    }

    fn end(
        self,
        args: &Args,
        way: &Way,
        before: &StatusReply,
        back: Back,
        started: Instant,
    ) -> Report {
        let lasted = started.elapsed();
        let after = Connections::now(&self.ports).unwrap_or_default();
        let session = |peer: &Peer| Session {
            peer: peer.name.clone(),
            address: peer.address.clone(),
            kept: self.connections.kept(&peer.address, &after),
            up: back.peers.iter().any(|p| p.name == peer.name && p.state == "Established"),
        };
        Report {
            node: before.node.clone(),
            deed: args.deed.name(),
            by: way.to_string(),
            pid_before: before.pid,
            pid_after: back.status.pid,
            version_before: before.version.clone(),
            version_after: back.status.version.clone(),
            serving_seconds: back.serving.as_secs_f64(),
            sessions_seconds: back.sessions.map(|d| d.as_secs_f64()),
            watched_seconds: lasted.as_secs_f64(),
            sessions: self.watched.iter().map(session).collect(),
            routes: self.routes.end(),
            packets: self.probes.end(),
        }
    }
}

/// Where BGP is spoken: what we listen on, and what we dial.
fn ports(speaker: &Speaker) -> Vec<u16> {
    let mut ports: Vec<u16> = speaker.node.bgp.peers.iter().map(|p| p.port).collect();
    ports.extend(speaker.node.bgp.listen.as_ref().map(|l| l.port));
    ports.sort_unstable();
    ports.dedup();
    ports
}

impl Deed {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}
