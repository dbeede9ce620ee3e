//! What a restart costs: every way our processes can end, against every peer, in every mode of
//! graceful restart that the peer has, watched by the peer, by three kernels and by traffic.
//!
//! ```text
//!   behind 192.0.2.3     BIRD, iBGP with the switch: announces the table, and 198.51.100.0/24
//!      │                 where the traffic goes
//!   switch 192.0.2.1     the peer, AS 65001
//!      │
//!   node   192.0.2.2     keeper and bgpd, AS 64512: announces 198.18.7.0/24, where the
//!                        traffic comes from
//! ```

mod cell;
mod event;
mod net;
mod page;
mod promise;
mod verdict;

pub use cell::Cell;
pub use event::Event;
pub use net::{BEHIND_V4, NODE_V4, Net, Plan, ours, theirs};
pub use page::page;
pub use promise::{Promise, promise};
pub use verdict::Verdict;

use crate::peers::Kind;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Every cell: each event with each peer in each of its modes, and the large ones with GR off.
#[must_use]
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for peer in Kind::ALL {
        for gr in peer.modes() {
            cells.extend(Event::ALL.iter().map(|event| Cell::new(peer, *gr, *event)));
        }
    }
    for peer in Kind::ALL {
        cells.extend(Cell::large(peer));
    }
    cells
}

/// Runs them, `width` at a time, and says of each what happened. The order is kept.
#[must_use]
pub fn run(cells: &[Cell], width: usize, told: impl Fn(&Cell, &Outcome) + Sync) -> Vec<Outcome> {
    let queue = Mutex::new(cells.iter().enumerate().collect::<VecDeque<_>>());
    let outcomes = Mutex::new(vec![None; cells.len()]);
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some((place, cell)) = take(&queue) {
                    let outcome = cell.outcome();
                    told(cell, &outcome);
                    if let Ok(mut all) = outcomes.lock() {
                        all[place] = Some(outcome);
                    }
                }
            });
        }
    });
    let all = outcomes.into_inner().expect("no thread holds it");
    all.into_iter().map(|o| o.unwrap_or_else(|| Err("did not run".into()))).collect()
}

/// What a cell came to; an error is a cell that could not be judged, or never healed.
pub type Outcome = Result<Verdict, String>;

fn take<'a>(queue: &Mutex<VecDeque<(usize, &'a Cell)>>) -> Option<(usize, &'a Cell)> {
    queue.lock().ok()?.pop_front()
}
