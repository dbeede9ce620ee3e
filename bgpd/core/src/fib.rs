//! What the kernel should hold, what it holds, and the difference.
//!
//! Routes are replaced in place; a route that is right is not touched. What an earlier process of
//! ours has left in the kernel is adopted: such a route is *frozen* while a peer behind one of its
//! next hops may still come back and confirm it, so a restart of ours moves no packet (RFC 4724
//! §4.1). While frozen it may lose next hops that their peers no longer vouch for, and gains none.
//! Each peer thaws its own at its EoR or at its timer; none waits for another.

use crate::event::{Action, InstalledRoute};
use crate::hop_weight;
use crate::rib::PerFamily;
use crate::rib::prefix_map::PrefixMap;
use crate::types::{Family, Gateway, Prefix};
use crate::view::{FibRouteView, FibView};
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Few sets of next hops serve many routes.
type Hops = Arc<[Gateway]>;

#[derive(Debug, Default)]
pub(crate) struct Fib {
    install: bool,
    routes: PrefixMap<Entry>,
    hops: HashSet<Hops>,
    adopted: usize,
    failed: BTreeMap<Prefix, Failure>,
    last_error: Option<String>,
    /// Next hops that the kernel's routes do without.
    left_out: BTreeMap<Gateway, String>,
    /// While history is told again: what it has touched. The kernel is to see its end alone.
    paused: Option<Vec<Prefix>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// What the kernel has been told, and what it had when we came.
    present: Option<Hops>,
    wanted: Option<Hops>,
    /// Next hops of an adopted route whose peers have not spoken yet.
    held: Option<Box<[Gateway]>>,
}

#[derive(Debug)]
struct Failure {
    why: Box<str>,
    attempts: u32,
    due: Instant,
    /// The kernel has been asked again and has not refused yet.
    asked: bool,
}

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
const ANSWER_TIME: Duration = Duration::from_secs(10);

impl Fib {
    pub(crate) fn new(install: bool) -> Self {
        Self { install, ..Self::default() }
    }

    pub(crate) const fn installs(&self) -> bool {
        self.install
    }

    /// Takes over what the kernel holds.
    pub(crate) fn adopt(&mut self, found: Vec<InstalledRoute>) {
        self.adopted += found.len();
        for route in found {
            let hops = self.intern(&route.next_hops);
            if let Some(entry) = self.routes.entry(route.prefix, Entry::default)
                && entry.present.is_none()
            {
                entry.held = Some(hops.iter().copied().collect());
                entry.present = Some(hops);
            }
        }
    }

    /// From now on this is what the prefix should have; empty: no route.
    pub(crate) fn want(&mut self, prefix: Prefix, next_hops: &[Gateway], out: &mut Vec<Action>) {
        if !self.install {
            return;
        }
        if next_hops.is_empty() && self.routes.get(&prefix).is_none() {
            return;
        }
        let wanted = (!next_hops.is_empty()).then(|| self.intern(next_hops));
        if let Some(entry) = self.routes.entry(prefix, Entry::default) {
            entry.wanted = wanted;
        }
        self.settle(prefix, out);
    }

    /// The peers have spoken behind whose addresses `spoken` says so; how many adopted routes were
    /// removed for lack of anybody who announces them.
    pub(crate) fn release(
        &mut self,
        family: Family,
        spoken: impl Fn(IpAddr, u32) -> bool,
        out: &mut Vec<Action>,
    ) -> usize {
        let mut thawed = Vec::new();
        for (prefix, entry) in self.routes.values_mut().filter(|(p, _)| Family::of(p) == family) {
            let Some(held) = &mut entry.held else { continue };
            let left: Box<[Gateway]> =
                held.iter().filter(|hop| !speaks_for(hop, &spoken)).copied().collect();
            if left.len() < held.len() {
                entry.held = (!left.is_empty()).then_some(left);
                thawed.push(*prefix);
            }
        }
        let mut swept = 0;
        for prefix in thawed {
            swept += usize::from(self.settle(prefix, out) == Settled::Removed);
        }
        swept
    }

    /// The kernel did not do what it was asked.
    pub(crate) fn failed(&mut self, prefix: Prefix, why: &str, now: Instant) {
        let attempts = self.failed.get(&prefix).map_or(0, |f| f.attempts);
        let wait = RETRY_FIRST.saturating_mul(1 << attempts.min(6)).min(RETRY_MAX);
        let attempts = attempts.saturating_add(1);
        let failure = Failure { why: why.into(), attempts, due: now + wait, asked: false };
        self.failed.insert(prefix, failure);
        self.last_error = Some(format!("{prefix}: {why}"));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.failed.values().map(|f| f.due).min()
    }

