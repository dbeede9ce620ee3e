//! RFC 7606 attribute by attribute: one row an error, and what becomes of the UPDATE.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use bgp_core::types::Family;
use bgp_core::wire::{Context, HEADER_LEN, Message, decode};

const EXTERNAL: Context = Context { four_octet_as: true, internal: false, ..Context::BARE };
const INTERNAL: Context = Context { four_octet_as: true, internal: true, ..Context::BARE };
const TWO_OCTET: Context = Context { four_octet_as: false, internal: false, ..Context::BARE };

const ORIGIN: &str = "400101 00";
const AS_PATH: &str = "400206 0201 0000fde9";
const AS_PATH_2: &str = "400204 0201 fde9";
const NEXT_HOP: &str = "400304 c0000201";
/// 2001:db8::/32 by 2001:db8::1.
const REACH: &str = "800e1a 000201 10 20010db8000000000000000000000001 00 20 20010db8";
/// 2001:db9::/32.
const UNREACH: &str = "800f08 000201 20 20010db9";

/// What the table says: `fine`, `discard`, `withdraw`, or `reset CODE/SUBCODE DATA`.
fn verdict(context: &Context, withdrawn: &str, attributes: &[&str], nlri: &str) -> String {
    let bytes = update(&hex(withdrawn), &hex(&attributes.concat()), &hex(nlri));
    match decode(&bytes, context) {
        Ok(Message::Update(update)) => {
            let announced = update.announced.iter().flatten().count();
            let withdrawn = update.withdrawn.iter().flatten().count();
            match update.fault {
                None => "fine".into(),
                Some(fault) if fault.withdraw => {
                    assert_eq!((announced, update.attributes), (0, None));
                    assert!(withdrawn > 0, "nothing withdrawn: {}", fault.text);
                    "withdraw".into()
                }
                Some(_) => {
                    assert!(update.attributes.is_some());
                    "discard".into()
                }
            }
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            let n = error.notification;
            let data: String = n.data.iter().map(|b| format!("{b:02x}")).collect();
            format!("reset {}/{} {data}", n.code, n.subcode).trim_end().into()
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let mut out = vec![0xff; 16];
    out.extend(length(HEADER_LEN + 4 + withdrawn.len() + attributes.len() + nlri.len()));
    out.push(2);
    out.extend(length(withdrawn.len()));
    out.extend(withdrawn);
    out.extend(length(attributes.len()));
    out.extend(attributes);
    out.extend(nlri);
    out
}

/// An announcement of 10.0.0.0/8 that is right but for the attribute in question, which stands
/// instead of the right one of its code.
fn with(context: &Context, attribute: &str) -> String {
    let as_path = if context.four_octet_as { AS_PATH } else { AS_PATH_2 };
    let code = |text: &str| hex(text).get(1).copied();
    let rest = [ORIGIN, as_path, NEXT_HOP].into_iter().filter(|a| code(a) != code(attribute));
    let all: Vec<&str> = rest.chain([attribute]).collect();
    verdict(context, "", &all, "08 0a")
}

/// What, from whom, the attribute, the verdict.
const ATTRIBUTES: &[(&str, &Context, &str, &str)] = &[
    // RFC 7606 §7.1
    ("ORIGIN 2", &EXTERNAL, "400101 02", "fine"),
    ("ORIGIN 3", &EXTERNAL, "400101 03", "withdraw"),
    ("ORIGIN of 0 octets", &EXTERNAL, "400100", "withdraw"),
    ("ORIGIN of 2 octets", &EXTERNAL, "400102 0000", "withdraw"),
    ("ORIGIN, optional", &EXTERNAL, "c00101 00", "withdraw"),
    ("ORIGIN, not transitive", &EXTERNAL, "000101 00", "withdraw"),
    ("ORIGIN, bits set that say nothing", &EXTERNAL, "6f0101 00", "fine"),
    ("ORIGIN, partial bit alone", &EXTERNAL, "600101 00", "fine"),
    // §7.2
    ("AS_PATH, empty", &INTERNAL, "400200", "fine"),
    ("AS_PATH, empty segment", &EXTERNAL, "400202 0200", "withdraw"),
    ("AS_PATH, segment beyond the end", &EXTERNAL, "400206 0202 0000fde9", "withdraw"),
    ("AS_PATH, octet left over", &EXTERNAL, "400207 0201 0000fde9 02", "withdraw"),
    ("AS_PATH, unknown segment type", &EXTERNAL, "400206 0501 0000fde9", "withdraw"),
    ("AS_PATH of two octets in a session of four", &EXTERNAL, "400204 0201 fde9", "withdraw"),
    ("AS_PATH of four octets in a session of two", &TWO_OCTET, "400206 0201 0000fde9", "withdraw"),
    ("AS_PATH, confederation sequence (RFC 5065)", &EXTERNAL, "400206 0301 0000fde9", "withdraw"),
    ("AS_PATH, confederation set", &INTERNAL, "400206 0401 0000fde9", "withdraw"),
    ("AS_PATH with AS 0 (RFC 7607)", &EXTERNAL, "400206 0201 00000000", "withdraw"),
    ("AS_PATH, optional", &EXTERNAL, "c00206 0201 0000fde9", "withdraw"),
    // §7.3
    ("NEXT_HOP of 3 octets", &EXTERNAL, "400303 c00002", "withdraw"),
    ("NEXT_HOP of 16 octets", &EXTERNAL, "400310 20010db8000000000000000000000001", "withdraw"),
    ("NEXT_HOP 0.0.0.0", &EXTERNAL, "400304 00000000", "withdraw"),
    ("NEXT_HOP 127.0.0.1", &EXTERNAL, "400304 7f000001", "withdraw"),
    ("NEXT_HOP 224.0.0.5", &EXTERNAL, "400304 e0000005", "withdraw"),
    ("NEXT_HOP 255.255.255.255", &EXTERNAL, "400304 ffffffff", "withdraw"),
    ("NEXT_HOP, optional", &EXTERNAL, "c00304 c0000201", "withdraw"),
    // §7.4
    ("MULTI_EXIT_DISC", &EXTERNAL, "800404 00000001", "fine"),
    ("MULTI_EXIT_DISC of 3 octets", &EXTERNAL, "800403 000001", "withdraw"),
    ("MULTI_EXIT_DISC, transitive", &EXTERNAL, "c00404 00000001", "withdraw"),
    // §7.5
    ("LOCAL_PREF from inside", &INTERNAL, "400504 00000001", "fine"),
    ("LOCAL_PREF of 5 octets", &INTERNAL, "400505 0000000100", "withdraw"),
    ("LOCAL_PREF from outside", &EXTERNAL, "400504 00000001", "discard"),
    ("LOCAL_PREF of 5 octets from outside", &EXTERNAL, "400505 0000000100", "discard"),
    // §7.6
    ("ATOMIC_AGGREGATE", &EXTERNAL, "400600", "fine"),
    ("ATOMIC_AGGREGATE of 1 octet", &EXTERNAL, "400601 00", "discard"),
    ("ATOMIC_AGGREGATE, optional", &EXTERNAL, "c00600", "withdraw"),
    // §7.7
    ("AGGREGATOR", &EXTERNAL, "c00708 0000fde9 c0000201", "fine"),
    ("AGGREGATOR, short, in a session of four", &EXTERNAL, "c00706 fde9 c0000201", "discard"),
    ("AGGREGATOR in a session of two", &TWO_OCTET, "c00706 fde9 c0000201", "fine"),
    ("AGGREGATOR, long, in a session of two", &TWO_OCTET, "c00708 0000fde9 c0000201", "discard"),
    ("AGGREGATOR with AS 0 (RFC 7607)", &EXTERNAL, "c00708 00000000 c0000201", "discard"),
    ("AGGREGATOR, well-known", &EXTERNAL, "400708 0000fde9 c0000201", "withdraw"),
    // §7.8
    ("COMMUNITIES", &EXTERNAL, "e00804 fde90001", "fine"),
    ("COMMUNITIES, empty", &EXTERNAL, "c00800", "withdraw"),
    ("COMMUNITIES of 6 octets", &EXTERNAL, "c00806 fde90001 fde9", "withdraw"),
    ("COMMUNITIES, not transitive", &EXTERNAL, "800804 fde90001", "withdraw"),
    // §7.9
    ("ORIGINATOR_ID from inside", &INTERNAL, "800904 0a000001", "fine"),
    ("ORIGINATOR_ID of 3 octets", &INTERNAL, "800903 0a0000", "withdraw"),
    ("ORIGINATOR_ID from outside", &EXTERNAL, "800904 0a000001", "discard"),
    // §7.10
    ("CLUSTER_LIST from inside", &INTERNAL, "800a08 0a000001 0a000002", "fine"),
    ("CLUSTER_LIST, empty", &INTERNAL, "800a00", "withdraw"),
    ("CLUSTER_LIST of 5 octets", &INTERNAL, "800a05 0a000001 00", "withdraw"),
    ("CLUSTER_LIST from outside", &EXTERNAL, "800a03 0a0000", "discard"),
    // §7.11
    ("MP_REACH_NLRI", &EXTERNAL, REACH, "fine"),
    (
        "MP_REACH_NLRI with a next hop of 4 octets",
        &EXTERNAL,
        "800e0a 000201 04 c0000201 00 00",
        "reset 3/9 800e0a00020104c00002010000",
    ),
    (
        "MP_REACH_NLRI, IPv4 with a next hop of 16 octets",
        &EXTERNAL,
        "800e17 000101 10 20010db8000000000000000000000001 00 080a",
        "reset 3/9 800e170001011020010db800000000000000000000000100080a",
    ),
    ("MP_REACH_NLRI, cut short", &EXTERNAL, "800e03 000201", "reset 3/9 800e03000201"),
    ("MP_REACH_NLRI, empty", &EXTERNAL, "800e00", "reset 3/9 800e00"),
    (
        "MP_REACH_NLRI, next hop beyond the end",
        &EXTERNAL,
        "800e05 000201 10 20",
        "reset 3/9 800e050002011020",
    ),
    (
        "MP_REACH_NLRI, prefix of 129 bits",
        &EXTERNAL,
        "800e16 000201 10 20010db8000000000000000000000001 00 81",
        "reset 3/9 800e160002011020010db80000000000000000000000010081",
    ),
    (
        "MP_REACH_NLRI, last prefix cut short",
        &EXTERNAL,
        "800e17 000201 10 20010db8000000000000000000000001 00 40 20",
        "reset 3/9 800e170002011020010db8000000000000000000000001004020",
    ),
    (
        "MP_REACH_NLRI by ::",
        &EXTERNAL,
        "800e1a 000201 10 00000000000000000000000000000000 00 20 20010db8",
        "withdraw",
    ),
    (
        "MP_REACH_NLRI by ff02::1",
        &EXTERNAL,
        "800e1a 000201 10 ff020000000000000000000000000001 00 20 20010db8",
        "withdraw",
    ),
    (
        "MP_REACH_NLRI by ::1",
        &EXTERNAL,
        "800e1a 000201 10 00000000000000000000000000000001 00 20 20010db8",
        "withdraw",
    ),
    (
        "MP_REACH_NLRI, transitive",
        &EXTERNAL,
        "c00e1a 000201 10 20010db8000000000000000000000001 00 20 20010db8",
        "withdraw",
    ),
    ("MP_REACH_NLRI of a family we do not know", &EXTERNAL, "800e05 400447 00 00", "fine"),
    // §7.12
    ("MP_UNREACH_NLRI", &EXTERNAL, UNREACH, "fine"),
    ("MP_UNREACH_NLRI, cut short", &EXTERNAL, "800f02 0002", "reset 3/9 800f020002"),
    ("MP_UNREACH_NLRI, bad prefix", &EXTERNAL, "800f04 000201 ff", "reset 3/9 800f04000201ff"),
    ("MP_UNREACH_NLRI, well-known", &EXTERNAL, "400f08 000201 20 20010db9", "withdraw"),
    ("MP_UNREACH_NLRI of a family we do not know", &EXTERNAL, "800f04 400447 ff", "fine"),
    // §7.14
    ("EXTENDED_COMMUNITIES", &EXTERNAL, "c01008 0002fde900000064", "fine"),
    ("EXTENDED_COMMUNITIES, empty", &EXTERNAL, "c01000", "withdraw"),
    ("EXTENDED_COMMUNITIES of 7 octets", &EXTERNAL, "c01007 0002fde9000000", "withdraw"),
    // RFC 6793 §6
    ("AS4_PATH", &TWO_OCTET, "c01106 0201 fa56ea00", "fine"),
    ("AS4_PATH, malformed", &TWO_OCTET, "c01106 0202 fa56ea00", "discard"),
    ("AS4_PATH, unknown segment type", &TWO_OCTET, "c01106 0701 fa56ea00", "discard"),
    ("AS4_PATH with AS 0", &TWO_OCTET, "c01106 0201 00000000", "discard"),
    ("AS4_PATH in a session of four", &EXTERNAL, "c01106 0201 fa56ea00", "discard"),
    ("AS4_AGGREGATOR", &TWO_OCTET, "c01208 fa56ea00 c0000201", "fine"),
    ("AS4_AGGREGATOR of 6 octets", &TWO_OCTET, "c01206 fde9 c0000201", "discard"),
    ("AS4_AGGREGATOR in a session of four", &EXTERNAL, "c01208 fa56ea00 c0000201", "discard"),
    // RFC 8092 §5
    ("LARGE_COMMUNITIES", &EXTERNAL, "c0200c 000000010000000200000003", "fine"),
    ("LARGE_COMMUNITIES, empty", &EXTERNAL, "c02000", "withdraw"),
    ("LARGE_COMMUNITIES of 8 octets", &EXTERNAL, "c02008 0000000100000002", "withdraw"),
    // RFC 4271 §6.3, §9
    ("unknown, well-known", &EXTERNAL, "40fe01 07", "reset 3/2 40fe0107"),
    ("unknown, optional", &EXTERNAL, "80fe01 07", "fine"),
    ("unknown, optional and transitive", &EXTERNAL, "c0fe01 07", "fine"),
];

#[test]
fn each_attribute_error_has_its_verdict() {
    for (what, context, attribute, expected) in ATTRIBUTES {
        assert_eq!(with(context, attribute), *expected, "{what}");
    }
}

/// What, the withdrawn routes, the attributes, the prefixes, the verdict.
const UPDATES: &[(&str, &str, &[&str], &str, &str)] = &[
    // RFC 7606 §3 d
    ("ORIGIN is missing", "", &[AS_PATH, NEXT_HOP], "080a", "withdraw"),
    ("AS_PATH is missing", "", &[ORIGIN, NEXT_HOP], "080a", "withdraw"),
    ("NEXT_HOP is missing", "", &[ORIGIN, AS_PATH], "080a", "withdraw"),
    ("all are missing", "", &[], "080a", "withdraw"),
    ("MP_REACH_NLRI asks for no NEXT_HOP", "", &[REACH, ORIGIN, AS_PATH], "", "fine"),
    ("MP_REACH_NLRI asks for ORIGIN", "", &[REACH, AS_PATH], "", "withdraw"),
    (
        "a NEXT_HOP that is not needed may be wrong",
        "",
        &[REACH, ORIGIN, AS_PATH, "400304 00000000"],
        "",
        "fine",
    ),
    ("withdrawing asks for nothing", "080a", &[], "", "fine"),
    // §3 g
    ("ORIGIN appears twice", "", &[ORIGIN, AS_PATH, NEXT_HOP, "400101 09"], "080a", "discard"),
    (
        "an unknown one appears twice",
        "",
        &[ORIGIN, AS_PATH, NEXT_HOP, "c0fe00", "c0fe01 00"],
        "080a",
        "discard",
    ),
    ("MP_REACH_NLRI appears twice", "", &[REACH, ORIGIN, AS_PATH, REACH], "", "reset 3/1"),
    ("MP_UNREACH_NLRI appears twice", "", &[UNREACH, UNREACH], "", "reset 3/1"),
    // §3 h
    (
        "of discard and withdraw, withdraw",
        "",
        &["400101 09", AS_PATH, NEXT_HOP, "400601 00"],
        "080a",
        "withdraw",
    ),
    (
        "of withdraw and reset, reset",
        "",
        &["400101 09", AS_PATH, NEXT_HOP, "800f00"],
        "080a",
        "reset 3/9 800f00",
    ),
    // §4
    (
        "last attribute beyond the end",
        "",
        &[ORIGIN, AS_PATH, NEXT_HOP, "c00808 fde90001"],
        "080a",
        "withdraw",
    ),
    ("one octet left over", "", &[ORIGIN, AS_PATH, NEXT_HOP, "c0"], "080a", "withdraw"),
    (
        "half an extended length left over",
        "",
        &[ORIGIN, AS_PATH, NEXT_HOP, "d00800"],
        "080a",
        "withdraw",
    ),
    (
        "MP_REACH_NLRI beyond the end",
        "",
        &[ORIGIN, AS_PATH, NEXT_HOP, "800eff 000201"],
        "080a",
        "reset 3/1",
    ),
    // §5.2
    ("an error and no prefixes", "", &["400101 09", AS_PATH, NEXT_HOP], "", "reset 3/6 40010109"),
    ("an error, and only withdrawals", "080a", &["400101 09"], "", "reset 3/6 40010109"),
    ("a broken end after MP_UNREACH_NLRI", "", &[UNREACH, "40"], "", "reset 3/1"),
    ("wrong flags of MP_UNREACH_NLRI alone", "", &["c00f08 000201 20 20010db9"], "", "withdraw"),
    // §5.3
    ("prefix of 33 bits", "", &[ORIGIN, AS_PATH, NEXT_HOP], "21 0a00000000", "reset 3/10"),
    ("prefix cut short", "", &[ORIGIN, AS_PATH, NEXT_HOP], "18 0a00", "reset 3/10"),
    ("withdrawn prefix of 255 bits", "ff", &[], "", "reset 3/10"),
];

#[test]
fn each_error_of_the_whole_has_its_verdict() {
    for (what, withdrawn, attributes, nlri, expected) in UPDATES {
        assert_eq!(verdict(&EXTERNAL, withdrawn, attributes, nlri), *expected, "{what}");
    }
}

#[test]
fn all_prefixes_of_a_faulty_update_are_withdrawn() {
    let attributes = ["400101 09", AS_PATH, NEXT_HOP, REACH, UNREACH].concat();
    let bytes = update(&hex("10 0a09"), &hex(&attributes), &hex("08 0a 08 0b"));
    let Ok(Message::Update(update)) = decode(&bytes, &EXTERNAL) else { panic!() };
    let withdrawn: Vec<_> = update.withdrawn.into_iter().flatten().flat_map(|w| w.nlri).collect();
    let text: Vec<_> = withdrawn.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["10.9.0.0/16", "2001:db9::/32", "10.0.0.0/8", "11.0.0.0/8", "2001:db8::/32"]);
}

#[test]
fn the_first_of_two_attributes_counts() {
    let attributes = [ORIGIN, AS_PATH, NEXT_HOP, "800404 00000001", "800404 00000002"].concat();
    let bytes = update(&[], &hex(&attributes), &hex("08 0a"));
    let Ok(Message::Update(update)) = decode(&bytes, &EXTERNAL) else { panic!() };
    assert_eq!(update.attributes.unwrap().med, Some(1));
    assert_eq!(update.fault.unwrap().text, "MULTI_EXIT_DISC appears twice");
    assert_eq!(update.announced[0].unwrap().family, Family::Ipv4Unicast);
}
