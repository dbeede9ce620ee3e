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

/// How many of these octets, which begin a message, can be made sense of now: whole messages, or
/// all if one of them does not begin as it must.
#[must_use]
pub fn ripe(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match Header::read(rest) {
            Ok(Some(header)) if header.length <= rest.len() => at += header.length,
            Ok(_) => return at,
            Err(_) => return bytes.len(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVES: [u8; HEADER_LEN] =
        [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4];

    #[test]
    fn a_burst_is_given_out_and_its_memory_given_back() {
        let mut framer = Framer::new();
        framer.push(&KEEPALIVES.repeat(100_000));
        framer.push(&[255; 5]);
        let mut count = 0;
        while framer.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!((count, framer.pending()), (100_000, 5));
        assert!(framer.buffer.capacity() <= MAX_LEN);
        framer.push(&KEEPALIVES[5..]);
        assert_eq!(framer.next(), Ok(Some(&KEEPALIVES[..])));
    }

    #[test]
    fn ripe_are_whole_messages_and_what_begins_none() {
        let two = KEEPALIVES.repeat(2);
        assert_eq!((ripe(&[]), ripe(&two), ripe(&two[..37])), (0, 38, 19));
        let mut bad = two.clone();
        bad[19] = 0;
        assert_eq!(ripe(&bad), 38, "the whole of it, to be refused");
        let long = [&[0xff; 16][..], &[0xff, 0xff, 2]].concat();
        assert_eq!(ripe(&long), 19, "not waited for");
    }

    #[test]
    fn after_an_error_nothing_but_the_error_comes() {
        let mut framer = Framer::new();
        framer.push(&[0; 19]);
        let error = framer.next().unwrap_err();
        framer.push(&KEEPALIVES);
        assert_eq!(framer.next().unwrap_err(), error);
        assert_eq!(error.notification, Notification::CONNECTION_NOT_SYNCHRONIZED);
    }

    #[test]
    fn each_type_has_its_bounds() {
        let bounds =
            [(OPEN, 29, 4096), (UPDATE, 23, 4096), (NOTIFICATION, 21, 4096), (KEEPALIVE, 19, 19)];
        for (kind, least, most) in bounds {
            for length in [0, 18, least - 1, most + 1, 65535] {
                let error = check_length(kind, length).unwrap_err();
                let expected = Notification::BAD_MESSAGE_LENGTH.with_data(&length.to_be_bytes());
                assert_eq!(error.notification, expected, "{kind} {length}");
            }
            assert!(check_length(kind, least).is_ok() && check_length(kind, most).is_ok());
        }
        for kind in [0, 6, 255] {
            let expected = Notification::BAD_MESSAGE_TYPE.with_data(&[kind]);
            assert_eq!(check_length(kind, 19).unwrap_err().notification, expected);
        }
    }
}
