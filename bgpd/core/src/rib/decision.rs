//! Route selection (RFC 4271 §9.1): which of a prefix's paths is the best, and why not the others.
//!
//! Each step drops the paths that lose against another one still in; the outcome does not depend
//! on the order in which they arrived. Where the RFC leaves a choice:
//! - MED is compared among paths from the same neighbour AS only, all of them at once, and a
//!   missing one counts as 0, unless the configuration has it otherwise;
//! - there is no IGP on a node, so §9.1.2.2 e (interior cost) drops nothing;
//! - the age of a path counts for nothing: restarts would not be repeatable.

use super::{Kind, Path};
use crate::types::{Asn, PeerId, RouterId};
use std::cmp::Reverse;
use std::net::IpAddr;

/// What a path lost by. In the order in which the steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A node's own prefixes are not for peers to take.
    Local,
    /// RFC 9494 §4.4: what has been stale for long is the worst there is.
    LongLivedStale,
    /// What our own policy prefers; no peer hears of it.
    Weight,
    /// RFC 4271 §9.1.1.
    LocalPref,
    /// RFC 4271 §9.1.2.2 a.
    AsPathLength,
    /// RFC 4271 §9.1.2.2 b.
    Origin,
    /// RFC 4271 §9.1.2.2 c.
    Med,
    /// RFC 4271 §9.1.2.2 d.
    External,
    /// RFC 4271 §9.1.2.2 f, with the ORIGINATOR_ID where there is one (RFC 4456 §9).
    RouterId,
    /// RFC 4456 §9.
    ClusterList,
    /// RFC 4271 §9.1.2.2 g.
    Address,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Local,
        Self::LongLivedStale,
        Self::Weight,
        Self::LocalPref,
        Self::AsPathLength,
        Self::Origin,
        Self::Med,
        Self::External,
        Self::RouterId,
        Self::ClusterList,
        Self::Address,
    ];

    /// Paths equal up to here may be used side by side.
    const LAST_BEFORE_TIE: Self = Self::External;

    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Local => "not originated here",
            Self::LongLivedStale => "stale for long",
            Self::Weight => "lower weight",
            Self::LocalPref => "lower local preference",
            Self::AsPathLength => "longer AS path",
            Self::Origin => "worse origin",
            Self::Med => "higher MED",
            Self::External => "internal, not external",
            Self::RouterId => "higher router ID",
            Self::ClusterList => "longer cluster list",
            Self::Address => "higher peer address",
        }
    }

    /// Moves what survives this step to the front and answers how many there are.
    fn apply(self, paths: &mut [Path]) -> usize {
        match self {
            Self::Local => keep_least(paths, |p| p.source.kind != Kind::Local),
            Self::LongLivedStale => keep_least(paths, |p| p.attrs.is_long_lived_stale()),
            Self::Weight => keep_least(paths, |p| Reverse(p.attrs.weight())),
            Self::LocalPref => keep_least(paths, |p| Reverse(local_pref(p))),
            Self::AsPathLength => keep_least(paths, |p| p.attrs.path_length()),
            Self::Origin => keep_least(paths, |p| p.attrs.origin()),
            Self::Med => keep_lowest_med(paths),
            Self::External => keep_least(paths, |p| p.source.kind.is_internal()),
            Self::RouterId => keep_least(paths, router_id),
            Self::ClusterList => keep_least(paths, |p| p.attrs.clusters()),
            Self::Address => keep_least(paths, address),
        }
    }
}

/// LOCAL_PREF of a path that has none, or that comes from outside (RFC 4271 §5.1.5).
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

/// Brings the paths into order, the best first, and answers how many of the first ones may be
/// used side by side.
pub(crate) fn select(paths: &mut [Path]) -> usize {
    let mut equal = paths.len();
    eliminate(paths, |step, _, kept| {
        if step <= Step::LAST_BEFORE_TIE {
            equal = kept;
        }
    });
    match paths.first() {
        Some(best) if best.source.kind == Kind::Local => 1,
        _ => equal,
    }
}

/// The keys of the steps before MEDs are compared: among those each step keeps what is least.
const EARLY: [fn(&Path) -> u64; 6] = [
    |p| u64::from(p.source.kind != Kind::Local),
    |p| u64::from(p.attrs.is_long_lived_stale()),
    |p| u64::from(u32::MAX - p.attrs.weight()),
    |p| u64::from(u32::MAX - local_pref(p)),
    |p| u64::from(p.attrs.path_length()),
    |p| p.attrs.origin() as u64,
];

