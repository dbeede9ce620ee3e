//! How a verb ends.

use crate::ask::AskError;
use std::io::ErrorKind;
use std::process::ExitCode;

/// What the exit code says of a question that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Well,
    Wrong,
    /// What was asked about would do harm, or has done it.
    Hurts,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Well => Self::SUCCESS,
            Verdict::Wrong => Self::FAILURE,
            Verdict::Hurts => Self::from(2),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("cannot write the answer: {0}")]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// In words of the verb's own.
    #[error("{0}")]
    Said(String),
}

impl Failure {
    /// Whoever read our output has had enough: no fault of ours.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let kind = match self {
            Self::Write(error) => Some(error.kind()),
            Self::Json(error) => error.io_error_kind(),
            Self::Ask(_) | Self::Said(_) => None,
        };
        kind == Some(ErrorKind::BrokenPipe)
    }
}

/// An error and its sources, joined by colons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
