//! From one peer through the RIBs to the FIB and to other peers.

use super::*;

#[test]
fn a_route_goes_to_the_kernel_and_to_the_other_peer() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    assert_eq!(lab.sent(two), ["OPEN", "KEEPALIVE", "EoR ipv4-unicast", "EoR ipv6-unicast"]);
    lab.announce(one, &[65001], 1, &["10.1.0.0/16", "10.2.0.0/16"]);
    assert_eq!(lab.fib(), ["10.1.0.0/16 via 192.0.2.1", "10.2.0.0/16 via 192.0.2.1"]);
    assert_eq!(lab.sent(two), ["+10.1.0.0/16 [64512 65001] +10.2.0.0/16 [64512 65001]"]);
    lab.withdraw(one, &["10.1.0.0/16"]);
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    assert_eq!(lab.sent(two), ["-10.1.0.0/16"]);
    assert_eq!(lab.sent(one)[0], "OPEN", "and nothing of it to where it came from");
    assert_eq!(lab.sent(one), Vec::<String>::new());
}

#[test]
fn what_changes_back_before_it_is_told_is_not_told() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.sent(two);
    lab.announce(one, &[65001], 1, &["10.1.0.0/16"]);
    lab.withdraw(one, &["10.1.0.0/16"]);
    assert_eq!(lab.sent(two), Vec::<String>::new());
}

#[test]
fn equal_paths_are_used_side_by_side_and_shrink_in_place() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(one, &[65001], 1, &["0.0.0.0/0"]);
    lab.announce(two, &[65002], 2, &["0.0.0.0/0"]);
    assert_eq!(lab.fib(), ["0.0.0.0/0 via 192.0.2.1", "0.0.0.0/0 via 192.0.2.1 192.0.2.2"]);
    let paths = lab.paths("0.0.0.0/0");
    assert!(paths[0].best && paths[0].installed && paths[1].multipath && paths[1].installed);
    assert_eq!(paths[1].reason, Some("higher router ID"));
    lab.tell(Event::Closed { conn: one, why: "reset".into() });
    assert_eq!(lab.fib(), Vec::<String>::new(), "graceful restart keeps it");
    lab.pass(seconds(121));
    assert_eq!(lab.fib()[0], "0.0.0.0/0 via 192.0.2.2");
}

#[test]
fn no_update_leaves_before_the_blocks_are_known() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    lab.speaker = Speaker::new(config(&[(1, 65001)]), Start::default(), lab.now);
    let conn = lab.establish(1, 65001);
    assert_eq!(lab.sent(conn), ["OPEN", "KEEPALIVE"]);
    lab.tell(Event::Blocks([prefix("10.244.0.0/26")].into()));
    assert!(lab.actions.contains(&Action::Wake { conn }));
    assert_eq!(lab.sent(conn), ["+10.244.0.0/26 [64512]", "EoR ipv4-unicast", "EoR ipv6-unicast"]);
}

#[test]
fn own_prefixes_are_not_for_the_fib_and_win_over_learned_ones() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.sent(two);
    lab.announce(one, &[65001], 1, &["10.244.0.0/26"]);
    lab.tell(Event::Blocks([prefix("10.244.0.0/26")].into()));
    assert_eq!(lab.fib(), ["10.244.0.0/26 via 192.0.2.1", "10.244.0.0/26 gone"]);
    assert_eq!(lab.paths("10.244.0.0/26")[1].reason, Some("not originated here"));
    assert_eq!(lab.sent(two), ["+10.244.0.0/26 [64512]"]);
}

#[test]
fn a_path_that_leads_back_to_us_is_kept_aside_and_says_why() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.announce(one, &[65001, 64512], 1, &["10.1.0.0/16"]);
    lab.announce(one, &[65001], 100, &["10.2.0.0/16"]);
    assert_eq!(lab.fib(), Vec::<String>::new());
    let table = lab.table(RibKind::AdjIn, Some("p1"), None);
    let reasons: Vec<_> = table.iter().map(|r| r.paths[0].reason).collect();
    assert_eq!(reasons, [Some("own AS in the path"), Some("next hop is this node")]);
    assert!(table.iter().all(|r| r.paths[0].rejected));
    let family = &lab.peer(1).families[0];
    assert_eq!((family.received, family.accepted), (2, 0));
}

