//! docs/policy.md: its configuration is read, and each of its commands says what the page says.
//! `UPDATE_GOLDEN=1` writes what they say into it (`make golden`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Output};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md");

/// The page in pieces: each a fence's word and what stands in it, or text without a fence.
fn pieces(page: &str) -> Vec<(Option<String>, String)> {
    let mut pieces = Vec::new();
    let mut open: Option<(Option<String>, String)> = Some((None, String::new()));
    for line in page.split_inclusive('\n') {
        let (word, body) = open.as_mut().unwrap();
        match (line.trim_end().strip_prefix("```"), &word) {
            (Some(language), None) => {
                pieces.push(open.replace((Some(language.to_owned()), String::new())).unwrap());
            }
            (Some(_), Some(_)) => pieces.push(open.replace((None, String::new())).unwrap()),
            (None, _) => body.push_str(line),
        }
    }
    pieces.extend(open);
    pieces
}

/// Words as a shell would part them: quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(String::from)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn mainstay(config: &Path, words: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.arg("--config").arg(config).args(words).output().unwrap()
}

#[test]
fn each_example_of_the_page_is_true() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("mainstay.yaml");
    let (mut now, mut commands) = (String::new(), 0);
    for (word, body) in pieces(&page) {
        let Some(word) = word else {
            now.push_str(&body);
            continue;
        };
        let mut body = body;
        if word == "yaml" {
            std::fs::write(&config, &body).unwrap();
        } else if word == "console" {
            let line = body.lines().next().unwrap();
            let words = words(line.strip_prefix("$ mainstay ").unwrap());
            let out = mainstay(&config, &words);
            assert!(out.status.success(), "{line}: {out:?}");
            body = format!("{line}\n{}", String::from_utf8(out.stdout).unwrap());
            commands += 1;
        }
        now.push_str(&format!("```{word}\n{}\n```\n", body.trim_end()));
    }
    assert!(commands > 5, "the page has lost its examples");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(PAGE, &now).unwrap();
        return;
    }
    assert!(now == page, "docs/policy.md is not what the commands say: make golden\n{now}");
}

#[test]
fn a_test_says_by_its_exit_code_whether_it_came_out_as_expected() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("mainstay.yaml");
    std::fs::write(
        &config,
        "bgp: {asn: 64512, policies: [{name: p, rules: [{match: {as_path: _7_}, action: accept}]}]}\n",
    )
    .unwrap();
    let code = |line: &str| mainstay(&config, &words(line)).status.code();
    let test = "policy test p --prefix 10.0.0.0/8 --as-path";
    assert_eq!(code(&format!("{test} 7 --expect accept")), Some(0));
    assert_eq!(code(&format!("{test} 8 --expect accept")), Some(1));
    assert_eq!(code(&format!("{test} 8 --expect reject")), Some(0));
    assert_eq!(code(&format!("{test} 8")), Some(0));
    assert_eq!(code("policy test q --prefix 10.0.0.0/8"), Some(1));
    assert_eq!(code("policy show p"), Some(0));
    assert_eq!(code("policy test all --prefix 10.0.0.0/8 --expect accept"), Some(0));
    assert_eq!(code("policy test node --prefix 10.0.0.0/8 --expect reject"), Some(0));
    let json = mainstay(&config, &words(&format!("-o json {test} '1 7'")));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["accepted"], &json["decided_by"]), (&true.into(), &1.into()));
}
