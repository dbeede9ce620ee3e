//! `mainstay bgp peers`: every session in a table, or one in full.

use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::{age, clean_line, count, or_dash};
use mainstay_proto::bgp::v1::{
    Bfd, ListPeersReply, ListPeersRequest, LongLived, Messages, Peer, PeerFamily,
};
use std::fmt::Write;

pub(crate) const HELP: &str = "\
A line for each family of a session:
  RECEIVED    prefixes the peer has announced
  ACCEPTED    of these, let in by the import policy
  STALE       of these, kept while the peer restarts
  ADVERTISED  prefixes the peer is told

Examples:
  mainstay bgp peers
  mainstay bgp peers tor-a      everything about one peer, by name or address (also: bgp peer tor-a)

Exit codes: 0 told, whatever the states (mainstay status judges them); 1 there is no such peer, or
the speaker does not answer.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One peer, by name or address
    #[arg(value_name = "PEER")]
    pub(crate) peer: Option<String>,
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    let mut reply = answer("bgpd", bgpd.list_peers(ListPeersRequest {})).await?;
    if let Some(wanted) = &args.peer {
        reply.peers.retain(|peer| peer.name == *wanted || peer.address == *wanted);
        if reply.peers.is_empty() {
            return Err(Failure::Said(format!("no peer {wanted}; see mainstay bgp peers")));
        }
    }
    match (out.is_json(), &args.peer) {
        (true, _) => out.json(&reply)?,
        (false, None) => out.text(&table(&reply))?,
        (false, Some(_)) => {
            let all: Vec<_> = reply.peers.iter().map(details).collect();
            out.text(&all.join("\n"))?;
        }
    }
    Ok(Verdict::Well)
}

pub(crate) fn is_up(peer: &Peer) -> bool {
    peer.state == "Established"
}

pub(super) fn table(reply: &ListPeersReply) -> String {
    if reply.peers.is_empty() {
        return "no peers; bgp.peers of the configuration names them\n".into();
    }
    let mut table = Table::new(&[
        "PEER",
        "ADDRESS",
        ">AS",
        "STATE",
        ">FOR",
        "FAMILY",
        ">RECEIVED",
        ">ACCEPTED",
        ">STALE",
        ">ADVERTISED",
        "LAST ERROR",
    ]);
    for peer in &reply.peers {
        // What went wrong before a session stood is history; it is in the details.
        let error = if is_up(peer) { "" } else { peer.last_error.as_str() };
        let mut first = [
            peer.name.clone(),
            address(peer),
            asn(peer),
            peer.state.clone(),
            age(peer.state_seconds),
        ];
        if peer.families.is_empty() {
            table.row(row(first.clone(), None, error));
        }
        for (i, family) in peer.families.iter().enumerate() {
            table.row(row(first.clone(), Some(family), if i == 0 { error } else { "" }));
            first.fill(String::new());
        }
    }
    table.take()
}

fn row(first: [String; 5], family: Option<&PeerFamily>, error: &str) -> [String; 11] {
    let [name, address, asn, state, since] = first;
    let number = |n: fn(&PeerFamily) -> u64| family.map_or(String::new(), |f| n(f).to_string());
    [
        name,
        address,
        asn,
        state,
        since,
        family.map_or(String::new(), |f| f.family.clone()),
        number(|f| f.received),
        number(|f| f.accepted),
        number(|f| f.stale),
        number(|f| f.advertised),
        error.to_owned(),
    ]
}

/// A link-local one with its interface; of an unnumbered peer that nobody is found for, that alone.
fn address(peer: &Peer) -> String {
    match peer.interface.as_str() {
        "" => peer.address.clone(),
        interface => format!("{}%{interface}", peer.address),
    }
}

/// One that may be of any AS has not said of which it is.
fn asn(peer: &Peer) -> String {
    if peer.remote_asn == 0 { "-".into() } else { peer.remote_asn.to_string() }
}

