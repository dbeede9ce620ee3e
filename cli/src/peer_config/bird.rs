//! BIRD 2.

use super::side::{FamilySide, Match, Side};
use super::write::{KEY, Writer, afi, role};
use mainstay_config::Family;

pub(crate) fn render(side: &Side) -> String {
    let mut w = Writer::new("#");
    w.head(side, "BIRD 2.0.8 or newer");
    w.say(
        0,
        "birdc configure applies it: only protocols that changed are started again, so a line \
         marked RESETS resets the sessions of this template alone; filters and limits reset none.",
    );
    if side.session.bfd.is_some() {
        w.say(0, "BFD needs one of these in the file: protocol bfd { }");
    }
    w.say(0, "Equal routes from several nodes are used together if the kernel protocols have: merge paths on;");
    for family in &side.families {
        filter(side, family, "in", &family.from_node, &mut w);
        filter(side, family, "out", &family.to_node, &mut w);
    }
    template(side, &mut w);
    members(side, &mut w);
    w.end()
}

/// BIRD's names have no dashes and dots.
fn symbol(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect()
}

fn group(side: &Side) -> String {
    format!("mainstay_{}", symbol(&side.peer))
}

fn filter_name(side: &Side, family: Family, way: &str) -> String {
    let v = if family == Family::Ipv4 { "4" } else { "6" };
    format!("{}_{way}{v}", group(side))
}

fn filter(side: &Side, family: &FamilySide, way: &str, matches: &[Match], w: &mut Writer) {
    w.line(format!("filter {} {{", filter_name(side, family.family, way)));
    for m in matches {
        let Match { within, ge, le, .. } = m;
        let verdict = if m.accept { "accept" } else { "reject" };
        w.line(format!("  if net ~ [ {within}{{{ge},{le}}} ] then {verdict};"));
    }
    w.line("  reject;");
    w.line("}");
}

fn template(side: &Side, w: &mut Writer) {
    w.line(format!("template bgp {} {{", group(side)));
    let own = side.address.map_or_else(String::new, |a| format!("{a} "));
    w.say(2, "RESETS: the addresses, the AS numbers, the timers and the key.");
    w.line(format!("  local {own}as {};", side.asn));
    let secured = w.about_ttl(2, side);
    match secured.or_else(|| side.session.multihop.filter(|_| !side.is_internal())) {
        Some(hops) if hops > 1 || secured.is_none() => w.line(format!("  multihop {hops};")),
        None if side.is_internal() => {}
        _ => w.line("  direct;"),
    }
    if secured.is_some() {
        w.line("  ttl security on;");
    }
    if let Some(role) = role(side) {
        w.say(2, "RESETS: the role is in the OPEN (RFC 9234). It needs BIRD 2.0.11.");
        w.line(format!("  local role {};", role.replace('-', "_")));
    }
    w.line(format!("  hold time {};", side.hold()));
    w.line(format!("  keepalive time {};", side.keepalive()));
    if side.session.password_file.is_some() {
        w.about_key(2, side);
        w.line(format!("  password \"{KEY}\";"));
    }
    w.about_ao(2, side);
    restart(side, w);
    if side.session.bfd.is_some() {
        w.say(2, "graceful: a node that BFD finds dead is waited for as if it restarted, for BIRD does not read the C bit; on drops it at once, also when speaker and keeper restart together and that takes longer than BFD waits.");
        let graceful = if side.restart_time().is_some() { "graceful" } else { "on" };
        w.line(format!("  bfd {graceful};"));
    }
    if let Some(bfd) = side.bfd() {
        let (rx, tx, multiplier) = (bfd.rx, bfd.tx, bfd.multiplier);
        w.line(format!(
            "  bfd {{ min rx interval {rx} ms; min tx interval {tx} ms; multiplier {multiplier}; }};"
        ));
    }
    w.about_passive(2, side);
    if side.must_wait() {
        w.line("  passive;");
    }
    if side.is_internal() && side.neighbors.len() > 1 {
        w.say(2, "Inside one AS nodes hear of each other through this switch (RFC 4456).");
        w.line("  rr client;");
    }
    for family in &side.families {
        channel(side, family, w);
    }
    w.line("}");
}

fn restart(side: &Side, w: &mut Writer) {
    w.about_restart(2, side);
    if side.restart_time().is_some() {
        w.say(2, "RESETS: it is in the OPEN. BIRD keeps routes for as long as the nodes ask; newer releases than 2.0 can bound that (max graceful restart time).");
        w.line("  graceful restart aware;");
    }
    if let Some(time) = side.long_lived() {
        w.say(2, format!("The nodes ask for {time} s of long-lived graceful restart (RFC 9494)."));
        w.line("  long lived graceful restart aware;");
    }
    if side.notification() {
        w.say(2, "BIRD 2 has no N bit (RFC 8538): a NOTIFICATION ends the help.");
    }
}

fn channel(side: &Side, family: &FamilySide, w: &mut Writer) {
    w.say(2, "RESETS: a family more or less is agreed on in the OPEN.");
    w.line(format!("  {} {{", afi(family.family)));
    w.line(format!("    import filter {};", filter_name(side, family.family, "in")));
    w.line(format!("    export filter {};", filter_name(side, family.family, "out")));
    w.about_limit(4, family);
    w.line(format!("    import limit {} action restart;", family.limit));
    if family.originate_default {
        let default = if family.family == Family::Ipv4 { "0.0.0.0/0" } else { "::/0" };
        w.say(4, format!("The nodes take a default route and nothing else; BIRD sends {default} if its table has it, which a protocol static can see to."));
    }
    w.line("  };");
}

fn members(side: &Side, w: &mut Writer) {
    let (group, asn) = (group(side), side.node_asn);
    if let Some(range) = side.range {
        w.line(format!("protocol bgp {group}_range from {group} {{"));
        w.line(format!("  neighbor range {range} as {asn};"));
        w.line(format!("  dynamic name \"{group}_\";"));
        w.line("}");
        return;
    }
    let port = w.about_port(0, side).map_or_else(String::new, |port| format!(" port {port}"));
    for n in &side.neighbors {
        let name = format!("{group}_{}", symbol(&n.node));
        w.line(format!("protocol bgp {name} from {group} {{"));
        w.line(format!("  description \"{}\";", n.node));
        w.line(format!("  neighbor {}{port} as {asn};", n.address));
        w.line("}");
    }
}
