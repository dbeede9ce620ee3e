//! Peers that do not read (RFC 9687).

use super::*;

fn lab(send_hold: Option<u64>) -> (Lab, ConnId) {
    let mut config = config(&[(1, 65001)]);
    config.peers[0].session.options.send_hold_time = send_hold.map(seconds);
    let mut lab = Lab::new(config);
    let conn = lab.establish(1, 65001);
    lab.sent(conn);
    (lab, conn)
}

/// The peer is heard all the time, and reads nothing: for how long the session stands.
fn stands_for(send_hold: Option<u64>, most: u64) -> Option<u64> {
    let (mut lab, conn) = lab(send_hold);
    let since = lab.now;
    for passed in 0..most {
        lab.receive(conn, wire::keepalive);
        lab.speaker.stalled(conn, since);
        if lab.peer(1).state != "Established" {
            return Some(passed);
        }
        lab.pass(seconds(1));
    }
    None
}

#[test]
fn who_reads_nothing_is_given_up_however_often_it_is_heard() {
    assert_eq!(stands_for(Some(10), 60), Some(10));
    assert_eq!(stands_for(None, 600), Some(480), "the greater of 8 minutes and twice 90 s");
    assert_eq!(stands_for(Some(0), 2000), None, "for ever");
}

#[test]
fn it_is_told_why_and_the_state_says_so() {
    let (mut lab, conn) = lab(Some(10));
    assert_eq!(lab.peer(1).send_hold_time, seconds(10));
    lab.reports();
    lab.speaker.stalled(conn, lab.now);
    lab.pass(seconds(11));
    assert_eq!(lab.sent(conn).last().unwrap(), "NOTIFICATION 8/0");
    let said = lab.peer(1).last_error.unwrap();
    assert!(said.contains("8/0") && said.contains("send hold timer expired"), "{said}");
    assert_eq!(lab.peer(1).send_hold_time, seconds(0));
}

#[test]
fn each_octet_that_is_taken_counts_and_without_any_left_nothing_is_waited_for() {
    let (mut lab, conn) = lab(Some(10));
    for _ in 0..3 {
        lab.speaker.stalled(conn, lab.now);
        lab.pass(seconds(9));
    }
    assert_eq!(lab.peer(1).state, "Established");
    // The socket has room: all of it is gone.
    lab.sent(conn);
    lab.pass(seconds(60));
    assert_eq!(lab.peer(1).state, "Established");
}
