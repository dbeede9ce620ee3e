//! `mainstay status`: is this node well, and if not, why.

mod render;

use crate::ask::{AskError, Daemons, answer};
use crate::bgp::peers::is_up;
use crate::failure::{Failure, Verdict};
use crate::ipam::next_free;
use crate::print::Printer;
use crate::text::count;
use mainstay_config::Mode;
use mainstay_proto::{bgp, ipam, netmon};
use serde::Serialize;
use serde_json::json;
use std::path::Path;

pub(crate) const HELP: &str = "\
Asks the speaker (bgpd), the address daemon (ipamd) and the monitor (netmon), and names what is
wrong: a daemon that does not answer, a peer that is not Established, a route the kernel refused,
a pool without a free address, a source the monitor cannot read. Where the configuration says
network.mode none, bgpd and ipamd need not run.

Exit codes: 0 all is well; 1 something is wrong.";

/// What each daemon says; of one that is not needed here and not running, nothing.
#[derive(Debug)]
struct Status {
    bgpd: Answer<Speaker>,
    ipamd: Answer<ipam::v1::StatusReply>,
    netmon: Answer<netmon::v1::StatusReply>,
}

#[derive(Debug)]
enum Answer<T> {
    Up(T),
    NotNeeded,
    Down(AskError),
}

#[derive(Debug)]
struct Speaker {
    status: bgp::v1::StatusReply,
    peers: Vec<bgp::v1::Peer>,
}

pub(crate) async fn run(
    daemons: &Daemons,
    config: &Path,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let needed = !is_mode_none(config);
    let status = Status {
        bgpd: Answer::of(speaker(daemons).await, needed),
        ipamd: Answer::of(addresses(daemons).await, needed),
        netmon: Answer::of(monitor(daemons).await, true),
    };
    let wrong = wrong(&status);
    if out.is_json() {
        out.json(&as_json(&status, &wrong))?;
    } else {
        out.text(&render::text(&status, &wrong))?;
    }
    Ok(if wrong.is_empty() { Verdict::Well } else { Verdict::Wrong })
}

/// The mode is the whole cluster's. A file that cannot be read says nothing; the daemons will.
fn is_mode_none(config: &Path) -> bool {
    let Ok(cluster) = mainstay_config::read(config) else { return false };
    let first = cluster.node_names().next().unwrap_or_default().to_owned();
    cluster.resolve(&first).is_ok_and(|node| node.network.mode == Mode::None)
}

async fn speaker(daemons: &Daemons) -> Result<Speaker, AskError> {
    let mut client = daemons.bgpd().await?;
    let status = answer("bgpd", client.status(bgp::v1::StatusRequest {})).await?;
    let peers = answer("bgpd", client.list_peers(bgp::v1::ListPeersRequest {})).await?.peers;
    Ok(Speaker { status, peers })
}

async fn addresses(daemons: &Daemons) -> Result<ipam::v1::StatusReply, AskError> {
    let mut client = daemons.ipamd().await?;
    answer("ipamd", client.status(ipam::v1::StatusRequest {})).await
}

async fn monitor(daemons: &Daemons) -> Result<netmon::v1::StatusReply, AskError> {
    let mut client = daemons.netmon().await?;
    answer("netmon", client.status(netmon::v1::StatusRequest {})).await
}

impl<T> Answer<T> {
    fn of(asked: Result<T, AskError>, needed: bool) -> Self {
        match asked {
            Ok(reply) => Self::Up(reply),
            Err(error) if error.is_absent() && !needed => Self::NotNeeded,
            Err(error) => Self::Down(error),
        }
    }

    fn up(&self) -> Option<&T> {
        match self {
            Self::Up(reply) => Some(reply),
            Self::NotNeeded | Self::Down(_) => None,
        }
    }

    fn down(&self) -> Option<&AskError> {
        match self {
            Self::Down(error) => Some(error),
            Self::NotNeeded | Self::Up(_) => None,
        }
    }
}

/// Every reason to have a look, a line each.
fn wrong(status: &Status) -> Vec<String> {
    let down = [status.bgpd.down(), status.ipamd.down(), status.netmon.down()];
    let mut wrong: Vec<_> = down.into_iter().flatten().map(ToString::to_string).collect();
    if let Some(speaker) = status.bgpd.up() {
        wrong_with_speaker(speaker, &mut wrong);
    }
    for pool in status.ipamd.up().into_iter().flat_map(|ipamd| &ipamd.pools) {
        if pool.addresses == 0 {
            wrong.push(format!("pool {}: this node has no block of it", pool.name));
        } else if pool.free == 0 {
            let when = next_free(pool);
            wrong.push(format!("pool {}: no free address; the next one {when}", pool.name));
        }
    }
    for source in status.netmon.up().into_iter().flat_map(|netmon| &netmon.sources) {
        // A daemon that is down has been named, and one that is not needed is not missed.
        let of_daemon = match source.name.as_str() {
            "bgp" => status.bgpd.up().is_some(),
            "ipam" => status.ipamd.up().is_some(),
            _ => true,
        };
        if !source.ok && of_daemon {
            wrong.push(format!("netmon cannot read {}: {}", source.name, source.error));
        }
    }
    wrong
}

