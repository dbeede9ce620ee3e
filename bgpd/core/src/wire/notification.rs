//! NOTIFICATION codes, their names, and the errors that carry them.

use super::reader::Reader;
use super::types::{AfiSafi, Notification};

/// What a peer sent cannot be understood, and RFC 7606 does not save the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DecodeError {
    /// What to tell the peer before closing.
    pub notification: Notification,
    /// "OPEN has the hold time 2 s; it must be 0 or at least 3"
    pub text: String,
}

impl DecodeError {
    pub(super) fn new(notification: Notification, text: impl Into<String>) -> Self {
        Self { notification, text: text.into() }
    }
}

/// Subcodes of Cease (RFC 4486, RFC 8538 §3, RFC 9384).
pub mod cease {
    pub const MAXIMUM_PREFIXES: u8 = 1;
    pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    pub const PEER_DECONFIGURED: u8 = 3;
    pub const ADMINISTRATIVE_RESET: u8 = 4;
    pub const CONNECTION_REJECTED: u8 = 5;
    pub const OTHER_CONFIGURATION_CHANGE: u8 = 6;
    pub const CONNECTION_COLLISION: u8 = 7;
    pub const OUT_OF_RESOURCES: u8 = 8;
    pub const HARD_RESET: u8 = 9;
    pub const BFD_DOWN: u8 = 10;
}

impl Notification {
    pub const CONNECTION_NOT_SYNCHRONIZED: Self = Self::bare(1, 1);
    pub const BAD_MESSAGE_LENGTH: Self = Self::bare(1, 2);
    pub const BAD_MESSAGE_TYPE: Self = Self::bare(1, 3);
    /// An optional parameter or a capability is known and malformed (RFC 4271 §6.2).
    pub const MALFORMED_OPEN: Self = Self::bare(2, 0);
    pub const UNSUPPORTED_VERSION: Self = Self::bare(2, 1);
    pub const BAD_PEER_AS: Self = Self::bare(2, 2);
    pub const BAD_BGP_IDENTIFIER: Self = Self::bare(2, 3);
    pub const UNSUPPORTED_OPTIONAL_PARAMETER: Self = Self::bare(2, 4);
    pub const UNACCEPTABLE_HOLD_TIME: Self = Self::bare(2, 6);
    pub const UNSUPPORTED_CAPABILITY: Self = Self::bare(2, 7);
    /// RFC 9234 §4.2.
    pub const ROLE_MISMATCH: Self = Self::bare(2, 11);
    pub const HOLD_TIMER_EXPIRED: Self = Self::bare(4, 0);
    pub const FSM_ERROR: Self = Self::bare(5, 0);
    /// RFC 6608 §3, as the two below.
    pub const UNEXPECTED_IN_OPEN_SENT: Self = Self::bare(5, 1);
    pub const UNEXPECTED_IN_OPEN_CONFIRM: Self = Self::bare(5, 2);
    pub const UNEXPECTED_IN_ESTABLISHED: Self = Self::bare(5, 3);
    /// RFC 9687 §4.
    pub const SEND_HOLD_TIMER_EXPIRED: Self = Self::bare(8, 0);

    #[must_use]
    pub const fn bare(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new() }
    }

    /// One of the [`cease`] subcodes.
    #[must_use]
    pub const fn cease(subcode: u8) -> Self {
        Self::bare(6, subcode)
    }

    #[must_use]
    pub fn with_data(self, data: &[u8]) -> Self {
        Self { data: data.to_vec(), ..self }
    }

    /// Cease with a text for the peer's operator (RFC 9003 §2), cut to what fits.
    #[must_use]
    pub fn shutdown(subcode: u8, text: &str) -> Self {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default().as_bytes();
        let mut data = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
        data.extend_from_slice(text);
        Self { code: 6, subcode, data }
    }

    /// Whether the peer asks that its routes be dropped although graceful restart with RFC 8538
    /// was agreed.
    #[must_use]
    pub const fn is_hard_reset(&self) -> bool {
        self.code == 6 && self.subcode == cease::HARD_RESET
    }

    /// This one as a hard reset: its receiver keeps no routes (RFC 8538 §3.1).
    #[must_use]
    pub fn hard(&self) -> Self {
        let data = [&[self.code, self.subcode], self.data.as_slice()].concat();
        Self::cease(cease::HARD_RESET).with_data(&data)
    }

    /// What a hard reset carries: another NOTIFICATION's code, subcode and data (RFC 8538 §3.1).
    /// Another hard reset in there is not looked into.
    #[must_use]
    pub fn inner(&self) -> Option<Self> {
        let mut data = Reader::new(&self.data);
        let read =
            || Some(Self { code: data.u8()?, subcode: data.u8()?, data: data.rest().to_vec() });
        let inner = self.is_hard_reset().then(read).flatten();
        inner.filter(|inner| !inner.is_hard_reset())
    }

    /// `2/2 (bad peer AS)`; `6/2 (administrative shutdown: "back at noon")`.
    #[must_use]
    pub fn describe(&self) -> String {
        let name = name(self.code, self.subcode).unwrap_or("unknown");
        let detail = match (self.code, self.subcode) {
            (6, cease::ADMINISTRATIVE_SHUTDOWN | cease::ADMINISTRATIVE_RESET) => {
                self.operator_text()
            }
            (6, cease::MAXIMUM_PREFIXES) => self.bound_text(),
            (6, cease::HARD_RESET) => self.inner().map(|inner| inner.describe()),
            (2, 2) | (6, _) => None,
            _ => self.data_text(),
        };
        let detail = detail.map(|d| format!(": {d}")).unwrap_or_default();
        format!("{}/{} ({name}{detail})", self.code, self.subcode)
    }

    /// RFC 9003 §2. The text is the peer's: control characters are escaped.
    fn operator_text(&self) -> Option<String> {
        let text = Reader::new(&self.data).after_u8().filter(|t| !t.is_empty())?;
        let text = String::from_utf8_lossy(text);
        Some(format!("{text:?}"))
    }

    /// RFC 4486 §4.
    fn bound_text(&self) -> Option<String> {
        let mut data = Reader::new(&self.data);
        let family = AfiSafi { afi: data.u16()?, safi: data.u8()? };
        Some(format!("{family}: {}", data.u32()?))
    }

    fn data_text(&self) -> Option<String> {
        const SHOWN: usize = 32;
        let shown = self.data.iter().take(SHOWN).map(|b| format!("{b:02x}")).collect::<String>();
        let more = if self.data.len() > SHOWN { "…" } else { "" };
        (!shown.is_empty()).then(|| format!("{shown}{more}"))
    }
}

