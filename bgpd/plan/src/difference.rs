//! What a new file changes on one node, and what each change does when the daemons reload it.
//!
//! What becomes of sessions is the core's to say ([`bgp_core::difference`], by which a reload goes
//! as well); what the daemons add around the core, and ipamd and netmon, is said here.

use bgp_core::difference as core;
use mainstay_config::{AoKey, Gc, Ipam, Mode, MrtFile, NodeConfig, PeerSession, RpkiServer};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The peer or the range it is about; none: the node as a whole.
    pub peer: Option<String>,
    /// `bgp.peers tor-a: hold_time`
    pub what: String,
    /// `90s -> 30s`
    pub how: String,
    pub effect: Effect,
    /// What else to know or to do.
    pub hint: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Applied to what runs.
    AtOnce,
    /// The session that is up goes on as it was agreed.
    NextSession,
    /// Kept until this daemon starts again.
    Restart(&'static str),
    /// The daemons refuse it while they run: what to do instead is in the hint.
    Refused,
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

    /// One word for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::NextSession => "next-session",
            Self::Restart(_) => "restart",
            Self::Refused => "refused",
            Self::Resets => "resets-session",
            Self::ResetsAll => "resets-every-session",
            Self::Ends => "ends-session",
        }
    }
}

impl From<core::Effect> for Effect {
    fn from(effect: core::Effect) -> Self {
        match effect {
            core::Effect::AtOnce => Self::AtOnce,
            core::Effect::NextSession => Self::NextSession,
            core::Effect::Resets => Self::Resets,
            core::Effect::ResetsAll => Self::ResetsAll,
            core::Effect::Ends => Self::Ends,
        }
    }
}

impl From<core::Change> for Change {
    fn from(change: core::Change) -> Self {
        let core::Change { peer, what, how, effect } = change;
        Self { peer, what, how, effect: effect.into(), hint: None }
    }
}

/// Everything that differs for this node, in the order of the file.
#[must_use]
pub fn changes(old: &NodeConfig, new: &NodeConfig) -> Vec<Change> {
    let mut all = Changes::default();
    network(old, new, &mut all);
    speaker(old, new, &mut all);
    transport(old, new, &mut all);
    fib(old, new, &mut all);
    collect(old, new, &mut all);
    ipam(&old.ipam, &new.ipam, &mut all);
    let (was, is) = (shown(old.keeper.max_orphan), shown(new.keeper.max_orphan));
    all.note("keeper.max_orphan", was, is, Effect::AtOnce, None);
    let (was, is) = (old.netmon.listen, new.netmon.listen);
    all.note("netmon.listen", was, is, Effect::AtOnce, None);
    all.0
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn note(
        &mut self,
        what: &str,
        old: impl Display,
        new: impl Display,
        effect: Effect,
        hint: Option<&'static str>,
    ) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            let how = format!("{old} -> {new}");
            self.0.push(Change { peer: None, what: what.into(), how, effect, hint });
        }
    }

    fn note_of(
        &mut self,
        peer: &str,
        (what, hint): (&str, Option<&'static str>),
        (old, new): (impl Display, impl Display),
        effect: Effect,
    ) {
        let before = self.0.len();
        self.note(&format!("bgp.peers {peer}: {what}"), old, new, effect, hint);
        for change in self.0.iter_mut().skip(before) {
            change.peer = Some(peer.into());
        }
    }
}

const NO_SPEAKER: &str = "while it is none, the daemons refuse to reload: stop mainstay-bgpd and \
     mainstay-ipamd on this node instead";
const NEEDS_SPEAKER: &str = "start mainstay-ipamd and mainstay-bgpd on this node";

fn network(old: &NodeConfig, new: &NodeConfig, all: &mut Changes) {
    let (was, is) = (old.network.mode, new.network.mode);
    if was != is {
        let none = is == Mode::None;
        let effect = if none { Effect::Refused } else { Effect::Restart("bgpd") };
        let hint = if none { NO_SPEAKER } else { NEEDS_SPEAKER };
        all.note("network.mode", mode(was), mode(is), effect, Some(hint));
    }
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::None => "none",
        Mode::Simple => "simple",
        Mode::Bgp => "bgp",
    }
}

/// Of a node without container network no speaker is told anything.
fn both_speak(old: &NodeConfig, new: &NodeConfig) -> bool {
    [old, new].iter().all(|node| node.network.mode != Mode::None)
}

