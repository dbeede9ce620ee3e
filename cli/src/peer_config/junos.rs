//! Juniper Junos, as `set` commands.

use super::side::{FamilySide, Match, Side};
use super::write::{KEY, Writer};
use mainstay_config::Family;
use mainstay_prefix::Prefix;
use std::net::IpAddr;

/// The longest stale-routes-time Junos takes.
const LONGEST_STALE: u64 = 600;

pub(crate) fn render(side: &Side) -> String {
    let mut w = Writer::new("#");
    w.head(side, "Juniper Junos");
    w.say(
        0,
        "Not loaded into a device by us: load set terminal, then commit check and show | compare, \
         and verify on your release what is marked so.",
    );
    if let Some(IpAddr::V4(address)) = side.address {
        w.say(0, "RESETS every session when it changes.");
        w.line(format!("set routing-options router-id {address}"));
    }
    w.line(format!("set routing-options autonomous-system {}", side.asn));
    policies(side, &mut w);
    let at = format!("set protocols bgp group {}", side.group());
    session(side, &at, &mut w);
    restart(side, &at, &mut w);
    for family in &side.families {
        address_family(side, family, &at, &mut w);
    }
    members(side, &at, &mut w);
    w.end()
}

fn policies(side: &Side, w: &mut Writer) {
    let group = side.group();
    for (name, matches) in [
        ("IN", side.families.iter().map(|f| &f.from_node).collect::<Vec<_>>()),
        ("OUT", side.families.iter().map(|f| &f.to_node).collect()),
    ] {
        let policy = format!("set policy-options policy-statement {group}-{name}");
        for (i, m) in matches.into_iter().flatten().enumerate() {
            w.line(format!("{policy} term {i} from route-filter {}", filter(m)));
            let verdict = if m.accept { "accept" } else { "reject" };
            w.line(format!("{policy} term {i} then {verdict}"));
        }
        w.line(format!("{policy} then reject"));
    }
    if side.families.iter().any(|f| f.originate_default) {
        w.say(0, "The nodes take a default route and nothing else. Junos sends one only if it has one itself; where it has none, make one of a route that it learns:");
        for family in side.families.iter().filter(|f| f.originate_default) {
            match family.family {
                Family::Ipv4 => {
                    w.say(0, format!("set routing-options generate route {}", Prefix::DEFAULT_V4))
                }
                Family::Ipv6 => w.say(
                    0,
                    format!(
                        "set routing-options rib inet6.0 generate route {}",
                        Prefix::DEFAULT_V6
                    ),
                ),
            }
        }
    }
    w.say(0, "The same prefix from several nodes goes over all of them.");
    w.line("set policy-options policy-statement MAINSTAY-ECMP then load-balance per-packet");
    w.line("set routing-options forwarding-table export MAINSTAY-ECMP");
}

fn filter(m: &Match) -> String {
    let Match { within, ge, le, .. } = m;
    match (*ge == within.len(), *le == within.len()) {
        (true, true) => format!("{within} exact"),
        (true, false) => format!("{within} upto /{le}"),
        (false, _) => format!("{within} prefix-length-range /{ge}-/{le}"),
    }
}

