//! What changes from one configuration to the next, and what each change does to what runs.
//!
//! The one place that knows what ends a session: [`Speaker`](crate::speaker::Speaker) asks it when
//! it is configured anew, and `mainstay config diff` before that. What the OPENs have settled (RFC
//! 4271 §4.2) and what a connection stands on needs another session; it is forced only where the
//! running one would be a session with somebody else, or lacks a family.

mod options;

use crate::config::{
    AddPaths, PeerConfig, RangeConfig, RestartConfig, SessionConfig, SpeakerConfig,
};
use crate::types::{Family, Prefix};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The peer or the range it is about; none: the speaker as a whole.
    pub peer: Option<String>,
    /// `bgp.peers tor-a: hold_time`
    pub what: String,
    /// `90s -> 30s`
    pub how: String,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Applied to what runs.
    AtOnce,
    /// The session that is up goes on as it was agreed.
    NextSession,
    /// The session ends and comes back.
    Resets,
    /// So do all of them.
    ResetsAll,
    /// The session ends: its peer is one no more.
    Ends,
}

impl Effect {
    #[must_use]
    pub const fn ends_a_session(self) -> bool {
        matches!(self, Self::Resets | Self::ResetsAll | Self::Ends)
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::AtOnce | Effect::Ends => "",
            Effect::NextSession => " (from the next session on)",
            Effect::Resets => " (resets the session)",
            Effect::ResetsAll => " (resets every session)",
        };
        write!(f, "{} {}{effect}", self.what, self.how)
    }
}

/// All of them: the speaker's own first, then peers, ranges, policies and the FIB.
#[must_use]
pub fn between(old: &SpeakerConfig, new: &SpeakerConfig) -> Vec<Change> {
    let mut all = Changes::default();
    speaker(old, new, &mut all);
    peers(old, new, &mut all);
    ranges(old, new, &mut all);
    policies(old, new, &mut all);
    all.note("bgp.fib.install", old.install, new.install, Effect::AtOnce);
    all.note("bgp.max_paths", old.max_paths, new.max_paths, Effect::AtOnce);
    options::choice(old, new, &mut all);
    all.list
}

#[derive(Default)]
struct Changes {
    peer: Option<String>,
    list: Vec<Change>,
}

impl Changes {
    /// Adds the change if there is one.
    fn note(&mut self, what: &str, old: impl Display, new: impl Display, effect: Effect) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.add(what, format!("{old} -> {new}"), effect);
        }
    }

    fn add(&mut self, what: &str, how: impl Into<String>, effect: Effect) {
        let (peer, what) = match &self.peer {
            Some(peer) => (Some(peer.clone()), format!("bgp.peers {peer}: {what}")),
            None => (None, what.to_owned()),
        };
        self.list.push(Change { peer, what, how: how.into(), effect });
    }

    /// The peer or range as a whole.
    fn all_of(&mut self, peer: &str, how: &str, effect: Effect) {
        let what = format!("bgp.peers {peer}:");
        self.list.push(Change { peer: Some(peer.into()), what, how: how.into(), effect });
    }
}

/// Who we are is in every OPEN.
fn speaker(old: &SpeakerConfig, new: &SpeakerConfig, all: &mut Changes) {
    all.note("bgp.asn", old.asn, new.asn, Effect::ResetsAll);
    all.note("bgp.router_id", old.router_id, new.router_id, Effect::ResetsAll);
    let (was, is) = (shown(old.connect_retry), shown(new.connect_retry));
    all.note("bgp.connect_retry", was, is, Effect::AtOnce);
    if old.originate != new.originate {
        all.add("bgp.originate:", listed(&old.originate, &new.originate), Effect::AtOnce);
    }
}

fn peers(old: &SpeakerConfig, new: &SpeakerConfig, all: &mut Changes) {
    let before: BTreeMap<&str, &PeerConfig> =
        old.peers.iter().map(|p| (p.name.as_str(), p)).collect();
    let after: BTreeMap<&str, &PeerConfig> =
        new.peers.iter().map(|p| (p.name.as_str(), p)).collect();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        all.all_of(name, "removed", Effect::Ends);
    }
    for peer in &new.peers {
        let Some(old) = before.get(peer.name.as_str()) else {
            all.all_of(&peer.name, "added", Effect::AtOnce);
            continue;
        };
        all.peer = Some(peer.name.clone());
        session(&old.session, &peer.session, all);
        all.note("address", old.address, peer.address, Effect::Resets);
        let link = |p: &PeerConfig| p.interface.clone().unwrap_or_else(|| "any".into());
        all.note("interface", link(old), link(peer), Effect::Resets);
        all.note("port", old.port, peer.port, Effect::NextSession);
        all.peer = None;
    }
}

