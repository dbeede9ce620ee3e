//! One cache's client (RFC 8210 §8), without IO: bytes in, bytes out, and the set it ends up with.
//!
//! What a cache said is kept while it is away, until it expires (§6); only a whole answer counts, so
//! that half of one never makes a route invalid. It begins with version 1 and goes down to 0 for a
//! cache that knows no better (§7).

use super::pdu::{self, Bad, Pdu, Timing, code};
use super::{Table, Vrp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than all of the internet's, several times over.
pub const MOST_VRPS: usize = 4_000_000;
/// A cache that has been asked and says nothing more.
const PATIENCE: Duration = Duration::from_secs(60);
const NEWEST: u8 = 1;

/// What the configuration says instead of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    pub refresh: Option<Duration>,
    pub retry: Option<Duration>,
    pub expire: Option<Duration>,
}

#[derive(Debug)]
pub struct Client {
    times: Times,
    said: Option<Timing>,
    version: u8,
    /// The cache has answered in this version.
    settled: bool,
    phase: Phase,
    buffer: Vec<u8>,
    /// Session and serial of `vrps`.
    state: Option<(u16, u32)>,
    /// Sorted, without repetition.
    vrps: Arc<Table>,
    /// When the last whole answer was there.
    fresh: Option<Instant>,
    last_error: Option<String>,
    updates: u64,
}

#[derive(Debug)]
enum Phase {
    Away,
    /// Asked for all of it, or for what has changed; since when nothing has come.
    Asked {
        since: Instant,
    },
    Reading {
        session: u16,
        reset: bool,
        since: Instant,
        changes: Vec<(Vrp, bool)>,
    },
    /// Up to date; when to ask again.
    Idle {
        until: Instant,
    },
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Nothing,
    /// [`Client::table`] is another one now.
    Changed,
    /// Close the connection, with what there is to say before.
    Close,
}

