//! Loss of power: a daemon's life is recorded call by call, and disks are made of it as they could
//! have been left at any of its moments. On each the real daemon is started.

use super::callers::{Caller, addresses, ask, leases};
use super::disk::{Disk, Image, Journal, Rest};
use super::ledger::{Faults, Given, Ledger, judge, judge_new};
use super::log::{self, Entry, Kind};
use super::random::Random;
use super::{disklog, keep_evidence, quiet, state_dir, victim};
use crate::daemons::{Daemon, Node};
use mainstay_proto::ipam::v1::cni_request::Command as Verb;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Lives that are recorded, each from an empty directory or from what a loss of power has left.
    pub lives: usize,
    /// Starts of the daemon in a life.
    pub starts: usize,
    /// How long callers call, from start to start.
    pub load: Duration,
    /// Moments of a life at which the power is lost; a disk of each [`Rest`] for each.
    pub moments: usize,
    /// Guards of the store to undo (see `tests/disklog`), to see that the suite sees it.
    pub without: &'static str,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    pub images: BTreeMap<&'static str, usize>,
    /// Answers that had to be there, all disks together.
    pub checked: usize,
    pub calls: usize,
    pub answers: usize,
    /// Disks with a fault.
    pub faulty: usize,
    pub faults: Faults,
}

struct Life {
    /// What the first of the entries found.
    first: Disk,
    entries: Vec<Entry>,
    ledger: Ledger,
    root: PathBuf,
    lasted: Duration,
}

/// One disk to be looked at.
struct Case {
    name: String,
    rest: Rest,
    image: Image,
    root: PathBuf,
    given: Vec<Given>,
    lasted: Duration,
    killed_while_opening: Option<Duration>,
    without: &'static str,
}

/// Calls `told` after each disk.
pub fn run(plan: &Plan, told: impl Fn(&Outcome) + Sync) -> Outcome {
    let outcome = Mutex::new(Outcome::default());
    let (queue, cases) = sync_channel::<Case>(2);
    let cases = Mutex::new(cases);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| look_at_all(&cases, &outcome, &told));
        }
        for n in 0..plan.lives {
            let life = live(plan, n);
            {
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                outcome.calls += life.entries.len();
                outcome.answers += life.ledger.answers();
                outcome.faults.twice.extend(life.ledger.twice());
            }
            cut(plan, n, &life, |case| queue.send(case).expect("somebody looks at it"));
        }
        drop(queue);
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn look_at_all(
    cases: &Mutex<Receiver<Case>>,
    outcome: &Mutex<Outcome>,
    told: &(impl Fn(&Outcome) + Sync),
) {
    let node = victim();
    loop {
        let next = cases.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(case) = next else { return };
        let faults = look_at(&node, &case);
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        *outcome.images.entry(case.rest.name()).or_default() += 1;
        outcome.checked += case.given.len();
        outcome.faulty += usize::from(!faults.is_empty());
        outcome.faults.take(faults);
        told(&outcome);
    }
}

// ---- recording

/// Over several starts, each ended in another way; of every second life, on a disk that has lost its
/// power before.
fn live(plan: &Plan, n: usize) -> Life {
    let mut random = Random::new(plan.seed + n as u64);
    let (node, ledger, began) = (victim(), Ledger::default(), Instant::now());
    let root = state_dir(&node);
    // It is the installation's, and there for good.
    std::fs::create_dir_all(&root).expect("a state directory");
    let log = node.dir.path().join("calls");
    let mut first = Disk::new(&root);
    // Without the others there might be no daemon afterwards.
    if ["", "directory"].contains(&plan.without) && n % 2 == 1 {
        let once = Plan { starts: 1, ..*plan };
        record(&once, &node, &ledger, (&log, &first), &mut random);
        let (rest, journal) = (Rest::ALL[random.upto(3)], Journal::ALL[random.upto(1)]);
        let image = replay(&first, &log::read(&log)).after_power_loss(rest, journal, &mut random);
        std::fs::remove_dir_all(&root).expect("the state directory is removed");
        std::fs::create_dir_all(&root).expect("a state directory");
        image.write(&root, &root);
        std::fs::remove_file(&log).expect("the log is removed");
        ledger.begin_anew();
        first = Disk::found(&root);
    }
    record(plan, &node, &ledger, (&log, &first), &mut random);
    let life = Life { first, entries: log::read(&log), ledger, root, lasted: began.elapsed() };
    verify(&life);
    life
}

