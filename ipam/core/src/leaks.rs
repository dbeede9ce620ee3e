//! Leases whose container is gone and whose DEL never came. containerd never asks for a GC, and after
//! an ADD and a DEL that both failed it forgets the container.
//!
//! A lease is valid until proven leaked: what is not known never counts as gone, and what looks leaked
//! must do so at every look for a whole grace period, and again right before the release.

use crate::identity::Attachment;
use crate::ipam::{Effects, Ipam};
use crate::record::Slot;
use crate::report::Why;
use crate::time::Now;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// What a look at one place says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    There,
    Gone,
    Unknown,
}

/// Where a container that lives would be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Its network namespace.
    pub netns: Seen,
    /// A route of the host to one of its addresses alone.
    pub route: Seen,
    /// The runtime's list of sandboxes.
    pub sandbox: Seen,
    /// The runtime's memory of the ADD.
    pub result: Seen,
}

impl Evidence {
    /// Nobody can be using the addresses. A namespace that is gone needs one witness, since we may
    /// not see the host's namespaces at all; one that cannot be judged needs both. A result alone
    /// proves no life: runtimes leave them behind.
    #[must_use]
    pub fn proves_a_leak(self) -> bool {
        use Seen::{Gone, There};
        if self.sandbox == There || self.route != Gone {
            return false;
        }
        match self.netns {
            There => false,
            Gone => self.sandbox == Gone || self.result == Gone,
            Seen::Unknown => self.sandbox == Gone && self.result == Gone,
        }
    }
}

/// What an attachment has; the number tells a later lease of the same attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    pub attachment: Attachment,
    pub netns: String,
    pub addresses: Vec<IpAddr>,
    /// Of the latest of its leases.
    pub seq: u64,
}

/// Who has looked leaked so far, and since when.
#[derive(Debug, Default)]
pub struct Suspects(HashMap<Attachment, (u64, Duration)>);