#[test]
fn a_refused_route_is_asked_for_again_later_and_later() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.announce(one, &[65001], 1, &["10.1.0.0/16"]);
    lab.fib();
    let mut waits = Vec::new();
    for _ in 0..4 {
        lab.tell(Event::FibFailed { prefix: prefix("10.1.0.0/16"), why: "no buffers".into() });
        let begin = lab.now;
        while lab.fib().is_empty() {
            lab.receive(one, wire::keepalive);
            lab.pass(Duration::from_millis(500));
        }
        waits.push((lab.now - begin).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8]);
    assert_eq!(lab.speaker.overview().fib.last_error.unwrap(), "10.1.0.0/16: no buffers");
    assert!(!lab.paths("10.1.0.0/16")[0].installed);
    lab.pass(seconds(11));
    assert_eq!(lab.speaker.overview().fib.failed, 0);
    assert!(lab.paths("10.1.0.0/16")[0].installed);
}

#[test]
fn a_dynamic_peer_comes_from_its_range_and_goes_with_its_session() {
    let mut config = config(&[]);
    let mut session = session_config(65001);
    session.graceful_restart = None;
    config.ranges = vec![crate::config::RangeConfig {
        name: "pods".into(),
        range: prefix("192.0.2.0/24"),
        limit: 1,
        session,
    }];
    let mut lab = Lab::new(config);
    let one = lab.establish(7, 65001);
    assert_eq!(lab.peer(7).name, "pods/192.0.2.7");
    lab.announce(one, &[65001], 7, &["10.1.0.0/16"]);
    let second = lab.accept(8);
    assert_eq!(lab.sent(second), ["NOTIFICATION 6/5"]);
    lab.tell(Event::Closed { conn: one, why: "reset".into() });
    assert!(lab.speaker.peers(lab.now).is_empty());
    assert_eq!(lab.fib(), ["10.1.0.0/16 via 192.0.2.7", "10.1.0.0/16 gone"]);
}

#[test]
fn pages_come_in_order_and_the_longest_match_is_found() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.announce(one, &[65001], 1, &["10.3.0.0/16", "10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"]);
    let all = RouteQuery::default();
    let page = |after| {
        let page = lab.speaker.routes(&all, after, 2, lab.now);
        page.into_iter().map(|r| r.prefix.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None), ["0.0.0.0/0", "10.0.0.0/8"]);
    assert_eq!(page(Some(prefix("10.0.0.0/8"))), ["10.1.0.0/16", "10.3.0.0/16"]);
    let found = |p, how| {
        let table = lab.table(RibKind::Loc, None, Some((prefix(p), how)));
        table.into_iter().map(|r| r.prefix.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("10.1.2.3/32", Match::Longest), ["10.1.0.0/16"]);
    assert_eq!(found("11.1.2.3/32", Match::Longest), ["0.0.0.0/0"]);
    assert_eq!(found("10.0.0.0/8", Match::Covered).len(), 3);
    assert!(found("10.9.0.0/16", Match::Exact).is_empty());
}

#[test]
fn a_peer_that_does_not_read_costs_no_memory_and_catches_up() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    for round in 0..400u32 {
        let prefixes: Vec<String> = (0..250).map(|n| format!("10.{n}.0.0/16")).collect();
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        lab.announce(one, &[65001, 65100 + round], 1, &prefixes);
        lab.sent(one);
    }
    assert!(lab.speaker.rib.journal().len() <= JOURNAL_SLACK + 1000);
    let told = lab.sent(two);
    assert!(told.len() < 20, "{}", told.len());
    assert!(told[2].contains("[64512 65001 65499]"), "{}", told[2]);
    assert_eq!(lab.peer(2).families[0].advertised, 250);
}