impl Client {
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            times,
            said: None,
            version: NEWEST,
            settled: false,
            phase: Phase::Away,
            buffer: Vec::new(),
            state: None,
            vrps: Arc::default(),
            fresh: None,
            last_error: None,
            updates: 0,
        }
    }

    /// The last whole answer, while it counts.
    #[must_use]
    pub const fn table(&self) -> &Arc<Table> {
        &self.vrps
    }

    /// Whether there is an answer that counts.
    #[must_use]
    pub const fn has_data(&self) -> bool {
        self.fresh.is_some()
    }

    /// Whether that answer is from the connection that is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.fresh.is_some() && !matches!(self.phase, Phase::Away)
    }

    #[must_use]
    pub const fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Away)
    }

    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// Session and serial number.
    #[must_use]
    pub const fn state(&self) -> Option<(u16, u32)> {
        self.state
    }

    /// When the last answer was whole.
    #[must_use]
    pub const fn fresh(&self) -> Option<Instant> {
        self.fresh
    }

    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Whole answers so far.
    #[must_use]
    pub const fn updates(&self) -> u64 {
        self.updates
    }

    /// How long to wait before it is dialled again.
    #[must_use]
    pub fn retry(&self) -> Duration {
        let range = Duration::from_secs(1)..=Duration::from_secs(7200);
        let asked = self.times.retry.or_else(|| self.said.map(|t| t.retry));
        asked.unwrap_or(Duration::from_secs(600)).clamp(*range.start(), *range.end())
    }

    fn refresh(&self) -> Duration {
        let asked = self.times.refresh.or_else(|| self.said.map(|t| t.refresh));
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(86_400));
        asked.unwrap_or(Duration::from_secs(3600)).clamp(least, most)
    }

    /// RFC 8210 §6: at most two days.
    #[must_use]
    pub fn expire(&self) -> Duration {
        let asked = self.times.expire.or_else(|| self.said.map(|t| t.expire));
        let (least, most) = (Duration::from_secs(10), Duration::from_secs(172_800));
        asked.unwrap_or(Duration::from_secs(7200)).clamp(least, most)
    }

    /// When [`due`](Self::due) is to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Away => None,
            Phase::Asked { since } | Phase::Reading { since, .. } => Some(*since + PATIENCE),
            Phase::Idle { until } => Some(*until),
        };
        phase.into_iter().chain(self.fresh.map(|at| at + self.expire())).min()
    }

    /// A connection is up.
    pub fn connected(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.buffer.clear();
        self.settled = false;
        self.ask(now, out);
    }

    /// It is gone, or could not be had.
    pub fn closed(&mut self, why: impl Into<String>) {
        // One that ends the connection instead of an answer may know the oldest version alone.
        let silent = matches!(self.phase, Phase::Asked { .. }) && !self.settled;
        self.version = if silent && self.version > 0 { 0 } else { NEWEST };
        self.phase = Phase::Away;
        self.buffer = Vec::new();
        self.last_error = Some(why.into());
    }

    fn ask(&mut self, now: Instant, out: &mut Vec<u8>) {
        match self.state {
            Some((session, serial)) => pdu::serial_query(self.version, session, serial, out),
            None => pdu::reset_query(self.version, out),
        }
        self.phase = Phase::Asked { since: now };
    }

    /// A deadline has passed.
    pub fn due(&mut self, now: Instant, out: &mut Vec<u8>) -> Outcome {
        match &self.phase {
            Phase::Asked { since } | Phase::Reading { since, .. } if *since + PATIENCE <= now => {
                self.closed("the cache does not answer");
                return Outcome::Close;
            }
            Phase::Idle { until } if *until <= now => self.ask(now, out),
            _ => {}
        }
        if self.fresh.is_some_and(|at| at + self.expire() <= now) {
            self.forget();
            return Outcome::Changed;
        }
        Outcome::Nothing
    }

    /// Nothing that this cache has said counts any more.
    fn forget(&mut self) {
        (self.state, self.fresh, self.vrps) = (None, None, Arc::default());
    }

    pub fn received(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<u8>) -> Outcome {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        let mut outcome = Outcome::Nothing;
        while outcome != Outcome::Close {
            let next = pdu::decode(buffer.get(at..).unwrap_or_default());
            let step = match next {
                Ok(None) => break,
                Ok(Some((version, length, pdu))) => {
                    at += length;
                    self.pdu(version, pdu, now, out)
                }
                Err(bad) => Err(bad),
            };
            match step {
                Ok(Outcome::Nothing) => {}
                Ok(other) => outcome = other,
                Err(bad) => {
                    pdu::error_report(self.version, &bad, out);
                    // What was agreed on is no longer sure: all of it is asked for next time.
                    self.state = None;
                    self.closed(bad.text);
                    outcome = Outcome::Close;
                }
            }
        }
        buffer.drain(..at);
        if buffer.capacity() > 1 << 16 && buffer.len() < 1 << 12 {
            buffer.shrink_to(1 << 12);
        }
        if outcome != Outcome::Close {
            self.buffer = buffer;
        }
        outcome
    }

    fn pdu(
        &mut self,
        version: u8,
        pdu: Pdu,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Bad> {
        if let Pdu::Error { code, text } = pdu {
            return Ok(self.refused(version, code, &text, now, out));
        }
        // RFC 8210 §7: a notification may come before the version is settled.
        if version != self.version && !matches!(pdu, Pdu::SerialNotify { .. }) {
            self.lower(version)?;
        }
        match pdu {
            Pdu::SerialNotify { session, serial } => {
                let news = self.state != Some((session, serial));
                if news && matches!(self.phase, Phase::Idle { .. }) {
                    self.ask(now, out);
                }
                Ok(Outcome::Nothing)
            }
            Pdu::CacheResponse { session } => self.begin(session, now),
            Pdu::Payload { announced, vrp } => self.keep(vrp, announced, now),
            Pdu::Ignored => Ok(Outcome::Nothing),
            Pdu::EndOfData { session, serial, timing } => self.end(session, serial, timing, now),
            Pdu::CacheReset => {
                self.state = None;
                self.ask(now, out);
                Ok(Outcome::Nothing)
            }
            Pdu::Error { .. } => Ok(Outcome::Nothing),
        }
    }

    /// RFC 8210 §7: an older cache answers in its own version.
    fn lower(&mut self, version: u8) -> Result<(), Bad> {
        if self.settled || version > self.version {
            let text = format!("version {version} where {} was spoken", self.version);
            return Err(Bad::new(code::UNEXPECTED_VERSION, text));
        }
        self.version = version;
        Ok(())
    }

    fn refused(
        &mut self,
        version: u8,
        code: u16,
        text: &str,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if code == code::UNSUPPORTED_VERSION && !self.settled && self.version > 0 {
            self.version = version.min(self.version - 1);
            self.ask(now, out);
            return Outcome::Nothing;
        }
        let name = match code {
            code::NO_DATA => "it has no data yet".to_owned(),
            code => format!("error {code}"),
        };
        let why = if text.is_empty() { name } else { format!("{name}: {text}") };
        self.state = self.state.filter(|_| code == code::NO_DATA);
        self.closed(format!("the cache says {why}"));
        Outcome::Close
    }

    fn begin(&mut self, session: u16, now: Instant) -> Result<Outcome, Bad> {
        if !matches!(self.phase, Phase::Asked { .. }) {
            return Err(Bad::new(code::CORRUPT_DATA, "an answer that was not asked for"));
        }
        self.settled = true;
        let reset = match self.state {
            None => true,
            Some((ours, _)) if ours == session => false,
            Some(_) => {
                // RFC 8210 §5.1: another session, whose serial numbers mean nothing to us.
                self.state = None;
                return Err(Bad::new(code::CORRUPT_DATA, "another session than that asked for"));
            }
        };
        self.phase = Phase::Reading { session, reset, since: now, changes: Vec::new() };
        Ok(Outcome::Nothing)
    }

    fn keep(&mut self, vrp: Vrp, announced: bool, now: Instant) -> Result<Outcome, Bad> {
        let Phase::Reading { since, changes, .. } = &mut self.phase else {
            return Err(Bad::new(code::CORRUPT_DATA, "a prefix outside of an answer"));
        };
        if changes.len() >= MOST_VRPS {
            let text = format!("more than {MOST_VRPS} prefixes in one answer");
            return Err(Bad::new(code::CORRUPT_DATA, text));
        }
        *since = now;
        changes.push((vrp, announced));
        Ok(Outcome::Nothing)
    }

    fn end(
        &mut self,
        session: u16,
        serial: u32,
        timing: Option<Timing>,
        now: Instant,
    ) -> Result<Outcome, Bad> {
        let Phase::Reading { session: begun, reset, changes, .. } = &mut self.phase else {
            return Err(Bad::new(code::CORRUPT_DATA, "an end without a beginning"));
        };
        if *begun != session {
            return Err(Bad::new(code::CORRUPT_DATA, "an end of another session"));
        }
        let base = if *reset { Arc::default() } else { Arc::clone(&self.vrps) };
        let vrps = apply(&base, std::mem::take(changes))?;
        self.said = timing.or(self.said);
        self.state = Some((session, serial));
        self.fresh = Some(now);
        self.last_error = None;
        self.updates += 1;
        self.phase = Phase::Idle { until: now + self.refresh() };
        self.vrps = Arc::new(vrps);
        Ok(Outcome::Changed)
    }
}

