//! `mainstay peers …`: what the peers are good for when this node's speaker restarts.

pub(crate) mod judge;

use crate::ask::{Daemons, answer};
use crate::config::diff::running;
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::clean_line;
use clap::Subcommand;
use judge::{Finding, Grade, Judgement, Seen};
use mainstay_config::{NodeConfig, PeerSession};
use mainstay_proto::bgp::v1::{ListPeersRequest, Peer, StatusReply, StatusRequest};
use std::fmt::Write;

pub(crate) const HELP: &str = "\
Reads from each peer's OPEN, its timers and our own configuration what a restart of the speaker
would cost, and says what to change on which side:
  ok          a restart costs nothing
  at risk     it costs nothing if all goes well; what is said makes that less likely
  would flap  a restart ends the session, and the peer drops our routes
  cannot tell the session is not up, so the peer's OPEN is not known
A finding may also be a warning: no restart costs more for it, but a dead peer is believed too long.

Examples:
  mainstay peers check
  mainstay peers check tor-a
  mainstay -o json peers check | jq '.peers[] | select(.verdict != \"ok\")'

Exit codes: 0 every peer is ok; 1 some cannot be judged; 2 a restart would or may hurt.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What a restart of the speaker would cost with each peer, and what to change
    #[command(after_help = HELP)]
    Check(Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One peer, by name or address
    #[arg(value_name = "PEER")]
    peer: Option<String>,
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let speaker = Speaker::ask(daemons).await?;
    let judged = speaker.judge(args.peer.as_deref())?;
    if out.is_json() {
        let peers: Vec<_> = judged.iter().map(as_json).collect();
        out.json(&serde_json::json!({"node": speaker.status.node, "peers": peers}))?;
    } else if judged.is_empty() {
        out.text("no peers; bgp.peers of the configuration names them\n")?;
    } else {
        let blocks: Vec<_> = judged.iter().map(block).collect();
        out.text(&blocks.join("\n"))?;
    }
    let worst = judged.iter().map(|j| j.grade).max().unwrap_or(Grade::Ok);
    Ok(match worst {
        Grade::Ok | Grade::Warning => Verdict::Well,
        Grade::CannotTell => Verdict::Wrong,
        Grade::AtRisk | Grade::WouldFlap => Verdict::Hurts,
    })
}

/// All that a judgement goes by.
pub(crate) struct Speaker {
    pub(crate) status: StatusReply,
    pub(crate) peers: Vec<Peer>,
    /// What this node runs by.
    pub(crate) node: NodeConfig,
}

impl Speaker {
    pub(crate) async fn ask(daemons: &Daemons) -> Result<Self, Failure> {
        let mut bgpd = daemons.bgpd().await?;
        let status = answer("bgpd", bgpd.status(StatusRequest {})).await?;
        let peers = answer("bgpd", bgpd.list_peers(ListPeersRequest {})).await?.peers;
        let reply = running(daemons).await?;
        let cluster = mainstay_config::parse(&reply.file, &reply.text);
        let cluster = cluster.map_err(|faults| Failure::Said(faults.to_string()))?;
        let node = cluster.resolve(&reply.node).map_err(|e| Failure::Said(e.to_string()))?;
        Ok(Self { status, peers, node })
    }

    pub(crate) fn judge(&self, wanted: Option<&str>) -> Result<Vec<Judgement>, Failure> {
        let fits = |p: &&Peer| wanted.is_none_or(|w| p.name == w || p.address == w);
        let peers: Vec<_> = self.peers.iter().filter(fits).collect();
        if let Some(wanted) = wanted.filter(|_| peers.is_empty()) {
            return Err(Failure::Said(format!("no peer {wanted}; see mainstay bgp peers")));
        }
        let seen = |peer| Seen {
            peer,
            session: session_of(&self.node, peer),
            uptime: self.status.uptime_seconds,
            asn: self.status.asn,
        };
        Ok(peers.into_iter().map(|peer| judge::judge(&seen(peer))).collect())
    }
}

/// What the file says of it; a dynamic peer is its range's.
fn session_of<'a>(node: &'a NodeConfig, peer: &Peer) -> Option<&'a PeerSession> {
    let fixed = node.bgp.peers.iter().find(|p| p.name == peer.name).map(|p| &p.session);
    let range = || {
        let (range, _) = peer.name.rsplit_once('/').filter(|_| peer.dynamic)?;
        node.bgp.ranges.iter().find(|r| r.name == range).map(|r| &r.session)
    };
    fixed.or_else(range)
}

fn block(judged: &Judgement) -> String {
    let mut text = String::new();
    let (name, verdict) = (clean_line(&judged.peer), judged.grade.words());
    let _ = writeln!(text, "{name} ({}): {verdict}", clean_line(&judged.address));
    for Finding { grade, what, change } in &judged.findings {
        let mark = match grade {
            Grade::Ok => " ",
            Grade::Warning => "~",
            Grade::CannotTell => "?",
            Grade::AtRisk => "!",
            Grade::WouldFlap => "x",
        };
        let _ = writeln!(text, "  {mark} {}", clean_line(what));
        if let Some(change) = change {
            let _ = writeln!(text, "      {}", clean_line(change));
        }
    }
    text
}

pub(crate) fn as_json(judged: &Judgement) -> serde_json::Value {
    let findings = judged.findings.iter().map(
        |f| serde_json::json!({"verdict": f.grade.words(), "found": f.what, "change": f.change}),
    );
    serde_json::json!({
        "peer": judged.peer,
        "address": judged.address,
        "verdict": judged.grade.words(),
        "findings": findings.collect::<Vec<_>>(),
    })
}
