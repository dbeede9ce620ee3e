//! netmon's page against what is really so.

use crate::pair::{BIRD, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, sample};
use mainstay_tests::pods::Pods;
use mainstay_tests::wait::eventually;

#[test]
fn one_page_tells_routes_links_sessions_addresses_and_flows() {
    let pair = Pair::with_peer("import: all");
    // Connection tracking works in a namespace once a rule asks for it.
    pair.node
        .host
        .output("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ct state established accept"])
        .unwrap();
    let bird = Bird::start(&pair.peer, BIRD);
    let _ipamd = pair.node.start(Daemon::Ipamd);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let _netmon = pair.node.start(Daemon::Netmon);
    bird.established("peer", 20);
    let pods = Pods::new(&pair.node, Default::default());
    let web = pods.create("web-0").unwrap();
    let old = pods.create("web-1").unwrap();
    pods.delete(old).unwrap();
    assert!(web.host.pings("192.0.2.2") || web.host.pings("192.0.2.2"));
    for (series, least) in [
        ("mainstay_bgp_session_up{peer=\"tor\"}", 1.0),
        ("mainstay_ipam_addresses{pool=\"default\",state=\"assigned\"}", 1.0),
        ("mainstay_ipam_addresses{pool=\"default\",state=\"cooling\"}", 1.0),
        ("mainstay_conntrack_entries", 0.0),
        ("mainstay_netmon_source_up{source=\"bgp\"}", 1.0),
    ] {
        eventually(15, series, || {
            let page = pair.node.metrics("127.0.0.1:9474")?;
            match sample(&page, series) {
                Some(value) if value >= least => Ok(()),
                other => Err(format!("{other:?}\n{page}")),
            }
        });
    }
    eventually(15, "kernel routes by protocol", || {
        let page = pair.node.metrics("127.0.0.1:9474")?;
        let of = |protocol: &str| {
            let label = format!("protocol=\"{protocol}\"");
            let line = page.lines().find(|l| {
                l.starts_with("mainstay_fib_routes{")
                    && l.contains(&label)
                    && l.contains("family=\"ipv4\"")
            });
            line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let (bgp, ipam) = (of("mainstay-bgp"), of("mainstay-ipam"));
        // The default route and 198.51.100.0/24; one block.
        if (bgp, ipam) == (Some(2.0), Some(1.0)) {
            Ok(())
        } else {
            Err(format!("{bgp:?} {ipam:?}\n{page}"))
        }
    });
    let page = pair.node.metrics("127.0.0.1:9474").unwrap();
    assert!(page.contains("mainstay_link_receive_bytes_total{interface=\"eth0\"}"), "{page}");
    promtool(&page);
}

/// Prometheus' own opinion of the page.
fn promtool(page: &str) {
    use std::io::Write;
    let mut child =
        std::process::Command::new(mainstay_tests::proc::tool("promtool", "prometheus"))
            .args(["check", "metrics"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "promtool: {said}");
}
