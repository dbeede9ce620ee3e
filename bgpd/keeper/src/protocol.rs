//! What speaker and keeper say to each other: one packet a message, fixed fields, big-endian.
//!
//! ```text
//! 'M' 'K' version kind · payload
//! ```
//! A packet of another version or kind is answered with an error and nothing else happens: new
//! kinds can be added, old ones stay. Fields can be added behind those of a kind: a reader that
//! does not know them passes over them, one that misses them takes what was true without them.

use crate::bfd::{Report, record};
use crate::keeper::{Release, SessionId};
use std::time::Duration;

pub const VERSION: u8 = 1;
/// No packet is longer.
pub const MAX_PACKET: usize = 512;
const MAX_TEXT: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Every session that is held, please; from now on I write.
    Attach {
        generation: u64,
        /// How long a session is held without a speaker, from now on; `None` says nothing of it.
        max_orphan: Option<Duration>,
    },
    /// With two descriptors: the socket and the memory file. `token` comes back in the answer.
    Hold {
        token: u32,
    },
    Release {
        session: SessionId,
        how: Release,
    },
    Status,
    /// With one descriptor, a memory file: [`record::encode_list`]. These BFD sessions and no
    /// others.
    SetBfd {
        token: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Then [`Reply::Session`] and [`Reply::Gone`], as many as there are, then [`Reply::End`].
    Attached {
        generation: u64,
    },
    /// With two descriptors.
    Session {
        session: SessionId,
    },
    /// A session that was let go while no speaker was there.
    Gone {
        peer: String,
        why: String,
    },
    End,
    Held {
        token: u32,
        session: SessionId,
    },
    Released {
        session: SessionId,
    },
    /// `token` is that of the [`Request::Hold`] it answers, else zero.
    Refused {
        token: u32,
        why: String,
    },
    /// A newer generation has the sessions now: write nothing more.
    Revoked {
        by: u64,
    },
    Status(Status),
    BfdSet {
        token: u32,
        count: u32,
    },
    /// Each at attach, and again whenever it changes.
    Bfd(Report),
}

/// Counted since the keeper was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    pub held: u32,
    pub orphaned: u32,
    /// The generation that is attached, or zero.
    pub generation: u64,
    pub attached_total: u64,
    pub keepalives_total: u64,
    pub let_go_total: u64,
    pub refused_total: u64,
    pub bfd_sessions: u32,
    pub bfd_up: u32,
    /// Of the session that has been without a speaker for the longest time.
    pub orphaned_for: Duration,
    pub max_orphan: Duration,
    /// Of the sessions' files, as far as it was ever touched.
    pub memory_bytes: u64,
    pub version: Version,
}

/// The keeper's own release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version(pub [u16; 3]);

impl Version {
    /// This program's.
    #[must_use]
    pub fn ours() -> Self {
        let part = |text: &str| text.parse().unwrap_or(0);
        Self([
            part(env!("CARGO_PKG_VERSION_MAJOR")),
            part(env!("CARGO_PKG_VERSION_MINOR")),
            part(env!("CARGO_PKG_VERSION_PATCH")),
        ])
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("not a packet of the keeper's")]
    Foreign,
    #[error("version {0} of the keeper's protocol; this is {VERSION}")]
    Version(u8),
    #[error("unknown message kind {0}")]
    Kind(u8),
    #[error("message kind {0} of a wrong length")]
    Length(u8),
}

impl Request {
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Attach { generation, max_orphan } => {
                packet(1, &[&generation.to_be_bytes(), &millis(max_orphan).to_be_bytes()])
            }
            Self::Hold { token } => packet(2, &[&token.to_be_bytes()]),
            Self::Release { session, how } => {
                let how = match how {
                    Release::Forget => 0,
                    Release::Shutdown => 1,
                    Release::Abort => 2,
                };
                packet(3, &[&session.0.to_be_bytes(), &[how]])
            }
            Self::Status => packet(4, &[]),
            Self::SetBfd { token } => packet(5, &[&token.to_be_bytes()]),
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let (kind, mut from) = open(bytes)?;
        let request = match kind {
            1 => from
                .u64()
                .map(|generation| Self::Attach { generation, max_orphan: from.duration() }),
            2 => from.u32().map(|token| Self::Hold { token }),
            3 => from
                .u64()
                .zip(from.release())
                .map(|(session, how)| Self::Release { session: SessionId(session), how }),
            4 => Some(Self::Status),
            5 => from.u32().map(|token| Self::SetBfd { token }),
            other => return Err(PacketError::Kind(other)),
        };
        request.ok_or(PacketError::Length(kind))
    }
}

