//! The units themselves.

use crate::site::{OURS, Site};
use mainstay_tests::wait::until;

const DAEMONS: [&str; 4] =
    ["mainstay-keeper", "mainstay-bgpd", "mainstay-ipamd", "mainstay-netmon"];

#[test]
fn all_daemons_start_at_boot_and_one_stopped_takes_nothing_from_the_others() {
    let site = Site::started("graceful restart off;");
    let m = &site.machine;
    for daemon in DAEMONS {
        assert_eq!(m.systemctl(&format!("is-enabled {daemon}")), "enabled\n");
        assert_eq!(m.property(daemon, "NRestarts"), "0", "{}", m.log_of(daemon));
    }
    m.must(&["mainstay", "status"]);
    // Each with its sockets, and with the others' still there when it is stopped.
    for daemon in DAEMONS {
        m.systemctl(&format!("restart {daemon}"));
        m.must(&["mainstay", "bgp", "peers"]);
        m.must(&["mainstay", "ipam", "show"]);
    }
    until(20, "all is well again", || m.run(&["mainstay", "status"]).is_ok());
    until(20, "the switch forwards to us", || {
        site.switch.ip(&format!("route show {OURS}")).contains("via 192.0.2.2")
    });
    assert!(m.journal().lines().all(|l| !l.contains("Unknown key name")), "{}", m.journal());
}
