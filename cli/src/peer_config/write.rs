//! Lines of a switch's configuration and what is said beside them.

use super::side::{BfdSide, FamilySide, Match, Side};
use crate::text::clean_line;
use mainstay_config::{AoAlgorithm, Family, Role};

/// Comments are wrapped to this width.
const WIDTH: usize = 96;

/// The placeholder of every key.
pub(crate) const KEY: &str = "REPLACE-WITH-THE-KEY";

pub(crate) struct Writer {
    comment: &'static str,
    text: String,
}

impl Writer {
    pub(crate) fn new(comment: &'static str) -> Self {
        Self { comment, text: String::new() }
    }

    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// A comment, indented as deep as what it is about.
    pub(crate) fn say(&mut self, indent: usize, words: impl AsRef<str>) {
        let start = format!("{}{} ", " ".repeat(indent), self.comment);
        let mut line = start.clone();
        for word in clean_line(words.as_ref()).split_whitespace() {
            if line.len() + word.len() > WIDTH && line.len() > start.len() {
                self.line(line.trim_end());
                line.clone_from(&start);
            }
            line.push_str(word);
            line.push(' ');
        }
        self.line(line.trim_end());
    }

    pub(crate) fn end(self) -> String {
        self.text
    }

    /// What stands at the head of every platform's text.
    pub(crate) fn head(&mut self, side: &Side, platform: &str) {
        let at = side.address.map_or_else(String::new, |a| format!(" ({a})"));
        let nodes = match side.neighbors.as_slice() {
            [one] if one.node.is_empty() => "every node".into(),
            [one] => format!("node {}", one.node),
            all => format!("{} nodes", all.len()),
        };
        let (peer, asn, theirs) = (&side.peer, side.asn, side.node_asn);
        self.say(
            0,
            format!("{peer}{at}, AS {asn}, towards {nodes}, AS {theirs}: {platform}, by mainstay peer-config."),
        );
        self.say(
            0,
            "Lines marked RESETS end running sessions when they change on a switch that has them up: \
             apply those before the nodes come, or in a maintenance window.",
        );
        if side.port != 179 {
            self.say(0, format!("The nodes dial port {} of this switch.", side.port));
        }
        if let Some(range) = side.neighbors.get(MANY).and_then(|_| common(side)) {
            let many = side.neighbors.len();
            self.say(
                0,
                format!("{many} nodes, all within {range}: --listen-range {range} prints one block for all."),
            );
        }
    }

    /// What the key is and where; said above the placeholder.
    pub(crate) fn about_key(&mut self, indent: usize, side: &Side) {
        if let Some(path) = &side.session.password_file {
            self.say(
                indent,
                format!(
                    "RESETS, unless both sides change it within the hold time. The key is in {} on \
                     the nodes; it is not printed here.",
                    path.display()
                ),
            );
        }
    }

    /// TCP-AO (RFC 5925): which keys, by their numbers as the switch has them.
    pub(crate) fn about_ao(&mut self, indent: usize, side: &Side) {
        for (n, key) in side.session.tcp_ao.iter().enumerate() {
            let uses = if n == 0 { "used first" } else { "understood" };
            self.say(
                indent,
                format!(
                    "RESETS. TCP-AO (RFC 5925), a key that is {uses}: send KeyID {}, receive KeyID {}, \
                     {}; it is in {} on the nodes. Verify how your release writes it.",
                    key.receive_id,
                    key.send_id,
                    match key.algorithm {
                        AoAlgorithm::HmacSha1 => "HMAC-SHA-1-96",
                        AoAlgorithm::Aes128Cmac => "AES-128-CMAC-96",
                    },
                    key.file.display()
                ),
            );
        }
    }

    /// On platforms of which no document has roles.
    pub(crate) fn about_role(&mut self, indent: usize, side: &Side) {
        let Some(role) = role(side) else { return };
        let needed = if side.session.options.role_strict {
            "without it they refuse the session (role_strict)"
        } else {
            "without it they alone keep leaks off"
        };
        self.say(
            indent,
            format!(
                "The nodes take this switch for a {role} and would hear it say so (RFC 9234); \
                 {needed}. Whether your release has roles: verify."
            ),
        );
    }

    /// RFC 5082; how many hops away the nodes are.
    pub(crate) fn about_ttl(&mut self, indent: usize, side: &Side) -> Option<u8> {
        let hops = side.session.options.ttl_security?;
        self.say(
            indent,
            "RESETS when it changes. The nodes send with TTL 255 and drop what has come over more \
             hops (RFC 5082); both sides need it.",
        );
        Some(hops)
    }

    pub(crate) fn about_restart(&mut self, indent: usize, side: &Side) {
        match side.restart_time() {
            Some(time) => self.say(
                indent,
                format!("The nodes ask to be waited for {time} s when their speaker restarts."),
            ),
            None => self.say(
                indent,
                "The nodes do not restart gracefully (graceful_restart.enabled is false): there is \
                 nothing to help with.",
            ),
        }
    }

