//! Which rule decides about a path, and why those before it do not: by the very conditions and
//! changes that decide for real.

use super::condition::Context;
use super::model::{Decision, Policy, Provenance};
use super::program::{Compiled, Program};
use super::{Draft, Validity};
use crate::rib::{Kind, Source};
use crate::types::{Asn, Family, Prefix, Protocol, Role, RouterId};
use crate::wire::Attributes;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A path to try a policy on.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub prefix: Prefix,
    pub attributes: Attributes,
    pub direction: Direction,
    pub from: Provenance,
    /// The peer it came from; empty: none.
    pub peer: String,
    pub role: Option<Role>,
    pub interface: Option<String>,
    pub rpki: Validity,
    /// Ours.
    pub asn: Asn,
    /// It goes to an external peer.
    pub to_external: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Import,
    Export,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// As far as rules were looked at.
    pub rules: Vec<RuleTrace>,
    /// Index of the rule that decided; none: the end of the policy, which rejects.
    pub decided: Option<usize>,
    pub accepted: bool,
    pub after: Attributes,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RuleTrace {
    pub name: Option<String>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    PassedOver { why: String },
    Matched(Decision),
}

/// What the policy does with the path.
#[must_use]
pub fn explain(policy: &Policy, sample: &Sample) -> Trace {
    let source = sample.source();
    let export = sample.direction == Direction::Export;
    let context = Context {
        family: Family::of(&sample.prefix),
        source: &source,
        origins: &sample.rpki,
        own_asn: (export && sample.to_external).then_some(sample.asn),
    };
    let attrs = Arc::new(sample.attributes.clone());
    trace(&Program::new(policy), &sample.prefix, &attrs, &context)
}

pub(crate) fn trace(
    program: &Program,
    prefix: &Prefix,
    attrs: &Arc<Attributes>,
    context: &Context<'_>,
) -> Trace {
    let mut draft = Draft::new(attrs);
    let mut rules = Vec::new();
    let mut decided = None;
    for (number, (rule, said)) in program.rules.iter().zip(&program.policy.rules).enumerate() {
        let outcome = match why_not(rule, prefix, &draft.attrs, context) {
            Some(why) => Outcome::PassedOver { why },
            None => {
                if rule.decision != Decision::Reject {
                    draft.apply(&rule.sets, context);
                }
                Outcome::Matched(rule.decision)
            }
        };
        let decides = matches!(outcome, Outcome::Matched(Decision::Accept | Decision::Reject));
        rules.push(RuleTrace { name: said.name.clone(), outcome });
        if decides {
            decided = Some((number, rule.decision == Decision::Accept));
            break;
        }
    }
    Trace {
        rules,
        decided: decided.map(|(number, _)| number),
        accepted: decided.is_some_and(|(_, accepted)| accepted),
        after: Arc::unwrap_or_clone(draft.attrs),
    }
}

fn why_not(
    rule: &Compiled,
    prefix: &Prefix,
    attrs: &Attributes,
    context: &Context<'_>,
) -> Option<String> {
    let attributes = rule.of_attributes.iter().find(|ask| !ask.holds(attrs, context));
    let attributes = attributes.map(|ask| ask.why_not(attrs, context));
    attributes.or_else(|| {
        let prefixes = rule.of_prefix.iter().find(|ask| !ask.holds(prefix, attrs, context));
        prefixes.map(|ask| ask.why_not(prefix, attrs, context))
    })
}

impl Sample {
    fn source(&self) -> Source {
        let kind = match self.from {
            Provenance::Own(_) => Kind::Local,
            Provenance::Ibgp => Kind::Internal { client: false },
            Provenance::Bgp | Provenance::Ebgp => Kind::External,
        };
        let protocol = match self.from {
            Provenance::Own(protocol) => protocol,
            _ => Protocol::Bgp,
        };
        Source {
            peer: None,
            kind,
            asn: self.attributes.as_path.first().unwrap_or(self.asn),
            router_id: RouterId(Ipv4Addr::UNSPECIFIED),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            med: crate::config::MedRules::default(),
            name: self.peer.as_str().into(),
            role: self.role,
            interface: self.interface.as_deref().map(Into::into),
            scope: 0,
            protocol,
        }
    }
}