fn wrong_with_speaker(speaker: &Speaker, wrong: &mut Vec<String>) {
    for peer in speaker.peers.iter().filter(|peer| !is_up(peer)) {
        let why = if peer.last_error.is_empty() {
            String::new()
        } else {
            format!(": {}", peer.last_error)
        };
        wrong.push(format!("peer {} ({}) is {}{why}", peer.name, peer.address, peer.state));
    }
    let fib = speaker.status.fib.clone().unwrap_or_default();
    if fib.failed > 0 {
        let routes = count(fib.failed, "route");
        wrong.push(format!("the kernel refuses {routes}: {}", fib.last_error));
    }
}

fn as_json(status: &Status, wrong: &[String]) -> serde_json::Value {
    let mut bgpd = daemon(&status.bgpd, |speaker| &speaker.status);
    if let Some(speaker) = status.bgpd.up() {
        bgpd["peers"] = json!(speaker.peers);
    }
    json!({
        "well": wrong.is_empty(),
        "wrong": wrong,
        "bgpd": bgpd,
        "ipamd": daemon(&status.ipamd, |reply| reply),
        "netmon": daemon(&status.netmon, |reply| reply),
    })
}

/// The reply's own fields, and whether there is one.
fn daemon<T, R: Serialize>(answer: &Answer<T>, reply: impl Fn(&T) -> &R) -> serde_json::Value {
    let mut value = answer.up().map_or_else(|| json!({}), |up| json!(reply(up)));
    value["running"] = answer.up().is_some().into();
    value["needed"] = (!matches!(answer, Answer::NotNeeded)).into();
    if let Some(error) = answer.down() {
        value["error"] = error.to_string().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn absent(daemon: &'static str) -> AskError {
        AskError::Unreachable {
            daemon,
            socket: format!("/run/mainstay/{daemon}.sock").into(),
            why: "no such file; is it running?".into(),
            absent: true,
        }
    }

    fn well() -> Status {
        let peers = sample::peers().peers.into_iter().filter(is_up).collect();
        Status {
            bgpd: Answer::Up(Speaker { status: sample::speaker(), peers }),
            ipamd: Answer::Up(ipam::v1::StatusReply { pools: sample::pools(), ..sample::ipamd() }),
            netmon: Answer::Up(sample::netmon()),
        }
    }

    fn unwell() -> Status {
        let mut status = sample::speaker();
        let fib = status.fib.as_mut().unwrap();
        (fib.failed, fib.last_error) = (2, "no such device".into());
        status.restarting = true;
        let mut ipamd = sample::ipamd();
        ipamd.pools[0].free = 0;
        ipamd.pools[0].next_free_seconds = Some(72.0);
        Status {
            bgpd: Answer::Up(Speaker { status, peers: sample::peers().peers }),
            ipamd: Answer::Up(ipamd),
            netmon: Answer::Down(absent("netmon")),
        }
    }

    fn told(status: &Status) -> String {
        render::text(status, &wrong(status))
    }

    #[test]
    fn a_node_that_is_well_says_so_first() {
        insta::assert_snapshot!(told(&well()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_reason() {
        insta::assert_snapshot!(told(&unwell()));
    }

    #[test]
    fn a_node_where_nothing_runs_says_where_it_looked() {
        let status = Status {
            bgpd: Answer::Down(absent("bgpd")),
            ipamd: Answer::Down(absent("ipamd")),
            netmon: Answer::Down(absent("netmon")),
        };
        insta::assert_snapshot!(told(&status));
    }

    #[test]
    fn without_a_container_network_the_monitor_is_enough() {
        let mut netmon = sample::netmon();
        for source in netmon.sources.iter_mut().filter(|s| s.name == "bgp" || s.name == "ipam") {
            (source.ok, source.error) = (false, "no such file".into());
        }
        let status = Status {
            bgpd: Answer::of(Err(absent("bgpd")), false),
            ipamd: Answer::of(Err(absent("ipamd")), false),
            netmon: Answer::Up(netmon),
        };
        assert_eq!(wrong(&status), Vec::<String>::new());
        insta::assert_snapshot!(told(&status));
    }

    #[test]
    fn programs_get_the_fields_of_the_replies() {
        let status = unwell();
        insta::assert_json_snapshot!(as_json(&status, &wrong(&status)));
    }
}
