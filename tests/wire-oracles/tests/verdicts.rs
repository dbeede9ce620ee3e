//! Broken UPDATEs: another implementation of RFC 7606 comes to the same verdicts.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[allow(dead_code, reason = "not all of it is of use here")]
#[path = "../../../bgpd/core/tests/wire_support/mod.rs"]
mod wire_support;

use bgp_core::wire::{Context, Message, decode};
use bytes::Bytes;
use rustbgpd_wire::{ErrorDisposition, PathAttribute};
use std::collections::BTreeSet;
use wire_support::random::Random;
use wire_support::samples;

const MESSAGES: usize = 300_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Verdict {
    Fine,
    Discard,
    Withdraw,
    Reset,
}

fn ours(bytes: &[u8], context: &Context) -> (Verdict, String) {
    match decode(bytes, context) {
        Ok(Message::Update(update)) => match update.fault {
            None => (Verdict::Fine, String::new()),
            Some(f) if f.withdraw => (Verdict::Withdraw, f.text),
            Some(f) => (Verdict::Discard, f.text),
        },
        Ok(_) => (Verdict::Fine, String::new()),
        Err(e) => (Verdict::Reset, e.text),
    }
}

fn theirs(bytes: &[u8], context: &Context) -> (Verdict, String) {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let update = match rustbgpd_wire::decode_message(&mut bytes, 4096) {
        Ok(rustbgpd_wire::Message::Update(update)) => update,
        Ok(_) => return (Verdict::Fine, String::new()),
        Err(e) => return (Verdict::Reset, e.to_string()),
    };
    let parsed = match update.parse_revised(context.four_octet_as, context.internal, false, &[]) {
        Ok(parsed) => parsed,
        Err(e) => return (Verdict::Reset, e.to_string()),
    };
    let mp = parsed
        .update
        .attributes
        .iter()
        .any(|a| matches!(a, PathAttribute::MpReachNlri(r) if !r.announced.is_empty()));
    let body = !parsed.update.announced.is_empty();
    let valid = rustbgpd_wire::validate::validate_update_attributes(
        &parsed.update.attributes,
        mp || body,
        body,
        !context.internal,
    );
    let worst = parsed.malformed.iter().map(|m| m.disposition).max();
    let why = format!("{:?} {:?}", parsed.malformed, valid);
    let worst = worst.max(valid.err().map(|e| e.disposition));
    (
        match worst {
            None => Verdict::Fine,
            Some(ErrorDisposition::AttributeDiscard) => Verdict::Discard,
            Some(ErrorDisposition::TreatAsWithdraw) => Verdict::Withdraw,
            Some(ErrorDisposition::SessionReset) => Verdict::Reset,
        },
        why,
    )
}

