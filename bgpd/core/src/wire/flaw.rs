//! What is wrong with an UPDATE's attributes, and what follows from it (RFC 7606 §2).

use super::attribute::{self as code, Attribute};
use super::notification::DecodeError;
use super::types::{Notification, UpdateFault};

/// From weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Discard,
    Withdraw,
    Reset,
}

#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) verdict: Verdict,
    /// Sent only if the session ends after all.
    notification: Notification,
    text: String,
}

impl Flaw {
    /// The value cannot be what it says.
    pub(super) fn malformed(attribute: &Attribute<'_>, subcode: u8, why: &str) -> Self {
        Self::about(attribute, when_malformed(attribute.code), subcode, why)
    }

    pub(super) fn wrong_length(attribute: &Attribute<'_>) -> Self {
        Self::malformed(attribute, 5, &format!("has the length {}", attribute.value.len()))
    }

    /// RFC 7606 §3 c.
    pub(super) fn wrong_flags(attribute: &Attribute<'_>) -> Self {
        let why = format!("has the flags {:#04x}", attribute.flags);
        Self::about(attribute, Verdict::Withdraw, 4, &why)
    }

    /// RFC 7606 §3 g: the first one counts, except where prefixes would be lost.
    pub(super) fn repeated(attribute: &Attribute<'_>) -> Self {
        let verdict = if has_prefixes(attribute.code) { Verdict::Reset } else { Verdict::Discard };
        Self {
            notification: Notification::bare(3, 1),
            ..Self::about(attribute, verdict, 1, "appears twice")
        }
    }

    pub(super) fn unexpected(attribute: &Attribute<'_>) -> Self {
        Self::about(attribute, Verdict::Discard, 9, "does not belong in this session")
    }

    pub(super) fn unrecognized(attribute: &Attribute<'_>) -> Self {
        Self::about(attribute, Verdict::Reset, 2, "is marked well-known")
    }

    /// RFC 7606 §4. If it was the attribute with the prefixes, they cannot be found (§3 j).
    pub(super) fn cut_short(code: Option<u8>) -> Self {
        let is_lost = code.is_some_and(has_prefixes);
        let name = code.map_or("an attribute", code::name);
        Self {
            verdict: if is_lost { Verdict::Reset } else { Verdict::Withdraw },
            notification: Notification::bare(3, 1),
            text: format!("{name} goes beyond the end of the attributes"),
        }
    }

    /// RFC 7606 §3 d; the data are the attribute's code (RFC 4271 §6.3).
    pub(super) fn missing(code: u8) -> Self {
        Self {
            verdict: Verdict::Withdraw,
            notification: Notification::bare(3, 3).with_data(&[code]),
            text: format!("{} is missing", code::name(code)),
        }
    }

    pub(super) fn invalid_next_hop(text: String) -> Self {
        Self { verdict: Verdict::Withdraw, notification: Notification::bare(3, 8), text }
    }

    /// The data are the attribute, but for AS_PATH, where RFC 4271 §6.3 names none.
    fn about(attribute: &Attribute<'_>, verdict: Verdict, subcode: u8, why: &str) -> Self {
        let data = if subcode == 11 { &[] } else { attribute.whole };
        let number = match code::flags(attribute.code) {
            Some(_) => String::new(),
            None => format!(" {}", attribute.code),
        };
        Self {
            verdict,
            notification: Notification::bare(3, subcode).with_data(data),
            text: format!("{}{number} {why}", attribute.name()),
        }
    }

    pub(super) fn is_reset(&self) -> bool {
        self.verdict == Verdict::Reset
    }
}

impl From<Flaw> for DecodeError {
    fn from(flaw: Flaw) -> Self {
        Self { notification: flaw.notification, text: flaw.text }
    }
}

impl From<Flaw> for UpdateFault {
    fn from(flaw: Flaw) -> Self {
        Self { withdraw: flaw.verdict != Verdict::Discard, text: flaw.text }
    }
}

const fn has_prefixes(code: u8) -> bool {
    matches!(code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI)
}

/// RFC 7606 §7 and RFC 6793 §6: without these a route is as good; with broken prefixes nothing is.
const fn when_malformed(code: u8) -> Verdict {
    match code {
        code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => Verdict::Reset,
        code::ATOMIC_AGGREGATE | code::AGGREGATOR | code::AS4_PATH | code::AS4_AGGREGATOR => {
            Verdict::Discard
        }
        _ => Verdict::Withdraw,
    }
}
