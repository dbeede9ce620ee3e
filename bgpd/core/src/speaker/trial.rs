//! What a policy does to a route as it stands, by the very rules that decide for real; nothing changes.

use super::Speaker;
use crate::peer::Peer;
use crate::policy::{Direction, Program, Trace, built_in, trace};
use crate::rib::adj_in::InPath;
use crate::rib::export::{Exporter, Withheld};
use crate::rib::import::Verdict;
use crate::rib::loc_rib::Route;
use crate::rib::{Path, rewrite};
use crate::types::{Family, Prefix};
use crate::view::PathView;
use std::sync::Arc;
use std::time::Instant;

/// Which route, and by which policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialOf {
    pub prefix: Prefix,
    /// Name or address: who has told it, or who is told.
    pub peer: String,
    pub direction: Direction,
    /// Another one than that in force.
    pub policy: Option<String>,
}

/// One path before a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// As it comes to the policy.
    pub before: PathView,
    pub trace: Trace,
    /// What keeps it out whatever the policy says.
    pub refused: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    #[error("there is no peer {0}")]
    NoPeer(String),
    #[error("there is no policy {0}")]
    NoPolicy(String),
    #[error("the session with {0} is not up, and nobody is told anything")]
    Down(String),
}

impl Speaker {
    /// The policy's name, and what it does to each path; none: there is no such route.
    pub fn try_policy(
        &self,
        of: &TrialOf,
        now: Instant,
    ) -> Result<(String, Vec<Trial>), TrialError> {
        let no_peer = || TrialError::NoPeer(of.peer.clone());
        let id = self.find_peer(&of.peer).ok_or_else(no_peer)?;
        let peer = self.peers.get(&id).ok_or_else(no_peer)?;
        let in_force = match of.direction {
            Direction::Import => &peer.settings.import,
            Direction::Export => &peer.settings.export,
        };
        let name = of.policy.clone().unwrap_or_else(|| in_force.to_string());
        let program =
            self.program(&name, of.direction).ok_or_else(|| TrialError::NoPolicy(name.clone()))?;
        let trials = match of.direction {
            Direction::Import => self.try_import(peer, &of.prefix, &program, now),
            Direction::Export => self.try_export(peer, &of.prefix, &program, now)?,
        };
        Ok((name, trials))
    }

    fn program(&self, name: &str, direction: Direction) -> Option<Arc<Program>> {
        let named = || self.programs.get(name).cloned();
        built_in(name, direction).map_or_else(named, |policy| Some(Arc::new(Program::new(&policy))))
    }

    fn try_import(
        &self,
        peer: &Peer,
        prefix: &Prefix,
        program: &Program,
        now: Instant,
    ) -> Vec<Trial> {
        let family = Family::of(prefix);
        let views = self.adj_in_view(peer, prefix, now).map(|r| r.paths).unwrap_or_default();
        let (Some(id), Some(source)) = (self.rib.find(prefix), &peer.source) else {
            return Vec::new();
        };
        let context =
            crate::policy::Context { family, source, origins: &self.origins, own_asn: None };
        let one = |(view, (_, path)): (PathView, (_, &InPath))| {
            let came = self.interner.get(path.attrs)?.unpack();
            let options = &peer.settings.options;
            let taken = rewrite::inward(options, source.kind, source.asn, &came);
            let attributes = Arc::new(taken.unwrap_or(came));
            let trace = trace::trace(program, prefix, &attributes, &context);
            let other = !matches!(path.verdict, Verdict::Accepted | Verdict::Policy);
            let refused = path.verdict.reason().filter(|_| other);
            Some(Trial { before: PathView { attributes, ..view }, trace, refused })
        };
        views.into_iter().zip(peer.adj_in.get(family).of(id)).filter_map(one).collect()
    }

    /// Of paths that the peer would be told, were it for the policy alone.
    fn try_export(
        &self,
        peer: &Peer,
        prefix: &Prefix,
        program: &Program,
        now: Instant,
    ) -> Result<Vec<Trial>, TrialError> {
        let down = || TrialError::Down(peer.name.clone());
        let exporter = &peer.up.as_ref().ok_or_else(down)?.exporter;
        let views = self.loc_view(prefix, now).map(|r| r.paths).unwrap_or_default();
        let route = self.rib.get(prefix).map(Route::paths).unwrap_or_default();
        let told = if peer.adj_out.reads_every() { route.len() } else { 1 };
        let one = |(before, path): (PathView, &Path)| Trial {
            trace: export_trace(exporter, prefix, path, (program, self)),
            refused: refused_by_rules(exporter, prefix, path),
            before,
        };
        Ok(views.into_iter().zip(route).take(told).map(one).collect())
    }
}

fn export_trace(
    exporter: &Exporter,
    prefix: &Prefix,
    path: &Path,
    (program, speaker): (&Program, &Speaker),
) -> Trace {
    let context = exporter.context(Family::of(prefix), path, &speaker.origins);
    trace::trace(program, prefix, &Arc::new(path.attrs.unpack()), &context)
}

fn refused_by_rules(exporter: &Exporter, prefix: &Prefix, path: &Path) -> Option<&'static str> {
    let why = exporter.judge(prefix, path).err().filter(|why| *why != Withheld::Policy)?;
    Some(why.reason())
}
