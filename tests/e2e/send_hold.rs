//! The send hold timer (RFC 9687) against a peer that is there and no longer reads.

use crate::pair::{BIRD, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::wait::eventually;
use rustix::process::Signal;

/// More than the sockets of both sides and the session's own buffer hold.
const MANY: usize = 50_000;

fn many(keys: &str) -> String {
    let prefix = |n: usize| format!("10.{}.{}.{}/28", n >> 12, (n >> 4) & 255, (n & 15) << 4);
    let prefixes: Vec<_> = (0..MANY).map(prefix).collect();
    tor(keys).replace("[198.18.7.0/24,", &format!("[{},", prefixes.join(", ")))
}

#[test]
fn a_peer_that_stops_reading_is_given_up_and_has_every_route_when_it_is_back() {
    let pair = Pair::new(&many("import: all, hold_time: 0s, send_hold_time: 4s"));
    for host in [&pair.node.host, &pair.peer] {
        host.sysctl("net/ipv4/tcp_wmem", "4096 16384 32768");
        host.sysctl("net/ipv4/tcp_rmem", "4096 16384 32768");
    }
    let bird = BIRD
        .replace("kernel { ipv4 { export where source = RTS_BGP", "kernel { ipv4 { export none");
    let bird = Bird::start(&pair.peer, &bird);
    let bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 60);
    let whole = || {
        eventually(60, "BIRD has every route", || {
            let text = bird.ask("show protocols all peer")?;
            if text.contains(&format!("{MANY} imported")) { Ok(()) } else { Err(text) }
        });
    };
    whole();
    let tor = pair.tor().unwrap();
    assert_eq!((&tor["hold_time_seconds"], &tor["send_hold_time_seconds"]), (&0.into(), &4.into()));
    bird.signal(Signal::STOP);
    let all = pair.node.cli_text(&["bgp", "reset", "tor", "--soft", "out"]);
    eventually(60, "the session ends, and the state says why", || {
        let tor = pair.tor()?;
        let why = tor["last_error"].to_string();
        let ended = tor["state"] != "Established" && why.contains("sent NOTIFICATION 8/0");
        if ended { Ok(()) } else { Err(format!("{all} {tor}")) }
    });
    let shown = pair.node.cli_text(&["bgp", "peers", "tor"]);
    assert!(shown.contains("send hold timer expired"), "{shown}");
    eventually(10, "so does the log", || {
        let log = bgpd.log();
        if log.contains("send hold timer expired") { Ok(()) } else { Err(log) }
    });
    bird.signal(Signal::CONT);
    eventually(120, "the session is back", || {
        let tor = pair.tor()?;
        let back = tor["state"] == "Established" && tor["established_count"] != 1;
        if back { Ok(()) } else { Err(tor.to_string()) }
    });
    whole();
}
