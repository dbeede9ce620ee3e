//! One connection's finite state machine (RFC 4271 §8.2.2), from the moment TCP is up.
//!
//! Idle, Connect and Active are not here: without a connection there is no session, and a peer may
//! have two connections for a while (see [`peer`](crate::peer)). The table of states and events is
//! printed by a test into `table.txt` beside this file.

pub(crate) mod agree;
pub(crate) mod timers;

use crate::event::Link;
use crate::report::Cause;
use crate::role;
use crate::types::{ConnId, PeerAs};
use crate::wire::{
    self, AfiSafi, Context, DecodeError, Framer, Message, Notification, Open, RefreshMark,
};
use agree::{Agreed, Offer, agree};
use std::time::{Duration, Instant};
use timers::{Timer, Timers};

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) link: Link,
    pub(crate) state: State,
    pub(crate) timers: Timers,
    pub(crate) framer: Framer,
    /// Whole messages that wait for room in the socket; UPDATEs never stand here.
    pub(crate) outbox: Vec<u8>,
    /// The shell has been told that there is something to send, and is still at it.
    pub(crate) woken: bool,
    pub(crate) since: Instant,
    /// What we said.
    pub(crate) ours: Open,
    peer_as: PeerAs,
    /// The peer has to say its role (RFC 9234 §4.2).
    role_strict: bool,
    /// See [`Options::send_hold_time`](crate::options::Options::send_hold_time).
    send_hold: Option<Duration>,
}

#[derive(Debug)]
pub(crate) enum State {
    OpenSent,
    OpenConfirm(Agreed),
    Established(Agreed),
}

impl State {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm(_) => "OpenConfirm",
            Self::Established(_) => "Established",
        }
    }
}

/// What a session is told.
#[derive(Debug)]
pub(crate) enum Input<'a, 'm> {
    Message(&'a Message<'m>),
    /// The peer's bytes make no sense.
    Broken(&'a DecodeError),
    Due(Timer),
}

/// What that meant to whoever holds the session.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Stay,
    /// The OPENs agree: look for a collision now (RFC 4271 §6.8).
    Opened,
    /// Established.
    Up,
    /// The UPDATE is for the RIB.
    Update,
    Refresh(AfiSafi),
    Mark(AfiSafi, RefreshMark),
    /// It is over; what the peer should be told stands in the outbox.
    Down(Cause),
}

/// RFC 4271 §8.2.2: "a large value" for a peer that has not sent its OPEN.
const OPEN_HOLD: Duration = Duration::from_secs(240);

/// RFC 9687 §4.4: the greater of 8 minutes and twice the hold time, unless it is configured.
const SEND_HOLD: Duration = Duration::from_secs(480);

