//! BFD: whom the keeper is to watch, and what it finds.
//!
//! The packets are the keeper's, so that they go on when this process does not. It is told the
//! whole set whenever that may have changed; what stays the same goes on untouched.

use crate::plan::Remote;
use crate::run::Run;
use bgp_core::event::{Event, Path};
use keeper::bfd::{Key, Report, Spec, State};
use mainstay_proto::bgp::v1 as proto;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Bfd {
    /// As the keeper was last told; `None`: nothing since it is there.
    told: Option<Vec<Spec>>,
    /// As it was last heard of, also while the keeper is away.
    found: BTreeMap<Remote, Report>,
    /// Peers have come or gone, or are to be watched in another way.
    changed: bool,
    /// This node has left: peers are told that it is meant (RFC 5880 §6.8.16).
    left: bool,
    /// Peers that cannot be watched, and why.
    faults: Vec<String>,
}

impl Bfd {
    pub(crate) const fn changed(&mut self) {
        self.changed = true;
    }

    /// The keeper may know nothing of what it was told.
    pub(crate) fn forget_told(&mut self) {
        self.told = None;
    }
}

impl Run {
    /// Of a keeper that has just been found. An earlier process may have had all of these; what
    /// they were before is only known of those that this one has heard of.
    pub(crate) fn bfd_attached(&mut self, reports: Vec<Report>) {
        self.bfd.forget_told();
        reports.into_iter().for_each(|report| self.bfd_found(report));
    }

    pub(crate) fn bfd_found(&mut self, report: Report) {
        let peer = remote(&report.key);
        let news = news(self.bfd.found.get(&peer), &report);
        self.bfd.found.insert(peer.clone(), report);
        if let Some(path) = news {
            self.tell(Event::Path { peer: peer.ip, interface: peer.zone, path });
        }
    }

    pub(crate) fn bfd_refused(&mut self, why: String) {
        tracing::error!(why, "the keeper does not watch by BFD");
        self.bfd.faults = vec![format!("bfd: {why}")];
    }

    /// Tells the keeper whom to watch, if that is not what it was last told.
    pub(crate) fn watch_paths(&mut self) {
        if !self.keeper.is_there() {
            return self.bfd.forget_told();
        }
        if !self.bfd.changed && self.bfd.told.is_some() {
            return;
        }
        let specs = self.specs();
        self.bfd.changed = false;
        if self.bfd.told.as_ref() == Some(&specs) {
            return;
        }
        // When this fails the keeper is gone, and told again when it is back.
        if self.keeper.set_bfd(&specs) {
            self.bfd.found.retain(|peer, _| specs.iter().any(|s| remote(&s.key) == *peer));
            self.bfd.told = Some(specs);
        }
    }

    /// Sessions have ended for good.
    pub(crate) fn leave_paths(&mut self) {
        self.bfd.left = true;
        self.bfd.changed();
        self.watch_paths();
    }

    /// Configured peers always; those of a range while they have a session.
    fn specs(&mut self) -> Vec<Spec> {
        let mut specs = Vec::new();
        let mut faults = Vec::new();
        if self.bfd.left {
            return specs;
        }
        for peer in self.speaker.peers(Instant::now()) {
            let at = Remote::new(peer.address, peer.interface.as_deref());
            let known = !peer.address.is_unspecified();
            let wanted = known && (!peer.dynamic || peer.state == "Established");
            let Some(watch) = self.plan.transport.way(&at).bfd.filter(|_| wanted) else {
                continue;
            };
            let (local, hops) = (watch.local, watch.hops);
            let key = Key { peer: at.ip, local, interface: at.zone.unwrap_or_default(), hops };
            let spec = Spec { key, settings: watch.settings };
            match spec.check() {
                Ok(()) => specs.push(spec),
                Err(why) => faults.push(format!("peer {}: {why}", peer.name)),
            }
        }
        if faults != self.bfd.faults {
            faults.iter().for_each(|fault| tracing::warn!("{fault}"));
            self.bfd.faults = faults;
        }
        specs
    }

