//! Bytes that no honest peer sends.

use super::*;
use proptest::prelude::*;

#[test]
fn a_bad_update_of_one_peer_costs_that_peers_routes_in_it_and_no_session() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.announce(one, &[65001], 1, &["10.1.0.0/16", "10.2.0.0/16"]);
    lab.fib();
    let mut bytes = Vec::new();
    let attrs = attributes(&[65001], 1);
    let prefixes = [prefix("10.1.0.0/16")];
    wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &prefixes, &mut bytes);
    let origin = bytes.windows(3).position(|w| w == [0x40, 1, 1]).unwrap();
    bytes[origin + 3] = 9;
    lab.tell(Event::Received { conn: one, bytes: &bytes });
    assert_eq!(lab.peer(1).state, "Established");
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
    assert!(lab.reports().iter().any(|r| matches!(r, Report::UpdateError { withdrawn: 1, .. })));
}

#[test]
fn a_broken_header_gets_its_notification_and_the_reason_is_shown() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.sent(one);
    lab.receive(one, |out| out.extend([0xff; 19]));
    assert_eq!(lab.sent(one), ["NOTIFICATION 1/2"]);
    let error = lab.peer(1).last_error.unwrap();
    assert!(error.starts_with("sent NOTIFICATION 1/2 (bad message length"), "{error}");
    assert_eq!(down(&lab.reports()).unwrap().1, 0, "an error is no restart");
}

#[test]
fn bytes_for_connections_that_are_gone_mean_nothing() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.tell(Event::Closed { conn: one, why: "reset".into() });
    lab.reports();
    lab.actions.clear();
    lab.receive(one, wire::keepalive);
    lab.tell(Event::Closed { conn: one, why: "again".into() });
    lab.tell(Event::ConnectFailed { conn: ConnId(99), why: "who?".into() });
    assert!(lab.actions.is_empty());
    assert_eq!(lab.sent(one), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whole and half messages, good and spoilt, in any state.
    #[test]
    fn nothing_a_peer_sends_makes_it_panic(
        pieces in prop::collection::vec((0u8..8, any::<u16>(), any::<u8>()), 1..40),
        garbage in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut lab = Lab::new(config(&[(1, 65001)]));
        let mut conn = lab.accept(1);
        for (kind, at, value) in pieces {
            if lab.speaker.peer_of(conn).is_none() {
                lab.pass(seconds(70));
                conn = lab.accept(1);
            }
            let mut bytes = Vec::new();
            match kind {
                0 => wire::open(&offer(1, 65001).message(), &mut bytes),
                1 | 2 => wire::keepalive(&mut bytes),
                3 | 4 => {
                    let p = [prefix("10.0.0.0/8"), prefix("10.1.2.0/24")];
                    let attrs = attributes(&[65001, 65002], 1);
                    wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &p, &mut bytes);
                }
                5 => wire::route_refresh(Family::Ipv6Unicast.into(), &mut bytes),
                6 => wire::end_of_rib(Family::Ipv4Unicast, &mut bytes),
                _ => bytes.extend(&garbage),
            }
            // A keepalive or so stays whole, so that some runs get far.
            if kind != 1 && value % 3 == 0 && !bytes.is_empty() {
                let at = usize::from(at) % bytes.len();
                bytes[at] = value;
            }
            lab.tell(Event::Received { conn, bytes: &bytes });
            lab.sent(conn);
        }
        prop_assert!(lab.speaker.closing.len() <= 1);
    }
}