impl Suspects {
    /// A look at everything at once: `leaked` is what looks leaked now. Whoever has done so at each
    /// look for `grace` is returned; that takes two looks, whatever the grace is.
    pub fn look(&mut self, leaked: Vec<Leased>, now: Duration, grace: Duration) -> Vec<Leased> {
        let before = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for lease in leaked {
            let known = before.get(&lease.attachment).filter(|(seq, _)| *seq == lease.seq);
            let since = known.map_or(now, |(_, since)| *since);
            self.0.insert(lease.attachment.clone(), (lease.seq, since));
            if known.is_some() && now.saturating_sub(since) >= grace {
                due.push(lease);
            }
        }
        due
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Ipam {
    /// What is assigned, by attachment: of so many addresses from `from` on, and where to go on. An
    /// attachment comes with the first of its addresses; a full /16 is never in memory twice.
    #[must_use]
    pub fn leased(&self, from: IpAddr, most: usize) -> (Vec<Leased>, Option<IpAddr>) {
        let mut slots = self.slots.range(from..);
        let some = slots.by_ref().take(most).filter(Slot::is_assigned);
        let leased = some.filter_map(|slot| self.leased_with(slot)).collect();
        (leased, slots.next().map(|slot| slot.address))
    }

    /// What the slot's attachment has, if the slot is the first of it.
    pub(crate) fn leased_with(&self, first: Slot) -> Option<Leased> {
        let all: Vec<Slot> = self.attached(&first.attachment).collect();
        let seq = all.iter().map(|slot| slot.seq).max()?;
        let addresses: Vec<IpAddr> = all.into_iter().map(|slot| slot.address).collect();
        let Slot { attachment, netns, address, .. } = first;
        (addresses.first() == Some(&address)).then_some(Leased {
            attachment,
            netns,
            addresses,
            seq,
        })
    }

    /// Releases what has leaked, as a DEL would have; nothing, if it is not what was looked at.
    pub fn release_leaked(&mut self, lease: &Leased, now: Now, out: &mut Effects) {
        if self.is_still(lease) {
            self.release_all(&lease.attachment, Why::Leaked, now, out);
        }
    }

    /// Whether nothing has happened to these leases since they were looked at.
    pub(crate) fn is_still(&self, lease: &Leased) -> bool {
        let has: Vec<_> = self.attached(&lease.attachment).collect();
        let same = has.iter().map(|slot| &slot.address).eq(&lease.addresses);
        !has.is_empty() && same && has.iter().all(|slot| slot.seq <= lease.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const ALL: [Seen; 3] = [Seen::There, Seen::Gone, Seen::Unknown];

    fn every_evidence() -> impl Iterator<Item = Evidence> {
        (0..81).map(|n| Evidence {
            netns: ALL[n % 3],
            route: ALL[n / 3 % 3],
            sandbox: ALL[n / 9 % 3],
            result: ALL[n / 27],
        })
    }

    #[test]
    fn the_whole_table_of_proofs() {
        let proofs: Vec<_> = every_evidence().filter(|e| e.proves_a_leak()).collect();
        let seen = |netns, sandbox, result| Evidence { netns, route: Seen::Gone, sandbox, result };
        let mut expected = vec![seen(Seen::Unknown, Seen::Gone, Seen::Gone)];
        for (sandbox, result) in [
            (Seen::Gone, Seen::There),
            (Seen::Gone, Seen::Gone),
            (Seen::Gone, Seen::Unknown),
            (Seen::Unknown, Seen::Gone),
        ] {
            expected.push(seen(Seen::Gone, sandbox, result));
        }
        assert_eq!(proofs.len(), expected.len(), "{proofs:?}");
        assert!(expected.iter().all(|e| proofs.contains(e)), "{proofs:?}");
    }

    #[test]
    fn more_signs_of_life_or_less_knowledge_never_make_a_leak() {
        type Place = fn(&mut Evidence) -> &mut Seen;
        let places: [Place; 3] = [|e| &mut e.netns, |e| &mut e.route, |e| &mut e.sandbox];
        for evidence in every_evidence().filter(|e| !e.proves_a_leak()) {
            for place in places {
                for other in [Seen::There, Seen::Unknown] {
                    let mut weaker = evidence;
                    if *place(&mut weaker) == Seen::There {
                        continue;
                    }
                    *place(&mut weaker) = other;
                    assert!(!weaker.proves_a_leak(), "{evidence:?} -> {weaker:?}");
                }
            }
        }
    }

    fn lease(container: u8, seq: u64) -> Leased {
        Leased {
            attachment: Attachment {
                network: "pods".into(),
                container_id: container.to_string(),
                ifname: "eth0".into(),
            },
            netns: String::new(),
            addresses: vec![IpAddr::from([10, 0, 0, container])],
            seq,
        }
    }

    #[test]
    fn every_attachment_is_told_of_once_however_small_the_pages() {
        use crate::{Add, BootId, Kept, Policy, PoolSettings, Settings};
        let pool = |cidr: &str| {
            let cidr = cidr.parse().unwrap();
            PoolSettings::new(&format!("{cidr}"), cidr, vec![cidr])
        };
        let settings = Settings {
            pools: vec![pool("10.0.0.0/28"), pool("fd00::/120")],
            cooldown: Duration::from_secs(10),
            stickiness: Policy::Never,
        };
        let now = Now { boot: BootId(1), boottime: Duration::ZERO, wall: Duration::ZERO };
        let (mut ipam, _) = Ipam::open(settings, Kept::default(), now);
        for container in 1..=5 {
            let Leased { attachment, netns, .. } = lease(container, 0);
            let add = Add { attachment, netns, ..Add::default() };
            ipam.add(&add, now, &mut Effects::default()).unwrap();
        }
        ipam.del(&lease(2, 0).attachment, now, &mut Effects::default());
        for most in 1..12 {
            let (mut told, mut from) = (Vec::new(), Some(IpAddr::from([0; 4])));
            while let Some(at) = from {
                let (some, next) = ipam.leased(at, most);
                assert!(some.len() <= most);
                told.extend(some);
                from = next;
            }
            let containers: Vec<_> = told.iter().map(|l| &*l.attachment.container_id).collect();
            assert_eq!(containers, ["1", "3", "4", "5"], "{most} at once");
            assert!(told.iter().all(|l| l.addresses.len() == 2 && l.addresses[0].is_ipv4()));
        }
    }

    proptest! {
        /// Whatever is seen when: who is due has looked leaked at two looks at least, at every look
        /// in between, over the whole grace period, and has not been assigned anew meanwhile.
        #[test]
        fn only_what_looked_leaked_all_along_is_due(
            looks in prop::collection::vec(
                (1u64..40, prop::collection::vec((0u8..4, 0u64..2), 0..4)), 1..40),
            grace in 0u64..120,
        ) {
            let mut suspects = Suspects::default();
            let mut now = 0;
            let mut history: Vec<(u64, BTreeMap<u8, u64>)> = Vec::new();
            for (step, leaked) in looks {
                now += step;
                let leaked: BTreeMap<u8, u64> = leaked.into_iter().collect();
                history.push((now, leaked.clone()));
                let leaked = leaked.into_iter().map(|(c, a)| lease(c, a)).collect();
                let due = suspects.look(leaked, Duration::from_secs(now), Duration::from_secs(grace));
                for container in 0..4u8 {
                    let stamp = history.last().and_then(|(_, seen)| seen.get(&container)).copied();
                    let run: Vec<u64> = history.iter().rev()
                        .take_while(|(_, seen)| stamp.is_some() && seen.get(&container).copied() == stamp)
                        .map(|(at, _)| *at)
                        .collect();
                    let expected = run.len() > 1 && now - run[run.len() - 1] >= grace;
                    let is_due = due.iter().any(|l| l.attachment == lease(container, 0).attachment);
                    prop_assert_eq!(is_due, expected, "container {} at {}: {:?}", container, now, run);
                }
            }
        }
    }
}
