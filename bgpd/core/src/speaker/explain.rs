//! Why a route is, or is not, the best, told to a peer, or in the kernel: all of it for one prefix.

use super::Speaker;
use crate::config::PolicyName;
use crate::peer::Peer;
use crate::policy::{Context, Origins, Trace, trace};
use crate::rib::Path;
use crate::rib::attrs::Attrs;
use crate::rib::export::Withheld;
use crate::rib::import::Verdict;
use crate::rib::loc_rib::Route;
use crate::types::{Family, Prefix};
use crate::view::{Explanation, ExportState, ExportView, KernelState, KernelView, RouteView};
use std::sync::Arc;
use std::time::Instant;

impl Speaker {
    /// About the route that packets to `asked` take, and about everything more specific that would
    /// have been taken if its import had been allowed.
    #[must_use]
    pub fn explain(&self, asked: Prefix, now: Instant) -> Explanation {
        let found = covering(&asked).find_map(|p| Some((p, self.rib.get(&p)?)));
        let shortest = found.map_or(0, |(prefix, _)| prefix.len());
        let about = found.map_or(asked, |(prefix, _)| prefix);
        let candidates = covering(&asked).take_while(|p| p.len() >= shortest);
        let refused = candidates.filter_map(|p| self.refused_view(&p, now)).collect();
        let best = found.and_then(|(_, route)| route.best());
        Explanation {
            asked,
            route: self.loc_view(&about, now),
            refused,
            exports: self.export_views(&about, best),
            kernel: self.kernel_view(&about, found.map(|(_, route)| route)),
        }
    }

    fn refused_view(&self, prefix: &Prefix, now: Instant) -> Option<RouteView> {
        let family = Family::of(prefix);
        let of = |peer: &Peer| {
            let table = peer.adj_in.get(family);
            let refused: Vec<_> =
                table.of(self.rib.find(prefix)?).filter(|(_, p)| !p.verdict.accepted()).collect();
            let mut view = self.adj_in_view(peer, prefix, now)?;
            view.paths.retain(|path| path.rejected);
            for (key, path) in refused.iter().filter(|(_, p)| p.verdict == Verdict::Policy) {
                let came = self.interner.get(path.attrs);
                let rule = came.and_then(|a| import_rule(peer, prefix, a, &self.origins));
                let shown = view.paths.iter_mut().filter(|shown| shown.path_id == key.path);
                shown.for_each(|shown| shown.said.clone_from(&rule));
            }
            Some(view)
        };
        let paths: Vec<_> = self
            .peers
            .values()
            .filter_map(of)
            .flat_map(|r| r.paths)
            .filter(|p| p.rejected)
            .collect();
        (!paths.is_empty()).then_some(RouteView { prefix: *prefix, paths })
    }

    fn export_views(&self, prefix: &Prefix, best: Option<&Path>) -> Vec<ExportView> {
        let view = |peer: &Peer| {
            let told = peer.up.as_ref().map(|_| self.told(peer, prefix)).unwrap_or_default();
            let (state, why) = export_state(peer, prefix, best, (!told.is_empty(), &self.origins));
            let by_policy = best.filter(|_| why == Some(Withheld::Policy.reason()));
            let rule = by_policy.and_then(|path| export_rule(peer, prefix, path, &self.origins));
            ExportView { peer: peer.name.clone(), state, why, rule, told }
        };
        let mut views: Vec<ExportView> = self.peers.values().map(view).collect();
        views.sort_by(|a, b| a.peer.cmp(&b.peer));
        views
    }

    fn kernel_view(&self, prefix: &Prefix, route: Option<&Route>) -> KernelView {
        let fib = self.fib.route(prefix);
        let own = route.is_some_and(|r| r.best().is_some_and(|b| !b.is_installable()));
        let state = if fib.refused.is_some() {
            KernelState::Refused
        } else if !fib.awaited.is_empty() {
            KernelState::Awaited
        } else if !fib.present.is_empty() {
            KernelState::Installed
        } else if own {
            KernelState::Own
        } else if !self.fib.installs() {
            KernelState::Off
        } else if route.is_some() {
            KernelState::ThroughUs
        } else {
            KernelState::NoRoute
        };
        KernelView { state, fib }
    }
}

fn export_state(
    peer: &Peer,
    prefix: &Prefix,
    best: Option<&Path>,
    (told, origins): (bool, &dyn Origins),
) -> (ExportState, Option<&'static str>) {
    let Some(up) = &peer.up else {
        return (ExportState::Down, Some("the session is not up"));
    };
    let allowed = best.map(|path| up.exporter.judge_fully(prefix, path, origins));
    match (allowed, told) {
        (Some(Ok(())), true) => (ExportState::Told, None),
        (Some(Ok(())), false) if peer.adj_out.left_out(Family::of(prefix)) > 0 => {
            (ExportState::Withheld, Some("max_prefixes.out: it is told as many as it may be"))
        }
        (Some(Ok(())), false) => (ExportState::Pending, Some("not told yet")),
        (Some(Err(why)), false) => (ExportState::Withheld, Some(why.reason())),
        (Some(Err(why)), true) => (ExportState::Withdrawing, Some(why.reason())),
        (None, true) => (ExportState::Withdrawing, Some("there is no route any more")),
        (None, false) => (ExportState::Withheld, Some("there is no route")),
    }
}

/// Which rule of which policy has refused.
fn import_rule(
    peer: &Peer,
    prefix: &Prefix,
    attrs: &Attrs,
    origins: &dyn Origins,
) -> Option<String> {
    let policy = &peer.settings.import;
    let Some(program) = peer.import.program() else { return Some(built_in(policy)) };
    let source = peer.source.as_ref()?;
    let family = Family::of(prefix);
    let context = Context { family, source, origins, own_asn: None };
    let attrs = Arc::new(attrs.unpack());
    Some(decided(policy, &trace::trace(program, prefix, &attrs, &context)))
}

fn export_rule(peer: &Peer, prefix: &Prefix, path: &Path, origins: &dyn Origins) -> Option<String> {
    let policy = &peer.settings.export;
    let exporter = &peer.up.as_ref()?.exporter;
    let Some(program) = exporter.filter.program() else { return Some(built_in(policy)) };
    let context = exporter.context(Family::of(prefix), path, origins);
    let attrs = Arc::new(path.attrs.unpack());
    Some(decided(policy, &trace::trace(program, prefix, &attrs, &context)))
}

fn built_in(policy: &PolicyName) -> String {
    match policy {
        PolicyName::Node => "policy node: a default route in, prefixes of this node out".into(),
        PolicyName::None => "policy none lets nothing pass".into(),
        other => format!("policy {other}"),
    }
}

fn decided(policy: &PolicyName, trace: &Trace) -> String {
    let Some(number) = trace.decided else {
        return format!("policy {policy}: no rule decided, and its end rejects");
    };
    let name = trace.rules.get(number).and_then(|rule| rule.name.as_ref());
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("policy {policy}: rule {}{name}", number + 1)
}

/// The prefix and everything that holds it, the most specific first.
pub(super) fn covering(prefix: &Prefix) -> impl Iterator<Item = Prefix> {
    let addr = prefix.addr();
    (0..=prefix.len()).rev().filter_map(move |len| Prefix::containing(addr, len).ok())
}
