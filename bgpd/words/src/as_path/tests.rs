use super::*;
use proptest::prelude::*;

/// `65001 {65002 65003}`
fn path(text: &str) -> Vec<Vec<u32>> {
    let mut elements: Vec<Vec<u32>> = Vec::new();
    let mut in_set = false;
    for word in text.split_whitespace() {
        let opens = word.starts_with('{');
        let number = word.trim_matches(['{', '}']).parse().unwrap();
        match elements.last_mut() {
            Some(set) if in_set && !opens => set.push(number),
            _ => elements.push(vec![number]),
        }
        in_set = (in_set || opens) && !word.ends_with('}');
    }
    elements
}

fn matches(pattern: &str, as_path: &str) -> bool {
    pattern.parse::<AsPathPattern>().unwrap().matches(path(as_path))
}

#[test]
fn what_engineers_write_means_what_they_mean() {
    for (pattern, yes, no) in [
        ("_65001_", "1 65001 2", "1 65002 2"),
        ("65001", "65001", "165001"),
        ("^65001_", "65001 2", "2 65001"),
        ("_65001$", "2 65001", "65001 2"),
        ("^65001$", "65001", "65001 65001"),
        ("^$", "", "1"),
        (".*", "", ""),
        ("^65001 .* 65002$", "65001 7 8 65002", "65001 7 8"),
        ("^65001_.*65002$", "65001 65002", "65001 65003"),
        ("^[0-9]+$", "1", "1 2"),
        ("^65001_[0-9]*$", "65001 9", "65001 9 9"),
        ("^(65001|65002)+$", "65001 65002 65001", "65001 3"),
        ("^65001{2,3}$", "65001 65001", "65001"),
        ("^.{3,}$", "1 2 3", "1 2"),
        ("_64512-65534_", "1 64999", "1 2"),
        ("^[^65001 65010-65019]$", "65009", "65015"),
        ("^65001? 7$", "7", "65002 7"),
        ("65001_65002", "1 65001 65002 2", "65001 1 65002"),
    ] {
        assert!(matches(pattern, yes), "{pattern} should match {yes:?}");
        assert!(yes == no || !matches(pattern, no), "{pattern} should not match {no:?}");
    }
}

#[test]
fn a_set_is_one_element_and_whichever_member_fits() {
    assert!(matches("_65003_", "1 {65002 65003}"));
    assert!(matches("^1 .$", "1 {65002 65003}"));
    assert!(matches("^1 65002$", "1 {65002 65003}"));
    assert!(!matches("^1 65002 65003$", "1 {65002 65003}"));
    assert!(!matches("[^1 65003]", "1 {65002 65003}"), "all of its members are others, or none is");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let wrong = |text: &str| text.parse::<AsPathPattern>().unwrap_err().to_string();
    for (text, said) in [
        ("", "says nothing; write ^$ for the empty path, .* for every path"),
        (
            "6500[1-5]",
            "goes on within an AS number; write a range such as 65001-65005, or a blank, at its character 5",
        ),
        (
            "[0-9]",
            "has [0-9], a digit; patterns are about whole AS numbers, so write . for any, at its character 6",
        ),
        ("4294967296", "has \"4294967296\", which is no AS number, at its character 1"),
        ("(65001", "has a group without its ), at its character 7"),
        ("65001)", "closes a group that nothing opens, at its character 6"),
        ("*", "repeats nothing, at its character 1"),
        ("1**", "repeats a repetition; put the first into ( ), at its character 3"),
        ("^*", "repeats an end of the path, at its character 3"),
        ("AS65001", "has 'A', which says nothing about AS numbers, at its character 1"),
        ("(.{200}){9}", "is too long: it takes more than 256 steps"),
        ("65001{3,2}", "has bounds that make no sense, at its character 11"),
    ] {
        assert_eq!(wrong(text), said, "{text}");
    }
    assert!(wrong(&"(".repeat(100)).contains("too many groups"));
    assert!(wrong(&"1".repeat(2000)).contains("longer than"));
}

#[test]
fn the_work_is_bounded_for_patterns_that_others_choke_on() {
    let pattern: AsPathPattern = "^(((.*)*)*7)*$".parse().unwrap();
    let long = vec![[1u32]; 16_000];
    assert!(!pattern.matches(long));
}

/// All the places at which a match that begins at `from` may end: by definition, not by machine.
fn ends(node: &Node, path: &[Vec<u32>], from: usize) -> Vec<usize> {
    let mut all = match node {
        Node::Start => {
            if from == 0 {
                vec![from]
            } else {
                vec![]
            }
        }
        Node::End => {
            if from == path.len() {
                vec![from]
            } else {
                vec![]
            }
        }
        Node::One(class) => match path.get(from) {
            Some(element) if class.has(element.iter().copied()) => vec![from + 1],
            _ => vec![],
        },
        Node::All(nodes) => nodes.iter().fold(vec![from], |starts, node| {
            starts.iter().flat_map(|at| ends(node, path, *at)).collect()
        }),
        Node::Any(nodes) => nodes.iter().flat_map(|node| ends(node, path, from)).collect(),
        Node::Times(node, least, most) => {
            let mut reached = vec![];
            let mut at = vec![from];
            // More often than the path is long, nothing new is reached.
            for n in 0..=most.unwrap_or(least + path.len() as u32) {
                if n >= *least {
                    reached.extend(&at);
                }
                at = at.iter().flat_map(|at| ends(node, path, *at)).collect();
                at.sort_unstable();
                at.dedup();
            }
            reached
        }
    };
    all.sort_unstable();
    all.dedup();
    all
}

fn pattern() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        (1u32..4).prop_map(|n| n.to_string()),
        Just(".".to_owned()),
        Just("[1 3]".to_owned()),
        Just("[^2]".to_owned()),
        Just("1-2".to_owned()),
        Just("^".to_owned()),
        Just("$".to_owned()),
    ];
    atom.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|all| all.join("_")),
            prop::collection::vec(inner.clone(), 1..3)
                .prop_map(|any| format!("({})", any.join("|"))),
            (inner, prop::sample::select(vec!["*", "+", "?", "{2}", "{1,2}", "{1,}"]))
                .prop_map(|(node, times)| format!("({node}){times}")),
        ]
    })
}

proptest! {
    #[test]
    fn the_machine_finds_what_the_definition_finds(
        text in pattern(),
        path in prop::collection::vec(prop::collection::vec(1u32..4, 1..3), 0..6),
    ) {
        if let (Ok(pattern), Ok(node)) = (text.parse::<AsPathPattern>(), parse::read(&text)) {
            let wanted = (0..=path.len()).any(|from| !ends(&node, &path, from).is_empty());
            prop_assert_eq!(pattern.matches(path), wanted, "{}", text);
        }
    }

    #[test]
    fn no_text_is_too_odd(text in "[0-9^$_|(){}*+?.,\\[\\] -]{0,40}|\\PC{0,40}") {
        if let Ok(pattern) = text.parse::<AsPathPattern>() {
            let _ = pattern.matches([[1u32], [2]]);
        }
    }
}
