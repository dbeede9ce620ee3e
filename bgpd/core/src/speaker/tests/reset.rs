//! What an operator does to a session.

use super::*;
use crate::event::Reset;
use crate::speaker::Done;

fn reset(lab: &mut Lab, how: Reset) -> Option<Done> {
    let id = lab.speaker.find_peer("p1")?;
    lab.speaker.reset_peer(id, how, lab.now, &mut lab.actions)
}

#[test]
fn a_hard_reset_ends_the_session_and_dials_at_once() {
    let mut dialled = config(&[(1, 65001)]);
    dialled.peers[0].session.passive = false;
    let mut lab = Lab::new(dialled);
    assert_eq!(reset(&mut lab, Reset::SoftIn), Some(Done::NotUp));
    let one = lab.establish(1, 65001);
    lab.actions.clear();
    assert_eq!(reset(&mut lab, Reset::Hard(String::new())), Some(Done::Ended));
    assert!(lab.sent(one).contains(&"NOTIFICATION 6/4".to_owned()));
    lab.tell(Event::Due);
    assert!(lab.dialled().is_some(), "without a hold-off");
}

#[test]
fn softly_in_the_peer_is_asked_and_softly_out_it_is_told_again() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(two, &[65002], 2, &["10.0.0.0/8"]);
    lab.sent(one);
    let both = Family::ALL.to_vec();
    assert_eq!(reset(&mut lab, Reset::SoftIn), Some(Done::Asked(both.clone())));
    let asked = lab.sent(one);
    assert_eq!(asked.iter().filter(|m| m.starts_with("ROUTE-REFRESH")).count(), 2, "{asked:?}");
    assert_eq!(reset(&mut lab, Reset::SoftOut), Some(Done::Telling(both)));
    let told = lab.sent(one).join(" ");
    assert!(told.contains("10.0.0.0/8"), "{told}");
    assert_eq!(lab.peer(1).established_count, 1);
}
