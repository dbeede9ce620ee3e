//! What a policy would do: the question and the answer.

use super::question;
use crate::show;
use bgp_core::policy::{Decision, Direction, Outcome, RuleTrace};
use bgp_core::speaker::{Trial, TrialError, TrialOf};
use mainstay_proto::bgp::v1::{self as proto, TryPolicyReply, TryPolicyRequest};
use tonic::Status;

/// The policy and what it does, or why nothing can be said.
pub(crate) type Tried = Result<(String, Vec<Trial>), TrialError>;

pub(super) fn of(request: TryPolicyRequest) -> Result<TrialOf, Status> {
    Ok(TrialOf {
        prefix: question::prefix(&request.prefix)?,
        peer: request.peer,
        direction: if request.export { Direction::Export } else { Direction::Import },
        policy: Some(request.policy).filter(|name| !name.is_empty()),
    })
}

pub(super) fn reply(tried: Tried) -> Result<TryPolicyReply, Status> {
    let (policy, trials) = tried.map_err(|error| match error {
        TrialError::Down(_) => Status::failed_precondition(error.to_string()),
        _ => Status::not_found(error.to_string()),
    })?;
    Ok(TryPolicyReply { policy, trials: trials.into_iter().map(trial).collect() })
}

fn trial(trial: Trial) -> proto::Trial {
    let Trial { before, trace, refused } = trial;
    let after = show::attributes(&trace.after);
    proto::Trial {
        before: Some(show::path(before)),
        rules: trace.rules.iter().enumerate().map(rule).collect(),
        accepted: trace.accepted,
        decided_by: trace.decided.map_or(0, number),
        after: trace.accepted.then_some(after),
        refused: refused.unwrap_or_default().into(),
    }
}

fn rule((index, rule): (usize, &RuleTrace)) -> proto::RuleTrial {
    let (action, passed_over) = match &rule.outcome {
        Outcome::PassedOver { why } => ("", why.clone()),
        Outcome::Matched(Decision::Accept) => ("accept", String::new()),
        Outcome::Matched(Decision::Reject) => ("reject", String::new()),
        Outcome::Matched(Decision::Next) => ("next", String::new()),
    };
    let name = rule.name.clone().unwrap_or_default();
    proto::RuleTrial { rule: number(index), name, action: action.into(), passed_over }
}

fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}