fn speaker(old: &NodeConfig, new: &NodeConfig, all: &mut Changes) {
    if both_speak(old, new) {
        let (mut was, is) = (super::speaker(&old.bgp), super::speaker(&new.bgp));
        // A daemon keeps this until it starts again: see `fib`.
        was.install = is.install;
        all.0.extend(core::between(&was, &is).into_iter().map(Change::from));
    }
}

const BOTH_SIDES: &str = "the session lives on if the other side changes it within the hold time; \
     then it does not matter which is first";
const NEW_KEYS: &str = "sessions that are up stay as long as both sides have a key in common";
const SESSIONS_STAY: &str = "sessions that are up stay";

/// How packets travel, which the core never sees.
fn transport(old: &NodeConfig, new: &NodeConfig, all: &mut Changes) {
    if !both_speak(old, new) {
        return;
    }
    let (was, is) = (sockets(old), sockets(new));
    all.note("bgp.listen", was, is, Effect::AtOnce, Some(SESSIONS_STAY));
    let before: BTreeMap<_, _> = sessions(old).collect();
    for (name, new_session) in sessions(new) {
        let Some(session) = before.get(name) else { continue };
        let files = (key_file(session), key_file(new_session));
        all.note_of(name, ("password_file", Some(BOTH_SIDES)), files, Effect::AtOnce);
        let keys = (ao_keys(session), ao_keys(new_session));
        // A connection is signed from its first packet on, or never.
        let began_or_ended = session.tcp_ao.is_empty() != new_session.tcp_ao.is_empty();
        let effect = if began_or_ended { Effect::Resets } else { Effect::AtOnce };
        all.note_of(name, ("tcp_ao", Some(NEW_KEYS)), keys, effect);
        let hops = (hops(old, session), hops(new, new_session));
        all.note_of(name, ("multihop", None), hops, Effect::AtOnce);
        let secured = (security(session), security(new_session));
        all.note_of(name, ("ttl_security", Some(BOTH_SIDES)), secured, Effect::AtOnce);
        let watched = (watched(session), watched(new_session));
        all.note_of(name, ("bfd", Some(NOTHING_BLINKS)), watched, Effect::AtOnce);
    }
}

const NOTHING_BLINKS: &str = "timers are agreed anew while bfd stays up; switched off, the peer is \
     told that it is meant";

fn watched(session: &PeerSession) -> String {
    let Some(bfd) = session.bfd else { return "off".into() };
    format!("{} / {} x {}", shown(bfd.min_tx), shown(bfd.min_rx), bfd.multiplier)
}

fn sockets(node: &NodeConfig) -> String {
    let all: Vec<_> = super::listen(&node.bgp).iter().map(ToString::to_string).collect();
    if all.is_empty() { "off".into() } else { all.join(", ") }
}

fn sessions(node: &NodeConfig) -> impl Iterator<Item = (&str, &PeerSession)> {
    let peers = node.bgp.peers.iter().map(|p| (p.name.as_str(), &p.session));
    peers.chain(node.bgp.ranges.iter().map(|r| (r.name.as_str(), &r.session)))
}

fn key_file(session: &PeerSession) -> String {
    let none = || "none".into();
    session.password_file.as_ref().map_or_else(none, |path: &PathBuf| path.display().to_string())
}