fn record(
    plan: &Plan,
    node: &Node,
    ledger: &Ledger,
    (log, first): (&Path, &Disk),
    random: &mut Random,
) {
    let root = state_dir(node);
    let logged = |command: &mut Command| {
        quiet(command);
        command.env("LD_PRELOAD", disklog()).env("DISKLOG_DIR", &root).env("DISKLOG_LOG", log);
        command.env("DISKLOG_WITHOUT", plan.without);
    };
    for start in 0..plan.starts {
        if start % 2 == 1 {
            let (_, mut ipamd) = node.launch(Daemon::Ipamd, &[], logged);
            std::thread::sleep(Duration::from_micros(random.upto(30_000) as u64));
            ipamd.kill();
            complete(log, first, &root);
        }
        // Without its guards it may not even start again; what was recorded until then is enough.
        let mut ipamd = match node.try_start_with(Daemon::Ipamd, &[], logged) {
            Ok(ipamd) => ipamd,
            Err(_) if start > 0 && !plan.without.is_empty() => break,
            Err(why) => panic!("{why}"),
        };
        load(node, ledger, log, plan.load);
        if random.upto(2) == 0 {
            ipamd.signal(Signal::TERM);
            ipamd.wait(Duration::from_secs(20));
        } else {
            ipamd.kill();
            complete(log, first, &root);
        }
    }
}

fn load(node: &Node, ledger: &Ledger, log: &Path, time: Duration) {
    static LOADS: AtomicUsize = AtomicUsize::new(0);
    let load = LOADS.fetch_add(1, Ordering::Relaxed);
    let (stop, socket) = (AtomicBool::new(false), node.run_dir().join("cni.sock"));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (socket, stop) = (socket.clone(), &stop);
            let name = format!("{load}-{n}");
            let caller = Caller { socket, ledger, log: Some(log), name, refusals: false };
            scope.spawn(move || caller.run(stop));
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
}

fn replay(first: &Disk, entries: &[Entry]) -> Disk {
    let mut disk = first.clone();
    entries.iter().for_each(|entry| disk.apply(entry));
    disk
}

/// SIGKILL may come between a call and its entry in the log: what the few calls did that were
/// going on is logged here.
fn complete(log: &Path, first: &Disk, root: &Path) {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    log::mend(log);
    let (logged, real) = (replay(first, &log::read(log)).whole(), Image::read(root));
    let mut missing = 0;
    let mut put = |what: (Kind, u64, u64), piece: &[u8]| {
        log::append(log, what, piece);
        missing += 1;
    };
    for path in logged.files.keys().filter(|path| !real.files.contains_key(*path)) {
        put((Kind::Unlink, 0, 0), path.as_os_str().as_bytes());
    }
    for path in logged.dirs.difference(&real.dirs) {
        put((Kind::Rmdir, 0, 0), path.as_os_str().as_bytes());
    }
    for path in real.dirs.difference(&logged.dirs) {
        put((Kind::Mkdir, 0, 0), path.as_os_str().as_bytes());
    }
    for (path, bytes) in &real.files {
        let before = logged.files.get(path);
        let inode = std::fs::metadata(path).expect("it was there just now").ino();
        if before.is_none() {
            put((Kind::Create, inode, 0), path.as_os_str().as_bytes());
        }
        if before.is_none_or(|before| before != bytes) {
            put((Kind::Length, inode, bytes.len() as u64), b"");
            put((Kind::Write, inode, 0), bytes);
        }
    }
    assert!(missing <= 6, "{missing} calls are not in the log");
}

/// The log has seen every change: what it leads to is what is on the disk.
fn verify(life: &Life) {
    let disk = replay(&life.first, &life.entries);
    let (logged, real) = (disk.whole(), Image::read(&life.root));
    let names = |image: &Image| format!("{:?} {:?}", image.dirs, image.files.keys());
    assert_eq!(names(&logged), names(&real));
    for (path, bytes) in &real.files {
        assert!(logged.files[path] == *bytes, "{} is not what the log says", path.display());
    }
}

// ---- losing power