impl Reply {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Attached { generation } => packet(0x81, &[&generation.to_be_bytes()]),
            Self::Session { session } => packet(0x82, &[&session.0.to_be_bytes()]),
            Self::Gone { peer, why } => packet(0x83, &[&text(peer, 160), &text(why, MAX_TEXT)]),
            Self::End => packet(0x84, &[]),
            Self::Held { token, session } => {
                packet(0x85, &[&token.to_be_bytes(), &session.0.to_be_bytes()])
            }
            Self::Released { session } => packet(0x86, &[&session.0.to_be_bytes()]),
            Self::Refused { token, why } => {
                packet(0x87, &[&token.to_be_bytes(), &text(why, MAX_TEXT)])
            }
            Self::Revoked { by } => packet(0x88, &[&by.to_be_bytes()]),
            Self::Status(s) => packet(0x89, &[&s.encode()]),
            Self::BfdSet { token, count } => {
                packet(0x8a, &[&token.to_be_bytes(), &count.to_be_bytes()])
            }
            Self::Bfd(report) => packet(0x8b, &[&record::encode_report(report)]),
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let (kind, mut from) = open(bytes)?;
        let reply = match kind {
            0x81 => from.u64().map(|generation| Self::Attached { generation }),
            0x82 => from.session().map(|session| Self::Session { session }),
            0x83 => from.text().zip(from.text()).map(|(peer, why)| Self::Gone { peer, why }),
            0x84 => Some(Self::End),
            0x85 => {
                from.u32().zip(from.session()).map(|(token, session)| Self::Held { token, session })
            }
            0x86 => from.session().map(|session| Self::Released { session }),
            0x87 => from.u32().zip(from.text()).map(|(token, why)| Self::Refused { token, why }),
            0x88 => from.u64().map(|by| Self::Revoked { by }),
            0x89 => from.status().map(Self::Status),
            0x8a => from.u32().zip(from.u32()).map(|(token, count)| Self::BfdSet { token, count }),
            0x8b => record::decode_report(from.0).map(Self::Bfd),
            other => return Err(PacketError::Kind(other)),
        };
        reply.ok_or(PacketError::Length(kind))
    }
}

impl Status {
    fn encode(&self) -> Vec<u8> {
        let mut out = [self.held.to_be_bytes(), self.orphaned.to_be_bytes()].concat();
        let Self { generation, attached_total, keepalives_total, .. } = *self;
        let totals = [generation, attached_total, keepalives_total];
        let totals = totals.into_iter().chain([self.let_go_total, self.refused_total]);
        out.extend(totals.flat_map(u64::to_be_bytes));
        out.extend([self.bfd_sessions, self.bfd_up].into_iter().flat_map(u32::to_be_bytes));
        let times = [self.orphaned_for, self.max_orphan].map(|d| millis(Some(d)));
        out.extend(times.into_iter().chain([self.memory_bytes]).flat_map(u64::to_be_bytes));
        out.extend(self.version.0.into_iter().flat_map(u16::to_be_bytes));
        out
    }
}

fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![b'M', b'K', VERSION, kind];
    out.extend(parts.iter().copied().flatten());
    out
}

/// No duration is longer; it says that none is meant.
const NONE: u64 = u64::MAX;

fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(NONE, |d| u64::try_from(d.as_millis()).unwrap_or(NONE - 1))
}

