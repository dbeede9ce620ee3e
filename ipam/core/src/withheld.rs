//! What keeps an address from being handed out, whatever its slot says: an operator's hold, or the
//! kernel's evidence that somebody uses it. One address may have both.

use crate::pool::Periods;
use crate::record::{Record, Stamp};
use crate::time::Moment;
use std::net::IpAddr;
use std::time::Duration;

/// How long the traces of a sandbox that is being taken down may stay after its DEL: its plugins
/// release the address first and remove its interface next. The owner may return meanwhile; nobody
/// else may.
pub const TAKING_DOWN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Withheld {
    pub hold: Option<Hold>,
    pub in_use: Option<InUse>,
}

/// By an operator; nobody gets the address, not even its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub why: String,
    pub since: Stamp,
}

/// Quarantine: somebody was seen with an address that is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// In words: `host route via veth1`.
    pub evidence: String,
    pub since: Stamp,
    /// When the evidence was gone; from then on a full cooldown has to pass.
    pub gone: Option<Stamp>,
}

impl Withheld {
    /// To persist it, or that there is nothing any more.
    pub(crate) fn record(&self, address: IpAddr) -> Record {
        if self.is_empty() {
            Record::Unwithheld(address)
        } else {
            Record::Withheld(address, Box::new(self.clone()))
        }
    }

    /// When its quarantine ends by itself, if nothing else keeps it.
    pub(crate) fn free_in(&self, periods: Periods) -> Option<Duration> {
        let gone = self.in_use.as_ref()?.gone.filter(|_| self.hold.is_none())?;
        Some(periods.cooling(gone.moment).unwrap_or_default())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.hold.is_none() && self.in_use.is_none()
    }

    /// The latest moment this record knows to have passed.
    pub(crate) fn latest(&self) -> Moment {
        let hold = self.hold.as_ref().map(|h| h.since.moment);
        let in_use =
            self.in_use.as_ref().map(|u| u.gone.unwrap_or(u.since).moment.max(u.since.moment));
        hold.max(in_use).unwrap_or_default()
    }
}