/// By which of [`EARLY`] a path loses against the best one; `None`: it does not.
fn loses_early(best: &Path, path: &Path) -> Option<usize> {
    let at = EARLY.iter().position(|key| key(path) != key(best))?;
    EARLY.get(at).filter(|key| key(path) > key(best)).map(|_| at)
}

/// Whether one of ordered paths has lost before MEDs were compared: it may go, and nothing changes
/// for the others, for each of these steps looks at the least alone.
pub(crate) fn lost_early(paths: &[Path], at: usize) -> bool {
    let (best, path) = (paths.first(), paths.get(at));
    best.zip(path).is_some_and(|(best, path)| loses_early(best, path).is_some())
}

/// The place of a new path among ordered ones, if it loses like that. Those that lose by the same
/// step stand by their addresses, and those that lose later before it.
pub(crate) fn place_of_loser(paths: &[Path], new: &Path) -> Option<usize> {
    let best = paths.first()?;
    let lost = loses_early(best, new)?;
    let before = |p: &Path| match loses_early(best, p) {
        Some(step) if step == lost => address(p) < address(new),
        step => step.is_none_or(|step| step > lost),
    };
    Some(paths.partition_point(before))
}

fn address(path: &Path) -> (IpAddr, Option<PeerId>, u32) {
    (path.source.address, path.source.peer, path.id)
}

/// For each of the ordered paths the step that dropped it; `None` for the best.
pub(crate) fn explain(paths: &mut [Path]) -> Vec<Option<Step>> {
    let mut steps = vec![None; paths.len()];
    eliminate(paths, |step, from, kept| {
        for dropped in steps.get_mut(kept..from).into_iter().flatten() {
            *dropped = Some(step);
        }
    });
    steps
}

/// Takes the steps one after the other; `note` hears of each how many it met and how many it kept.
fn eliminate(paths: &mut [Path], mut note: impl FnMut(Step, usize, usize)) {
    if paths.len() < 2 {
        return;
    }
    paths.sort_unstable_by_key(address);
    let mut alive = paths.len();
    for step in Step::ALL {
        let kept = paths.get_mut(..alive).map_or(0, |p| step.apply(p));
        note(step, alive, kept);
        alive = kept;
    }
}

fn keep_least<K: Ord>(paths: &mut [Path], key: impl Fn(&Path) -> K) -> usize {
    let Some(least) = paths.iter().map(&key).min() else { return 0 };
    keep(paths, |_, p| key(p) == least)
}

fn keep_lowest_med(paths: &mut [Path]) -> usize {
    if paths.iter().all(|p| med(p) == 0) {
        return paths.len();
    }
    if paths.first().is_some_and(|p| p.source.med.always_compare) {
        return keep_least(paths, med);
    }
    let lowest: Vec<(Option<Asn>, u32)> =
        paths.iter().map(|p| (p.attrs.first_as(), med(p))).collect();
    keep(paths, |_, p| {
        let neighbour = p.attrs.first_as();
        !lowest.iter().any(|(asn, med_of)| *asn == neighbour && *med_of < med(p))
    })
}

/// A stable partition in place: paths of one prefix are few.
fn keep(paths: &mut [Path], wanted: impl Fn(usize, &Path) -> bool) -> usize {
    let mut kept = 0;
    for i in 0..paths.len() {
        if paths.get(i).is_some_and(|p| wanted(i, p)) {
            if let Some(window) = paths.get_mut(kept..=i) {
                window.rotate_right(1);
            }
            kept += 1;
        }
    }
    kept
}

/// What an external peer says about our preferences is not read (RFC 4271 §5.1.5): what stands there
/// is our own. But that it is about to go is heard (RFC 8326 §4).
fn local_pref(path: &Path) -> u32 {
    match path.source.kind {
        Kind::External if path.attrs.is_shutting_down() => 0,
        _ => path.attrs.local_pref(),
    }
}

fn med(path: &Path) -> u32 {
    if path.source.med.missing_as_worst && !path.attrs.has_med() {
        return u32::MAX;
    }
    path.attrs.med()
}

