//! One peer: when to dial it, at most two connections with it, and everything it has told us.
//!
//! ```text
//! Idle ──hold-off over──▶ Active ──redial──▶ Connect ──TCP up──▶ OpenSent ▶ OpenConfirm ▶ Established
//!   ▲                       ▲  └──────────somebody dials in──────────▲ │
//!   └── after an error of the protocol     after anything else ────────┘
//! ```
//! Both sides may dial at once, so there may be a dialled and an accepted session until the OPENs
//! tell which of them stays (RFC 4271 §6.8).

use crate::config::{PeerConfig, RangeConfig, RestartConfig, SessionConfig};
use crate::event::{Link, Path};
use crate::report::Cause;
use crate::rib::adj_in::AdjIn;
use crate::rib::adj_out::AdjOut;
use crate::rib::export::Exporter;
use crate::rib::policy::Filter;
use crate::rib::{PerFamily, Source};
use crate::session::Session;
use crate::session::agree::{Agreed, PeerRestart};
use crate::speaker::limits::{Bar, Level};
use crate::speaker::refresh::Refreshing;
use crate::types::{Asn, ConnId, Family, PeerId, RouterId};
use crate::view::Counters;
use crate::wire::{Capability, Message, Notification};
use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) name: String,
    /// `::`: not found yet.
    pub(crate) address: IpAddr,
    /// Of a link-local address, or of an unnumbered peer.
    pub(crate) interface: Option<String>,
    /// Configured without an address: whoever is found on the interface.
    pub(crate) unnumbered: bool,
    /// Whom the link says to be there; taken when no session is left with whoever was.
    pub(crate) heard: Option<Ipv6Addr>,
    pub(crate) port: u16,
    pub(crate) settings: SessionConfig,
    /// Of the range it was born in; `None`: configured itself.
    pub(crate) range: Option<String>,
    pub(crate) import: Filter,
    pub(crate) export: Filter,

    pub(crate) dialling: Option<ConnId>,
    pub(crate) redial_at: Option<Instant>,
    /// After an error: until then it is neither dialled nor let in.
    pub(crate) idle_until: Option<Instant>,
    /// Errors in a row.
    failures: u32,
    attempts: u32,
    /// Makes our pace another one than the peer's own.
    pub(crate) salt: u32,
    pub(crate) sessions: Vec<Session>,

    pub(crate) adj_in: PerFamily<AdjIn>,
    pub(crate) adj_out: AdjOut,
    /// While there is a session that is up.
    pub(crate) up: Option<Up>,
    /// Of its last session: stale paths keep it.
    pub(crate) source: Option<Rc<Source>>,
    /// When what is still stale goes (RFC 4724 §4.2).
    pub(crate) stale_until: Option<Instant>,
    /// The latest that `stale_until` may become, however often the peer restarts meanwhile.
    pub(crate) stale_bound: Option<Instant>,
    /// When what is still stale after that goes (RFC 9494 §4.2).
    pub(crate) long_lived_until: PerFamily<Option<Instant>>,
    pub(crate) end_of_rib: PerFamily<bool>,
    pub(crate) refreshing: PerFamily<Refreshing>,
    pub(crate) path: Path,
    /// It has told too much: until then it is neither dialled nor let in.
    pub(crate) bar: Option<Bar>,
    pub(crate) levels: PerFamily<Level>,
    /// The same of what it is told.
    pub(crate) levels_out: PerFamily<Level>,
    /// Prefixes of this session that were not kept.
    pub(crate) discarded: PerFamily<u64>,

    pub(crate) history: History,
}

/// What an established session has fixed.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) conn: ConnId,
    pub(crate) source: Rc<Source>,
    pub(crate) exporter: Exporter,
}

/// For those who look.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) state: &'static str,
    pub(crate) state_since: Instant,
    pub(crate) established: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) received: Counters,
    pub(crate) sent: Counters,
    pub(crate) restart: Option<PeerRestart>,
    /// How long our restart took until this session was up, if that was long.
    pub(crate) slow_restart: Option<Duration>,
    pub(crate) capabilities: Vec<Capability>,
}

/// A silent end is mostly the peer's restart: it will be back soon.
const REDIAL_SOON: Duration = Duration::from_secs(1);
/// Errors in a row make the hold-off longer, up to this (RFC 4271 §8.1.1, DampPeerOscillations).
const HOLD_OFF_MAX: Duration = Duration::from_secs(60);
/// A session that lived this long has ended a row of errors.
const STABLE: Duration = Duration::from_secs(60);