    /// Asks again for what was refused; what then is not refused in time is done.
    pub(crate) fn retry(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.failed.retain(|_, f| !f.asked || f.due > now);
        for (prefix, failure) in self.failed.iter_mut().filter(|(_, f)| f.due <= now) {
            let next_hops = self.routes.get(prefix).and_then(|e| e.present.clone());
            out.push(Action::Fib { prefix: *prefix, next_hops });
            failure.asked = true;
            failure.due = now + ANSWER_TIME;
        }
    }

    /// From now on changes are collected.
    pub(crate) fn pause(&mut self) {
        self.paused.get_or_insert_default();
    }

    /// What has changed since [`pause`](Self::pause) goes to the kernel; how many routes of which
    /// family were removed.
    pub(crate) fn unpause(&mut self, out: &mut Vec<Action>) -> PerFamily<usize> {
        let mut removed = PerFamily::default();
        for prefix in self.paused.take().unwrap_or_default() {
            if self.settle(prefix, out) == Settled::Removed {
                *removed.get_mut(Family::of(&prefix)) += 1;
            }
        }
        removed
    }

    /// From now on the kernel is left as it is.
    pub(crate) const fn let_go(&mut self) {
        self.install = false;
    }

    /// Everything of ours leaves the kernel, or may enter it from now on.
    pub(crate) fn set_install(&mut self, install: bool, out: &mut Vec<Action>) {
        self.install = install;
        if !install {
            let present = self.routes.iter().filter(|(_, e)| e.present.is_some());
            out.extend(present.map(|(p, _)| Action::Fib { prefix: *p, next_hops: None }));
            self.routes.clear();
            self.failed.clear();
        }
    }

    /// Whether the kernel holds a route to the prefix through this next hop.
    pub(crate) fn has(&self, prefix: &Prefix, next_hop: &Gateway) -> bool {
        let entry = self.routes.get(prefix).filter(|_| !self.failed.contains_key(prefix));
        let present = entry.and_then(|e| e.present.as_deref()).unwrap_or_default();
        present.iter().any(|h| h.way_out() == next_hop.way_out())
            && self.left_out(next_hop).is_none()
    }

    pub(crate) fn leaves_out(&mut self, hops: BTreeMap<Gateway, String>) {
        self.left_out = hops;
    }

    /// Why the kernel's routes do without this next hop, if they do.
    pub(crate) fn left_out(&self, hop: &Gateway) -> Option<&str> {
        let known = |out: &&Gateway| {
            out.scope == hop.scope
                && (out.next_hop.addr() == hop.next_hop.addr() || out.way_out() == hop.way_out())
        };
        self.left_out.keys().find(known).and_then(|out| self.left_out.get(out)).map(String::as_str)
    }

    /// For walks from above (see [`PrefixMap`]).
    pub(crate) fn at(&self, index: usize) -> Option<&Prefix> {
        self.routes.at(index).map(|(prefix, _)| prefix)
    }

    pub(crate) fn slots(&self) -> usize {
        self.routes.len()
    }

    /// What stands in the kernel for the prefix, and what should.
    pub(crate) fn route(&self, prefix: &Prefix) -> FibRouteView {
        let entry = self.routes.get(prefix);
        let present = entry.and_then(|e| e.present.as_deref()).unwrap_or_default();
        let left_out = present.iter().filter_map(|h| Some((*h, self.left_out(h)?.to_owned())));
        let hops = |hops: Option<&Hops>| hops.map(|h| h.to_vec()).unwrap_or_default();
        FibRouteView {
            present: hops(entry.and_then(|e| e.present.as_ref())),
            wanted: hops(entry.and_then(|e| e.wanted.as_ref())),
            left_out: left_out.collect(),
            awaited: entry.and_then(|e| e.held.as_deref()).unwrap_or_default().to_vec(),
            refused: self.failed.get(prefix).map(|f| (f.why.to_string(), f.attempts)),
        }
    }

    pub(crate) fn view(&self) -> FibView {
        let present = self.routes.iter().filter(|(_, e)| e.present.is_some()).count();
        FibView {
            install: self.install,
            installed: present.saturating_sub(self.failed.len()),
            adopted: self.adopted,
            stale: self.routes.iter().filter(|(_, e)| e.held.is_some()).count(),
            failed: self.failed.len(),
            last_error: self.last_error.clone(),
        }
    }

