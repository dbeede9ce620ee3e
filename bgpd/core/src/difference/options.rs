//! What changes of a session's options do.

use super::{Changes, Effect};
use crate::config::SpeakerConfig;
use crate::options::{LocalAs, Options};
use std::fmt::{Debug, Display};
use std::time::Duration;

pub(super) fn options(old: &Options, new: &Options, all: &mut Changes) {
    // Every field by its name, so that a new one cannot be forgotten here.
    let Options {
        extended_messages,
        extended_next_hop,
        role,
        role_strict,
        allow_as_in,
        enforce_first_as,
        as_override,
        local_as,
        remove_private,
        default_local_pref: preference,
        next_hop,
        send_communities,
        max_prefixes,
        send_hold_time,
    } = new;
    // The peer knows us by it.
    all.note("local_as", named(old.local_as), named(*local_as), asn_of(old, new));
    // Capabilities: worth no flap, the next session has them.
    let later = Effect::NextSession;
    all.note("extended_messages", old.extended_messages, extended_messages, later);
    all.note("extended_next_hop", old.extended_next_hop, extended_next_hop, later);
    all.note("role_strict", old.role_strict, role_strict, later);
    all.note("send_hold_time", time(old.send_hold_time), time(*send_hold_time), later);
    // Other rules for the same routes.
    let at_once = Effect::AtOnce;
    all.note("role", shown(old.role), shown(*role), at_once);
    all.note("allow_as_in", old.allow_as_in, allow_as_in, at_once);
    all.note("enforce_first_as", old.enforce_first_as, enforce_first_as, at_once);
    all.note("as_override", old.as_override, as_override, at_once);
    all.note("remove_private", word(old.remove_private), word(*remove_private), at_once);
    all.note("default_local_pref", old.default_local_pref, preference, at_once);
    all.note("next_hop", debug(old.next_hop), debug(*next_hop), at_once);
    all.note("send_communities", old.send_communities, send_communities, at_once);
    all.note("max_prefixes", old.max_prefixes, max_prefixes, at_once);
}

/// Among several paths.
pub(super) fn choice(old: &SpeakerConfig, new: &SpeakerConfig, all: &mut Changes) {
    let at_once = Effect::AtOnce;
    let (was, is) = (old.multipath, new.multipath);
    all.note("bgp.multipath.ebgp", number(was.external), number(is.external), at_once);
    all.note("bgp.multipath.ibgp", number(was.internal), number(is.internal), at_once);
    all.note("bgp.multipath.relax", was.relax, is.relax, at_once);
    let word = |weighted| if weighted { "link_bandwidth" } else { "none" };
    all.note("bgp.multipath.weights", word(was.weighted), word(is.weighted), at_once);
    let (was, is) = (old.med, new.med);
    all.note("bgp.med.always_compare", was.always_compare, is.always_compare, at_once);
    all.note("bgp.med.missing_as_worst", was.missing_as_worst, is.missing_as_worst, at_once);
}

fn number(most: usize) -> String {
    if most == usize::MAX { "any".into() } else { most.to_string() }
}

fn asn_of(old: &Options, new: &Options) -> Effect {
    let number = |options: &Options| options.local_as.map(|local| local.asn);
    if number(old) == number(new) { Effect::AtOnce } else { Effect::Resets }
}

fn named(local: Option<LocalAs>) -> String {
    let Some(LocalAs { asn, no_prepend, replace_as }) = local else { return "none".into() };
    let mut text = asn.to_string();
    for (set, word) in [(no_prepend, " no_prepend"), (replace_as, " replace_as")] {
        text.push_str(if set { word } else { "" });
    }
    text
}

fn shown<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".into(), |value| value.to_string())
}

fn time(chosen: Option<Duration>) -> String {
    chosen.map_or_else(|| "auto".into(), super::shown)
}

fn word<T: Debug>(value: Option<T>) -> String {
    value.map_or_else(|| "none".into(), debug)
}

fn debug<T: Debug>(value: T) -> String {
    match format!("{value:?}").to_lowercase().as_str() {
        "alone" => "true".into(),
        "ourself" => "self".into(),
        other => other.into(),
    }
}