impl Peer {
    pub(crate) fn fixed(id: PeerId, config: &PeerConfig, now: Instant) -> Self {
        let redial_at = (!config.session.passive).then_some(now);
        Self {
            interface: config.interface.clone(),
            unnumbered: config.address.is_unspecified(),
            port: config.port,
            redial_at,
            ..Self::new(id, config.name.clone(), config.address, &config.session, now)
        }
    }

    /// Somebody has dialled in from a range.
    pub(crate) fn dynamic(id: PeerId, range: &RangeConfig, link: &Link, now: Instant) -> Self {
        let address = link.remote.ip();
        let zone = link.zone().map_or(String::new(), |zone| format!("%{zone}"));
        let name = format!("{}/{address}{zone}", range.name);
        Self {
            interface: link.zone().map(Into::into),
            range: Some(range.name.clone()),
            ..Self::new(id, name, address, &range.session, now)
        }
    }

    fn new(
        id: PeerId,
        name: String,
        address: IpAddr,
        settings: &SessionConfig,
        now: Instant,
    ) -> Self {
        Self {
            id,
            name,
            address,
            interface: None,
            unnumbered: false,
            heard: None,
            port: crate::wire::PORT,
            settings: settings.clone(),
            range: None,
            import: Filter::None,
            export: Filter::None,
            dialling: None,
            redial_at: None,
            idle_until: None,
            failures: 0,
            attempts: 0,
            salt: 0,
            sessions: Vec::new(),
            adj_in: PerFamily::new(AdjIn::new),
            adj_out: AdjOut::default(),
            up: None,
            source: None,
            stale_until: None,
            stale_bound: None,
            long_lived_until: PerFamily::default(),
            end_of_rib: PerFamily::default(),
            refreshing: PerFamily::default(),
            path: Path::Unknown,
            bar: None,
            levels: PerFamily::default(),
            levels_out: PerFamily::default(),
            discarded: PerFamily::default(),
            history: History::new(now),
        }
    }

    pub(crate) fn session(&self, conn: ConnId) -> Option<&Session> {
        self.sessions.iter().find(|s| s.conn == conn)
    }

