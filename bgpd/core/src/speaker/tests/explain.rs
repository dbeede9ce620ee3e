//! One question, every reason.

use super::*;
use crate::config::PolicyName;
use crate::policy::{Ask, Decision, Policy, PrefixMatch, Rule};
use crate::view::{ExportState, KernelState};

fn config_of_three() -> SpeakerConfig {
    config(&[(1, 65001), (2, 65002), (3, 65003)])
}

fn exports(lab: &Lab, asked: &str) -> Vec<(ExportState, Option<&'static str>)> {
    let all = lab.speaker.explain(prefix(asked), lab.now).exports;
    all.into_iter().map(|e| (e.state, e.why)).collect()
}

#[test]
fn candidates_stand_in_order_with_the_step_by_which_each_lost() {
    let mut lab = Lab::new(config_of_three());
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(one, &[65001, 65009], 1, &["10.0.0.0/8"]);
    lab.announce(two, &[65002], 2, &["10.0.0.0/8"]);
    let why = lab.speaker.explain(prefix("10.1.2.3/32"), lab.now);
    let route = why.route.unwrap();
    assert_eq!(route.prefix, prefix("10.0.0.0/8"));
    let reasons: Vec<_> = route.paths.iter().map(|p| (p.best, p.reason)).collect();
    assert_eq!(reasons, [(true, None), (false, Some("longer AS path"))]);
    assert_eq!(why.kernel.state, KernelState::Installed);
    assert_eq!(why.kernel.fib.present.len(), 1);
}

#[test]
fn each_peer_is_told_or_there_is_a_reason_why_not() {
    let mut config = config_of_three();
    config.peers[1].session.export = PolicyName::None;
    let mut lab = Lab::new(config);
    let one = lab.establish(1, 65001);
    let _two = lab.establish(2, 65002);
    lab.announce(one, &[65001], 1, &["10.0.0.0/8"]);
    let (down, refused) = ("the session is not up", "refused by the export policy");
    let expected = [
        (ExportState::Withheld, Some("it came from this peer")),
        (ExportState::Withheld, Some(refused)),
        (ExportState::Down, Some(down)),
    ];
    assert_eq!(exports(&lab, "10.0.0.0/8"), expected);
    let three = lab.establish(3, 65003);
    assert_eq!(exports(&lab, "10.0.0.0/8")[2], (ExportState::Pending, Some("not told yet")));
    lab.sent(three);
    assert_eq!(exports(&lab, "10.0.0.0/8")[2], (ExportState::Told, None));
    lab.withdraw(one, &["10.0.0.0/8"]);
    let gone = Some("there is no route any more");
    assert_eq!(exports(&lab, "10.0.0.0/8")[2], (ExportState::Withdrawing, gone));
}

#[test]
fn the_rule_of_the_policy_that_refused_is_named() {
    let within = |p: &str| PrefixMatch { within: prefix(p), ge: 8, le: 32 };
    let rule = |p: &str, decision, name: Option<&str>| Rule {
        name: name.map(Into::into),
        ..Rule::new(vec![Ask::Prefix(vec![within(p)])], decision)
    };
    let rules = vec![
        rule("11.0.0.0/8", Decision::Reject, Some("no-eleven")),
        rule("10.0.0.0/8", Decision::Accept, None),
    ];
    let mut config = config_of_three();
    config.policies.insert("strict".into(), Policy { rules });
    config.peers[0].session.import = PolicyName::Named("strict".into());
    config.peers[1].session.export = PolicyName::Node;
    let mut lab = Lab::new(config);
    let one = lab.establish(1, 65001);
    let _two = lab.establish(2, 65002);
    lab.announce(one, &[65001], 1, &["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"]);
    let rule = |p: &str| {
        let refused = lab.speaker.explain(prefix(p), lab.now).refused;
        refused[0].paths[0].said.clone().unwrap()
    };
    assert_eq!(rule("11.0.0.0/8"), "policy strict: rule 1 (no-eleven)");
    assert_eq!(rule("12.0.0.0/8"), "policy strict: no rule decided, and its end rejects");
    let told = lab.speaker.explain(prefix("10.0.0.0/8"), lab.now).exports.remove(1);
    let why = "policy node: a default route in, prefixes of this node out";
    assert_eq!(told.rule.as_deref(), Some(why));
}

#[test]
fn what_import_refused_is_told_though_a_wider_route_is_taken() {
    let mut lab = Lab::new(config_of_three());
    let one = lab.establish(1, 65001);
    lab.announce(one, &[65001], 1, &["10.0.0.0/8"]);
    lab.announce(one, &[65001, 64512], 1, &["10.1.0.0/16", "11.0.0.0/8"]);
    let why = lab.speaker.explain(prefix("10.1.2.3/32"), lab.now);
    assert_eq!(why.route.unwrap().prefix, prefix("10.0.0.0/8"));
    let refused: Vec<_> =
        why.refused.iter().map(|r| (r.prefix, r.paths[0].reason.unwrap())).collect();
    assert_eq!(refused, [(prefix("10.1.0.0/16"), "own AS in the path")]);
}

#[test]
fn what_the_kernel_refused_is_told_in_its_words_and_own_prefixes_as_such() {
    let mut config = config_of_three();
    config.originate = vec![prefix("192.168.0.0/24")];
    let mut lab = Lab::new(config);
    let one = lab.establish(1, 65001);
    lab.announce(one, &[65001], 1, &["10.0.0.0/8"]);
    let p = prefix("10.0.0.0/8");
    lab.tell(Event::FibFailed { prefix: p, why: "Network is unreachable".into() });
    let kernel = lab.speaker.explain(p, lab.now).kernel;
    assert_eq!(kernel.state, KernelState::Refused);
    assert_eq!(kernel.fib.refused, Some(("Network is unreachable".into(), 1)));
    let state = |p: &str| lab.speaker.explain(prefix(p), lab.now).kernel.state;
    assert_eq!(state("192.168.0.0/24"), KernelState::Own);
    assert_eq!(state("172.16.0.0/12"), KernelState::NoRoute);
}