    /// What keeps BFD from doing what the configuration says.
    pub(crate) fn bfd_warnings(&self) -> Vec<String> {
        let wanted = self.plan.transport.watched();
        let without = self.keeper.problem().filter(|_| wanted > 0).map(|problem| {
            format!(
                "bfd of {wanted} peers or ranges does nothing: mainstay-keeper does it, and there is none ({problem})"
            )
        });
        self.bfd.faults.iter().cloned().chain(without).collect()
    }

    pub(crate) fn bfd_of(&self, peer: &Remote) -> Option<proto::Bfd> {
        self.plan.transport.way(peer).bfd?;
        if let Some(found) = self.bfd.found.get(peer).filter(|_| self.keeper.is_there()) {
            return Some(view(found));
        }
        let told = self.bfd.told.iter().flatten().any(|spec| remote(&spec.key) == *peer);
        let word = |name: &str| if told { name.to_owned() } else { String::new() };
        // The keeper tells of changes alone, and nothing has come of it yet.
        Some(proto::Bfd {
            state: if told { "Down" } else { "Unwatched" }.into(),
            diagnostic: word("none"),
            remote_state: word("Down"),
            remote_diagnostic: word("none"),
            fault: self.keeper.problem().unwrap_or_default().into(),
            ..proto::Bfd::default()
        })
    }
}

fn remote(key: &Key) -> Remote {
    Remote::new(key.peer, Some(&key.interface))
}

/// What the core is to hear of it, if anything.
fn news(old: Option<&Report>, new: &Report) -> Option<Path> {
    let was_up = old.is_some_and(|r| r.state == State::Up);
    let was_off = old.is_some_and(|r| r.remote_state == State::AdminDown);
    let off = new.remote_state == State::AdminDown;
    match (was_up, new.state == State::Up) {
        (false, true) => Some(Path::Up),
        (true, false) if new.failed => {
            Some(Path::Down { independent: new.remote_c_bit, why: new.diagnostic.to_string() })
        }
        (_, false) if off && !was_off => Some(Path::AdminDown),
        (true, false) => Some(Path::Unknown),
        (false, false) if was_off && !off => Some(Path::Unknown),
        _ => None,
    }
}

fn view(report: &Report) -> proto::Bfd {
    let name = |state| match state {
        State::AdminDown => "AdminDown",
        State::Down => "Down",
        State::Init => "Init",
        State::Up => "Up",
    };
    let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
    proto::Bfd {
        state: name(report.state).into(),
        diagnostic: report.diagnostic.to_string(),
        remote_state: name(report.remote_state).into(),
        remote_diagnostic: report.remote_diagnostic.to_string(),
        remote_c_bit: report.remote_c_bit,
        detect_ms: ms(report.detect),
        interval_ms: ms(report.interval),
        up_count: report.ups,
        fault: report.fault.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keeper::bfd::{Diagnostic, Hops};

    fn report(state: State, failed: bool, remote_state: State) -> Report {
        let peer = "192.0.2.1".parse().unwrap();
        Report {
            key: Key { peer, local: None, interface: String::new(), hops: Hops::Single },
            state,
            diagnostic: Diagnostic::TIME_EXPIRED,
            remote_state,
            remote_diagnostic: Diagnostic::NONE,
            remote_c_bit: true,
            failed,
            detect: Duration::ZERO,
            interval: Duration::ZERO,
            ups: 1,
            fault: String::new(),
        }
    }

    #[test]
    fn the_core_hears_of_changes_and_of_a_death_only_once_it_has_heard_of_a_life() {
        let up = report(State::Up, false, State::Up);
        let dead = report(State::Down, true, State::Up);
        let off = report(State::Down, false, State::AdminDown);
        let init = report(State::Init, false, State::Down);
        let why = "control detection time expired".to_owned();
        let down = Path::Down { independent: true, why };
        assert_eq!(news(None, &up), Some(Path::Up));
        assert_eq!(news(Some(&up), &up), None);
        assert_eq!(news(Some(&up), &dead), Some(down));
        assert_eq!(news(None, &dead), None, "an earlier process's story");
        assert_eq!(news(Some(&up), &off), Some(Path::AdminDown));
        assert_eq!(news(Some(&off), &off), None);
        assert_eq!(news(Some(&off), &init), Some(Path::Unknown));
        assert_eq!(news(Some(&up), &init), Some(Path::Unknown));
    }
}
