//! What is written is read back; and how the bytes were cut does not matter.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "not all of it is of use here")]
mod wire_support;

use bgp_core::types::Family;
use bgp_core::wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use wire_support::strategies::{any_open, asn, narrow_asn, newer_capability, segments, wide_table};

fn frames(bytes: &[u8], context: &Context) -> Vec<Vec<u8>> {
    let mut framer = Framer::new();
    framer.follow(context);
    framer.push(bytes);
    drain(&mut framer).0
}

/// What a framer gives, and the error that ends it.
fn drain(framer: &mut Framer) -> (Vec<Vec<u8>>, Option<DecodeError>) {
    let mut frames = Vec::new();
    loop {
        match framer.next() {
            Ok(Some(frame)) => frames.push(frame.to_vec()),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn announced_routes_are_read_as_they_were((context, attributes, prefixes) in wide_table()) {
        let family = Family::of(&prefixes[0]);
        let mut bytes = Vec::new();
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let count = announce(&context, family, &attributes, rest, &mut bytes);
            if count == 0 {
                // The attributes alone fill a message.
                prop_assert!(bytes.is_empty());
                return Ok(());
            }
            rest = &rest[count..];
        }
        let mut read = Vec::new();
        for frame in frames(&bytes, &context) {
            prop_assert!(frame.len() <= context.longest());
            let Message::Update(update) = decode(&frame, &context).unwrap() else { panic!() };
            prop_assert_eq!(&update.fault, &None);
            prop_assert_eq!(update.attributes.as_ref(), Some(&attributes));
            prop_assert_eq!(update.withdrawn.iter().flatten().count(), 0);
            let announced: Vec<_> = update.announced.iter().flatten().collect();
            prop_assert_eq!(announced.len(), 1);
            prop_assert_eq!((announced[0].family, announced[0].next_hop), (family, attributes.next_hop));
            prop_assert_eq!(announced[0].nlri.len(), announced[0].nlri.into_iter().count());
            read.extend(announced[0].nlri);
            // The message was full, or the last one.
            let next = prefixes.get(read.len());
            let longest = context.longest();
            let need = next.map_or(longest, |p| 1 + usize::from(p.len()).div_ceil(8));
            prop_assert!(frame.len() + need > longest);
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn withdrawn_routes_are_read_as_they_were((context, _, prefixes) in wide_table()) {
        let family = Family::of(&prefixes[0]);
        let mut bytes = Vec::new();
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let count = withdraw(&context, family, rest, &mut bytes);
            prop_assert!(count > 0);
            rest = &rest[count..];
        }
        let mut read = Vec::new();
        for frame in frames(&bytes, &context) {
            let Message::Update(update) = decode(&frame, &context).unwrap() else { panic!() };
            prop_assert_eq!((&update.fault, &update.attributes), (&None, &None));
            prop_assert_eq!(update.end_of_rib, None);
            read.extend(update.withdrawn.iter().flatten().flat_map(|w| w.nlri));
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn an_open_is_read_as_it_was(
        mut sent in any_open(),
        newer in vec(newer_capability(), 0..2),
    ) {
        sent.capabilities.extend(newer);
        let mut bytes = Vec::new();
        open(&sent, &mut bytes);
        prop_assert_eq!(frames(&bytes, &Context::BARE).len(), 1);
        prop_assert_eq!(decode(&bytes, &Context::default()), Ok(Message::Open(sent)));
    }

    #[test]
    fn a_notification_is_read_as_it_was(code: u8, subcode: u8, data in vec(any::<u8>(), 0..4075)) {
        let sent = Notification { code, subcode, data };
        let mut bytes = Vec::new();
        notification(&sent, &mut bytes);
        prop_assert!(!sent.describe().contains(char::is_control));
        prop_assert_eq!(decode(&bytes, &Context::default()), Ok(Message::Notification(sent)));
    }

    #[test]
    fn a_route_refresh_is_read_as_it_was(afi: u16, safi: u8) {
        let family = AfiSafi { afi, safi };
        let mut bytes = Vec::new();
        route_refresh(family, &mut bytes);
        prop_assert_eq!(decode(&bytes, &Context::default()), Ok(Message::RouteRefresh(family)));
        for mark in [RefreshMark::Begin, RefreshMark::End, RefreshMark::Unknown(3)] {
            let mut bytes = Vec::new();
            refresh_mark(family, mark, &mut bytes);
            prop_assert_eq!(
                decode(&bytes, &Context::default()),
                Ok(Message::RefreshMark(family, mark))
            );
        }
    }

    #[test]
    fn merging_keeps_the_length_of_the_path(
        old in segments(narrow_asn()),
        new in segments(asn()),
    ) {
        let bytes = two_octet_update(&old, &new);
        let context = Context { four_octet_as: false, internal: false, ..Context::BARE };
        let Ok(Message::Update(update)) = decode(&bytes, &context) else { panic!() };
        let merged = update.attributes.unwrap().as_path;
        prop_assert_eq!(merged.length(), old.length());
        let covered = old.length() >= new.length() && !new.0.is_empty();
        let tail: Vec<_> = if covered { new.asns().collect() } else { old.asns().collect() };
        let all: Vec<_> = merged.asns().collect();
        prop_assert!(all.ends_with(&tail), "{merged} of {old} and {new}");
    }
}

/// An UPDATE whose AS_PATH and AS4_PATH have nothing to do with each other.
fn two_octet_update(as_path: &AsPath, as4_path: &AsPath) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 3, 4, 192, 0, 2, 1];
    for (flags, code, path, four) in [(0x50, 2, as_path, false), (0xd0, 17, as4_path, true)] {
        let value = path_octets(path, four);
        attributes.extend([flags, code]);
        attributes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        attributes.extend(value);
    }
    let mut bytes = vec![0xff; 16];
    bytes.extend(u16::try_from(25 + attributes.len()).unwrap().to_be_bytes());
    bytes.extend([2, 0, 0]);
    bytes.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    bytes.extend(attributes);
    bytes.extend([8, 10]);
    bytes
}

fn path_octets(path: &AsPath, four: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    for segment in &path.0 {
        octets.push(if segment.kind == SegmentKind::Set { 1 } else { 2 });
        octets.push(u8::try_from(segment.asns.len()).unwrap());
        for asn in &segment.asns {
            octets.extend(&asn.0.to_be_bytes()[if four { 0 } else { 2 }..]);
        }
    }
    octets
}

/// All good messages in a row, and something else after them.
fn stream() -> Vec<u8> {
    let good =
        wire_support::samples().into_iter().filter(|s| frames(&s.bytes, &Context::BARE).len() == 1);
    let mut stream: Vec<u8> = good.flat_map(|s| s.bytes).collect();
    stream.extend([0xff; 15]);
    stream.extend([0xfe; 9]);
    stream
}

#[test]
fn a_stream_gives_the_same_messages_however_it_is_cut() {
    let stream = stream();
    let mut framer = Framer::new();
    framer.push(&stream);
    let whole = drain(&mut framer);
    assert!(whole.0.len() > 70 && whole.1.is_some());
    for cut in 0..stream.len() {
        let mut framer = Framer::new();
        framer.push(&stream[..cut]);
        let (mut frames, _) = drain(&mut framer);
        framer.push(&stream[cut..]);
        let (more, error) = drain(&mut framer);
        frames.extend(more);
        assert_eq!((&frames, &error), (&whole.0, &whole.1), "cut at {cut}");
    }
}

#[test]
fn a_stream_may_come_in_pieces_of_any_size() {
    let stream = stream();
    let mut framer = Framer::new();
    framer.push(&stream);
    let whole = drain(&mut framer);
    for size in [1, 2, 3, 18, 19, 20, 37, 4096] {
        let mut framer = Framer::new();
        let mut frames = Vec::new();
        let mut last = None;
        for piece in stream.chunks(size) {
            framer.push(piece);
            let (more, error) = drain(&mut framer);
            frames.extend(more);
            assert!(framer.pending() < MAX_LEN);
            last = error;
        }
        assert_eq!((frames, last), whole, "pieces of {size}");
    }
}
