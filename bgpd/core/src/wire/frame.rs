//! Cutting a byte stream into messages (RFC 4271 §4.1, §6.1).

use super::notification::DecodeError;
use super::reader::Reader;
use super::types::{Context, HEADER_LEN, MAX_EXTENDED_LEN, MAX_LEN, Notification};

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
    extended: bool,
}

impl Framer {
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, extended: false }
    }

    /// From the next message on it may be as long as the session has it now.
    pub const fn follow(&mut self, context: &Context) {
        self.extended = context.extended_messages;
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
        let length = match Header::read(pending, self.extended)? {
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
/// all if the first does not begin as it must. Those before such a one come first: they may be what
/// makes it right.
#[must_use]
pub fn ripe(bytes: &[u8], context: &Context) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match Header::read(rest, context.extended_messages) {
            Ok(Some(header)) if header.length <= rest.len() => at += header.length,
            Err(_) if at == 0 => return bytes.len(),
            _ => return at,
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
    pub(super) fn read(bytes: &[u8], extended: bool) -> Result<Option<Self>, DecodeError> {
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
        check_length(kind, length, extended)?;
        Ok(Some(Self { length: length.into(), kind }))
    }
}

fn check_length(kind: u8, length: u16, extended: bool) -> Result<(), DecodeError> {
    let longest = if extended { MAX_EXTENDED_LEN } else { MAX_LEN };
    let bounds = match kind {
        // RFC 8654 §3: it comes before anything is agreed on.
        OPEN => 29..=MAX_LEN,
        UPDATE => 23..=longest,
        NOTIFICATION => 21..=longest,
        KEEPALIVE => HEADER_LEN..=HEADER_LEN,
        // Its own error code tells a wrong length (RFC 7313 §5).
        _ => HEADER_LEN..=longest,
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
        let short = |bytes: &[u8]| ripe(bytes, &Context::BARE);
        assert_eq!((short(&[]), short(&two), short(&two[..37])), (0, 38, 19));
        let mut bad = two.clone();
        bad[19] = 0;
        assert_eq!(
            (short(&bad), short(&bad[19..])),
            (19, 19),
            "the good first, then what is refused"
        );
        let long = [&[0xff; 16][..], &[0xff, 0xff, 2]].concat();
        assert_eq!(short(&long), 19, "not waited for");
        let extended = Context { extended_messages: true, ..Context::BARE };
        assert_eq!(ripe(&long, &extended), 0, "waited for");
    }

    #[test]
    fn a_long_message_is_taken_once_both_sides_have_said_so() {
        let mut long = [&MARKER[..], &[0xff, 0xff, UPDATE]].concat();
        long.resize(MAX_EXTENDED_LEN, 0);
        let mut framer = Framer::new();
        framer.push(&KEEPALIVES);
        framer.push(&long);
        assert_eq!(framer.next(), Ok(Some(&KEEPALIVES[..])));
        assert!(framer.next().is_err());
        framer.follow(&Context { extended_messages: true, ..Context::BARE });
        assert_eq!(framer.next().map(|m| m.map(<[u8]>::len)), Ok(Some(MAX_EXTENDED_LEN)));
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
                let error = check_length(kind, length, false).unwrap_err();
                let expected = Notification::BAD_MESSAGE_LENGTH.with_data(&length.to_be_bytes());
                assert_eq!(error.notification, expected, "{kind} {length}");
            }
            let fits = |length, extended| check_length(kind, length, extended).is_ok();
            assert!(fits(least, false) && fits(most, false));
            assert_eq!(fits(65535, true), [UPDATE, NOTIFICATION].contains(&kind), "{kind}");
        }
        for kind in [0, 6, 255] {
            let expected = Notification::BAD_MESSAGE_TYPE.with_data(&[kind]);
            assert_eq!(check_length(kind, 19, false).unwrap_err().notification, expected);
        }
    }
}
