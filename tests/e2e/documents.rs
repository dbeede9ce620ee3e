//! What the documents promise to be tested is.

use std::collections::BTreeMap;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The tests of a source that are run: a sentence in a comment is none, nor is what is switched off.
fn tests_in(source: &str) -> Vec<&str> {
    let (mut attributes, mut found) = (String::new(), Vec::new());
    for line in source.lines().map(str::trim) {
        let name = ["fn ", "async fn ", "pub fn "].iter().find_map(|is| line.strip_prefix(is));
        if line.starts_with("#[") || (!attributes.is_empty() && name.is_none()) {
            // Also the further lines of one that is written on several, and comments between.
            attributes.push_str(line);
            if line.ends_with(['{', ';', '}']) {
                attributes.clear();
            }
            continue;
        }
        let is_test = ["#[test]", "#[tokio::test"].iter().any(|test| attributes.contains(test));
        let is_off = ["#[ignore", "#[cfg("].iter().any(|off| attributes.contains(off));
        let name = name.and_then(|name| name.split(['(', '<']).next());
        found.extend(name.filter(|_| is_test && !is_off));
        attributes.clear();
    }
    found
}

#[test]
fn a_test_is_what_is_run_as_one() {
    let source = "
        /// fn in_a_comment_it_is_no_test() {
        #[test]
        fn one_that_is_run() {}
        // #[test]
        // fn one_that_was_commented_out() {}
        #[test]
        #[ignore = \"slow\"]
        fn one_that_is_ignored() {}
        fn a_helper_of_them() {}
        #[tokio::test(flavor = \"multi_thread\")]
        // With its reason.
        async fn one_with_a_runtime() {}
        #[cfg(any())]
        #[test]
        fn one_that_is_never_built() {}
        #[derive(Debug)]
        struct Between;
        #[test]
        #[should_panic(
            expected = \"this\"
        )]
        fn one_of_many_lines() {}
    ";
    let tests = ["one_that_is_run", "one_with_a_runtime", "one_of_many_lines"];
    assert_eq!(tests_in(source), tests);
}

/// Every Rust source of the workspace, with its path in it.
fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let place = path.strip_prefix(ROOT).unwrap().display().to_string();
            found.push((place, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Where each test of the workspace is; of one name in two files, the last.
fn tests() -> BTreeMap<String, String> {
    let mut found = Vec::new();
    sources(Path::new(ROOT), &mut found);
    found.sort();
    let all = found.iter().flat_map(|(place, source)| {
        tests_in(source).into_iter().map(|name| (name.to_owned(), place.clone()))
    });
    all.collect()
}

/// Words in backticks that look like a test's name: a sentence.
fn names(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let last = quoted.map(|word| word.rsplit("::").next().unwrap_or(word));
    last.filter(|word| {
        word.matches('_').count() >= 3
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !word.starts_with("mainstay_")
    })
    .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = tests();
    for page in ["features.md", "rfc.md"] {
        let text = std::fs::read_to_string(Path::new(ROOT).join("docs").join(page)).unwrap();
        let named = names(&text);
        assert!(named.len() > 20, "{page} names {} tests", named.len());
        let missing: Vec<_> = named.iter().filter(|name| !tests.contains_key(**name)).collect();
        assert!(missing.is_empty(), "docs/{page} names what is no test: {missing:#?}");
    }
}

/// docs/architecture.md, invariants: time is an argument, and nobody but the shells does anything.
#[test]
fn the_cores_have_no_runtime_clock_socket_or_log_and_the_plugin_no_runtime() {
    const CORES: [&str; 2] = ["bgpd/core", "ipam/core"];
    const DOING: [&str; 8] =
        ["tokio", "tracing", "log", "rustix", "socket2", "netlink-sys", "tonic", "sled"];
    const NOW: [&str; 6] =
        ["Instant::now", "SystemTime::now", "std::fs", "TcpStream", "UdpSocket", "println!"];
    for (dir, never) in [(CORES[0], &DOING[..]), (CORES[1], &DOING), ("ipam/cni", &DOING[..1])] {
        let manifest = Path::new(ROOT).join(dir).join("Cargo.toml");
        let text = std::fs::read_to_string(manifest).unwrap();
        let (_, rest) = text.split_once("[dependencies]\n").unwrap();
        let own = rest.split("\n[").next().unwrap();
        let names: Vec<_> = own.lines().filter_map(|line| line.split(['.', ' ']).next()).collect();
        assert!(names.contains(&"thiserror"), "{dir}: {names:?}");
        let bad: Vec<_> = names.iter().filter(|name| never.contains(name)).collect();
        assert!(bad.is_empty(), "{dir} depends on {bad:?}");
    }
    let mut found = Vec::new();
    for core in CORES {
        sources(&Path::new(ROOT).join(core).join("src"), &mut found);
    }
    for (place, source) in found.iter().filter(|(place, _)| !place.contains("test")) {
        let own = source.split("#[cfg(test)]").next().unwrap();
        let bad: Vec<_> = NOW.iter().filter(|word| own.contains(**word)).collect();
        assert!(bad.is_empty(), "{place} names {bad:?}");
    }
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let root = Path::new(ROOT);
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    pages.extend(std::fs::read_dir(root.join("docs")).unwrap().flatten().map(|e| e.path()));
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or(link);
            let there = file.is_empty()
                || file.starts_with("http")
                || page.parent().unwrap().join(file).exists();
            assert!(there, "{} links to {link}", page.display());
        }
    }
}