    pub(crate) fn about_passive(&mut self, indent: usize, side: &Side) {
        if side.session.passive {
            self.say(indent, "The nodes wait: this switch has to dial them.");
        } else if side.must_wait() {
            self.say(indent, "The nodes do not listen: they dial, this switch waits.");
        }
    }

    /// On platforms where an interface has the timers, and BFD over several hops (`far`) its own.
    pub(crate) fn about_interface_bfd(
        &mut self,
        indent: usize,
        side: &Side,
        min_rx: &str,
        far: &[&str],
    ) {
        let Some(BfdSide { tx, rx, multiplier }) = side.bfd() else { return };
        if !side.is_far() {
            self.say(indent, "The nodes' timers, on the interface that has the nodes:");
            return self
                .say(indent, format!("bfd interval {tx} {min_rx} {rx} multiplier {multiplier}"));
        }
        self.say(indent, "The nodes' timers, over several hops (verify on your release):");
        let [tx, rx, n] = [tx.to_string(), rx.to_string(), multiplier.to_string()];
        for line in far {
            let words = line.split(' ').map(|word| match word {
                "TX" => tx.as_str(),
                "RX" => rx.as_str(),
                "N" => n.as_str(),
                other => other,
            });
            self.say(indent, words.collect::<Vec<_>>().join(" "));
        }
    }

    pub(crate) fn about_limit(&mut self, indent: usize, family: &FamilySide) {
        self.say(indent, format!("At most {}: {}.", family.limit, family.limit_because));
    }

    pub(crate) fn about_port(&mut self, indent: usize, side: &Side) -> Option<u16> {
        let port = side.node_port.filter(|port| *port != 179 && !side.must_wait())?;
        self.say(indent, format!("The nodes listen on port {port}."));
        Some(port)
    }

    /// `ip prefix-list NAME seq 5 permit 10.244.0.0/16 ge 26 le 26` and so on.
    pub(crate) fn prefix_list(&mut self, name: &str, family: Family, matches: &[Match]) {
        let ip = if family == Family::Ipv4 { "ip" } else { "ipv6" };
        for (i, entry) in listed(family, matches).iter().enumerate() {
            self.line(format!("{ip} prefix-list {name} seq {} {entry}", (i + 1) * 5));
        }
    }
}

/// What the switch is to the nodes, if they have a role (RFC 9234 §4.2).
pub(crate) fn role(side: &Side) -> Option<&'static str> {
    Some(match side.session.options.role? {
        Role::Provider => "customer",
        Role::Customer => "provider",
        Role::Peer => "peer",
        Role::Rs => "rs-client",
        Role::RsClient => "rs-server",
    })
}

/// More neighbours than this are worth a range.
const MANY: usize = 8;

/// The lines of a prefix list in the words that FRR, EOS, NX-OS and IOS share.
pub(crate) fn listed(family: Family, matches: &[Match]) -> Vec<String> {
    if matches.is_empty() {
        let all = if family == Family::Ipv4 { "0.0.0.0/0 le 32" } else { "::/0 le 128" };
        return vec![format!("deny {all}")];
    }
    matches.iter().map(entry).collect()
}

fn entry(m: &Match) -> String {
    let Match { within, ge, le, .. } = m;
    let verb = if m.accept { "permit" } else { "deny" };
    let longest = if within.is_ipv4() { 32 } else { 128 };
    let lengths = match (*ge == within.len(), *le == within.len(), *le == longest) {
        (true, true, _) => String::new(),
        (true, false, _) => format!(" le {le}"),
        (false, _, true) => format!(" ge {ge}"),
        (false, ..) => format!(" ge {ge} le {le}"),
    };
    format!("{verb} {within}{lengths}")
}

/// The narrowest usual prefix that holds all the nodes.
fn common(side: &Side) -> Option<mainstay_prefix::Prefix> {
    if side.range.is_some() || side.session.passive {
        return None;
    }
    let first = side.neighbors.first()?.address;
    let lengths: &[u8] =
        if first.is_ipv4() { &[27, 26, 25, 24, 23, 22, 21, 20] } else { &[64, 56, 48] };
    let holds = |len: &u8| {
        let prefix = mainstay_prefix::Prefix::containing(first, *len).ok()?;
        side.neighbors.iter().all(|n| prefix.contains(n.address)).then_some(prefix)
    };
    lengths.iter().find_map(holds)
}

pub(crate) const fn afi(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

/// The prefix lists of a family, in and out.
pub(crate) fn list_names(side: &Side, family: Family) -> (String, String) {
    let v = if family == Family::Ipv4 { "4" } else { "6" };
    (format!("{}-IN{v}", side.group()), format!("{}-OUT{v}", side.group()))
}
