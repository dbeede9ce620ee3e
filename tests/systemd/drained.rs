//! What an operator intends with a node: drained until it is taken back, or gone.

use crate::site::{OURS, Site};
use mainstay_tests::wait::{eventually, until};

#[test]
fn an_operator_s_drain_outlives_restart_and_kill_and_is_taken_back_by_undrain() {
    let site = Site::started("graceful restart off;");
    let m = &site.machine;
    let since = site.bird.since("node");
    let drained = m.must(&["mainstay", "drain", "--wait", "1s"]);
    assert_eq!(drained, "bgpd: drained\n");
    until(3, "the switch has nothing of ours", || !site.bird.has_route(OURS));
    for words in ["restart mainstay-bgpd", "kill --signal=KILL mainstay-bgpd"] {
        let before = m.main_pid("mainstay-bgpd");
        m.systemctl(words);
        eventually(20, "the next speaker is drained", || {
            let status = m.json(&["status"]);
            let another = ![before.as_str(), "0"].contains(&m.main_pid("mainstay-bgpd").as_str());
            match status {
                Ok(status) if another && status["bgpd"]["intent"] == "drained" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        assert!(!site.bird.has_route(OURS));
    }
    assert_eq!(m.must(&["mainstay", "undrain"]), "bgpd: serving\n");
    until(5, "the switch has our route again", || site.bird.has_route(OURS));
    assert_eq!(site.bird.since("node"), since, "the session was never lost");
}

#[test]
fn a_node_that_leaves_withdraws_ends_its_sessions_and_its_routes_and_is_not_restarted() {
    let site = Site::started("graceful restart on;");
    let m = &site.machine;
    until(10, "their route is in our kernel", || m.host.ip("route").contains("198.51.100.0/24"));
    assert_eq!(m.must(&["mainstay", "leave", "--wait", "1s"]), "bgpd: left\n");
    until(5, "the unit has ended", || m.property("mainstay-bgpd", "ActiveState") == "inactive");
    assert_eq!(m.property("mainstay-bgpd", "Result"), "success");
    assert_eq!(m.host.ip("route show proto 96"), "");
    assert!(!site.bird.has_route(OURS), "not kept as stale");
    let said = site.bird.ask("show protocols all node").unwrap();
    assert!(!said.contains("Established"), "{said}");

    m.systemctl("start mainstay-bgpd");
    until(20, "it serves as if for the first time", || site.bird.has_route(OURS));
    let log = m.log_of("mainstay-bgpd");
    let last = log.lines().rfind(|l| l.contains("serving node=")).unwrap();
    assert!(last.contains("restarting=false") && last.contains("drained=false"), "{last}");
}