fn session(side: &Side, at: &str, w: &mut Writer) {
    let kind = if side.is_internal() { "internal" } else { "external" };
    w.line(format!("{at} type {kind}"));
    w.line(format!("{at} description \"nodes of Mainstay, bgp.peers {}\"", side.peer));
    w.line(format!("{at} peer-as {}", side.node_asn));
    w.say(0, "RESETS when it changes. Junos sends KEEPALIVEs three times as often.");
    w.line(format!("{at} hold-time {}", side.hold()));
    if let Some(hops) = side.session.multihop.filter(|_| !side.is_internal()) {
        w.say(0, "RESETS when it changes.");
        w.line(format!("{at} multihop ttl {hops}"));
    }
    if let Some(source) = side.source() {
        w.line(format!("{at} local-address {source}"));
    }
    if side.session.password_file.is_some() {
        w.about_key(0, side);
        w.line(format!("{at} authentication-key \"{KEY}\""));
    }
    w.about_ao(0, side);
    if let Some(hops) = w.about_ttl(0, side) {
        w.say(0, format!("Junos sends so by this; it drops nothing by itself: a firewall filter on what the nodes reach has to take TCP port 179 with TTL {} or more alone.", 256 - u16::from(hops)));
        let multihop = if hops > 1 || side.is_internal() { " multihop" } else { "" };
        w.line(format!("{at}{multihop} ttl 255"));
    }
    w.about_role(0, side);
    if let Some(bfd) = side.bfd() {
        let bfd_at = format!("{at} bfd-liveness-detection");
        w.line(format!("{bfd_at} minimum-receive-interval {}", bfd.rx));
        w.line(format!("{bfd_at} transmit-interval minimum-interval {}", bfd.tx));
        w.line(format!("{bfd_at} multiplier {}", bfd.multiplier));
    }
    w.about_passive(0, side);
    if side.must_wait() {
        w.line(format!("{at} passive"));
    }
    if w.about_port(0, side).is_some() {
        w.say(0, "Junos dials port 179 unless your release has tcp-connect-port: let the nodes dial, or set bgp.listen.port to 179.");
    }
    if !side.is_internal() {
        w.line(format!("{at} multipath multiple-as"));
    } else {
        w.line(format!("{at} multipath"));
        if side.neighbors.len() > 1 {
            w.say(0, "Inside one AS nodes hear of each other through this switch (RFC 4456): a cluster ID, usually the router ID.");
            let id = side.address.filter(IpAddr::is_ipv4);
            match id {
                Some(id) => w.line(format!("{at} cluster {id}")),
                None => w.say(0, format!("{at} cluster A.B.C.D")),
            }
        }
    }
    w.line(format!("{at} import {}-IN", side.group()));
    w.line(format!("{at} export {}-OUT", side.group()));
}

fn restart(side: &Side, at: &str, w: &mut Writer) {
    w.about_restart(0, side);
    let Some(stale) = side.stale_time() else { return };
    w.say(0, "Junos helps by default. RESETS: a change of graceful restart ends the sessions.");
    if stale > LONGEST_STALE {
        w.say(0, format!("{stale} s would fit the nodes' restart time; Junos takes {LONGEST_STALE} s at most."));
    }
    w.line(format!("{at} graceful-restart stale-routes-time {}", stale.min(LONGEST_STALE)));
    if let Some(time) = side.long_lived() {
        w.say(0, format!("The nodes ask for {time} s of long-lived graceful restart (RFC 9494), for which Junos is a receiver unless told otherwise."));
        w.line(format!("{at} graceful-restart long-lived receiver enable"));
    }
    if side.notification() {
        w.say(0, "The N bit (RFC 8538): mainstay peers check reads from the OPEN whether your release has it.");
    }
    if side.session.bfd.is_some() {
        w.say(0, "Keeps stale routes when BFD goes down together with the speaker only if this is NOT set: dont-help-shared-fate-bfd-down.");
    }
}

fn address_family(side: &Side, family: &FamilySide, at: &str, w: &mut Writer) {
    let inet = if family.family == Family::Ipv4 { "inet" } else { "inet6" };
    w.say(0, "RESETS: a family more or less is agreed on in the OPEN.");
    w.line(format!("{at} family {inet} unicast"));
    w.about_limit(0, family);
    w.line(format!("{at} family {inet} unicast prefix-limit maximum {}", family.limit));
    w.line(format!("{at} family {inet} unicast prefix-limit teardown 80 idle-timeout 5"));
    if side.foreign_family() == Some(family.family) {
        w.say(0, "Its next hops on a session of the other family: verify on your release (local-ipv6-address), or give the nodes a second peer for this family.");
    }
}

fn members(side: &Side, at: &str, w: &mut Writer) {
    if let Some(range) = side.range {
        w.line(format!("{at} allow {range}"));
        return;
    }
    for n in &side.neighbors {
        w.line(format!("{at} neighbor {} description \"{}\"", n.address, n.node));
    }
}