/// Both sorted, then one pass. An answer may withdraw what it has announced, and the other way round:
/// the last word counts, and it must be news (RFC 8210 §5.6).
fn apply(base: &Table, mut changes: Vec<(Vrp, bool)>) -> Result<Table, Bad> {
    changes.sort_by_key(|(vrp, _)| *vrp);
    let mut old = base.iter().peekable();
    let mut new = Vec::with_capacity(base.len() + changes.len());
    for group in changes.chunk_by(|a, b| a.0 == b.0) {
        let Some((vrp, _)) = group.first() else { continue };
        while let Some(before) = old.next_if(|o| o < vrp) {
            new.push(before);
        }
        let mut there = old.next_if_eq(vrp).is_some();
        for (vrp, announced) in group {
            if there == *announced {
                let code = if *announced { code::DUPLICATE } else { code::UNKNOWN_WITHDRAWAL };
                let what = if *announced { "announced twice" } else { "withdrawn, but not there" };
                return Err(Bad::new(code, format!("{} AS{} {what}", vrp.prefix, vrp.asn)));
            }
            there = *announced;
        }
        if there {
            new.push(*vrp);
        }
    }
    new.extend(old);
    if new.len() > MOST_VRPS {
        return Err(Bad::new(code::CORRUPT_DATA, format!("more than {MOST_VRPS} prefixes")));
    }
    Ok(Table::from_sorted(&new))
}

#[cfg(test)]
mod tests;
