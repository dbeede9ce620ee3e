//! FRRouting: `vtysh`, `/etc/frr/frr.conf`.

use super::side::{FamilySide, Side};
use super::write::{KEY, Writer, afi, list_names, role};

/// The lowest detect-multiplier FRR takes.
const LEAST_MULTIPLIER: u8 = 2;

pub(crate) fn render(side: &Side) -> String {
    let mut w = Writer::new("!");
    w.head(side, "FRR 8.4 or newer");
    if side.session.bfd.is_some() {
        w.say(0, "BFD needs bfdd=yes in /etc/frr/daemons, and FRR started again after that.");
    }
    body(side, &mut w);
    w.end()
}

/// What SONiC has as well.
pub(super) fn body(side: &Side, w: &mut Writer) {
    for family in &side.families {
        let (from, to) = list_names(side, family.family);
        w.prefix_list(&from, family.family, &family.from_node);
        w.prefix_list(&to, family.family, &family.to_node);
    }
    bfd_profile(side, w);
    w.line("!");
    w.line(format!("router bgp {}", side.asn));
    w.say(1, "RESETS: a router ID that changes. FRR takes the highest address unless it is given:");
    match side.address {
        Some(std::net::IpAddr::V4(address)) => w.line(format!(" bgp router-id {address}")),
        _ => w.say(1, "bgp router-id A.B.C.D"),
    }
    w.line(" no bgp default ipv4-unicast");
    if !side.is_internal() {
        w.say(1, "The same service address from several nodes is used over all of them.");
        w.line(" bgp bestpath as-path multipath-relax");
    }
    restart(side, w);
    group(side, w);
    members(side, w);
    for family in &side.families {
        address_family(side, family, w);
    }
    w.line("!");
}

fn bfd_profile(side: &Side, w: &mut Writer) {
    let Some(bfd) = side.bfd() else { return };
    w.line("bfd");
    w.line(format!(" profile {}", side.group()));
    if bfd.multiplier < LEAST_MULTIPLIER {
        w.say(2, format!("The nodes have {}; FRR takes no less than this.", bfd.multiplier));
    }
    w.line(format!("  detect-multiplier {}", bfd.multiplier.max(LEAST_MULTIPLIER)));
    w.line(format!("  receive-interval {}", bfd.rx));
    w.line(format!("  transmit-interval {}", bfd.tx));
    w.line(" exit");
    w.line("exit");
}

fn restart(side: &Side, w: &mut Writer) {
    w.about_restart(1, side);
    if let Some(stale) = side.stale_time() {
        w.say(1, "Helper is FRR's default; these are its bounds, for the whole router.");
        w.line(format!(" bgp graceful-restart stalepath-time {}", stale.min(4095)));
        w.say(
            1,
            "The F bit, said to neighbours for which this switch restarts gracefully itself: its \
             kernel keeps the routes. That is true if zebra has -K 120 in zebra_options of \
             /etc/frr/daemons; leave the line away if it has not.",
        );
        w.line(" bgp graceful-restart preserve-fw-state");
    }
    if side.notification() {
        w.say(
            1,
            "RESETS: the N bit (RFC 8538); it is FRR's default, so nothing changes by this line.",
        );
        w.line(" bgp graceful-restart notification");
    }
    if let Some(time) = side.long_lived() {
        w.say(
            1,
            format!(
                "The nodes ask for {time} s of long-lived graceful restart (RFC 9494). RESETS. FRR's \
                 documents and its code disagree on the helper's part: verify on your release with \
                 show bgp neighbors json."
            ),
        );
        w.line(format!(" bgp long-lived-graceful-restart stale-time {}", time.min(16_777_215)));
    }
}

fn group(side: &Side, w: &mut Writer) {
    let group = side.group();
    w.line(format!(" neighbor {group} peer-group"));
    w.line(format!(" neighbor {group} remote-as {}", side.node_asn));
    w.line(format!(" neighbor {group} description nodes of Mainstay, bgp.peers {}", side.peer));
    w.say(1, "From the next session on. The smaller hold time of the two sides counts.");
    w.line(format!(" neighbor {group} timers {} {}", side.keepalive(), side.hold()));
    if side.restart_time().is_some() {
        w.say(
            1,
            "FRR 8.4 keeps a change of this for the session's next start, and says so; on newer \
             releases count it among those that RESET.",
        );
        w.line(format!(" neighbor {group} graceful-restart-helper"));
    }
    if let Some(hops) = side.session.multihop.filter(|_| !side.is_internal()) {
        w.say(1, "RESETS when it changes.");
        w.line(format!(" neighbor {group} ebgp-multihop {hops}"));
    }
    if let Some(source) = side.source() {
        w.line(format!(" neighbor {group} update-source {source}"));
    }
    if side.session.password_file.is_some() {
        w.about_key(1, side);
        w.line(format!(" neighbor {group} password {KEY}"));
    }
    w.about_ao(1, side);
    if let Some(hops) = w.about_ttl(1, side) {
        w.line(format!(" neighbor {group} ttl-security hops {hops}"));
    }
    if let Some(role) = role(side) {
        w.say(1, "RESETS: the role is in the OPEN (RFC 9234).");
        w.line(format!(" neighbor {group} local-role {role}"));
    }
    if side.session.bfd.is_some() {
        w.line(format!(" neighbor {group} bfd"));
        w.line(format!(" neighbor {group} bfd profile {group}"));
        w.say(
            1,
            "Without bfd check-control-plane-failure: the nodes' BFD outlives their speaker, so when \
             it goes the node is dead. With that option FRR 8.4 overlooks the C bit that says so, and \
             believes a dead node until the hold time is over.",
        );
    }
    w.about_passive(1, side);
    if side.must_wait() {
        w.line(format!(" neighbor {group} passive"));
    }
    if let Some(port) = w.about_port(1, side).filter(|_| side.range.is_none()) {
        for n in &side.neighbors {
            // FRR has the port for neighbours only, and only once they have an AS.
            w.line(format!(" neighbor {} remote-as {}", n.address, side.node_asn));
            w.line(format!(" neighbor {} port {port}", n.address));
        }
    }
}

fn members(side: &Side, w: &mut Writer) {
    let group = side.group();
    if let Some(range) = side.range {
        w.say(1, "FRR forgets a neighbour of a range as soon as its session is lost, unless graceful restart was agreed on: keep it on. MD5 on a range needs a kernel from 4.14 on.");
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
    w.line(format!(" address-family {} unicast", afi(family.family)));
    let ibgp = if side.is_internal() { "ibgp " } else { "" };
    w.line(format!("  maximum-paths {ibgp}{}", side.paths()));
    w.say(2, "RESETS: a family more or less is agreed on in the OPEN.");
    w.line(format!("  neighbor {group} activate"));
    w.line(format!("  neighbor {group} prefix-list {from} in"));
    w.line(format!("  neighbor {group} prefix-list {to} out"));
    w.about_limit(2, family);
    w.line(format!("  neighbor {group} maximum-prefix {} 80 restart 5", family.limit));
    if family.originate_default {
        w.say(2, "The nodes take a default route and nothing else.");
        w.line(format!("  neighbor {group} default-originate"));
    }
    if side.is_internal() && side.neighbors.len() > 1 {
        w.say(2, "Inside one AS nodes hear of each other through this switch (RFC 4456).");
        w.line(format!("  neighbor {group} route-reflector-client"));
    }
    w.line(" exit-address-family");
}
