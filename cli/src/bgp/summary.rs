//! `mainstay bgp summary`: the speaker and its sessions at a glance.

use super::peers;
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::{age, clean_line, count};
use mainstay_proto::bgp::v1::{
    ListLeasesRequest, ListPeersReply, ListPeersRequest, StatusReply, StatusRequest,
};
use std::fmt::Write;

pub(crate) const HELP: &str = "\
Exit codes: 0 told, whatever the states (mainstay status judges them); 1 the speaker does not answer.";

pub(crate) async fn run(daemons: &Daemons, out: &mut Printer) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    let status = answer("bgpd", bgpd.status(StatusRequest {})).await?;
    let peers = answer("bgpd", bgpd.list_peers(ListPeersRequest {})).await?;
    let leases = answer("bgpd", bgpd.list_leases(ListLeasesRequest::default())).await?;
    if out.is_json() {
        let all = serde_json::json!({
            "status": status, "peers": peers.peers, "leases": leases.leases,
        });
        out.json(&all)?;
    } else {
        out.text(&text(&status, &peers, leases.leases.len()))?;
    }
    Ok(Verdict::Well)
}

fn text(status: &StatusReply, peers: &ListPeersReply, leases: usize) -> String {
    let mut text = String::new();
    let head = format!(
        "{}: AS {}, router ID {}, up {}, {}",
        status.node,
        status.asn,
        status.router_id,
        age(status.uptime_seconds),
        status.intent
    );
    let _ = writeln!(text, "{}", clean_line(&head));
    let counts = status.loc_rib.iter().map(|f| format!("{} {}", f.routes, f.family));
    let counts: Vec<String> = counts.collect();
    let fib = status.fib.clone().unwrap_or_default();
    let _ = writeln!(
        text,
        "routes: {}; {} in the kernel, {} refused; {} of this node, {}",
        clean_line(&counts.join(", ")),
        fib.installed,
        fib.failed,
        status.originated.len(),
        count(leases as u64, "lease"),
    );
    let _ = writeln!(
        text,
        "peers: {} of {} established\n",
        status.peers_established, status.peers_configured
    );
    text.push_str(&peers::table(peers));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_speaker_and_its_sessions_stand_on_one_screen() {
        insta::assert_snapshot!(text(&sample::speaker(), &sample::peers(), 1));
    }
}