/// The rules of docs/internals/cooldown.md, each with the tests that would tell if it were broken.
const RULES: &[(&str, &[&str])] = &[
    (
        "nobody but its owner gets an address within the cooldown, over every event there is",
        &["nobody_gets_an_address_before_its_deadline_whatever_happens"],
    ),
    (
        "the choice itself is the one a naive scan of everything would make",
        &["no_life_of_a_node_breaks_a_promise"],
    ),
    (
        "counted by CLOCK_BOOTTIME within a boot; over a reboot only time known to have passed",
        &[
            "a_restart_within_one_boot_loses_no_time",
            "over_a_reboot_only_the_time_since_boot_counts",
            "a_clock_that_shows_less_than_before_stands_still",
            "a_boot_that_changes_under_a_running_clock_adds_nothing",
        ],
    ),
    (
        "never shortened by exhaustion: code 11, and when the next address is free",
        &[
            "a_full_pool_says_when_the_next_address_is_free",
            "a_full_pool_says_when_it_will_have_room",
        ],
    ),
    (
        "the owner comes back at once, others do not",
        &["a_pod_returns_to_its_address_and_nobody_else_gets_it_within_the_cooldown"],
    ),
    (
        "a lease is on disk before its ADD is answered; a lost DEL prolongs",
        &["every_acknowledged_lease_survives_a_kill", "power_lost_at_any_moment_loses_no_lease"],
    ),
    (
        "a late DEL of the old sandbox takes nothing from the new one",
        &["the_same_pod_in_a_new_sandbox_takes_its_address_along_and_a_late_del_finds_nothing"],
    ),
    (
        "a live address goes to another pod of its name only when the old namespace is proven gone",
        &[
            "only_a_path_beside_a_visible_namespace_proves_anything",
            "a_name_in_use_is_not_stolen_and_that_is_reported",
        ],
    ),
    (
        "a guess from a pod's name shortens nothing",
        &[
            "names_tell_what_made_a_pod",
            "nobody_gets_an_address_before_its_deadline_whatever_happens",
        ],
    ),
    (
        "a block that comes from another node cools first",
        &[
            "a_block_that_moved_away_serves_del_and_goes_when_it_is_empty",
            "a_reload_applies_the_difference_and_a_bad_file_changes_nothing",
        ],
    ),
    (
        "an address that somebody uses is not handed out though the store says free",
        &[
            "an_address_that_somebody_uses_is_not_handed_out_though_the_store_says_free",
            "a_sandbox_that_a_released_lease_names_is_looked_into_wherever_it_is",
            "only_a_route_of_one_address_to_somewhere_says_that_it_is_used",
            "only_an_answer_confirms_a_neighbour",
        ],
    ),
    (
        "what a sandbox leaves while it is taken down keeps others out, not its owner",
        &["what_a_sandbox_leaves_while_it_is_taken_down_keeps_others_out_but_not_its_owner"],
    ),
    (
        "flows and neighbour entries of a released address are removed",
        &[
            "flows_of_a_released_address_are_flushed_in_both_directions_and_others_stay",
            "the_neighbour_entry_of_a_released_address_is_flushed",
        ],
    ),
    (
        "an operator's hold and release, guarded by the lease's number",
        &["an_operator_holds_releases_and_lets_go"],
    ),
    (
        "a store of an earlier release is taken over whole",
        &["a_store_of_format_1_is_taken_over_with_every_lease_and_a_number_for_each"],
    ),
];

const RULES_BEGIN: &str = "<!-- rules -->\n";
const RULES_END: &str = "<!-- end of rules -->";

#[test]
fn the_cooldown_page_names_the_test_of_each_rule() {
    let places = tests();
    let mut names = RULES.iter().flat_map(|(_, tests)| *tests);
    let missing: Vec<_> = names.by_ref().filter(|name| !places.contains_key(**name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    let mut table = String::from("| rule | test | where |\n|---|---|---|\n");
    for (rule, tests) in RULES {
        let quoted: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
        let mut files: Vec<_> = tests.iter().map(|test| places[*test].as_str()).collect();
        files.dedup();
        table += &format!("| {rule} | {} | {} |\n", quoted.join(", "), files.join(", "));
    }
    let path = Path::new(ROOT).join("docs/internals/cooldown.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(RULES_BEGIN).unwrap();
    let (_, tail) = rest.split_once(RULES_END).unwrap();
    let new = format!("{head}{RULES_BEGIN}\n{table}\n{RULES_END}{tail}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &new).unwrap();
    } else {
        assert!(page == new, "docs/internals/cooldown.md is stale: make cooldown-report");
    }
}
