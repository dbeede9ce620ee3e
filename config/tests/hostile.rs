//! No text hurts: whatever is in the file, it is refused or read, soon and without a panic.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mainstay_config::{ReadConfigError, parse, read};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const EXAMPLE: &str = include_str!("../../deploy/examples/mainstay.yaml");
const PEERS: &str = include_str!("golden/good_peers.yaml");
const MESH: &str = include_str!("golden/good_mesh.yaml");

/// Reads, and looks at all that can be looked at.
fn survive(text: &str) {
    match parse("f", text) {
        Err(faults) => assert!(!faults.to_string().is_empty()),
        Ok(cluster) => {
            let names: Vec<_> = cluster.node_names().map(ToOwned::to_owned).collect();
            for name in names {
                let node = cluster.resolve(&name).unwrap();
                serde_json::to_string(&node).unwrap();
            }
        }
    }
}

/// What somebody's slip, or somebody's malice, puts into a file.
fn scrap() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\n  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "*a",
        "&a ",
        "!x ",
        "|",
        ">",
        "\"",
        "'",
        "#",
        "---\n",
        "...",
        "%YAML 1.2\n",
        "? ",
        "~",
        "0",
        "-1",
        "4294967296",
        "1e9",
        "::/0",
        "0.0.0.0/0",
        "255.255.255.255/32",
        "fe80::1",
        "0s",
        "1ms",
        "999999999999999999999h",
        "false",
        "node",
        "all",
        "\u{feff}",
        "\u{0}",
        "\t",
        "é",
        "\u{202e}",
        "mesh-a",
        "block_size: 0",
    ]);
    prop_oneof![3 => known.prop_map(ToOwned::to_owned), 1 => "\\PC{0,8}"]
}

fn mutated() -> impl Strategy<Value = String> {
    let base = prop::sample::select(vec![EXAMPLE, PEERS, MESH]);
    let edit = (any::<prop::sample::Index>(), 0usize..12, scrap());
    (base, prop::collection::vec(edit, 1..6)).prop_map(|(base, edits)| {
        let mut text: Vec<char> = base.chars().collect();
        for (at, cut, scrap) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, scrap.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_file_is_read_or_refused(text in mutated()) {
        survive(&text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        survive(&text);
    }

    #[test]
    fn a_fault_points_into_the_text_and_prints_as_one_line(text in mutated()) {
        if let Err(faults) = parse("f", &text) {
            let lines = text.lines().count() + 1;
            for fault in faults.iter() {
                prop_assert!((1..=lines).contains(&fault.line), "{fault}");
                prop_assert!(fault.column >= 1);
                prop_assert!(!fault.to_string().chars().any(char::is_control), "{fault:?}");
            }
        }
    }
}

#[test]
fn text_made_to_cost_much_costs_little() {
    let many = |n: usize, item: &str| item.repeat(n);
    let peers = |n: usize, peer: &str| format!("bgp:\n  asn: 1\n  peers:\n{}", many(n, peer));
    let unknown: String = (0..100_000).fold(String::new(), |mut s, i| {
        let _ = writeln!(s, "k{i}: 1");
        s
    });
    let hostile = [
        many(1_000_000, "["),
        many(1_000_000, "{"),
        many(500_000, "- "),
        many(500_000, "? "),
        format!("a: {}", many(1_000_000, "\"\\x41")),
        many(300_000, "a: &a b\n"),
        unknown,
        peers(100_000, "    - {}\n"),
        peers(50_000, "    - {name: a, address: 192.0.2.1, asn: 2}\n"),
        peers(50_000, "    - {name: a, address: fe80::1, asn: 2, select: {x: y}}\n"),
    ];
    for text in hostile {
        let start = Instant::now();
        survive(&text);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?} for {:?}…", &text[..60]);
    }
}

#[test]
fn a_cluster_of_thousands_of_nodes_and_peers_is_read_in_a_moment() {
    let mut text = String::from("nodes:\n");
    for i in 0..5000 {
        let (b, c) = (i / 250, i % 250 + 1);
        let _ = writeln!(text, "  - {{name: n{i}, address: 10.1.{b}.{c}, labels: {{rack: r{b}}}}}");
    }
    text += "bgp:\n  asn: 64512\n  peers:\n";
    for i in 0..20_000 {
        let (rack, host) = (i % 20, i / 20);
        let (c, d) = (host / 250, host % 250 + 1);
        let _ = writeln!(
            text,
            "    - {{name: p{i}, select: {{rack: r{rack}}}, address: 10.2.{c}.{d}, asn: 65001, hold_time: 30s}}"
        );
    }
    text += "ipam: {pools: [{name: p, cidr: 10.128.0.0/10}]}\n";
    let start = Instant::now();
    let cluster = parse("large.yaml", &text).unwrap();
    assert_eq!(cluster.resolve("n4999").unwrap().bgp.peers.len(), 1000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn what_cannot_be_read_is_said_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.yaml");
    let missing = read(&path).unwrap_err();
    assert!(matches!(missing, ReadConfigError::Read { .. }));
    assert_eq!(missing.to_string(), format!("cannot read {}", path.display()));

    std::fs::write(&path, b"bgp:\n  asn: \xff\n").unwrap();
    assert_eq!(
        read(&path).unwrap_err().to_string(),
        format!("{}: byte 12 is not UTF-8", path.display())
    );

    std::fs::File::create(&path).unwrap().set_len(17 << 20).unwrap();
    assert!(matches!(read(&path), Err(ReadConfigError::TooLong { .. })));

    std::fs::write(&path, "network: {mode: mesh}").unwrap();
    let faults = read(&path).unwrap_err().to_string();
    assert!(
        faults.starts_with(&format!("{}:1:17: network.mode: mesh", path.display())),
        "{faults}"
    );
}
