//! The words of policies: communities, patterns of AS paths, and a policy as a file has it.

use bgp_words::{AsPathPattern, Community, CommunityPattern};

/// A pattern, a line end, numbers of an AS path.
pub(crate) fn as_path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, path) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(pattern) = pattern.parse::<AsPathPattern>() else { return };
    let path: Vec<u32> = path.split(' ').filter_map(|asn| asn.parse().ok()).collect();
    let matches = || pattern.matches(path.iter().map(|asn| std::iter::once(*asn)));
    let said = pattern.to_string();
    assert_eq!(said.parse::<AsPathPattern>().map(|again| again.to_string()), Ok(said));
    assert_eq!(matches(), matches());
}

/// A pattern, a line end, communities.
pub(crate) fn community(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, communities) = text.split_once('\n').unwrap_or((text, text));
    let pattern = pattern.parse::<CommunityPattern>();
    for community in communities.split(' ').filter_map(|c| c.parse::<Community>().ok()) {
        assert_eq!(community.to_string().parse(), Ok(community));
        if let Ok(pattern) = &pattern {
            assert!(
                pattern.single().is_none_or(|one| (one == community) == pattern.matches(community))
            );
        }
    }
}

/// The rules of one policy, indented as in a file that has no other fault.
pub(crate) fn policy(bytes: &[u8]) {
    let Ok(rules) = std::str::from_utf8(bytes) else { return };
    let rules: String = rules.lines().map(|line| format!("        {line}\n")).collect();
    let text = format!("{HEAD}{rules}");
    match mainstay_config::parse("mainstay.yaml", &text) {
        Err(faults) => assert!(!faults.to_string().is_empty()),
        Ok(cluster) => {
            let Ok(node) = cluster.resolve("node-a") else { panic!("it has passed the check") };
            for rules in node.bgp.policies.values() {
                let _ = bgp_plan::policy(64512, rules);
            }
        }
    }
}

const HEAD: &str = "\
nodes:
  - {name: node-a, address: 192.0.2.11}
network: {mode: bgp, families: [ipv4, ipv6]}
bgp:
  asn: 64512
  policies:
    - name: tried
      rules:
";
