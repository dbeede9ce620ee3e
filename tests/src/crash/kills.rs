//! SIGKILL of the daemon under load, some while it opens its store.

use super::callers::{Caller, leases};
use super::ledger::{Faults, Ledger, judge};
use super::random::Random;
use super::{keep_evidence, quiet, state_dir, victim};
use crate::daemons::{Daemon, Node};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// At least; those while opening come on top.
    pub kills: usize,
    /// Nodes at once.
    pub nodes: usize,
    /// After so many a node begins with an empty store, so that listing its leases stays cheap.
    pub epoch: usize,
}

#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub kills: usize,
    pub while_opening: usize,
    pub answers: usize,
    pub checked: usize,
    pub faults: Faults,
}

impl Outcome {
    fn take(&mut self, other: Self) {
        self.kills += other.kills;
        self.while_opening += other.while_opening;
        self.answers += other.answers;
        self.checked += other.checked;
        self.faults.take(other.faults);
    }
}

/// Calls `told` after each epoch of each node.
pub fn run(plan: &Plan, told: impl Fn(&Outcome) + Sync) -> Outcome {
    let outcome = Mutex::new(Outcome::default());
    let each = plan.kills.div_ceil(plan.nodes);
    std::thread::scope(|scope| {
        for n in 0..plan.nodes {
            let (outcome, told) = (&outcome, &told);
            scope.spawn(move || {
                let mut random = Random::new(plan.seed + n as u64);
                let mut left = each;
                while left > 0 {
                    let kills = left.min(plan.epoch);
                    left -= kills;
                    let epoch = epoch(kills, &mut random);
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    outcome.take(epoch);
                    told(&outcome);
                }
            });
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One store's life.
fn epoch(kills: usize, random: &mut Random) -> Outcome {
    let (node, ledger, began) = (victim(), Ledger::default(), Instant::now());
    let mut outcome = Outcome { kills, ..Outcome::default() };
    for round in 0..kills {
        // Opening recovers, and writes while it does.
        if round % 3 == 0 {
            let (_, mut ipamd) = node.launch(Daemon::Ipamd, &[], quiet);
            std::thread::sleep(Duration::from_micros(random.upto(25_000) as u64));
            ipamd.kill();
            outcome.while_opening += 1;
        }
        let mut ipamd = match node.try_start_with(Daemon::Ipamd, &[], quiet) {
            Ok(ipamd) => ipamd,
            Err(why) => {
                outcome.faults.not_opened.push(why);
                break;
            }
        };
        if round > 0 {
            let leases = leases(&node.run_dir()).expect("its leases");
            let given = ledger.until(u64::MAX);
            outcome.checked += given.len();
            outcome.faults.take(judge(&given, &leases, began.elapsed()));
            if !outcome.faults.is_empty() {
                break;
            }
        }
        // Uneven, so that the kill falls into every stage of a commit.
        load_and_kill(
            &node,
            &ledger,
            round,
            Duration::from_micros(random.upto(30_000) as u64),
            || {
                ipamd.kill();
            },
        );
    }
    outcome.answers = ledger.answers();
    outcome.faults.twice.extend(ledger.twice());
    if !outcome.faults.is_empty() {
        let kept = keep_evidence("kill");
        let copied =
            std::process::Command::new("cp").arg("-r").arg(state_dir(&node)).arg(&kept).status();
        eprintln!("{} (kept in {}: {copied:?})", outcome.faults.describe(), kept.display());
    }
    outcome
}

fn load_and_kill(node: &Node, ledger: &Ledger, round: usize, after: Duration, kill: impl FnOnce()) {
    let (stop, socket) = (AtomicBool::new(false), node.run_dir().join("cni.sock"));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (socket, stop) = (socket.clone(), &stop);
            let name = format!("{round}-{n}");
            let caller = Caller { socket, ledger, log: None, name, refusals: false };
            scope.spawn(move || caller.run(stop));
        }
        std::thread::sleep(after);
        kill();
        stop.store(true, Ordering::Relaxed);
    });
}
