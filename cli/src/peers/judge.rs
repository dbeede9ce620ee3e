//! What a restart of the speaker would cost with one peer: a pure look at what is known of it.

mod dead;

use mainstay_config::PeerSession;
use mainstay_proto::bgp::v1::Peer;

/// What is known of one peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) peer: &'a Peer,
    /// What our file says; none: a peer that is no longer in it.
    pub(crate) session: Option<&'a PeerSession>,
    /// Of the speaker's process, in seconds.
    pub(crate) uptime: f64,
    pub(crate) asn: u32,
}

/// The worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    Ok,
    /// Of a finding alone: no restart is the worse for it, but something else is.
    Warning,
    CannotTell,
    AtRisk,
    WouldFlap,
}

impl Grade {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::CannotTell => "cannot tell",
            Self::AtRisk => "at risk",
            Self::WouldFlap => "would flap",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) grade: Grade,
    pub(crate) what: String,
    /// What to do, and on which side.
    pub(crate) change: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) peer: String,
    pub(crate) address: String,
    pub(crate) grade: Grade,
    pub(crate) findings: Vec<Finding>,
}

/// Less than this and a node that is busy for a moment misses it.
const SHORT_HOLD: u32 = 9;

pub(crate) fn judge(seen: &Seen<'_>) -> Judgement {
    let mut found = Findings::default();
    if seen.peer.state == "Established" {
        tier0(seen, &mut found);
        graceful_restart(seen, &mut found);
        timers(seen, &mut found);
        refresh(seen, &mut found);
        dead::judge(seen, &mut found);
        rest(seen, &mut found);
    } else {
        let why = match seen.peer.last_error.as_str() {
            "" => String::new(),
            error => format!(": {error}"),
        };
        let what =
            format!("the session is {}, so the peer's OPEN is not known{why}", seen.peer.state);
        found.add(Grade::CannotTell, what, None);
    }
    let grades = found.list.iter().map(|f| f.grade).filter(|g| *g != Grade::Warning);
    let grade = grades.max().unwrap_or(Grade::Ok);
    Judgement {
        peer: seen.peer.name.clone(),
        address: seen.peer.address.clone(),
        grade,
        findings: found.list,
    }
}

#[derive(Default)]
struct Findings {
    /// The keeper has the session: what follows counts only if the keeper is lost as well.
    held: bool,
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, grade: Grade, what: impl Into<String>, change: Option<String>) {
        self.list.push(Finding { grade, what: what.into(), change });
    }

    fn fine(&mut self, what: impl Into<String>) {
        self.add(Grade::Ok, what, None);
    }

    /// Of graceful restart, which is the second line where a keeper stands in the first.
    fn second_line(&mut self, what: impl Into<String>, change: Option<String>) {
        let grade = if self.held { Grade::AtRisk } else { Grade::WouldFlap };
        self.add(grade, what, change);
    }
}

fn tier0(seen: &Seen<'_>, found: &mut Findings) {
    let survival = seen.peer.survival.as_str();
    found.held = survival == "tier0";
    if found.held {
        found.fine("the keeper holds the session: the peer sees nothing of a restart");
    } else {
        let why = survival.strip_prefix("graceful-restart: ").unwrap_or("no keeper");
        let change = "this node: run mainstay-keeper, and the session itself outlives the speaker";
        found.add(
            Grade::Ok,
            format!("a restart depends on the peer's graceful restart, as nobody holds the session: {why}"),
            Some(change.into()),
        );
    }
}

fn graceful_restart(seen: &Seen<'_>, found: &mut Findings) {
    let ours = seen.session.map(|s| &s.graceful_restart);
    if ours.is_some_and(|gr| !gr.enabled) {
        let change = "this node: graceful_restart.enabled of this peer, or of bgp, to true";
        return found
            .second_line("we do not offer graceful restart to this peer", Some(change.into()));
    }
    let Some(theirs) = capability(seen.peer, "graceful-restart") else {
        return found.second_line(
            "the peer's OPEN has no graceful restart (capability 64): it drops our routes when the \
             session is lost",
            Some(switch(seen, "make it a helper")),
        );
    };
    let negotiated = seen.peer.graceful_restart.as_ref().is_some_and(|gr| gr.negotiated);
    if !negotiated {
        return found.second_line(
            "graceful restart came into the file after this session: the next one will have it",
            Some("either side: let the session start anew once, when it may".into()),
        );
    }
    let time = ours.map_or(0, |gr| gr.restart_time.as_secs());
    found.fine(format!("the peer is a helper (capability 64); it is asked to wait {time} s"));
    if ours.is_some_and(|gr| gr.notification) && !has_word(theirs, "notification") {
        found.fine(
            "the peer has no N bit (RFC 8538): a NOTIFICATION, a hold timer's too, ends its help",
        );
    }
    unkept_families(seen, theirs, found);
    let long = ours.map_or(0, |gr| gr.long_lived.as_secs());
    if long > 0 && capability(seen.peer, "long-lived-graceful-restart").is_none() {
        found.add(
            Grade::AtRisk,
            format!(
                "long_lived is {long} s, but the peer has no long-lived graceful restart \
                 (capability 71): it drops our routes after {time} s"
            ),
            Some(switch(seen, "give it long-lived graceful restart, or leave long_lived away")),
        );
    }
}

