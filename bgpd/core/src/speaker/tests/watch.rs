//! What those who watch routes are told.

use super::*;

#[test]
fn a_change_of_the_best_path_is_told_with_whose_doing_it_was() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(one, &[65001], 1, &["9.0.0.0/8"]);
    lab.speaker.watch_routes(true);
    lab.announce(one, &[65001, 65009], 1, &["10.0.0.0/8"]);
    lab.announce(two, &[65002], 2, &["10.0.0.0/8"]);
    lab.announce(one, &[65001, 65009, 65010], 1, &["10.0.0.0/8"]);
    lab.tell(Event::Closed { conn: two, why: "reset".into() });
    let told = lab.speaker.take_route_changes(lab.now);
    let words = |c: &crate::view::RouteChange| {
        let best = c.best.as_ref().and_then(|p| p.peer.clone()).unwrap_or_default();
        format!("{} {}: {best}", c.prefix, c.cause)
    };
    let said: Vec<String> = told.changes.iter().map(words).collect();
    assert_eq!(said, ["10.0.0.0/8 received from p1: p2", "10.0.0.0/8 received from p2: p2"]);
    assert_eq!(told.lost, 0);
    lab.withdraw(one, &["9.0.0.0/8"]);
    let gone = lab.speaker.take_route_changes(lab.now).changes.remove(0);
    assert_eq!((gone.best, gone.peer.as_deref()), (None, Some("p1")));
    lab.speaker.watch_routes(false);
    lab.announce(one, &[65001], 1, &["9.0.0.0/8"]);
    assert!(lab.speaker.take_route_changes(lab.now).changes.is_empty());
}

#[test]
fn more_changes_than_can_be_kept_are_counted() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.speaker.watch_routes(true);
    for a in 0..66u8 {
        let many: Vec<String> = (0..=255u8).map(|b| format!("10.{a}.{b}.0/24")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        lab.announce(one, &[65001], 1, &many);
    }
    let told = lab.speaker.take_route_changes(lab.now);
    assert_eq!((told.changes.len(), told.lost), (1 << 14, 66 * 256 - (1 << 14)));
}
