//! Cisco NX-OS.

use super::side::{FamilySide, Side};
use super::write::{KEY, Writer, afi, list_names};
use std::net::IpAddr;

/// The longest stalepath-time NX-OS takes.
const LONGEST_STALE: u64 = 3600;

pub(crate) fn render(side: &Side) -> String {
    let mut w = Writer::new("!");
    w.head(side, "Cisco NX-OS");
    w.say(
        0,
        "Not loaded into a device by us: use a configure session and verify it, and verify on your \
         release what is marked so.",
    );
    w.line("feature bgp");
    if side.session.bfd.is_some() {
        w.line("feature bfd");
    }
    for family in &side.families {
        let (from, to) = list_names(side, family.family);
        w.prefix_list(&from, family.family, &family.from_node);
        w.prefix_list(&to, family.family, &family.to_node);
    }
    w.line(format!("router bgp {}", side.asn));
    if let Some(IpAddr::V4(address)) = side.address {
        w.say(2, "RESETS every session when it changes.");
        w.line(format!("  router-id {address}"));
    }
    restart(side, &mut w);
    if !side.is_internal() {
        w.line("  bestpath as-path multipath-relax");
    }
    for family in &side.families {
        w.line(format!("  address-family {} unicast", afi(family.family)));
        let ibgp = if side.is_internal() { "ibgp " } else { "" };
        w.line(format!("    maximum-paths {ibgp}{}", side.paths()));
    }
    template(side, &mut w);
    members(side, &mut w);
    w.end()
}

fn restart(side: &Side, w: &mut Writer) {
    w.about_restart(2, side);
    let Some(stale) = side.stale_time() else { return };
    w.say(2, "Graceful restart is on by default as far as the configuration model tells (it knows the no form only): verify on your release with show bgp process. RESETS when it changes.");
    w.line("  graceful-restart");
    w.line(format!("  graceful-restart stalepath-time {}", stale.min(LONGEST_STALE)));
    if side.notification() {
        w.say(2, "The N bit (RFC 8538): no NX-OS document at hand; mainstay peers check reads from the OPEN whether your release has it.");
    }
    if let Some(time) = side.long_lived() {
        w.say(2, format!("The nodes ask for {time} s of long-lived graceful restart (RFC 9494): no NX-OS document at hand, verify on your release."));
    }
}

fn template(side: &Side, w: &mut Writer) {
    w.line(format!("  template peer {}", side.group()));
    w.line(format!("    remote-as {}", side.node_asn));
    w.line(format!("    timers {} {}", side.keepalive(), side.hold()));
    if let Some(hops) = side.session.multihop.filter(|_| !side.is_internal()) {
        w.line(format!("    ebgp-multihop {hops}"));
    }
    if let Some(source) = side.source() {
        w.say(
            4,
            format!("The nodes know this switch as {source}: name the interface that has it."),
        );
        w.say(4, "update-source INTERFACE");
    }
    if side.session.password_file.is_some() {
        w.about_key(4, side);
        w.line(format!("    password 0 {KEY}"));
    }
    w.about_ao(4, side);
    if let Some(hops) = w.about_ttl(4, side) {
        w.line(format!("    ttl-security hops {hops}"));
    }
    w.about_role(4, side);
    if side.session.bfd.is_some() {
        w.say(4, "Whether NX-OS heeds the C bit with graceful restart: verify on your release.");
        w.line("    bfd");
    }
    w.about_interface_bfd(4, side, "min_rx", &["bfd multihop interval TX min_rx RX multiplier N"]);
    w.about_passive(4, side);
    if side.must_wait() {
        w.line("    transport connection-mode passive");
    }
    if w.about_port(4, side).is_some() {
        w.say(4, "NX-OS dials port 179 alone: let the nodes dial, or set bgp.listen.port to 179.");
    }
    for family in &side.families {
        address_family(side, family, w);
    }
}

fn address_family(side: &Side, family: &FamilySide, w: &mut Writer) {
    let (from, to) = list_names(side, family.family);
    w.say(4, "RESETS: a family more or less is agreed on in the OPEN.");
    w.line(format!("    address-family {} unicast", afi(family.family)));
    w.line(format!("      prefix-list {from} in"));
    w.line(format!("      prefix-list {to} out"));
    w.about_limit(6, family);
    w.line(format!("      maximum-prefix {} 80 restart 5", family.limit));
    if family.originate_default {
        w.say(6, "The nodes take a default route and nothing else.");
        w.line("      default-originate");
    }
    if side.is_internal() && side.neighbors.len() > 1 {
        w.line("      route-reflector-client");
    }
    if side.foreign_family() == Some(family.family) {
        w.say(6, "Its next hops on a session of the other family have to be set by a route-map: verify on your release, or give the nodes a second peer for this family.");
    }
}

fn members(side: &Side, w: &mut Writer) {
    let group = side.group();
    if let Some(range) = side.range {
        w.line(format!("  neighbor {range}"));
        w.line(format!("    inherit peer {group}"));
        w.line(format!("    maximum-peers {}", side.neighbors.len().next_power_of_two().max(128)));
        return;
    }
    for n in &side.neighbors {
        w.line(format!("  neighbor {}", n.address));
        w.line(format!("    inherit peer {group}"));
        w.line(format!("    description {}", n.node));
    }
}