    pub(crate) fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|s| s.conn == conn)
    }

    pub(crate) fn established(&self) -> Option<&Session> {
        self.sessions.iter().find(|s| s.is_established())
    }

    /// What holds for the session that is up.
    pub(crate) fn agreed(&self) -> Option<&Agreed> {
        self.established()?.agreed()
    }

    /// As it has said, or as it is configured; 0: neither.
    pub(crate) fn asn(&self) -> Asn {
        let said = || self.sessions.iter().find_map(|s| Some(s.agreed()?.theirs.asn));
        let before = || self.source.as_ref().map(|source| source.asn);
        self.settings.asn.asn().or_else(said).or_else(before).unwrap_or(Asn(0))
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    pub(crate) fn stale(&self) -> usize {
        Family::ALL.into_iter().map(|f| self.adj_in.get(f).stale()).sum()
    }

    /// For how long it may be away that asks for this, within what we grant.
    pub(crate) fn restart_time(&self, asked: Duration) -> Duration {
        let own = self.settings.graceful_restart;
        own.map_or(asked, |own| asked.max(own.min_peer_time).min(own.max_peer_time))
    }

    /// How long it may take, once it is back, to confirm what it told before (RFC 4724 §4.2).
    pub(crate) fn stale_time(&self) -> Duration {
        let own = self.settings.graceful_restart;
        own.unwrap_or(RestartConfig::new(Duration::ZERO)).stale_time
    }

    /// For how long what is stale of a family is kept after that: as the peer's last OPEN asks, and
    /// no longer than we grant (RFC 9494 §4.2).
    pub(crate) fn long_lived_time(&self, family: Family) -> Option<Duration> {
        let granted = self.settings.graceful_restart?.long_lived;
        let asked =
            self.history.restart.as_ref()?.long_lived.iter().find(|l| l.family == family)?;
        Some(asked.stale_time.min(granted)).filter(|time| !time.is_zero())
    }

    /// What it told is kept until it is back, or has told it again.
    pub(crate) fn is_awaited(&self) -> bool {
        let long_lived = || Family::ALL.iter().any(|f| self.long_lived_until.get(*f).is_some());
        self.stale() > 0 && (self.stale_until.is_some() || long_lived())
    }

    /// Nobody would miss it: a dynamic peer without connection and without routes.
    pub(crate) fn is_over(&self) -> bool {
        let idle = self.sessions.is_empty() && !self.is_barred();
        self.range.is_some() && idle && self.stale() == 0
    }

    /// As RFC 4271 §8.2.2 calls it: that of the session that is furthest.
    pub(crate) fn state(&self) -> &'static str {
        let furthest = self.sessions.iter().map(|s| s.state.name()).max_by_key(|n| rank(n));
        match furthest {
            Some(name) => name,
            None if self.dialling.is_some() => "Connect",
            None if self.idle_until.is_some() || self.is_barred() => "Idle",
            None => "Active",
        }
    }

    pub(crate) fn wants_to_dial(&self, now: Instant) -> bool {
        self.dial_at().is_some_and(|at| at <= now)
    }

    fn dial_at(&self) -> Option<Instant> {
        let may = !self.settings.passive
            && self.range.is_none()
            && self.sessions.is_empty()
            && self.dialling.is_none()
            && self.idle_until.is_none()
            && !self.is_barred()
            && !self.address.is_unspecified()
            && !self.waits_for_bfd();
        self.redial_at.filter(|_| may)
    }

    /// Why a connection from this peer's address is not taken now, if so.
    pub(crate) fn refuses(&self) -> Option<&'static str> {
        if self.idle_until.is_some() {
            return Some("held off after an error");
        }
        if self.is_barred() {
            return Some("it has told more prefixes than max_prefixes.in");
        }
        let opening = |s: &&Session| !s.conn.is_dialled() && !s.is_established();
        if self.sessions.iter().find(opening).is_some() || self.sessions.len() > 1 {
            return Some("another connection is being opened");
        }
        None
    }

    /// No new session yet; one that is up stays.
    pub(crate) fn waits_for_bfd(&self) -> bool {
        let open = matches!(self.path, Path::Up | Path::AdminDown);
        self.settings.waits_for_bfd && !open
    }

    /// When this peer has to be looked at.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let sessions = self.sessions.iter().filter_map(|s| s.timers.next());
        let long_lived = Family::ALL.into_iter().filter_map(|f| *self.long_lived_until.get(f));
        let refreshes = Family::ALL.into_iter().filter_map(|f| self.refreshing.get(f).deadline());
        sessions
            .chain(refreshes)
            .chain(long_lived)
            .chain([self.dial_at(), self.idle_until, self.stale_until].into_iter().flatten())
            .chain(self.barred_until())
            .chain(self.limit_news())
            .min()
    }

    /// When to try again after an attempt or a session has ended like this.
    pub(crate) fn plan_retry(
        &mut self,
        cause: &Cause,
        lived: Duration,
        connect_retry: Duration,
        now: Instant,
    ) {
        if lived >= STABLE {
            self.failures = 0;
        }
        self.attempts = self.attempts.wrapping_add(1);
        let jitter = self.jitter();
        let wait = match severity(cause, lived) {
            Severity::Lost => connect_retry.min(REDIAL_SOON),
            Severity::Failed => connect_retry,
            Severity::Told | Severity::Error => {
                let grown = connect_retry.saturating_mul(1 << self.failures.min(8));
                self.failures = self.failures.saturating_add(1);
                grown.min(HOLD_OFF_MAX.max(connect_retry))
            }
        };
        let at = now + wait.mul_f64(jitter);
        self.redial_at = Some(at);
        if severity(cause, lived) == Severity::Error {
            self.idle_until = Some(at);
        }
    }

    /// The hold-off is over.
    pub(crate) fn leave_idle(&mut self, now: Instant) {
        if self.idle_until.is_some_and(|at| at <= now) {
            self.idle_until = None;
        }
    }

    pub(crate) fn forgive(&mut self, now: Instant) {
        self.failures = 0;
        self.idle_until = None;
        self.bar = None;
        self.redial_at = Some(now);
    }

    /// RFC 4271 §10: 0.75 to 1. Made of what differs between nodes, peers and attempts rather than
    /// of chance, so that a run can be repeated.
    fn jitter(&self) -> f64 {
        let mixed = (u64::from(self.id.0) << 32 | u64::from(self.attempts))
            .wrapping_add(u64::from(self.salt).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        0.75 + f64::from((mixed >> 40) as u32) / f64::from(1 << 24) * 0.25
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// A session has ended without a word.
    Lost,
    /// An attempt came to nothing.
    Failed,
    /// The peer does not want us now; it may come to us when it does.
    Told,
    /// The two do not understand each other.
    Error,
}

fn severity(cause: &Cause, lived: Duration) -> Severity {
    match cause {
        Cause::Closed(_) | Cause::Collision if lived.is_zero() => Severity::Failed,
        Cause::Closed(_) => Severity::Lost,
        Cause::Received(n)
            if n.code == 6 && n.subcode == crate::wire::cease::CONNECTION_COLLISION =>
        {
            Severity::Failed
        }
        Cause::Received(n) if n.inner().as_ref().unwrap_or(n).code == 6 => Severity::Told,
        Cause::ConnectFailed(_) | Cause::Collision | Cause::Deconfigured | Cause::Stopped => {
            Severity::Failed
        }
        Cause::Sent(n) if n.code == 6 || *n == Notification::SEND_HOLD_TIMER_EXPIRED => {
            Severity::Failed
        }
        Cause::HoldTimerExpired | Cause::BfdDown { .. } => Severity::Lost,
        Cause::Sent(_) | Cause::Received(_) => Severity::Error,
    }
}

fn rank(state: &str) -> u8 {
    match state {
        "OpenSent" => 0,
        "OpenConfirm" => 1,
        _ => 2,
    }
}

/// Whether the connection we have dialled stays when both sides have dialled: it is that of the
/// higher identifier (RFC 4271 §6.8), of the higher AS if those are equal (RFC 6286 §2.3).
pub(crate) fn dialled_stays(own: (RouterId, Asn), theirs: (RouterId, Asn)) -> bool {
    match own.0.0.octets().cmp(&theirs.0.0.octets()) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => own.1 > theirs.1,
    }
}

