//! How soon a peer that is dead is found out, and how long its routes are believed after that:
//! BFD, its C bit, and the N bit. The price of graceful restart, which takes the dead for restarting.

use super::{Findings, Grade, Seen, capability, named_families, switch};
use mainstay_proto::bgp::v1::Bfd;
use std::time::Duration;

pub(super) fn judge(seen: &Seen<'_>, found: &mut Findings) {
    let watched = seen.session.is_some_and(|s| s.bfd.is_some());
    let bfd = seen.peer.bfd.as_ref().filter(|_| watched);
    match bfd {
        Some(bfd) if bfd.state == "Up" => return c_bit(seen, bfd, found),
        Some(bfd) => not_up(seen, bfd, found),
        None if watched => found.fine("BFD came into the file just now"),
        None => {}
    }
    n_bit(seen, watched, found);
}

/// RFC 5882 §4.3: whether BFD that goes down tells a dead peer from one that restarts.
fn c_bit(seen: &Seen<'_>, bfd: &Bfd, found: &mut Findings) {
    let up = format!("BFD is up and finds a dead peer within {} ms", bfd.detect_ms);
    let (families, seconds) = kept(seen);
    if families.is_empty() {
        found
            .fine(format!("{up}; its routes go with it, as it does not restart gracefully itself"));
    } else if bfd.remote_c_bit {
        found.fine(format!(
            "{up}; its routes go with it, as its BFD outlives its BGP (C bit, RFC 5882 §4.3)"
        ));
    } else {
        found.add(
            Grade::Warning,
            format!(
                "{up}, but its routes of {families} stay for {seconds} s more: its BFD shares the \
                 fate of its BGP (no C bit, RFC 5882 §4.3), so it may be restarting"
            ),
            Some(format!(
                "{}; or this node: graceful_restart.max_peer_restart_time bounds it",
                switch(seen, "a shorter restart time, or a BFD that outlives its BGP and says so")
            )),
        );
    }
}

fn not_up(seen: &Seen<'_>, bfd: &Bfd, found: &mut Findings) {
    let (why, change) = why_not_up(seen, bfd);
    let hold = seen.peer.hold_time_seconds;
    let what = format!(
        "BFD is configured and does not work: {why}; a dead peer is noticed after the hold time, {hold} s"
    );
    if seen.session.and_then(|s| s.bfd).is_some_and(|bfd| bfd.strict) {
        let what = format!("{what}; and no new session begins before it is up (strict)");
        found.second_line(what, Some(change));
    } else {
        found.add(Grade::AtRisk, what, Some(change));
    }
}

fn why_not_up(seen: &Seen<'_>, bfd: &Bfd) -> (String, String) {
    let theirs =
        || switch(seen, "switch BFD on for this node and let UDP 3784 (multihop: 4784) through");
    match (bfd.state.as_str(), bfd.remote_state.as_str()) {
        ("Unwatched", _) => (
            format!("nobody does it, as {}", or(&bfd.fault, "the keeper has not begun yet")),
            "this node: run mainstay-keeper, which does BFD".into(),
        ),
        _ if !bfd.fault.is_empty() => {
            (bfd.fault.clone(), "this node: let the keeper have what it lacks".into())
        }
        (_, "AdminDown") => ("the peer has switched it off (AdminDown)".into(), theirs()),
        (state, _) if bfd.up_count == 0 => (format!("it is {state} and was never up"), theirs()),
        (state, _) => (format!("it is {state} ({})", bfd.diagnostic), theirs()),
    }
}

/// RFC 8538 §4: with the N bit on both sides a hold timer that expires may mean a restart.
fn n_bit(seen: &Seen<'_>, watched: bool, found: &mut Findings) {
    let both =
        seen.peer.graceful_restart.as_ref().is_some_and(|gr| gr.negotiated && gr.notification);
    let hold = seen.peer.hold_time_seconds;
    if !both || hold == 0 {
        return;
    }
    let ours = seen.session.map_or(0, |s| s.graceful_restart.restart_time.as_secs());
    let (families, seconds) = kept(seen);
    let theirs = match families.as_str() {
        "" => String::new(),
        _ => format!("the peer's of {families} here for {seconds} s more, "),
    };
    let change = switch(seen, "switch BFD on, and this node: bfd: true for this peer");
    found.add(
        Grade::Warning,
        format!(
            "both sides have the N bit (RFC 8538) and no BFD is up: an expired hold timer ({hold} s) \
             passes for a restart, so routes of a dead side stay: {theirs}this node's there for \
             {ours} s more"
        ),
        (!watched).then_some(change),
    );
}

/// The families whose routes outlive the peer, and for how many seconds.
fn kept(seen: &Seen<'_>) -> (String, u64) {
    let negotiated = seen.peer.graceful_restart.as_ref().filter(|gr| gr.negotiated);
    let Some((gr, ours)) = negotiated.zip(seen.session.map(|s| &s.graceful_restart)) else {
        return Default::default();
    };
    let named = capability(seen.peer, "graceful-restart").map(named_families).unwrap_or_default();
    let of_session = |f: &&str| seen.peer.families.iter().any(|own| own.family == *f);
    let families: Vec<_> = named.into_iter().filter(of_session).collect();
    let asked = Duration::from_secs(gr.peer_restart_time_seconds.into());
    let time = asked.max(ours.min_peer_restart_time).min(ours.max_peer_restart_time);
    (families.join(" and "), time.as_secs())
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}