    /// Makes the kernel hold what it should.
    fn settle(&mut self, prefix: Prefix, out: &mut Vec<Action>) -> Settled {
        if let Some(touched) = &mut self.paused {
            touched.push(prefix);
            return Settled::Unchanged;
        }
        let Some(entry) = self.routes.get(&prefix) else { return Settled::Unchanged };
        let target = match &entry.held {
            None => entry.wanted.clone(),
            Some(held) => {
                let narrowed = narrow(entry, held);
                Some(self.intern(&narrowed))
            }
        };
        let Some(entry) = self.routes.get_mut(&prefix) else { return Settled::Unchanged };
        if same(entry.present.as_deref(), target.as_deref()) {
            if target.is_none() {
                self.routes.remove(&prefix);
            }
            return Settled::Unchanged;
        }
        let settled = if target.is_none() { Settled::Removed } else { Settled::Set };
        self.failed.remove(&prefix);
        out.push(Action::Fib { prefix, next_hops: target.clone() });
        entry.present = target;
        if settled == Settled::Removed {
            self.routes.remove(&prefix);
        }
        settled
    }

    fn intern(&mut self, hops: &[Gateway]) -> Hops {
        if let Some(known) = self.hops.get(hops) {
            return Arc::clone(known);
        }
        if self.hops.len() >= 1024 {
            self.hops.retain(|h| Arc::strong_count(h) > 1);
        }
        let new: Hops = hops.into();
        self.hops.insert(Arc::clone(&new));
        new
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Unchanged,
    Set,
    Removed,
}

/// A frozen route: its next hops that are held, and those confirmed meanwhile.
fn narrow(entry: &Entry, held: &[Gateway]) -> Vec<Gateway> {
    let wanted = entry.wanted.as_deref().unwrap_or_default();
    let is_in = |hops: &[Gateway], hop: &Gateway| hops.iter().any(|h| h.way_out() == hop.way_out());
    let present = entry.present.as_deref().unwrap_or_default();
    let left = present.iter().filter(|h| is_in(held, h) || is_in(wanted, h)).copied();
    let mut left: Vec<Gateway> = left.collect();
    if left.len() < present.len() {
        hop_weight::reduce(&mut left, |hop| &mut hop.weight);
    }
    left
}

fn same(a: Option<&[Gateway]>, b: Option<&[Gateway]>) -> bool {
    let gateways = |hops: &[Gateway]| {
        let mut all: Vec<_> = hops.iter().map(|hop| (hop.way_out(), hop.weight)).collect();
        all.sort_unstable();
        all
    };
    match (a, b) {
        (Some(a), Some(b)) => a == b || gateways(a) == gateways(b),
        (None, None) => true,
        _ => false,
    }
}

fn speaks_for(hop: &Gateway, spoken: &impl Fn(IpAddr, u32) -> bool) -> bool {
    let (gateway, scope) = hop.way_out();
    spoken(hop.next_hop.addr(), scope) || spoken(gateway, scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{prefix, start};
    use crate::types::NextHop;
    use std::net::Ipv4Addr;

    const DEFAULT: &str = "0.0.0.0/0";

    fn hops(last: &[u8]) -> Vec<Gateway> {
        last.iter().map(|n| NextHop::V4(Ipv4Addr::new(192, 0, 2, *n)).into()).collect()
    }

    fn adopted(last: &[u8]) -> Fib {
        let mut fib = Fib::new(true);
        fib.adopt(vec![InstalledRoute { prefix: prefix(DEFAULT), next_hops: hops(last) }]);
        fib
    }

    fn want(fib: &mut Fib, last: &[u8]) -> Vec<Option<Vec<Gateway>>> {
        let mut out = Vec::new();
        fib.want(prefix(DEFAULT), &hops(last), &mut out);
        told(out)
    }

    /// 192.0.2.`n` has told all it knows.
    fn release(fib: &mut Fib, n: u8) -> (usize, Vec<Option<Vec<Gateway>>>) {
        let mut out = Vec::new();
        let spoken = |a: IpAddr, _: u32| a == IpAddr::V4(Ipv4Addr::new(192, 0, 2, n));
        let swept = fib.release(Family::Ipv4Unicast, spoken, &mut out);
        (swept, told(out))
    }

    fn told(out: Vec<Action>) -> Vec<Option<Vec<Gateway>>> {
        let hops = |a| match a {
            Action::Fib { next_hops, .. } => next_hops.map(|hops| hops.to_vec()),
            other => panic!("{other:?}"),
        };
        out.into_iter().map(hops).collect()
    }

    #[test]
    fn an_adopted_route_that_is_confirmed_is_not_touched() {
        let mut fib = adopted(&[1]);
        assert_eq!(want(&mut fib, &[1]), []);
        assert_eq!(release(&mut fib, 1), (0, vec![]));
        assert_eq!(fib.view().stale, 0);
    }

    #[test]
    fn an_adopted_route_keeps_its_width_until_every_peer_behind_it_has_spoken() {
        let mut fib = adopted(&[1, 2]);
        assert_eq!(want(&mut fib, &[1]), []);
        assert_eq!(release(&mut fib, 1), (0, vec![]));
        assert_eq!(want(&mut fib, &[1, 2]), []);
        assert_eq!(release(&mut fib, 2), (0, vec![]));
    }

    #[test]
    fn a_next_hop_whose_peer_no_longer_wants_it_leaves_a_frozen_route() {
        let mut fib = adopted(&[1, 2]);
        assert_eq!(release(&mut fib, 1), (0, vec![Some(hops(&[2]))]));
        assert_eq!(release(&mut fib, 2), (1, vec![None]));
        assert_eq!(fib.view().installed, 0);
    }

    #[test]
    fn a_frozen_route_does_not_move_to_a_path_that_came_first() {
        let mut fib = adopted(&[1]);
        assert_eq!(want(&mut fib, &[3]), []);
        assert_eq!(release(&mut fib, 1), (0, vec![Some(hops(&[3]))]));
    }

    #[test]
    fn a_route_is_replaced_in_place_and_removed_once() {
        let mut fib = Fib::new(true);
        assert_eq!(want(&mut fib, &[1]), [Some(hops(&[1]))]);
        assert_eq!(want(&mut fib, &[1, 2]), [Some(hops(&[1, 2]))]);
        assert_eq!(want(&mut fib, &[]), [None]);
        assert_eq!(want(&mut fib, &[]), []);
    }

    #[test]
    fn a_kernel_route_over_a_link_local_gateway_is_recognized() {
        let link_local = "fe80::1".parse().unwrap();
        let learned =
            NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: Some(link_local) };
        let kernel = NextHop::V6 { global: link_local, link_local: None };
        let mut fib = Fib::new(true);
        fib.adopt(vec![InstalledRoute { prefix: prefix("::/0"), next_hops: vec![kernel.into()] }]);
        let mut out = Vec::new();
        fib.want(prefix("::/0"), &[learned.into()], &mut out);
        fib.release(Family::Ipv6Unicast, |_, _| true, &mut out);
        assert!(out.is_empty(), "{out:?}");
    }

    #[test]
    fn a_refused_removal_is_asked_for_again() {
        let (mut fib, now) = (Fib::new(true), start());
        want(&mut fib, &[1]);
        want(&mut fib, &[]);
        fib.failed(prefix(DEFAULT), "busy", now);
        let mut out = Vec::new();
        fib.retry(now + RETRY_FIRST, &mut out);
        assert_eq!(told(out), [None]);
    }

    #[test]
    fn the_same_link_local_address_on_two_links_is_two_next_hops() {
        let link_local: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
        let hop = NextHop::V6 { global: link_local, link_local: Some(link_local) };
        let both = [Gateway::on(hop, 3), Gateway::on(hop, 4)];
        let mut fib = Fib::new(true);
        fib.adopt(vec![InstalledRoute { prefix: prefix(DEFAULT), next_hops: both.to_vec() }]);
        let mut out = Vec::new();
        fib.want(prefix(DEFAULT), &both, &mut out);
        fib.release(Family::Ipv4Unicast, |_, _| true, &mut out);
        assert_eq!(out, [], "the kernel has it already");
        fib.want(prefix(DEFAULT), &both[1..], &mut out);
        assert_eq!(told(out), [Some(both[1..].to_vec())]);
    }

    #[test]
    fn who_has_spoken_on_one_link_has_not_spoken_for_its_namesake_on_another() {
        let link_local: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
        let hop = NextHop::V6 { global: link_local, link_local: Some(link_local) };
        let both = [Gateway::on(hop, 3), Gateway::on(hop, 4)];
        let mut fib = Fib::new(true);
        fib.adopt(vec![InstalledRoute { prefix: prefix(DEFAULT), next_hops: both.to_vec() }]);
        let mut out = Vec::new();
        fib.release(Family::Ipv4Unicast, |_, scope| scope == 3, &mut out);
        assert_eq!(told(out), [Some(both[1..].to_vec())]);
    }
}