impl History {
    const fn new(now: Instant) -> Self {
        let none = Counters { open: 0, update: 0, notification: 0, keepalive: 0, route_refresh: 0 };
        Self {
            state: "Idle",
            state_since: now,
            established: 0,
            last_error: None,
            received: none,
            sent: none,
            restart: None,
            slow_restart: None,
            capabilities: Vec::new(),
        }
    }
}

impl Counters {
    pub(crate) const fn count(&mut self, message: &Message<'_>) {
        match message {
            Message::Open(_) => self.open += 1,
            Message::Update(_) => self.update += 1,
            Message::Notification(_) => self.notification += 1,
            Message::Keepalive => self.keepalive += 1,
            Message::RouteRefresh(_) | Message::RefreshMark(..) => self.route_refresh += 1,
        }
    }

    /// Counts whole messages by the type in their headers (RFC 4271 §4.1).
    pub(crate) fn count_sent(&mut self, mut bytes: &[u8]) {
        while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, kind, ..] = bytes {
            match kind {
                1 => self.open += 1,
                2 => self.update += 1,
                3 => self.notification += 1,
                4 => self.keepalive += 1,
                _ => self.route_refresh += 1,
            }
            let length = usize::from(u16::from_be_bytes([*high, *low])).max(1);
            bytes = bytes.get(length..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{router_id, session_config, start};
    use crate::wire::Notification;

    const RETRY: Duration = Duration::from_secs(5);

    fn peer() -> Peer {
        let config = PeerConfig {
            name: "tor".into(),
            address: "192.0.2.1".parse().unwrap(),
            interface: None,
            port: 179,
            session: session_config(65001),
        };
        Peer::fixed(PeerId(1), &config, start())
    }

    #[test]
    fn the_higher_identifier_keeps_the_connection_it_dialled() {
        let (low, high) = ((router_id(1), Asn(2)), (router_id(2), Asn(1)));
        assert!(dialled_stays(high, low) && !dialled_stays(low, high));
        let (small, big) = ((router_id(1), Asn(1)), (router_id(1), Asn(2)));
        assert!(dialled_stays(big, small) && !dialled_stays(small, big));
    }

    #[test]
    fn errors_in_a_row_hold_the_peer_off_longer_up_to_a_minute() {
        let (mut peer, now) = (peer(), start());
        let error = Cause::Sent(Notification::BAD_PEER_AS);
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                peer.plan_retry(&error, Duration::ZERO, RETRY, now);
                (peer.idle_until.unwrap() - now).as_secs()
            })
            .collect();
        assert!(waits[..4].is_sorted() && waits[0] >= 3, "{waits:?}");
        assert!((45..=60).contains(&waits[5]), "{waits:?}");
        peer.plan_retry(&error, STABLE, RETRY, now);
        assert!(peer.idle_until.unwrap() - now <= RETRY);
    }

    #[test]
    fn a_peer_lost_without_a_word_is_dialled_soon_and_let_in_at_once() {
        let (mut peer, now) = (peer(), start());
        peer.plan_retry(&Cause::Closed("eof".into()), Duration::from_secs(9), RETRY, now);
        assert!(peer.redial_at.unwrap() - now <= REDIAL_SOON);
        assert_eq!(peer.refuses(), None);
    }

    #[test]
    fn a_peer_that_ceases_is_let_in_when_it_comes_back() {
        let (mut peer, now) = (peer(), start());
        peer.plan_retry(&Cause::Received(Notification::cease(2)), STABLE, RETRY, now);
        assert_eq!(peer.refuses(), None);
        assert!(peer.redial_at.unwrap() > now);
    }
}
