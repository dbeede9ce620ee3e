//! What comes through the keeper's socket, lies in its files, and comes from a BFD peer.

use keeper::bfd::packet::Packet;
use keeper::bfd::record::{decode_list, decode_saved, encode_list, encode_saved};
use keeper::protocol::{Reply, Request};
use keeper::state;

pub(crate) fn bfd(bytes: &[u8]) {
    if let Ok(packet) = Packet::decode(bytes) {
        assert_eq!(Packet::decode(&packet.encode()).ok(), Some(packet));
    }
}

pub(crate) fn packets(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()).ok(), Some(request));
    }
    if let Ok(reply) = Reply::decode(bytes) {
        // Texts are cut when they are written.
        let written = reply.encode();
        assert_eq!(Reply::decode(&written).map(|again| again.encode()), Ok(written));
    }
    if let Ok(specs) = decode_list(bytes) {
        assert_eq!(decode_list(&encode_list(&specs)).ok(), Some(specs));
    }
    if let Some((key, saved)) = decode_saved(bytes) {
        assert_eq!(decode_saved(&encode_saved(&key, &saved)), Some((key, saved)));
    }
    let (one, other) = bytes.split_at(bytes.len() / 2);
    if let Ok((state, serial)) = state::newest([one, other]) {
        assert_eq!(
            state::newest([&state::encode(&state, serial), &[]]).ok(),
            Some((state, serial))
        );
    }
}