fn details(peer: &Peer) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<18}{}", clean_line(&value));
    };
    line("peer", peer.name.clone());
    let born = if peer.dynamic { ", born of a listen_range" } else { "" };
    let waits = if peer.passive { ", passive" } else { "" };
    line("address", format!("{}, AS {}{born}{waits}", address(peer), asn(peer)));
    line("ours", format!("{}, AS {}", or_dash(&peer.local_address), peer.local_asn));
    line("state", format!("{} for {}", peer.state, age(peer.state_seconds)));
    line(
        "established",
        format!("{} since the speaker started", count(peer.established_count, "time")),
    );
    line("last error", or_dash(&peer.last_error).to_owned());
    line("router ID", or_dash(&peer.remote_router_id).to_owned());
    line(
        "timers",
        format!(
            "hold {} s, keepalive {} s, send hold {} s",
            peer.hold_time_seconds, peer.keepalive_seconds, peer.send_hold_time_seconds
        ),
    );
    line("capabilities", or_dash(&peer.capabilities.join(", ")).to_owned());
    line("graceful restart", restart(peer));
    if let Some(bfd) = &peer.bfd {
        line("BFD", watched(bfd));
    }
    for family in &peer.families {
        line(&family.family, of_family(family));
    }
    line("received", messages(peer.received.as_ref()));
    line("sent", messages(peer.sent.as_ref()));
    text
}

fn restart(peer: &Peer) -> String {
    match &peer.graceful_restart {
        Some(gr) if gr.negotiated => {
            let now = if gr.peer_restarting { "; the peer is restarting" } else { "" };
            let families = match gr.families.as_slice() {
                [] => "no family named".into(),
                families => families.join(", "),
            };
            let also = if gr.notification { ", also after NOTIFICATIONs" } else { "" };
            let lasting = gr.long_lived.iter().map(long_lived).collect::<String>();
            let time = gr.peer_restart_time_seconds;
            format!("peer asks for {time} s{also}: {families}{lasting}{now}")
        }
        _ => "not negotiated".into(),
    }
}

fn long_lived(of: &LongLived) -> String {
    let (family, asked, granted) = (&of.family, of.stale_time_seconds, of.granted_seconds);
    let left = of.left_seconds.map(|left| format!(", {} of it left", age(left)));
    format!("; then {family} for {asked} s ({granted} s granted{})", left.unwrap_or_default())
}

fn watched(bfd: &Bfd) -> String {
    let Bfd { state, detect_ms, interval_ms, up_count, .. } = bfd;
    let fault = match bfd.fault.as_str() {
        "" => String::new(),
        fault => format!("; {fault}"),
    };
    let bit = u8::from(bfd.remote_c_bit);
    match state.as_str() {
        "Up" => format!(
            "Up, {interval_ms} ms between packets, dead after {detect_ms} ms; peer's C bit {bit}; \
             {} up{fault}",
            count((*up_count).into(), "time")
        ),
        "Unwatched" => format!("not watched{fault}"),
        other => format!("{other}: {}; peer says {}{fault}", bfd.diagnostic, bfd.remote_state),
    }
}

fn of_family(family: &PeerFamily) -> String {
    let PeerFamily { received, accepted, stale, advertised, .. } = family;
    let heard = if family.eor_received { "received" } else { "awaited" };
    let told = if family.eor_sent { "sent" } else { "not sent yet" };
    format!(
        "{received} received, {accepted} accepted, {stale} stale, {advertised} advertised; \
         End-of-RIB {heard}, ours {told}{}",
        limits(family)
    )
}

/// What `max_prefixes` of the peer comes to.
fn limits(family: &PeerFamily) -> String {
    let mut text = String::new();
    if let Some(most) = family.limit_in {
        let _ = write!(text, "; at most {most} in ({}", family.limit_in_state);
        let _ = match family.discarded {
            0 => write!(text, ")"),
            n => write!(text, ", {n} discarded)"),
        };
    }
    if let Some(most) = family.limit_out {
        let (state, left) = (&family.limit_out_state, family.left_out);
        let _ = write!(text, "; at most {most} out ({state}, {left} left out)");
    }
    text
}

fn messages(messages: Option<&Messages>) -> String {
    let m = messages.copied().unwrap_or_default();
    format!(
        "{} OPEN, {} UPDATE, {} NOTIFICATION, {} KEEPALIVE, {} ROUTE-REFRESH",
        m.open, m.update, m.notification, m.keepalive, m.route_refresh
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn peers_stand_in_a_table_a_line_for_each_family() {
        insta::assert_snapshot!(table(&sample::peers()));
    }

    #[test]
    fn one_peer_is_told_in_full() {
        let peers = sample::peers().peers;
        let all: Vec<_> = peers.iter().map(details).collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn no_peers_is_said_with_what_to_do() {
        let none = ListPeersReply::default();
        assert_eq!(table(&none), "no peers; bgp.peers of the configuration names them\n");
    }
}