fn ranges(old: &SpeakerConfig, new: &SpeakerConfig, all: &mut Changes) {
    let before: BTreeMap<&str, &RangeConfig> =
        old.ranges.iter().map(|r| (r.name.as_str(), r)).collect();
    for range in &new.ranges {
        let Some(old) = before.get(range.name.as_str()) else {
            all.all_of(&range.name, "added", Effect::AtOnce);
            continue;
        };
        // Members that stand outside of it now are members no more.
        let narrower = !range.range.covers(&old.range);
        let effect = if narrower { Effect::Ends } else { Effect::AtOnce };
        all.peer = Some(range.name.clone());
        all.note("listen_range", old.range, range.range, effect);
        all.note("limit", old.limit, range.limit, Effect::AtOnce);
        session(&old.session, &range.session, all);
        all.peer = None;
    }
    for name in before.keys().filter(|name| !new.ranges.iter().any(|r| r.name == **name)) {
        all.all_of(name, "removed", Effect::Ends);
    }
}

fn session(old: &SessionConfig, new: &SessionConfig, all: &mut Changes) {
    // Every field by its name, so that a new one cannot be forgotten here.
    let SessionConfig {
        asn,
        passive,
        hold_time,
        families,
        graceful_restart,
        route_reflector_client: client,
        import,
        export,
        local_address,
        waits_for_bfd,
        options,
        add_paths,
    } = new;
    all.note("asn", old.asn, asn, Effect::Resets);
    all.note("families", named(&old.families), named(families), Effect::Resets);
    // Capabilities and timers of the OPENs: worth no flap, the next session has them.
    restart(old.graceful_restart, *graceful_restart, all);
    all.note("hold_time", shown(old.hold_time), shown(*hold_time), Effect::NextSession);
    let ways = (paths(old.add_paths), paths(*add_paths));
    all.note("add_paths", ways.0, ways.1, Effect::NextSession);
    // A connection keeps the addresses it has; BGP does not mind.
    let locals = (local(old.local_address), local(*local_address));
    all.note("local_address", locals.0, locals.1, Effect::NextSession);
    all.note("passive", old.passive, passive, Effect::AtOnce);
    all.note("bfd.strict", old.waits_for_bfd, waits_for_bfd, Effect::AtOnce);
    all.note("route_reflector_client", old.route_reflector_client, client, Effect::AtOnce);
    all.note("import", &old.import, import, Effect::AtOnce);
    all.note("export", &old.export, export, Effect::AtOnce);
    options::options(&old.options, options, all);
}

fn policies(old: &SpeakerConfig, new: &SpeakerConfig, all: &mut Changes) {
    for (name, policy) in &new.policies {
        let what = format!("bgp.policies {name}:");
        match old.policies.get(name) {
            None => all.add(&what, "added", Effect::AtOnce),
            Some(before) if before != policy => all.add(&what, "changed", Effect::AtOnce),
            Some(_) => {}
        }
    }
    for name in old.policies.keys().filter(|n| !new.policies.contains_key(*n)) {
        all.add(&format!("bgp.policies {name}:"), "removed", Effect::AtOnce);
    }
}

fn shown(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

fn restart(old: Option<RestartConfig>, new: Option<RestartConfig>, all: &mut Changes) {
    let time = |r: Option<RestartConfig>| r.map_or_else(|| "off".into(), |r| shown(r.time));
    all.note("graceful_restart", time(old), time(new), Effect::NextSession);
    let (Some(old), Some(new)) = (old, new) else { return };
    let mut note = |key: &str, old: String, new: String, effect| {
        all.note(&format!("graceful_restart.{key}"), old, new, effect);
    };
    let next = Effect::NextSession;
    note("notification", old.notification.to_string(), new.notification.to_string(), next);
    note("long_lived", shown(old.long_lived), shown(new.long_lived), next);
    // How long we wait for the peer is nobody else's business.
    let at_once = Effect::AtOnce;
    note("min_peer_restart_time", shown(old.min_peer_time), shown(new.min_peer_time), at_once);
    note("max_peer_restart_time", shown(old.max_peer_time), shown(new.max_peer_time), at_once);
    note("stale_time", shown(old.stale_time), shown(new.stale_time), at_once);
}

fn local(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "any".into(), |a| a.to_string())
}

fn paths(of: AddPaths) -> String {
    match (of.receive, of.send) {
        (false, 0) => "none".into(),
        (true, 0) => "receive".into(),
        (false, most) => format!("send {most}"),
        (true, most) => format!("both, send {most}"),
    }
}

fn named(families: &[Family]) -> String {
    families.iter().map(Family::to_string).collect::<Vec<_>>().join(",")
}

fn listed(old: &[Prefix], new: &[Prefix]) -> String {
    let gone = old.iter().filter(|p| !new.contains(p)).map(|p| format!("-{p}"));
    let come = new.iter().filter(|p| !old.contains(p)).map(|p| format!("+{p}"));
    gone.chain(come).collect::<Vec<_>>().join(" ")
}