/// Where the two differ, and why ours stands.
fn known_difference(update: &Raw<'_>, context: &Context, ours: Verdict, theirs: Verdict) -> bool {
    let has = |code: u8| update.attributes.iter().any(|a| a.code == code);
    let any = |test: &dyn Fn(&Attribute<'_>) -> bool| update.attributes.iter().any(test);
    let is_foreign = |a: &Attribute<'_>| {
        [14, 15].contains(&a.code) && !matches!(a.value, [0, 1 | 2, 1, ..] | [] | [_] | [_, _])
    };
    // Families we do not know are passed over, whatever is in them.
    any(&is_foreign)
        // Attributes we do not know are not looked into; marked well-known they end the session
        // (RFC 4271 §6.3), there they withdraw.
        || any(&|a| !matches!(a.code, 1..=10 | 14..=18 | 32))
        // Sets are refused there (RFC 9774).
        || theirs == Verdict::Withdraw
            && any(&|a| matches!(a.code, 2 | 17) && a.value.iter().any(|b| matches!(b, 1 | 4)))
        // Of the flags two are compared (RFC 7606 §3 c), there Partial as well.
        || any(&|a| a.flags & 0x20 != 0 && !matches!(a.code, 7 | 8 | 16..=18 | 32))
        // Of two of a kind the second is not looked into (RFC 7606 §3 g).
        || ours == Verdict::Discard && theirs == Verdict::Withdraw && update.repeats()
        // Prefixes behind wrong flags can be withdrawn (RFC 7606 §3 c); there they end the session.
        || any(&|a| matches!(a.code, 14 | 15) && a.flags & 0xc0 != 0x80)
        // Discarded whatever their flags are (RFC 7606 §7.5, §7.9, §7.10; RFC 6793 §4.1); there
        // the caller does it.
        || !context.internal && (has(5) || has(9) || has(10))
        || context.four_octet_as && (has(17) || has(18))
        // RFC 8950 is not spoken here.
        || any(&|a| a.code == 14 && a.value.starts_with(&[0, 1]))
        // RFC 7606 §5.2 is the caller's there.
        || ours == Verdict::Reset && theirs == Verdict::Withdraw && !update.announces
        // NEXT_HOP is mandatory for internal peers too (RFC 4271 §5).
        || context.internal && !has(3) && update.has_nlri
        // Of 0.0.0.0/8 only the first address is refused there.
        || any(&|a| a.code == 3 && a.value.first() == Some(&0))
        // A link-local next hop is good on its own link; a second one that is not link-local is
        // ignored.
        || any(&|a| a.code == 14 && a.value.get(4) == Some(&0xfe) || a.value.get(3) == Some(&32))
        // Confederation segments in AS4_PATH are dropped silently (RFC 6793 §6).
        || any(&|a| a.code == 17 && ours == Verdict::Fine && theirs == Verdict::Discard)
}

/// An UPDATE's attributes, as far as they can be cut apart.
struct Raw<'a> {
    attributes: Vec<Attribute<'a>>,
    has_nlri: bool,
    announces: bool,
}

impl Raw<'_> {
    fn repeats(&self) -> bool {
        let codes: BTreeSet<u8> = self.attributes.iter().map(|a| a.code).collect();
        codes.len() < self.attributes.len()
    }
}

struct Attribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
}

fn raw(bytes: &[u8]) -> Option<Raw<'_>> {
    let is_whole = bytes.get(16..18)? == u16::try_from(bytes.len()).ok()?.to_be_bytes();
    let is_update = is_whole && bytes[18] == 2;
    let (_, rest) = after_length(bytes.get(19..).filter(|_| is_update)?)?;
    let (mut list, nlri) = after_length(rest)?;
    let mut attributes = Vec::new();
    while let [flags, code, rest @ ..] = list {
        let cut = if flags & 0x10 != 0 {
            after_length(rest)
        } else {
            rest.split_first().and_then(|(n, rest)| rest.split_at_checked((*n).into()))
        };
        // What is cut short is there all the same.
        let (value, rest) = cut.unwrap_or_default();
        attributes.push(Attribute { flags: *flags, code: *code, value });
        list = rest;
    }
    let announces = !nlri.is_empty() || attributes.iter().any(|a| a.code == 14 && reaches(a.value));
    Some(Raw { attributes, has_nlri: !nlri.is_empty(), announces })
}

fn reaches(value: &[u8]) -> bool {
    value.get(3).is_some_and(|next_hop| value.len() > 5 + usize::from(*next_hop))
}

fn after_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

#[test]
fn verdicts_agree_but_for_known_differences() {
    let mut random = Random::seeded();
    let samples: Vec<_> = samples().into_iter().filter(|s| s.title.starts_with("UPDATE")).collect();
    let mut compared = 0;
    for _ in 0..MESSAGES {
        let bytes = random.broken_message(&samples);
        let Some(update) = raw(&bytes) else { continue };
        let internal = random.below(2) == 0;
        let context = Context { four_octet_as: random.below(2) == 0, internal, ..Context::BARE };
        let (ours, theirs) = (ours(&bytes, &context), theirs(&bytes, &context));
        if !known_difference(&update, &context, ours.0, theirs.0) {
            compared += 1;
            assert_eq!(ours.0, theirs.0, "{context:?}\n{ours:?}\n{theirs:?}\n{}", hex(&bytes));
        }
    }
    println!("{compared} compared");
    assert!(compared > MESSAGES / 20, "{compared}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