/// A helper names no family; one that restarts gracefully itself names those it keeps.
fn unkept_families(seen: &Seen<'_>, theirs: &str, found: &mut Findings) {
    let named = named_families(theirs);
    let families = seen.peer.families.iter().map(|f| f.family.as_str());
    let missing: Vec<_> = families.filter(|f| !named.contains(f)).collect();
    if !named.is_empty() && !missing.is_empty() {
        found.fine(format!(
            "when the peer itself restarts, its routes of {} are lost: it does not name them",
            missing.join(", ")
        ));
    }
}

/// Whose routes outlive the peer's sessions.
fn named_families(theirs: &str) -> Vec<&str> {
    theirs.split_whitespace().filter(|w| w.ends_with("-unicast")).collect()
}

fn timers(seen: &Seen<'_>, found: &mut Findings) {
    let hold = seen.peer.hold_time_seconds;
    let session = "either side: a hold time of 30 s to 90 s; BFD is the tool for faster detection";
    if hold == 0 {
        found.add(
            Grade::AtRisk,
            "hold time 0: nobody notices a peer that is gone without a word",
            Some(session.into()),
        );
    } else if hold < SHORT_HOLD {
        found.add(
            Grade::AtRisk,
            format!("hold time {hold} s: a node that is busy for a moment loses the session"),
            Some(session.into()),
        );
    }
    let Some(gr) = seen.session.map(|s| &s.graceful_restart).filter(|gr| gr.enabled) else {
        return;
    };
    let time = gr.restart_time.as_secs();
    if !found.held && u64::from(hold) > time {
        found.fine(format!(
            "hold time {hold} s, restart time {time} s: a node that hangs is dropped {hold} s later, \
             one that restarts is waited for {time} s"
        ));
    }
    if let Some(start) = last_start(seen)
        && start * 2.0 > gr.restart_time.as_secs_f64()
    {
        found.add(
            if found.held { Grade::Ok } else { Grade::AtRisk },
            format!(
                "after its last start the speaker took {start:.1} s until this session was up; the \
                 peer waits {time} s"
            ),
            Some("this node: a longer graceful_restart.restart_time".into()),
        );
    }
}

/// From the start of the process to its first session with this peer, if it is still that one.
fn last_start(seen: &Seen<'_>) -> Option<f64> {
    let since_start = seen.uptime - seen.peer.state_seconds;
    (seen.peer.established_count == 1 && since_start > 0.0).then_some(since_start)
}

fn refresh(seen: &Seen<'_>, found: &mut Findings) {
    if capability(seen.peer, "route-refresh").is_none() {
        found.add(
            if found.held { Grade::AtRisk } else { Grade::Ok },
            "the peer does not answer ROUTE-REFRESH (RFC 2918): a speaker that goes on with the \
             session cannot ask again what the peer has told",
            Some(switch(seen, "switch route refresh on")),
        );
    } else if capability(seen.peer, "enhanced-route-refresh").is_none() {
        found.fine(
            "the peer does not mark where its answer to ROUTE-REFRESH ends (RFC 7313): routes it \
             withdrew during a restart of ours go a little later",
        );
    }
}

fn rest(seen: &Seen<'_>, found: &mut Findings) {
    if capability(seen.peer, "four-octet-as").is_none() {
        let wide = seen.asn > u32::from(u16::MAX);
        found.add(
            if wide { Grade::AtRisk } else { Grade::Ok },
            "the peer has no four-octet AS numbers (RFC 6793)",
            wide.then(|| switch(seen, "it sees our AS as 23456")),
        );
    }
    let Some(session) = seen.session else {
        return found.fine("the peer is no longer in the file in force");
    };
    if session.password_file.is_some() {
        found.fine("TCP MD5: a key that changes has to change on both sides within the hold time");
    }
}

/// The words that follow the capability's name, as the speaker tells the peer's OPEN.
fn capability<'a>(peer: &'a Peer, name: &str) -> Option<&'a str> {
    peer.capabilities.iter().find_map(|c| {
        let (first, rest) = c.split_once(' ').unwrap_or((c, ""));
        (first == name).then_some(rest)
    })
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|w| w == word)
}

fn switch(seen: &Seen<'_>, what: &str) -> String {
    let name = seen.peer.name.as_str();
    let name = name.rsplit_once('/').filter(|_| seen.peer.dynamic).map_or(name, |(range, _)| range);
    format!("the switch: {what}; mainstay peer-config --peer {name} --platform … prints how")
}

#[cfg(test)]
mod tests;