fn cut(plan: &Plan, n: usize, life: &Life, mut put: impl FnMut(Case)) {
    let mut random = Random::new(plan.seed ^ (n as u64) << 32);
    let mut disk = life.first.clone();
    let mut moments = moments(&life.entries, plan.moments, &mut random).into_iter().peekable();
    for (at, entry) in life.entries.iter().enumerate() {
        disk.apply(entry);
        while moments.next_if_eq(&at).is_some() {
            for rest in Rest::ALL {
                let journal = Journal::ALL[random.upto(1)];
                let killed = random.upto(3) == 0;
                put(Case {
                    name: format!("life {n}, call {at}, {rest:?}, {journal:?}"),
                    rest,
                    image: disk.after_power_loss(rest, journal, &mut random),
                    root: life.root.clone(),
                    given: life.ledger.until(entry.end),
                    lasted: life.lasted,
                    without: plan.without,
                    killed_while_opening: killed
                        .then(|| Duration::from_micros(random.upto(20_000) as u64)),
                });
            }
        }
    }
}

/// A third anywhere, a third just after a sync, a third around changes of directories: that is
/// where stores break.
fn moments(entries: &[Entry], count: usize, random: &mut Random) -> Vec<usize> {
    let of = |wanted: fn(Kind) -> bool| -> Vec<usize> {
        let all = entries.iter().enumerate();
        all.filter(|(_, entry)| wanted(entry.kind)).map(|(n, _)| n).collect()
    };
    let syncs = of(|kind| kind == Kind::SyncEnd);
    let names = of(|kind| matches!(kind, Kind::Create | Kind::Rename | Kind::Unlink | Kind::Mkdir));
    let last = entries.len() - 1;
    let mut moments: Vec<usize> = (0..count)
        .map(|n| match n % 3 {
            0 => random.upto(last),
            1 => syncs[random.upto(syncs.len() - 1)],
            _ => (names[random.upto(names.len() - 1)] + random.upto(3)).min(last),
        })
        .collect();
    moments.sort_unstable();
    moments
}

// ---- looking

fn look_at(node: &Node, case: &Case) -> Faults {
    let state = state_dir(node);
    let _ = std::fs::remove_dir_all(&state);
    std::fs::create_dir_all(&state).expect("a state directory");
    case.image.write(&case.root, &state);
    let faults = start_on(node, case);
    if !faults.is_empty() && case.without.is_empty() {
        let kept = keep_evidence(&case.name.replace([' ', ','], "-"));
        case.image.write(&case.root, &kept);
        eprintln!("{}: {} (kept in {})", case.name, faults.describe(), kept.display());
    }
    faults
}

fn start_on(node: &Node, case: &Case) -> Faults {
    // After a loss of power it is another boot.
    let boot = node.dir.write("boot-id", "00000000-1111-2222-3333-444444444444\n");
    let rebooted = |command: &mut Command| {
        quiet(command);
        command.env("LD_PRELOAD", disklog()).env("DISKLOG_BOOT_ID", &boot);
        command.env("DISKLOG_DIR", state_dir(node)).env("DISKLOG_WITHOUT", case.without);
    };
    if let Some(after) = case.killed_while_opening {
        let (_, mut ipamd) = node.launch(Daemon::Ipamd, &[], rebooted);
        std::thread::sleep(after);
        ipamd.kill();
    }
    let _ = std::fs::remove_file(node.dir.path().join("mainstay-ipamd.log"));
    let ipamd = match node.try_start_with(Daemon::Ipamd, &[], rebooted) {
        Ok(ipamd) => ipamd,
        Err(why) => return Faults { not_opened: vec![why], ..Faults::default() },
    };
    let leases = leases(&node.run_dir()).expect("its leases");
    let mut faults = judge(&case.given, &leases, case.lasted + uptime());
    let socket = node.run_dir().join("cni.sock");
    let new: Vec<String> = (0..3)
        .flat_map(|n| {
            let reply = ask(&socket, Verb::Add, &format!("new-{n}")).expect("an answer");
            addresses(reply).expect("addresses")
        })
        .collect();
    faults.take(judge_new(&case.given, &leases, &new));
    drop(ipamd);
    faults
}

fn uptime() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(['.', ' ']).next().and_then(|n| n.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_secs(60)
}
