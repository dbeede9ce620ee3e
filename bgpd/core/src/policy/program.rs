//! Policies compiled, and applied to many prefixes at a time.
//!
//! Most of what rules ask is about attributes, and thousands of prefixes share theirs. So a program
//! is first *prepared* for one set of attributes: what remains are the rules that may still decide,
//! each with what it asks of a prefix, and with the attributes that come of it once somebody has
//! needed them. A policy that asks nothing of prefixes costs nothing for the second prefix.

use super::Draft;
use super::condition::{Context, OfAttributes, OfPrefix, sort};
use super::model::{Decision, Policy, Set};
use crate::types::Prefix;
use crate::wire::Attributes;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) policy: Policy,
    pub(super) rules: Vec<Compiled>,
}

#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) of_attributes: Vec<OfAttributes>,
    pub(super) of_prefix: Vec<OfPrefix>,
    pub(super) sets: Vec<Set>,
    pub(super) decision: Decision,
}

/// Programs are what they were made of.
impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.policy == other.policy
    }
}

impl Eq for Program {}

impl Program {
    pub(crate) fn new(policy: &Policy) -> Self {
        let rules = policy.rules.iter().map(|rule| {
            let (of_attributes, of_prefix) = sort(&rule.asks);
            let (sets, decision) = (rule.sets.clone(), rule.decision);
            Compiled { of_attributes, of_prefix, sets, decision }
        });
        Self { rules: rules.collect(), policy: policy.clone() }
    }

    /// Whether what passes may be other than what came.
    pub(crate) fn changes_paths(&self) -> bool {
        self.rules.iter().any(|rule| !rule.sets.is_empty() && rule.decision != Decision::Reject)
    }

    /// Whether it decides otherwise when origins become valid or invalid.
    pub(crate) fn asks_rpki(&self) -> bool {
        self.rules.iter().any(|rule| rule.of_prefix.iter().any(OfPrefix::asks_rpki))
    }

    pub(crate) fn prepare<T>(&self, attrs: &Arc<Attributes>, context: &Context<'_>) -> Prepared<T> {
        self.prepare_from(0, Draft::new(attrs), context)
    }

    fn prepare_from<T>(
        &self,
        first: usize,
        mut draft: Draft,
        context: &Context<'_>,
    ) -> Prepared<T> {
        let mut steps = Vec::new();
        for (number, rule) in self.rules.iter().enumerate().skip(first) {
            if !rule.of_attributes.iter().all(|ask| ask.holds(&draft.attrs, context)) {
                continue;
            }
            let certain = rule.of_prefix.is_empty();
            if certain && rule.decision == Decision::Next {
                draft.apply(&rule.sets, context);
                continue;
            }
            steps.push(Step { number, draft: draft.clone(), then: Then::new(rule.decision) });
            if certain {
                break;
            }
        }
        Prepared { steps }
    }
}

/// What a program still has to ask of prefixes with one set of attributes. `T` is what comes of a
/// path that passes.
#[derive(Debug)]
pub(crate) struct Prepared<T> {
    steps: Vec<Step<T>>,
}

#[derive(Debug)]
struct Step<T> {
    /// Of the rule.
    number: usize,
    /// Before the rule.
    draft: Draft,
    then: Then<T>,
}

/// Once the rule has matched; what comes of it is made when it is first needed.
#[derive(Debug)]
enum Then<T> {
    Reject,
    Accept(Option<T>),
    Next(Option<Box<Prepared<T>>>),
}

impl<T> Then<T> {
    const fn new(decision: Decision) -> Self {
        match decision {
            Decision::Accept => Self::Accept(None),
            Decision::Reject => Self::Reject,
            Decision::Next => Self::Next(None),
        }
    }
}

impl<T: Clone> Prepared<T> {
    /// `None`: rejected.
    pub(crate) fn decide(
        &mut self,
        program: &Program,
        prefix: &Prefix,
        context: &Context<'_>,
        finish: &mut dyn FnMut(Draft) -> T,
    ) -> Option<T> {
        for Step { number, draft, then } in &mut self.steps {
            let rule = program.rules.get(*number)?;
            if !rule.of_prefix.iter().all(|ask| ask.holds(prefix, &draft.attrs, context)) {
                continue;
            }
            let changed = || {
                let mut draft = draft.clone();
                draft.apply(&rule.sets, context);
                draft
            };
            return match then {
                Then::Reject => None,
                Then::Accept(done) => Some(done.get_or_insert_with(|| finish(changed())).clone()),
                Then::Next(rest) => {
                    let prepare = || program.prepare_from(*number + 1, changed(), context);
                    let rest = rest.get_or_insert_with(|| Box::new(prepare()));
                    rest.decide(program, prefix, context, finish)
                }
            };
        }
        None
    }
}