impl Session {
    /// TCP is up: say who we are (RFC 4271 §8.2.2, Connect and Active state).
    pub(crate) fn open(conn: ConnId, link: Link, offer: &Offer, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Hold, now + OPEN_HOLD);
        let mut outbox = Vec::new();
        let ours = offer.message();
        wire::open(&ours, &mut outbox);
        Self {
            conn,
            link,
            state: State::OpenSent,
            timers,
            framer: Framer::new(),
            outbox,
            woken: false,
            since: now,
            ours,
            peer_as: offer.peer_as,
            role_strict: offer.options.role_strict,
            send_hold: offer.options.send_hold_time,
        }
    }

    /// A session that is up already: an earlier process has exchanged these OPENs.
    pub(crate) fn resume(
        conn: ConnId,
        link: Link,
        ours: Open,
        agreed: Agreed,
        (age, silent): (Duration, Duration),
        now: Instant,
    ) -> Self {
        let mut timers = Timers::default();
        if !agreed.hold_time.is_zero() {
            timers.set(Timer::Hold, now + agreed.hold_time.saturating_sub(silent));
            // Who was away does not know when the peer last heard from us.
            timers.set(Timer::Keepalive, now);
        }
        Self {
            conn,
            link,
            timers,
            framer: Framer::new(),
            outbox: Vec::new(),
            woken: false,
            since: now.checked_sub(age).unwrap_or(now),
            ours,
            peer_as: PeerAs::Is(agreed.theirs.asn),
            role_strict: false,
            send_hold: None,
            state: State::Established(agreed),
        }
    }

    /// With this send hold time.
    pub(crate) fn with_send_hold(self, send_hold: Option<Duration>) -> Self {
        Self { send_hold, ..self }
    }

    pub(crate) fn step(&mut self, input: Input<'_, '_>, now: Instant) -> Step {
        use Message::{Keepalive, Notification as Notified, RouteRefresh, Update};
        match (&self.state, input) {
            (State::OpenSent, Input::Message(Message::Open(open))) => match self.agree(open) {
                Ok(agreed) => self.confirm(agreed, now),
                Err(refusal) => self.fail(refusal),
            },
            (State::OpenConfirm(agreed), Input::Message(Keepalive)) => {
                let agreed = agreed.clone();
                self.enter(State::Established(agreed), now);
                self.alive(now);
                Step::Up
            }
            (State::Established(_), Input::Message(Keepalive)) => {
                self.alive(now);
                Step::Stay
            }
            (State::Established(_), Input::Message(Update(_))) => {
                self.alive(now);
                Step::Update
            }
            (State::Established(_), Input::Message(RouteRefresh(family))) => {
                self.alive(now);
                Step::Refresh(*family)
            }
            // RFC 7313 §5: ignored unless the capability was exchanged.
            (State::Established(agreed), Input::Message(Message::RefreshMark(family, mark))) => {
                let agreed = agreed.enhanced_refresh;
                self.alive(now);
                if agreed { Step::Mark(*family, *mark) } else { Step::Stay }
            }
            (_, Input::Message(Notified(n))) => Step::Down(Cause::Received(n.clone())),
            (state, Input::Message(_)) => {
                let unexpected = state.unexpected();
                self.fail(unexpected)
            }
            (_, Input::Broken(error)) => self.fail(error.notification.clone()),
            (_, Input::Due(Timer::Hold)) => {
                wire::notification(&Notification::HOLD_TIMER_EXPIRED, &mut self.outbox);
                Step::Down(Cause::HoldTimerExpired)
            }
            (_, Input::Due(Timer::Keepalive)) => {
                self.keep_alive(now);
                Step::Stay
            }
            (_, Input::Due(Timer::SendHold)) => self.fail(Notification::SEND_HOLD_TIMER_EXPIRED),
        }
    }

    fn agree(&self, theirs: &Open) -> Result<Agreed, Notification> {
        let agreed = agree(&self.ours, theirs, self.peer_as)?;
        if self.role_strict && !role::is_said(theirs) {
            return Err(Notification::ROLE_MISMATCH);
        }
        Ok(agreed)
    }

    /// What both sides have agreed on; `None` before the peer's OPEN.
    pub(crate) const fn agreed(&self) -> Option<&Agreed> {
        match &self.state {
            State::OpenSent => None,
            State::OpenConfirm(agreed) | State::Established(agreed) => Some(agreed),
        }
    }

    /// See [`Agreed::ends_hard`].
    pub(crate) fn ends_hard(&self, notification: &Notification) -> bool {
        self.is_established() && self.agreed().is_some_and(|a| a.ends_hard(notification))
    }

    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    pub(crate) fn context(&self) -> Context {
        self.agreed().map(|a| a.context).unwrap_or_default()
    }

    /// The socket takes bytes: the peer reads.
    pub(crate) fn sending(&mut self, more: bool, now: Instant) {
        self.woken = more;
        if more { self.arm_send_hold(now) } else { self.timers.clear(Timer::SendHold) }
    }

    /// There is something to send: whether the shell must be told.
    pub(crate) fn wake(&mut self, now: Instant) -> bool {
        if self.woken {
            return false;
        }
        self.arm_send_hold(now);
        self.woken = true;
        true
    }

    fn arm_send_hold(&mut self, now: Instant) {
        if let Some(time) = self.send_hold_time() {
            self.timers.set(Timer::SendHold, now + time);
        }
    }

    /// What was pulled has been waiting for the socket since then: the peer does not read.
    pub(crate) fn stalled(&mut self, since: Instant) {
        self.arm_send_hold(since);
    }

    /// `None`: the peer may take its time for ever, or is not there yet. Without a hold time we do not
    /// decide by ourselves that a peer is dead.
    pub(crate) fn send_hold_time(&self) -> Option<Duration> {
        let State::Established(agreed) = &self.state else { return None };
        let by_itself = || SEND_HOLD.max(agreed.hold_time * 2);
        match self.send_hold {
            None => (!agreed.hold_time.is_zero()).then(by_itself),
            Some(time) => (!time.is_zero()).then_some(time),
        }
    }

    fn confirm(&mut self, agreed: Agreed, now: Instant) -> Step {
        wire::keepalive(&mut self.outbox);
        if !agreed.hold_time.is_zero() {
            self.timers.set(Timer::Keepalive, now + agreed.keepalive());
        }
        self.enter(State::OpenConfirm(agreed), now);
        self.alive(now);
        Step::Opened
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    /// The peer has been heard.
    fn alive(&mut self, now: Instant) {
        let Some(agreed) = self.agreed() else { return };
        let hold_time = agreed.hold_time;
        if hold_time.is_zero() {
            self.timers.clear(Timer::Hold);
        } else {
            self.timers.set(Timer::Hold, now + hold_time);
        }
    }

    /// One KEEPALIVE waits at most: to a peer that does not read, a second one says no more.
    fn keep_alive(&mut self, now: Instant) {
        let Some(agreed) = self.agreed() else { return };
        let next = now + agreed.keepalive();
        self.timers.set(Timer::Keepalive, next);
        if self.outbox.is_empty() {
            wire::keepalive(&mut self.outbox);
        }
    }

    fn fail(&mut self, notification: Notification) -> Step {
        wire::notification(&notification, &mut self.outbox);
        Step::Down(Cause::Sent(notification))
    }
}

impl State {
    /// RFC 6608 §4.
    const fn unexpected(&self) -> Notification {
        match self {
            Self::OpenSent => Notification::UNEXPECTED_IN_OPEN_SENT,
            Self::OpenConfirm(_) => Notification::UNEXPECTED_IN_OPEN_CONFIRM,
            Self::Established(_) => Notification::UNEXPECTED_IN_ESTABLISHED,
        }
    }
}
