//! Cisco IOS XE.

use super::side::{FamilySide, Side};
use super::write::{KEY, Writer, afi, list_names};
use std::net::IpAddr;

/// The longest stalepath-time IOS takes.
const LONGEST_STALE: u64 = 3600;
/// The most next hops IOS takes on its larger platforms.
const MOST_PATHS: usize = 32;

pub(crate) fn render(side: &Side) -> String {
    let mut w = Writer::new("!");
    w.head(side, "Cisco IOS XE");
    w.say(0, "Not loaded into a device by us: verify on your release what is marked so.");
    for family in &side.families {
        let (from, to) = list_names(side, family.family);
        w.prefix_list(&from, family.family, &family.from_node);
        w.prefix_list(&to, family.family, &family.to_node);
    }
    w.line("!");
    w.line(format!("router bgp {}", side.asn));
    if let Some(IpAddr::V4(address)) = side.address {
        w.say(1, "RESETS every session when it changes.");
        w.line(format!(" bgp router-id {address}"));
    }
    w.line(" no bgp default ipv4-unicast");
    if !side.is_internal() {
        w.line(" bgp bestpath as-path multipath-relax");
    }
    restart(side, &mut w);
    group(side, &mut w);
    members(side, &mut w);
    for family in &side.families {
        address_family(side, family, &mut w);
    }
    w.line("!");
    w.end()
}

fn restart(side: &Side, w: &mut Writer) {
    w.about_restart(1, side);
    let Some(stale) = side.stale_time() else { return };
    w.say(1, "Graceful restart is OFF by default, the helper's part too. RESETS: sessions agree on it only when they come up anew (clear ip bgp *, or the next natural reset).");
    w.line(" bgp graceful-restart");
    w.line(format!(" bgp graceful-restart stalepath-time {}", stale.min(LONGEST_STALE)));
    if side.notification() {
        w.say(1, "The N bit (RFC 8538): no IOS XE document at hand; mainstay peers check reads from the OPEN whether your release has it.");
    }
    if let Some(time) = side.long_lived() {
        w.say(1, format!("The nodes ask for {time} s of long-lived graceful restart (RFC 9494): no IOS XE document at hand, verify on your release."));
    }
}

fn group(side: &Side, w: &mut Writer) {
    let group = side.group();
    w.line(format!(" neighbor {group} peer-group"));
    w.line(format!(" neighbor {group} remote-as {}", side.node_asn));
    w.line(format!(" neighbor {group} timers {} {}", side.keepalive(), side.hold()));
    if side.restart_time().is_some() {
        w.say(1, "RESETS, as above.");
        w.line(format!(" neighbor {group} ha-mode graceful-restart"));
    }
    if let Some(hops) = side.session.multihop.filter(|_| !side.is_internal()) {
        w.line(format!(" neighbor {group} ebgp-multihop {hops}"));
    }
    if let Some(source) = side.source() {
        w.say(
            1,
            format!("The nodes know this switch as {source}: name the interface that has it."),
        );
        w.say(1, format!("neighbor {group} update-source INTERFACE"));
    }
    if side.session.password_file.is_some() {
        w.about_key(1, side);
        w.line(format!(" neighbor {group} password {KEY}"));
    }
    w.about_ao(1, side);
    if let Some(hops) = w.about_ttl(1, side) {
        w.line(format!(" neighbor {group} ttl-security hops {hops}"));
    }
    w.about_role(1, side);
    if side.session.bfd.is_some() {
        w.say(1, "Whether IOS XE heeds the C bit with graceful restart: verify on your release.");
        let far = if side.is_far() { " multi-hop" } else { "" };
        w.line(format!(" neighbor {group} fall-over bfd{far}"));
    }
    w.about_interface_bfd(
        1,
        side,
        "min_rx",
        &[
            "bfd-template multi-hop NAME",
            "interval min-tx TX min-rx RX multiplier N",
            "bfd map ipv4 NODES/LEN THIS-SWITCH/32 NAME",
        ],
    );
    w.about_passive(1, side);
    if side.must_wait() {
        w.line(format!(" neighbor {group} transport connection-mode passive"));
    }
    if w.about_port(1, side).is_some() {
        w.say(1, "IOS XE dials port 179 alone: let the nodes dial, or set bgp.listen.port to 179.");
    }
}

fn members(side: &Side, w: &mut Writer) {
    let group = side.group();
    if let Some(range) = side.range {
        w.line(format!(" bgp listen limit {}", side.neighbors.len().next_power_of_two().max(128)));
        w.line(format!(" bgp listen range {range} peer-group {group}"));
        return;
    }
    for n in &side.neighbors {
        w.line(format!(" neighbor {} peer-group {group}", n.address));
        w.line(format!(" neighbor {} description {}", n.address, n.node));
    }
}

fn address_family(side: &Side, family: &FamilySide, w: &mut Writer) {
    let group = side.group();
    let (from, to) = list_names(side, family.family);
    w.line(" !");
    w.line(format!(" address-family {}", afi(family.family)));
    let ibgp = if side.is_internal() { "ibgp " } else { "" };
    w.line(format!("  maximum-paths {ibgp}{}", side.paths().min(MOST_PATHS)));
    w.say(2, "RESETS: a family more or less is agreed on in the OPEN.");
    if side.range.is_some() {
        w.line(format!("  neighbor {group} activate"));
    }
    for n in side.neighbors.iter().filter(|_| side.range.is_none()) {
        w.line(format!("  neighbor {} activate", n.address));
    }
    w.line(format!("  neighbor {group} prefix-list {from} in"));
    w.line(format!("  neighbor {group} prefix-list {to} out"));
    w.about_limit(2, family);
    w.line(format!("  neighbor {group} maximum-prefix {} 80 restart 5", family.limit));
    if family.originate_default {
        w.say(2, "The nodes take a default route and nothing else.");
        w.line(format!("  neighbor {group} default-originate"));
    }
    if side.is_internal() && side.neighbors.len() > 1 {
        w.line(format!("  neighbor {group} route-reflector-client"));
    }
    if side.foreign_family() == Some(family.family) {
        w.say(2, "Its next hops on a session of the other family have to be set by a route-map: verify on your release, or give the nodes a second peer for this family.");
    }
    w.line(" exit-address-family");
}