/// Cut where a character ends.
fn text(text: &str, max: usize) -> Vec<u8> {
    let end = (0..=max.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    let mut out = u16::try_from(end).unwrap_or(0).to_be_bytes().to_vec();
    out.extend(text.as_bytes().iter().take(end));
    out
}

fn open(bytes: &[u8]) -> Result<(u8, Fields<'_>), PacketError> {
    match bytes {
        [b'M', b'K', VERSION, kind, rest @ ..] => Ok((*kind, Fields(rest))),
        [b'M', b'K', version, ..] => Err(PacketError::Version(*version)),
        _ => Err(PacketError::Foreign),
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn duration(&mut self) -> Option<Duration> {
        self.u64().filter(|ms| *ms != NONE).map(Duration::from_millis)
    }

    fn session(&mut self) -> Option<SessionId> {
        self.u64().map(SessionId)
    }

    fn release(&mut self) -> Option<Release> {
        match self.array()? {
            [0] => Some(Release::Forget),
            [1] => Some(Release::Shutdown),
            [2] => Some(Release::Abort),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::from(self.array().map(u16::from_be_bytes)?);
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        String::from_utf8(head.to_vec()).ok()
    }

    fn status(&mut self) -> Option<Status> {
        Some(Status {
            held: self.u32()?,
            orphaned: self.u32()?,
            generation: self.u64()?,
            attached_total: self.u64()?,
            keepalives_total: self.u64()?,
            let_go_total: self.u64()?,
            refused_total: self.u64()?,
            // Not known to the first release.
            bfd_sessions: self.u32().unwrap_or(0),
            bfd_up: self.u32().unwrap_or(0),
            orphaned_for: self.duration().unwrap_or_default(),
            max_orphan: self.duration().unwrap_or_default(),
            memory_bytes: self.u64().unwrap_or(0),
            version: Version([(); 3].map(|()| self.u16().unwrap_or(0))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn how() -> impl Strategy<Value = Release> {
        prop_oneof![Just(Release::Forget), Just(Release::Shutdown), Just(Release::Abort)]
    }

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            (any::<u64>(), prop::option::of(0..1u64 << 40)).prop_map(|(generation, ms)| {
                Request::Attach { generation, max_orphan: ms.map(Duration::from_millis) }
            }),
            any::<u32>().prop_map(|token| Request::Hold { token }),
            (any::<u64>(), how())
                .prop_map(|(id, how)| Request::Release { session: SessionId(id), how }),
            Just(Request::Status),
            any::<u32>().prop_map(|token| Request::SetBfd { token }),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let id = || any::<u64>().prop_map(SessionId);
        prop_oneof![
            any::<u64>().prop_map(|generation| Reply::Attached { generation }),
            id().prop_map(|session| Reply::Session { session }),
            (".{0,30}", ".{0,60}").prop_map(|(peer, why)| Reply::Gone { peer, why }),
            Just(Reply::End),
            (any::<u32>(), id()).prop_map(|(token, session)| Reply::Held { token, session }),
            id().prop_map(|session| Reply::Released { session }),
            (any::<u32>(), ".{0,60}").prop_map(|(token, why)| Reply::Refused { token, why }),
            any::<u64>().prop_map(|by| Reply::Revoked { by }),
            any::<(u32, u32)>().prop_map(|(token, count)| Reply::BfdSet { token, count }),
            record::tests::report().prop_map(Reply::Bfd),
            any::<[u64; 4]>().prop_map(|[a, b, c, d]| {
                let (held, generation) = (7, a);
                let (attached_total, keepalives_total, let_go_total) = (b, c, d);
                let ms = Duration::from_millis;
                let all = Status {
                    bfd_sessions: 9,
                    bfd_up: 8,
                    orphaned_for: ms(a >> 20),
                    max_orphan: ms(b >> 20),
                    memory_bytes: c,
                    version: Version([1, 2, 3]),
                    ..Status::default()
                };
                Reply::Status(Status {
                    held,
                    generation,
                    attached_total,
                    keepalives_total,
                    let_go_total,
                    ..all
                })
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(request in request(), reply in reply()) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }

        #[test]
        fn fields_of_a_later_release_are_passed_over(
            request in request(), reply in reply(), more in prop::collection::vec(any::<u8>(), 1..9)
        ) {
            let longer = |bytes: Vec<u8>| [bytes, more.clone()].concat();
            prop_assert_eq!(Request::decode(&longer(request.encode())), Ok(request));
            prop_assert_eq!(Reply::decode(&longer(reply.encode())), Ok(reply));
        }

        #[test]
        fn a_packet_that_is_cut_is_refused_or_lacks_what_was_added_later(
            request in request(), reply in reply()
        ) {
            for mut bytes in [request.encode(), reply.encode()] {
                while bytes.pop().is_some() {
                    match (Request::decode(&bytes), Reply::decode(&bytes)) {
                        (Ok(Request::Attach { max_orphan: None, .. }), Err(_)) => {}
                        (Err(_), Ok(Reply::Status(_))) if bytes.len() >= 52 => {}
                        (request, reply) => prop_assert!(request.is_err() && reply.is_err()),
                    }
                }
            }
        }

        #[test]
        fn strange_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Request::decode(&bytes);
            let _ = Reply::decode(&bytes);
        }
    }

    #[test]
    fn no_packet_is_longer_than_the_longest() {
        let long = "ü".repeat(500);
        let gone = Reply::Gone { peer: long.clone(), why: long };
        let bytes = gone.encode();
        assert!(bytes.len() <= MAX_PACKET, "{}", bytes.len());
        assert!(matches!(Reply::decode(&bytes), Ok(Reply::Gone { .. })));
    }

    #[test]
    fn a_speaker_of_the_first_release_says_nothing_of_how_long_to_hold() {
        let older = b"MK\x01\x01\0\0\0\0\0\0\0\x07";
        let request = Request::Attach { generation: 7, max_orphan: None };
        assert_eq!(Request::decode(older), Ok(request));
    }

    #[test]
    fn another_version_is_named() {
        assert_eq!(Request::decode(b"MK\x02\x01"), Err(PacketError::Version(2)));
        assert_eq!(Request::decode(b"GET / HTTP/1.1"), Err(PacketError::Foreign));
        assert_eq!(Request::decode(b"MK\x01\x63"), Err(PacketError::Kind(0x63)));
    }
}
