//! `make restart-matrix`: runs every cell and writes `docs/restart.md`. Words pick cells by name:
//! `mainstay-restart-matrix BIRD "GR off" SIGKILL`; then nothing is written.

use mainstay_tests::matrix::{self, Cell, Outcome};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() -> ExitCode {
    assert!(
        rustix::process::geteuid().is_root(),
        "the restart matrix makes network namespaces: run it as root"
    );
    let words: Vec<_> = std::env::args().skip(1).collect();
    let picked = |cell: &Cell| words.iter().all(|w| cell.name().contains(w.as_str()));
    let cells: Vec<_> = matrix::all().into_iter().filter(picked).collect();
    let width = std::env::var("WIDTH").ok().and_then(|w| w.parse().ok()).unwrap_or(6);
    let (began, done) = (Instant::now(), AtomicUsize::new(0));
    let outcomes = matrix::run(&cells, width, |cell, outcome| {
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        println!("{n}/{} {}: {}", cells.len(), cell.name(), told(cell, outcome));
    });
    println!("{} cells in {:.0?}", cells.len(), began.elapsed());
    if words.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/restart.md");
        std::fs::write(path, matrix::page(&cells, &outcomes)).expect("write docs/restart.md");
        println!("written to docs/restart.md");
    }
    let good = cells.iter().zip(&outcomes).all(|(cell, outcome)| {
        outcome.as_ref().is_ok_and(|v| cell.promise().broken(cell.peer, v).is_empty())
    });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn told(cell: &Cell, outcome: &Outcome) -> String {
    let verdict = match outcome {
        Err(why) => return format!("FAILED: {why}"),
        Ok(verdict) => verdict,
    };
    let faults = cell.promise().broken(cell.peer, verdict);
    let judged = if faults.is_empty() {
        "kept".to_owned()
    } else {
        format!("BROKEN: {}\n{}", faults.join("; "), verdict.said)
    };
    format!("{verdict} in {} ms ({}: {judged})", verdict.millis, cell.promise().name())
}
