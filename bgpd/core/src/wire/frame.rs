//! Cutting a byte stream into messages (RFC 4271 §4.1, §6.1).

use super::notification::DecodeError;
use super::reader::Reader;
use super::types::{HEADER_LEN, MAX_LEN, Notification};

pub(super) const OPEN: u8 = 1;
pub(super) const UPDATE: u8 = 2;
pub(super) const NOTIFICATION: u8 = 3;
pub(super) const KEEPALIVE: u8 = 4;
pub(super) const ROUTE_REFRESH: u8 = 5;

pub(super) const MARKER: [u8; 16] = [0xff; 16];

/// Takes bytes as they come, cut anywhere, and gives whole messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Octets before this have been given out.
    start: usize,
}

impl Framer {
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), start: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message with its header; `None` until more bytes are pushed. After an error
    /// the stream is lost: it is all that will ever be given.
    #[allow(clippy::should_implement_trait, reason = "an Iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        let pending = self.buffer.get(self.start..).unwrap_or_default();
        let length = match Header::read(pending)? {
            Some(header) if header.length <= pending.len() => header.length,
            _ => {
                self.release();
                return Ok(None);
            }
        };
        let start = self.start;
        self.start += length;
        Ok(self.buffer.get(start..self.start))
    }

    /// How many octets of an unfinished message are held.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// A burst is not paid for afterwards: hundreds of idle peers should cost little.
    fn release(&mut self) {
        if self.buffer.capacity() > 4 * MAX_LEN {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.shrink_to(MAX_LEN);
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Of the whole message.
    pub(super) length: usize,
    pub(super) kind: u8,
}

impl Header {
    /// `None`: not all of it is there yet.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (Some(marker), Some(length), Some(kind)) =
            (reader.array::<16>(), reader.u16(), reader.u8())
        else {
            return Ok(None);
        };
        if marker != MARKER {
            return Err(DecodeError::new(
                Notification::CONNECTION_NOT_SYNCHRONIZED,
                "message does not start with the marker",
            ));
        }
        check_length(kind, length)?;
        Ok(Some(Self { length: length.into(), kind }))
    }
}

fn check_length(kind: u8, length: u16) -> Result<(), DecodeError> {
    let bounds = match kind {
        OPEN => 29..=MAX_LEN,
        UPDATE => 23..=MAX_LEN,
        NOTIFICATION => 21..=MAX_LEN,
        KEEPALIVE => HEADER_LEN..=HEADER_LEN,
        // Its own error code tells a wrong length (RFC 7313 §5).
        _ => HEADER_LEN..=MAX_LEN,
    };
    if !bounds.contains(&length.into()) {
        return Err(bad_length(length, &format!("{} message has the length {length}", name(kind))));
    }
    if !(OPEN..=ROUTE_REFRESH).contains(&kind) {
        let notification = Notification::BAD_MESSAGE_TYPE.with_data(&[kind]);
        return Err(DecodeError::new(notification, format!("message has the unknown type {kind}")));
    }
    Ok(())
}

/// RFC 4271 §6.1: the data are the erroneous Length field.
pub(super) fn bad_length(length: u16, text: &str) -> DecodeError {
    let notification = Notification::BAD_MESSAGE_LENGTH.with_data(&length.to_be_bytes());
    DecodeError::new(notification, text)
}

const fn name(kind: u8) -> &'static str {
    match kind {
        OPEN => "OPEN",
        UPDATE => "UPDATE",
        NOTIFICATION => "NOTIFICATION",
        KEEPALIVE => "KEEPALIVE",
        ROUTE_REFRESH => "ROUTE-REFRESH",
        _ => "unknown",
    }
}
