//! Bytes and their meaning, side by side.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "not all of it is of use here")]
mod wire_support;

use bgp_core::wire::*;
use std::fmt::Write;
use wire_support::{Sample, samples};

#[test]
fn messages_mean_what_is_written_beside_them() {
    let mut text = String::new();
    for sample in samples() {
        writeln!(text, "= {} ({})\n{}", sample.title, sample.session, meaning(&sample)).unwrap();
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!("messages", text) });
}

/// What was read without a fault is written again as it was, where we choose the same encoding.
#[test]
fn captured_messages_are_written_as_they_were_read() {
    let mut count = 0;
    for sample in samples().iter().filter(|s| s.title.contains("captured")) {
        let mut out = Vec::new();
        match decode(&sample.bytes, &sample.context).unwrap() {
            Message::Keepalive => keepalive(&mut out),
            Message::Notification(n) => notification(&n, &mut out),
            Message::RouteRefresh(family) => route_refresh(family, &mut out),
            Message::Update(update) => write_again(&update, &sample.context, &mut out),
            Message::Open(_) | Message::RefreshMark(..) => continue,
        }
        let again = meaning(&Sample {
            bytes: out.clone(),
            title: String::new(),
            session: String::new(),
            context: sample.context,
        });
        assert_eq!(again, meaning(sample), "{}", sample.title);
        // FRR and GoBGP use long lengths, or another order of attributes.
        if sample.title.contains("BIRD") {
            assert_eq!(hex(&out), hex(&sample.bytes), "{}", sample.title);
        }
        count += 1;
    }
    assert!(count > 10, "{count}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn write_again(update: &Update<'_>, context: &Context, out: &mut Vec<u8>) {
    if let Some(family) = update.end_of_rib {
        return end_of_rib(family, out);
    }
    for section in update.announced.iter().flatten() {
        let prefixes: Vec<_> = section.nlri.into_iter().collect();
        let attributes = update.attributes.as_ref().unwrap();
        assert_eq!(announce(context, section.family, attributes, &prefixes, out), prefixes.len());
    }
    for section in update.withdrawn.iter().flatten() {
        let prefixes: Vec<_> = section.nlri.into_iter().collect();
        assert_eq!(withdraw(context, section.family, &prefixes, out), prefixes.len());
    }
}

fn meaning(sample: &Sample) -> String {
    let mut out = String::new();
    match decode(&sample.bytes, &sample.context) {
        Err(error) => {
            writeln!(out, "error: {error}\nanswer: {}", error.notification.describe())
        }
        Ok(Message::Open(open)) => describe_open(&open, &mut out),
        Ok(Message::Update(update)) => describe_update(&update, &mut out),
        Ok(Message::Notification(n)) => writeln!(out, "NOTIFICATION {}", n.describe()),
        Ok(Message::Keepalive) => writeln!(out, "KEEPALIVE"),
        Ok(Message::RouteRefresh(family)) => writeln!(out, "ROUTE-REFRESH {family}"),
        Ok(Message::RefreshMark(family, mark)) => writeln!(out, "ROUTE-REFRESH {family} {mark:?}"),
    }
    .unwrap();
    out
}

fn describe_open(open: &Open, out: &mut String) -> std::fmt::Result {
    let Open { asn, hold_time, router_id, capabilities } = open;
    writeln!(out, "OPEN asn {asn}, hold time {hold_time} s, router id {router_id}")?;
    writeln!(out, "  families {:?}", open.families())?;
    capabilities.iter().try_for_each(|c| match c {
        Capability::Unknown { value, .. } => writeln!(out, "  {c} {value:02x?}"),
        _ => writeln!(out, "  {c}"),
    })
}

fn describe_update(update: &Update<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "UPDATE")?;
    for Withdrawn { family, nlri } in update.withdrawn.iter().flatten() {
        writeln!(out, "  withdrawn {family}: {}", listed(nlri))?;
    }
    for Announced { family, next_hop, nlri } in update.announced.iter().flatten() {
        writeln!(out, "  announced {family} via {next_hop:?}: {}", listed(nlri))?;
    }
    if let Some(attributes) = &update.attributes {
        describe_attributes(attributes, out)?;
    }
    if let Some(fault) = &update.fault {
        let verdict = if fault.withdraw { "treated as withdrawn" } else { "discarded" };
        writeln!(out, "  {verdict}: {}", fault.text)?;
    }
    match update.end_of_rib {
        Some(family) => writeln!(out, "  End-of-RIB {family}"),
        None => Ok(()),
    }
}

/// With identifiers, where there are any (RFC 7911 §3).
fn listed(nlri: &Nlri<'_>) -> String {
    if nlri.paths().all(|(_, id)| id == 0) {
        return format!("{nlri:?}");
    }
    let all: Vec<String> = nlri.paths().map(|(prefix, id)| format!("{prefix} #{id}")).collect();
    format!("[{}]", all.join(", "))
}

fn describe_attributes(a: &Attributes, out: &mut String) -> std::fmt::Result {
    writeln!(out, "  origin {}, as path [{}]", a.origin, a.as_path)?;
    if let Some(med) = a.med {
        writeln!(out, "  med {med}")?;
    }
    if let Some(local_pref) = a.local_pref {
        writeln!(out, "  local preference {local_pref}")?;
    }
    if a.atomic_aggregate {
        writeln!(out, "  atomic aggregate")?;
    }
    if let Some(Aggregator { asn, router_id }) = a.aggregator {
        writeln!(out, "  aggregator {asn} {router_id}")?;
    }
    list(out, "communities", a.communities.iter().map(|c| Community(*c)))?;
    list(out, "extended", a.extended_communities.iter().map(|c| ExtendedCommunity(*c)))?;
    list(out, "large", a.large_communities.iter().map(|c| LargeCommunity(*c)))?;
    if let Some(id) = a.originator_id {
        writeln!(out, "  originator {id}")?;
    }
    list(out, "clusters", &a.cluster_list)?;
    if a.partial != Partial::default() {
        writeln!(out, "  {:?}", a.partial)?;
    }
    a.unknown.iter().try_for_each(|RawAttribute { flags, code, value }| {
        writeln!(out, "  unknown {code} flags {flags:02x} {value:02x?}")
    })
}

fn list<T: ToString>(
    out: &mut String,
    name: &str,
    items: impl IntoIterator<Item = T>,
) -> std::fmt::Result {
    let items: Vec<_> = items.into_iter().map(|i| i.to_string()).collect();
    if items.is_empty() { Ok(()) } else { writeln!(out, "  {name} {}", items.join(" ")) }
}
