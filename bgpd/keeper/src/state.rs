//! What the next keeper must know beside the sessions: a small file in the service manager's store.
//!
//! ```text
//! two slots of the same size, written in turn, so that a keeper killed in mid-write leaves one:
//! 'MSKSTATE' · version · readable from · serial · length · checksum · (kind u16 · length u16 · bytes)*
//! ```
//! A record of an unknown kind is passed over, and so are bytes behind those of a record: a
//! keeper of the release before or after reads what it understands.

use crate::bfd::Key;
use crate::bfd::record::decode_saved;
use crate::bfd::session::Saved;
use crate::layout::checksum;
use std::time::Duration;

pub const VERSION: u32 = 1;
/// The oldest version whose reader understands what we write.
pub const READABLE_FROM: u32 = 1;
/// Of one slot.
pub const SLOT: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"MSKSTATE";
const HEADER: usize = 40;
const MAX_ORPHAN: u16 = 1;
const BFD: u16 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// As the last speaker wanted it.
    pub max_orphan: Duration,
    /// [`crate::bfd::record::encode_saved`] each.
    pub bfd: Vec<Vec<u8>>,
}

impl State {
    /// Those that can be understood; the others begin anew when the speaker asks for them.
    #[must_use]
    pub fn bfd_sessions(&self) -> Vec<(Key, Saved)> {
        self.bfd.iter().filter_map(|bytes| decode_saved(bytes)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("it was never written")]
    Empty,
    #[error("it is of version {version}, readable from {readable_from} on; this is {VERSION}")]
    TooNew { version: u32, readable_from: u32 },
    #[error("it is damaged")]
    Damaged,
}

/// One slot's bytes; the reader takes the slot with the higher serial.
#[must_use]
pub fn encode(state: &State, serial: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let ms = u64::try_from(state.max_orphan.as_millis()).unwrap_or(u64::MAX);
    record(&mut body, MAX_ORPHAN, &ms.to_be_bytes());
    for session in &state.bfd {
        record(&mut body, BFD, session);
    }
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_be_bytes());
    out.extend(READABLE_FROM.to_be_bytes());
    out.extend(serial.to_be_bytes());
    out.extend((body.len() as u64).to_be_bytes());
    let sum = checksum(&[out.as_slice(), &body].concat());
    out.extend(sum.to_be_bytes());
    out.extend(body);
    out
}

/// The newest of the slots that are whole, and its serial.
pub fn newest(slots: [&[u8]; 2]) -> Result<(State, u64), StateError> {
    match slots.map(decode) {
        [Ok(a), Ok(b)] => Ok(if a.1 > b.1 { a } else { b }),
        [Ok(one), _] | [_, Ok(one)] => Ok(one),
        [Err(StateError::Empty), Err(why)] | [Err(why), Err(_)] => Err(why),
    }
}

fn decode(slot: &[u8]) -> Result<(State, u64), StateError> {
    let (head, rest) = slot.split_at_checked(HEADER).ok_or(StateError::Empty)?;
    if head.starts_with(&[0; 8]) {
        return Err(StateError::Empty);
    }
    let word = |at: usize| head[at..].first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
    let half = |at: usize| head[at..].first_chunk().map_or(0, |b| u32::from_be_bytes(*b));
    if !head.starts_with(&MAGIC) {
        return Err(StateError::Damaged);
    }
    let (version, readable_from) = (half(8), half(12));
    if readable_from > VERSION {
        return Err(StateError::TooNew { version, readable_from });
    }
    let len = usize::try_from(word(24)).map_err(|_| StateError::Damaged)?;
    let body = rest.get(..len).ok_or(StateError::Damaged)?;
    if checksum(&[&head[..HEADER - 8], body].concat()) != word(32) {
        return Err(StateError::Damaged);
    }
    Ok((records(body)?, word(16)))
}

fn records(mut body: &[u8]) -> Result<State, StateError> {
    let max_orphan = crate::keeper::Limits::default().max_orphan;
    let mut state = State { max_orphan, bfd: Vec::new() };
    while !body.is_empty() {
        let (kind, bytes, rest) = split(body).ok_or(StateError::Damaged)?;
        body = rest;
        match kind {
            MAX_ORPHAN => {
                let ms = bytes.first_chunk().ok_or(StateError::Damaged)?;
                state.max_orphan = Duration::from_millis(u64::from_be_bytes(*ms));
            }
            BFD => state.bfd.push(bytes.to_vec()),
            _ => {}
        }
    }
    Ok(state)
}

fn split(body: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (kind, rest) = body.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
    Some((u16::from_be_bytes(*kind), bytes, rest))
}

fn record(out: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    // No record is longer than some hundred bytes.
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(kind.to_be_bytes());
    out.extend(len.to_be_bytes());
    out.extend(bytes.iter().take(len.into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(seconds: u64) -> State {
        State { max_orphan: Duration::from_secs(seconds), bfd: vec![b"one".to_vec(), Vec::new()] }
    }

    /// As another release would have written it.
    fn written(version: u32, from: u32, body: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(version.to_be_bytes());
        out.extend(from.to_be_bytes());
        out.extend(7u64.to_be_bytes());
        out.extend((body.len() as u64).to_be_bytes());
        let sum = checksum(&[out.as_slice(), body].concat());
        out.extend(sum.to_be_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn the_newer_slot_counts_and_a_torn_one_does_not() {
        let (older, newer) = (encode(&state(1), 4), encode(&state(2), 5));
        assert_eq!(newest([&older, &newer]), Ok((state(2), 5)));
        assert_eq!(newest([&newer, &older]), Ok((state(2), 5)));
        assert_eq!(newest([&older, &newer[..newer.len() - 1]]), Ok((state(1), 4)));
        assert_eq!(newest([&[], &[0; 100]]), Err(StateError::Empty));
        assert_eq!(newest([&[], &older[..50]]), Err(StateError::Damaged));
    }

    #[test]
    fn records_and_fields_of_the_next_release_are_passed_over() {
        let mut body = Vec::new();
        record(&mut body, 900, b"something new");
        record(&mut body, MAX_ORPHAN, b"\0\0\0\0\0\0\x03\xe8 and more of it");
        let found = newest([&written(2, 1, &body), &[]]).unwrap();
        assert_eq!(found, (State { bfd: Vec::new(), ..state(1) }, 7));
        let too_new = StateError::TooNew { version: 3, readable_from: 2 };
        assert_eq!(newest([&written(3, 2, &body), &[]]), Err(too_new));
    }

    #[test]
    fn of_a_release_that_knew_less_the_rest_is_the_default() {
        let found = newest([&written(1, 1, &[]), &[]]).unwrap().0;
        assert_eq!(found.max_orphan, crate::keeper::Limits::default().max_orphan);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_any_change_of_it_is_noticed(
            seconds in 0u64..1 << 40, serial: u64, at: prop::sample::Index, flip in 1u8..
        ) {
            let mut bytes = encode(&state(seconds), serial);
            prop_assert_eq!(newest([&bytes, &[]]), Ok((state(seconds), serial)));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(newest([&bytes, &[]]).is_err());
        }

        #[test]
        fn strange_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = newest([&bytes, &written(1, 1, &bytes)]);
        }
    }
}
