//! `make crash-suite`: hurts mainstay-ipamd in every way we know and writes `docs/reliability.md`.
//! `KILLS`, `MOMENTS`, `ERRORS` and `SEED` ask for more, less or other, and the name of a guard for
//! nothing but a look at what is lost without it (`mainstay-crash-suite directory`); then nothing is
//! written.

use mainstay_tests::crash::page::{Report, page};
use mainstay_tests::crash::{errors, kills, power};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Guards of the store (see `tests/disklog`), and how many moments show what they are for.
const GUARDS: [(&str, &str, usize); 4] = [
    ("fdatasync", "`fdatasync` after each flush", 20),
    ("generating", "removing half-made snapshots before opening", 120),
    ("rename", "making a new store under another name", 20),
    ("directory", "syncing the store's directory once it is open", 128),
];

/// What this one is for is met too seldom for every run to show it.
const RARE: &str = "directory";

fn main() -> ExitCode {
    assert!(
        rustix::process::geteuid().is_root(),
        "the crash suite makes network namespaces: run it as root"
    );
    let asked = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<usize>().ok());
    let names = ["KILLS", "MOMENTS", "ERRORS", "SEED"];
    let by_default = names.iter().all(|name| asked(name).is_none());
    let number = |name: &str, or: usize| asked(name).unwrap_or(or);
    let (seed, began) = (number("SEED", 1) as u64, Instant::now());
    if let Some(name) = std::env::args().nth(1) {
        return without(&name, seed);
    }

    let power = lose_power(seed, number("MOMENTS", 300), "");
    let errors = errors::run(seed, number("ERRORS", 500), |so_far| {
        tell(so_far.errors, "failing calls", began);
    });
    println!("{} failing calls: {}", errors.errors, said(&errors.faults));
    let without = GUARDS.map(|(guard, what, moments)| {
        (guard, what, lose_power(seed, moments.min(number("MOMENTS", moments)), guard))
    });
    let plan = kills::Plan { seed, kills: number("KILLS", 10_000), nodes: 4, epoch: 100 };
    let kills = kills::run(&plan, |so_far| {
        println!("{} of {} kills in {:.0?}", so_far.kills, plan.kills, began.elapsed());
    });
    println!("{} kills: {}", kills.kills, said(&kills.faults));

    let report =
        Report { seed, took: began.elapsed(), kills, power, errors, without: without.into() };
    if by_default {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reliability.md");
        std::fs::write(path, page(&report)).expect("write docs/reliability.md");
        println!("written to docs/reliability.md");
    }
    let kept = [&report.kills.faults, &report.power.faults, &report.errors.faults];
    let seen = report.without.iter().filter(|(guard, ..)| *guard != RARE);
    let seen = { seen }.all(|(.., outcome)| outcome.faulty > 0);
    if kept.iter().all(|faults| faults.is_empty()) && (seen || !by_default) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether the suite sees that this guard is undone.
fn without(name: &str, seed: u64) -> ExitCode {
    let Some((guard, _, moments)) = GUARDS.iter().find(|(guard, ..)| *guard == name) else {
        let known: Vec<_> = GUARDS.iter().map(|(guard, ..)| *guard).collect();
        eprintln!("no guard is called {name}; there are {}", known.join(", "));
        return ExitCode::from(2);
    };
    match lose_power(seed, *moments, guard).faulty {
        0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn lose_power(seed: u64, moments: usize, without: &'static str) -> power::Outcome {
    // The snapshot is missed where much was written since, and pieces of the log were used again.
    let (lives, starts, load) = match without {
        "directory" => (16, 10, 400),
        "" => (20, 4, 300),
        _ => (4, 4, 300),
    };
    let (each, load) = (moments.div_ceil(lives), Duration::from_millis(load));
    let plan = power::Plan { seed, lives, starts, load, moments: each, without };
    let (began, disks) = (Instant::now(), AtomicUsize::new(0));
    let what = if without.is_empty() { "disks".into() } else { format!("disks without {without}") };
    let outcome = power::run(&plan, |_| {
        tell(disks.fetch_add(1, Ordering::Relaxed) + 1, &what, began);
    });
    println!(
        "{} {what}, {} with a fault: {}",
        disks.into_inner(),
        outcome.faulty,
        said(&outcome.faults)
    );
    outcome
}

fn tell(n: usize, what: &str, began: Instant) {
    if n.is_multiple_of(100) {
        println!("{n} {what} in {:.0?}", began.elapsed());
    }
}

fn said(faults: &mainstay_tests::crash::Faults) -> String {
    if faults.is_empty() { "nothing lost".into() } else { faults.describe() }
}