fn ao_keys(session: &PeerSession) -> String {
    let key = |key: &AoKey| {
        let AoKey { send_id, receive_id, file, .. } = key;
        format!("{send_id}/{receive_id} {}", file.display())
    };
    let all: Vec<_> = session.tcp_ao.iter().map(key).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

fn hops(node: &NodeConfig, session: &PeerSession) -> String {
    let hops = (!session.asn.is_internal(node.bgp.asn)).then(|| session.multihop.unwrap_or(1));
    hops.map_or_else(|| "any".into(), |hops| hops.to_string())
}

fn security(session: &PeerSession) -> String {
    session.options.ttl_security.map_or_else(|| "off".into(), |hops| hops.to_string())
}

const WRITES_ONE_TABLE: &str = "which routes are bgpd's is settled when it starts";

fn fib(old: &NodeConfig, new: &NodeConfig, all: &mut Changes) {
    if !both_speak(old, new) {
        return;
    }
    let (was, is) = (&old.bgp.fib, &new.bgp.fib);
    let (later, hint) = (Effect::Restart("bgpd"), Some(WRITES_ONE_TABLE));
    all.note("bgp.fib.install", was.install, is.install, later, hint);
    all.note("bgp.fib.table", was.table, is.table, later, hint);
    all.note("bgp.fib.metric", was.metric, is.metric, later, hint);
}

const PEERS_STAY: &str = "no session and no route is touched but by what it says";

/// Whom the speaker asks and tells besides its peers.
fn collect(old: &NodeConfig, new: &NodeConfig, all: &mut Changes) {
    if !both_speak(old, new) {
        return;
    }
    let servers = |node: &NodeConfig| {
        let server = |s: &RpkiServer| format!("{} (preference {})", s.address, s.preference);
        some(node.bgp.rpki.iter().map(server).collect())
    };
    all.note("bgp.rpki", servers(old), servers(new), Effect::AtOnce, Some(PEERS_STAY));
    let stations =
        |node: &NodeConfig| some(node.bgp.bmp.iter().map(|s| s.address.to_string()).collect());
    all.note("bgp.bmp", stations(old), stations(new), Effect::AtOnce, None);
    let (was, is) = (&old.bgp.mrt, &new.bgp.mrt);
    all.note("bgp.mrt.updates", file(&was.updates), file(&is.updates), Effect::AtOnce, None);
    all.note("bgp.mrt.rib", file(&was.rib), file(&is.rib), Effect::AtOnce, None);
}

fn file(file: &Option<MrtFile>) -> String {
    let text = |f: &MrtFile| format!("{} every {}", f.path.display(), shown(f.every));
    file.as_ref().map_or_else(|| "none".into(), text)
}

fn some(texts: Vec<String>) -> String {
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}

const LEASES_STAY: &str = "addresses in use stay with their pods, also in a block that is left";

fn gc(gc: &Gc) -> String {
    let Gc { enabled, interval, grace, results, runtime } = gc;
    let (interval, grace) = (shown(*interval), shown(*grace));
    let (results, runtime) = (results.display(), runtime.display());
    match enabled {
        true => format!("interval {interval}, grace {grace}, results {results}, runtime {runtime}"),
        false => "off".into(),
    }
}

fn ipam(old: &Ipam, new: &Ipam, all: &mut Changes) {
    let before: BTreeMap<_, _> = old.pools.iter().map(|p| (p.name.as_str(), p)).collect();
    let after: BTreeMap<_, _> = new.pools.iter().map(|p| (p.name.as_str(), p)).collect();
    let mut names: Vec<_> = before.keys().chain(after.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let pool =
            |p: Option<&&mainstay_config::Pool>| p.map_or_else(|| "none".into(), |p| blocks(p));
        let (was, is) = (pool(before.get(name)), pool(after.get(name)));
        let what = format!("ipam.pools {name}: blocks");
        all.note(&what, was, is, Effect::AtOnce, Some(LEASES_STAY));
        if let (Some(was), Some(is)) = (before.get(name), after.get(name)) {
            pool_rules(was, is, all);
        }
    }
    let (was, is) = (old.stickiness.to_string(), new.stickiness.to_string());
    all.note("ipam.stickiness", was, is, Effect::AtOnce, None);
    all.note("ipam.cooldown", shown(old.cooldown), shown(new.cooldown), Effect::AtOnce, None);
    all.note("ipam.gc", gc(&old.gc), gc(&new.gc), Effect::AtOnce, None);
}

/// Whom a pool is for, and with what.
fn pool_rules(old: &mainstay_config::Pool, new: &mainstay_config::Pool, all: &mut Changes) {
    let what = |key: &str| format!("ipam.pools {}: {key}", new.name);
    let some = |texts: Vec<String>| if texts.is_empty() { "none".into() } else { texts.join(",") };
    let namespaces = |pool: &mainstay_config::Pool| some(pool.namespaces.clone());
    let sticky = |pool: &mainstay_config::Pool| {
        pool.stickiness.map_or_else(|| "as everywhere".into(), |s| s.to_string())
    };
    let exclude = |pool: &mainstay_config::Pool| {
        some(pool.exclude.iter().map(|(first, last)| format!("{first}-{last}")).collect())
    };
    let reserved = |pool: &mainstay_config::Pool| {
        some(pool.reserved.iter().map(ToString::to_string).collect())
    };
    let at_once = Effect::AtOnce;
    all.note(&what("namespaces"), namespaces(old), namespaces(new), at_once, Some(LEASES_STAY));
    all.note(&what("stickiness"), sticky(old), sticky(new), at_once, None);
    all.note(&what("exclude"), exclude(old), exclude(new), at_once, Some(LEASES_STAY));
    all.note(&what("reserved"), reserved(old), reserved(new), at_once, Some(LEASES_STAY));
}

fn blocks(pool: &mainstay_config::Pool) -> String {
    let blocks: Vec<_> = pool.blocks.iter().map(ToString::to_string).collect();
    if blocks.is_empty() { "none".into() } else { blocks.join(",") }
}

fn shown(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.how)
    }
}
