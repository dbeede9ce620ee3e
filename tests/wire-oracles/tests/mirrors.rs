//! What we write, another codec reads and writes anew, and we read as it was.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "not all of it is of use here")]
#[path = "../../../bgpd/core/tests/wire_support/mod.rs"]
mod wire_support;

use bgp_core::types::{Family, Prefix, RouterId};
use bgp_core::wire::{
    self, AfiSafi, Attributes, Capability, Context, HEADER_LEN, Open, SegmentKind, announce,
    decode, withdraw,
};
use bytes::Bytes;
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_iana::address_family::AddressType;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use rustbgpd_wire::{Afi, Safi};
use wire_support::strategies::{any_open, table};
use wire_support::{Sample, captured};

type Mirror = fn(&[u8], &Context) -> Vec<u8>;

fn netgauze(bytes: &[u8], context: &Context) -> Vec<u8> {
    let mut parsing = BgpParsingContext::default();
    parsing.set_asn4(context.four_octet_as);
    for (there, family) in [
        (context.paths_in.ipv4, AddressType::Ipv4Unicast),
        (context.paths_in.ipv6, AddressType::Ipv6Unicast),
    ] {
        parsing.add_path_mut().insert(family, there);
    }
    let message = BgpMessage::parse(&mut SliceReader::new(bytes), &mut parsing).unwrap();
    let mut out = Vec::new();
    message.write(&mut std::io::Cursor::new(&mut out)).unwrap();
    out
}

fn rustbgpd(bytes: &[u8], context: &Context) -> Vec<u8> {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let message = rustbgpd_wire::decode_message(&mut bytes, 4096).unwrap();
    let message = match message {
        rustbgpd_wire::Message::Update(update) => {
            let (ipv4, ipv6) = (context.paths_in.ipv4, context.paths_in.ipv6);
            let families: &[_] = if ipv6 { &[(Afi::Ipv6, Safi::Unicast)] } else { &[] };
            let parsed = update
                .parse_revised(context.four_octet_as, context.internal, ipv4, families)
                .unwrap();
            assert!(parsed.malformed.is_empty(), "{:?}", parsed.malformed);
            let update = parsed.update;
            let again = rustbgpd_wire::UpdateMessage::try_build(
                &update.announced,
                &update.withdrawn,
                &update.attributes,
                context.four_octet_as,
                context.paths_in.any(),
                rustbgpd_wire::Ipv4UnicastMode::Body,
            )
            .unwrap();
            rustbgpd_wire::Message::Update(again)
        }
        other => other,
    };
    rustbgpd_wire::encode_message(&message).unwrap().to_vec()
}

fn same_after(mirror: Mirror, bytes: &[u8], context: &Context) {
    let reflected = mirror(bytes, context);
    let seen = decode(&reflected, context).unwrap();
    let sent = decode(bytes, context).unwrap();
    assert_eq!(seen, sent);
}

/// What both know nothing of, or refuse by policy, is left out: multicast prefixes, assigned codes
/// that we pass on unread, families of other tribes, and sets (RFC 9774) where told.
mod tame {
    use super::*;

    pub(super) fn prefixes(all: Vec<Prefix>) -> Vec<Prefix> {
        all.into_iter().filter(|p| !p.addr().is_multicast()).collect()
    }

    pub(super) fn attributes(mut attributes: Attributes, sets: bool) -> Attributes {
        attributes.unknown.retain(|raw| (50..120).contains(&raw.code));
        // Route targets: of some other types netgauze does not keep all bits.
        for community in &mut attributes.extended_communities {
            *community = 0x0002 << 48 | *community & 0xffff_ffff_ffff;
        }
        if !sets {
            // Its second sequence would come back as a part of the first, which means the same.
            attributes.as_path.0.retain(|s| s.kind == SegmentKind::Sequence);
            attributes.as_path.0.truncate(1);
            // It forgets this one.
            attributes.partial.aggregator = false;
        }
        attributes
    }

    pub(super) fn open(mut open: Open) -> Open {
        let [first, b, c, d] = open.router_id.0.octets();
        open.router_id = RouterId([first % 223 + 1, b, c, d].into());
        let family = |family: &AfiSafi| family.family().is_some();
        open.capabilities.retain_mut(|capability| match capability {
            Capability::Multiprotocol(f) => family(f),
            Capability::Unknown { code, .. } => (100..120).contains(code),
            Capability::GracefulRestart(restart) => {
                restart.families.retain(|f| family(&f.family));
                true
            }
            Capability::LongLived(families) => {
                families.retain(|f| family(&f.family));
                true
            }
            _ => true,
        });
        open
    }
}

fn announcement(
    (context, attributes, prefixes): (Context, Attributes, Vec<Prefix>),
    sets: bool,
) -> Option<(Vec<u8>, Context)> {
    let attributes = tame::attributes(attributes, sets);
    let prefixes = tame::prefixes(prefixes);
    let family = Family::of(prefixes.first()?);
    let mut bytes = Vec::new();
    (announce(&context, family, &attributes, &prefixes, &mut bytes) > 0).then_some((bytes, context))
}

#[test]
fn what_five_speakers_have_sent_is_reflected_by_both() {
    let (mut reflected, mut with_ids) = (0, 0);
    for sample in captured() {
        let Sample { title, context, bytes, .. } = &sample;
        if !title.starts_with("UPDATE") {
            continue;
        }
        println!("{title}");
        same_after(rustbgpd, bytes, context);
        same_after(netgauze, bytes, context);
        reflected += 1;
        with_ids += usize::from(context.paths_in.any());
    }
    assert!(reflected > 90 && with_ids >= 10, "{reflected}, {with_ids} of them with identifiers");
}

proptest! {
    #[test]
    fn netgauze_reflects_announcements(table in table()) {
        if let Some((bytes, context)) = announcement(table, true) {
            same_after(netgauze, &bytes, &context);
        }
    }

    #[test]
    fn rustbgpd_reflects_announcements(table in table()) {
        if let Some((bytes, context)) = announcement(table, false) {
            same_after(rustbgpd, &bytes, &context);
        }
    }

    #[test]
    fn both_reflect_withdrawals((context, _, prefixes) in table()) {
        let prefixes = tame::prefixes(prefixes);
        prop_assume!(!prefixes.is_empty());
        let mut bytes = Vec::new();
        withdraw(&context, Family::of(&prefixes[0]), &prefixes, &mut bytes);
        same_after(netgauze, &bytes, &context);
        same_after(rustbgpd, &bytes, &context);
    }

    #[test]
    fn both_reflect_opens(open in any_open()) {
        let mut bytes = Vec::new();
        wire::open(&tame::open(open), &mut bytes);
        let context = Context::default();
        same_after(rustbgpd, &bytes, &context);
        // Netgauze does not read RFC 9072.
        if bytes[HEADER_LEN + 9] < 255 {
            same_after(netgauze, &bytes, &context);
        }
    }
}