/// RFC 4271 §4.5 and the IANA registry after it.
const fn name(code: u8, subcode: u8) -> Option<&'static str> {
    Some(match (code, subcode) {
        (1, 1) => "connection not synchronized",
        (1, 2) => "bad message length",
        (1, 3) => "bad message type",
        (1, _) => "message header error",
        (2, 1) => "unsupported version number",
        (2, 2) => "bad peer AS",
        (2, 3) => "bad BGP identifier",
        (2, 4) => "unsupported optional parameter",
        (2, 6) => "unacceptable hold time",
        (2, 7) => "unsupported capability",
        (2, 11) => "role mismatch",
        (2, _) => "OPEN message error",
        (3, 1) => "malformed attribute list",
        (3, 2) => "unrecognized well-known attribute",
        (3, 3) => "missing well-known attribute",
        (3, 4) => "attribute flags error",
        (3, 5) => "attribute length error",
        (3, 6) => "invalid ORIGIN attribute",
        (3, 8) => "invalid NEXT_HOP attribute",
        (3, 9) => "optional attribute error",
        (3, 10) => "invalid network field",
        (3, 11) => "malformed AS_PATH",
        (3, _) => "UPDATE message error",
        (4, _) => "hold timer expired",
        (5, 1) => "unexpected message in OpenSent",
        (5, 2) => "unexpected message in OpenConfirm",
        (5, 3) => "unexpected message in Established",
        (5, _) => "finite state machine error",
        (6, cease::MAXIMUM_PREFIXES) => "maximum number of prefixes reached",
        (6, cease::ADMINISTRATIVE_SHUTDOWN) => "administrative shutdown",
        (6, cease::PEER_DECONFIGURED) => "peer de-configured",
        (6, cease::ADMINISTRATIVE_RESET) => "administrative reset",
        (6, cease::CONNECTION_REJECTED) => "connection rejected",
        (6, cease::OTHER_CONFIGURATION_CHANGE) => "other configuration change",
        (6, cease::CONNECTION_COLLISION) => "connection collision resolution",
        (6, cease::OUT_OF_RESOURCES) => "out of resources",
        (6, cease::HARD_RESET) => "hard reset",
        (6, cease::BFD_DOWN) => "BFD down",
        (6, _) => "cease",
        (7, 1) => "invalid ROUTE-REFRESH message length",
        (7, _) => "ROUTE-REFRESH message error",
        (8, _) => "send hold timer expired",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_text_is_cut_between_characters() {
        let long = "ü".repeat(200);
        let notification = Notification::shutdown(cease::ADMINISTRATIVE_SHUTDOWN, &long);
        assert_eq!(notification.data.len(), 255);
        let text = notification.describe();
        assert!(text.contains(&"ü".repeat(127)) && !text.contains('\u{fffd}'), "{text}");
        assert_eq!(
            Notification::shutdown(cease::ADMINISTRATIVE_RESET, "").describe(),
            "6/4 (administrative reset)"
        );
    }

    #[test]
    fn hard_resets_inside_hard_resets_are_not_followed() {
        let data = [6, cease::HARD_RESET].repeat(2000);
        let text = Notification::cease(cease::HARD_RESET).with_data(&data).describe();
        assert_eq!(text, "6/9 (hard reset)");
    }

    #[test]
    fn codes_are_shown_with_their_names() {
        assert_eq!(Notification::BAD_PEER_AS.describe(), "2/2 (bad peer AS)");
        assert_eq!(Notification::HOLD_TIMER_EXPIRED.describe(), "4/0 (hold timer expired)");
        assert_eq!(
            Notification::bare(3, 10).with_data(&[33]).describe(),
            "3/10 (invalid network field: 21)"
        );
        assert_eq!(Notification::cease(200).describe(), "6/200 (cease)");
        let many = Notification::cease(cease::MAXIMUM_PREFIXES).with_data(&[0, 2, 1, 0, 0, 3, 232]);
        assert_eq!(many.describe(), "6/1 (maximum number of prefixes reached: ipv6-unicast: 1000)");
        assert_eq!(Notification::bare(99, 0).describe(), "99/0 (unknown)");
    }
}
