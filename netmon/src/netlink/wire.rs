//! Netlink messages and attributes, read in place.
//!
//! Every length is checked against what is there, whoever wrote it: a monitor must outlive a
//! kernel newer than itself. Attributes that we do not know are passed over.

/// Bytes that are not what they should be: what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// One `nlmsghdr` and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

const HEADER: usize = 16;
const ALIGN: usize = 4;

/// The messages of one datagram. Ends after the first malformed one.
pub(crate) fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { rest: bytes }
}

#[derive(Debug, Clone)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (message, rest) = match message(self.rest) {
            Ok(parts) => parts,
            Err(e) => {
                self.rest = &[];
                return Some(Err(e));
            }
        };
        self.rest = rest;
        Some(Ok(message))
    }
}

fn message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    let length = u32_at(bytes, 0).ok_or(Malformed("message header"))? as usize;
    let (whole, rest) = cut(bytes, length, HEADER).ok_or(Malformed("message length"))?;
    let field = |at| u16_at(whole, at).ok_or(Malformed("message header"));
    let message = Message {
        kind: field(4)?,
        flags: field(6)?,
        sequence: u32_at(whole, 8).ok_or(Malformed("message header"))?,
        body: whole.get(HEADER..).unwrap_or_default(),
    };
    Ok((message, rest))
}

/// One `nlattr`, without its nesting and byte order flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
}

/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are flags in the type.
const TYPE_MASK: u16 = 0x3fff;

/// The attributes of one message or nest. Ends after the first malformed one.
pub(crate) fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (attribute, rest) = match attribute(self.rest) {
            Ok(parts) => parts,
            Err(e) => {
                self.rest = &[];
                return Some(Err(e));
            }
        };
        self.rest = rest;
        Some(Ok(attribute))
    }
}

fn attribute(bytes: &[u8]) -> Result<(Attribute<'_>, &[u8]), Malformed> {
    let length = u16_at(bytes, 0).ok_or(Malformed("attribute header"))?;
    let kind = u16_at(bytes, 2).ok_or(Malformed("attribute header"))? & TYPE_MASK;
    let (whole, rest) = cut(bytes, length.into(), 4).ok_or(Malformed("attribute length"))?;
    Ok((Attribute { kind, value: whole.get(4..).unwrap_or_default() }, rest))
}

impl<'a> Attribute<'a> {
    pub(crate) fn u8(&self) -> Result<u8, Malformed> {
        self.value.first().copied().ok_or(Malformed("8-bit attribute"))
    }

    pub(crate) fn u32(&self) -> Result<u32, Malformed> {
        u32_at(self.value, 0).ok_or(Malformed("32-bit attribute"))
    }

    /// In network byte order, as netfilter writes them.
    pub(crate) fn be32(&self) -> Result<u32, Malformed> {
        let bytes = self.value.first_chunk().ok_or(Malformed("32-bit attribute"))?;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// In network byte order, as netfilter writes them.
    pub(crate) fn be64(&self) -> Result<u64, Malformed> {
        let bytes = self.value.first_chunk().ok_or(Malformed("64-bit attribute"))?;
        Ok(u64::from_be_bytes(*bytes))
    }

    /// Up to the first NUL.
    pub(crate) fn text(&self) -> Result<&'a str, Malformed> {
        let bytes = self.value.split(|b| *b == 0).next().unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| Malformed("text attribute"))
    }

    pub(crate) fn nested(&self) -> Attributes<'a> {
        attributes(self.value)
    }
}

/// `length` bytes from the front, and what follows their padding. The last item of a buffer may
/// come without padding.
fn cut(bytes: &[u8], length: usize, least: usize) -> Option<(&[u8], &[u8])> {
    if length < least {
        return None;
    }
    let whole = bytes.get(..length)?;
    let rest = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    Some((whole, rest))
}

/// In host byte order, as rtnetlink writes them.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// In host byte order, as rtnetlink writes them.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// In host byte order, as rtnetlink writes them.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A request: header, then `body`.
pub(crate) fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]); // port: the kernel fills in ours
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
pub(crate) mod build {
    //! What the kernel would send, for tests.

    use super::ALIGN;

    pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes
    }

    pub(crate) fn nest(kind: u16, inside: &[Vec<u8>]) -> Vec<u8> {
        attribute(kind | 0x8000, &inside.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_request_writes_messages_reads() {
        let mut bytes = request(26, 0x301, 7, &[1, 2, 3, 4, 5]);
        bytes.extend_from_slice(&[0; 3]);
        bytes.extend(request(3, 0, 8, &[]));
        let read: Vec<_> = messages(&bytes).map(Result::unwrap).collect();
        assert_eq!(
            read,
            [
                Message { kind: 26, flags: 0x301, sequence: 7, body: &[1, 2, 3, 4, 5] },
                Message { kind: 3, flags: 0, sequence: 8, body: &[] },
            ]
        );
    }

    #[test]
    fn a_message_longer_than_the_datagram_is_refused() {
        let mut bytes = request(26, 0, 1, &[0; 8]);
        bytes.truncate(20);
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(read, [Err(Malformed("message length"))]);
    }

    #[test]
    fn a_length_of_zero_does_not_loop_forever() {
        assert_eq!(messages(&[0; 64]).count(), 1);
        assert_eq!(attributes(&[0; 64]).count(), 1);
    }

    #[test]
    fn attributes_lose_their_flags_and_padding() {
        let bytes = [build::nest(1, &[build::attribute(2, &[9])]), build::attribute(3, b"eth0\0")];
        let bytes = bytes.concat();
        let read: Vec<_> = attributes(&bytes).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].kind, 1);
        assert_eq!(read[0].nested().next().unwrap().unwrap().u8(), Ok(9));
        assert_eq!(read[1].text(), Ok("eth0"));
        assert_eq!(read[1].be64(), Err(Malformed("64-bit attribute")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            for m in messages(&bytes).flatten() {
                for a in attributes(m.body).flatten() {
                    let _ = (a.u8(), a.u32(), a.be32(), a.be64(), a.text(), a.nested().count());
                }
            }
            let _ = attributes(&bytes).count();
        }
    }
}
