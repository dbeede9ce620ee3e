//! A BGP peer's bytes.

use bgp_core::types::Prefix;
use bgp_core::wire::{Attributes, Context, Framer, Message, PathIds, Update, announce, decode};

/// The first octet says what the session has agreed on, the second where the stream is cut; the
/// rest is the stream.
pub(crate) fn stream(bytes: &[u8]) {
    let [agreed, cut, stream @ ..] = bytes else { return };
    let context = Context {
        four_octet_as: agreed & 1 != 0,
        internal: agreed & 2 != 0,
        extended_messages: agreed & 4 != 0,
        extended_next_hop: agreed & 8 != 0,
        paths_in: ids(*agreed),
        paths_out: ids(*agreed),
    };
    let mut framer = Framer::new();
    framer.follow(&context);
    for portion in stream.chunks(usize::from(*cut).max(1)) {
        framer.push(portion);
        loop {
            match framer.next() {
                Ok(Some(frame)) => message(frame, &context),
                Ok(None) => break,
                // Here a session ends.
                Err(_) => return,
            }
        }
    }
}

/// The families with several paths a prefix (RFC 7911).
const fn ids(agreed: u8) -> PathIds {
    PathIds { ipv4: agreed & 16 != 0, ipv6: agreed & 32 != 0 }
}

fn message(frame: &[u8], context: &Context) {
    match decode(frame, context) {
        Ok(Message::Update(update)) => update_again(&update, context),
        Ok(_) => {}
        Err(error) => assert!((1..8).contains(&error.notification.code) && !error.text.is_empty()),
    }
}

/// What was read, written and read again is the same.
fn update_again(update: &Update<'_>, context: &Context) {
    let mut out = Vec::new();
    for section in update.announced.iter().flatten() {
        let Some(attributes) = update.attributes.clone() else {
            panic!("routes without attributes")
        };
        let attributes = Attributes { next_hop: section.next_hop, ..attributes };
        let paths: Vec<(Prefix, u32)> = section.nlri.paths().collect();
        out.clear();
        announce(context, section.family, &attributes, &paths, &mut out);
        let Ok(Message::Update(again)) = decode(&out, context) else { panic!("not readable") };
        assert_eq!(again.attributes, Some(attributes));
        assert!(again.announced.iter().flatten().flat_map(|a| a.nlri.paths()).eq(paths));
    }
    for section in update.withdrawn.iter().flatten() {
        assert_eq!(section.nlri.len(), section.nlri.into_iter().count());
    }
}
