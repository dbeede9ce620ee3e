//! What BIRD, FRRouting, GoBGP, OpenBGPD and ExaBGP have really sent.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "not all of it is of use here")]
mod wire_support;

use bgp_core::types::{Family, NextHop, Prefix};
use bgp_core::wire::*;
use std::collections::BTreeMap;
use wire_support::{Sample, captured};

const SPEAKERS: [&str; 5] = ["BIRD", "FRRouting", "GoBGP", "OpenBGPD", "ExaBGP"];

/// Who has sent it, and what it is.
fn named(sample: &Sample) -> (&str, &str) {
    let (kind, speaker) = sample.title.split_once(", captured from ").unwrap();
    (speaker.split(' ').next().unwrap(), kind)
}

#[test]
fn each_of_five_speakers_is_there_with_each_kind_of_message_it_has() {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let all = captured();
    for sample in &all {
        *counts.entry(named(sample)).or_default() += 1;
    }
    for speaker in SPEAKERS {
        assert!(counts[&(speaker, "OPEN")] >= 5, "{counts:?}");
        assert!(counts[&(speaker, "UPDATE")] >= 5, "{counts:?}");
    }
    for (speaker, kind) in [
        ("BIRD", "NOTIFICATION"),
        ("FRRouting", "NOTIFICATION"),
        ("GoBGP", "NOTIFICATION"),
        ("OpenBGPD", "NOTIFICATION"),
        ("BIRD", "ROUTE-REFRESH"),
        ("FRRouting", "ROUTE-REFRESH"),
        ("OpenBGPD", "ROUTE-REFRESH"),
    ] {
        assert!(counts.contains_key(&(speaker, kind)), "{speaker} {kind}: {counts:?}");
    }
    let words = all.iter().filter(|s| means(s).contains("back at noon")).count();
    assert!(words >= 4, "{words} shutdowns with a word (RFC 9003)");
    let with_ids = all.iter().filter(|s| s.session.contains("add-paths") && named(s).1 == "UPDATE");
    assert!(with_ids.count() >= 10);
    for speaker in ["BIRD", "FRRouting", "GoBGP", "ExaBGP"] {
        let its = all.iter().filter(|s| named(s).0 == speaker);
        assert!(its.filter(|s| has_ipv6_next_hop(s)).count() > 0, "{speaker}: none (RFC 8950)");
    }
}

/// Of an IPv4 prefix.
fn has_ipv6_next_hop(sample: &Sample) -> bool {
    let Ok(Message::Update(update)) = decode(&sample.bytes, &sample.context) else { return false };
    let ipv4 = update.announced.iter().flatten().filter(|s| s.family == Family::Ipv4Unicast);
    ipv4.into_iter().any(|s| matches!(s.next_hop, NextHop::V6 { .. }))
}

fn means(sample: &Sample) -> String {
    match decode(&sample.bytes, &sample.context) {
        Ok(Message::Notification(n)) => n.describe(),
        _ => String::new(),
    }
}

#[test]
fn what_they_send_is_read_without_a_fault_and_means_the_same_when_we_write_it() {
    for sample in captured() {
        let title = format!("{} ({})", sample.title, sample.session);
        let message =
            decode(&sample.bytes, &sample.context).unwrap_or_else(|e| panic!("{title}: {e}"));
        let mut out = Vec::new();
        match &message {
            Message::Keepalive => keepalive(&mut out),
            Message::Notification(n) => notification(n, &mut out),
            Message::RouteRefresh(family) => route_refresh(*family, &mut out),
            Message::RefreshMark(family, mark) => refresh_mark(*family, *mark, &mut out),
            Message::Open(sent) => open(sent, &mut out),
            Message::Update(update) => {
                assert_eq!(update.fault, None, "{title}");
                write(update, &sample.context, &mut out);
                assert_eq!(said(&messages(&out, &sample.context)), said(&[message]), "{title}");
                continue;
            }
        }
        assert_eq!(decode(&out, &sample.context).as_ref(), Ok(&message), "{title}");
    }
}

fn write(update: &Update<'_>, context: &Context, out: &mut Vec<u8>) {
    if let Some(family) = update.end_of_rib {
        return end_of_rib(family, out);
    }
    for section in update.withdrawn.iter().flatten() {
        let paths: Vec<_> = section.nlri.paths().collect();
        assert_eq!(withdraw(context, section.family, &paths, out), paths.len());
    }
    for section in update.announced.iter().flatten() {
        let paths: Vec<_> = section.nlri.paths().collect();
        let attributes = update.attributes.clone().unwrap();
        let attributes = Attributes { next_hop: section.next_hop, ..attributes };
        assert_eq!(announce(context, section.family, &attributes, &paths, out), paths.len());
    }
}

fn messages<'a>(mut bytes: &'a [u8], context: &Context) -> Vec<Message<'a>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        all.push(decode(&bytes[..length], context).unwrap());
        bytes = &bytes[length..];
    }
    all
}

type Line = (Family, Prefix, u32, Option<(NextHop, Attributes)>);

/// All that UPDATEs say, however they are cut.
fn said(messages: &[Message<'_>]) -> (Vec<Line>, Vec<Option<Family>>) {
    let (mut lines, mut ends) = (Vec::new(), Vec::new());
    for message in messages {
        let Message::Update(update) = message else { panic!("not an UPDATE") };
        for section in update.withdrawn.iter().flatten() {
            lines.extend(section.nlri.paths().map(|(p, id)| (section.family, p, id, None)));
        }
        for section in update.announced.iter().flatten() {
            let attributes = update.attributes.clone().unwrap();
            let attributes = Attributes { next_hop: section.next_hop, ..attributes };
            let one = Some((section.next_hop, attributes));
            lines.extend(section.nlri.paths().map(|(p, id)| (section.family, p, id, one.clone())));
        }
        ends.push(update.end_of_rib);
    }
    ends.retain(Option::is_some);
    (lines, ends)
}
