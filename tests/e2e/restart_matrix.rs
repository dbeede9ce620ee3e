//! The heart of the restart matrix (`make restart-matrix` runs all of it): what tier 0 promises with
//! graceful restart *off* at the peer, and one cell of each further kind.

use mainstay_tests::matrix::{self, Cell, Event};
use mainstay_tests::peers::{Gr, Kind};

/// Two at a time: most of a cell is waiting.
#[track_caller]
fn keep_their_promises(cells: &[Cell]) {
    let outcomes = matrix::run(cells, 2, |_, _| {});
    let mut faults = Vec::new();
    for (cell, outcome) in cells.iter().zip(&outcomes) {
        match outcome {
            Err(why) => faults.push(format!("{}: {why}", cell.name())),
            Ok(verdict) => {
                let broken = cell.promise().broken(cell.peer, verdict);
                faults.extend(broken.iter().map(|fault| format!("{}: {fault}", cell.name())));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn with_gr_off(peer: Kind) -> Vec<Cell> {
    [
        Event::Terminate,
        Event::Kill,
        Event::OutOfMemory,
        Event::OtherVersion,
        Event::MidMessage,
        Event::UnreadInput,
        Event::TenCrashes,
        Event::KeeperKilled,
    ]
    .map(|event| Cell::new(peer, Gr::Off, event))
    .to_vec()
}

#[test]
fn bird_sees_nothing_of_a_restart_with_graceful_restart_off() {
    keep_their_promises(&with_gr_off(Kind::Bird));
}

#[test]
fn frr_sees_nothing_of_a_restart_with_graceful_restart_off() {
    keep_their_promises(&with_gr_off(Kind::Frr));
}

#[test]
fn neither_do_gobgp_and_openbgpd() {
    let cell = |peer, event| Cell::new(peer, Gr::Off, event);
    keep_their_promises(&[
        cell(Kind::GoBgp, Event::Kill),
        cell(Kind::OpenBgpd, Event::Kill),
        Cell { password: true, ..cell(Kind::Frr, Event::Kill) },
        Cell { sessions: 100, ..cell(Kind::Bird, Event::Kill) },
    ]);
}

#[test]
fn what_the_keeper_cannot_give_back_falls_to_graceful_restart() {
    keep_their_promises(&[
        Cell::new(Kind::Bird, Gr::On, Event::BothKilled),
        Cell::new(Kind::Frr, Gr::On, Event::UnreadableVersion),
        Cell::new(Kind::Bird, Gr::Off, Event::PeerCloses),
        Cell::new(Kind::Bird, Gr::Off, Event::Drain),
        Cell::new(Kind::Frr, Gr::On, Event::Leave),
    ]);
}
