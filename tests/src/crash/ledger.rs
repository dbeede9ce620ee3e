//! What callers know for certain, and whether a daemon still knows it.

use mainstay_proto::ipam::v1::Lease;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longer than anything here lasts, the machine's uptime included: no address may ever have a
/// second owner.
pub const COOLDOWN: Duration = Duration::from_secs(90 * 24 * 3600);

/// An ADD that was answered.
#[derive(Debug, Clone)]
pub struct Given {
    pub container: String,
    pub addresses: Vec<String>,
    /// How long the log was when the answer had come.
    pub at: u64,
    /// How long it was when a DEL was about to be sent.
    pub deleting: Option<u64>,
}

#[derive(Debug, Default)]
struct Known {
    given: Vec<Given>,
    by_container: HashMap<String, usize>,
    owner: HashMap<String, String>,
    twice: Vec<String>,
}

/// Every answer so far.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Known>);

/// Where a daemon fell short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    pub not_opened: Vec<String>,
    pub lost: Vec<String>,
    pub twice: Vec<String>,
    pub shortened: Vec<String>,
}

impl Faults {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn take(&mut self, other: Self) {
        self.not_opened.extend(other.not_opened);
        self.lost.extend(other.lost);
        self.twice.extend(other.twice);
        self.shortened.extend(other.shortened);
    }

    /// The first of each kind, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let kinds = [
            ("not opened", &self.not_opened),
            ("lost", &self.lost),
            ("given twice", &self.twice),
            ("cooldown shortened", &self.shortened),
        ];
        let some = kinds.iter().filter(|(_, all)| !all.is_empty());
        let lines = some.map(|(kind, all)| format!("{} {kind}: {}", all.len(), all[0]));
        lines.collect::<Vec<_>>().join("; ")
    }
}

impl Ledger {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An ADD was answered. An address that somebody has had is given twice.
    pub fn given(&self, container: &str, addresses: Vec<String>, at: u64) {
        let mut known = self.known();
        for address in &addresses {
            let before = known.owner.insert(address.clone(), container.to_owned());
            if let Some(before) = before.filter(|before| before != container) {
                known.twice.push(format!("{address} to {before} and to {container}"));
            }
        }
        let container = container.to_owned();
        let n = known.given.len();
        known.by_container.insert(container.clone(), n);
        known.given.push(Given { container, addresses, at, deleting: None });
    }

    /// A DEL is about to be sent: from here on either is right.
    pub fn deleting(&self, container: &str, at: u64) {
        let mut known = self.known();
        if let Some(n) = known.by_container.get(container).copied() {
            known.given[n].deleting = Some(at);
        }
    }

    /// The log is begun anew: all that is known is from before.
    pub fn begin_anew(&self) {
        for given in &mut self.known().given {
            given.at = 0;
            given.deleting = given.deleting.map(|_| 0);
        }
    }

    /// How many answers there are.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.known().given.len()
    }

    /// What was given twice while it was going on.
    #[must_use]
    pub fn twice(&self) -> Vec<String> {
        self.known().twice.clone()
    }

    /// Everything that was known when the log had this length.
    #[must_use]
    pub fn until(&self, at: u64) -> Vec<Given> {
        let known = self.known();
        let then = known.given.iter().filter(|given| given.at <= at).cloned();
        then.map(|mut given| {
            given.deleting = given.deleting.filter(|deleting| *deleting <= at);
            given
        })
        .collect()
    }
}

/// What is wrong with these leases, all of them, of a daemon that has been told what is `given`. Of
/// the cooldown up to `passed` may be over.
#[must_use]
pub fn judge(given: &[Given], leases: &[Lease], passed: Duration) -> Faults {
    let mut faults = Faults::default();
    let by_address: HashMap<&str, &Lease> =
        leases.iter().map(|lease| (lease.address.as_str(), lease)).collect();
    for one in given {
        for address in &one.addresses {
            match by_address.get(address.as_str()) {
                Some(lease) if lease.container_id != one.container => faults.twice.push(format!(
                    "{address} of {} is now of {}",
                    one.container, lease.container_id
                )),
                Some(lease) if lease.state == "assigned" || one.deleting.is_some() => {}
                Some(lease) => {
                    faults.lost.push(format!("{address} of {}: {}", one.container, lease.state));
                }
                None => faults.lost.push(format!("{address} of {}", one.container)),
            }
        }
    }
    let least = COOLDOWN.saturating_sub(passed).as_secs_f64();
    for lease in leases.iter().filter(|lease| lease.state != "assigned") {
        let left = lease.cooldown_left_seconds.unwrap_or(0.0);
        if left < least {
            faults.shortened.push(format!("{}: {left} s left of {least}", lease.address));
        }
    }
    halves(leases, &mut faults);
    faults
}

/// Both families or none.
fn halves(leases: &[Lease], faults: &mut Faults) {
    let mut families: HashMap<&str, usize> = HashMap::new();
    for lease in leases {
        *families.entry(&lease.container_id).or_default() += 1;
    }
    let odd = families.iter().filter(|(_, n)| **n != 2);
    faults.lost.extend(odd.map(|(container, n)| format!("{container} has {n} of 2 addresses")));
}

/// What new containers were given must be nobody's.
#[must_use]
pub fn judge_new(given: &[Given], leases: &[Lease], new: &[String]) -> Faults {
    let had: HashSet<&str> =
        given.iter().flat_map(|one| &one.addresses).map(String::as_str).collect();
    let has: HashSet<&str> = leases.iter().map(|lease| lease.address.as_str()).collect();
    let again =
        |address: &&String| had.contains(address.as_str()) || has.contains(address.as_str());
    let twice = new.iter().filter(again).map(|address| format!("{address} to a new container"));
    Faults { twice: twice.collect(), ..Faults::default() }
}