fn router_id(path: &Path) -> RouterId {
    path.attrs.originator_id().unwrap_or(path.source.router_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MedRules;
    use crate::rib::attrs::Attrs;
    use crate::testing::{PathSpec, path};
    use crate::wire::{Attributes, Origin};
    use proptest::prelude::*;

    /// The best of two, and why the other lost.
    fn duel(a: PathSpec, b: PathSpec) -> (u8, &'static str) {
        let mut paths = [path(&a), path(&b)];
        select(&mut paths);
        let why = explain(&mut paths);
        let IpAddr::V4(best) = paths[0].source.address else { unreachable!() };
        (best.octets()[3], why[1].unwrap().reason())
    }

    #[test]
    fn each_step_decides_when_all_before_it_are_equal() {
        let base = PathSpec { peer: 1, ..PathSpec::default() };
        let other = PathSpec { peer: 2, ..PathSpec::default() };
        let long = PathSpec { as_path: vec![65001, 65002], ..base.clone() };
        assert_eq!(duel(long, other.clone()), (2, "longer AS path"));
        let internal = PathSpec { internal: true, local_pref: Some(100), ..base.clone() };
        assert_eq!(duel(internal, other.clone()), (2, "internal, not external"));
        let weak =
            PathSpec { internal: true, local_pref: Some(99), as_path: vec![], ..base.clone() };
        assert_eq!(duel(weak, other.clone()), (2, "lower local preference"));
        let egp = PathSpec { origin: Origin::Egp, ..base.clone() };
        assert_eq!(duel(egp, other.clone()), (2, "worse origin"));
        let med = PathSpec { med: Some(5), ..base.clone() };
        assert_eq!(duel(med, other.clone()), (2, "higher MED"));
        assert_eq!(duel(base.clone(), other.clone()), (1, "higher router ID"));
        let same_id = PathSpec { router_id: Some(1), ..other };
        assert_eq!(duel(base, same_id), (1, "higher peer address"));
    }

    #[test]
    fn med_is_compared_only_between_paths_of_one_neighbour() {
        let a = PathSpec { peer: 1, as_path: vec![65001], med: Some(50), ..PathSpec::default() };
        let b = PathSpec { peer: 2, as_path: vec![65002], med: Some(5), ..PathSpec::default() };
        assert_eq!(duel(a, b), (1, "higher router ID"));
    }

    #[test]
    fn med_may_be_compared_between_all_and_a_missing_one_be_the_worst() {
        let best = |rules: MedRules, meds: [Option<u32>; 2]| {
            let mut paths = [1u8, 2].map(|peer| {
                let as_path = vec![65000 + u32::from(peer)];
                let med = meds[usize::from(peer) - 1];
                let mut path = path(&PathSpec { peer, as_path, med, ..PathSpec::default() });
                std::rc::Rc::make_mut(&mut path.source).med = rules;
                path
            });
            select(&mut paths);
            paths[0].source.router_id
        };
        let (own, other) = (router_id_of(1), router_id_of(2));
        let always = MedRules { always_compare: true, ..MedRules::default() };
        assert_eq!(best(MedRules::default(), [Some(9), Some(5)]), own);
        assert_eq!(best(always, [Some(9), Some(5)]), other);
        assert_eq!(best(always, [None, Some(5)]), own);
        let worst = MedRules { missing_as_worst: true, ..always };
        assert_eq!(best(worst, [None, Some(5)]), other);
    }

    fn router_id_of(peer: u8) -> RouterId {
        crate::testing::router_id(peer)
    }

    #[test]
    fn reflected_paths_go_by_originator_and_then_by_the_shorter_cluster_list() {
        let base = PathSpec { internal: true, originator: Some(9), ..PathSpec::default() };
        let near = PathSpec { peer: 2, clusters: 1, ..base.clone() };
        let far = PathSpec { peer: 1, clusters: 2, ..base };
        assert_eq!(duel(far, near), (2, "longer cluster list"));
    }

    #[test]
    fn what_our_policy_prefers_goes_before_all_that_peers_say() {
        let near = PathSpec { peer: 1, ..PathSpec::default() };
        let far = PathSpec { peer: 2, as_path: vec![65001, 65002], ..PathSpec::default() };
        let preferred = PathSpec { local_pref: Some(101), ..far.clone() };
        assert_eq!(duel(near.clone(), preferred), (2, "lower local preference"));
        let mut paths = [path(&PathSpec { local_pref: Some(200), ..near }), path(&far)];
        let heavy = Attributes { weight: 1, ..paths[1].attrs.unpack() };
        paths[1].attrs = Attrs::lone(&heavy);
        select(&mut paths);
        assert_eq!(paths[0].attrs.weight(), 1);
        assert_eq!(explain(&mut paths)[1].unwrap().reason(), "lower weight");
    }

    #[test]
    fn paths_equal_before_the_tie_break_are_used_side_by_side() {
        let mut paths: Vec<Path> = (1..=4)
            .map(|peer| {
                let extra =
                    if peer == 3 { vec![65001, 65009] } else { vec![65000 + u32::from(peer)] };
                path(&PathSpec { peer, as_path: extra, ..PathSpec::default() })
            })
            .collect();
        assert_eq!(select(&mut paths), 3);
        let last = path(&PathSpec { peer: 3, ..PathSpec::default() }).source;
        assert_eq!(paths[3].source.address, last.address);
    }

    fn spec() -> impl Strategy<Value = PathSpec> {
        let attributes = (
            prop::collection::vec(65001u32..65004, 1..3),
            prop::option::of(0u32..3),
            prop::option::of(99u32..102),
            any::<bool>(),
            0u8..2,
            prop::option::of(1u8..3),
        );
        (attributes, 1u8..4).prop_map(
            |((as_path, med, local_pref, internal, clusters, originator), id)| {
                let reflected = internal.then_some(()).and(originator);
                PathSpec {
                    peer: 0,
                    as_path,
                    med,
                    local_pref,
                    internal,
                    origin: Origin::Igp,
                    router_id: Some(id),
                    originator: reflected,
                    clusters: if internal { clusters } else { 0 },
                }
            },
        )
    }

    proptest! {
        #[test]
        fn the_outcome_does_not_depend_on_the_order_of_arrival(
            (sorted, shuffled) in prop::collection::vec(spec(), 1..8).prop_map(|mut specs| {
                for (i, s) in specs.iter_mut().enumerate() {
                    s.peer = i as u8 + 1;
                }
                specs
            }).prop_flat_map(|specs| (Just(specs.clone()), Just(specs).prop_shuffle()))
        ) {
            let mut one: Vec<Path> = sorted.iter().map(path).collect();
            let mut two: Vec<Path> = shuffled.iter().map(path).collect();
            prop_assert_eq!(select(&mut one), select(&mut two));
            let addresses = |p: &[Path]| p.iter().map(|p| p.source.address).collect::<Vec<_>>();
            prop_assert_eq!(addresses(&one), addresses(&two));
            prop_assert_eq!(explain(&mut one), explain(&mut two));
        }

        #[test]
        fn a_path_that_loses_early_changes_nothing_for_the_others(
            specs in prop::collection::vec(spec(), 2..8),
        ) {
            let mut paths: Vec<Path> = specs.iter().enumerate()
                .map(|(i, s)| path(&PathSpec { peer: i as u8 + 1, ..s.clone() })).collect();
            let new = paths.swap_remove(specs.len() / 2);
            let equal = select(&mut paths);
            if let Some(at) = place_of_loser(&paths, &new) {
                let mut whole = paths.clone();
                whole.push(new.clone());
                prop_assert_eq!(select(&mut whole), equal);
                prop_assert!(lost_early(&whole, at));
                paths.insert(at, new);
                prop_assert_eq!(paths, whole);
            } else {
                paths.push(new.clone());
                select(&mut paths);
                let at = paths.iter().position(|p| p.source == new.source).unwrap();
                prop_assert!(!lost_early(&paths, at));
            }
        }

        #[test]
        fn exactly_one_path_has_no_reason_to_lose(specs in prop::collection::vec(spec(), 1..8)) {
            let mut paths: Vec<Path> = specs.iter().enumerate()
                .map(|(i, s)| path(&PathSpec { peer: i as u8 + 1, ..s.clone() })).collect();
            let why = explain(&mut paths);
            prop_assert_eq!(why.iter().filter(|w| w.is_none()).count(), 1);
            prop_assert_eq!(why[0], None);
        }
    }
}
