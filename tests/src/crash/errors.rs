//! A call of the daemon on its disk that fails: EIO or ENOSPC, whichever call it is. The daemon may
//! refuse or end, as whoever supervises it starts it again; it must not be half there.

use super::callers::{Caller, leases};
use super::ledger::{Faults, Ledger, judge};
use super::random::Random;
use super::{disklog, keep_evidence, quiet, state_dir, victim};
use crate::daemons::{Daemon, Node};
use crate::proc::Proc;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Outcome {
    pub errors: usize,
    /// Where it did not start, and was started again.
    pub refused: usize,
    /// Where it ended while it served.
    pub ended: usize,
    pub answers: usize,
    pub checked: usize,
    pub faults: Faults,
}

/// EIO and ENOSPC, as errno has them.
const ERRORS: [i32; 2] = [5, 28];
/// A store's life, in errors.
const EPOCH: usize = 25;

/// Calls `told` after each error.
pub fn run(seed: u64, errors: usize, told: impl Fn(&Outcome)) -> Outcome {
    let (mut outcome, mut random) = (Outcome::default(), Random::new(seed));
    while outcome.errors < errors && outcome.faults.is_empty() {
        epoch(errors.min(outcome.errors + EPOCH), &mut random, &mut outcome, &told);
    }
    outcome
}

fn epoch(until: usize, random: &mut Random, outcome: &mut Outcome, told: &impl Fn(&Outcome)) {
    let (node, ledger, began) = (victim(), Ledger::default(), Instant::now());
    std::fs::create_dir_all(state_dir(&node)).expect("a state directory");
    while outcome.errors < until {
        // The first ones hit making the store, opening it, and the first commits.
        let most = [40, 400][random.upto(1)];
        let call = 1 + random.upto(most);
        let errno = ERRORS[random.upto(1)];
        hurt(&node, &ledger, (call, errno), outcome);
        outcome.errors += 1;
        match node.try_start_with(Daemon::Ipamd, &[], quiet) {
            Err(why) => outcome.faults.not_opened.push(format!("after call {call}: {why}")),
            Ok(_ipamd) => {
                let given = ledger.until(u64::MAX);
                outcome.checked += given.len();
                let leases = leases(&node.run_dir()).expect("its leases");
                outcome.faults.take(judge(&given, &leases, began.elapsed()));
            }
        }
        told(outcome);
        if !outcome.faults.is_empty() {
            let kept = keep_evidence("error");
            let copied = Command::new("cp").arg("-r").arg(state_dir(&node)).arg(&kept).status();
            let why = outcome.faults.describe();
            eprintln!("call {call}, error {errno}: {why} (kept in {}: {copied:?})", kept.display());
            break;
        }
    }
    outcome.answers += ledger.answers();
    outcome.faults.twice.extend(ledger.twice());
}

/// A daemon whose n-th call on its disk fails, under load until it ends.
fn hurt(node: &Node, ledger: &Ledger, (call, errno): (usize, i32), outcome: &mut Outcome) {
    let fail = format!("{call}:{errno}");
    let started = node.try_start_with(Daemon::Ipamd, &[], |command| {
        quiet(command);
        command.env("LD_PRELOAD", disklog()).env("DISKLOG_DIR", state_dir(node));
        command.env("DISKLOG_FAIL", fail);
    });
    let Ok(mut ipamd) = started else {
        outcome.refused += 1;
        return;
    };
    let name = format!("{}-{call}", outcome.errors);
    load(node, ledger, &name, &mut ipamd);
    outcome.ended += usize::from(!ipamd.running());
}

fn load(node: &Node, ledger: &Ledger, name: &str, ipamd: &mut Proc) {
    let (stop, socket) = (AtomicBool::new(false), node.run_dir().join("cni.sock"));
    std::thread::scope(|scope| {
        for n in 0..2 {
            let (socket, stop, name) = (socket.clone(), &stop, format!("{name}-{n}"));
            let caller = Caller { socket, ledger, log: None, name, refusals: true };
            scope.spawn(move || caller.run(stop));
        }
        let end = Instant::now() + Duration::from_millis(150);
        while ipamd.running() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(3));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
