//! Arista EOS.

use super::side::{FamilySide, Side};
use super::write::{KEY, Writer, afi, list_names, listed};
use mainstay_config::Family;

/// What the documents at hand allow; beyond it the switch refuses the line.
const LONGEST_RESTART: u64 = 3600;

pub(crate) fn render(side: &Side) -> String {
    let mut w = Writer::new("!");
    w.head(side, "Arista EOS");
    w.say(
        0,
        "Not loaded into a device by us: use a configure session, look at show session-config \
         diffs, and verify on your release what is marked so.",
    );
    lists(side, &mut w);
    w.line(format!("router bgp {}", side.asn));
    if let Some(std::net::IpAddr::V4(address)) = side.address {
        w.say(3, "RESETS every session when it changes.");
        w.line(format!("   router-id {address}"));
    }
    w.line(format!("   maximum-paths {0} ecmp {0}", side.paths()));
    restart(side, &mut w);
    group(side, &mut w);
    members(side, &mut w);
    for family in &side.families {
        address_family(side, family, &mut w);
    }
    w.line("!");
    w.end()
}

/// IPv6 lists are modes of their own.
fn lists(side: &Side, w: &mut Writer) {
    for family in &side.families {
        let (from, to) = list_names(side, family.family);
        for (name, matches) in [(from, &family.from_node), (to, &family.to_node)] {
            if family.family == Family::Ipv4 {
                w.prefix_list(&name, family.family, matches);
                continue;
            }
            w.line(format!("ipv6 prefix-list {name}"));
            for (i, entry) in listed(family.family, matches).iter().enumerate() {
                w.line(format!("   seq {} {entry}", (i + 1) * 5));
            }
        }
    }
    w.line("!");
}

fn restart(side: &Side, w: &mut Writer) {
    w.about_restart(3, side);
    match (side.long_lived(), side.stale_time()) {
        (Some(time), _) => {
            w.say(3, format!("The nodes ask for {time} s of long-lived graceful restart (RFC 9494); EOS helps either so or by restart-time, not both. Verify on your release that restart_time is honoured as well."));
            w.line("   graceful-restart-helper long-lived");
        }
        (None, Some(stale)) => {
            w.say(3, "EOS is a helper by default as far as its configuration model tells: verify on your release with show bgp neighbors. EOS drops stale routes at the End-of-RIB, strictly.");
            w.line(format!(
                "   graceful-restart-helper restart-time {}",
                stale.min(LONGEST_RESTART)
            ));
        }
        (None, None) => {}
    }
    if side.notification() {
        w.say(3, "The N bit (RFC 8538): no EOS document at hand; mainstay peers check reads from the OPEN whether your release has it.");
    }
}

fn group(side: &Side, w: &mut Writer) {
    let group = side.group();
    w.line(format!("   neighbor {group} peer group"));
    w.line(format!("   neighbor {group} remote-as {}", side.node_asn));
    w.line(format!("   neighbor {group} timers {} {}", side.keepalive(), side.hold()));
    if side.restart_time().is_some() {
        w.say(3, "RESETS when it changes on a running session: the capability is in the OPEN.");
        w.line(format!("   neighbor {group} graceful-restart"));
    }
    if let Some(hops) = side.session.multihop.filter(|_| !side.is_internal()) {
        w.line(format!("   neighbor {group} ebgp-multihop {hops}"));
    }
    if let Some(source) = side.source() {
        w.say(
            3,
            format!("The nodes know this switch as {source}: name the interface that has it."),
        );
        w.say(3, format!("neighbor {group} update-source INTERFACE"));
    }
    if side.session.password_file.is_some() {
        w.about_key(3, side);
        w.line(format!("   neighbor {group} password 0 {KEY}"));
    }
    w.about_ao(3, side);
    if let Some(hops) = w.about_ttl(3, side) {
        w.line(format!("   neighbor {group} ttl maximum-hops {hops}"));
    }
    w.about_role(3, side);
    if side.session.bfd.is_some() {
        w.say(3, "Whether EOS heeds the C bit with graceful restart: verify on your release.");
        w.line(format!("   neighbor {group} bfd"));
    }
    w.about_interface_bfd(
        3,
        side,
        "min-rx",
        &["router bfd", "multihop interval TX min-rx RX multiplier N"],
    );
    w.about_passive(3, side);
    if side.must_wait() {
        w.line(format!("   neighbor {group} passive"));
    }
    if w.about_port(3, side).is_some() {
        w.say(3, "EOS dials port 179 alone: let the nodes dial, or set bgp.listen.port to 179.");
    }
    if side.is_internal() && side.neighbors.len() > 1 {
        w.line(format!("   neighbor {group} route-reflector-client"));
    }
    let limit = side.families.iter().map(|f| f.limit).max().unwrap_or(0);
    side.families.iter().for_each(|family| w.about_limit(3, family));
    w.line(format!("   neighbor {group} maximum-routes {limit} warning-limit 80 percent"));
}

fn members(side: &Side, w: &mut Writer) {
    let group = side.group();
    if let Some(range) = side.range {
        w.say(3, "The form of this line differs between releases: verify on yours.");
        w.line(format!(
            "   bgp listen range {range} peer-group {group} remote-as {}",
            side.node_asn
        ));
        return;
    }
    for n in &side.neighbors {
        w.line(format!("   neighbor {} peer group {group}", n.address));
        w.line(format!("   neighbor {} description {}", n.address, n.node));
    }
}

fn address_family(side: &Side, family: &FamilySide, w: &mut Writer) {
    let group = side.group();
    let (from, to) = list_names(side, family.family);
    w.line("   !");
    w.line(format!("   address-family {}", afi(family.family)));
    w.say(6, "RESETS: a family more or less is agreed on in the OPEN.");
    w.line(format!("      neighbor {group} activate"));
    w.line(format!("      neighbor {group} prefix-list {from} in"));
    w.line(format!("      neighbor {group} prefix-list {to} out"));
    if family.originate_default {
        w.say(6, "The nodes take a default route and nothing else.");
        w.line(format!("      neighbor {group} default-originate always"));
    }
    if side.foreign_family() == Some(family.family) {
        w.say(6, "Its next hops on a session of the other family are this switch's to set: verify on your release what it sends, or give the nodes a second peer for this family.");
    }
}
